"""When in a week a machine is on: hours and starts of what people write, and what is no schedule."""

from decimal import Decimal

import pytest

from deploy.costs.schedule import schedule
from infra.errors import UsageError


@pytest.mark.parametrize(
    ("text", "hours_per_week", "starts_per_week"),
    [
        ("mon-fri 8-19", 55, 5),
        ("Monday-Friday 08:00-19:00", 55, 5),
        ("mon \u2013 fri  8am - 7 pm", 55, 5),
        ("weekdays 8-19, sat 9-13", 59, 6),
        ("mon, wed, fri 8:30-18", 28.5, 3),
        ("weekdays 8-19 + sat and sun 9-13", 63, 7),
        ("mon-fri 8-12 13-17", 40, 10),
        ("mon-fri 8-12 12-17", 45, 5),
        ("mon-fri 8-19, wed 10-12", 55, 5),
        ("fri 20-4", 8, 1),
        ("sun 22-2, mon 2-3", 5, 1),
        ("sat-mon 0-24", 72, 1),
        ("weekends 12am-12pm", 24, 2),
        ("daily 6-22", 112, 7),
        ("every day 0-24", 168, 0),
        ("24/7", 168, 0),
        ("mon 10pm-6", 8, 1),
        ("mon 9-5pm", 8, 1),
        ("mon 8am-12", 4, 1),
        ("mon 9am-5am", 20, 1),
        ("mon 13-5", 16, 1),
        ("mon 0-5, tue 0-5am", 10, 2),
    ],
)
def test_the_hours_and_starts_of_a_week(text: str, hours_per_week: float, starts_per_week: int) -> None:
    read = schedule(text)
    assert (read.minutes_per_week / 60, read.starts_per_week) == (hours_per_week, starts_per_week)


def test_a_month_is_730_hours_and_so_many_weeks() -> None:
    assert schedule("24/7").hours_per_month == 730
    office = schedule("mon-fri 8-19")
    assert office.hours_per_month == Decimal("238.988095238")  # 55 x 730 / 168
    assert office.starts_per_month == Decimal("21.7261904762")  # 5 x 730 / 168


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("mon-fri", "The schedule 'mon-fri' has no hours."),
        ("mon 8-10, tue", "The schedule 'mon 8-10, tue' has no hours for its last day."),
        ("", "The schedule '' has no hours."),
        ("8-19", "The schedule '8-19' names no day before '8-19'."),
        ("mo-fr 8-19", "The schedule 'mo-fr 8-19' names 'mo', which is no day."),
        ("mon-fri 8", "The schedule 'mon-fri 8' has '8', which is no hours."),
        ("mon-fri 8-8", "The schedule 'mon-fri 8-8' has no hours: 8-8 is nothing; a whole day is 0-24."),
        ("mon-fri 8-25", "8-25 in the schedule is no time of day."),
        ("mon-fri 8-19:60", "8-19:60 in the schedule is no time of day."),
        ("mon-fri 13pm-14pm", "13pm-14pm in the schedule is no time of day."),
        ("mon-fri \u00b2-19", "The schedule 'mon-fri \u00b2-19' has '\u00b2-19', which is no hours."),
        ("mon 8-19 " * 40, "A schedule of 360 characters is none."),
    ],
)
def test_what_is_no_schedule_is_refused_with_one_that_is(text: str, sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        schedule(text)
    assert (caught.value.message, caught.value.hint) == (sentence, 'For example: --schedule "mon-fri 8-19"')


@pytest.mark.parametrize(
    ("text", "word", "meant"),
    [
        ("weekdays 9-5", "9-5", "weekdays 9-17"),
        ("mon - fri 8:30-5:30, sat 9-13", "8:30-5:30", "mon-fri 8:30-17:30 sat 9-13"),
        ("daily 12-8", "12-8", "daily 12-20"),
        ("mon 9am - 5", "9am-5", "mon 9-17"),
        ("mon 9-5am", "9-5am", "mon 21-5"),
        ("sat 1-5 pm", "1-5pm", "sat 13-17"),
        ("mon 7-12, mon 1-3:30pm", "1-3:30pm", "mon 7-12 mon 13-15:30"),
    ],
)
def test_hours_that_may_be_meant_by_a_clock_of_twelve_are_asked_back(
    text: str, word: str, meant: str
) -> None:
    with pytest.raises(UsageError) as caught:
        schedule(text)
    assert (caught.value.message, caught.value.hint) == (
        f"The schedule {text!r} has {word!r}, which may be meant by a clock of twelve hours.",
        f'Write hours to 24, or am and pm with both. Is it: --schedule "{meant}"',
    )
    assert schedule(meant).minutes_per_week > 0
