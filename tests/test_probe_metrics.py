"""The figures, by hand: small raw results whose report can be computed on paper."""

import json
import math
import random
import re
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy
import pytest
from probing import a_point, a_sweep

from infra.errors import DocumentError
from infra.figure import INK
from serving.probe import results
from serving.probe.from_results import report_from_results
from serving.probe.lengths import Lengths, parse
from serving.probe.metrics import Figures, load_of, report
from serving.probe.page import page, sweep_page
from serving.probe.progress import Progress
from serving.probe.report import ProbeReport, Summary
from serving.probe.report_text import progress_line
from serving.probe.results import Writer, read
from serving.probe.run_records import ClientSide, Ending, Result, Run, ServerFacts
from serving.probe.samples import collect
from serving.probe.spec import Load, Slo, Target, Workload
from serving.probe.statistics import interval, mser_start, percentile_by_block, weighted_summary, wilson
from serving.probe.sweep import keep
from serving.probe.token_timeline import empty_to_drop, gaps


def run_of(**fields: Any) -> Run:
    common: dict[str, Any] = {
        "target": Target(base_url="http://127.0.0.1:1"),
        "model": "m",
        "load": Load(shape="concurrency", concurrency=2, requests=2),
        "workload": Workload(input_tokens=Lengths(low=10), output_tokens=Lengths(low=3)),
        "slo": Slo(),
        "server": ServerFacts(),
        "started_at": "2026-11-24T00:00:00+00:00",
    }
    return Run(**(common | fields))


def side(**fields: Any) -> ClientSide:
    return ClientSide(**({"kernel_stamps": True, "wall_s": 1.0, "cpu_s": 0.1, "events": 6} | fields))


def done(index: int, sent_us: int, gaps_us: list[int], **fields: Any) -> Result:
    last = sent_us + sum(gaps_us)
    common: dict[str, Any] = {
        "scheduled_us": sent_us,
        "done_us": last + 5,
        "status": 200,
        "output_asked": len(gaps_us),
    }
    counts = {"input_tokens": 10, "input_asked": 10, "output_tokens": len(gaps_us), "finish_reason": "length"}
    return Result(index=index, sent_us=sent_us, gaps_us=gaps_us, **(common | counts | fields))


def reported(*records: Result, run: Run | None = None, **ending: Any) -> ProbeReport:
    common: dict[str, Any] = {"duration_us": 1_000_000, "clients": [side()]}
    end = Ending(**(common | ending))
    return report(run or run_of(), [*records, end])


def test_two_requests_by_hand() -> None:
    made = reported(done(0, 0, [100_000, 20_000, 20_000]), done(1, 10_000, [200_000, 40_000, 60_000]))
    assert (made.sent, made.succeeded, made.errors) == (2, 2, {})
    assert (made.input_tokens, made.output_tokens, made.chunks) == (20, 6, 6)
    assert (made.output_tokens_per_s, made.total_tokens_per_s, made.request_per_s) == (6.0, 26.0, 2.0)
    assert close(made.ttft_s, mean=0.15, p50=0.15, p90=0.19, p99=0.199, max=0.2)
    assert close(made.tpot_s, mean=0.035, p50=0.035, max=0.05)  # 20 ms, and (40 + 60) / 2
    assert close(made.itl_s, mean=0.035, p50=0.03, max=0.06)
    assert close(made.e2e_s, mean=0.22, p50=0.22, max=0.3)
    assert (made.valid, made.warnings, made.invalid_because) == (True, (), ())
    assert made.exact_input_fraction == 1.0


def close(values: Summary | None, **wanted: float) -> bool:
    assert values is not None
    return {name: getattr(values, name) for name in wanted} == pytest.approx(wanted)


def test_failed_requests_are_in_no_figure_but_shown() -> None:
    failed = done(1, 0, [1_000, 1_000], error="stream_error", message="EngineCore died", output_tokens=None)
    made = reported(done(0, 0, [100_000, 20_000]), failed)
    assert (made.succeeded, made.errors, made.output_tokens) == (1, {"stream_error": 1}, 2)
    assert (made.failed_output_chunks, made.error_examples) == (2, {"stream_error": "EngineCore died"})
    assert made.itl_s
    assert made.itl_s.mean == 0.02
    assert made.warnings == ("1 of 2 requests failed",)
    made = reported(done(0, 0, [100_000, 20_000]), failed, counters={"generation_tokens": 9.0})
    assert made.warnings == (
        "1 of 2 requests failed; the server's count of tokens holds theirs too and was not compared",
    )


