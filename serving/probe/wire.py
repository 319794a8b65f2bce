"""PURE: one HTTP/1.x response, fed as bytes in any cut, as the payloads of its server-sent events.

The usual read holds one HTTP chunk with one event, and takes the short way through `feed`.
"""

import re
from collections.abc import Iterator
from enum import Enum, auto

BOM = b"\xef\xbb\xbf"
"""A stream may begin with it, and it means nothing (HTML standard, 9.2.5)."""
HEAD_LIMIT_BYTES = 64 * 1024
LINE_LIMIT_BYTES = 16 * 1024 * 1024
BODY_LIMIT_BYTES = 64 * 1024
MOST_INTERIM = 100
"""Of 1xx answers before the real one."""
HEAD_END = re.compile(rb"\n\r?\n")
"""A line may end in a bare LF (RFC 9112, 2.2)."""
BLANK = b"\r\n"
"""Empty lines before a status line are skipped: some servers end a body with one too many. RFC 9112, 2.2, asks it of
servers; of clients llhttp does so (Node, aiohttp), curl and h11 do not."""
FOLD = re.compile(rb"\r?\n[ \t]+")
"""A header that goes on in the next line (RFC 9112, 5.2)."""
WHOLE = range(200, 204)
"""Statuses of an answer that is there in full: some frameworks answer every POST with 201 (NestJS)."""
PLAIN = frozenset(("", "identity", "chunked"))
"""Codings that leave the body as it is."""
LAST_EVENTS = (b"message_stop", b"response.completed", b"response.incomplete")
"""What the event is called that ends an answer without [DONE]."""
EVENTS_BEGIN = re.compile(rb"(?:\xef\xbb\xbf)?(?:data|event|id|retry)?:")
"""How a stream begins that is called something else: text/plain, or nothing at all."""
OTHER_KINDS = ("", "text/plain", "application/octet-stream", "binary/octet-stream")
"""What such a stream is called. Clients of OpenAI's do not look at it."""
LONGEST_NUMBER = 15
"""Digits of a length: no answer is as long."""


class WireFault(Exception):
    """The peer does not speak HTTP as it should; `error_class` is the class it is counted in."""

    def __init__(self, error_class: str, message: str) -> None:
        super().__init__(message)
        self.error_class = error_class


class State(Enum):
    """How the next bytes are to be read."""

    HEAD = auto()
    CHUNKED = auto()
    LENGTH = auto()
    UNTIL_CLOSE = auto()
    COMPLETE = auto()


