"""A box's phases: what its scripts say, and what that means."""

import pytest

from infra.phase import Phase, PhaseState, last_phase, phase_of


@pytest.mark.parametrize(
    ("words", "state"),
    [
        ("", "booting"),
        ("installing the engine", "preparing"),
        ("fetching the weights: 40 %", "preparing"),
        ("prepared", "prepared"),
        ("failed: installing the engine, line 104", "failed"),
        ("failed: start: no egress lock", "failed"),
        ("interrupted by EC2: spot notice, ends at 2026-11-29T01:00:00Z", "interrupted"),
    ],
)
def test_the_first_word_decides(words: str, state: PhaseState) -> None:
    assert phase_of(words) == Phase(state=state, words=words)


@pytest.mark.parametrize(
    ("words", "is_prepared"),
    [
        ("prepared", True),
        ("failed: start: the egress lock cannot be loaded", True),
        ("failed: lock: the egress lock is gone, so the server was stopped", True),
        ("failed: start, line 12", False),
        ("failed: weights, line 9", False),
        ("interrupted by EC2: spot notice", False),
        ("", False),
    ],
)
def test_what_a_server_failed_at_had_been_prepared(words: str, is_prepared: bool) -> None:
    assert phase_of(words).is_prepared == is_prepared


def test_a_word_that_only_begins_so_decides_nothing() -> None:
    assert phase_of("failedover").state == "preparing"
    assert phase_of("it was prepared").state == "preparing"


def test_the_last_one_a_console_tells_of_that_deployment() -> None:
    console = (
        "x corral: scout: installing the engine\r\ncorral: scout: prepared  \ncorral: other: failed: x\nend"
    )
    assert last_phase(console, "scout") == Phase(state="prepared", words="prepared")
    assert last_phase(console, "nobody") == Phase()
