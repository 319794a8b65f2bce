"""What a person reads of a run, a sweep and a comparison, whole."""

from pathlib import Path
from typing import Any

import pytest
from probing import a_point, a_sweep

from serving.probe.report import Client, Interval, ProbeReport, Steady, Summary
from serving.probe.report_text import limits_text, report_text, what_was_done
from serving.probe.sweep_report import answer_text, point_text, sweep_text


def latency(mean_s: float) -> Summary:
    return Summary(
        mean=mean_s, p50=mean_s * 2, p90=mean_s * 3, p95=mean_s * 4, p99=mean_s * 5, max=mean_s * 6
    )


REPORT = ProbeReport(
    url="http://host:1",
    model="scout",
    started_at="2026-11-24T00:00:00+00:00",
    load={"api": "chat", "shape": "poisson", "request_rate": 5.0, "input_tokens": "512", "output_tokens": "100-200"},
    sent=2000,
    succeeded=1990,
    errors={"http_500": 7, "reset": 3},
    duration_s=400.04,
    input_tokens=1_018_880,
    output_tokens=298_500,
    output_tokens_per_s=1746.25,
    total_tokens_per_s=3293.35,
    request_per_s=4.975,
    ttft_s=latency(0.1),
    tpot_s=latency(0.01),
    itl_s=latency(0.011),
    e2e_s=latency(1.5),
    goodput={"request_per_s": 4.5, "attainment": 0.9045, "slo": {"ttft_s": 0.5, "itl_s": 1.25}},
    client=Client(
        cpu_fraction=0.123, max_lag_s=0.001, p50_lag_s=0.00002, p99_lag_s=0.00015, stamps="kernel", reader="c",
        uncertain_fraction=0.0123, late_sends_p99_s=0.00034, cpu_us_per_event=2.34,
    ),
    valid=False,
    warnings=("one warning",),
    from_send={"ttft_s": latency(0.09), "e2e_s": latency(1.4)},
    itl_per_token_s=latency(0.005),
    peak_output_tokens_per_s=2100.0,
    steady=Steady(
        rule="", start_s=12.34, end_s=380.0, output_tokens_per_s=1800.0, total_tokens_per_s=0.0, request_per_s=0.0,
        ttft_s=latency(0.12),
    ),
    confidence={"output_tokens_per_s": Interval(low=1790.0, high=1810.5)},
    error_examples={"http_500": "boom"},
    unfinished=4,
    invalid_because=("one reason",),
    notes=("one note",),
)  # fmt: skip

WHOLE = """\
scout at http://host:1 (chat), 5.0/s poisson, 512 tokens in, 100-200 out
requests     2000 sent, 1990 succeeded, 7 http_500, 3 reset, 4 unfinished, 400.0 s
output       1,746.2 tokens/s (298,500 tokens, best second 2,100)
in and out   3,293.3 tokens/s, 4.97 requests/s
steady       1,800.0 output tokens/s (95 %: 1,790.0 to 1,810.5), from 12.3 to 380.0 s
latencies    from when each request was due; "sent": from its sending
ms                 mean        p50        p90        p95        p99        max
TTFT             100.00     200.00     300.00     400.00     500.00     600.00
TTFT steady      120.00     240.00     360.00     480.00     600.00     720.00
TPOT              10.00      20.00      30.00      40.00      50.00      60.00
ITL               11.00      22.00      33.00      44.00      55.00      66.00
ITL a token        5.00      10.00      15.00      20.00      25.00      30.00
E2E            1,500.00   3,000.00   4,500.00   6,000.00   7,500.00   9,000.00
TTFT sent         90.00     180.00     270.00     360.00     450.00     540.00
E2E sent       1,400.00   2,800.00   4,200.00   5,600.00   7,000.00   8,400.00
goodput      4.50 requests/s, 90.5% met TTFT <= 500 ms, worst ITL <= 1,250 ms
clock        kernel stamps; read 0.020 ms (p99 0.150) after arrival: this does not enter the figures; \
1.23% of the chunks shared a read with a later one
probe        12.3% of a core, 2.3 us a chunk (read by C); sends late by p99 0.34 ms
INVALID      one reason
             Run it on a free machine, or with --processes.
warning      one warning
error        http_500: boom
note         one note

raw results and report in out"""


def test_a_report_in_words() -> None:
    assert report_text(REPORT, Path("out")) == WHOLE


