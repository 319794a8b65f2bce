"""The page: its tables as text, and what is drawn in each plot."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
from matplotlib.figure import Figure
from probing import a_point, a_sweep

from infra.errors import UsageError
from infra.figure import INK
from serving.probe import page
from serving.probe.from_results import report_from_results
from serving.probe.lengths import Lengths
from serving.probe.metrics import Figures
from serving.probe.results import Writer
from serving.probe.run_records import ClientSide, Ending, Result, Run, ServerFacts
from serving.probe.samples import collect
from serving.probe.spec import Load, Slo, Target, Workload

RUN = Run(
    target=Target(base_url="http://host"),
    model="<m>",
    load=Load(shape="concurrency", concurrency=3, requests=60),
    workload=Workload(input_tokens=Lengths(low=5), output_tokens=Lengths(low=10)),
    slo=Slo(ttft_s=0.15),
    server=ServerFacts(),
    started_at="2026-11-24T00:00:00+00:00",
    notes=("a & b",),
)


def streams(number: int, seconds: int) -> list[Result | Ending]:
    """Streams of requests of a second, a token each tenth of it."""
    return [
        *(
            Result(
                stream * 1000 + second, second * 1_000_000, second * 1_000_000, (second + 1) * 1_000_000 - 1,
                status=200, gaps_us=[100_000] * 10, input_tokens=5, output_tokens=10, output_asked=10,
            )
            for stream in range(number)
            for second in range(seconds)
        ),
        Ending(duration_us=seconds * 1_000_000, clients=[ClientSide(wall_s=1.0, cpu_s=0.95, kernel_stamps=True)]),
    ]  # fmt: skip


FIGURES = Figures(RUN, collect(streams(3, 20)))


def drawn(draw: Callable[..., None], subject: object) -> Any:
    """The axes drawn into."""
    axes = Figure().add_subplot()
    draw(axes, subject)
    return axes


def labels(axes: Any) -> tuple[str, str]:
    return axes.get_xlabel(), axes.get_ylabel()


def legend(axes: Any) -> list[str] | None:
    found = axes.get_legend()
    return [text.get_text() for text in found.get_texts()] if found is not None else None


def test_the_timeline_is_tokens_a_second_in_two_hundred_steps() -> None:
    """Twenty seconds in steps of a tenth: 3 tokens in each, but for the first."""
    axes = drawn(page.timeline, FIGURES)
    (line,) = axes.lines
    times, rates = line.get_xdata(), line.get_ydata()
    assert (len(times), list(times[:3]), list(rates[:3])) == (200, [0.0, 0.1, 0.2], [0.0, 30.0, 30.0])
    assert (labels(axes), axes.get_ylim()[0], legend(axes)) == (
        ("time, s", "output tokens/s"),
        0.0,
        ["steady"],
    )
    (span,) = axes.patches
    assert [round(float(edge), 2) for edge in (span.get_x(), span.get_x() + span.get_width())] == [
        0.49,
        19.99,
    ]


def test_a_short_run_has_a_timeline_of_its_grain_and_no_steady_part() -> None:
    axes = drawn(page.timeline, Figures(RUN, collect(streams(1, 1))))
    (line,) = axes.lines
    assert (len(line.get_xdata()), list(line.get_xdata()[:2]), legend(axes)) == (101, [0.0, 0.01], None)


def test_each_request_is_a_dot_at_its_sending() -> None:
    axes = drawn(page.first_tokens, FIGURES)
    (dots,) = axes.lines
    assert list(dots.get_xdata()[18:22]) == [18.0, 19.0, 0.0, 1.0]
    assert list(dots.get_ydata()[:2]) == pytest.approx([100.0, 100.0])
    assert labels(axes) == ("sent at, s", "TTFT, ms")
    assert axes.get_ylim() == pytest.approx((0.0, 110.0))
    assert (dots.get_marker(), dots.get_linestyle()) == (".", "None")


def test_of_very_many_requests_some_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "MOST_DOTS", 20)
    (dots,) = drawn(page.first_tokens, FIGURES).lines
    streams = [range(0, 20, 3), range(1, 20, 3), range(2, 20, 3)]
    assert list(dots.get_xdata()) == [float(second) for stream in streams for second in stream]


def test_the_share_of_values_up_to_each_latency() -> None:
    axes = drawn(page.curves, FIGURES)
    assert [str(line.get_label()) for line in axes.lines] == ["TTFT", "TPOT", "ITL", "E2E"] == legend(axes)
    ttft, tpot, itl, e2e = axes.lines
    assert (len(ttft.get_xdata()), len(tpot.get_xdata()), len(itl.get_xdata())) == (60, 60, 540)
    assert [float(line.get_xdata()[-1]) for line in (ttft, itl, e2e)] == pytest.approx([100.0, 100.0, 1000.0])
    assert [float(edge) for edge in ttft.get_ydata()[[0, -1]]] == [0.0, 100.0]
    assert (labels(axes), axes.get_xscale()) == (("latency, ms", "values up to it, %"), "log")
    assert axes.xaxis.get_major_formatter()(2000.0, 0) == "2,000"


def test_input_lengths_as_counted_beside_those_asked_for() -> None:
    axes = drawn(page.input_lengths, FIGURES)
    (asked,) = axes.lines
    assert ([bar.get_height() for bar in axes.patches], list(asked.get_xdata())) == ([60.0], [5, 5])
    assert (labels(axes), legend(axes)) == (("input tokens", "requests"), ["asked for: 5"])


POINTS = (
    a_point(1.0, latencies_of=9, attainment=0.985, attainment_low=0.9, failed=3, sent=9, verdict="refused"),
    a_point(
        2.5,
        attainment=0.985,
        output_tokens_per_s=1150.0,
        ttft_p99_s=None,
        verdict="limited_by_client",
        valid=False,
    ),
)
SWEEP = a_sweep(*POINTS, url="http://<host>", model="<m>", over="rate", best=2.5, reason="<why>")


def test_a_sweeps_throughput_and_latency_against_its_load() -> None:
    axes = drawn(page.rising, SWEEP)
    line, answer = axes.lines
    assert (list(line.get_xdata()), list(line.get_ydata())) == ([1.0, 2.5], [100.0, 1150.0])
    assert (list(answer.get_xdata()), legend(axes)) == ([2.5, 2.5], ["the answer: 2.5"])
    assert (labels(axes), axes.get_xscale(), axes.get_ylim()[0]) == (
        ("rate, requests/s", "output tokens/s"),
        "log",
        0.0,
    )
    assert (
        [float(tick) for tick in axes.get_xticks()],
        [each.get_text() for each in axes.get_xticklabels()],
    ) == (
        [1.0, 2.5],
        ["1", "2.5"],
    )
    assert len(drawn(page.rising, SWEEP.model_copy(update={"best": None})).lines) == 1
    axes = drawn(page.latency, SWEEP.model_copy(update={"over": "concurrency"}))
    assert legend(axes) == ["TTFT p50", "TTFT p99", "TPOT p50"]
    p50, p99, tpot = (numpy.asarray(line.get_ydata()) for line in axes.lines)
    assert (list(p50), list(tpot), p99[0], bool(numpy.isnan(p99[1]))) == (
        [100.0, 100.0],
        [10.0, 10.0],
        200.0,
        True,
    )
    assert labels(axes) == ("concurrency, requests at a time", "latency, ms")
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")


def test_every_step_that_was_tried_is_marked_and_named_where_there_is_room() -> None:
    loads = (1.0, 2.0, 3.0, 4.0, 4.1, 4.2, 64.0)
    axes = drawn(page.latency, a_sweep(*map(a_point, loads)))
    assert [float(tick) for tick in axes.get_xticks()] == list(loads)
    assert [each.get_text() for each in axes.get_xticklabels()] == ["1", "2", "3", "", "4.1", "", "64"]
    assert len(axes.get_xticks(minor=True)) == 0


def texts(html: str) -> str:
    """The page without its drawings and marks."""
    return re.sub(r"<svg.*?</svg>\s*", "[plot]", html, flags=re.DOTALL)


def test_a_runs_page() -> None:
    made = texts(page.page(FIGURES))
    assert made.startswith(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport "
        'content="width=device-width, initial-scale=1"><title>Probe of &lt;m&gt;</title><style>'
    )
    assert made.endswith("</main></html>\n")
    body = made.partition("<main>")[2]
    assert [line for line in body.splitlines() if not line.startswith("<div")] == [
        "<h1>Probe of &lt;m&gt;</h1>",
        "<p>&lt;m&gt; at http://host (completions), 3 at a time, 5 tokens in, 10 out</p>",
        "<p class=invalid>Do not use: the probe itself was the bottleneck: 95% of a core; use --processes.</p>",
        "<h2>Output tokens a second over the run</h2><figure>[plot]</figure>",
        "<h2>Time to first token of each request</h2><figure>[plot]</figure>",
        "<h2>Share of values up to each latency</h2><figure>[plot]</figure>",
        "<h2>Input lengths, as the server counted them</h2><figure>[plot]</figure>",
        "</main></html>",
    ]
    counts, numbers, after = (line for line in body.splitlines() if line.startswith("<div"))
    assert counts.startswith(
        "<div class=wide><table class=named><tr><th>requests</th><td>60 sent, 60 succeeded, 20.0 s</td></tr>"
        "<tr><th>output</th>"
    )
    assert "<tr><th>goodput</th><td>3.00 requests/s, 100.0% met TTFT &lt;= 150 ms</td></tr>" in counts
    assert numbers.startswith(
        "<div class=wide><table class=numbers><tr><th>ms</th><th>mean</th><th>p50</th><th>p90</th><th>p95</th>"
        "<th>p99</th><th>max</th></tr><tr><th>TTFT</th><td>100.00</td>"
    )
    assert after.startswith("<div class=wide><table class=named><tr><th>clock</th><td>kernel stamps; ")
    assert after.endswith("<tr><th>note</th><td>a &amp; b</td></tr></table></div>")
    assert "INVALID" not in made


def test_a_sweeps_page() -> None:
    assert texts(page.sweep_page(SWEEP)).partition("<main>")[2].splitlines() == [
        "<h1>Sweep of &lt;m&gt;</h1>",
        "<p>http://&lt;host&gt;</p>",
        "<p class=answer>saturated at 2.5 requests/s: &lt;why&gt;</p>",
        "<div class=wide><table class=numbers><tr><th>load</th><th>output tokens/s</th><th>TTFT p50 ms</th>"
        "<th>TTFT p99 ms</th><th>TPOT p50 ms</th><th>met the limits</th><th></th></tr>"
        "<tr><th>1</th><td>100.0</td><td>100.0</td><td>200.0*</td><td>10.0</td><td>98.5%</td>"
        "<td>REFUSED  3 of 9 failed</td></tr>"
        "<tr><th>2.5</th><td>1,150.0</td><td>100.0</td><td></td><td>10.0</td><td>98.5%</td>"
        "<td>INVALID</td></tr>"
        "</table></div>",
        "<p>* fewer than 5 requests lie beyond it</p>",
        "<h2>Throughput against the load</h2><figure>[plot]</figure>",
        "<h2>Latency against the load</h2><figure>[plot]</figure>",
        "</main></html>",
    ]


def test_a_plot_is_named_and_takes_the_pages_colours() -> None:
    made = page.plot("a < b", lambda axes: page.rising(axes, SWEEP))
    assert made.startswith('<h2>a &lt; b</h2><figure><svg role="img" aria-label="a &lt; b"')
    assert made.endswith("</figure>")
    assert (INK in made, made.count("<svg"), set(re.findall('id="(a-b-)?', made))) == (False, 1, {"a-b-"})
    assert page.plot("a < b", lambda axes: page.rising(axes, SWEEP)) == made  # no date, no chance


def test_every_colour_of_a_plot_is_one_of_the_page_in_light_and_dark() -> None:
    taken = set(re.findall(r"var\((--[a-z0-9-]+)\)", page.page(FIGURES) + page.sweep_page(SWEEP)))
    assert {"--ink", "--faint", "--here", "--there-0", "--there-1"} <= taken
    light, dark = (set(re.findall("(--[a-z0-9-]+):", each)) for each in page.STYLE.split("@media")[:2])
    assert (taken - light, taken - dark) == (set(), set())


def test_the_forms_of_a_run_can_be_read_by_all(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "results.jsonl")
    writer.run(RUN)
    for record in streams(1, 2)[:-1]:
        assert isinstance(record, Result)
        writer.result(record)
    writer.close(Ending(duration_us=2_000_000, clients=[]))
    forms = [tmp_path / name for name in ("a.html", "a.csv", "a.json")]
    made, path = report_from_results(tmp_path, *forms)
    assert (made.succeeded, path) == (2, tmp_path / "results.jsonl")
    assert [form.stat().st_mode & 0o777 for form in forms] == [0o644] * 3
    assert forms[2].read_text().startswith('{\n  "date": "20261124-000000",\n')
    assert forms[2].read_text().endswith("}\n")
    assert len(forms[1].read_text().splitlines()) == 3
    assert forms[0].read_text().startswith("<!doctype html>")


def test_a_form_is_not_written_over_the_results_or_another_form(tmp_path: Path) -> None:
    results, one = tmp_path / "results.jsonl", tmp_path / "one"
    results.touch()
    (tmp_path / "way").symlink_to(one)
    for forms in ({"csv": results}, {"html": one, "csv": one}, {"bench": tmp_path / "way", "csv": one}):
        with pytest.raises(UsageError) as caught:
            report_from_results(tmp_path, **forms)
        assert caught.value.message in {f"{path} would be written over." for path in forms.values()}
        assert caught.value.hint == "Give each form a file of its own."
    assert not one.exists()
