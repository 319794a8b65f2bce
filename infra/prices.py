"""Hourly prices with their provenance. A price without a date and a source does not exist."""

import tomllib
from datetime import date
from decimal import Decimal
from functools import cache
from importlib.resources import files

from infra.hardware import Machine
from infra.record import Record

DEFAULT_REGION = "us-east-1"
OLD_AFTER_DAYS = 90
ON_DEMAND = "on-demand"


class HourlyPrice(Record):
    """USD per hour of one EC2 type in one region, and how it is bought."""

    instance_type: str
    usd_per_hour: Decimal
    region: str
    purchase: str
    checked_on: date
    source: str

    def age_days(self, today: date) -> int:
        """Days since somebody checked it."""
        return (today - self.checked_on).days


def price_of(machine: Machine, region: str | None = None) -> HourlyPrice | None:
    """The hourly price of an EC2 machine (all its hosts); on-demand before a capacity block, newest first.

    Without a region, us-east-1. None when the machine is no EC2 type or has no price there.
    """
    found = [row for row in rows() if row.instance_type == machine.instance_type]
    here = [row for row in found if row.region == (region or DEFAULT_REGION)]
    if not here:
        return None
    best = min(here, key=lambda row: (row.purchase != ON_DEMAND, -row.checked_on.toordinal()))
    return best.model_copy(update={"usd_per_hour": best.usd_per_hour * machine.hosts})


def regions() -> tuple[str, ...]:
    """The regions we have any price for."""
    return tuple(sorted({row.region for row in rows()}))


@cache
def rows() -> tuple[HourlyPrice, ...]:
    """Parse prices.toml once."""
    data = tomllib.loads(files("infra").joinpath("prices.toml").read_text(encoding="utf-8"))
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
