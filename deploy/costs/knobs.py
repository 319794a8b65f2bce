"""What a cost takes that no probe measures: the user's values where given, else ours with source and standing."""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from functools import cache
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from pydantic.fields import FieldInfo

from infra.asked import Asked, Flag, docstrings
from infra.data import shipped_table
from infra.money import Number
from infra.record import Record

Standing = Literal["convention", "secondary", "unverified", "placeholder"]
Whose = Literal["yours", "measured", "modelled", "list price", "ours", "our placeholder, not your value"]
PLACEHOLDER: Whose = "our placeholder, not your value"


class Knob(Record):
    """One such value, as knobs.toml has it."""

    means: str
    value: Decimal | None = None
    unsaid: str = ""
    """What it is then, where it is no figure, or not the same of every machine."""
    least: Decimal
    most: Decimal
    example: Decimal | None = None
    """What a refusal shows, where that is not our value."""
    standing: Standing
    source: str

    @property
    def said(self) -> str:
        """Our value for a person."""
        return self.unsaid or f"{self.value:f}"


@cache
def table() -> dict[str, Knob]:
    """Parse knobs.toml once; what a disk costs stands where a stopped machine's does."""
    rows = shipped_table("deploy.costs", "knobs.toml")
    gp3 = shipped_table("infra.aws", "stopped_costs.toml")["gp3"]["usd_per_gib_month"]
    found = {name: Knob.model_validate(row) for name, row in rows.items()}
    disk = found["usd_per_storage_gb_month"].model_copy(update={"value": Decimal(gp3)})
    return found | {"usd_per_storage_gb_month": disk}


def bounded(name: str) -> FieldInfo:
    """The check and the help of a knob, from its row."""
    knob = table()[name]
    described: FieldInfo = Field(
        ge=knob.least,
        le=knob.most,
        examples=[next(each for each in (knob.example, knob.value, knob.least) if each is not None)],
        description=f"{knob.means[:1].upper()}{knob.means[1:]}. [{knob.said}]",
    )
    return described


class BoughtKnobs(Asked):
    """The knobs of how the machine is bought, and when it is on; None is ours."""

    heading: ClassVar[str] = "How it is bought"

    startup_minutes: Annotated[Decimal | None, Flag(kind=float), bounded("startup_minutes")] = None
    starts_per_month: Annotated[Decimal | None, Flag(kind=float), bounded("starts_per_month")] = None
    interruptions_per_month: Annotated[
        Decimal | None, Flag(kind=float), bounded("interruptions_per_month")
    ] = None
    committed_hours: Annotated[Decimal | None, Flag(kind=float), bounded("committed_hours")] = None
    committed_machines: Annotated[Decimal | None, Flag(kind=int), bounded("committed_machines")] = None
    upfront_usd: Annotated[Decimal | None, Flag(kind=float), bounded("upfront_usd")] = None
    term_months: Annotated[Decimal | None, Flag(kind=float), bounded("term_months")] = None
    interest_rate: Annotated[Decimal | None, Flag(kind=float), bounded("interest_rate")] = None
    insurance_fraction: Annotated[Decimal | None, Flag(kind=float), bounded("insurance_fraction")] = None
    one_off_usd: Annotated[Decimal | None, Flag(kind=float), bounded("one_off_usd")] = None
    one_off_months: Annotated[Decimal | None, Flag(kind=float), bounded("one_off_months")] = None


