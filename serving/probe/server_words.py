"""PURE: what a server said in its own words, made fit for one printed line, and how long it asks us to wait."""

import math
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LONGEST_LINE = 300
TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)


def one_line(text: str, most: int = LONGEST_LINE) -> str:
    """The text without line breaks, terminal codes and what no file can hold, at most so long."""
    words = " ".join(text[: 4 * most].split())
    line = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in words)
    return line if len(line) <= most else f"{line[: most - 3]}..."


def body_line(body: bytes, encoding: str = "") -> str:
    """An error's body that is no JSON: the title of a page, the first words of anything else."""
    if encoding:
        return f"a body in {one_line(encoding, 40)}"
    text = body.decode(errors="replace").strip()
    if not text:
        return "an empty body"
    if not text.startswith("<"):
        return one_line(text, 120)
    title = TITLE.search(text)
    return "an HTML page" + (f": {one_line(title[1], 120)}" if title else "")


def wait_s(retry_after: str, now: datetime | None = None) -> float | None:
    """The seconds that a Retry-After header asks for, a number or a date (RFC 9110, 10.2.3); None for anything else."""
    text = retry_after.strip()
    try:
        seconds = float(text)
    except ValueError:
        try:
            then = parsedate_to_datetime(text)
        except ValueError:
            return None
        then = then if then.tzinfo else then.replace(tzinfo=UTC)
        seconds = max(0.0, (then - (now or datetime.now(UTC))).total_seconds())
    return seconds if 0 <= seconds < math.inf else None


def wait_text(retry_after: str | None) -> str:
    """The same for a person, who may wait longer than a probe."""
    seconds = wait_s(retry_after) if retry_after else None
    if seconds is None:
        return "a minute"
    if seconds > 7 * 86400:
        return f"for it (Retry-After: {one_line(retry_after or '', 40)})"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"
