"""How long something that is rented may live: from ten minutes to thirty days, with a unit."""

import pytest

from infra.errors import UsageError
from infra.lifetime import minutes


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("10m", 10), ("600s", 10), ("1.5h", 90), (" 2d ", 2880), ("30d", 43_200), ("43200min", 43_200), ("8 h", 480),
    ],
)  # fmt: skip
def test_a_time_limit_is_read_in_minutes(text: str, whole: int) -> None:
    assert (minutes(text, "--ttl"), type(minutes(text, "--ttl"))) == (whole, int)


@pytest.mark.parametrize(
    "text",
    ["", " ", "90", "9m", "9.99m", "90s", "10.5m", "30.01d", "43201m", "31d", "-8h", "8x", "h", "1e9h"],
)
def test_what_is_no_time_limit(text: str) -> None:
    with pytest.raises(UsageError) as error:
        minutes(text, "--ttl")
    assert (error.value.message, error.value.hint) == (
        f"--ttl {text} is no time limit between 10 minutes and 30 days.",
        "For example: --ttl 8h",
    )
