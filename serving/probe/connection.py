"""Door: one connection to the endpoint: its socket, and the request it carries."""

import asyncio
import errno
import os
import socket
import ssl
from time import monotonic_ns
from typing import Any, NamedTuple, Protocol

from serving.probe.buffering import PAUSE_NS
from serving.probe.compiled import Stream
from serving.probe.exchange import Answer, Shot, failure_words
from serving.probe.kernel_stamps import ask_kernel_stamps
from serving.probe.shared import Shared
from serving.probe.tls import Tls, TlsFault
from serving.probe.wire import Response, WireFault

# A read this long after its bytes came in was held up by this process or machine.
LATE_READ_NS = 1_000_000
UNARMED = (b"", b"")
LAST_WORDS_S = 0.02
"""What may still come of an answer that is over: its usage, and the end of its framing. Beyond it nobody waits."""

ERROR_CLASSES = {
    errno.ECONNREFUSED: "connect_refused",
    errno.ENOENT: "connect_refused",  # of a Unix socket
    errno.EAGAIN: "connect_refused",  # of one whose queue is full
    errno.ECONNRESET: "reset",
    errno.EPIPE: "reset",
    errno.ECONNABORTED: "reset",
    errno.ETIMEDOUT: "connect_timeout",
    errno.EHOSTUNREACH: "unreachable",
    errno.ENETUNREACH: "unreachable",
    errno.EMFILE: "client_limit",
    errno.ENFILE: "client_limit",
    errno.ENOSPC: "client_limit",  # of epoll: fs.epoll.max_user_watches
    errno.EADDRNOTAVAIL: "client_limit",
}


class Peer(NamedTuple):
    """Where to connect: a resolved address, and TLS when it is wanted."""

    family: socket.AddressFamily
    address: Any
    tls: ssl.SSLContext | None
    server_hostname: str
    connect: bytes = b""
    """What the proxy before it is asked for a tunnel, where there is one."""


class Owner(Protocol):
    """Who gives a connection its requests."""

    def idle(self, connection: "Connection") -> None:
        """The connection can take a request."""

    def finished(self, connection: "Connection", answer: Answer) -> None:
        """A request has ended, well or not."""

    def down(self, connection: "Connection") -> None:
        """The connection is closed and carries nothing."""


