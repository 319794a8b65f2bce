"""The sweep: which loads are tried and tried again, what each step is asked, and what is kept when it ends early."""

from collections.abc import Callable, Mapping
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from probing import a_point, a_report

from infra.errors import EndpointError, HostError, UsageError
from serving.probe import sweep as sweeping
from serving.probe.lengths import Lengths
from serving.probe.report import ProbeReport, Steady, Summary
from serving.probe.spec import Load, Slo, Target, Workload
from serving.probe.sweep import StepRun, load_of, point, points_of, search, sweep
from serving.probe.sweep_options import SweepOptions
from serving.probe.sweep_report import Point
from serving.probe.sweep_search import Found, decide, gain, relative_spread, to_repeat, with_intervals

TARGET = Target(base_url="http://host")
WORKLOAD = Workload(input_tokens=Lengths(low=5), output_tokens=Lengths(low=5), seed=3)
LIMITS = Slo(ttft_s=1.0)
STEPS = SweepOptions()


def refusing(count: int = 5, sent: int = 10) -> ProbeReport:
    """A run in which the server refused so many."""
    return a_report(errors={"http_429": count}, sent=sent, succeeded=sent - count)


def busy(tokens_per_s: float = 100.0, **changes: Any) -> ProbeReport:
    """A run that the probe itself spoiled."""
    return a_report(tokens_per_s, valid=False, invalid_because=("the probe was busy",), **changes)


def meeting(good: int, of: int = 100) -> ProbeReport:
    """A run of which so many met the limits."""
    return a_report(sent=of, succeeded=of, goodput={"good": good})


# One step


def test_a_steps_figures_are_its_steady_ones_where_there_are_any() -> None:
    steady = Steady(
        rule="", start_s=0, end_s=1, output_tokens_per_s=120.0, total_tokens_per_s=0, request_per_s=0
    )
    assert point(8.0, [StepRun(a_report(steady=steady), Path("x"))], STEPS) == Point(
        load=8.0,
        verdict="served",
        output_tokens_per_s=120.0,
        output_tokens_per_s_low=None,
        output_tokens_per_s_high=None,
        output_tokens_per_s_by_run=(120.0,),
        request_per_s=2.5,
        latencies_of=None,
        ttft_p50_s=0.1,
        ttft_p99_s=1.0,
        tpot_p50_s=0.01,
        tpot_p99_s=0.1,
        attainment=None,
        attainment_low=None,
        attainment_high=None,
        sent=10,
        failed=0,
        errors={},
        valid=True,
        invalid_because=(),
        folder="x",
        folders=("x",),
    )
    many = a_report().model_copy(update={"ttft_s": Summary(mean=0, p50=1, p90=1, p95=1, p99=1, count=9)})
    assert point(8.0, [StepRun(many, Path("x"))], STEPS).latencies_of == 9
    bare = a_report(ttft_s=None, tpot_s=None, goodput={"good": 8}, unfinished=2, errors={"reset": 1})
    found = point(8.0, [StepRun(bare, Path("x"))], STEPS)
    assert (found.ttft_p50_s, found.tpot_p99_s, found.attainment, found.sent) == (None, None, 1.0, 8)
    assert (found.verdict, found.failed, found.errors) == ("refused", 1, {"reset": 1})


def test_a_step_run_again_is_all_its_runs_but_those_that_were_spoiled() -> None:
    runs = [
        busy(900.0),
        a_report(120.0, errors={"a": 1}),
        a_report(90.0, errors={"a": 2, "b": 1}),
        a_report(105.0),
    ]
    found = point(8.0, [StepRun(each, Path(f"{at}")) for at, each in enumerate(runs)], STEPS)
    assert (found.output_tokens_per_s, found.output_tokens_per_s_by_run) == (105.0, (120.0, 90.0, 105.0))
    assert (found.errors, found.failed, found.sent) == ({"a": 3, "b": 1}, 4, 30)
    assert (found.folder, found.folders) == ("3", ("0", "1", "2", "3"))
    assert (found.verdict, found.valid) == ("refused", True)


def test_steps_are_held_against_each_other_by_one_throughput() -> None:
    """The steady one only where every run of the sweep has one: that over all is less, by ramp and drain."""
    steady = Steady(
        rule="", start_s=0, end_s=1, output_tokens_per_s=130.0, total_tokens_per_s=0, request_per_s=0
    )
    short, long = StepRun(a_report(90.0), Path("x")), StepRun(a_report(100.0, steady=steady), Path("y"))
    found = [points_of(runs, STEPS) for runs in ({1.0: [long], 2.0: [long]}, {1.0: [short], 2.0: [long]})]
    assert [[each.output_tokens_per_s for each in points.values()] for points in found] == [
        [130.0, 130.0],
        [90.0, 100.0],
    ]


