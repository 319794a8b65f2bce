"""What a user typed, checked: numbers as Decimals within sense, or a UsageError that names the option."""

from decimal import Decimal, InvalidOperation

from deploy.costs.claude_request import Request
from infra.errors import UsageError

MOST_TOKENS = 1_000_000_000
MOST_REQUESTS = 1_000_000_000_000


def request_of(
    input_tokens: int, output_tokens: int, cache_read: float, write_5m: float, write_1h: float
) -> Request:
    """One request from the options of `corral claude-cost`."""
    request = Request(
        input_tokens=number("--input-tokens", input_tokens, 0, MOST_TOKENS),
        output_tokens=number("--output-tokens", output_tokens, 0, MOST_TOKENS),
        cache_read_fraction=number("--cache-read-fraction", cache_read, 0, 1),
        cache_write_5m_fraction=number("--cache-write-fraction", write_5m, 0, 1),
        cache_write_1h_fraction=number("--cache-write-1h-fraction", write_1h, 0, 1),
    )
    if request.fresh_fraction < 0:
        raise UsageError("The cached shares of the prompt add up to more than 1.", "Make them at most 1.")
    return request


def requests_of(requests: int) -> int:
    """A number of requests."""
    return int(number("--requests", requests, 1, MOST_REQUESTS))


def number(
    option: str, value: float | int | str | Decimal, least: int | Decimal, most: int | Decimal
) -> Decimal:
    """The value as a Decimal. Raises UsageError for what is no number (NaN, too) or lies outside its range."""
    try:
        found = Decimal(str(value))
    except InvalidOperation:
        raise UsageError(
            f"{option}: {value!r} is not a number.", f"Use {said(least)} to {said(most)}."
        ) from None
    if not found.is_finite() or not least <= found <= most:
        raise UsageError(f"{option} cannot be {value}.", f"Use {said(least)} to {said(most)}.")
    return found


def said(bound: int | Decimal) -> str:
    """A bound for a person."""
    return f"{bound:,}"
