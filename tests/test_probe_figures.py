"""A whole report, by hand: four requests of an open loop by two processes, and what each figure is made from."""

from dataclasses import replace
from typing import Any

import numpy
import pytest

from serving.probe.exports import csv_text, vllm_bench
from serving.probe.lengths import Lengths
from serving.probe.metrics import Figures, edges_of, report
from serving.probe.report import Client, Interval
from serving.probe.run_records import ClientSide, Ending, Result, Run, ServerFacts
from serving.probe.samples import BIN_US, chunk_tokens, collect
from serving.probe.spec import Load, Slo, Target, Workload
from serving.probe.statistics import (
    interval,
    mser_start,
    percentile_by_block,
    spread,
    summary,
    weighted_summary,
    wilson,
)
from serving.probe.validity import reasons_to_reject, warnings

RUN = Run(
    target=Target(base_url="http://127.0.0.1:1"),
    model="m",
    load=Load(shape="constant", request_rate=4.0, requests=4),
    workload=Workload(
        input_tokens=Lengths(low=10), output_tokens=Lengths(form="uniform", low=2, high=4), seed=7
    ),
    slo=Slo(ttft_s=0.2, tpot_s=0.05, e2e_s=0.5),
    server=ServerFacts(is_vllm=True, version="0.33.0"),
    started_at="2026-11-24T00:00:00+00:00",
    notes=("a note",),
)
SIDES = [
    ClientSide(
        process=0, kernel_stamps=True, reader="c", wall_s=2.0, cpu_s=0.2, reads=5, events=6, uncertain=1,
        lag_us={"p50": 8.0, "p99": 40.0, "max": 50.0}, late_us={"p99": 30.0, "max": 90.0},
        connections=3, reconnects=1, connect_us={"p50": 100.0},
    ),
    ClientSide(
        process=1, kernel_stamps=True, not_compiled="no cc", wall_s=2.0, cpu_s=0.5, reads=4, events=4,
        uncertain=1, late_uncertain=1, lag_us={"p50": 9.0, "p99": 30.0, "max": 70.0},
        late_us={"p99": 20.0, "max": 95.0}, connections=2, connect_us={"p50": 300.0},
    ),
]  # fmt: skip
COUNTERS = {
    "generation_tokens": 8.0, "prompt_tokens": 31.0, "requests_finished": 3.0, "prefix_cache_queries": 30.0,
    "prefix_cache_hits": 1.0, "preemptions": 2.0, "ttft_sum_s": 0.6, "ttft_count": 3.0, "queue_sum_s": 0.03,
}  # fmt: skip
ONE = Result(
    0, scheduled_us=0, sent_us=1000, done_us=141_005, status=200, gaps_us=[100_000, 20_000, 20_000], input_asked=10,
    input_tokens=10, output_asked=4, output_tokens=3, cached_tokens=3, output_chars=9, finish_reason="stop",
    uncertain=1,
)  # fmt: skip
TWO = Result(
    1, scheduled_us=250_000, sent_us=250_000, done_us=510_005, status=200, gaps_us=[220_000, 40_000], input_asked=10,
    input_tokens=10, output_asked=4, output_tokens=4, cached_tokens=2, output_chars=5, finish_reason="length",
    empty_chunks=1, process=1,
)  # fmt: skip
THREE = Result(
    2, scheduled_us=500_000, sent_us=500_000, done_us=650_005, status=200, gaps_us=[150_000], input_asked=10,
    input_tokens=11, output_asked=1, output_tokens=1, finish_reason="length",
)  # fmt: skip
FAILED = Result(
    3, scheduled_us=750_000, sent_us=750_000, done_us=900_000, status=500, error="http_500", message="boom",
    gaps_us=[10, 10],
)  # fmt: skip
SAMPLED = {
    "running": [[0.0, 2.0], [1.0, 3.0]], "waiting": [[0.0, 1.0]], "power_w": [[0.0, 100.0], [1.0, 200.0]],
    "gpu_memory_mib": [[0.0, 512.0]],
}  # fmt: skip
ENDING = Ending(duration_us=2_000_000, clients=SIDES, unfinished=1, counters=COUNTERS, sampled=SAMPLED)
RECORDS: list[Result | Ending] = [ONE, TWO, THREE, FAILED, ENDING]


