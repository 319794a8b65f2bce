"""PURE: what an Xid in the kernel's log asks for, by NVIDIA's catalogue (xids.toml)."""

from functools import cache
from typing import Literal, get_args

from infra.data import shipped_table

Action = Literal["reboot", "reset", "link", "support", "restart", "ignore"]
"""What to do, what is worst first; `link` is a look at NVLink and its switches."""
ACTIONS: tuple[Action, ...] = get_args(Action)
BROKEN = ("reboot", "reset", "link")
"""What no start of a server mends."""


@cache
def xids() -> dict[int, tuple[str, Action]]:
    """By number, the description and the action."""
    table = shipped_table("infra", "xids.toml")
    return {row[0]: (row[1], action) for action in ACTIONS for row in table.get(action, [])}


def broken_xids() -> list[int]:
    """The numbers of those of which no start mends what they tell."""
    return sorted(number for number, (_, action) in xids().items() if action in BROKEN)
