"""PURE: what a server said in its own words, made fit for one printed line, and how long it asks us to wait."""

import math
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from infra.printable import one_line

MOST_READ = 8192
"""Of an error's body; a title is at its beginning."""
LONGEST_DATE = 64
TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)


def body_line(body: bytes, encoding: str = "") -> str:
    """An error's body that is no JSON: the title of a page, the first words of anything else."""
    if encoding:
        return f"a body in {one_line(encoding, 40)}"
    text = body[:MOST_READ].decode(errors="replace").strip()
    if not text:
        return "an empty body"
    if not text.startswith("<"):
        return one_line(text, 120)
    title = TITLE.search(text)
    return "an HTML page" + (f": {one_line(title[1], 120)}" if title else "")


def wait_s(retry_after: str, now: datetime | None = None) -> float | None:
    """The seconds that a Retry-After header asks for, a number or a date (RFC 9110, 10.2.3); None for anything else."""
    text = retry_after.strip()
    if len(text) > LONGEST_DATE:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = seconds_until(text, now or datetime.now(UTC))
    return seconds if 0 <= seconds < math.inf else None


def seconds_until(date: str, now: datetime) -> float:
    """From now to a date, 0 for one that is over; NaN for what is no date, or in no calendar."""
    try:
        then = parsedate_to_datetime(date)
        then = then if then.tzinfo else then.replace(tzinfo=UTC)
        return max(0.0, (then - now).total_seconds())
    except (ValueError, TypeError, IndexError, OverflowError):
        return math.nan


def wait_text(retry_after: str | None) -> str:
    """The same for a person, who may wait longer than a probe."""
    seconds = wait_s(retry_after) if retry_after else None
    if seconds is None:
        return "a minute"
    if seconds > 7 * 86400:
        return f"for it (Retry-After: {one_line(retry_after or '', 40)})"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"