@pytest.mark.parametrize(
    ("report", "verdict"),
    [
        (a_report(), "served"),
        (busy(), "limited_by_client"),
        (busy(spoiled_by=("client", "tokens")), "limited_by_client"),
        (busy(spoiled_by=("sockets",)), "limited_by_client"),
        (busy(spoiled_by=("clock",)), "limited_by_client"),
        (busy(spoiled_by=("buffered", "client")), "buffered_on_the_way"),
        (busy(spoiled_by=("tokens",)), "tokens_do_not_add_up"),
        (refusing(), "refused"),
        (refusing(1, 100), "served"),
        (refusing(2, 100), "refused"),
        (a_report(errors={"reset": 9}, sent=9, succeeded=0, valid=False), "limited_by_client"),
        (a_report(errors={"http_429": 9}, sent=9, succeeded=0, valid=False), "refused"),
        (a_report(sent=0, succeeded=0), "refused"),
        (meeting(95), "served"),
        (meeting(94), "missed"),
    ],
)
def test_what_a_step_says_of_its_load(report: ProbeReport, verdict: str) -> None:
    assert point(8.0, [StepRun(report, Path("x"))], STEPS).verdict == verdict


def test_what_a_step_is_asked() -> None:
    steps = SweepOptions(over="concurrency", start=2.0, duration_s=5.0, timeout_s=7.0, processes=2, seed=4)
    rest: dict[str, Any] = {"timeout_s": 7.0, "processes": 2, "seed": 4}
    assert load_of(steps, 8.0) == Load(shape="concurrency", concurrency=8, duration_s=5.0, **rest)
    by_rate = steps.model_copy(update={"over": "rate"})
    assert load_of(by_rate, 4.0) == Load(shape="poisson", request_rate=4.0, duration_s=5.0, **rest)
    assert load_of(by_rate, 0.5) == Load(shape="poisson", request_rate=0.5, duration_s=20.0, **rest)


# Which loads


Serves = Callable[[float], ProbeReport]


def found_by(serves: Serves, slo: Slo = LIMITS, **asked: Any) -> tuple[Found, list[float]]:
    """The answer without a repeat, and the loads that were tried for it."""
    steps = SweepOptions(repeat_limit_s=0, **asked)
    runs: dict[float, list[StepRun]] = {}
    tried: list[float] = []

    def measure(load: float) -> None:
        tried.append(round(load, 3))
        runs.setdefault(load, []).append(StepRun(serves(load), Path("x")))

    found, confirmed = search(runs, measure, steps, slo)
    assert not confirmed
    return found, tried


def up_to(capacity: float, beyond: ProbeReport) -> Serves:
    """A server that meets the limits up to that load."""
    return lambda load: meeting(100) if load <= capacity else beyond


@pytest.mark.parametrize(
    ("capacity", "start", "limit", "over", "answer", "loads"),
    [
        (0.5, 1.0, 64.0, "concurrency", ("no_promise_met", None), [1]),
        (1.0, 1.0, 1.0, "concurrency", ("promise_not_missed_up_to", 1.0), [1]),
        (100.0, 4.0, 64.0, "concurrency", ("promise_not_missed_up_to", 64.0), [4, 16, 64]),
        (100.0, 4.0, 50.0, "concurrency", ("promise_not_missed_up_to", 50.0), [4, 16, 50]),
        (1.0, 1.0, 64.0, "concurrency", ("promise_met_up_to", 1.0), [1, 4, 2]),
        (2.0, 1.0, 64.0, "concurrency", ("promise_met_up_to", 2.0), [1, 4, 2, 3]),
        (10.0, 4.0, 64.0, "concurrency", ("promise_met_up_to", 10.0), [4, 16, 8, 11, 9, 10]),
        (10.0, 8.0, 64.0, "rate", ("promise_met_up_to", 9.935), [8, 32, 16, 11.314, 9.514, 10.375, 9.935]),
    ],
)
def test_loads_are_quadrupled_and_then_halved(
    capacity: float,
    start: float,
    limit: float,
    over: str,
    answer: tuple[str, float | None],
    loads: list[float],
) -> None:
    found, tried = found_by(up_to(capacity, meeting(0)), start=start, limit=limit, over=over)
    assert tried == loads
    assert (found.answer, found.best and round(found.best, 3)) == answer