def test_open_loop_latency_starts_at_the_scheduled_time() -> None:
    """The client came 2 s late: the latency a user would have seen holds them, `from_send` does not."""
    run = run_of(load=Load(shape="constant", request_rate=1.0, requests=1))
    made = reported(done(0, 2_000_000, [100_000, 20_000], scheduled_us=0), run=run)
    assert made.ttft_s
    assert made.latency_from == "schedule"
    assert close(made.ttft_s, mean=2.1)
    assert close(made.from_send["ttft_s"], mean=0.1)


def test_chunks_of_several_tokens_as_the_server_said_them() -> None:
    made = reported(done(0, 0, [100_000, 30_000, 80_000], output_tokens=7, chunk_tokens=[1, 2, 4]))
    assert close(made.itl_s, mean=0.055)
    assert close(made.itl_per_token_s, mean=(30 + 80) / 6 / 1e3, p50=0.02, max=0.02)
    assert close(made.tpot_s, mean=0.110 / 6)


def test_a_gap_that_ended_without_a_token_belongs_to_the_next_one() -> None:
    """The 20 ms before 40 that brought 3 tokens: 20 ms each, beside one of 80 ms; what follows the last is nobody's."""
    gaps, tokens = [100_000, 20_000, 40_000, 80_000, 9_000], [1, 0, 3, 1, 0]
    first = done(0, 0, [100_000, 50_000], output_tokens=3, chunk_tokens=[1, 2])
    made = reported(first, done(1, 0, gaps, output_tokens=5, chunk_tokens=tokens))
    assert close(made.itl_per_token_s, mean=(50 + 60 + 80) / 6 / 1e3, p50=0.02, max=0.08)
    assert made.valid


def test_goodput_counts_what_met_every_limit() -> None:
    slo = Slo(ttft_s=0.15, itl_s=0.05)
    fast, slow_start, stalled = [100_000, 20_000], [160_000, 20_000], [100_000, 60_000]
    records = [done(number, 0, each) for number, each in enumerate((fast, slow_start, stalled, fast))]
    made = reported(*records, run=run_of(slo=slo))
    assert made.goodput["good"] == 2
    assert (made.goodput["attainment"], made.goodput["request_per_s"]) == (0.5, 2.0)
    assert made.goodput["slo"] == {"ttft_s": 0.15, "itl_s": 0.05}


def test_stalls_are_counted_and_named() -> None:
    made = reported(
        done(0, 0, [100_000, *[20_000] * 48, 220_000]), done(1, 0, [100_000, *[20_000] * 48, 221_000])
    )
    assert made.stalls
    assert (made.stalls.count, made.stalls.longest_s, made.stalls.threshold_s) == (2, 0.221, 0.1)


def test_the_peak_counts_tokens_not_chunks() -> None:
    made = reported(done(0, 0, [100_000, *[80_000] * 9], output_tokens=40), duration_us=2_000_000)
    assert made.peak_output_tokens_per_s == 40.0


def steady_run(rates: list[int], slots: int = 10) -> list[Result]:
    """Ten streams; in each second of the run every stream gets that many evenly spaced chunks."""
    times = [
        second * 1_000_000 + (k * 1_000_000) // rate for second, rate in enumerate(rates) for k in range(rate)
    ]
    found = []
    for slot in range(slots):
        cuts = list(range(0, len(times), 20))
        for number, start in enumerate(cuts):
            part = times[start : start + 20]
            sent = times[start - 1] if start else 0
            found.append(
                done(slot * 1000 + number, sent, [b - a for a, b in zip([sent, *part], part, strict=False)])
            )
    return found


