"""What a cost takes that no probe measures: the user's values where given, else ours with source and standing."""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from functools import cache
from typing import Literal

from deploy.costs.ask_cost import number
from infra.data import shipped_table
from infra.money import Number
from infra.record import Record

Standing = Literal["convention", "secondary", "unverified", "placeholder"]
Whose = Literal["yours", "measured", "modelled", "list price", "ours", "our placeholder, not your value"]
PLACEHOLDER: Whose = "our placeholder, not your value"


class Knob(Record):
    """One such value, as knobs.toml has it."""

    means: str
    value: Decimal
    least: Decimal
    most: Decimal
    standing: Standing
    source: str


class Knobs(Record):
    """The values of one calculation. What each means, and its unit, is in knobs.toml."""

    utilisation: Number
    hours_per_month: Number
    replicas: Number
    storage_gb: Number
    usd_per_storage_gb_month: Number
    egress_gb: Number
    usd_per_egress_gb: Number
    other_usd_per_month: Number
    ops_fte: Number
    usd_per_fte_year: Number
    life_years: Number
    residual_fraction: Number
    power_kw: Number
    pue: Number
    usd_per_kwh: Number
    hosting_usd_per_month: Number


class Assumption(Record):
    """One figure a comparison rests on: whose it is, and where it is from."""

    name: str
    means: str
    value: str
    whose: Whose
    source: str
    checked_on: date | None = None


def knobs(given: Mapping[str, Decimal | float | int]) -> Knobs:
    """The given values, checked, and ours for the rest. Raises UsageError for one outside its range."""
    values = {
        name: number(option(name), given[name], knob.least, knob.most) if name in given else knob.value
        for name, knob in table().items()
    }
    return Knobs.model_validate(values)


def option(name: str) -> str:
    """The command line option of a knob."""
    return "--" + name.replace("_", "-")


def assumption(name: str, knobs: Knobs, given: Mapping[str, object]) -> Assumption:
    """How a knob is said in the report."""
    knob = table()[name]
    ours: Whose = PLACEHOLDER if knob.standing == "placeholder" else "ours"
    standing = f" ({knob.standing})" if knob.standing in ("secondary", "unverified") else ""
    return Assumption(
        name=name,
        means=knob.means,
        value=f"{getattr(knobs, name):f}",
        whose="yours" if name in given else ours,
        source=option(name) if name in given else knob.source + standing,
    )


@cache
def table() -> dict[str, Knob]:
    """Parse knobs.toml once."""
    rows = shipped_table("deploy.costs", "knobs.toml")
    return {name: Knob.model_validate(row) for name, row in rows.items()}