@pytest.mark.parametrize("capacity", [1, 3, 17, 40, 64, 100, 250, 400])
def test_the_search_finds_the_capacity_in_few_steps(capacity: int) -> None:
    found, tried = found_by(up_to(capacity, meeting(0)), start=1.0 if capacity < 16 else 16.0)
    assert found.best
    assert capacity / 1.05 - 1 < found.best <= capacity
    assert len(tried) <= 8 + (capacity > 256)
    assert len(tried) == len(set(tried))


def rates(throughput: Callable[[float], float]) -> Serves:
    return lambda load: a_report(throughput(load))


@pytest.mark.parametrize(
    ("throughput", "limit", "answer", "loads"),
    [
        (lambda load: min(load, 8.0), 64.0, ("saturated_at", 8.0), [1, 2, 4, 8, 16]),
        (lambda load: min(load, 32.0), 1024.0, ("saturated_at", 32.0), [1, 2, 4, 8, 16, 32, 64]),
        (lambda load: load, 6.0, ("not_saturated_up_to", 6.0), [1, 2, 4, 6]),
        (lambda load: load, 1.0, ("not_saturated_up_to", 1.0), [1]),
        (lambda load: 0.0, 64.0, ("saturated_at", 1.0), [1, 2]),
        (lambda load: 10 * 1.04**load, 64.0, ("saturated_at", 1.0), [1, 2]),
        (lambda load: {1: 100.0, 2: 105.0, 4: 105.0}[int(load)], 64.0, ("saturated_at", 1.0), [1, 2, 4]),
        (lambda load: {1: 100.0, 2: 120.0, 4: 121.0}[int(load)], 64.0, ("saturated_at", 2.0), [1, 2, 4]),
        (lambda load: {1: 100.0, 2: 200.0, 4: 50.0}[int(load)], 64.0, ("saturated_at", 2.0), [1, 2, 4]),
        # An eighth more load may bring an eighth of what twice the load must.
        (lambda load: {8: 100.0, 9: 101.0}[int(load)], 9.0, ("not_saturated_up_to", 9.0), [8, 9]),
        (lambda load: {8: 100.0, 9: 100.5}[int(load)], 9.0, ("saturated_at", 8.0), [8, 9]),
    ],
)
def test_loads_are_doubled_while_it_pays(
    throughput: Callable[[float], float], limit: float, answer: tuple[str, float], loads: list[float]
) -> None:
    found, tried = found_by(rates(throughput), Slo(), start=float(loads[0]), limit=limit)
    assert ((found.answer, found.best), tried) == (answer, loads)


@pytest.mark.parametrize(
    ("slo", "loads"),
    [(Slo(), [1, 2, 4, 8, 6, 7]), (LIMITS, [1, 4, 16, 8, 6, 7])],
    ids=["throughput", "limits"],
)
def test_a_load_that_is_refused_is_closed_in_on_and_no_answer(slo: Slo, loads: list[float]) -> None:
    """Throughput still grows with the answers that do come, as of a server that takes six at once."""

    def serves(load: float) -> ProbeReport:
        many = a_report(load * 10, sent=100, goodput={"good": 99})
        return many if load <= 6 else many.model_copy(update={"errors": {"http_429": 41}})

    found, tried = found_by(serves, slo)
    assert tried == loads
    assert found == Found(
        "refused_beyond", 6.0, "at 7, 41 of 100 requests failed (41 http_429), more than the 0.01 of --max-failed",
        (6.0, 7.0),
    )  # fmt: skip


@pytest.mark.parametrize(("slo", "loads"), [(Slo(), [1, 2, 4, 8, 16]), (LIMITS, [1, 4, 16])])
def test_the_probes_own_limit_is_no_saturation(slo: Slo, loads: list[float]) -> None:
    def serves(load: float) -> ProbeReport:
        good = a_report(min(load, 10.0), goodput={"good": 10})
        changes = {"valid": False, "invalid_because": ("94% of a core",)}
        return good if load < 16 else good.model_copy(update=changes)

    found, tried = found_by(serves, slo)
    assert tried == loads
    assert (found.answer, found.best, found.reason) == (
        "limited_by_client",
        float(loads[-2]),
        "at 16, 94% of a core",
    )


