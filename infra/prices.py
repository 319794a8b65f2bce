"""Hourly prices with their provenance. A price without a date and a source does not exist.

What corral ships is prices.toml; what AWS answered since (`corral prices --refresh`) is kept in $CORRAL_HOME and is
taken where it is newer.
"""

from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from infra.data import shipped_table
from infra.errors import DocumentError
from infra.hardware import Machine
from infra.home import home
from infra.money import reckonable
from infra.record import Document, Record

DEFAULT_REGION = "us-east-1"
OLD_AFTER_DAYS = 90
ON_DEMAND = "on-demand"


class HourlyPrice(Record):
    """USD per hour of one EC2 type in one region, and how it is bought."""

    instance_type: str
    """The EC2 type."""
    usd_per_hour: Annotated[Decimal, AfterValidator(reckonable)] = Field(gt=0)
    """One machine."""
    region: str
    """Where."""
    purchase: str
    """How it is bought: on-demand, capacity-block."""
    checked_on: date
    """When it was read."""
    source: str
    """Where it was read."""

    @property
    def origin(self) -> str:
        """Who says so, and when."""
        return f"{self.source}, {self.checked_on}"

    def age_days(self, today: date) -> int:
        """Days since somebody checked it."""
        return (today - self.checked_on).days


class KeptPrices(Document):
    """What AWS answered on this machine, the newest of each type and region."""

    kind: ClassVar[str] = "table of prices"
    document: Literal["prices"] = "prices"
    schema_version: Literal[1] = 1

    prices: tuple[HourlyPrice, ...] = ()
    """One of each type and region."""


def price_of(machine: Machine, region: str | None = None) -> HourlyPrice | None:
    """The hourly price of an EC2 machine (all its hosts); on-demand before a capacity block, newest first.

    Without a region, us-east-1. None when the machine is no EC2 type or has no price there.
    """
    of_type = [row for row in rows() if row.instance_type == machine.instance_type]
    here = [row for row in of_type if row.region == (region or DEFAULT_REGION)]
    if not here:
        return None
    best = min(here, key=lambda row: (row.purchase != ON_DEMAND, -row.checked_on.toordinal()))
    return best.model_copy(update={"usd_per_hour": best.usd_per_hour * machine.hosts})


def in_brackets(region: str | None) -> str:
    """What prices in brackets are, for the end of a table that is ranked by them, and how to have the region's own."""
    ask = f"corral prices --refresh --region {region}" if region else "corral prices --refresh"
    return f"(in brackets: {DEFAULT_REGION}'s price, by which all are ranked; ask AWS: {ask})"


def on_demand_price(instance_type: str, region: str) -> HourlyPrice | None:
    """The stored on-demand price of one machine; None where it is sold otherwise only, or nobody knows."""
    matching = [
        row
        for row in rows()
        if (row.instance_type, row.region, row.purchase) == (instance_type, region, ON_DEMAND)
    ]
    return max(matching, key=lambda row: row.checked_on, default=None)


def regions() -> tuple[str, ...]:
    """The regions we have any price for."""
    return tuple(sorted({row.region for row in rows()}))


def rows() -> tuple[HourlyPrice, ...]:
    """Every price known: those kept here first, so that of two of one day AWS's own answer counts."""
    return kept() + shipped()


@cache
def shipped() -> tuple[HourlyPrice, ...]:
    """Parse prices.toml once."""
    data = shipped_table("infra", "prices.toml")
    return tuple(
        HourlyPrice(
            instance_type=name,
            usd_per_hour=Decimal(usd),
            region=source["region"],
            purchase=source["purchase"],
            checked_on=source["checked_on"],
            source=source["source"],
        )
        for source in data["source"].values()
        for name, usd in source["usd_per_hour"].items()
    )


# --- what is kept in $CORRAL_HOME


def kept() -> tuple[HourlyPrice, ...]:
    """The prices kept here; none where the document cannot be read, which `trouble` then says."""
    stored = read(path())
    return () if isinstance(stored, str) else stored


def trouble() -> str:
    """Why the kept prices are not used, in one sentence; empty when all is well."""
    stored = read(path())
    return f"{stored} The prices corral ships are used." if isinstance(stored, str) else ""


def keep(prices: Iterable[HourlyPrice]) -> None:
    """Keep these in place of older ones of the same type and region. A document that cannot be read is made anew.

    Raises HostError when the disk refuses.
    """
    fresh = {(row.instance_type, row.region): row for row in (*kept(), *prices)}
    if fresh:
        KeptPrices(prices=tuple(fresh[key] for key in sorted(fresh))).write(path())


def path() -> Path:
    """Where they are kept."""
    return home() / "prices.json"


def read(file: Path) -> tuple[HourlyPrice, ...] | str:
    """The prices in a file, or why it cannot be read."""
    try:
        return read_at(file, file.stat().st_mtime_ns)
    except OSError:
        return ()


@cache
def read_at(file: Path, changed_ns: int) -> tuple[HourlyPrice, ...] | str:
    """Parse it once for each state of the file."""
    try:
        return KeptPrices.read(file).prices
    except DocumentError as error:
        return error.message
