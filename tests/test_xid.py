"""An Xid as the kernel writes it: its number, its GPU, and whether another start is barred."""

import pytest

from infra.onhost import xid
from infra.onhost.xid import Xid


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("NVRM: Xid (PCI:0000:cb:00): 79, pid=1, GPU has fallen off the bus.", Xid(79, "0000:cb:00")),
        ("NVRM: Xid (PCI:00000000:CB:00.0): 48, pid=1", Xid(48, "00000000:CB:00.0")),
        ("NVRM: Xid 0000:0a:00: 31", Xid(31, "0000:0a:00")),
        ("NVRM: Xid (0000:0a:00): 8, Channel 1", Xid(8, "0000:0a:00")),
        ("NVRM: Xid (PCI:0000:0a:00): 12345, x", None),
        ("NVRM: Xid (PCI:0000:0a:00): 13 is no number of one", None),
        ("NVRM: GPU 0000:cb:00.0: GPU has fallen off the bus.", Xid(79, "0000:cb:00.0")),
        ("NVRM: GPU has fallen off the bus.", Xid(79, "")),
        ("NVRM: fallen off the bus", Xid(79, "")),
        ("it said NVRM: Xid (PCI:0000:cb:00): 79, x", None),
        ("", None),
    ],
)
def test_what_a_line_says(line: str, said: Xid | None) -> None:
    assert xid.of_line(line) == said


LINES = [
    "NVRM: Xid (PCI:0000:cb:00): 79, x",
    "NVRM: Xid (PCI:0000:0a:00): 48, x",
    "NVRM: Xid (PCI:0000:cb:00): 31, x",
    "nonsense",
    "NVRM: GPU has fallen off the bus.",
]


@pytest.mark.parametrize(
    ("buses", "barring"),
    [
        (["00000000:CB:00.0"], [Xid(79, "0000:cb:00")]),
        (["0000:0A:00.0", "00000000:CB:00.0"], [Xid(79, "0000:cb:00"), Xid(48, "0000:0a:00")]),
        ([], []),
        (None, [Xid(79, "0000:cb:00"), Xid(48, "0000:0a:00"), Xid(79, "")]),
    ],
)
def test_which_bar_another_start(buses: list[str] | None, barring: list[Xid]) -> None:
    assert xid.barring(LINES, (48, 79), buses) == barring
    assert xid.TELLS_FOR_S == 900.0
