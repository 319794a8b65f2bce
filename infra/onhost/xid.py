"""PURE: an Xid in the kernel's log: its number and its GPU, and whether it bars another start of a server."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import NamedTuple

XID = re.compile(
    r"NVRM: Xid \(?(?:PCI:)?([0-9a-fA-F]{4}(?:[0-9a-fA-F]{4})?:[0-9a-fA-F]{2}:[0-9a-fA-F]{2}[.\d]*)\)?.*?"
    r": (\d{1,4})(?:, |$)"
)
FALLEN = re.compile(r"NVRM: (?:GPU (\S+): )?(?:GPU has )?fallen off the bus")
FALLEN_XID = 79
TELLS_FOR_S = 900.0
"""How long before an end a GPU may have failed that explains it: NCCL waits ten minutes for one that is gone."""


class Xid(NamedTuple):
    """One of them."""

    number: int
    bus: str
    """The GPU's PCI address; "" where it is not said."""


def of_line(line: str) -> Xid | None:
    """What a line of the kernel's says, without the time before it; None for one that says none."""
    if said := XID.match(line):
        return Xid(int(said[2]), said[1])
    if fallen := FALLEN.match(line):
        return Xid(FALLEN_XID, (fallen[1] or "").rstrip(":"))
    return None


def barring(lines: Iterable[str], numbers: Collection[int], buses: Collection[str] | None) -> list[Xid]:
    """Those that no start mends, which have these numbers, of the GPUs at these addresses, which the next one takes.

    `buses` is None where GPUs are gone, and nobody can say which.
    """
    ours = None if buses is None else {address(bus) for bus in buses}
    found = (each for line in lines if (each := of_line(line)) and each.number in numbers)
    return [each for each in found if ours is None or address(each.bus) in ours]


def address(bus: str) -> str:
    """A PCI address as one text: the kernel writes 0000:cb:00 of what the driver calls 00000000:CB:00.0."""
    return bus.lower().partition(".")[0].lstrip("0")
