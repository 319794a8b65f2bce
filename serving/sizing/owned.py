"""PURE: machines that somebody owns, by shape and count, as they are typed: 8xA100-40GB=1, 2xA100-80GB=3@5.50."""

import re
from decimal import Decimal
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from infra.catalog import canonical
from infra.errors import UsageError
from infra.money import Usd
from infra.record import Record

MOST_OF_A_SHAPE = 10_000
TYPED = re.compile(
    r"(?P<machine>[^=@\s]{1,60}(?: [^=@\s]{1,60}){0,3})\s*=\s*(?P<count>\d{1,9})\s*"
    r"(?:@\s*\$?(?P<usd>\d{1,9}(?:\.\d{1,9})?))?",
    re.ASCII,
)
EXAMPLE = "Write it as --have 8xA100-40GB=1, with USD an hour of each as 2xA100-80GB=3@5.50."


class Owned(Record):
    """So many machines of one shape."""

    machine: Annotated[str, AfterValidator(canonical)]
    """The shape, as COUNTxGPU, or an EC2 type; however it was spelled, the catalogue's name of it."""
    count: Annotated[int, Field(ge=1, le=MOST_OF_A_SHAPE)]
    """How many."""
    usd_per_hour: Usd | None = None
    """What each costs, where that is known."""

    def __str__(self) -> str:
        """As it is typed."""
        return f"{self.machine}={self.count}" + (f"@{self.usd_per_hour:f}" if self.usd_per_hour else "")


def owned_typed(typed: Any) -> Any:
    """The machines that a text says. Raises UsageError."""
    if not isinstance(typed, str):
        return typed
    parts = TYPED.fullmatch(typed.strip())
    if not parts:
        raise UsageError(f"--have {typed} is not a shape and a count.", EXAMPLE)
    count, usd = int(parts["count"]), parts["usd"]
    if not 1 <= count <= MOST_OF_A_SHAPE:
        raise UsageError(
            f"--have {typed} has {count} machines, which is not between 1 and {MOST_OF_A_SHAPE:,}.", EXAMPLE
        )
    if usd is not None and not Decimal(usd):
        raise UsageError(
            f"--have {typed} has a price of 0.", "Leave the price out, or say what it costs an hour."
        )
    return Owned(machine=parts["machine"], count=count, usd_per_hour=Decimal(usd) if usd else None)


AskedOwned = Annotated[Owned, BeforeValidator(owned_typed)]