@pytest.mark.parametrize(
    ("first", "answer", "reason"),
    [
        (meeting(12), "no_promise_met", "at 1, 12.0% met TTFT <= 1,000 ms"),
        (
            refusing(),
            "refused_beyond",
            "at 1, 5 of 10 requests failed (5 http_429), more than the 0.01 of --max-failed",
        ),
        (a_report(sent=0, succeeded=0), "refused_beyond", "at 1, no request came to an end"),
        (busy(), "limited_by_client", "at 1, the probe was busy"),
        (busy(spoiled_by=("buffered",)), "buffered_on_the_way", "at 1, the probe was busy"),
        (busy(spoiled_by=("tokens",)), "tokens_do_not_add_up", "at 1, the probe was busy"),
    ],
)
def test_a_first_step_that_is_no_good_is_the_answer(first: ProbeReport, answer: str, reason: str) -> None:
    found, tried = found_by(lambda load: first)
    assert (tried, found) == ([1.0], Found(answer, None, reason, (1.0,)))  # type: ignore[arg-type]


def test_the_answer_says_what_it_rests_on() -> None:
    found, _ = found_by(rates(lambda load: min(load, 8.0) * 10), Slo())
    assert found == Found("saturated_at", 8.0, "16 brought 0.0% more output tokens/s than 8", (8.0, 16.0))
    found, _ = found_by(rates(lambda load: {1: 100.0, 2: 110.0, 4: 99.0}[int(load)]), Slo())
    assert found.reason == "4 brought 10.0% fewer output tokens/s than 2"
    found, _ = found_by(rates(lambda load: load), Slo(), limit=6.0)
    assert (found.reason, found.rests_on) == (
        "6 is the highest load allowed (--limit 6), and brought 50.0% more output tokens/s than 4", (4.0, 6.0),
    )  # fmt: skip
    found, _ = found_by(rates(lambda load: load), Slo(), limit=1.0)
    assert found.reason == "1 is the highest load allowed (--limit 1), and the only one"
    found, _ = found_by(up_to(9, meeting(50)), limit=8.0)
    assert found.reason == "8 is the highest load allowed (--limit 8), and 100.0% met TTFT <= 1,000 ms"


# Again


def points(*each: Point) -> dict[float, Point]:
    return {one.load: one for one in each}


def runs_of(load: float, *tokens_per_s: float, **changes: Any) -> Point:
    """A step that brought so much in each of its runs."""
    mean = sum(tokens_per_s) / len(tokens_per_s)
    by_run = {"output_tokens_per_s": mean, "output_tokens_per_s_by_run": tokens_per_s}
    return a_point(load, folders=("x",) * len(tokens_per_s), **by_run | changes)


def test_the_spread_between_runs_is_pooled_over_the_steps() -> None:
    """Deviations of 1 % twice and of 2 %, 0 % and 2 %: 0.0010 by 1 + 2 degrees."""
    steps = [runs_of(1.0, 99.0, 101.0), runs_of(2.0, 980.0, 1000.0, 1020.0), runs_of(4.0, 5.0)]
    share, degrees = relative_spread(steps)
    assert degrees == 3
    assert share == pytest.approx((0.0010 / 3) ** 0.5)
    told = with_intervals(steps[::-1])
    assert [each.load for each in told] == [1.0, 2.0, 4.0]
    half = 3.182 * (0.0010 / 3) ** 0.5
    assert told[0].output_tokens_per_s_low == pytest.approx(100 * (1 - half / 2**0.5), rel=1e-4)
    assert told[1].output_tokens_per_s_high == pytest.approx(1000 * (1 + half / 3**0.5), rel=1e-4)
    assert (told[2].output_tokens_per_s_low, told[2].output_tokens_per_s_high) == (None, None)
    assert with_intervals([runs_of(1.0, 1.0, 99.0)])[0].output_tokens_per_s_low == 0.0


RESTS = Found("saturated_at", 8.0, "", (8.0, 16.0))