@pytest.mark.parametrize("columns", [80, 100])
def test_a_report_fits_the_terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setattr("infra.terminal.width", lambda stream: columns)
    long = REPORT.model_copy(update={"invalid_because": ("why not " * 40,), "warnings": ("take care " * 40,)})
    assert max(map(len, report_text(long, Path("out")).splitlines())) <= columns


@pytest.mark.parametrize(("requests", "slots"), [(4, 4), (8, 8), (200, 8), (None, 8)])
def test_no_more_at_a_time_than_there_are(requests: int | None, slots: int) -> None:
    load = REPORT.load | {"shape": "concurrency", "concurrency": 8, "requests": requests}
    assert f", {slots} at a time, " in what_was_done(REPORT.model_copy(update={"load": load}))


def test_a_bare_report_in_words() -> None:
    nothing: dict[str, Any] = dict.fromkeys(
        ("ttft_s", "tpot_s", "itl_s", "e2e_s", "itl_per_token_s", "steady")
    )
    bare = REPORT.model_copy(
        update=nothing
        | {
            "load": {"api": "chat", "shape": "concurrency", "concurrency": 8, "prompts_file": "mine.jsonl"},
            "errors": {}, "unfinished": 0, "goodput": {}, "warnings": (), "from_send": {}, "confidence": {},
            "error_examples": {}, "invalid_because": (), "notes": (),
            "client": Client(cpu_fraction=0.5, max_lag_s=0.0, stamps="user", reader="python"),
        }
    )  # fmt: skip
    assert report_text(bare, Path("out")).splitlines() == [
        "scout at http://host:1 (chat), 8 at a time, the prompts of mine.jsonl",
        "requests     2000 sent, 1990 succeeded, 400.0 s",
        "output       1,746.2 tokens/s (298,500 tokens, best second 2,100)",
        "in and out   3,293.3 tokens/s, 4.97 requests/s",
        "ms                 mean        p50        p90        p95        p99        max",
        "clock        user stamps; read 0.000 ms (p99 0.000) after arrival: the figures include it; 0.00% of the"
        " chunks shared a read with a later one",
        "probe        50.0% of a core, 0.0 us a chunk (read by Python); sends late by p99 0.00 ms",
        "",
        "raw results and report in out",
    ]


@pytest.mark.parametrize(
    ("load", "how"),
    [({"shape": "burst"}, "all at once"), ({"shape": "replay"}, "replayed from a trace")],
)
def test_the_other_kinds_of_load_in_words(load: dict[str, str], how: str) -> None:
    made = REPORT.model_copy(update={"load": REPORT.load | load})
    assert what_was_done(made).startswith(f"scout at http://host:1 (chat), {how}, 512 tokens in")


def test_a_percentile_of_few_values_is_marked() -> None:
    """Of 100 five lie beyond the p95, and one beyond the p99; of 9 not even five beyond the median."""
    few = {"ttft_s": latency(0.1).model_copy(update={"count": 100}), "tpot_s": latency(0.01)}
    lines = report_text(REPORT.model_copy(update=few), Path("out")).splitlines()
    assert "TTFT             100.00     200.00     300.00     400.00    500.00*     600.00" in lines
    assert "TPOT              10.00      20.00      30.00      40.00      50.00      60.00" in lines
    assert "*            fewer than 5 values lie beyond it: another run may say something else" in lines
    few = {"ttft_s": latency(0.1).model_copy(update={"count": 9})}
    lines = report_text(REPORT.model_copy(update=few), Path("out")).splitlines()
    assert "TTFT             100.00    200.00*    300.00*    400.00*    500.00*     600.00" in lines


def test_an_interval_from_nothing_on_says_where_it_ends() -> None:
    wide = {"confidence": {"output_tokens_per_s": Interval(low=0.0, high=152.0)}}
    lines = report_text(REPORT.model_copy(update=wide), Path("out")).splitlines()
    assert (
        "steady       1,800.0 output tokens/s (95 %: at most 152.0, the run is too short to say more), from 12.3 to"
        " 380.0 s" in lines
    )


def test_limits_as_a_person_says_them() -> None:
    limits = {"ttft_s": 0.5, "tpot_s": 0.0505, "itl_s": 1.25, "e2e_s": 10.0}
    assert limits_text(limits) == "TTFT <= 500 ms, TPOT <= 50.5 ms, worst ITL <= 1,250 ms, E2E <= 10,000 ms"


