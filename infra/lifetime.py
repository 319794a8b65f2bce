"""How long something that is rented may live, as people write it."""

from infra import quantity
from infra.errors import UsageError

SHORTEST_MINUTES = 10
LONGEST_DAYS = 30
"""Of what is rented: nobody pays for a forgotten machine for longer."""


def minutes(text: str, flag: str, longest_days: int = LONGEST_DAYS) -> int:
    """Read 90m, 8h or 2d, with its unit. Raises UsageError below ten minutes and above so many days."""
    try:
        value = quantity.read(text, "s", whole=False) / 60 if text.strip()[-1:].isalpha() else 0
    except ValueError:
        value = 0
    if not SHORTEST_MINUTES <= value <= longest_days * 24 * 60 or value != int(value):
        raise UsageError(
            f"{flag} {text} is no time limit between 10 minutes and {longest_days} days.",
            f"For example: {f'{flag} ' if flag.startswith('-') else ''}8h",
        )
    return int(value)
