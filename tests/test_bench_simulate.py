"""What scripts/bench-simulate makes of its measurements, which are here made of known figures."""

import json

import pytest

from scripts.bench_simulate.table import (
    Fit,
    Part,
    Steps,
    Window,
    added_s,
    api_of,
    band_of,
    figures,
    late_of,
    line,
    measured_before,
    middle_figures,
    middle_of,
    plain_step_s,
    simulated,
)
from serving.sizing.batching import NO_API, Api, Request, Room, Served

ROOM = Room(max_num_seqs=32, max_num_batched_tokens=2048, kv_tokens=10**9)
STEPS = Steps({1: 0.005, 8: 0.012}, {16: 0.007, 116: 0.017}, {16: 0.0, 116: 0.010})


def test_between_two_points_time_is_on_a_line() -> None:
    at = line({1: 10.0, 3: 20.0, 8: 25.0})
    assert [at(number) for number in (0, 1, 2, 3, 8, 13)] == [10, 10, 15, 20, 25, 30]


def test_beside_others_a_prompt_adds_what_was_measured_there() -> None:
    step_s = STEPS.time()
    assert [step_s(0, 116), step_s(1, 116), step_s(8, 0), step_s(8, 116), step_s(8, 16)] == pytest.approx(
        [0.017, 0.015, 0.012, 0.022, 0.012]
    )
    assert STEPS.time(2.0)(8, 116) == pytest.approx(0.044)


def test_the_median_of_several_fits_is_at_the_points_of_the_first() -> None:
    """The second is twice as slow; its prompts were of other lengths."""
    slow = Steps({1: 0.010, 8: 0.024}, {6: 0.012, 16: 0.014, 116: 0.034}, {16: 0.002, 116: 0.030})
    one = Fit(STEPS, {16: 0.01}, [Window(1, 1, 1, 1)], {1: [[0.9, 1.1]]})
    two = Fit(slow, {26: 0.03}, [Window(2, 2, 2, 2)], {1: [[1.2, 0.8]]})
    (decode_s, prefill_s, beside_s), idle_s, windows, looks = middle_of([one, two])
    assert decode_s == pytest.approx({1: 0.0075, 8: 0.018})
    assert prefill_s == pytest.approx({16: 0.0105, 116: 0.0255})
    assert beside_s == pytest.approx({16: 0.001, 116: 0.020})
    assert idle_s == pytest.approx({16: 0.02})
    assert windows == [Window(1, 1, 1, 1), Window(2, 2, 2, 2)]
    assert looks == {1: [[0.9, 1.1], [1.2, 0.8]]}
    disturbed = Fit(Steps({1: 9.0, 8: 9.0}, {16: 9.0, 116: 9.0}, {16: 9.0, 116: 9.0}), {16: 9.0}, [], {1: []})
    assert middle_of([one, disturbed, one])[:2] == one[:2]


def test_the_band_is_how_far_two_fits_in_a_row_lie_apart() -> None:
    """Of 1.0, 1.2 and 0.8: by 1.2 and 1.5."""
    fits = [Fit(Steps({1: each}, {}, {}), {}, [], {}) for each in (1.0, 1.2, 0.8)]
    assert band_of(fits) == pytest.approx(1.2 + 0.9 * 0.3)


def test_what_a_prompt_adds_is_by_how_much_later_the_streams_tokens_come() -> None:
    """Steps of 1 s: 3 s later by the first of them for one stream, 2.5 for the other; 2 s by the second.

    The third came when no stream was left.
    """
    streams = [(0, 1, 2, 3, 7, 8, 9, 12, 13, 14), (0.5, 1.5, 2.5, 3, 7, 8, 9, 12, 13, 14)]
    prompts = [(2.6, 7.0), (8.5, 12.0), (13.5, 15.0)]
    assert added_s(streams, prompts) == pytest.approx((2.75 + 2.0) / 2)


def test_a_step_is_measured_while_all_streams_decode() -> None:
    """The second begins at 2.5 s, the first ends at 6 s: 1 s, 1 s, 1 s of the first, 1.5 s of the second."""
    first, second = (0, 1, 2, 3, 4, 5, 6), (2.5, 4, 8)
    assert plain_step_s([first, second]) == pytest.approx((1 + 1 + 1 + 1.5) / 4)


