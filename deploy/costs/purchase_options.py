"""How a machine is bought and when it is on, as it is asked."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import AfterValidator, Field, model_validator

from deploy.costs.currency import InCurrency, currency, in_usd, refuse_without_rate
from deploy.costs.knobs import KnobOptions, option
from deploy.costs.schedule import checked_schedule, schedule
from infra.asked import Flag
from infra.errors import UsageError

Purchase = Literal["on-demand", "spot", "savings-plan", "capacity-block", "owned"]
WAYS: tuple[Purchase, ...] = get_args(Purchase)
NOT_BOTH = "A schedule already says how long the machine is on, and how often it is started."


class HowBought(KnobOptions, InCurrency):
    """How the machine is bought, and when it is on."""

    heading: ClassVar[str] = "How it is bought"

    # The bounds are of typing errors: no machine costs so much.
    price_per_hour: Annotated[
        Decimal | None, Flag(kind=float), Field(ge=Decimal("0.0001"), le=100_000, examples=[12.5])
    ] = None
    """USD, one machine."""
    capex_usd: Annotated[Decimal | None, Flag(kind=float), Field(ge=0, le=10**9, examples=[250_000])] = None
    """Price of an owned one; 0 where it is written off."""
    on_demand_per_hour: Annotated[
        Decimal | None, Flag(kind=float), Field(ge=Decimal("0.0001"), le=100_000, examples=[12.5])
    ] = None
    """USD, one that no savings plan is of. [the plan's]"""
    purchase: Purchase | None = None
    """on-demand, spot, savings-plan, capacity-block or owned. A commitment bills all its hours."""
    schedule: Annotated[
        Annotated[str, AfterValidator(checked_schedule)] | None, Field(examples=['"mon-fri 8-19"'])
    ] = None
    """Instead of --hours-per-month: when it is to serve; it is started for that and stopped after it."""

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """The record of what was typed; an amount may be in the currency that is named beside it. Raises UsageError."""
        named = given.get("currency")
        other = currency(named) if isinstance(named, str) and named.strip() else None
        dollars = {field: in_usd(value, other) if other else value for field, value in given.items()}
        amounts = {field: value for field, value in dollars.items() if is_amount(field)}
        for field, value in amounts.items():
            refuse_without_rate(option(field), value, other)
        return super().of({**given, **amounts})

    @property
    def knobs(self) -> dict[str, Decimal]:
        """Those that were given, the schedule's hours and starts among them."""
        if self.schedule is None:
            return super().knobs
        times = schedule(self.schedule)
        return super().knobs | {
            "hours_per_month": times.hours_per_month,
            "starts_per_month": times.starts_per_month,
        }

    @property
    def said(self) -> dict[str, str]:
        """What said each of them."""
        if self.schedule is None:
            return super().said
        by_schedule = f'--schedule "{self.schedule.strip()}"'
        return super().said | dict.fromkeys(("hours_per_month", "starts_per_month"), by_schedule)

    @model_validator(mode="after")
    def without_two_ways(self) -> Self:
        """No two ways of buying it, and no two of saying when it is on. Raises UsageError."""
        if self.schedule is not None and (self.hours_per_month or self.starts_per_month) is not None:
            raise UsageError(NOT_BOTH, "Use --schedule, or --hours-per-month and --starts-per-month.")
        if self.purchase == "owned":
            self.without_rent()
        elif self.purchase is not None and self.capex_usd is not None:
            raise UsageError(
                f"A machine is rented or bought: --purchase {self.purchase} and --capex-usd were given.",
                "Leave out one of them.",
            )
        return self

    def without_rent(self) -> None:
        """Refuse a machine of one's own that has a price an hour, or none to buy it."""
        if self.price_per_hour is not None:
            raise UsageError("A machine of your own has no price an hour.", "Leave out --price-per-hour.")
        if self.capex_usd is None:
            raise UsageError(
                "Nobody said what a machine of your own cost.",
                "For example: --purchase owned --capex-usd 250000",
            )


def is_amount(field: str) -> bool:
    """Whether an option is of money."""
    return "usd" in field.split("_") or field.endswith("per_hour")
