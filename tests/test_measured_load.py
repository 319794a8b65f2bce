"""The load that a machine is taken at: a plan's curve, a sweep, a promise; and what one load alone does not show."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from probing import a_point, a_sweep
from test_compare import DATA, HAIKU, PLAN, PROBE, changed, compared

from deploy.cli.main import run
from deploy.costs.comparison import Comparison
from deploy.costs.served_class import served_typed
from infra.errors import DocumentError, UsageError
from serving.probe.report import Summary
from serving.probe.sweep_report import Sweep


def slow(p95_s: float) -> Summary:
    return Summary(mean=p95_s / 2, p50=p95_s / 2, p90=p95_s, p95=p95_s, p99=p95_s)


def swept(folder: Path, rates: dict[int, float], **values: Any) -> Path:
    """A sweep with the report of each step, whose slow requests wait a second for each 16 at once."""
    points = []
    for at_once, rate in rates.items():
        assert PROBE.steady is not None
        own = folder / f"concurrency-{at_once}"
        own.mkdir(parents=True)
        steady = changed(PROBE.steady, output_tokens_per_s=rate)
        waits = {"ttft_s": slow(at_once / 16), "tpot_s": slow(at_once / 1000)}
        report = changed(PROBE, steady=steady, confidence={}, load={"concurrency": at_once}, **waits)
        report.write(own / "probe.json")
        points.append(a_point(at_once, output_tokens_per_s=rate, folder=f"/elsewhere/{own.name}"))
    made = a_sweep(*points, url="http://x", model="llama-4-scout", best=16.0)
    changed(made, **values).write(folder / "sweep.json")
    return folder / "sweep.json"


SATURATED = {16: 500.0, 32: 900.0, 64: 925.0}


def asked(probe: Path, capsys: pytest.CaptureFixture[str], *more: str) -> Comparison:
    capsys.readouterr()
    given = ["--plan", str(DATA / "plan.json"), "--probe", str(probe), "--claude-model", HAIKU, *more]
    assert run(["compare", *given, "--token-ratio", "1", "--json"]) == 0
    return Comparison.parse(capsys.readouterr().out, "stdout")


def at(found: Comparison) -> tuple[float, str, str]:
    return float(found.speed.output_tokens_per_s), found.speed.point.load, found.speed.point.shown


def test_a_plan_is_taken_where_its_curve_saturates() -> None:
    found = compared(probe=None)
    assert at(found) == (491.2, "30 requests at once", "saturation")
    assert found.verdict.endswith(
        "Capacity: 491 output tokens/s a machine, modelled, 30 requests at once, where it is saturated."
    )


@pytest.mark.parametrize(
    ("promise", "wanted"),
    [
        ({"ttft": 0.48}, (360.7, "16 requests at once", "latency promise")),
        ({"tpot": 0.0205}, (98.3, "2 requests at once", "latency promise")),
        ({"ttft": 0.48, "tpot": 0.019}, (55.5, "1 requests at once", "latency promise")),
    ],
)
def test_a_plan_is_taken_at_the_most_within_a_promise(
    promise: dict[str, Any], wanted: tuple[float, str, str]
) -> None:
    assert at(compared(probe=None, **promise)) == wanted


def test_a_promise_that_no_load_keeps_is_refused_with_one_that_some_does() -> None:
    with pytest.raises(UsageError) as caught:
        compared(probe=None, tpot=0.001)
    assert caught.value.message == (
        "No load of g5.12xlarge keeps TPOT 0.001 s: with 1 at once the plan predicts TTFT 0.447 s and TPOT 0.018 s."
    )
    assert caught.value.hint == "Promise more: --ttft 0.89 --tpot 0.036"
    assert at(compared(probe=None, ttft=0.89, tpot=0.036))[0] == 248.2


def test_a_plan_without_a_curve_shows_nothing_but_its_own_load() -> None:
    bare = changed(PLAN, curve=(), saturation_concurrency=None)
    found = compared(plan=bare, probe=None, claude_models=(HAIKU,))
    assert at(found) == (360.7, "16 requests at once", "one load")
    assert found.answer == "not at this load"
    assert "NEVER" not in found.verdict


def test_the_best_step_of_a_sweep_that_saturated_is_all_the_machine_can_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = asked(swept(tmp_path, SATURATED), capsys)
    assert at(found) == (925.0, "64 at once, the best step of a sweep", "saturation")
    assert found.answer == "never"
    assert at(asked(tmp_path, capsys)) == at(found)  # the folder


@pytest.mark.parametrize("answer", ["not_saturated_up_to", "limited_by_client", "interrupted", "ended_early"])
def test_a_sweep_that_did_not_saturate_shows_no_end(
    answer: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = asked(swept(tmp_path, SATURATED, answer=answer), capsys)
    assert (found.speed.point.shown, found.answer) == ("one load", "not at this load")
    assert found.what_would_change_it[0].startswith("Load: the machine may serve more at another.")


def test_a_load_beyond_which_requests_are_refused_is_the_most_and_a_refused_one_is_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = swept(tmp_path, SATURATED, answer="refused_beyond", best=32.0)
    made = Sweep.read(path)
    *served, last = made.points
    changed(made, points=(*served, changed(last, verdict="refused"))).write(path)
    found = asked(path, capsys)
    assert at(found) == (900.0, "32 at once, the best step of a sweep", "refusal")
    assert (found.answer, "beyond which it refuses requests" in found.verdict) == ("never", True)


def test_a_promise_that_every_step_keeps_shows_no_more_than_the_sweep(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = swept(tmp_path, SATURATED, answer="not_saturated_up_to")
    assert asked(path, capsys, "--ttft", "9").speed.point.shown == "one load"
    limits = {"slo": {"ttft_s": 9.0}, "answer": "promise_not_missed_up_to", "best": 64.0}
    found = asked(swept(tmp_path / "b", SATURATED, **limits), capsys)
    assert at(found) == (925.0, "64 at once, of which 95% meet TTFT <= 9,000 ms", "one load")


def test_a_promise_chooses_the_step_and_so_do_the_sweeps_own_limits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    promised = asked(swept(tmp_path / "a", SATURATED), capsys, "--ttft", "1.5")
    assert at(promised) == (
        500.0, "16 at once, the best step of a sweep of which 95% keep TTFT 1.5 s", "latency promise",
    )  # fmt: skip
    limited = asked(
        swept(tmp_path / "b", SATURATED, slo={"ttft_s": 2.0}, answer="promise_met_up_to", best=32.0), capsys
    )
    assert at(limited) == (
        900.0,
        "32 at once, the most of which 95% meet TTFT <= 2,000 ms",
        "latency promise",
    )


@pytest.mark.parametrize(
    ("values", "more", "says"),
    [
        ({"best": None, "slo": {"ttft_s": 0.1}}, [], "No step of the sweep meets its limits."),
        ({}, ["--ttft", "100ms"], "No step of the sweep keeps TTFT 0.1 s."),
        ({"points": ()}, [], "No step of the sweep is a valid one."),
    ],
)
def test_a_sweep_without_a_step_to_take_is_one_sentence(
    values: dict[str, Any], more: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = swept(tmp_path, SATURATED, **values)
    assert run(["compare", "--plan", str(DATA / "plan.json"), "--probe", str(path), *more]) == 2
    assert capsys.readouterr().err.splitlines()[0] == f"error: {says}"


def test_a_sweep_without_its_steps_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = swept(tmp_path, SATURATED)
    (tmp_path / "concurrency-16" / "probe.json").unlink()
    command = ["compare", "--plan", str(DATA / "plan.json"), "--probe", str(path)]
    assert run(command) == DocumentError.exit_code
    assert "There is no probe report at" in capsys.readouterr().err


def test_a_probe_of_one_load_is_not_the_end_unless_something_shows_it() -> None:
    """As many at once as the plan saturates at, or requests that waited in the server's queue."""
    few = changed(PROBE, load={"concurrency": 16})
    found = compared(probe=few, claude_models=(HAIKU,))
    assert (found.speed.point.shown, found.answer) == ("one load", "not at this load")
    assert [text for text in found.warnings if text.startswith("The probe is of one load, 16 at once")]
    assert compared(probe=changed(few, load={"concurrency": 30}), claude_models=(HAIKU,)).answer == "never"
    waited = changed(few, server=changed(few.server, queue_mean_s=0.8))
    assert compared(probe=waited, claude_models=(HAIKU,)).answer == "never"
    hardly = changed(few, server=changed(few.server, queue_mean_s=0.79))
    assert compared(probe=hardly, claude_models=(HAIKU,)).answer == "not at this load"
    at_a_rate = changed(PROBE, load={"concurrency": 64, "request_rate": 6.0})
    assert compared(probe=at_a_rate, claude_models=(HAIKU,)).answer == "not at this load"