@pytest.mark.parametrize(
    ("low", "high", "again"),
    [
        (runs_of(8.0, 100.0), runs_of(16.0, 100.0), 8.0),
        (runs_of(8.0, 100.0, 101.0), runs_of(16.0, 100.0), 16.0),
        (runs_of(8.0, 100.0, 101.0), runs_of(16.0, 101.0, 100.0), None),
        (runs_of(8.0, 100.0, 110.0), runs_of(16.0, 101.0, 100.0), 8.0),
        (runs_of(8.0, 100.0, 110.0, 105.0), runs_of(16.0, 101.0, 100.0), 16.0),
        (runs_of(8.0, 100.0, 101.0), runs_of(16.0, 1.0, 99.0, verdict="refused"), 8.0),
        (runs_of(8.0, 100.0, 101.0), runs_of(16.0, 99.0, verdict="limited_by_client"), 16.0),
    ],
)
def test_a_step_is_repeated_until_its_throughput_is_worth_its_interval(
    low: Point, high: Point, again: float | None
) -> None:
    assert to_repeat(points(low, high, runs_of(4.0, 7.0)), RESTS, STEPS, Slo()) == again


@pytest.mark.parametrize(
    ("share", "again"),
    [
        ((0.96, 0.951, 0.97), None),
        ((0.96, 0.949, 0.97), 8.0),
        ((0.95, 0.941, 0.960), None),
        ((0.90, 0.80, 0.949), None),
        ((0.94, 0.80, 0.951), 8.0),
    ],
)
def test_a_step_is_repeated_until_its_share_is_on_one_side(
    share: tuple[float, float, float], again: float | None
) -> None:
    names = ("attainment", "attainment_low", "attainment_high")
    step = runs_of(8.0, 10.0, 90.0, **dict(zip(names, share, strict=True)))
    assert to_repeat(points(step), RESTS._replace(rests_on=(8.0,)), STEPS, LIMITS) == again


def searched(serves: Serves, slo: Slo, **asked: Any) -> tuple[Found, bool, Mapping[float, int]]:
    """The answer, whether it was confirmed, and how often each load was measured."""
    runs: dict[float, list[StepRun]] = {}

    def measure(load: float) -> None:
        runs.setdefault(load, []).append(StepRun(serves(load), Path("x")))

    found, confirmed = search(runs, measure, SweepOptions(**asked), slo)
    return found, confirmed, {load: len(each) for load, each in runs.items()}


def test_repeats_end_with_their_time() -> None:
    """Runs that lie apart by a half are never worth their interval; ten steps' time is all there is."""
    noise = {1.0: cycle((100.0, 150.0)), 2.0: cycle((100.0, 150.0))}

    def serves(load: float) -> ProbeReport:
        return a_report(next(noise[load]))

    _, confirmed, runs = searched(serves, Slo(), duration_s=5.0, limit=2.0)
    assert (confirmed, runs) == (False, {1.0: 6, 2.0: 6})
    _, confirmed, runs = searched(serves, Slo(), duration_s=5.0, limit=2.0, repeat_limit_s=14.9)
    assert (confirmed, sum(runs.values())) == (False, 2 + 2)
    _, confirmed, runs = searched(lambda load: a_report(100.0), Slo())
    assert (confirmed, runs) == (True, {1.0: 2, 2.0: 2})


def test_a_repeat_that_turns_a_step_sends_the_search_on() -> None:
    """The first run of 4 is refused by chance, and of 2 met by chance."""
    first: dict[float, ProbeReport] = {4.0: meeting(0, 30)}

    def serves(load: float) -> ProbeReport:
        return first.pop(load, meeting(200 if load <= 8 else 0, 200))

    found, confirmed, runs = searched(serves, LIMITS, duration_s=5.0, repeat_limit_s=1000, attainment=0.8)
    assert (found.answer, found.best, confirmed) == ("promise_met_up_to", 8.0, True)
    assert runs[4.0] > 1
    assert runs[8.0] > 1


def test_a_step_that_was_spoiled_once_is_tried_again() -> None:
    spoiled = {8.0: busy()}
    found, confirmed, runs = searched(lambda load: spoiled.pop(load, a_report(min(load, 32.0))), Slo())
    assert (found.answer, found.best, confirmed, runs[8.0]) == ("saturated_at", 32.0, True, 2)


def test_nothing_measured_is_the_first_load() -> None:
    assert (decide({}, STEPS, Slo()), decide({}, STEPS, LIMITS), points_of({}, STEPS)) == (1.0, 1.0, {})


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
            (target, load.concurrency or load.request_rate, load.seed, workload.seed, folder.name, slo, watch)
        )
        fate = next(self._fates)
        if isinstance(fate, BaseException):
            raise fate
        return fate


