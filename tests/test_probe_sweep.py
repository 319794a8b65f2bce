"""The sweep: which loads are tried, what each step is asked, and what is kept when it ends early."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infra.errors import EndpointError, HostError, UsageError
from serving.probe import sweep as sweeping
from serving.probe.lengths import Lengths
from serving.probe.probe_options import SweepOptions
from serving.probe.report import Client, ProbeReport, Steady, Summary
from serving.probe.spec import Load, Slo, Target, Workload
from serving.probe.sweep import highest, load_of, point, search, sweep, until_saturated
from serving.probe.sweep_report import Point

TARGET = Target(base_url="http://host")
WORKLOAD = Workload(input_tokens=Lengths(low=5), output_tokens=Lengths(low=5), seed=3)
LIMITS = (
    "raised by a factor of 4, then halved between the last load that met the limits and the first that did not, down"
    " to 5 %"
)


def latency(ms: float) -> Summary:
    return Summary(mean=0, p50=ms / 1e3, p90=0, p95=0, p99=ms / 100)


def report(tokens_per_s: float = 100.0, **fields: Any) -> ProbeReport:
    common: dict[str, Any] = {
        "url": "u", "model": "m", "started_at": "", "load": {}, "sent": 9, "succeeded": 7, "errors": {"a": 1, "b": 1},
        "duration_s": 1.0, "input_tokens": 1, "output_tokens": 1, "output_tokens_per_s": tokens_per_s,
        "total_tokens_per_s": 1.0, "request_per_s": 2.5, "ttft_s": latency(100), "tpot_s": latency(10), "itl_s": None,
        "e2e_s": None, "goodput": {"attainment": 0.9, "attainment_low": 0.8},
        "client": Client(cpu_fraction=0.1, max_lag_s=0.0), "valid": True, "warnings": (),
    }  # fmt: skip
    return ProbeReport(**(common | fields))


# One step


def test_a_steps_figures_are_its_steady_ones_where_there_are_any() -> None:
    steady = Steady(
        rule="", start_s=0, end_s=1, output_tokens_per_s=120.0, total_tokens_per_s=0, request_per_s=0
    )
    assert point(8.0, report(steady=steady), Path("x")) == Point(
        load=8.0,
        output_tokens_per_s=120.0,
        request_per_s=2.5,
        ttft_p50_s=0.1,
        ttft_p99_s=1.0,
        tpot_p50_s=0.01,
        tpot_p99_s=0.1,
        attainment=0.9,
        attainment_low=0.8,
        failed=2,
        valid=True,
        folder="x",
    )
    bare = point(8.0, report(ttft_s=None, tpot_s=None, goodput={}, valid=False, errors={}), Path("x"))
    assert bare == Point(
        load=8.0,
        output_tokens_per_s=100.0,
        request_per_s=2.5,
        ttft_p50_s=None,
        ttft_p99_s=None,
        tpot_p50_s=None,
        tpot_p99_s=None,
        attainment=None,
        attainment_low=None,
        failed=0,
        valid=False,
        folder="x",
    )


def test_what_a_step_is_asked() -> None:
    steps = SweepOptions(over="concurrency", start=2.0, duration_s=5.0, timeout_s=7.0, processes=2, seed=4)
    rest: dict[str, Any] = {"timeout_s": 7.0, "processes": 2, "seed": 4}
    assert load_of(steps, 8.0) == Load(shape="concurrency", concurrency=8, duration_s=5.0, **rest)
    by_rate = steps.model_copy(update={"over": "rate"})
    assert load_of(by_rate, 4.0) == Load(shape="poisson", request_rate=4.0, duration_s=5.0, **rest)
    assert load_of(by_rate, 0.5) == Load(shape="poisson", request_rate=0.5, duration_s=20.0, **rest)


# Which loads


def tried(capacity: float, start: float, limit: float, whole: bool) -> tuple[float | None, list[float]]:
    loads: list[float] = []

    def meets(load: float) -> bool:
        loads.append(load)
        return load <= capacity

    return highest(meets, start, limit, whole), [round(load, 3) for load in loads]


@pytest.mark.parametrize(
    ("capacity", "start", "limit", "whole", "answer", "loads"),
    [
        (0.5, 1.0, 64.0, True, None, [1]),
        (1.0, 1.0, 1.0, True, 1.0, [1]),
        (100.0, 4.0, 64.0, True, 64.0, [4, 16, 64]),
        (100.0, 4.0, 50.0, True, 50.0, [4, 16, 50]),
        (1.0, 1.0, 64.0, True, 1.0, [1, 4, 2]),
        (2.0, 1.0, 64.0, True, 2.0, [1, 4, 2, 3]),
        (10.0, 4.0, 64.0, True, 10.0, [4, 16, 8, 11, 9, 10]),
        (10.0, 8.0, 64.0, False, 9.935, [8, 32, 16, 11.314, 9.514, 10.375, 9.935]),
    ],
)
def test_loads_are_quadrupled_and_then_halved(
    capacity: float, start: float, limit: float, whole: bool, answer: float | None, loads: list[float]
) -> None:
    found, seen = tried(capacity, start, limit, whole)
    assert seen == loads
    assert found == pytest.approx(answer, abs=0.001)


def measured(throughput: Callable[[float], float], loads: list[float]) -> Callable[[float], Point]:
    def measure(load: float) -> Point:
        loads.append(load)
        return point(load, report(throughput(load)), Path("x"))

    return measure


@pytest.mark.parametrize(
    ("throughput", "limit", "answer", "loads"),
    [
        (lambda load: min(load, 8.0), 64.0, 8.0, [1, 2, 4, 8, 16]),
        (lambda load: load, 6.0, 6.0, [1, 2, 4, 6]),
        (lambda load: 0.0, 64.0, 1.0, [1, 2]),
        (lambda load: 10 * 1.04**load, 64.0, 1.0, [1, 2]),
        (lambda load: {1: 100.0, 2: 105.0, 4: 105.0}[int(load)], 64.0, 1.0, [1, 2, 4]),
        (lambda load: {1: 100.0, 2: 120.0, 4: 121.0}[int(load)], 64.0, 2.0, [1, 2, 4]),
        (lambda load: {1: 100.0, 2: 200.0, 4: 50.0}[int(load)], 64.0, 2.0, [1, 2, 4]),
    ],
)
def test_loads_are_doubled_while_it_pays(
    throughput: Callable[[float], float], limit: float, answer: float, loads: list[float]
) -> None:
    seen: list[float] = []
    steps = SweepOptions(start=1.0, limit=limit)
    assert (search(measured(throughput, seen), steps, Slo()), seen) == (answer, loads)
    assert [each.load for each in until_saturated(measured(throughput, []), 1.0, limit)] == loads


def test_a_load_meets_the_limits_when_enough_of_its_requests_do() -> None:
    seen: list[float] = []

    def measure(load: float) -> Point:
        seen.append(load)
        goodput = {"attainment": {1.0: 0.95, 4.0: 0.949}.get(load)}
        return point(load, report(goodput=goodput), Path("x"))

    assert search(measure, SweepOptions(limit=64.0, attainment=0.95), Slo(ttft_s=1.0)) == 1.0
    assert seen == [1.0, 4.0, 2.0]


# The whole


class Runs:
    """Stands in for a probe: what each is asked, and what comes of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *fates: ProbeReport | BaseException) -> None:
        self.asked: list[tuple[object, ...]] = []
        self._fates = iter(fates)
        monkeypatch.setattr(sweeping, "run", self.run)

    def run(
        self, target: Target, load: Load, workload: Workload, folder: Path, slo: Slo, watch: object
    ) -> ProbeReport:
        self.asked.append(
            (target, load.concurrency or load.request_rate, workload.seed, folder.name, slo, watch)
        )
        fate = next(self._fates)
        if isinstance(fate, BaseException):
            raise fate
        return fate


