"""What may be asked of a simulation: what comes, on how many replicas behind which router, what dies."""

from decimal import Decimal
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from infra.asked import Asked
from infra.errors import UsageError
from infra.quantity import read
from infra.record import Record
from serving.probe.lengths import AskedLengths, Lengths
from serving.simulation.arrivals import HOURS_A_DAY, Rate, day
from serving.simulation.router import Router
from serving.sizing.size_options import Options
from serving.sizing.traffic import MOST
from serving.sizing.traffic_options import ANSWER_LENGTH, PROMPT_LENGTH

MOST_HOURS = 24 * 366
MOST_REPLICAS = 100_000
PEAK = "peak"
WAYS = ("requests_per_s", "rates", "trace")
"""To say what comes."""
EXAMPLE_OF_RATES = "For example: --rates 0-8=1,8-18=6,18-24=2"
EXAMPLE_OF_DEATH = "For example: --die-at peak, or --die-at 14.5"


class Rates(Record):
    """Requests a second, by hours of a day; between them nothing comes."""

    rates: tuple[Rate, ...]

    def __str__(self) -> str:
        """As a user writes them."""
        return ",".join(map(str, self.rates))


def rates_typed(typed: object) -> object:
    """The rates that a text says. Raises UsageError."""
    if not isinstance(typed, str):
        return typed
    found: list[Rate] = []
    for each in typed.split(","):
        hours, _, rate = each.partition("=")
        start, _, end = hours.partition("-")
        try:
            found.append(Rate(*(float(read(number, "", whole=False)) for number in (start, end, rate))))
        except ValueError:
            raise UsageError(f"--rates {each!r} is no rate of some hours.", EXAMPLE_OF_RATES) from None
    for this, later in zip(found, [*found[1:], Rate(HOURS_A_DAY, HOURS_A_DAY, 0)], strict=True):
        if not (0 <= this.start_h < this.end_h <= later.start_h and 0 <= this.requests_per_s <= MOST):
            raise UsageError(
                f"--rates {this} is out of place: hours are of one day, one after the other, and no rate is below 0.",
                EXAMPLE_OF_RATES,
            )
    if not any(each.requests_per_s for each in found):
        raise UsageError("By --rates nothing comes.", EXAMPLE_OF_RATES)
    return Rates(rates=tuple(found))


AskedRates = Annotated[Rates, BeforeValidator(rates_typed)]
"""Rates as a user may write them."""


class ComingOptions(Asked):
    """What comes, in one of three ways to say it."""

    heading: ClassVar[str] = "The traffic"

    requests_per_s: Annotated[float | None, Field(gt=0, le=MOST, examples=[5])] = None
    """Requests a second, on average over a day."""
    peak_factor: Annotated[float, Field(ge=1, le=20)] = 1.0
    """The busiest hour of a day over its average."""
    rates: AskedRates | None = None
    """Instead: requests a second by the hour, 0-8=1,8-18=6."""
    trace: Path | None = None
    """Instead: a file of when requests came and how long they were (JSON lines or CSV, as Azure's, Mooncake's)."""
    hours: Annotated[float | None, Field(gt=0, le=MOST_HOURS, examples=[24])] = None
    """How long. [1; a day where the hours differ; the whole trace]"""
    input_tokens: AskedLengths | None = None
    """Of a prompt that no trace is of: 1000, 500-2000 (uniform) or 1000~300 (normal). [the plan's; 1000]"""
    output_tokens: AskedLengths | None = None
    """Of its answer, as --input-tokens. [the plan's; 300]"""
    seed: Annotated[int, Field(ge=0, le=2**31)] = 1
    """Another gives another draw of the same."""

    @model_validator(mode="after")
    def said_in_one_way(self) -> Self:
        """Not in two; a trace says its own lengths. Raises UsageError."""
        if sum(getattr(self, name) is not None for name in WAYS) > 1:
            raise unsaid()
        if self.peak_factor != 1 and self.requests_per_s is None:
            raise UsageError(
                "--peak-factor shapes the day of --requests-per-s, which is not given.",
                "Leave out --peak-factor.",
            )
        if self.trace and (self.input_tokens or self.output_tokens):
            raise UsageError(
                "The trace says how long its requests are.", "Leave out --input-tokens and --output-tokens."
            )
        return self

    @property
    def is_said(self) -> bool:
        """Whether anything comes."""
        return any(getattr(self, name) is not None for name in WAYS)

    @property
    def lengths(self) -> tuple[Lengths, Lengths]:
        """Of prompts and answers, where neither a trace nor a plan says them."""
        return self.input_tokens or PROMPT_LENGTH, self.output_tokens or ANSWER_LENGTH

    @property
    def by_hour(self) -> tuple[Rate, ...]:
        """The rates of a day."""
        if self.rates:
            return self.rates.rates
        assert self.requests_per_s is not None
        if self.peak_factor > 1:
            return day(self.requests_per_s, self.peak_factor)
        return (Rate(0, HOURS_A_DAY, self.requests_per_s),)

    @property
    def lasts_h(self) -> float:
        """Hours of a stream."""
        return self.hours or (HOURS_A_DAY if self.rates or self.peak_factor > 1 else 1.0)


def unsaid() -> UsageError:
    """What to say where what comes is said in no way, or in two."""
    return UsageError(
        "Say what comes, in one way.",
        "--requests-per-s 5, or --rates 0-8=1,8-18=6,18-24=2, or --trace trace.csv",
    )


class FleetOptions(Asked):
    """On what it comes, and what happens to that."""

    heading: ClassVar[str] = "The fleet"

    replicas: Annotated[int | None, Field(ge=1, le=MOST_REPLICAS, examples=[4])] = None
    """Servers. [as many as capacity's plan says; 1]"""
    router: Router = "round-robin"
    """Who gets a request: round-robin, least-requests or random."""
    die_at: str | None = None
    """One replica dies: at that hour, or at the peak."""
    restart_s: Annotated[float, Field(gt=0, le=MOST_HOURS * 3600)] = 300.0
    """Until it is back."""
    in_flight: Literal["lost", "again"] = "lost"
    """What it had: lost, or sent again to another once."""
    usd_per_hour: Annotated[Decimal | None, Field(gt=0, le=MOST, examples=["12.50"])] = None
    """What a machine costs you, in place of EC2's price."""

    @model_validator(mode="after")
    def it_dies_at_an_hour(self) -> Self:
        """Raises UsageError."""
        if self.die_at not in (None, PEAK):
            _ = self.die_at_h
        return self

    @property
    def die_at_h(self) -> float | None:
        """The hour; None for none, and for the peak. Raises UsageError."""
        if self.die_at in (None, PEAK):
            return None
        assert self.die_at is not None
        try:
            hour = float(read(self.die_at, "", whole=False))
        except ValueError:
            raise UsageError(f"--die-at {self.die_at!r} is no hour.", EXAMPLE_OF_DEATH) from None
        if hour < 0:
            raise UsageError(f"--die-at {self.die_at} is below 0.", EXAMPLE_OF_DEATH)
        return hour


class ServerOptions(Options):
    """How one server is planned, as `size` plans it; what comes says how long requests are."""

    not_asked: ClassVar[tuple[str, ...]] = ("input_tokens", "output_tokens", "concurrency", "lora")