def test_a_probe_that_breaks_the_promise_is_refused() -> None:
    assert compared(ttft=0.6, tpot=0.045).speed.point.ttft_s == Decimal("0.6")
    with pytest.raises(
        UsageError, match=r"^The probe's load, 64 at once, does not keep TTFT 0\.5 s: p95 TTFT 0\.6"
    ):
        compared(ttft=0.5)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"version": "0.33.0"}, None),
        ({"version": "0.31.1"}, "OTHER ENGINE: the plan is for vLLM 0.33.0, the probed server said 0.31.1."),
    ],
)
def test_a_probe_of_another_engine_is_said(values: dict[str, Any], says: str | None) -> None:
    found = compared(probe=changed(PROBE, server=changed(PROBE.server, **values)))
    assert [text for text in found.warnings if text.startswith("OTHER")] == ([says] if says else [])


@pytest.mark.parametrize(("rate", "is_said"), [(160.0, True), (181.0, False), (721.0, False), (723.0, True)])
def test_a_probe_that_the_plans_machine_cannot_have_made_is_said(rate: float, is_said: bool) -> None:
    """At 16 at once the plan predicts 360.7 within a factor of two, for requests of 1,000 and 1,000 tokens."""
    assert PROBE.steady is not None
    steady = changed(PROBE.steady, output_tokens_per_s=rate)
    same = {"input_tokens": 512_000, "output_tokens": 512_000, "load": {"concurrency": 16}}
    found = compared(probe=changed(PROBE, steady=steady, confidence={}, **same))
    said = [text for text in found.warnings if text.startswith("OTHER MACHINE?")]
    assert bool(said) == is_said
    assert all("predicts 361 for scout int4 on g5.12xlarge, within a factor of 2" in text for text in said)


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ({"machine": "g5.12xlarge", "precision": "int4"}, ()),
        (
            {"machine": "p5.48xlarge", "precision": "int4"},
            (
                "OTHER MACHINE: the probe was of p5.48xlarge, the plan is for g5.12xlarge: the speed of one has the "
                "price of the other.",
            ),
        ),
        (
            {"machine": "g5.12xlarge", "precision": "fp8"},
            ("OTHER PRECISION: the probe was of fp8, the plan is for int4.",),
        ),
    ],
    ids=["the same", "machine", "precision"],
)
def test_what_a_probe_says_it_is_of_is_held_against_the_plan(
    named: dict[str, str], said: tuple[str, ...]
) -> None:
    """And then the plan is not asked to vouch for it; what is named is in the report of a probe, and only then."""
    found = compared(probe=changed(PROBE, **named))
    assert tuple(text for text in found.warnings if text.startswith("OTHER")) == said
    means = next(each.means for each in found.assumptions if each.name == "output_tokens_per_s")
    assert "names neither" not in means
    assert not {"machine", "precision"} & json.loads(PROBE.text()).keys()