class KnobOptions(BoughtKnobs):
    """The user's own values of the knobs; None is ours."""

    heading: ClassVar[str] = "The machine, kept up for a month"

    utilisation: Annotated[Decimal | None, Flag(kind=float), bounded("utilisation")] = None
    hours_per_month: Annotated[Decimal | None, Flag(kind=float), bounded("hours_per_month")] = None
    replicas: Annotated[Decimal | None, Flag(kind=int), bounded("replicas")] = None
    spares: Annotated[Decimal | None, Flag(kind=int), bounded("spares")] = None
    storage_gb: Annotated[Decimal | None, Flag(kind=float), bounded("storage_gb")] = None
    usd_per_storage_gb_month: Annotated[
        Decimal | None, Flag(kind=float), bounded("usd_per_storage_gb_month")
    ] = None
    public_addresses: Annotated[Decimal | None, Flag(kind=int), bounded("public_addresses")] = None
    egress_gb: Annotated[Decimal | None, Flag(kind=float), bounded("egress_gb")] = None
    usd_per_egress_gb: Annotated[Decimal | None, Flag(kind=float), bounded("usd_per_egress_gb")] = None
    other_usd_per_month: Annotated[Decimal | None, Flag(kind=float), bounded("other_usd_per_month")] = None
    ops_fte: Annotated[Decimal | None, Flag(kind=float, unit="share"), bounded("ops_fte")] = None
    usd_per_fte_year: Annotated[Decimal | None, Flag(kind=float), bounded("usd_per_fte_year")] = None
    life_years: Annotated[Decimal | None, Flag(kind=float), bounded("life_years")] = None
    residual_fraction: Annotated[Decimal | None, Flag(kind=float), bounded("residual_fraction")] = None
    power_kw: Annotated[Decimal | None, Flag(kind=float), bounded("power_kw")] = None
    idle_power_kw: Annotated[Decimal | None, Flag(kind=float), bounded("idle_power_kw")] = None
    pue: Annotated[Decimal | None, Flag(kind=float), bounded("pue")] = None
    usd_per_kwh: Annotated[Decimal | None, Flag(kind=float), bounded("usd_per_kwh")] = None
    hosting_usd_per_month: Annotated[Decimal | None, Flag(kind=float), bounded("hosting_usd_per_month")] = (
        None
    )

    @property
    def knobs(self) -> dict[str, Decimal]:
        """Those that were given."""
        return {name: value for name in table() if (value := getattr(self, name)) is not None}

    @property
    def said(self) -> dict[str, str]:
        """What said each of them."""
        return {name: option(name) for name in self.knobs}


class Knobs(Record):
    """The values of one calculation. What each means, and its unit, is in knobs.toml."""

    utilisation: Number
    hours_per_month: Number
    replicas: Number
    spares: Number = Decimal(0)
    storage_gb: Number
    usd_per_storage_gb_month: Number
    egress_gb: Number
    usd_per_egress_gb: Number | None
    """None: in AWS's steps."""
    other_usd_per_month: Number
    ops_fte: Number
    usd_per_fte_year: Number
    life_years: Number
    residual_fraction: Number
    power_kw: Number
    idle_power_kw: Number | None = None
    """None: as under load."""
    pue: Number
    usd_per_kwh: Number
    hosting_usd_per_month: Number
    # A document of before these were asked for has none of them.
    public_addresses: Number = Decimal(0)
    startup_minutes: Number = Decimal(0)
    starts_per_month: Number = Decimal(0)
    interruptions_per_month: Number = Decimal(0)
    """Of a spot machine; 0 for any other."""
    committed_hours: Number = Decimal(0)
    committed_machines: Number | None = None
    """None: all of them."""
    upfront_usd: Number = Decimal(0)
    term_months: Number = Decimal(12)
    interest_rate: Number = Decimal(0)
    insurance_fraction: Number = Decimal(0)
    one_off_usd: Number = Decimal(0)
    one_off_months: Number = Decimal(12)


def tell() -> None:
    """Give each value its meaning from its row, before what stands below it here."""
    own = docstrings(Knobs)
    for name, info in Knobs.model_fields.items():
        means = table()[name].means
        info.description = f"{means[:1].upper()}{means[1:]}. {own.get(name, '')}".strip()


tell()


class Assumption(Record):
    """One figure a comparison rests on: whose it is, and where it is from."""

    name: str
    """As a flag or a knob is called."""
    means: str
    """What it is, in words."""
    value: str
    """As it was taken, with its unit."""
    whose: Whose
    """Who says so: the user, a probe, the planner, a price list, corral, or nobody."""
    source: str
    """Where it is from."""
    checked_on: date | None = None
    """When that was looked up; null where it is nothing that ages."""


OF_A_WAY_OF_BUYING = ("interruptions_per_month",)
"""Of these ours counts only for a machine that is bought in their way."""


def knobs(given: Mapping[str, Decimal]) -> Knobs:
    """The given values, and ours for the rest."""
    ours = {name: knob.value for name, knob in table().items() if name not in OF_A_WAY_OF_BUYING}
    return Knobs.model_validate({name: given.get(name, value) for name, value in ours.items()} | dict(given))


def option(name: str) -> str:
    """The command line option of a knob."""
    return "--" + name.replace("_", "-")


def assumption(name: str, knobs: Knobs, given: Mapping[str, str]) -> Assumption:
    """How a knob is said in the report; `given` is what said it, by the knob's name."""
    knob = table()[name]
    ours: Whose = PLACEHOLDER if knob.standing == "placeholder" else "ours"
    standing = f" ({knob.standing})" if knob.standing in ("secondary", "unverified") else ""
    value = getattr(knobs, name)
    return Assumption(
        name=name,
        means=knob.means,
        value=knob.unsaid if value is None else f"{value:f}",
        whose="yours" if name in given else ours,
        source=given.get(name, knob.source + standing),
    )
