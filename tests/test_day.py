"""The day, and how it is pinned."""

from datetime import date

import pytest

from infra.day import today
from infra.errors import UsageError


def test_the_day_can_be_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1795521600")
    assert today() == date(2026, 11, 24)


@pytest.mark.parametrize("epoch", [None, ""])
def test_else_it_is_the_day_that_it_is(epoch: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    if epoch is not None:
        monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
    before = date.today()
    assert before <= today() <= date.today()


@pytest.mark.parametrize("epoch", ["tomorrow", "1e9", "99999999999999999999"])
def test_what_names_no_day_is_refused(epoch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
    with pytest.raises(UsageError, match="which is no day"):
        today()


def test_what_names_no_day_is_told_with_what_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "tomorrow")
    with pytest.raises(UsageError) as error:
        today()
    assert (error.value.message, error.value.hint) == (
        "SOURCE_DATE_EPOCH is 'tomorrow', which is no day.",
        "Use whole seconds since 1970, or unset it.",
    )