def of(*values: float, count: int | None = 3) -> dict[str, float]:
    """A distribution's mean, percentiles and maximum, and of how many values it is where they count alike."""
    found = dict(zip(("mean", "p50", "p90", "p95", "p99", "max"), values, strict=True))
    return found if count is None else found | {"count": count}


def flat(value: object, name: str = "") -> dict[str, object]:
    """Nested dicts as one, so that their numbers can be held against others nearly equal."""
    if not isinstance(value, dict) or not value:
        return {name: value if isinstance(value, float) else str(value)}
    return {path: leaf for key, each in value.items() for path, leaf in flat(each, f"{name}.{key}").items()}


WHOLE = {
    "document": "probe",
    "schema_version": 1,
    "url": "http://127.0.0.1:1",
    "model": "m",
    "started_at": "2026-11-24T00:00:00+00:00",
    "load": {
        "api": "completions", "shape": "constant", "request_rate": 4.0, "requests": 4, "seed": 7,
        "input_tokens": "10", "output_tokens": "2-4",
    },
    "sent": 5,
    "succeeded": 3,
    "errors": {"http_500": 1},
    "duration_s": 2.0,
    "input_tokens": 31,
    "output_tokens": 8,
    "output_tokens_per_s": 4.0,
    "total_tokens_per_s": 19.5,
    "request_per_s": 1.5,
    "ttft_s": of(0.157, 0.15, 0.206, 0.213, 0.2186, 0.22),  # from when each was due: 101, 220 and 150 ms
    "tpot_s": of(0.05 / 3, 0.05 / 3, 0.058 / 3, 0.059 / 3, 0.0598 / 3, 0.02, count=2),  # 40 ms for 2 and for 3
    "itl_s": of(0.08 / 3, 0.02, 0.036, 0.038, 0.0396, 0.04),
    "e2e_s": of(0.551 / 3, 0.15, 0.238, 0.249, 0.2578, 0.26),
    "goodput": {
        "slo": {"ttft_s": 0.2, "tpot_s": 0.05, "e2e_s": 0.5},
        "good": 2, "attainment": 0.5, "attainment_low": 0.1500357, "attainment_high": 0.8499643, "request_per_s": 1.0,
    },
    "client": {
        "cpu_fraction": 0.25, "max_lag_s": 70e-6, "p50_lag_s": 9e-6, "p99_lag_s": 40e-6, "stamps": "kernel",
        "reader": "python", "uncertain_fraction": 0.2, "late_fraction": 0.1, "late_sends_p99_s": 30e-6,
        "late_sends_max_s": 95e-6, "cpu_us_per_event": 70_000.0, "processes": 2, "connections": 5, "reconnects": 1,
        "connect_p50_s": 300e-6,
    },
    "valid": False,
    "warnings": [
        "1 of 4 requests failed; the server's count of tokens holds theirs too and was not compared",
        "1 of 3 answers are shorter than asked (finish reasons: length 2, stop 1)",
    ],
    "latency_from": "schedule",
    "from_send": {
        "ttft_s": of(0.47 / 3, 0.15, 0.206, 0.213, 0.2186, 0.22),
        "e2e_s": of(0.55 / 3, 0.15, 0.238, 0.249, 0.2578, 0.26),
    },
    "itl_per_token_s": of(0.02, 0.02, 0.02, 0.02, 0.02, 0.02, count=None),  # the gap of 40 ms brought two tokens
    "peak_output_tokens_per_s": 8.0,
    "steady": None,
    "confidence": {},
    "stalls": {"threshold_s": 0.1, "count": 0, "longest_s": 0.0},
    "chunks": 6,
    "empty_chunks": 1,
    "buffered_fraction": None,
    "cached_input_tokens": 5,
    "failed_output_chunks": 2,
    "short_outputs": 1,
    "finish_reasons": {"length": 2, "stop": 1},
    "error_examples": {"http_500": "boom"},
    "exact_input_fraction": 2 / 3,
    "output_characters": 14,
    "server": {
        "version": "0.33.0", "generation_tokens": 8.0, "prompt_tokens": 31.0, "requests_finished": 3.0,
        "prefix_cache_hit_rate": 1 / 30, "preemptions": 2.0, "ttft_mean_s": 0.2, "queue_mean_s": 0.01,
        "most_running": 3.0, "most_waiting": 1.0, "most_kv_cache_usage": None,
    },
    "gpus": {
        "mean_power_w": 150.0, "most_power_w": 200.0, "most_memory_mib": 512.0,
        "joules_per_output_token": 150 * 2 / 8,
    },
    "interrupted": False,
    "unfinished": 1,
    "results_lost": False,
    "invalid_because": ["client-limited: 10% of the chunks were read late, together with later ones"],
    "spoiled_by": ["client"],
    "notes": ["a note", "the probe read by Python, for twice the CPU or more: no cc"],
}  # fmt: skip


