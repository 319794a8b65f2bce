"""What all connections of a process count together."""

from array import array
from dataclasses import dataclass, field

BEAT_US = 20_000
"""From one beat of the loop to the next, where nothing comes."""
MOST_LEFT_OPEN = 3
"""After so many answers whose response went on after their last word, and none that ended, none is waited for."""
MOST_DEAD = 3
"""After so many kept connections that died at their next request, and none that answered, none is kept any more."""


@dataclass(slots=True)
class Tally:
    """Reads, events and how late they were; the empty chunk that closes a stream is no event."""

    lags_us: "array[int]" = field(default_factory=lambda: array("q"))
    connect_us: list[int] = field(default_factory=list)
    reads: int = 0
    events: int = 0
    uncertain: int = 0
    late_uncertain: int = 0
    unstamped: int = 0
    reconnects: int = 0
    """Requests sent again on a new connection, since the kept one died before a byte of an answer."""
    reused: int = 0
    """Requests that a kept connection answered."""
    ended: int = 0
    """Responses that ended as HTTP has it."""
    left_open: int = 0
    """Those that went on after the answer's last word."""
    looked_ns: int = 0
    """All that had come by then has been read: a heartbeat of the loop."""
    late_us: list[int] = field(default_factory=list)
    """How late each beat was."""
    keeps_none: bool = False
    """Whether connections are closed after their answer."""
    kernel_stamps: bool = False

    @property
    def leaves_open(self) -> bool:
        """Whether the server ends no response, so that nothing is to be waited for after an answer's last word."""
        return self.left_open >= MOST_LEFT_OPEN and not self.ended

    def read(self, stamp_ns: int, now_ns: int) -> None:
        """One read, with the kernel's stamp or none (0)."""
        self.reads += 1
        if stamp_ns:
            self.lags_us.append((now_ns - stamp_ns) // 1000)
        else:
            self.unstamped += 1

    def late(self, late_us: int) -> None:
        """A beat that was so late; those it missed meanwhile would have been late too."""
        self.late_us += range(late_us, -1, -BEAT_US)

    def died(self) -> None:
        """A kept connection died at its next request. Where all do, the server closes them without saying so."""
        self.reconnects += 1
        if self.reconnects >= MOST_DEAD and not self.reused:
            self.keeps_none = True

    def held_up(self, chunks: int, since_us: int) -> None:
        """Of the last read's chunks the earlier ones waited longer: counted as if come evenly in that time."""
        if self.lags_us:
            last_us = self.lags_us[-1]
            self.lags_us.extend(last_us + since_us * later // chunks for later in range(1, chunks))
