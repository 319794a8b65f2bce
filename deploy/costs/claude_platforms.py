"""Claude as it is sold: on its own API, Bedrock, Vertex, Foundry, Claude Platform on AWS. Dated data."""

import re
from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from functools import cache
from typing import Literal, TypeVar

from deploy.costs.claude_names import named
from deploy.costs.claude_prices import ClaudeModel, LongRates, Rates, claude, price_list
from deploy.costs.claude_sold import Sold
from infra.data import shipped_table
from infra.errors import UsageError
from infra.record import Record

R = TypeVar("R", bound=Rates)


class Region(Record):
    """Where requests are answered, and what that makes of the price."""

    like: str
    """A pattern of the whole name."""
    factor: Decimal
    """On every rate."""
    of: Literal["regional", "us_only"] = "regional"
    """Which models have that factor: the flag of a model that says so."""
    older_factor: Decimal | None = None
    """On every rate of the others; None where they are not sold."""


class AsSold(Record):
    """What is different about one model on one platform; None is as on the API."""

    sold: bool = False
    """Sold still, though the API retired it; until when is not known."""
    retires_on: date | None = None
    extended_on: date | None = None
    """Since when it is sold to those alone who had it, at a price that may be higher: Bedrock's extended access."""
    zones: tuple[str, ...] = ()
    """The regions that a price is published for; none named: those of the platform."""
    called: str | None = None
    """Its name there, where that is more than its id."""
    batch: bool | None = None
    fast: bool = False
    fast_in: tuple[str, ...] = ()
    """The regions of its fast mode; none named: all."""
    min_cache_tokens: int | None = None
    context_tokens: int | None = None
    long: LongRates | None = None
    note: str = ""
    """What a reader must know beside the price."""


class Platform(Record):
    """One place where Claude is sold."""

    id: str
    name: str
    """As it stands in a sentence."""
    checked_on: date
    source: str
    published_at: str
    retirements_at: str
    own_retirements: bool
    """Whether it ends models by a calendar of its own."""
    batch: bool
    """Whether a batch has a published price there, unless the model says otherwise."""
    regions: tuple[Region, ...]
    regions_are: str
    """The regions as a hint lists them."""
    unpriced: tuple[str, ...] = ()
    """Models of which no price there is known, whether sold or not."""
    zone_of: dict[str, str] = {}
    """The zone, as models name it, of a region whose name does not begin with it."""
    model: dict[str, AsSold] = {}

    def region(self, name: str) -> Region:
        """The region of that name. Raises UsageError."""
        for region in self.regions:
            if re.fullmatch(region.like, name):
                return region
        raise UsageError(
            f"{self.name[:1].upper()}{self.name[1:]} has no region {name!r}.",
            f"--claude-region is {self.regions_are}.",
        )

    def zone(self, name: str) -> str:
        """The zone that a region belongs to."""
        return self.zone_of.get(name, name.split("-")[0])


def sold(name: str, asked: Sold, day: date) -> ClaudeModel:
    """The model of that name at the prices of a platform, a region and a day; `asked` is where the name says none.

    Raises UsageError for a model, a platform or a region that is unknown, and where no price is known.
    """
    said = named(name)
    model = claude(said.model, name).as_of(day)
    where = either(name, said.platform, asked.claude_platform, "--claude-platform") or "api"
    region = either(name, said.region, (asked.claude_region or "").lower(), "--claude-region") or "global"
    return at(model, platforms()[where], region)


def offered(names: Iterable[str], asked: Sold, day: date) -> tuple[ClaudeModel, ...]:
    """Those of our own choice that have a price there on that day; where none has, why. Raises UsageError."""
    models, refused = [], UsageError("No Claude model is named.")
    for name in names:
        try:
            models.append(sold(name, asked, day))
        except UsageError as error:
            refused = error
    if not models:
        raise refused
    return tuple(models)


def either(name: str, said: str | None, asked: str | None, flag: str) -> str | None:
    """What a name or an option says. Raises UsageError where they say different things."""
    if said and asked and said != asked:
        raise UsageError(
            f"{name!r} says {said}, and {flag} is {asked}.", f"Leave out {flag}, or name the model alone."
        )
    return said or asked


