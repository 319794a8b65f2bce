"""A server that says the bytes it is told, in threads of the test itself: what no server should say."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

Answer = bytes | Iterable[bytes]
MODELS = b'{"data": [{"id": "m"}]}'


def answer(body: bytes, status: int = 200, *headers: str, kind: str = "application/json") -> bytes:
    """A whole response."""
    lines = [
        f"HTTP/1.1 {status} X",
        f"content-type: {kind}",
        f"content-length: {len(body)}",
        *headers,
        "",
        "",
    ]
    return "\r\n".join(lines).encode() + body


def events(*payloads: object) -> bytes:
    """A stream of those events until the connection closes."""
    said = [each if isinstance(each, str) else json.dumps(each) for each in payloads]
    return b"HTTP/1.0 200 OK\r\ncontent-type: text/event-stream\r\n\r\n" + b"".join(
        f"data: {each}\n\n".encode() for each in said
    )


class Scripted:
    """`says` maps a path to what is sent for it, piece by piece, once; other paths are not found."""

    def __init__(self, says: dict[str, Callable[[], Answer]]) -> None:
        self._says = {"/v1/models": lambda: answer(MODELS)} | says
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._open = True
        threading.Thread(target=self._listen, daemon=True).start()

    def close(self) -> None:
        """Answer nobody any more."""
        self._open = False
        self._listener.close()

    def _listen(self) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=(self._listener.accept()[0],), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with sock, suppress(OSError, ValueError), sock.makefile("rb") as asked:
            first = asked.readline().split(b" ")
            if len(first) < 3:  # a TLS hello, or nothing
                return
            path = first[1].decode()
            length = 0
            while (line := asked.readline().lower()).strip():
                length = int(line[15:]) if line.startswith(b"content-length:") else length
            asked.read(length)
            said = self._says.get(path, lambda: answer(b"{}", 404))()
            for piece in [said] if isinstance(said, bytes) else said:
                sock.sendall(piece)
                if not self._open:
                    return


def drip(data: bytes, pause_s: float) -> Iterable[bytes]:
    """Byte by byte."""
    for at in range(len(data)):
        yield data[at : at + 1]
        time.sleep(pause_s)


def flood(piece: bytes, first: bytes = b"") -> Iterable[bytes]:
    """One thing over and over, until nobody takes it."""
    yield first
    while True:
        yield piece