def test_each_run_has_prompts_and_a_folder_of_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    runs = Runs(monkeypatch, *map(a_report, (100.0, 200.0, 201.0, 201.0, 200.0)))
    said: list[str] = []
    found = sweep(TARGET, SweepOptions(start=2.0, seed=6), WORKLOAD, tmp_path, Slo(), said.append, print)
    assert runs.asked == [
        (TARGET, 2, 6, 3000, "concurrency-2", Slo(), print),
        (TARGET, 4, 6, 3001, "concurrency-4", Slo(), print),
        (TARGET, 8, 6, 3002, "concurrency-8", Slo(), print),
        (TARGET, 4, 7, 3003, "concurrency-4-2", Slo(), print),
        (TARGET, 8, 7, 3004, "concurrency-8-2", Slo(), print),
    ]
    assert len(said) == 5
    assert said[0].startswith("       2 at a time       100.0 output tokens/s")
    assert "(2 runs)" in said[3]
    assert (found.url, found.model, found.over, found.slo, found.attainment, found.max_failed) == (
        "http://host", "m", "concurrency", {}, 0.95, 0.01,
    )  # fmt: skip
    assert (found.answer, found.best, found.confirmed) == ("saturated_at", 4.0, True)
    assert found.rule == (
        "doubled until twice the load brought less than 5 % more output tokens/s; the steps that the answer rests on"
        " are run 2 times or more, until the 95 % interval of their output tokens/s is within 5% of it"
    )
    assert [each.load for each in found.points] == [2.0, 4.0, 8.0]
    assert [each.output_tokens_per_s_low is None for each in found.points] == [True, False, False]


def test_the_steps_are_told_in_the_order_of_their_load(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    Runs(monkeypatch, meeting(100), meeting(0), meeting(0))
    steps = SweepOptions(over="concurrency", start=1.0, limit=64.0, repeat_limit_s=0)
    found = sweep(TARGET, steps, WORKLOAD, tmp_path, LIMITS, lambda text: None)
    assert ([each.load for each in found.points], found.best) == ([1.0, 2.0, 4.0], 1.0)
    assert (found.slo, found.answer, found.confirmed) == ({"ttft_s": 1.0}, "promise_met_up_to", False)
    assert found.rule == (
        "raised by a factor of 4, then halved between the last load that met the limits and the first that did not,"
        " down to 5 %; the steps that the answer rests on are run 2 times or more, until the 95 % interval of the share"
        " that met them lies on one side of the share wanted or is 2% wide"
    )


@pytest.mark.parametrize(
    ("fate", "points", "answer", "reason"),
    [
        (a_report(interrupted=True), 2, "interrupted", "interrupted before there was one"),
        (a_report(results_lost=True), 2, "interrupted", "interrupted before there was one"),
        (KeyboardInterrupt(), 1, "interrupted", "interrupted before there was one"),
        (HostError("full"), 1, "interrupted", "interrupted before there was one"),
        (EndpointError("it is gone"), 1, "ended_early", "it is gone"),
    ],
)
def test_what_was_measured_is_kept_when_it_ends_early(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    fate: ProbeReport | BaseException,
    points: int,
    answer: str,
    reason: str,
) -> None:
    Runs(monkeypatch, a_report(), fate)
    found = sweep(TARGET, SweepOptions(), WORKLOAD, tmp_path, Slo(), lambda text: None)
    assert (len(found.points), found.best, found.answer, found.reason, found.confirmed) == (
        points, None, answer, reason, False,
    )  # fmt: skip


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
    Runs(monkeypatch, *map(a_report, (100.0,) * 4))
    found = sweep(TARGET, SweepOptions(), WORKLOAD, tmp_path, Slo(), lambda text: None)
    monkeypatch.setattr(sweeping, "sweep_page", lambda each: f"page of {each.model}")
    sweeping.keep(found, tmp_path)
    assert (tmp_path / "sweep.json").read_text() == found.model_dump_json(indent=2) + "\n"
    assert (tmp_path / "sweep.html").read_text() == "page of m"
    assert (tmp_path / "sweep.html").stat().st_mode & 0o777 == 0o644


def test_by_how_much_one_step_brought_more_than_another() -> None:
    steps = [a_point(output_tokens_per_s=rate) for rate in (100.0, 105.0, 90.0, 100.0)]
    assert [gain(steps[0], step) for step in steps[1:]] == ["5.0% more", "10.0% fewer", "0.0% more"]
    assert gain(a_point(output_tokens_per_s=0.0), steps[0]) == "no more"
