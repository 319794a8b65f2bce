"""Who asks a server all day: streams, one after another, and how each of them ended."""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from serving.vllm.endpoint import Endpoint

CLIENTS = 20
TOKENS = 64
PATIENCE_S = 900.0
BETWEEN_S = 12.0
"""What they ask keeps the engine at work for some seconds, on a core that other tests want too."""
LONG_TOKENS = 6000
"""Of a stream that does not end by itself while something is done to its server."""
CLEAN = {"whole", "cut", "refused"}
"""How a stream may end: all of it came, its connection ended, or it was refused with an error."""


class Clients:
    """Those who ask, and how their requests ended."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.place = urlsplit(endpoint.base_url)
        key = (endpoint.api_key_file or Path()).read_text().strip()
        self.headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self.model = endpoint.served_model_name
        self.ends: Counter[str] = Counter()
        self.is_over = threading.Event()

    def ask_on(self) -> None:
        """Ask one thing after another."""
        while not self.is_over.is_set():
            self.ends[self.streamed()] += 1
            self.is_over.wait(BETWEEN_S)

    def streamed(self) -> str:
        """How one stream ended."""
        asked = {"stream": True, "stream_options": {"include_usage": True}, "ignore_eos": True}
        try:
            status, said = self.said({"prompt": [1, 2, 3], "max_tokens": TOKENS, **asked})
        except TimeoutError:
            return "nothing came"
        except (OSError, HTTPException):
            return "cut"
        if status != 200:
            return "refused" if status >= 500 else f"refused with {status}"
        return how_it_ended(said)

    @contextmanager
    def with_one_under_way(self) -> Iterator[None]:
        """What is done meanwhile, is done to a server that streams; how that stream ended is counted too."""
        asked = {"prompt": [1, 2, 3], "max_tokens": LONG_TOKENS, "stream": True, "ignore_eos": True}
        with closing(self.connection()) as connection:
            answer = self.asked(connection, asked)
            assert (answer.status, answer.readline()[:6]) == (200, b"data: ")
            yield
            try:
                end = how_it_ended(answer.read())
            except (OSError, HTTPException):
                end = "cut"
        self.ends[end] += 1

    def said(self, body: dict[str, Any]) -> tuple[int, bytes]:
        """The status and the whole answer to a request. Raises OSError, HTTPException."""
        with closing(self.connection()) as connection:
            answer = self.asked(connection, body)
            return answer.status, answer.read()

    def connection(self) -> HTTPConnection:
        """One that is not made yet."""
        return HTTPConnection(self.place.hostname or "", self.place.port, timeout=PATIENCE_S)

    def asked(self, connection: HTTPConnection, body: dict[str, Any]) -> HTTPResponse:
        """The answer to a request, as far as its head. Raises OSError, HTTPException."""
        connection.request("POST", "/v1/completions", json.dumps({"model": self.model, **body}), self.headers)
        return connection.getresponse()


def how_it_ended(said: bytes) -> str:
    """How a stream ended that began well: each line is what the API promises, and the end is told."""
    lines = [line.removeprefix(b"data: ") for line in said.split(b"\n") if line]
    try:
        events = [json.loads(line) for line in lines if line != b"[DONE]"]
        if any("error" in event for event in events):
            return "refused"
        made = sum(event["usage"]["completion_tokens"] for event in events if event.get("usage"))
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"garbage: {said[-200:]!r}"
    return "whole" if (lines[-1:], made) == ([b"[DONE]"], TOKENS) else f"half: {said[-200:]!r}"


@contextmanager
def streaming(endpoint: Endpoint) -> Iterator[Clients]:
    """Twenty that ask until the end."""
    clients = Clients(endpoint)
    threads = [threading.Thread(target=clients.ask_on, daemon=True) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        yield clients
    finally:
        clients.is_over.set()
    for thread in threads:
        thread.join(PATIENCE_S)