# A sweep


STEP = a_point(
    8.0, verdict="missed", output_tokens_per_s=1234.56, ttft_p99_s=1.25, tpot_p50_s=0.0123, attainment=0.985,
    attainment_low=0.91, failed=3, sent=192,
)  # fmt: skip


def test_a_step_in_a_line() -> None:
    assert point_text(STEP, "concurrency") == (
        "       8 at a time     1,234.6 output tokens/s  TTFT p50 100.0 p99 1,250.0 ms  TPOT p50 12.30 ms"
        "  98.5% met the limits (95 %: from 91.0%)  3 of 192 failed"
    )
    bare = a_point(8.0, output_tokens_per_s=1234.56, ttft_p99_s=None, tpot_p50_s=None)
    assert point_text(bare, "rate") == "       8/s     1,234.6 output tokens/s"
    twice = bare.model_copy(update={"output_tokens_per_s_by_run": (1234.0, 1235.12), "verdict": "refused"})
    assert point_text(twice, "rate") == "       8/s     1,234.6 output tokens/s (2 runs)  REFUSED"
    bounds = {"output_tokens_per_s_low": 1200.0, "output_tokens_per_s_high": 1269.12}
    sure = twice.model_copy(update=bounds | {"verdict": "limited_by_client"})
    assert point_text(sure, "rate") == (
        "       8/s     1,234.6 output tokens/s (95 %: 1,200.0 to 1,269.1, 2 runs)  INVALID"
    )


WITH_LIMITS: dict[str, Any] = {"slo": {"ttft_s": 0.5}}
MEET = "95% meet TTFT <= 500 ms"


@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        ({}, "saturated at 8 at a time: why"),
        ({"over": "rate"}, "saturated at 8 requests/s: why"),
        (
            {"confirmed": False},
            "saturated at 8 at a time: why;\nnot confirmed in the time for repeats (--repeat-limit-s)",
        ),
        ({"answer": "not_saturated_up_to"}, "not saturated up to 8 at a time: why"),
        (
            WITH_LIMITS | {"answer": "promise_met_up_to"},
            f"8 at a time is the highest load of which {MEET}: why",
        ),
        (
            WITH_LIMITS | {"answer": "promise_met_up_to", "confirmed": False},
            f"8 at a time is the highest load of which {MEET}: why;\n"
            "not confirmed in the time for repeats (--repeat-limit-s); by its requests it may be 91.0% that do",
        ),
        (
            WITH_LIMITS | {"answer": "promise_not_missed_up_to"},
            f"up to 8 at a time {MEET}, and the most may be higher: why",
        ),
        (
            WITH_LIMITS | {"answer": "no_promise_met", "best": None},
            f"no load tried is one of which {MEET}: why",
        ),
        ({"answer": "refused_beyond"}, "refused beyond 8 at a time: why"),
        ({"answer": "refused_beyond", "best": None}, "refused at every load tried: why"),
        ({"answer": "limited_by_client"}, "limited by the client beyond 8 at a time: why"),
        ({"answer": "limited_by_client", "best": None}, "limited by the client at every load tried: why"),
        ({"answer": "interrupted", "best": None, "confirmed": False}, "no answer: why"),
        ({"answer": "ended_early", "best": None, "confirmed": False}, "no answer: why"),
    ],
)
def test_the_answer_of_a_sweep(changes: dict[str, Any], answer: str) -> None:
    assert answer_text(a_sweep(STEP, **{"reason": "why"} | changes)) == answer


def test_a_steps_p99_of_few_requests_is_marked() -> None:
    few, enough = (STEP.model_copy(update={"latencies_of": count}) for count in (499, 500))
    assert "p99 1,250.0* ms" in point_text(few, "rate")
    assert "p99 1,250.0 ms" in point_text(enough, "rate")
    assert sweep_text(a_sweep(few), Path("out")).splitlines()[2] == "* fewer than 5 requests lie beyond it"
    assert "*" not in sweep_text(a_sweep(enough), Path("out"))


def test_a_sweep_in_words() -> None:
    assert sweep_text(a_sweep(STEP, reason="why"), Path("out")) == (
        f"{point_text(STEP, 'concurrency')}\nsaturated at 8 at a time: why\n"
        "\nthe steps, sweep.json and sweep.html in out"
    )