def test_each_step_has_prompts_and_a_folder_of_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    runs = Runs(monkeypatch, report(100.0), report(200.0), report(190.0))
    said: list[str] = []
    found = sweep(TARGET, SweepOptions(start=2.0), WORKLOAD, tmp_path, Slo(), said.append, print)
    assert runs.asked == [
        (TARGET, 2, 3000, "concurrency-2", Slo(), print),
        (TARGET, 4, 3001, "concurrency-4", Slo(), print),
        (TARGET, 8, 3002, "concurrency-8", Slo(), print),
    ]
    assert len(said) == 3
    assert said[0].startswith("       2 at a time       100.0 output tokens/s")
    assert (found.url, found.model, found.over, found.slo, found.attainment, found.best) == (
        "http://host", "m", "concurrency", {}, 0.95, 4.0,
    )  # fmt: skip
    assert (found.rule, found.interrupted, found.refused) == (
        "doubled until twice the load brought less than 5 % more output tokens/s", False, None,
    )  # fmt: skip
    assert [each.load for each in found.points] == [2.0, 4.0, 8.0]


def test_the_steps_are_told_in_the_order_of_their_load(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    met, missed = report(goodput={"attainment": 1.0}), report(goodput={"attainment": 0.0})
    Runs(monkeypatch, met, missed, missed)
    steps = SweepOptions(over="concurrency", start=1.0, limit=64.0)
    found = sweep(TARGET, steps, WORKLOAD, tmp_path, Slo(ttft_s=1.0), lambda text: None)
    assert ([each.load for each in found.points], found.best, found.rule) == ([1.0, 2.0, 4.0], 1.0, LIMITS)
    assert found.slo == {"ttft_s": 1.0}


@pytest.mark.parametrize(
    ("fate", "points", "interrupted", "refused"),
    [
        (report(interrupted=True), 2, True, None),
        (report(results_lost=True), 2, True, None),
        (KeyboardInterrupt(), 1, True, None),
        (HostError("full"), 1, True, None),
        (EndpointError("it is gone"), 1, False, "it is gone"),
    ],
)
def test_what_was_measured_is_kept_when_it_ends_early(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    fate: ProbeReport | BaseException,
    points: int,
    interrupted: bool,
    refused: str | None,
) -> None:
    Runs(monkeypatch, report(), fate)
    found = sweep(TARGET, SweepOptions(), WORKLOAD, tmp_path, Slo(), lambda text: None)
    assert (len(found.points), found.best, found.interrupted, found.refused) == (
        points,
        None,
        interrupted,
        refused,
    )


@pytest.mark.parametrize(
    "fate", [KeyboardInterrupt(), HostError("full"), EndpointError("gone"), UsageError("odd")]
)
def test_nothing_is_kept_of_a_sweep_whose_first_step_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fate: BaseException
) -> None:
    Runs(monkeypatch, fate)
    with pytest.raises(type(fate)):
        sweep(TARGET, SweepOptions(), WORKLOAD, tmp_path, Slo(), lambda text: None)


def test_an_earlier_sweep_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "sweep.json").touch()
    with pytest.raises(UsageError) as caught:
        sweep(TARGET, SweepOptions(), WORKLOAD, tmp_path, Slo(), lambda text: None)
    assert caught.value.message == f"{tmp_path} holds an earlier sweep.json, which is not overwritten."
    assert caught.value.hint == "Choose another folder, or leave --output out for a new one with the date."


def test_a_sweep_is_kept_as_a_document_and_a_page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    Runs(monkeypatch, report(100.0), report(100.0))
    found = sweep(TARGET, SweepOptions(), WORKLOAD, tmp_path, Slo(), lambda text: None)
    monkeypatch.setattr(sweeping, "sweep_page", lambda each: f"page of {each.model}")
    sweeping.keep(found, tmp_path)
    assert (tmp_path / "sweep.json").read_text() == found.model_dump_json(indent=2) + "\n"
    assert (tmp_path / "sweep.html").read_text() == "page of m"
    assert (tmp_path / "sweep.html").stat().st_mode & 0o777 == 0o644
