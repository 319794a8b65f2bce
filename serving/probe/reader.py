"""Door: the sockets' bytes: which ones have something, and what, with the kernel's stamps.

At 256 streams a client spends its time on reading events one by one, nearly all of them the same but for their text.
The compiled reader does that part in C, many sockets at a call, and hands over whatever is not such an event; where
it cannot be had, each read is Python's.
"""

import ctypes
import os
import select
import socket
from asyncio import AbstractEventLoop
from collections.abc import Callable
from itertools import count
from struct import iter_unpack
from time import monotonic_ns
from typing import Protocol

from serving.probe.compiled import Batch, Handed, NotCompiled, Stream, library
from serving.probe.kernel_stamps import CONTROL_BYTES, MOST_AHEAD_NS, MOST_LAG_NS, unpack_timespec
from serving.probe.tally import Tally

READ_BYTES = 65536
# Of 50 us and the timer's slack, so that a burst is read at a few calls and nothing waits for half a millisecond. Only
# where the kernel has stamped what comes meanwhile.
RESTS = 3
Message = tuple[int, list[tuple[int, int, bytes]], int, object]
"""What recvmsg_into returns."""


class Owner(Protocol):
    """What a reader shares with the connections it reads for."""

    loop: AbstractEventLoop
    tally: Tally
    offset_ns: int


class Listener(Protocol):
    """Who hears what came over one socket."""

    def received(self, data: bytes, stamp_ns: int, now_ns: int) -> None:
        """These bytes, none when the peer has closed; stamped then, read now, both on the monotonic clock."""

    def lost_by(self, code: int) -> None:
        """The socket cannot be read any more, for the system's reason of that number."""


class PythonReader:
    """Reads each socket when the loop says that it has something."""

    name = "python"

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        # All sockets are read into one buffer, one after another: a fresh one for each costs more than the copy.
        self._view = memoryview(bytearray(READ_BYTES))
        self._buffers = [self._view]

    def add(self, listener: Listener, sock: socket.socket) -> Stream | None:
        """Let the listener hear what comes over the socket."""
        self._owner.loop.add_reader(sock.fileno(), self._read, listener, sock.recvmsg_into)
        return None

    def remove(self, sock: socket.socket, stream: Stream | None) -> None:
        """No more from this socket; before it is closed."""
        self._owner.loop.remove_reader(sock.fileno())

    def begin(self) -> bool:
        """The run begins; whether it looks at its sockets now and then although nothing comes, and says how late."""
        return False

    def close(self) -> None:
        """The loop is about to end."""

    def _read(self, listener: Listener, recvmsg_into: Callable[..., Message]) -> None:
        try:
            size, control, _, _ = recvmsg_into(self._buffers, CONTROL_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            listener.lost_by(error.errno or 0)
            return
        now_ns = monotonic_ns()
        owner = self._owner
        stamp_ns = 0
        if control:
            seconds, nanoseconds = unpack_timespec(control[0][2])
            stamp_ns = seconds * 1_000_000_000 + nanoseconds - owner.offset_ns
            if not now_ns - MOST_LAG_NS <= stamp_ns <= now_ns + MOST_AHEAD_NS:
                stamp_ns = 0
        if size:  # its end is no read: it has neither bytes nor a stamp
            owner.tally.read(stamp_ns, now_ns)
        listener.received(bytes(self._view[:size]), stamp_ns or now_ns, now_ns)


class CompiledReader:
    """Reads all sockets that have something by one call of reader.c, which counts the events it is armed for."""

    name = "c"

    def __init__(self, owner: Owner) -> None:
        """Raises NotCompiled."""
        self._library = library()
        self._owner = owner
        self._poller = select.epoll()
        self._batch = Batch(timer=-1)
        self._at = ctypes.addressof(self._batch)
        self._numbers = count(1)
        self._listeners: dict[int, Listener] = {}
        owner.loop.add_reader(self._poller.fileno(), self._drain)

    def add(self, listener: Listener, sock: socket.socket) -> Stream | None:
        """Let the listener hear what comes over the socket, but for the events its stream is armed for.

        Raises OSError.
        """
        stream = Stream(number=next(self._numbers), fd=sock.fileno())
        if code := self._library.watch(self._poller.fileno(), stream):
            raise OSError(code, "epoll_ctl")
        self._listeners[stream.number] = listener
        return stream

    def remove(self, sock: socket.socket, stream: Stream | None) -> None:
        """No more from this socket; before it is closed."""
        if stream is not None and stream.number in self._listeners:
            del self._listeners[stream.number]
            self._poller.unregister(sock.fileno())

    def begin(self) -> bool:
        """The run begins; from now on it looks at its sockets now and then although nothing comes, where it can."""
        return not self._library.begin(self._poller.fileno(), self._batch)

    def close(self) -> None:
        """The loop is about to end."""
        self._owner.loop.remove_reader(self._poller.fileno())
        self._poller.close()
        if self._batch.timer >= 0:
            os.close(self._batch.timer)

    def _drain(self) -> None:
        owner, batch, at = self._owner, self._batch, self._at
        tally = owner.tally
        rests = RESTS if tally.kernel_stamps else 0
        self._library.drain(self._poller.fileno(), owner.offset_ns, rests, batch)
        if counted := batch.counted:
            unstamped = batch.unstamped
            tally.reads += counted
            tally.events += counted
            tally.unstamped += unstamped
            tally.lags_us.frombytes(ctypes.string_at(at + Batch.lags_us.offset, 8 * (counted - unstamped)))
        if handed := batch.handed:
            reads = ctypes.string_at(at + Batch.reads.offset, handed * ctypes.sizeof(Handed))
            start = at + Batch.data.offset
            for number, stamp_ns, now_ns, offset, size in iter_unpack("5q", reads):
                listener = self._listeners.get(number)
                if listener is None:  # closed since, by what another one heard
                    continue
                if size < 0:
                    listener.lost_by(-size)
                    continue
                if size:  # its end is no read: it has neither bytes nor a stamp
                    tally.read(stamp_ns, now_ns)
                listener.received(ctypes.string_at(start + offset, size), stamp_ns or now_ns, now_ns)
        tally.looked_ns = max(tally.looked_ns, batch.looked_ns)
        if (late_us := batch.late_us) >= 0:
            tally.late(late_us)


Reader = PythonReader | CompiledReader


def new_reader(owner: Owner, compiled: bool) -> tuple[Reader, str | None]:
    """The compiled reader where it is wanted and can be had, else Python's and why."""
    if not compiled:
        return PythonReader(owner), "it was not wanted"
    try:
        return CompiledReader(owner), None
    except NotCompiled as reason:
        return PythonReader(owner), str(reason)