class Response:
    """One response: `feed` it what arrives, `end` it when the peer closes."""

    __slots__ = (
        "body",
        "between",
        "comments",
        "encoding",
        "error",
        "headers",
        "is_stream",
        "keep_alive",
        "state",
        "status",
        "_blank_bytes",
        "_chunk",
        "_data",
        "_data_bytes",
        "_event",
        "_first",
        "_interim",
        "_left",
        "_line",
        "_may_be_stream",
        "_over",
        "_rest",
        "_was_cr",
    )

    def __init__(self) -> None:
        self.state = State.HEAD
        self.status = 0
        self.headers: dict[str, str] = {}
        self.keep_alive = False
        self.encoding = ""
        """What the body was compressed by, although nobody asked for that."""
        self.is_stream = False
        """Server-sent events of a good answer, by its type or its first bytes; other bodies are kept, up to a limit."""
        self.body = b""
        self.comments = 0
        """Keep-alive comments seen."""
        self.error: bytes | None = None
        """What the first event of the type `error` said before the answer was over; it is no payload."""
        self.between = False
        """Whether the next byte begins a chunk of a stream and an event: then the short way may be tried."""
        self._rest = b""
        self._blank_bytes = 0
        self._chunk = ChunkPart.SIZE
        self._left = 0
        self._line = b""
        self._data: list[bytes] = []
        self._data_bytes = 0
        self._interim = 0
        self._event = b""
        self._first = True
        self._over = False
        self._was_cr = False
        self._may_be_stream = False

    @property
    def begun(self) -> bool:
        """Whether a byte of it has come."""
        return self.status != 0 or bool(self._rest)

    @property
    def is_cut(self) -> bool:
        """Whether a part of an event has come."""
        return bool(self._line or self._data)

    @property
    def complete(self) -> bool:
        """Whether the whole response has arrived."""
        return self.state is State.COMPLETE

    def feed(self, data: bytes) -> list[bytes]:
        """Take what arrived; return the payloads of the events it completes. Raises WireFault."""
        if self.between:
            # One chunk, one event: "1a\r\ndata: {...}\n\n\r\n". JSON holds no raw newline.
            start = data.find(b"\r\n", 1, 10) + 2
            size = len(data)
            if (
                data.endswith(b"\n\n\r\n")
                and data.startswith(b"data: ", start)
                and data.find(b"\n", start) == size - 4
                and data.find(b"\r", start) == size - 2
                and is_size(data[: start - 2], size - start - 2)
            ):
                return [data[start + 6 : -4]]
        payloads = self._events(data)
        self.between = (
            self.is_stream
            and self.state is State.CHUNKED
            and self._chunk is ChunkPart.SIZE
            and not (self._rest or self._line or self._data)
        )
        return payloads

    def end(self) -> list[bytes]:
        """The peer closed. Raises WireFault when the response was not whole."""
        if self.state is State.HEAD:
            cut = bool(self._rest)
            raise WireFault(
                "truncated" if cut else "no_response",
                "closed in the headers" if cut else "closed before an answer",
            )
        if self.state in (State.CHUNKED, State.LENGTH):
            raise WireFault("truncated", "the connection was closed in the middle of the response")
        self.state = State.COMPLETE
        return self._last_event()

    def _events(self, data: bytes) -> list[bytes]:
        if self.state is State.HEAD:
            data = self._head(data)
        pieces = self._pieces(data)
        text = b"" if self.is_stream else self._take_body(pieces)
        if self.is_stream:
            text += b"".join(pieces)  # split at once: most reads of several events hold a chunk for each
        payloads = self._split(text) if text else []
        return payloads + self._last_event() if self.state is State.COMPLETE else payloads

    def _take_body(self, pieces: Iterator[bytes]) -> bytes:
        """Keep what is no stream, up to a limit; where one begins, return what there is of it."""
        for piece in pieces:
            if self._may_be_stream and EVENTS_BEGIN.match(self.body + piece):
                text, self.is_stream, self.body = self.body + piece, True, b""
                return text
            if len(self.body) + len(piece) >= BODY_LIMIT_BYTES:
                self.body += piece[: BODY_LIMIT_BYTES - len(self.body)]
                self.state, self.keep_alive = State.COMPLETE, False
                break
            self.body += piece
        return b""

    def _head(self, data: bytes) -> bytes:
        """Read the status line and headers, past any 1xx; return what follows them."""
        data = self._rest + data
        self._rest = b""
        while self.state is State.HEAD and data:
            self._blank_bytes += len(data) - len(data := data.lstrip(BLANK))
            if self._blank_bytes > HEAD_LIMIT_BYTES:
                raise WireFault("bad_http", "empty lines without an end")
            if not b"HTTP/1.".startswith(data[:7]):
                raise WireFault("bad_http", f"the answer is not HTTP: {data[:40]!r}")
            end = HEAD_END.search(data)
            if end is None:
                if len(data) > HEAD_LIMIT_BYTES:
                    raise WireFault("bad_http", "headers without an end")
                self._rest = data
                return b""
            head = data[: end.start()]
            if b"\n " in head or b"\n\t" in head:
                head = FOLD.sub(b" ", head)
            self._read_head(head.decode("latin-1").split("\n"))
            data = data[end.end() :]
        return data

    def _read_head(self, lines: list[str]) -> None:
        version, _, status = lines[0].rstrip("\r").partition(" ")
        if not is_number(status[:3]):
            raise WireFault("bad_http", f"the answer is not HTTP: {lines[0].rstrip()[:40]!r}")
        self.status = int(status[:3])
        if 100 <= self.status < 200:
            self._interim += 1
            if self._interim > MOST_INTERIM:
                raise WireFault("bad_http", f"more than {MOST_INTERIM} interim answers, and no end")
            return
        parts = (line.partition(":") for line in lines[1:])
        pairs = [(name.strip().lower(), value.strip()) for name, _, value in parts]
        self.headers = dict(pairs)
        options = listed(pairs, "connection")
        self.keep_alive = "close" not in options and (version != "HTTP/1.0" or "keep-alive" in options)
        codings = listed(pairs, "content-encoding", "transfer-encoding")
        self.encoding = ", ".join(sorted(codings - PLAIN))
        kind = self.headers.get("content-type", "").lower()
        readable = self.status in WHOLE and not self.encoding
        self.is_stream = readable and "text/event-stream" in kind
        self._may_be_stream = (
            readable and not self.is_stream and kind.partition(";")[0].strip() in OTHER_KINDS
        )
        self._frame("chunked" in codings)

    def _frame(self, is_chunked: bool) -> None:
        length = self.headers.get("content-length", "")
        if is_chunked:
            self.state = State.CHUNKED
        elif is_number(length):
            self._left = int(length)
            self.state = State.LENGTH if self._left else State.COMPLETE
        elif length:
            raise WireFault("bad_http", f"content-length {length[:40]!r}")
        elif self.status in (204, 304):
            self.state = State.COMPLETE
        else:
            self.state = State.UNTIL_CLOSE
            self.keep_alive = False

    def _pieces(self, data: bytes) -> Iterator[bytes]:
        """Take the transfer framing off."""
        if self.state is State.CHUNKED:
            yield from self._chunks(data)
        elif self.state is State.LENGTH:
            yield data[: self._left]
            self.keep_alive = self.keep_alive and not data[self._left :].strip(BLANK)
            self._left -= min(len(data), self._left)
            self.state = State.LENGTH if self._left else State.COMPLETE
        elif self.state is State.UNTIL_CLOSE:
            yield data
        elif data.strip(BLANK):
            self.keep_alive = (
                False  # bytes after the end: this connection cannot be trusted with another request
            )

    def _chunks(self, data: bytes) -> Iterator[bytes]:
        data, at = self._rest + data, 0
        self._rest = b""
        while at < len(data) or self._chunk is ChunkPart.DATA:
            if self._chunk is ChunkPart.DATA:
                piece = data[at : at + self._left]
                at += len(piece)
                self._left -= len(piece)
                if piece:
                    yield piece
                if self._left:
                    return
                self._chunk = ChunkPart.DATA_END
                continue
            end = data.find(b"\n", at)
            if end < 0:
                self._rest = data[at:]
                if len(self._rest) > 1024 or (self._chunk is ChunkPart.DATA_END and self._rest != b"\r"):
                    raise WireFault("bad_http", f"a broken chunk: {self._rest[:40]!r}")
                return
            self._chunk_line(data[at:end].removesuffix(b"\r"))
            at = end + 1
            if self._left and data.startswith(b"\r\n", at + self._left):  # the whole chunk is there
                yield data[at : at + self._left]
                at += self._left + 2
                self._left, self._chunk = 0, ChunkPart.SIZE
            if self.state is State.COMPLETE:
                self.keep_alive = self.keep_alive and not data[at:].strip(BLANK)
                return

    def _chunk_line(self, line: bytes) -> None:
        if self._chunk is ChunkPart.SIZE:
            self._left = chunk_size(line)
            self._chunk = ChunkPart.DATA if self._left else ChunkPart.TRAILER
        elif self._chunk is ChunkPart.DATA_END:
            if line:
                raise WireFault("bad_http", f"a chunk longer than it said: {line[:40]!r}")
            self._chunk = ChunkPart.SIZE
        elif not line:
            self.state = State.COMPLETE

    def _split(self, piece: bytes) -> list[bytes]:
        """Split lines at LF, CRLF or CR, and events at blank lines, as the EventSource standard says."""
        if self._was_cr:  # its line has ended; an LF that follows belongs to it
            piece, self._was_cr = piece.removeprefix(b"\n"), not piece
        text = self._line + piece
        if self._first:
            if len(text) < len(BOM) and BOM.startswith(text):
                self._line = text
                return []
            text, self._first = text.removeprefix(BOM), False
        if b"\r" in text:
            self._was_cr = text.endswith(b"\r")
            text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        lines = text.split(b"\n")
        self._line = lines.pop()
        if len(self._line) > LINE_LIMIT_BYTES:
            raise WireFault("endless", "a line without an end")
        return self._take(lines)

    def _take(self, lines: list[bytes]) -> list[bytes]:
        """The payloads of the events that those lines complete."""
        payloads = []
        for line in lines:
            if line.startswith(b"data:"):
                self._data.append(line[6:] if line[5:6] == b" " else line[5:])
                self._data_bytes += len(line)
                if self._data_bytes > LINE_LIMIT_BYTES:
                    raise WireFault("endless", "an event without an end")
            elif line:
                self._take_other(line)
            elif self._data or self._event:
                payloads += self._take_event()
        return payloads

    def _take_event(self) -> list[bytes]:
        """The payload of the event that ends here; none where it has no data, or is an error."""
        data, event, self._event = self._data, self._event, b""
        if not data:
            return []
        payload = data[0] if len(data) == 1 else b"\n".join(data)
        data.clear()
        self._data_bytes = 0
        if event == b"error":
            if self.error is None and not self._over:
                self.error = payload
            return []
        self._over = self._over or payload == b"[DONE]" or event in LAST_EVENTS
        return [payload]

    def _take_other(self, line: bytes) -> None:
        """A line that is no data."""
        if line.startswith(b"event:"):
            self._event = line[6:].strip()
        elif line.startswith(b":"):
            self.comments += 1
        elif (
            line.startswith(b"error:") and self.error is None and not self._over
        ):  # llama.cpp's servers of 2024
            self.error = line[6:].strip()

    def _last_event(self) -> list[bytes]:
        """Some servers end without the last blank line; what they said still counts."""
        line, self._line = self._line, b""
        return self._take([line, b""])


class ChunkPart(Enum):
    """Where in the chunked framing the next byte lies."""

    SIZE = auto()
    DATA = auto()
    DATA_END = auto()
    TRAILER = auto()


def listed(pairs: list[tuple[str, str]], *names: str) -> set[str]:
    """The members of headers that are lists, which may stand in several lines (RFC 9110, 5.3)."""
    return {word.strip().lower() for name, value in pairs if name in names for word in value.split(",")}


def is_number(text: str) -> bool:
    """Whether it is a whole number of a sensible size, in ASCII digits and nothing else."""
    return text.isascii() and text.isdigit() and len(text) <= LONGEST_NUMBER


def is_size(line: bytes, size: int) -> bool:
    """Whether a chunk's size line says exactly that size."""
    try:
        return int(line, 16) == size
    except ValueError:
        return False


def chunk_size(line: bytes) -> int:
    """The size a chunk's first line says. Raises WireFault."""
    digits = line.partition(b";")[0].strip()
    try:
        if not digits or digits[:1] in b"+-" or b"_" in digits or len(digits) > LONGEST_NUMBER:
            raise ValueError
        return int(digits, 16)
    except ValueError:
        raise WireFault("bad_http", f"a chunk size that is none: {line[:40]!r}") from None
