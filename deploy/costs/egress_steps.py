"""PURE: what data out to the internet costs a month, in AWS's steps."""

from datetime import date
from decimal import Decimal
from functools import cache

from infra.data import shipped_table
from infra.record import Record


class Step(Record):
    """One price, for what is beyond the step before."""

    up_to_gb: Decimal | None = None
    """None: whatever is left."""
    usd_per_gb: Decimal


class Steps(Record):
    """All of them, the cheapest use first, and who says so."""

    checked_on: date
    source: str
    standing: str
    step: tuple[Step, ...]


@cache
def egress_steps() -> Steps:
    """Parse egress.toml once."""
    return Steps.model_validate(shipped_table("deploy.costs", "egress.toml"))


def egress_usd(gb: Decimal) -> Decimal:
    """So many GB in one month."""
    usd = before = Decimal(0)
    for step in egress_steps().step:
        upto = gb if step.up_to_gb is None else min(gb, step.up_to_gb)
        usd += (upto - before) * step.usd_per_gb
        before = upto
    return usd