def test_the_steady_part_leaves_out_a_slow_start() -> None:
    records = steady_run([25] * 5 + [100] * 25)
    run = run_of(load=Load(shape="concurrency", concurrency=10, requests=len(records)))
    made = reported(*records, run=run, duration_us=30_000_000)
    assert made.steady
    assert made.steady.output_tokens_per_s == pytest.approx(1000, rel=0.01)
    assert made.steady.start_s >= 4.5
    assert made.output_tokens_per_s == pytest.approx((25 * 5 + 100 * 25) * 10 / 30, rel=0.01)
    assert made.tpot_s
    assert made.steady.tpot_s
    assert made.steady.ttft_s
    assert (made.tpot_s.p99, made.steady.tpot_s.p99) == pytest.approx((0.04, 0.01), rel=0.01)
    assert made.steady.ttft_s.max == pytest.approx(0.01, rel=0.01)
    interval = made.confidence["output_tokens_per_s"]
    assert interval.low <= 1000 <= interval.high


@pytest.mark.parametrize(
    ("client", "load", "reason"),
    [
        ({"cpu_s": 0.95}, {}, "the probe itself was the bottleneck: 95% of a core; use --processes"),
        (
            {"late_us": {"p99": 60_000.0}},
            {"shape": "constant", "request_rate": 1.0},
            "requests were sent late: p99 60.0 ms after their time",
        ),
        (
            {"kernel_stamps": False, "lag_us": {"p99": 50_000.0}},
            {},
            "client-limited: the clock was late, p99 50.0 ms, without kernel stamps to correct it",
        ),
        (
            {"late_uncertain": 3, "uncertain": 3},
            {},
            "client-limited: 50% of the chunks were read late, together with later ones",
        ),
    ],
)
def test_a_run_that_was_held_up_by_the_probe_is_invalid(
    client: dict[str, Any], load: dict[str, Any], reason: str
) -> None:
    common: dict[str, Any] = {"shape": "concurrency", "concurrency": 2, "requests": 2}
    run = run_of(load=Load(**(common | load)))
    made = reported(done(0, 0, [100_000, 20_000]), run=run, clients=[side(**client)])
    assert (made.valid, made.invalid_because) == (False, (reason,))


def test_kernel_stamps_free_the_figures_from_lag() -> None:
    made = reported(done(0, 0, [100_000, 20_000]), clients=[side(lag_us={"p99": 50_000.0, "max": 60_000.0})])
    assert made.valid
    assert made.warnings == (
        "the probe was kept from its core (lag p99 50.0 ms); kernel stamps correct for it",
    )


def test_the_servers_counters_are_held_against_ours() -> None:
    fine = reported(done(0, 0, [100_000] * 1000), counters={"generation_tokens": 1004.0})
    apart = reported(done(0, 0, [100_000] * 1000), counters={"generation_tokens": 1030.0})
    assert fine.warnings == ()
    assert apart.warnings == (
        "the server counted 1030 output tokens, the probe 1000: is there other traffic?",
    )


def test_of_counters_that_fell_nothing_is_taken() -> None:
    """Of a server that began anew, or of several behind one address, each asked in its turn."""
    counters = {
        "generation_tokens": -900.0, "prefix_cache_queries": 100.0, "prefix_cache_hits": 40.0, "ttft_sum_s": 3.0,
        "ttft_count": 4.0, "itl_sum_s": 1.0, "itl_count": 100.0, "preemptions": 2.0,
    }  # fmt: skip
    made = reported(done(0, 0, [100_000] * 1000), counters=counters)
    assert made.warnings == (
        "the server's own counters fell: it began anew during the run, or several servers answer at its address;"
        " nothing is taken from them",
    )
    assert made.server == reported(done(0, 0, [100_000] * 1000)).server


def test_a_warm_cache_on_a_cold_run_is_said() -> None:
    counters = {"prefix_cache_queries": 100.0, "prefix_cache_hits": 40.0}
    made = reported(done(0, 0, [1000] * 3), counters=counters)
    assert made.server.prefix_cache_hit_rate == 0.4
    assert made.warnings == (
        "40% of the prompt tokens came from the prefix cache although the prompts share nothing",
    )


def test_a_report_without_any_success() -> None:
    made = reported(
        Result(index=0, scheduled_us=0, sent_us=0, done_us=10, error="connect_refused", message="no")
    )
    assert (made.ttft_s, made.output_tokens_per_s, made.steady, made.confidence) == (None, 0.0, None, {})


# Raw results


