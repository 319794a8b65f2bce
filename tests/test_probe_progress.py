"""How a run stands: counts from the start, rates since the last look, and several processes as one."""

from dataclasses import asdict
from typing import Any

import pytest

from serving.probe.progress import Progress, together
from serving.probe.report_text import progress_line
from serving.probe.run_records import Result


def result(gaps_us: list[int], error: str | None = None, output_tokens: int | None = None) -> Result:
    return Result(0, 0, 0, 9, gaps_us=gaps_us, error=error, output_tokens=output_tokens)


def told(state: Progress) -> dict[str, Any]:
    """What differs from a run that has not begun."""
    nothing = asdict(Progress())
    return {name: value for name, value in asdict(state).items() if value != nothing[name]}


def test_each_end_is_counted_and_only_a_good_one_has_times_and_tokens() -> None:
    state = Progress()
    for each in (result([300, 1, 1]), result([500], output_tokens=7), result([200], error="reset")):
        state.ended(each)
    assert told(state) == {
        "done": 3, "failed": 1, "ttft_us": [300, 500], "ended_chunks": 4, "ended_tokens": 3 + 7,
    }  # fmt: skip


def test_rates_are_of_the_time_since_the_last_look() -> None:
    state = Progress()
    state.done = 4
    assert state.look(2.0, 100, 7)
    assert told(state) == {
        "elapsed_s": 2.0, "done": 4, "done_before": 4, "in_flight": 7, "chunks": 100, "chunks_per_s": 50.0,
        "requests_per_s": 2.0,
    }  # fmt: skip
    state.done = 5
    assert state.look(2.5, 130, 3)
    assert told(state) == {
        "elapsed_s": 2.5, "done": 5, "done_before": 5, "in_flight": 3, "chunks": 130, "chunks_per_s": 60.0,
        "requests_per_s": 2.0,
    }  # fmt: skip


def test_a_look_too_soon_takes_nothing() -> None:
    state = Progress(chunks=5)
    before = asdict(state)
    assert not state.look(0.1, 100, 7)
    assert asdict(state) == before
    assert state.look(0.11, 100, 7)


def test_processes_stand_together() -> None:
    one = Progress(3.0, 10, 8, 1, 2, 100, 50.0, 4.0, 7, 90, 180, [5, 6])
    two = Progress(3.5, 20, 15, 0, 5, 300, 70.0, 6.0, 9, 30, 30, [1])
    assert together([one, two]) == Progress(3.5, 30, 23, 1, 7, 400, 120.0, 10.0, 0, 120, 210, [5, 6, 1])


@pytest.mark.parametrize(
    ("state", "line"),
    [
        (Progress(), "   0.0 s  0/0 done, 0 in flight  0.0 requests/s  0 output tokens/s"),
        (
            Progress(
                elapsed_s=61.25,
                sent=2000,
                done=1990,
                in_flight=10,
                chunks_per_s=1234.4,
                requests_per_s=1200.0,
            ),
            "  61.2 s  1990/2000 done, 10 in flight  1,200.0 requests/s  1,234 output tokens/s",
        ),
        (
            Progress(ttft_us=[*range(1000, 201_000, 1000)]),
            "   0.0 s  0/0 done, 0 in flight  0.0 requests/s  0 output tokens/s  TTFT p50 101.0 p99 199.0 ms",
        ),
    ],
)
def test_the_line_a_person_watches(state: Progress, line: str) -> None:
    assert progress_line(state) == line
