"""PURE: when in a week a machine is kept up: "mon-fri 8-19", "mon-fri 8:30-18, sat 9-13", "24/7"."""

import re
from decimal import Decimal

from infra.errors import UsageError
from infra.money import rounded
from infra.record import Record

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
FULL_NAMES = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
SEVERAL = {"daily": range(7), "everyday": range(7), "weekdays": range(5), "weekends": range(5, 7)}
DAY_MINUTES, WEEK_MINUTES = 24 * 60, 7 * 24 * 60
NOON = DAY_MINUTES // 2
ALWAYS = "24/7"
HOURS_A_MONTH = Decimal(730)
"""8,760 hours a year over 12."""
EXAMPLE = '--schedule "mon-fri 8-19"'
LONGEST = 200
CLOCK = r"(\d{1,2})(?::(\d{2}))?(am|pm)?"
FROM_TO = re.compile(f"{CLOCK}-{CLOCK}")


class Schedule(Record):
    """The hours of a week in which it serves, and how often it is started for them."""

    text: str
    minutes_per_week: int
    starts_per_week: int

    @property
    def hours_per_month(self) -> Decimal:
        """A month is 730 hours, so 4.345 weeks."""
        return rounded(Decimal(self.minutes_per_week) * HOURS_A_MONTH / WEEK_MINUTES)

    @property
    def starts_per_month(self) -> Decimal:
        """0 where it is always on."""
        return rounded(self.starts_per_week * HOURS_A_MONTH * 60 / WEEK_MINUTES)


def schedule(text: str) -> Schedule:
    """Read one. Raises UsageError for what is no day, for a day without hours, and for hours without a length."""
    on = minutes_on(text)
    starts = sum((minute - 1) % WEEK_MINUTES not in on for minute in on)
    return Schedule(text=text.strip(), minutes_per_week=len(on), starts_per_week=starts)


def minutes_on(text: str) -> frozenset[int]:
    """The minutes of a week, from Monday's midnight, in which it serves."""
    if text.strip() == ALWAYS:
        return frozenset(range(WEEK_MINUTES))
    if len(text) > LONGEST:
        raise refused(f"A schedule of {len(text):,} characters is none.")
    days: tuple[int, ...] = ()
    timed, on = True, set[int]()
    for word in words(text):
        if word[0].isdigit():
            if not days:
                raise refused(f"The schedule {text!r} names no day before {word!r}.")
            on |= {
                (day * DAY_MINUTES + minute) % WEEK_MINUTES for day in days for minute in from_to(word, text)
            }
            timed = True
        else:
            days, timed = (days if not timed else ()) + days_of(word, text), False
    if not timed or not on:
        raise refused(f"The schedule {text.strip()!r} has no hours" + (" for its last day." if on else "."))
    return frozenset(on)


def words(text: str) -> list[str]:
    """Days and hours, one word each: blanks around a dash and the dashes that typesetters make are taken as meant."""
    plain = re.sub(r"\s*[-\u2013\u2014]\s*", "-", text.strip().lower())
    plain = re.sub(r"\bevery day\b", "everyday", plain)
    plain = re.sub(r"\b(\d{1,2}(?::\d{2})?)\s+(am|pm)\b", r"\1\2", plain)
    return [word for word in re.split(r"[\s,;+&]+", plain) if word not in ("", "and")]


def days_of(word: str, text: str) -> tuple[int, ...]:
    """The days that a word names: one, a span, which may go over Sunday, or all of a kind."""
    if word in SEVERAL:
        return tuple(SEVERAL[word])
    first, dash, last = word.partition("-")
    start = day_of(first, text)
    end = day_of(last, text) if dash else start
    return tuple((start + after) % 7 for after in range((end - start) % 7 + 1))


def day_of(name: str, text: str) -> int:
    """The number of a day, Monday's being 0."""
    for names in (DAYS, FULL_NAMES):
        if name in names:
            return names.index(name)
    raise refused(f"The schedule {text.strip()!r} names {name!r}, which is no day.")


def from_to(word: str, text: str) -> range:
    """The minutes from midnight on; past midnight where it ends before it begins."""
    typed = FROM_TO.fullmatch(word)
    if typed is None:
        raise refused(f"The schedule {text.strip()!r} has {word!r}, which is no hours.")
    start, end = clock(typed[1], typed[2], typed[3], word), clock(typed[4], typed[5], typed[6], word)
    if meant := by_a_clock_of_twelve(start, end, typed[3], typed[6]):
        raise UsageError(
            f"The schedule {text.strip()!r} has {word!r}, which may be meant by a clock of twelve hours.",
            f'Write hours to 24, or am and pm with both. Is it: --schedule "{in_place_of(word, meant, text)}"',
        )
    if start == end:
        raise refused(f"The schedule {text.strip()!r} has no hours: {word} is nothing; a whole day is 0-24.")
    return range(start, end if end > start else end + DAY_MINUTES)


def by_a_clock_of_twelve(
    start: int, end: int, first: str | None, second: str | None
) -> tuple[int, int] | None:
    """The other hours that 9-5 and 1-5pm may mean; None for what has one meaning."""
    if (first and second) or not 0 < start <= NOON or not end:
        return None
    if second is None:
        return (start, end + NOON) if end < start else None
    is_later = end < start if second == "am" else start + NOON < end
    return (start + NOON, end) if is_later else None


def in_place_of(word: str, minutes: tuple[int, int], text: str) -> str:
    """The schedule with other hours in place of a word's."""
    hours = "-".join(f"{at // 60}:{at % 60:02}".removesuffix(":00") for at in minutes)
    return " ".join(hours if each == word else each for each in words(text))


def clock(hours: str, minutes: str | None, half: str | None, word: str) -> int:
    """Minutes from midnight."""
    hour, minute = int(hours), int(minutes or 0)
    if half and 1 <= hour <= 12:
        hour = hour % 12 + (12 if half == "pm" else 0)
    elif half:
        hour = DAY_MINUTES
    if minute > 59 or hour * 60 + minute > DAY_MINUTES:
        raise refused(f"{word} in the schedule is no time of day.")
    return hour * 60 + minute


def refused(sentence: str) -> UsageError:
    """What a schedule that cannot be read is answered."""
    return UsageError(sentence, f"For example: {EXAMPLE}")


def checked_schedule(text: str) -> str:
    """The text, where it is a schedule. Raises UsageError."""
    schedule(text)
    return text