def test_results_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    records = [done(0, 0, [5, 6]), done(1, 3, [7], error="reset", message="x", chunk_tokens=[2], process=1)]
    end = Ending(duration_us=9, clients=[side()], counters={"generation_tokens": 2.0})
    writer = Writer(tmp_path / "results.jsonl")
    writer.run(run_of())
    for record in records:
        writer.result(record)
    writer.close(end)
    run, lines = read(tmp_path / "results.jsonl")
    assert (run, list(lines)) == (run_of(), [*records, end])


def test_the_file_of_a_killed_probe_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    first = done(0, 0, [5, 6])
    lines = [run_of().model_dump_json(), json.dumps(results.shortened(first)), '{"index": 1, "sent_us": 4']
    path.write_text("\n".join(lines))
    end = Ending(duration_us=first.done_us, clients=[], interrupted=True, cut=True)
    assert list(read(path)[1]) == [first, end]


@pytest.mark.parametrize("text", ["", "not json\n", '{"document": "plan"}\n'])
def test_a_file_that_holds_no_results(tmp_path: Path, text: str) -> None:
    (tmp_path / "results.jsonl").write_text(text)
    with pytest.raises(DocumentError):
        read(tmp_path)


def test_a_corrupt_line_is_named(tmp_path: Path) -> None:
    (tmp_path / "results.jsonl").write_text(run_of().model_dump_json() + "\n{broken}\n")
    with pytest.raises(DocumentError, match=r"Line 2 of .*results.jsonl is not a result"):
        list(read(tmp_path / "results.jsonl")[1])


# Chunks


@pytest.mark.parametrize(
    ("empty", "chunks", "tokens", "dropped"),
    [
        (
            [(2, False), (9, True)],
            10,
            10,
            set(),
        ),  # withheld text in the middle, the end token last: all are tokens
        ([(2, False), (9, True)], 10, 9, {9}),  # the closing chunk held nothing
        ([(2, False), (9, True)], 10, 8, {2, 9}),  # a keep-alive in the middle as well
        ([(9, True)], 10, 36, {9}),  # four tokens a chunk
        ([(2, False), (9, True)], 10, None, {2, 9}),  # nobody knows: only text counts
    ],
)
def test_which_empty_chunks_are_tokens(
    empty: list[tuple[int, bool]], chunks: int, tokens: int | None, dropped: set[int]
) -> None:
    assert empty_to_drop(empty, chunks, tokens) == dropped


def test_gaps_add_up_however_they_are_rounded() -> None:
    stamps = [1_999 + 1_500 * number for number in range(1000)]
    assert sum(gaps(0, stamps)) == stamps[-1] // 1000


# Statistics


def test_wilson() -> None:
    """Wilson's own formula worked for 8 of 10."""
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson(0, 0) == (0.0, 1.0)


def test_weighted_values_count_as_often_as_they_weigh() -> None:
    plain = weighted_summary(numpy.array([1.0, 2.0, 10.0]), numpy.array([50.0, 49.0, 1.0]))
    assert close(plain, mean=1.58, p50=1.0, p90=2.0, p99=2.0, max=10.0)


def test_mser_cuts_where_the_start_ends() -> None:
    assert mser_start(numpy.array([1.0, 2.0, 3.0, *[10.0, 10.1, 9.9] * 5])) == 3
    assert mser_start(numpy.full(20, 5.0)) == 0


# Runs on the disk


def written(path: Path, seed: int, ttft_us: int) -> Path:
    rng = random.Random(seed)
    writer = Writer(path / "results.jsonl")
    writer.run(run_of())
    for number in range(200):
        writer.result(done(number, number * 10_000, [ttft_us + rng.randint(0, 5000), 20_000, 20_000]))
    writer.close(Ending(duration_us=3_000_000, clients=[side()]))
    return path


