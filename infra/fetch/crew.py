"""Workers that bring the chunks of files side by side. The first failure that no other try mends ends them all."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from threading import Condition, Event, Thread
from urllib.parse import quote

from infra.fetch.hub_answers import Passing, Source, check_part, lies
from infra.fetch.hub_wire import Wire
from infra.fetch.listing import shown
from infra.fetch.partial import BLOCK, Partial
from infra.fetch.patience import Pace, tried, watched

PAGE = (b"<!doctype", b"<html")
HANGS_UP_S = 5.0
"""For all workers that are cut off; one that waits for a name server is left behind."""


def address(source: Source, name: str) -> str:
    """Where a file of a commit is asked for."""
    return f"{source.endpoint}/{source.repository}/resolve/{source.commit}/{quote(name)}"


class Crew:
    """The workers of one fetch; `finish` is called with each file that is whole and right."""

    def __init__(
        self, source: Source, partials: Iterator[Partial], finish: Callable[[Partial], None], pace: Pace
    ) -> None:
        self.source, self.pace = source, pace
        self.fetched = 0
        """Bytes that came."""
        self._finish, self._partials = finish, partials
        self._open: list[Partial] = []
        self._left: deque[tuple[Partial, int | None]] = deque()
        """Chunks; None for a file that only has to be summed up."""
        self._found: dict[str, str] = {}
        """File -> the address of the storage that had it."""
        self._busy = 0
        self._working = pace.workers
        self._changed, self._over = Condition(), Event()
        self._error: BaseException | None = None

    def run(self, tell: Callable[[int], None]) -> None:
        """Bring everything; `tell` hears now and then how many bytes came. Raises what ended it."""
        wires = [Wire(self.source) for _ in range(self.pace.workers)]
        threads = [Thread(target=self._work, args=(wire,), daemon=True) for wire in wires]
        with watched(wires, self.pace):
            try:
                for thread in threads:
                    thread.start()
                while self._working and not self._over.is_set():
                    with self._changed:
                        if self._working and not self._over.is_set():
                            self._changed.wait(self.pace.look_every_s)
                    tell(self.fetched)
            finally:
                self._end(None)
                for wire in wires:
                    wire.cut()
                until_s = time.monotonic() + HANGS_UP_S
                for thread in threads:
                    thread.join(max(0.0, until_s - time.monotonic()))
        if not any(thread.is_alive() for thread in threads):
            for partial in self._open:
                partial.close()
            for wire in wires:
                wire.close()
        if self._error:
            raise self._error

    def _work(self, wire: Wire) -> None:
        block = memoryview(bytearray(BLOCK))
        try:
            while (task := self._next()) is not None:
                partial, index = task
                if index is not None:
                    self._bring(wire, partial, index, block)
                if partial.is_summed():
                    self._done(partial)
                self._returned()
        except BaseException as error:
            self._end(error)
        with self._changed:
            self._working -= 1
            self._changed.notify_all()

    def _next(self) -> tuple[Partial, int | None] | None:
        """What to bring next; None when all is there, or over. A file that is summed up now may have to come again."""
        with self._changed:
            while not self._over.is_set():
                if not self._left and (partial := next(self._partials, None)):
                    self._open.append(partial)
                    missing: list[int | None] = [*partial.missing()]
                    self._left.extend((partial, index) for index in missing or [None])
                if self._left:
                    self._busy += 1
                    return self._left.popleft()
                if not self._busy:
                    break
                self._changed.wait()
            self._changed.notify_all()
        return None

    def _returned(self) -> None:
        with self._changed:
            self._busy -= 1
            self._changed.notify_all()

    def _end(self, error: BaseException | None) -> None:
        with self._changed:
            self._error = self._error or error
            self._over.set()
            self._changed.notify_all()

    def _bring(self, wire: Wire, partial: Partial, index: int, block: memoryview) -> None:
        """A chunk, in as many answers as it takes: what one brought is not asked for again."""
        name, left = partial.file.name, partial.span(index)

        def bring() -> None:
            nonlocal left
            what = shown(name)
            try:
                response, self._found[name] = wire.ask(
                    self._found.get(name, address(self.source, name)), what, left
                )
                check_part(what, response.status, response.headers, left)
                while left.bytes and not self._over.is_set():
                    count = wire.read(response, block[: min(BLOCK, left.bytes)], what)
                    if not count:
                        wire.close()
                        raise Passing(f"The Hub's answer for {what} ended early.")
                    partial.write(block[:count], left.first)
                    left = left._replace(first=left.first + count)
                    self._count(count)
                wire.done(response)
            except Passing:
                self._found.pop(name, None)
                raise

        tried(bring, self.pace.tries, self.pace, self._over)
        if not left.bytes:
            partial.mark(index)

    def _count(self, count: int) -> None:
        with self._changed:
            self.fetched += count

    def _done(self, partial: Partial) -> None:
        """All of a file is there: it gets its place, or comes once more where it is wrong. Raises EndpointError."""
        if partial.sums.are_right():
            self._finish(partial)
            with self._changed:
                self._open.remove(partial)
            partial.close()
            return
        what, was_tried = shown(partial.file.name), partial.is_tried_again
        is_page = partial.beginning().lstrip().lower().startswith(PAGE)
        partial.restart()
        if is_page:
            raise lies(what, "a web page came in its place")
        if was_tried:
            raise lies(what, "what came has another checksum than it tells, twice")
        with self._changed:
            self._left.extend((partial, index) for index in partial.missing())
