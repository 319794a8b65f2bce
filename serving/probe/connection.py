"""Door: one connection to the endpoint: its socket, TLS over it, and the request it carries.

The hot path is `_readable`: one recvmsg with the kernel's stamp, one split, one parse.
"""

import asyncio
import errno
import os
import socket
import ssl
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic_ns
from typing import Any, NamedTuple, Protocol

from orjson import loads

from serving.probe.api import Delta, StreamFailure, error_text, usage_tokens
from serving.probe.clock import CONTROL_BYTES, ask_kernel_stamps, unpack_timespec
from serving.probe.outcome import Outcome, Shot
from serving.probe.wire import Response, WireFault

READ_BYTES = 65536
BUFFER = memoryview(bytearray(READ_BYTES))
BUFFERS = [BUFFER]
"""All connections read into one buffer, one after another: a fresh one for each read costs more than the copy."""
# A stream with more chunks than this many times the tokens asked, and then some, will not end by itself.
ENDLESS_FACTOR, ENDLESS_SLACK = 4, 1024

# A read this long after its bytes came in was held up by this process or machine.
LATE_READ_NS = 1_000_000
# A connection the server closes just as it is used again after this long says nothing about serving: it was stale.
STALE_NS = 500_000_000

ERROR_CLASSES = {
    errno.ECONNREFUSED: "connect_refused",
    errno.ECONNRESET: "reset",
    errno.EPIPE: "reset",
    errno.ECONNABORTED: "reset",
    errno.ETIMEDOUT: "connect_timeout",
    errno.EHOSTUNREACH: "unreachable",
    errno.ENETUNREACH: "unreachable",
    errno.EMFILE: "client_limit",
    errno.ENFILE: "client_limit",
    errno.EADDRNOTAVAIL: "client_limit",
}


class Peer(NamedTuple):
    """Where to connect: a resolved address, and TLS when it is wanted."""

    family: socket.AddressFamily
    address: Any
    tls: ssl.SSLContext | None
    server_hostname: str


@dataclass(slots=True)
class Tally:
    """What all connections of a process count together."""

    lags_us: "array[int]" = field(default_factory=lambda: array("i"))
    connect_us: list[int] = field(default_factory=list)
    reads: int = 0
    events: int = 0
    uncertain: int = 0
    late_uncertain: int = 0
    unstamped: int = 0
    reconnects: int = 0
    kernel_stamps: bool = False


class Owner(Protocol):
    """What a connection needs from the attack it belongs to."""

    loop: asyncio.AbstractEventLoop
    tally: Tally
    offset_ns: int
    zero_ns: int
    delta_of: Callable[[dict[str, Any]], Delta]
    use_kernel_stamps: bool

    def idle(self, connection: "Connection") -> None:
        """The connection can take a request."""

    def finished(self, connection: "Connection", outcome: Outcome) -> None:
        """A request has ended, well or not."""

    def down(self, connection: "Connection") -> None:
        """The connection is closed and carries nothing."""