def test_a_whole_report() -> None:
    assert flat(report(RUN, RECORDS).model_dump(mode="json")) == pytest.approx(flat(WHOLE))


def test_a_closed_loop_has_its_latencies_from_the_sending() -> None:
    closed = RUN.model_copy(
        update={"load": Load(shape="concurrency", concurrency=2, requests=4, trace=(1.0,))}
    )
    made = report(closed, RECORDS)
    assert (made.latency_from, made.from_send) == ("send", {})
    assert made.ttft_s is not None
    assert made.ttft_s.mean == pytest.approx(0.47 / 3)
    assert "trace" not in made.load


def test_a_file_without_its_end_lasts_until_its_last_request() -> None:
    made = report(RUN, RECORDS[:-1])
    assert (made.duration_s, made.interrupted, made.client, made.server.generation_tokens) == (
        0.9, True, Client(cpu_fraction=0.0, max_lag_s=0.0), None,
    )  # fmt: skip


def test_each_request_as_a_line_of_a_table() -> None:
    assert csv_text(RECORDS).splitlines() == [
        "index,scheduled_s,sent_s,ttft_s,e2e_s,tpot_s,input_tokens,output_tokens,chunks,status,error,finish_reason,"
        "process",
        "0,0.0,0.001,0.1,0.14,0.02,10,3,3,200,,stop,0",
        f"1,0.25,0.25,0.22,0.26,{0.04 / 3},10,4,2,200,,length,1",
        "2,0.5,0.5,0.15,0.15,,11,1,1,200,,length,0",
        "3,0.75,0.75,1e-05,2e-05,1e-05,,,2,500,http_500,,0",
    ]
    refused = Result(4, 0, 0, 9, error="connect_refused")
    assert csv_text([refused]).splitlines()[1:] == ["4,0.0,0.0,,,,,,0,0,connect_refused,,0"]


def ms(name: str, values: list[float]) -> dict[str, float]:
    """One latency as `vllm bench serve` says it."""
    p50, p90, p95, p99 = (float(each) for each in numpy.percentile(values, (50, 90, 95, 99)))
    found = {"mean": sum(values) / len(values), "median": p50, "std": float(numpy.std(values))}
    found |= {"p50": p50, "p90": p90, "p95": p95, "p99": p99}
    return {f"{kind}_{name}_ms": value for kind, value in found.items()}


def test_a_run_as_vllms_own_benchmark_says_it() -> None:
    """Latencies from the sending, as there."""
    assert vllm_bench(Figures(RUN, collect(RECORDS))) == pytest.approx(
        {
            "date": "20261124-000000",
            "endpoint_type": "openai",
            "backend": "openai",
            "label": "corral",
            "model_id": "m",
            "tokenizer_id": "m",
            "num_prompts": 5,
            "request_rate": 4.0,
            "burstiness": "inf",
            "max_concurrency": None,
            "duration": 2.0,
            "completed": 3,
            "failed": 2,
            "total_input_tokens": 31,
            "total_output_tokens": 8,
            "request_throughput": 1.5,
            "request_goodput": 1.0,
            "output_throughput": 4.0,
            "total_token_throughput": 19.5,
            "max_output_tokens_per_s": 8.0,
            "max_concurrent_requests": 2,
            "rtfx": 0.0,
            **ms("ttft", [100.0, 220.0, 150.0]),
            **ms("tpot", [20.0, 40 / 3]),
            **ms("itl", [20.0, 20.0, 40.0]),
            **ms("e2el", [140.0, 260.0, 150.0]),
        }
    )


