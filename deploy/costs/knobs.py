"""What a cost takes that no probe measures: the user's values where given, else ours with source and standing."""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from functools import cache
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from pydantic.fields import FieldInfo

from infra.asked import Asked, Flag
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


@cache
def table() -> dict[str, Knob]:
    """Parse knobs.toml once."""
    rows = shipped_table("deploy.costs", "knobs.toml")
    return {name: Knob.model_validate(row) for name, row in rows.items()}


def bounded(name: str) -> FieldInfo:
    """The check and the help of a knob, from its row."""
    knob = table()[name]
    described: FieldInfo = Field(
        ge=knob.least,
        le=knob.most,
        examples=[knob.value],
        description=f"{knob.means[:1].upper()}{knob.means[1:]}. [{knob.value}]",
    )
    return described


class KnobOptions(Asked):
    """The user's own values of the knobs; None is ours."""

    heading: ClassVar[str] = "The machine, kept up for a month"

    utilisation: Annotated[Decimal | None, Flag(kind=float), bounded("utilisation")] = None
    hours_per_month: Annotated[Decimal | None, Flag(kind=float), bounded("hours_per_month")] = None
    replicas: Annotated[Decimal | None, Flag(kind=int), bounded("replicas")] = None
    storage_gb: Annotated[Decimal | None, Flag(kind=float), bounded("storage_gb")] = None
    usd_per_storage_gb_month: Annotated[
        Decimal | None, Flag(kind=float), bounded("usd_per_storage_gb_month")
    ] = None
    egress_gb: Annotated[Decimal | None, Flag(kind=float), bounded("egress_gb")] = None
    usd_per_egress_gb: Annotated[Decimal | None, Flag(kind=float), bounded("usd_per_egress_gb")] = None
    other_usd_per_month: Annotated[Decimal | None, Flag(kind=float), bounded("other_usd_per_month")] = None
    ops_fte: Annotated[Decimal | None, Flag(kind=float), bounded("ops_fte")] = None
    usd_per_fte_year: Annotated[Decimal | None, Flag(kind=float), bounded("usd_per_fte_year")] = None
    life_years: Annotated[Decimal | None, Flag(kind=float), bounded("life_years")] = None
    residual_fraction: Annotated[Decimal | None, Flag(kind=float), bounded("residual_fraction")] = None
    power_kw: Annotated[Decimal | None, Flag(kind=float), bounded("power_kw")] = None
    pue: Annotated[Decimal | None, Flag(kind=float), bounded("pue")] = None
    usd_per_kwh: Annotated[Decimal | None, Flag(kind=float), bounded("usd_per_kwh")] = None
    hosting_usd_per_month: Annotated[Decimal | None, Flag(kind=float), bounded("hosting_usd_per_month")] = (
        None
    )

    @property
    def knobs(self) -> dict[str, Decimal]:
        """Those that were given."""
        return {name: value for name in table() if (value := getattr(self, name)) is not None}


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


def knobs(given: Mapping[str, Decimal]) -> Knobs:
    """The given values, and ours for the rest."""
    return Knobs.model_validate({name: given.get(name, knob.value) for name, knob in table().items()})


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