class Connection:
    """One TCP connection, opened again when the server closes it."""

    __slots__ = (
        "_chars",
        "_chunk_tokens",
        "_connect_us",
        "_connecting",
        "_done",
        "_empty",
        "_failure",
        "_finish_reason",
        "_idle_since_ns",
        "_incoming",
        "_outgoing",
        "_owner",
        "_peer",
        "_recvmsg_into",
        "_response",
        "_retried",
        "_was_idle",
        "_sock",
        "_stamps",
        "_started_ns",
        "_texts",
        "_tls",
        "_uncertain",
        "_unsent",
        "_usage",
        "last_ns",
        "sent_ns",
        "shot",
    )

    def __init__(self, owner: Owner, peer: Peer) -> None:
        self._owner = owner
        self._peer = peer
        self._sock: socket.socket | None = None
        self._tls: ssl.SSLObject | None = None
        self._connecting = False
        self._unsent = b""
        self._idle_since_ns = 0
        self._connect_us: int | None = None
        self.shot: Shot | None = None
        self._clear()

    def _clear(self) -> None:
        """Forget the last request."""
        self._response = Response()
        self._stamps: list[int] = []
        self._empty: list[tuple[int, bool]] = []
        self._chunk_tokens: list[int] | None = None
        self._usage: tuple[int | None, int | None, int | None] = (None, None, None)
        self._finish_reason: str | None = None
        self._failure: tuple[str, str] | None = None
        self._texts: list[str] | None = None
        self._chars = 0
        self._uncertain = 0
        self._done = False
        self._retried = False
        self._was_idle = False
        self.sent_ns = 0
        self.last_ns = 0

    @property
    def is_open(self) -> bool:
        """Whether it has a socket that is connected or connecting."""
        return self._sock is not None

    # Opening

    def open(self) -> None:
        """Begin to connect; the owner hears `idle` or, when a request was waiting, its end."""
        self._connecting = True
        self._idle_since_ns = 0
        self._started_ns = monotonic_ns()
        try:
            sock = socket.socket(self._peer.family, socket.SOCK_STREAM)
            self._sock = sock
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._owner.use_kernel_stamps and ask_kernel_stamps(sock):
                self._owner.tally.kernel_stamps = True
            self._recvmsg_into = sock.recvmsg_into
            code = sock.connect_ex(self._peer.address)
        except OSError as error:
            self._lost(error_class(error), error.strerror or str(error))
            return
        if code not in (0, errno.EINPROGRESS):
            self._lost(ERROR_CLASSES.get(code, "connect_failed"), errno_text(code))
            return
        self._owner.loop.add_writer(sock.fileno(), self._connected)

    def _connected(self) -> None:
        sock = self._sock
        assert sock is not None
        self._owner.loop.remove_writer(sock.fileno())
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._lost(ERROR_CLASSES.get(code, "connect_failed"), errno_text(code))
            return
        self._owner.loop.add_reader(sock.fileno(), self._readable)
        if self._peer.tls is None:
            self._opened()
            return
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = self._peer.tls.wrap_bio(
            self._incoming, self._outgoing, server_hostname=self._peer.server_hostname
        )
        self._handshake()

    def _handshake(self) -> bool:
        """Go on with the TLS handshake; say whether it is done."""
        assert self._tls is not None
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._push()
            return False
        except (ssl.SSLError, ValueError) as error:
            self._lost("tls", tls_text(error))
            return False
        self._opened()
        self._push()
        return True

    def _opened(self) -> None:
        self._connecting = False
        self._connect_us = (monotonic_ns() - self._started_ns) // 1000
        self._owner.tally.connect_us.append(self._connect_us)
        if self.shot is None:
            self._connect_us = None  # it fell before the request, so no request waited for it
            self._owner.idle(self)
        else:
            self._transmit()

    # Sending

    def start(self, shot: Shot) -> None:
        """Send the request, opening the connection first when it is closed."""
        self._clear()
        self.shot = shot
        self._was_idle = 0 < self._idle_since_ns < monotonic_ns() - STALE_NS
        self.sent_ns = self.last_ns = monotonic_ns()
        if shot.follow is not None:
            self._texts = []
        if self._sock is None:
            self._connect_us = None
            self.open()
        elif not self._connecting:
            self._transmit()

    def _transmit(self) -> None:
        assert self.shot is not None
        if not self._retried:
            self.sent_ns = self.last_ns = monotonic_ns()
        if self._tls is None:
            self._unsent += self.shot.request
        else:
            self._tls.write(self.shot.request)
        self._push()

    def _push(self) -> None:
        """Write what is unsent; what the socket does not take now goes when it can."""
        sock = self._sock
        if sock is None:
            return
        if self._tls is not None:
            self._unsent += self._outgoing.read()
        if not self._unsent:
            return
        try:
            sent = sock.send(self._unsent)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._lost(error_class(error), error.strerror or str(error))
            return
        self._unsent = self._unsent[sent:]
        if self._unsent:
            self._owner.loop.add_writer(sock.fileno(), self._writable)

    def _writable(self) -> None:
        if self._sock is not None:
            self._owner.loop.remove_writer(self._sock.fileno())
            self._push()

    # Reading

    def _readable(self) -> None:
        try:
            size, control, _, _ = self._recvmsg_into(BUFFERS, CONTROL_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._lost(error_class(error), error.strerror or str(error))
            return
        now_ns = monotonic_ns()
        data = bytes(BUFFER[:size])
        owner = self._owner
        tally = owner.tally
        if control:
            seconds, nanoseconds = unpack_timespec(control[0][2])
            stamp_ns = seconds * 1_000_000_000 + nanoseconds - owner.offset_ns
            tally.lags_us.append((now_ns - stamp_ns) // 1000)
        else:
            stamp_ns = now_ns
            tally.unstamped += 1
        tally.reads += 1
        closed = not data
        if self._tls is not None:
            data, closed = self._decrypt(data)
            if not data and not closed:
                return
        if self.shot is None:
            self._lost("", "")
            return
        self.last_ns = now_ns
        try:
            payloads = self._response.end() if closed else self._response.feed(data)
        except WireFault as fault:
            self._lost(fault.error_class, str(fault))
            return
        if payloads:
            self._absorb(payloads, stamp_ns, now_ns - stamp_ns > LATE_READ_NS)
        if self._response.complete:
            self._finish(stamp_ns)
        elif len(self._stamps) > self.shot.output_asked * ENDLESS_FACTOR + ENDLESS_SLACK:
            self._lost(
                "endless", f"{len(self._stamps)} chunks for {self.shot.output_asked} tokens asked, and no end"
            )

    def _absorb(self, payloads: list[bytes], stamp_ns: int, late: bool) -> None:
        """Take what the events say; all of them came with one stamp."""
        delta_of = self._owner.delta_of
        stamps = self._stamps
        before, closing = len(stamps), 0
        for payload in payloads:
            if payload == b"[DONE]":
                self._done = True
                continue
            try:
                text, finish_reason, usage, done = delta_of(loads(payload))
            except StreamFailure as failure:
                self._failure = self._failure or ("stream_error", str(failure))
                continue
            except (ValueError, KeyError, TypeError, AttributeError, IndexError):
                self._failure = self._failure or (
                    "bad_json",
                    f"an event that is not as it should be: {payload[:80]!r}",
                )
                continue
            if text:
                stamps.append(stamp_ns)
                self._chars += len(text)
                if self._texts is not None:
                    self._texts.append(text)
            elif text == "":
                closes = finish_reason is not None
                closing += closes
                self._empty.append((len(stamps), closes))
                stamps.append(stamp_ns)
            if finish_reason:
                self._finish_reason = finish_reason
            if usage:
                self._take_usage(usage, text)
            if done:
                self._done = True
        chunks = len(stamps) - before - closing
        tally = self._owner.tally
        tally.events += chunks
        if chunks > 1:  # only the last one's stamp is certain
            self._uncertain += chunks - 1
            tally.uncertain += chunks - 1
            tally.late_uncertain += (chunks - 1) * late

    def _take_usage(self, usage: dict[str, Any], text: str | None) -> None:
        before = self._usage
        after = usage_tokens(usage)
        self._usage = (
            before[0] if after[0] is None else after[0],
            before[1] if after[1] is None else after[1],
            before[2] if after[2] is None else after[2],
        )
        if text is not None and after[1] is not None:
            # continuous_usage_stats: what was counted so far, so the difference is this chunk's.
            if self._chunk_tokens is None:
                self._chunk_tokens = []
            self._chunk_tokens += [0] * (len(self._stamps) - 1 - len(self._chunk_tokens))
            self._chunk_tokens.append(after[1] - (before[1] or 0))

    def _decrypt(self, data: bytes) -> tuple[bytes, bool]:
        """Turn what arrived into what it says, and whether the peer has closed."""
        assert self._tls is not None
        closed = not data
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()
        if self._connecting and not self._handshake():
            return b"", False
        plain = []
        try:
            while piece := self._tls.read(READ_BYTES):
                plain.append(piece)
        except ssl.SSLWantReadError:
            pass
        except (ssl.SSLError, ValueError):
            closed = True
        return b"".join(plain), closed and not plain

    # Ending

    def _finish(self, done_ns: int) -> None:
        """The response is whole."""
        response = self._response
        if response.status != 200:
            self._failure = (f"http_{response.status}", http_text(response))
        elif not response.is_stream:
            kind = response.headers.get("content-type", "no content type")
            self._failure = ("not_a_stream", f"the answer is {kind}, not a stream: {response.body[:60]!r}")
        elif self._failure is None and not (self._done or self._finish_reason):
            self._failure = ("truncated", "the stream ended without [DONE]")
        elif self._failure is None and not self._stamps:
            self._failure = ("no_tokens", "the answer holds no token")
        if not response.keep_alive:
            self._close()
        self._end(done_ns)

    def _end(self, done_ns: int) -> None:
        shot, self.shot = self.shot, None
        assert shot is not None
        self._idle_since_ns = monotonic_ns()
        self._owner.finished(
            self,
            Outcome(
                shot,
                self.sent_ns,
                done_ns,
                self._connect_us,
                self._response.status,
                self._failure,
                self._stamps,
                self._empty,
                self._chunk_tokens,
                self._usage,
                self._chars,
                self._finish_reason,
                self._uncertain,
                "".join(self._texts or ()),
            ),
        )

    def _lost(self, kind: str, message: str) -> None:
        """The connection is gone or cannot be used any more; the request it carried, if any, has failed."""
        opening = self._connecting
        untouched = self._response.status == 0 and kind in ("reset", "no_response")
        self._close()
        if self.shot is None:
            self._owner.down(self)
        elif untouched and not opening and self._was_idle and not self._retried:
            # The server closed a connection it had kept alive just as we used it again: nothing was served.
            self._owner.tally.reconnects += 1
            self._retried = True
            self._response = Response()
            self.open()
        elif self._done and not opening:
            self._end(self._stamps[-1] if self._stamps else monotonic_ns())
        else:
            self._failure = (kind, message)
            self._end(monotonic_ns())

    def abort(self, kind: str, message: str) -> None:
        """Give the request up, for a time limit or because the run ends."""
        self._retried = True
        self._done = False
        self._lost(kind, message)

    def close(self) -> None:
        """Close without a word; for a connection that carries nothing."""
        self.shot = None
        self._close()

    def _close(self) -> None:
        if self._sock is not None:
            if self._sock.fileno() >= 0:
                self._owner.loop.remove_reader(self._sock.fileno())
                self._owner.loop.remove_writer(self._sock.fileno())
            self._sock.close()
        self._sock = None
        self._tls = None
        self._connecting = False
        self._unsent = b""


def error_class(error: OSError) -> str:
    """The class a socket's error is counted in."""
    return ERROR_CLASSES.get(error.errno or 0, "connection_failed")


def errno_text(code: int) -> str:
    """The system's words for an error number."""
    return os.strerror(code)


def tls_text(error: Exception) -> str:
    """What a failed handshake says, without OpenSSL's file names."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not trusted: {error.verify_message}"
    reason = getattr(error, "reason", None) or str(error)
    return f"the TLS handshake failed: {reason}"


def http_text(response: Response) -> str:
    """What the body of an error answer says, and when the server wants to be asked again."""
    try:
        text = error_text(loads(response.body))
    except ValueError:
        text = response.body[:120].decode(errors="replace").strip()
    wait = response.headers.get("retry-after")
    return f"{text} (Retry-After: {wait})" if wait else text