@pytest.mark.parametrize(
    ("load", "api", "said"),
    [
        (
            Load(shape="concurrency", concurrency=2, requests=4),
            "chat",
            {"request_rate": "inf", "burstiness": 1.0, "max_concurrency": 2, "backend": "openai-chat"},
        ),
        (
            Load(shape="gamma", request_rate=3.0, burstiness=0.5),
            "messages",
            {"request_rate": 3.0, "burstiness": 0.5, "max_concurrency": None, "backend": "messages"},
        ),
        (
            Load(shape="ramp", request_rate=3.0, end_request_rate=9.0, duration_s=2.0),
            "completions",
            {
                "request_rate": "inf",
                "burstiness": 1.0,
                "backend": "openai",
                "ramp_up_strategy": "linear",
                "ramp_up_start_rps": 3.0,
                "ramp_up_end_rps": 9.0,
            },
        ),
    ],
)
def test_a_load_as_vllms_own_benchmark_says_it(load: Load, api: str, said: dict[str, object]) -> None:
    run = RUN.model_copy(update={"load": load, "target": RUN.target.model_copy(update={"api": api})})
    made = vllm_bench(Figures(run, collect([Ending(duration_us=5, clients=[])])))
    assert {name: made.get(name) for name in said} == said
    assert (made["endpoint_type"], made["mean_ttft_ms"], made["std_itl_ms"]) == (said["backend"], 0.0, 0.0)


# The samples


def test_a_chunks_tokens_are_as_said_or_shared_evenly() -> None:
    assert chunk_tokens(TWO).tolist() == [2.0, 2.0]
    assert chunk_tokens(Result(0, 0, 0, 0, gaps_us=[1, 1, 1])).tolist() == [1.0, 1.0, 1.0]
    assert chunk_tokens(
        Result(0, 0, 0, 0, gaps_us=[1, 1], chunk_tokens=[3, 0], output_tokens=9)
    ).tolist() == [3.0, 0.0]


def test_what_is_folded_of_a_success_and_of_a_failure() -> None:
    bare = Result(4, 0, 2000, 30_000_000, gaps_us=[20_000_000, 9_000_000], input_asked=12)
    samples = collect([*RECORDS, bare])
    assert (samples.sent, samples.succeeded, samples.last_done, samples.uncertain) == (5, 4, 30_000_000, 1)
    assert list(samples.spans) == [
        1000, 141_005, 250_000, 510_005, 500_000, 650_005, 750_000, 900_000, 2000, 30_000_000,
    ]  # fmt: skip
    assert (list(samples.scheduled), list(samples.began)) == (
        [0, 250_000, 500_000, 0],
        [1000, 250_000, 500_000, 2000],
    )
    assert list(samples.first) == [101_000, 470_000, 650_000, 20_002_000]
    assert list(samples.last) == [141_000, 510_000, 650_000, 29_002_000]
    assert list(samples.worst_gap) == [20_000, 40_000, 0, 9_000_000]
    assert (list(samples.gaps), list(samples.gap_tokens)) == (
        [20_000, 20_000, 40_000, 9_000_000],
        [1, 1, 2, 1],
    )
    assert (list(samples.input_tokens), list(samples.output_tokens)) == ([10, 10, 11, 12], [3, 4, 1, 2])
    assert (samples.without_usage, samples.asked_lengths, samples.exact_lengths) == (1, 3, 2)
    assert dict(samples.finish_reasons) == {"stop": 1, "length": 2, "none": 1}
    assert dict(zip(*samples.timeline.filled(), strict=True)) == {
        10: 1, 12: 1, 14: 1, 47: 2, 51: 2, 65: 1, 2000: 1, 2900: 1,
    }  # fmt: skip
    assert collect([THREE]).cached_tokens is None


