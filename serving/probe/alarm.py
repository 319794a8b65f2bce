"""Door: a timer of the kernel's that wakes the loop to a fraction of a millisecond.

uvloop's own timers count whole milliseconds: of 200 requests a second a tenth would leave in pairs.
"""

import ctypes
import os
import struct
from asyncio import AbstractEventLoop
from collections.abc import Callable
from time import monotonic_ns

CLOCK_MONOTONIC, TFD_TIMER_ABSTIME = 1, 1


class Alarm:
    """Calls `wake` at a moment; setting it again moves the moment."""

    def __init__(self, loop: AbstractEventLoop, wake: Callable[[], None]) -> None:
        self._loop = loop
        self._wake = wake
        self._libc = ctypes.CDLL(None)
        try:
            self._fd: int = self._libc.timerfd_create(CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        except AttributeError:  # no Linux
            self._fd = -1
        if self._fd >= 0:
            loop.add_reader(self._fd, self._ring)

    def set(self, at_ns: int) -> None:
        """Ring at that moment of the monotonic clock, or as soon as the loop gets to it."""
        at_ns = max(at_ns, 1)  # 0 would take the alarm away
        if self._fd < 0:
            self._loop.call_later(max(0, at_ns - monotonic_ns()) / 1e9, self._wake)
            return
        when = struct.pack("4q", 0, 0, *divmod(at_ns, 1_000_000_000))
        if self._libc.timerfd_settime(self._fd, TFD_TIMER_ABSTIME, when, None):
            self._loop.call_soon(self._wake)

    def close(self) -> None:
        """The loop is about to end."""
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _ring(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:
            return
        self._wake()