AS_PLANNED = {"input_tokens": 512_000, "output_tokens": 512_000}
IN_REQUESTS = {"requests_per_month": 3_000_000}


@pytest.mark.parametrize(
    ("lengths", "question", "is_said"),
    [
        ({}, IN_REQUESTS, True),
        (AS_PLANNED, IN_REQUESTS, False),
        ({}, {"mtok_per_month": 3_000}, False),
        ({}, IN_REQUESTS | {"classes": (served_typed("all=100%,750/250"),)}, False),
    ],
)
def test_a_month_of_requests_of_another_length_than_the_plans_is_said(
    lengths: dict[str, int], question: dict[str, Any], is_said: bool
) -> None:
    found = compared(probe=changed(PROBE, **lengths), **question)
    says = (
        "OTHER LOAD: a request of the probe had 750 tokens in and 250 out, one of the plan has 1,000 and 1,000; a "
        "month of requests is counted in the probe's. Probe as planned (--input-tokens 1000 --output-tokens 1000), or "
        "say the month's with --class or --mtok-per-month."
    )
    assert [text for text in found.warnings if text.startswith("OTHER LOAD")] == [says] * is_said


def test_a_document_that_is_neither_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "x.json"
    for text in ("[1]", "{", json.dumps({"document": "probe-sweep", "schema_version": 2})):
        other.write_text(text)
        assert run(["compare", "--plan", str(DATA / "plan.json"), "--probe", str(other)]) == 4
        assert capsys.readouterr().err.startswith(f"error: {other} is not a probe ")
