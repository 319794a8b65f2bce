"""How long something that is rented may live, as people write it."""

import re

from infra.errors import UsageError

SHORTEST_MINUTES = 10
LONGEST_MINUTES = 30 * 24 * 60
UNITS = {"m": 1, "h": 60, "d": 24 * 60}


def minutes(text: str, flag: str) -> int:
    """Read 90m, 8h or 2d. Raises UsageError below ten minutes and above thirty days."""
    limit = re.fullmatch(r"([0-9]{1,6})([mhd])", text)
    value = int(limit[1]) * UNITS[limit[2]] if limit else 0
    if not SHORTEST_MINUTES <= value <= LONGEST_MINUTES:
        raise UsageError(
            f"{flag} {text} is no time limit between 10 minutes and 30 days.", f"For example: {flag} 8h"
        )
    return value