def test_weeks_without_a_token_take_no_room() -> None:
    weeks_us = 3 * 7 * 86400 * 1_000_000
    samples = collect([ONE, replace(TWO, gaps_us=[5, weeks_us, 7]), replace(TWO, gaps_us=[5, weeks_us, 7])])
    filled, tokens = samples.timeline.filled()
    assert (filled.tolist(), tokens.sum(), len(samples.timeline.pages)) == (
        [10, 12, 14, 25, (250_005 + weeks_us) // BIN_US], 11.0, 2,
    )  # fmt: skip
    figures = Figures(RUN, samples)
    assert figures.stretches(10, 5, 4).tolist() == [3.0, 0.0, 0.0, 8 / 3]
    assert figures.peak() == 8 / 3 + 3


# The steady part


def streams(number: int, seconds: int, every_us: int = 100_000, **fields: Any) -> list[Result]:
    """Streams of one-second requests one after another, a chunk of one token so often."""
    count = 1_000_000 // every_us
    return [
        Result(
            stream * 1000 + second, second * 1_000_000, second * 1_000_000, (second + 1) * 1_000_000 - 1, status=200,
            gaps_us=[every_us] * count, input_tokens=5, output_tokens=count, output_asked=count, **fields,
        )
        for stream in range(number)
        for second in range(seconds)
    ]  # fmt: skip


CLOSED = RUN.model_copy(update={"load": Load(shape="concurrency", concurrency=3, requests=60), "slo": Slo()})


def test_a_run_that_is_even_is_steady_but_for_what_no_batch_holds() -> None:
    """Fifty batches of 39 bins of 10 ms, counted from the end; in them each stream has a token every 100 ms."""
    figures = Figures(CLOSED, collect([*streams(3, 20), Ending(duration_us=20_000_000, clients=[])]))
    steady = figures.steady
    assert steady is not None
    assert (steady.start_s, steady.end_s) == (0.49, 19.99)
    assert steady.output_tokens_per_s == pytest.approx(30.0)
    assert steady.request_per_s == pytest.approx(3 * 19 / 19.5)
    assert steady.total_tokens_per_s == pytest.approx(30.0 + 3 * 19 * 5 / 19.5)
    summaries = (steady.ttft_s, steady.tpot_s, steady.e2e_s)
    assert [values and round(values.p50, 6) for values in summaries] == [0.1, 0.1, 1.0]
    assert set(figures.confidence()) == {"output_tokens_per_s", "ttft_s.p50", "tpot_s.p50", "e2e_s.p50"}
    assert figures.confidence()["e2e_s.p50"] == Interval(low=1.0, high=1.0)


def test_a_tail_and_a_start_with_less_load_are_not_steady() -> None:
    """One stream alone for 4 s, then twenty, then one for 4 s."""
    crowd = [later(each, 4_000_000) for each in streams(19, 20)]
    records: list[Result | Ending] = [*streams(1, 28), *crowd, Ending(duration_us=28_000_000, clients=[])]
    figures = Figures(CLOSED, collect(records))
    assert figures.full_load() == (4.0, 23.999999)
    assert figures.most_in_flight() == 20
    assert figures.steady is not None
    assert (figures.steady.start_s, figures.steady.end_s) == (4.49, 23.99)


def later(each: Result, by_us: int) -> Result:
    return replace(
        each,
        scheduled_us=each.scheduled_us + by_us,
        sent_us=each.sent_us + by_us,
        done_us=each.done_us + by_us,
    )


def test_an_open_loop_is_steady_until_its_last_sending() -> None:
    figures = Figures(RUN, collect([*streams(3, 20), Ending(duration_us=20_000_000, clients=[])]))
    assert figures.full_load() == (0.0, 19.0)


@pytest.mark.parametrize(
    ("number", "seconds", "is_steady"), [(30, 1, False), (9, 2, False), (10, 2, True), (3, 7, True)]
)
def test_what_is_too_short_has_no_steady_part(number: int, seconds: int, is_steady: bool) -> None:
    """Twenty requests, and fifty batches of 20 ms."""
    records = streams(number, seconds)
    figures = Figures(CLOSED, collect([*records, Ending(duration_us=seconds * 1_000_000, clients=[])]))
    assert (figures.steady is not None) == is_steady
    short = [Result(n, 0, 0, 990_000, status=200, gaps_us=[1000], output_tokens=1) for n in range(30)]
    assert Figures(CLOSED, collect([*short, Ending(duration_us=990_000, clients=[])])).steady is None


def test_a_stretch_of_time_in_ten_parts() -> None:
    assert edges_of(1.0, 3.0, 4) == [(1.0, 1.5), (1.5, 2.0), (2.0, 2.5), (2.5, 3.0)]
    assert len(edges_of(1.0, 3.0)) == 10


def test_stalls_are_five_times_the_usual_gap_and_at_least_50_ms() -> None:
    usual = [4000] * 20
    records = [Result(0, 0, 0, 9, gaps_us=[1, *usual, 49_000, 50_000, 51_000])]
    stalls = Figures(CLOSED, collect(records)).stalls()
    assert stalls is not None
    assert (stalls.threshold_s, stalls.count, stalls.longest_s) == (0.05, 1, 0.051)


def test_goodput_is_of_every_limit() -> None:
    for slo, good in (
        (Slo(ttft_s=0.16), 2),
        (Slo(tpot_s=0.0199), 2),
        (Slo(itl_s=0.02), 2),
        (Slo(itl_s=0.0199), 1),
        (Slo(e2e_s=0.16), 2),
        (Slo(e2e_s=0.27), 3),
    ):
        made = report(RUN.model_copy(update={"slo": slo}), RECORDS).goodput
        assert (made["good"], made["attainment"], made["request_per_s"]) == (good, good / 4, good / 2), slo


# Statistics


def test_distributions_of_few_values() -> None:
    assert summary(numpy.array([])) is None
    assert weighted_summary(numpy.array([1.0]), numpy.array([0.0])) is None
    assert spread([]) == {}
    assert spread([1, 2, 3, 10]) == {"mean": 4.0, "p50": 2.5, "p99": pytest.approx(9.79), "max": 10.0}
    assert interval(5.0, [1.0, 2.0]) is None
    found = interval(5.0, [4.0, 5.0, 6.0])
    assert found is not None
    assert (found.low, found.high) == pytest.approx((5 - 4.302653 / 3**0.5, 5 + 4.302653 / 3**0.5))
    wide = interval(0.5, [0.0, 1.0, 2.0, 1.0])
    assert wide is not None
    assert wide.low == 0.0
    assert wide.high == pytest.approx(0.5 + 3.182446 * (2 / 3) ** 0.5 / 2)


def test_a_share_of_all_or_none_stays_within_them() -> None:
    assert wilson(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert wilson(10, 10) == pytest.approx((0.7225, 1.0), abs=1e-4)


def test_a_percentile_has_blocks_where_twenty_values_lie_beyond_it() -> None:
    values = numpy.arange(40.0)
    found = percentile_by_block(values, 50)
    assert percentile_by_block(values[:39], 50) == []
    assert found[0] == pytest.approx(10 * 19.5 - 9 * 21.5)  # without the first four
    assert len(found) == 10
    assert sum(found) / 10 == pytest.approx(19.5)


def test_mser_leaves_out_at_most_half() -> None:
    assert mser_start(numpy.array([9.0, 9.0, 9.0, 1.0, 1.0, 1.0])) == 3
    assert mser_start(numpy.array([9.0, 9.0, 9.0, 9.0, 1.0, 1.0])) != 4


# The verdict


def client(**fields: Any) -> Client:
    return Client(**(dict[str, Any]() | {"cpu_fraction": 0.5, "max_lag_s": 0.0, "stamps": "kernel"} | fields))


BUSY = "the probe itself was the bottleneck: 91% of a core; use --processes"


@pytest.mark.parametrize(
    ("fields", "ttft_p50_s", "load", "reasons"),
    [
        ({"cpu_fraction": 0.9}, 0.0, RUN.load, ()),
        ({"cpu_fraction": 0.91}, 0.0, RUN.load, (BUSY,)),
        ({"late_sends_p99_s": 0.010}, 0.1, RUN.load, ()),
        (
            {"late_sends_p99_s": 0.0101},
            0.1,
            RUN.load,
            ("requests were sent late: p99 10.1 ms after their time",),
        ),
        ({"late_sends_p99_s": 0.0101}, 0.1, CLOSED.load, ()),
        ({"late_sends_p99_s": 0.02}, 0.2, RUN.load, ()),
        ({"stamps": "user", "p99_lag_s": 0.01}, 0.0, RUN.load, ()),
        (
            {"stamps": "user", "p99_lag_s": 0.0101},
            0.0,
            RUN.load,
            ("client-limited: the clock was late, p99 10.1 ms, without kernel stamps to correct it",),
        ),
        ({"late_fraction": 0.05}, 0.0, RUN.load, ()),
        (
            {"late_fraction": 0.06},
            0.0,
            RUN.load,
            ("client-limited: 6% of the chunks were read late, together with later ones",),
        ),
    ],
)
def test_when_the_probe_was_the_bottleneck(
    fields: dict[str, Any], ttft_p50_s: float, load: Load, reasons: tuple[str, ...]
) -> None:
    run = RUN.model_copy(update={"load": load})
    told = tuple(("client", reason) for reason in reasons)
    assert reasons_to_reject(run, client(**fields), collect([]), ttft_p50_s) == told


def test_a_machine_without_sockets_is_no_judge() -> None:
    samples = collect([Result(0, 0, 0, 0, error="client_limit")])
    assert reasons_to_reject(RUN, client(), samples, 0.0) == (
        ("sockets", "this machine has no more sockets or ports for it"),
    )


@pytest.mark.parametrize(("gap_us", "fell"), [(-1000, False), (-1001, True)])
def test_a_clock_that_was_set_back_is_no_clock(gap_us: int, fell: bool) -> None:
    """The kernel stamps by the wall clock; a microsecond or two is how well two clocks can be compared."""
    records = [Result(0, 0, 0, 9, gaps_us=gaps, output_tokens=3) for gaps in ([5000, gap_us, 1], [1, 1, 1])]
    why = "this machine's clock was set back meanwhile: chunks seem to have come before those before them"
    assert reasons_to_reject(RUN, client(), collect(records), 0.0) == ((("clock", why),) if fell else ())


def said(records: list[Result], run: Run = CLOSED, output: float = 1000.0, **fields: Any) -> tuple[str, ...]:
    ending = Ending(**({"duration_us": 5, "clients": []} | fields.pop("ending", {})))
    return warnings(run, client(**fields), collect(records), ending, output)


OK = Result(0, 0, 0, 5, gaps_us=[1], output_tokens=1, output_asked=1)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, ()),
        (
            {"ending": {"interrupted": True}},
            ("the run was interrupted; figures are of what was measured until then",),
        ),
        (
            {"ending": {"interrupted": True, "cut": True}},
            ("the last line of the results was cut; figures are of the 1 complete requests before it",),
        ),
        (
            {"ending": {"clients": [ClientSide(gave_up=True)]}},
            (
                "the run was ended early: nobody got a byte for 66 s, so the server hangs; if it is only slow, raise"
                " --stall-timeout-s",
            ),
        ),
        (
            {"stamps": "user", "p99_lag_s": 1.0},
            ("times were taken by this process, not by the kernel: they include the probe's own lag",),
        ),
        ({"p99_lag_s": 0.01}, ()),
        (
            {"p99_lag_s": 0.0101},
            ("the probe was kept from its core (lag p99 10.1 ms); kernel stamps correct for it",),
        ),
        ({"ending": {"counters": {"generation_tokens": 1005.0}}}, ()),
        ({"ending": {"counters": {"generation_tokens": 995.0}}}, ()),
        (
            {"ending": {"counters": {"generation_tokens": 994.0}}},
            ("the server counted 994 output tokens, the probe 1000: is there other traffic?",),
        ),
        (
            {"ending": {"counters": {"generation_tokens": 1.0}}, "output": 0.0},
            ("the server counted 1 output tokens, the probe 0: is there other traffic?",),
        ),
        ({"ending": {"counters": {"prefix_cache_queries": 100.0, "prefix_cache_hits": 5.0}}}, ()),
        (
            {"ending": {"counters": {"prefix_cache_queries": 100.0, "prefix_cache_hits": 6.0}}},
            ("6% of the prompt tokens came from the prefix cache although the prompts share nothing",),
        ),
        ({"ending": {"counters": {"prefix_cache_queries": 0.0, "prefix_cache_hits": 6.0}}}, ()),
    ],
)
def test_what_must_be_read_with_the_figures(fields: dict[str, Any], words: tuple[str, ...]) -> None:
    assert said([OK], **fields) == words