def at(model: ClaudeModel, platform: Platform, region: str) -> ClaudeModel:
    """The model as the platform sells it in that region. Raises UsageError where no price is published."""
    where, row = platform.region(region), platform.model.get(model.id, AsSold())
    if platform.id == "api":
        return model
    refuse_unsold(model, platform, row, region)
    factor = where.factor if getattr(model, where.of) else where.older_factor
    if factor is None:
        raise UsageError(
            f"{platform.name} does not sell {model.name} in {region!r}.",
            f"Name the model alone, with --claude-platform {platform.id} --claude-region global",
        )
    long = row.long or model.long
    rates = {"price": times(model.price, factor), "long": times(long, factor) if long else None}
    return model.model_copy(
        update=differences(model, platform, row, region) | rates | named_for(model, platform, region)
    )


def refuse_unsold(model: ClaudeModel, platform: Platform, row: AsSold, region: str) -> None:
    """Refuse a model that the platform is not known to sell, there or at all."""
    if model.id in platform.unpriced:
        raise UsageError(
            f"No price of {model.name} on {platform.name} is known.", f"Its prices: {platform.published_at}"
        )
    gone = model.status(platform.checked_on) == "retired" and platform.own_retirements
    if gone and row.retires_on is None and not row.sold:
        raise UsageError(
            f"Nobody verified whether {platform.name} still sells {model.name}.",
            f"Its own dates: {platform.retirements_at}",
        )
    if row.zones and region != "in-region" and platform.zone(region) not in row.zones:
        raise UsageError(
            f"{platform.name} publishes no price of {model.name} in {region!r}.",
            f"It does in {', '.join(row.zones)}: name the model alone, with --claude-platform {platform.id} "
            f"--claude-region {row.zones[0]}",
        )


def differences(model: ClaudeModel, platform: Platform, row: AsSold, region: str) -> dict[str, object]:
    """What the platform does otherwise than the API, prices and names left out."""
    changed: dict[str, object] = {
        "batch": model.batch and platform.batch if row.batch is None else row.batch,
        "cache_1h": model.regional,
        "min_cache_tokens": row.min_cache_tokens or model.min_cache_tokens,
        "context_tokens": row.context_tokens or model.context_tokens,
        "us_only": False,
        "fast": row.fast and (not row.fast_in or region in row.fast_in),
        "note": row.note,
    }
    if platform.own_retirements:
        changed |= {"retires_on": row.retires_on, "extended_on": row.extended_on}
    return changed


def named_for(model: ClaudeModel, platform: Platform, region: str) -> dict[str, object]:
    """What it is called there: an id that `sold` takes again, and a name for a sentence."""
    return {
        "id": f"{platform.id}/{region}/{model.id}",
        "name": f"{model.name} ({platform.name}, {region})",
        "platform": platform.id,
        "region": region,
    }


def times(rates: R, factor: Decimal) -> R:
    """Every rate times a factor."""
    return rates.model_copy(update={name: getattr(rates, name) * factor for name in Rates.model_fields})


def sold_elsewhere(model: ClaudeModel, day: date) -> tuple[tuple[str, date | None], ...]:
    """The platforms that are known to sell a model of the API on that day, and until when."""
    rows = ((each, each.model.get(model.id)) for each in platforms().values() if each.own_retirements)
    return tuple(
        (each.name, row.retires_on)
        for each, row in rows
        if row and (row.sold or (row.retires_on is not None and day < row.retires_on))
    )


@cache
def platforms() -> dict[str, Platform]:
    """Parse claude_platforms.toml once; what is dated of the API is its price list's."""
    table = shipped_table("deploy.costs", "claude_platforms.toml")
    api = price_list().model_dump(include={"checked_on", "source", "published_at", "retirements_at"})
    usual = {"checked_on": table["checked_on"]}
    return {
        name: Platform.model_validate({"id": name, **(api if name == "api" else usual), **row})
        for name, row in table["platform"].items()
    }