@pytest.mark.parametrize(("percent", "count"), [(50, 40), (90, 200), (99, 2000)])
def test_a_percentile_is_as_uncertain_as_it_is_said(percent: int, count: int) -> None:
    """Against what 600 runs differ by. More is claimed than they do: each run's own guess is off, either way."""
    rng = numpy.random.default_rng(5)
    runs = [rng.lognormal(-1.5, 0.6, count) for _ in range(600)]
    true = numpy.std([numpy.percentile(each, percent) for each in runs])
    said = numpy.sqrt(
        numpy.mean([numpy.var(percentile_by_block(each, percent), ddof=1) / 10 for each in runs])
    )
    assert 0.97 < said / true < 1.45
    assert percentile_by_block(runs[0][: count * 9 // 10], percent) == []


@pytest.mark.parametrize(("percent", "count"), [(50, 40), (90, 200)])
def test_an_interval_holds_what_it_says_in_95_of_100_runs(percent: int, count: int) -> None:
    """The jackknife alone held it in 88 or 89."""
    rng = numpy.random.default_rng(7)
    true = math.exp(-1.5 + 0.6 * NormalDist().inv_cdf(percent / 100))
    held = 0
    for _ in range(400):
        values = rng.lognormal(-1.5, 0.6, count)
        said = interval(float(numpy.percentile(values, percent)), percentile_by_block(values, percent))
        held += said is not None and said.low <= true <= said.high
    assert 0.95 <= held / 400 <= 0.99


def test_a_percentile_whose_blocks_agree_is_as_uncertain_as_its_neighbours_are_apart() -> None:
    """Without one of ten blocks of a repeated pattern the percentile is the same, and its error is not 0."""
    parts = percentile_by_block(numpy.tile([1.0, 2.0, 3.0, 4.0], 100), 50)
    assert sum(parts) / 10 == pytest.approx(2.5)
    assert numpy.std(parts, ddof=1) == pytest.approx(10**0.5 / (2 * 2.262157))


def test_progress_is_in_tokens_where_a_chunk_holds_several() -> None:
    state = Progress(
        elapsed_s=2.0,
        sent=9,
        done=5,
        failed=1,
        in_flight=4,
        chunks_per_s=50.0,
        requests_per_s=2.5,
        ended_chunks=20,
        ended_tokens=80,
        ttft_us=[100_000, 300_000],
    )
    assert progress_line(state) == (
        "   2.0 s  5/9 done, 4 in flight  2.5 requests/s  200 output tokens/s  TTFT p50 300.0 p99 300.0 ms  1 failed"
    )
    # Until one has ended each chunk is taken for a token.
    begun = Progress(
        elapsed_s=1.0, sent=2, done=0, failed=0, in_flight=2, chunks_per_s=50.0, requests_per_s=0.0
    )
    assert progress_line(begun) == "   1.0 s  0/2 done, 2 in flight  0.0 requests/s  50 output tokens/s"


# Other forms


# Of a file that `vllm bench serve --save-result` of vLLM 0.32.0 wrote on 2026-11-26, with all four latencies and these
# percentiles; it has two lists of every request beside them, queue_times and latencies.
VLLM_FIELDS = """date endpoint_type backend label model_id tokenizer_id num_prompts request_rate burstiness
    max_concurrency duration completed failed total_input_tokens total_output_tokens request_throughput request_goodput
    output_throughput total_token_throughput max_output_tokens_per_s max_concurrent_requests rtfx"""
VLLM_KINDS = "mean median std p50 p90 p95 p99"


def test_the_forms_of_other_tools(tmp_path: Path) -> None:
    folder = written(tmp_path / "run", 1, 100_000)
    made, path = report_from_results(folder, tmp_path / "x.html", tmp_path / "x.csv", tmp_path / "x.json")
    assert path == folder / "results.jsonl"
    bench = json.loads((tmp_path / "x.json").read_text())
    assert (bench["completed"], bench["total_output_tokens"]) == (200, 600)
    assert bench["output_throughput"] == made.output_tokens_per_s
    assert made.ttft_s
    assert set(bench) == {
        *VLLM_FIELDS.split(),
        *(f"{kind}_{name}_ms" for kind in VLLM_KINDS.split() for name in ("ttft", "tpot", "itl", "e2el")),
    }
    assert bench["p99_ttft_ms"] == pytest.approx(made.ttft_s.p99 * 1e3)
    table = (tmp_path / "x.csv").read_text().splitlines()
    assert (len(table), table[0].split(",")[:3]) == (201, ["index", "scheduled_s", "sent_s"])
    html = (tmp_path / "x.html").read_text()
    assert html.count("<svg") == 4
    assert not re.search(r'(src|href)="(?!#)', html)
    assert '<meta name=viewport content="width=device-width' in html
    assert "prefers-color-scheme: dark" in html
    assert (html.count("var(--ink)") > 30, INK in html) == (True, False)
    assert "<tr><th>E2E</th><td>14" in html
    shown = [f"<th>{name}</th>" in html for name in ("requests", "in and out", "clock", "probe", "note")]
    assert shown == [True, True, True, True, False]


def test_the_page_says_first_what_spoils_the_run() -> None:
    records = [done(n, n * 10_000, [1000, 1000, 1000]) for n in range(40)]
    ending = Ending(duration_us=1_000_000, clients=[side(cpu_s=0.99)])
    made = page(Figures(run_of(model="<b>m"), collect([*records, ending])))
    assert "<p class=invalid>Do not use: the probe itself was the bottleneck: 99% of a core" in made
    assert made.index("class=invalid") < made.index("<table")
    assert "<b>m" not in made


def test_a_run_and_a_sweep_without_any_answer_have_a_page(tmp_path: Path) -> None:
    failed = Result(
        index=0, scheduled_us=0, sent_us=0, done_us=5, status=500, error="http_500", message="boom"
    )
    made = page(Figures(run_of(), collect([failed, Ending(duration_us=5, clients=[side()])])))
    assert "<th>error</th><td>http_500: boom</td>" in made
    empty: dict[str, Any] = dict.fromkeys(("ttft_p50_s", "ttft_p99_s", "tpot_p50_s", "tpot_p99_s"))
    point = a_point(1.0, output_tokens_per_s=0.0, verdict="missed", attainment=0.0, **empty)
    found = a_sweep(point, over="rate", slo={"ttft_s": 1.0}, answer="no_promise_met", best=None)
    keep(found, tmp_path)
    assert (
        "no load tried is one of which 95% meet TTFT &lt;= 1,000 ms: r"
        in (tmp_path / "sweep.html").read_text()
    )


def test_the_sweeps_page_has_its_steps_and_its_answer() -> None:
    """A step in which nothing succeeded has no latency, and no dot at zero."""
    times: dict[str, Any] = dict.fromkeys(("ttft_p50_s", "ttft_p99_s", "tpot_p50_s", "tpot_p99_s"))
    none = a_point(2.0, output_tokens_per_s=1234.5, failed=7, sent=7, verdict="refused", **times)
    made = sweep_page(a_sweep(a_point(1.0, output_tokens_per_s=1234.5), none, over="rate"))
    assert "<p class=answer>saturated at 1 requests/s: r</p>" in made
    assert "<tr><th>1</th><td>1,234.5</td><td>100.0</td><td>200.0</td><td>10.0</td>" in made
    assert "<td></td><td></td><td></td><td></td><td>REFUSED  7 of 7 failed</td></tr>" in made
    assert "rate, requests/s" in made


def test_memory_for_ten_million_chunks_stays_small() -> None:
    """What is kept while a results file is folded: a few bytes a chunk, so an hour of 10 million fits 1 GiB."""
    records = (done(number, number * 10, [1000] * 1000) for number in range(100))
    samples = collect(records)
    kept = samples.gaps.itemsize * len(samples.gaps) + samples.gap_tokens.itemsize * len(samples.gap_tokens)
    assert len(samples.gaps) == 99_900
    assert kept / 100_000 <= 8
    assert Figures(run_of(), samples).samples.chunks == 100_000


def test_the_load_is_told_in_words_of_json_and_lengths_as_they_were_typed() -> None:
    load = Load(shape="concurrency", concurrency=8, requests=100, trace=(0.5,))
    workload = Workload(
        input_tokens=parse("100", "-i"),
        output_tokens=parse("10-20", "-o"),
        image_size=(64, 32),
        prompts_file=Path("p.jsonl"),
        extra_body={"a": None},
    )
    asked = run_of(load=load, workload=workload)
    assert load_of(asked) == {
        "api": asked.target.api,
        "shape": "concurrency",
        "requests": 100,
        "concurrency": 8,
        "input_tokens": "100",
        "output_tokens": "10-20",
        "image_size": [64, 32],
        "prompts_file": "p.jsonl",
        "extra_body": {"a": None},
    }