def test_what_the_requests_themselves_say() -> None:
    assert said([Result(0, 0, 0, 5, error="reset")]) == ("1 of 1 requests failed", "no request succeeded")
    bare = Result(0, 0, 0, 5, gaps_us=[1], output_asked=1)
    assert said([bare]) == ("the server gave no usage for some requests: their chunks are counted as tokens",)


@pytest.mark.parametrize(
    ("asked", "counted", "is_told"), [(40, 45, False), (40, 46, True), (1, 3, True), (0, 9, False)]
)
def test_more_tokens_than_asked_for_are_told(asked: int, counted: int, is_told: bool) -> None:
    result = Result(0, 0, 0, 5, gaps_us=[1] * counted, output_tokens=counted, output_asked=asked)
    found = [
        text for text in said([result]) if text.startswith("the server counted more output tokens than asked")
    ]
    assert len(found) == is_told


@pytest.mark.parametrize("fields", [{"prefix_tokens": 5}, {"turns": 2}, {"prompts_file": "x"}])
def test_prompts_that_share_something_may_be_hit(fields: dict[str, Any]) -> None:
    run = CLOSED.model_copy(update={"workload": CLOSED.workload.model_copy(update=fields)})
    hits = {"counters": {"prefix_cache_queries": 100.0, "prefix_cache_hits": 99.0}}
    assert said([OK], run, ending=hits) == ()