class Connection:
    """One TCP connection, opened again when the server closes it."""

    __slots__ = (
        "_connect_us",
        "_connecting",
        "_is_kept",
        "_last_ns",
        "_last_words",
        "_owner",
        "_peer",
        "_response",
        "_retried",
        "_shared",
        "_sock",
        "_started_ns",
        "_stream",
        "_tls",
        "_unsent",
        "answer",
    )

    def __init__(self, shared: Shared, owner: Owner, peer: Peer) -> None:
        self._shared = shared
        self._owner = owner
        self._peer = peer
        self._sock: socket.socket | None = None
        self._stream: Stream | None = None
        self._tls: Tls | None = None
        self._response = Response()
        self._connecting = False
        self._unsent = b""
        self._is_kept = False
        self._connect_us: int | None = None
        self._retried = False
        self.answer: Answer | None = None
        """Of the request it carries."""
        self._last_ns = 0
        self._last_words: asyncio.TimerHandle | None = None

    @property
    def is_open(self) -> bool:
        """Whether it has a socket that is connected or connecting."""
        return self._sock is not None

    @property
    def last_ns(self) -> int:
        """When it last heard something."""
        return self._last_ns if self._stream is None else max(self._last_ns, self._stream.last_ns)

    # Opening

    def open(self) -> None:
        """Begin to connect; the owner hears `idle` or, when a request was waiting, its end."""
        self._connecting = True
        self._is_kept = False
        self._started_ns = monotonic_ns()
        try:
            sock = socket.socket(self._peer.family, socket.SOCK_STREAM)
            self._sock = sock
            sock.setblocking(False)
            if self._peer.family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if (
                self._peer.family != socket.AF_UNIX
                and self._shared.use_kernel_stamps
                and ask_kernel_stamps(sock)
            ):
                self._shared.tally.kernel_stamps = True
            code = sock.connect_ex(self._peer.address)
        except OSError as error:
            self.lost_by(error.errno or 0)
            return
        if code not in (0, errno.EINPROGRESS):
            self.lost_by(code)
            return
        self._shared.loop.add_writer(sock.fileno(), self._connected)

    def _connected(self) -> None:
        sock = self._sock
        assert sock is not None
        self._shared.loop.remove_writer(sock.fileno())
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self.lost_by(code)
            return
        try:
            self._stream = self._shared.reader.add(self, sock)
        except OSError as error:
            self.lost_by(error.errno or 0)
            return
        if self._peer.tls is None:
            self._opened()
        else:
            self._tls = Tls(self._peer.tls, self._peer.server_hostname, self._peer.connect)
            self._shake(self._tls)

    def _shake(self, tls: Tls) -> bool:
        """Go on with the TLS handshake; say whether it is done."""
        try:
            done = tls.shake()
        except TlsFault as fault:
            self._lost(fault.error_class, str(fault))
            return False
        if done:
            self._opened()
        self._push()
        return done

    def _opened(self) -> None:
        self._connecting = False
        took_us = (monotonic_ns() - self._started_ns) // 1000
        self._shared.tally.connect_us.append(took_us)
        if self.answer is None:
            self._owner.idle(self)
        else:
            self._connect_us = took_us
            self._transmit(self.answer)

    # Sending

    def start(self, shot: Shot) -> None:
        """Send the request, opening the connection first when it is closed."""
        self._response = Response()
        self._retried = False
        self._connect_us = None
        now_ns = self._last_ns = monotonic_ns()
        self.answer = Answer(shot, None if shot.follow is None else [], now_ns)
        if self._sock is None:
            self.open()
        elif not self._connecting:
            self._transmit(self.answer)

    def _transmit(self, answer: Answer) -> None:
        if not self._retried:
            answer.sent_ns = self._last_ns = monotonic_ns()
        if self._tls is None:
            self._unsent += answer.shot.request
        else:
            self._tls.write(answer.shot.request)
        self._push()

    def _push(self) -> None:
        """Write what is unsent; what the socket does not take now goes when it can."""
        sock = self._sock
        if sock is None:
            return
        if self._tls is not None:
            self._unsent += self._tls.to_send()
        if not self._unsent:
            return
        try:
            sent = sock.send(self._unsent)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self.lost_by(error.errno or 0)
            return
        self._unsent = self._unsent[sent:]
        if self._unsent:
            self._shared.loop.add_writer(sock.fileno(), self._writable)

    def _writable(self) -> None:
        if self._sock is not None:
            self._shared.loop.remove_writer(self._sock.fileno())
            self._push()

    # Reading

    def received(self, data: bytes, stamp_ns: int, now_ns: int) -> None:
        """Take what came over the socket; nothing when the peer has closed."""
        shared = self._shared
        closed = not data
        if self._tls is not None:
            self._tls.received(data)
            if self._connecting and not self._shake(self._tls):
                return
            data, closed = self._tls.read()
            if not data and not closed:
                return
        answer, response = self.answer, self._response
        was_over = answer is not None and answer.ended
        if answer is None:
            self._lost("", "")
            return
        self._last_ns = now_ns
        stream = self._stream if self._tls is None else None
        if stream is not None:
            self._collect(stream, answer)
        try:
            payloads = response.end() if closed else response.feed(data)
        except WireFault as fault:
            self._lost(fault.error_class, str(fault))
            return
        if answer.cut_ns:
            answer.cuts += stamp_ns - answer.cut_ns > PAUSE_NS
            answer.cut_ns = 0
        if len(payloads) > 1:
            answer.burst(stamp_ns, now_ns, shared.tally, response.is_cut)
        if payloads:
            late = now_ns - stamp_ns > LATE_READ_NS
            answer.absorb(payloads, stamp_ns, shared.read_event, shared.tally, late)
        if response.error is not None and not was_over:
            answer.fail("stream_error", failure_words(response.error))
        if stream is not None:
            counts = response.between and answer.texts is None and not answer.ended
            stream.arm(answer.around if counts else UNARMED, answer.newest)
        if response.complete:
            answer.complete(response)
            shared.tally.ended += 1
            shared.tally.reused += self._is_kept
            if not response.keep_alive or shared.tally.keeps_none or self._unsent:
                self._close()
            self._end(answer, stamp_ns)
        elif answer.ended:
            if shared.tally.leaves_open and answer.counts[1] is not None:
                self._said_all(stamp_ns)
            elif not was_over:
                self._last_words = shared.loop.call_later(LAST_WORDS_S, self._said_all, stamp_ns)
        elif answer.endless:
            asked = answer.shot.output_asked
            self._lost("endless", f"{len(answer.stamps_ns)} chunks for {asked} tokens asked, and no end")

    def _said_all(self, over_ns: int) -> None:
        """The answer is over, and its response goes on: this connection cannot take another request."""
        answer = self.answer
        if answer is not None:
            self._shared.tally.left_open += 1
            answer.complete(self._response)
            self._close()
            self._end(answer, over_ns)

    def _collect(self, stream: Stream, answer: Answer) -> None:
        """Take the events that the reader has counted."""
        if stamped := stream.stamped:
            answer.take_unread(stream.stamps_ns[:stamped], stream.chars)
            stream.stamped = stream.chars = 0

    # Ending

    def _end(self, answer: Answer, done_ns: int) -> None:
        answer.done_ns = done_ns
        answer.connect_us = self._connect_us
        answer.resent = self._retried
        self.answer = None
        self._is_kept = True
        self._hush()
        self._owner.finished(self, answer)

    def _lost(self, error_class: str, message: str) -> None:
        """The connection is gone or cannot be used any more; the request it carried, if any, has failed."""
        opening, answer = self._connecting, self.answer
        unheard = not self._response.begun and error_class in ("reset", "no_response")
        kept = self._is_kept
        if answer is not None and self._stream is not None:
            self._collect(self._stream, answer)
        self._close()
        if answer is None:
            self._owner.down(self)
            return
        answer.status = self._response.status
        if unheard and kept and not opening and not self._retried:
            # The server closed a connection it had kept just as we used it again: nothing was served.
            self._shared.tally.died()
            self._retried = True
            self._response = Response()
            self.open()
        elif answer.ended and not opening:
            self._end(answer, answer.stamps_ns[-1] if answer.stamps_ns else monotonic_ns())
        else:
            answer.fail(error_class, message)
            self._end(answer, monotonic_ns())

    def lost_by(self, code: int) -> None:
        """Lost, for the system's reason of that number."""
        self._lost(ERROR_CLASSES.get(code, "connection_failed"), os.strerror(code))

    def abort(self, error_class: str, message: str) -> None:
        """Give the request up, for a time limit or because the run ends."""
        self._is_kept = False
        if self.answer is not None and not self.answer.ended:
            self.answer.failure = (error_class, message)
        self._lost(error_class, message)

    def close(self) -> None:
        """Close without a word; for a connection that carries nothing."""
        self.answer = None
        self._hush()
        self._close()

    def _hush(self) -> None:
        """Nothing is waited for after an answer's end."""
        if self._last_words is not None:
            self._last_words.cancel()
            self._last_words = None

    def _close(self) -> None:
        if self._sock is not None:
            if self._sock.fileno() >= 0:
                self._shared.reader.remove(self._sock, self._stream)
                self._shared.loop.remove_writer(self._sock.fileno())
            self._sock.close()
        self._sock = self._stream = None
        self._tls = None
        self._connecting = False
        self._unsent = b""
