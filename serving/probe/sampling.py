"""Door: what is looked at beside a load: pages of metrics and the GPUs of this machine, once a second."""

import threading
import time
from collections.abc import Callable
from functools import partial
from urllib.parse import urlsplit

from infra import gpus
from infra.argument import pasted
from infra.errors import EndpointError
from infra.printable import one_line
from serving.probe.server_metrics import KNOWN, OF_GPUS, Figure, figures_in
from serving.probe.spec import Target
from serving.vllm.http_door import Answer, HttpDoor, NoAnswer
from serving.vllm.proxy import is_here
from serving.vllm.unix_url import socket_path

EVERY_S = 1.0
MOST_SAMPLES = 1200
"""Of each figure; of a run that lasts longer every other one is kept, and from then on half as many are taken."""
PATIENCE_S = 5.0
SHARE_OF_TIME = 0.05
"""At most so much of its time a look may take: a large page is asked for less often."""

Taken = dict[Figure, list[tuple[int, float]]]
Read = Callable[[], dict[Figure, float]]
"""One look. Raises NoAnswer."""


class Sampler:
    """Looks in a thread of its own from `start` to `stop`; what cannot be looked at is said in `notes`."""

    def __init__(self, target: Target, own_page: Callable[[], Answer]) -> None:
        """`own_page` asks the server itself. Raises EndpointError for a page that was named and tells nothing."""
        self.notes: list[str] = []
        self._reads: list[Read] = []
        self._doors: list[HttpDoor] = []
        self._taken: Taken = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look_on, daemon=True)
        known: set[Figure] = set()
        try:
            for url in target.metrics_urls:
                known |= self._add_named(url)
            if not known - set(OF_GPUS):
                known |= self._add_own(lambda: figures_of(own_page()))
        except BaseException:
            self._close()
            raise
        if not known & set(OF_GPUS):
            self._add_gpus(on_this_machine(target.base_url))

    def _add_named(self, url: str) -> set[Figure]:
        """A page that the user named, asked without any key. Raises EndpointError."""
        try:
            parts = urlsplit(url)
            door = HttpDoor(f"{parts.scheme}://{parts.netloc}", {}, PATIENCE_S)
            self._doors.append(door)
            read = partial(page_of, door, parts._replace(scheme="", netloc="").geturl())
            found = read()
        except NoAnswer as error:
            raise EndpointError(
                f"--metrics {url} cannot be read: {one_line(str(error)).rstrip('.')}.",
                f"Look at it: curl -s {pasted(url)} | head",
            ) from None
        if not found:
            raise EndpointError(
                f"--metrics {url} tells nothing of a server or its GPUs.",
                f"It takes a page of {KNOWN}, e.g. --metrics http://127.0.0.1:9400/metrics",
            )
        self._reads.append(read)
        return set(found)

    def _add_own(self, read: Read) -> set[Figure]:
        """The server's own page, where it has one."""
        try:
            found = read()
        except NoAnswer as error:
            self.notes.append(
                f"the server's queue and cache: not sampled, its /metrics cannot be read: {one_line(str(error), 200)}"
            )
            return set()
        if found:
            self._reads.append(read)
        else:
            self.notes.append(f"the server's queue and cache: not sampled, its /metrics is none of {KNOWN}")
        return set(found)

    def _add_gpus(self, is_here: bool) -> None:
        """The GPUs of this machine, where the server runs on it."""
        if not is_here:
            self.notes.append(
                "GPU power and memory: not sampled, the server is on another machine; --metrics takes a DCGM exporter's"
            )
            return
        meter, problem = gpus.meter()
        if meter is None:
            self.notes.append(f"GPU power and memory: not sampled, {problem}")
        else:
            self._reads.append(lambda: dict(zip(OF_GPUS, meter(), strict=True)))

    def start(self) -> None:
        """Begin to look."""
        if self._reads:
            self._thread.start()

    def stop(self) -> Taken:
        """Look no more. Each figure's moments, in ns on the monotonic clock, and values."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join(PATIENCE_S)
        self._close()
        return {name: list(pairs) for name, pairs in list(self._taken.items())}

    def _look_on(self) -> None:
        every_s = EVERY_S
        while True:
            began_ns = time.monotonic_ns()
            self._look()
            took_s = (time.monotonic_ns() - began_ns) / 1e9
            if max(map(len, self._taken.values()), default=0) > MOST_SAMPLES:
                every_s *= 2
                for pairs in self._taken.values():
                    del pairs[1::2]
            if self._over.wait(max(every_s - took_s, took_s / SHARE_OF_TIME)):
                return

    def _look(self) -> None:
        """Take each figure once; one that cannot be had now is missing there."""
        for read in self._reads:
            try:
                found = read()
            except NoAnswer:
                continue
            at_ns = time.monotonic_ns()
            for figure, value in found.items():
                self._taken.setdefault(figure, []).append((at_ns, value))

    def _close(self) -> None:
        for door in self._doors:
            door.close()


def on_this_machine(url: str) -> bool:
    """Whether that server's address is one of this machine alone."""
    return socket_path(url) is not None or is_here(urlsplit(url).hostname or "")


def from_zero(taken: Taken, zero_ns: int) -> dict[str, list[list[float]]]:
    """The same with moments in seconds from the start of the load."""
    return {
        name: [[round((at_ns - zero_ns) / 1e9, 3), value] for at_ns, value in pairs]
        for name, pairs in taken.items()
    }


def page_of(door: HttpDoor, path: str) -> dict[Figure, float]:
    """The figures of a page. Raises NoAnswer."""
    return figures_of(door.ask("GET", path))


def figures_of(answer: Answer) -> dict[Figure, float]:
    """The figures in an answer. Raises NoAnswer for one that is no page."""
    if answer.status_code != 200:
        raise NoAnswer("content", f"HTTP {answer.status_code}")
    return figures_in(answer.text)
