"""What scripts/bench-gateway makes of what it measured, which is here of known figures."""

import math

import pytest

from scripts.bench_gateway.table import Asked, Measured, beside, delays_ms, middle, page, together


def test_a_delay_is_that_of_one_request_by_the_servers_log_of_it() -> None:
    """The second was sent first, and waited 20 ms longer for its first token at the server."""
    log = [[2_000_000, 0, 52_000_000, 72_000_000], [1_000_000, 0, 71_000_000]]
    assert delays_ms([1_900.0, 900.0], [0.0505, 0.0708], log) == pytest.approx([0.8, 0.5])


def test_a_median_has_its_interval() -> None:
    assert middle([float(number) for number in range(100, 0, -1)]) == (50.5, 41.0, 60.0)
    assert middle([3.0]) == (3.0, 3.0, 3.0)


def test_delays_are_of_all_rounds_and_the_rest_is_the_rounds_median() -> None:
    rounds = [Measured([1.0, 2.0], 3, 4, 5, 6), Measured([9.0], 5, 4, 5, 7), Measured([], 4, 1, 9, 9)]
    assert together(rounds) == Measured([1.0, 2.0, 9.0], 4, 4, 5, 7)


def test_what_a_gateway_adds_is_judged() -> None:
    delays = {"direct": [0.1] * 3, "near": [1.1] * 3, "far": [1.2] * 3}
    speeds = {"direct": 1000.0, "near": 970.0, "far": 969.0}
    measured = {(way, "1 stream"): Measured(each, 0, 0.5, 30, 51.25) for way, each in delays.items()}
    measured |= {(way, "throughput"): Measured([0.0], 0, 0, each, 0) for way, each in speeds.items()}
    lines = page(measured).splitlines()
    assert lines[3] == "| 1 stream | near | 3 | 1.10 | 1.10 to 1.10 | 1.10 | 1.10 | 0.00 | 0.50 | 30 | 51.2 |"
    assert lines[-4:] == [
        "| near, 1 stream: TTFT p50 added, ms | 1.00 | 1.0 | ok |",
        "| far, 1 stream: TTFT p50 added, ms | 1.10 | 1.0 | MISSED |",
        "| near: of the direct tokens/s | 0.970 | 0.97 | ok |",
        "| far: of the direct tokens/s | 0.969 | 0.97 | MISSED |",
    ]


def test_what_lies_between_rounds_before_the_real_engine_is_judged_where_it_is_sure() -> None:
    """Four rounds; half an interval is 3.182 (Student's t, 3 degrees) of the standard deviation over 2."""
    direct = Asked([20.0, 30.0, 21.0], 20.0, 21.0, 2.0, 100.0, 1.0, 0.0)
    through = (
        Asked([20.5, math.nan, 21.6], 20.4, 23.9, math.nan, 90.0, 1.1, 60.0),
        Asked([20.4, 31.2, 21.7], 20.6, 24.1, 3.5, 90.0, 1.3, 62.0),
    )
    text = beside({1: [(direct, through[number % 2]) for number in range(4)]}, {1: 4.704})
    assert text.splitlines() == [
        "| streams | | direct | gateway | difference | 95 % | bound | |",
        "|---|---|---|---|---|---|---|---|",
        "| 1 | TTFT of the same request, ms | 21.00 | 21.60 | +0.60 | +0.40 to +1.20 | +1.0 | not settled |",
        "| 1 | TTFT p50, ms | 20.00 | 20.50 | +0.50 | +0.32 to +0.68 | +1.0 | ok |",
        "| 1 | TTFT mean, ms | 21.00 | 24.00 | +3.00 | +2.82 to +3.18 | +1.0 | MISSED |",
        "| 1 | TTFT mean outside the engine, ms | 2.00 | 3.50 | +1.50 | +1.50 to +1.50 | +1.0 | MISSED |",
        "| 1 | tokens/s | 100.00 | 90.00 | 0.900 of it | 0.900 to 0.900 | 0.97 | MISSED |",
        "",
        "1: 4.70 requests/s, 1.0 streams on average direct and 1.2 through the gateway, HAProxy's CPU 61.0 ms per 1,000"
        " tokens",
    ]
    once = beside({4: [(direct, direct._replace(outside_ms=math.nan))]}, {4: 9.0}).splitlines()
    assert once[3] == "| 4 | TTFT p50, ms | 20.00 | 20.00 | +0.00 | -inf to +inf | +1.0 | not settled |"
    assert (
        once[5]
        == "| 4 | TTFT mean outside the engine, ms | - | - | +nan | +nan to +nan | +1.0 | not settled |"
    )
