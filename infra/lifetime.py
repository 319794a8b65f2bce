"""How long something that is rented may live, as people write it."""

from infra import quantity
from infra.errors import UsageError

SHORTEST_MINUTES = 10
LONGEST_MINUTES = 30 * 24 * 60


def minutes(text: str, flag: str) -> int:
    """Read 90m, 8h or 2d, with its unit. Raises UsageError below ten minutes and above thirty days."""
    try:
        value = quantity.read(text, "s", whole=False) / 60 if text.strip()[-1:].isalpha() else 0
    except ValueError:
        value = 0
    if not SHORTEST_MINUTES <= value <= LONGEST_MINUTES or value != int(value):
        raise UsageError(
            f"{flag} {text} is no time limit between 10 minutes and 30 days.",
            f"For example: {f'{flag} ' if flag.startswith('-') else ''}8h",
        )
    return int(value)
