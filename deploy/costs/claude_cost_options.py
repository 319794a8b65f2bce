"""What is asked of Claude's price: one request, how many of them, and the way they are sent."""

from decimal import Decimal
from typing import Annotated, ClassVar, Self

from pydantic import AfterValidator, Field, model_validator

from deploy.costs.claude_meant import meant
from deploy.costs.claude_request import Request
from deploy.costs.claude_sold import Sold
from deploy.costs.currency import InCurrency
from infra.asked import Flag
from infra.errors import UsageError

MOST_TOKENS = 1_000_000_000
MOST_REQUESTS = 1_000_000_000_000

Tokens = Annotated[int, Field(ge=0, le=MOST_TOKENS, examples=[1000])]
Share = Annotated[Decimal, Flag(kind=float), Field(ge=0, le=1, examples=[0.5])]


class SlowerOrHere(Sold):
    """The ways to send requests that change what they cost."""

    heading: ClassVar[str] = "The way to Claude"

    batch: bool = False
    """Through the Batches API."""
    us_only: bool = False
    """inference_geo "us"."""


class Way(SlowerOrHere):
    """How the requests are sent."""

    fast: bool = False
    """speed "fast"."""


class RequestOptions(InCurrency):
    """Equal requests, as Claude counts their tokens."""

    heading: ClassVar[str] = "The requests"

    model: Annotated[str, AfterValidator(meant), Field(examples=["claude-sonnet-5-5"])]
    """claude-sonnet-5-5, haiku-5.5, haiku (newest), eu.anthropic.claude-sonnet-5-5, claude-haiku-4-5@20251001, ..."""
    input_tokens: Tokens
    """Of one request: the whole prompt, cached part included."""
    output_tokens: Tokens
    """Of one request; thinking counts as output."""
    requests: Annotated[int, Field(ge=1, le=MOST_REQUESTS)] = 1
    """How many such requests."""
    cache_read_fraction: Share = Decimal("0.0")
    """Of the prompt, read from the cache."""
    cache_write_fraction: Share = Decimal("0.0")
    """Written to the five-minute cache."""
    cache_write_1h_fraction: Share = Decimal("0.0")
    """Written to the one-hour cache."""

    @model_validator(mode="after")
    def within_the_prompt(self) -> Self:
        """No more than all of it is cached. Raises UsageError."""
        check_cached(self.request.fresh_fraction)
        return self

    @property
    def request(self) -> Request:
        """One of them, in exact numbers."""
        return Request(
            input_tokens=Decimal(self.input_tokens),
            output_tokens=Decimal(self.output_tokens),
            cache_read_fraction=self.cache_read_fraction,
            cache_write_5m_fraction=self.cache_write_fraction,
            cache_write_1h_fraction=self.cache_write_1h_fraction,
        )


def check_cached(fresh_fraction: Decimal) -> None:
    """Raise UsageError where more of a prompt is cached than there is."""
    if fresh_fraction < 0:
        raise UsageError("The cached shares of the prompt add up to more than 1.", "Make them at most 1.")