def test_the_api_process_is_found_again() -> None:
    """Each probe costs it 0.3 s of its own; what is left of a lone request's TTFT passes beside it."""
    api = Api(request_s=0.002, step_s=0.0005, token_s=0.00003, beside_s=0.004)
    asked = [(1, 80, 80), (4, 80, 320), (32, 100, 2560), (20, 20, 20), (40, 40, 40)]
    windows = [
        Window(
            0.3 + api.request_s * requests + api.step_s * steps + api.token_s * tokens,
            requests,
            steps,
            tokens,
        )
        for requests, steps, tokens in asked
    ]
    idle = {16: 0.007 + 0.00253 + 0.004, 116: 0.017 + 0.00253 + 0.004}
    assert api_of(Fit(STEPS, idle, windows, {})) == pytest.approx(api)
    disturbed = [*windows, *(each._replace(cpu_s=each.cpu_s * 3) for each in windows[3:]), *windows]
    assert api_of(Fit(STEPS, idle, disturbed, {})) == pytest.approx(api)
    early = {16: 0.007 + 0.00153, 116: 0.017 + 0.00153}
    assert api_of(Fit(STEPS, early, windows, {})) == pytest.approx(
        api._replace(request_s=0.001, beside_s=0.0)
    )
    less = [Window(0.3 - 0.001 * requests, requests, steps, tokens) for requests, steps, tokens in asked]
    found = api_of(Fit(STEPS, {16: 0.0}, less, {}))
    assert found.request_s == 0.0
    assert min(found) >= 0.0


def test_the_figures_of_known_arrivals() -> None:
    """Two that do not meet: 7 ms to the first of three tokens, then 5 ms each; the other part was slower."""
    requests = [Request(1.0, 16, 3), Request(2.0, 16, 3)]
    fit = Fit(STEPS, {}, [], {})
    found = simulated(requests, fit, ROOM, NO_API, 2.0)
    assert [*found.answers] == [pytest.approx((0.014, 0.01, 0.01))] * 2
    assert found.requests == requests
    assert found.lasted_s == pytest.approx(1.034)
    slower = simulated(requests[:1], fit, ROOM, NO_API, 4.0)
    assert figures([found, slower]) == pytest.approx(
        {
            "ttft_p50_ms": 14,
            "ttft_p95_ms": 14 + 0.9 * 14,
            "tpot_p50_ms": 10,
            "tpot_p95_ms": 10 + 0.9 * 10,
            "tokens_per_s": 9 / (1.034 + 0.068),
        }
    )
    slowest = simulated(requests[:1], fit, ROOM, NO_API, 40.0)
    assert middle_figures([slowest, slower, found]) == pytest.approx(
        figures([slower]) | {"tokens_per_s": 6 / 1.034}
    )


def test_steps_are_late_as_those_of_as_many_streams_were() -> None:
    """By seconds, one after another: an idle one as one of one stream, one of three as one of two, and so on again."""
    step_s = STEPS.time(2.0, {1: [0.001, -0.001], 2: [0.004, -1.0]})
    assert [step_s(0, 16), step_s(1, 0), step_s(3, 0), step_s(0, 16), step_s(8, 0)] == pytest.approx(
        [2 * 0.008, 2 * 0.004, 2 * 0.011, 2 * 0.008, 2 * 0.00012]
    )
    fit = Fit(STEPS, {}, [], {1: [[0.004, 0.004, 0.006, 0.006]]})
    found = simulated([Request(1.0, 16, 4)], fit, ROOM, NO_API, 1.0)
    assert [*found.answers] == [pytest.approx((0.006, (0.004 + 0.006 + 0.006) / 3, 0.006))]


def test_what_the_next_gap_makes_good_was_not_the_steps() -> None:
    """Steps of one length, every other token late; a slow stretch; some of both; steps that are alike; one."""
    assert late_of([5.0, 7.0, 5.0, 7.0, 5.0, 7.0]) == pytest.approx([0.0] * 6)
    assert late_of([5.0] * 4 + [7.0] * 4) == pytest.approx([-1.0] * 4 + [1.0] * 4)
    # Off by 1, of neighbours -1/5: the steps' share of the variance is 3/5.
    share = (3 / 5) ** 0.5
    assert late_of([4.0, 6, 6, 4, 4, 6]) == pytest.approx([share * each for each in (-1, 1, 1, -1, -1, 1)])
    assert late_of([5.0, 5.0]) == [0.0, 0.0]
    assert late_of([5.0]) == [0.0]


def test_what_was_measured_is_read_again() -> None:
    fit = Fit(STEPS, {16: 0.01}, [Window(1, 1, 1, 1)], {1: [[0.9, 1.1]]})
    part = Part([Request(1.0, 16, 3)], [Served(0.01, 0.005, 0.0)], 1.5)
    assert measured_before(json.dumps(["of a day", [fit], [part]])) == ("of a day", [fit], [part])
