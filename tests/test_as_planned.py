"""What of a simulation a plan says, and what is typed before it: lengths, promise, replicas; unequal machines."""

import json
from pathlib import Path
from typing import Any

import pytest

from deploy.cli.main import run
from infra.errors import UsageError
from serving.probe.lengths import Lengths
from serving.simulation.as_planned import as_planned
from serving.simulation.simulate_options import ComingOptions, FleetOptions
from serving.simulation.simulation import Simulation
from serving.sizing.carried import Carried, Machines
from serving.sizing.plan import Plan
from serving.sizing.traffic import Promise, Traffic
from serving.sizing.traffic_options import LatencyOptions

PLAN = Plan.read(Path(__file__).parent / "data" / "compare" / "plan.json")
OWN = PLAN.machine.name
EQUAL = (Machines(name=OWN, count=2, servers=2, times=2.0),)
MIXED = (
    Machines(name=OWN, count=2, servers=2, times=3.0),
    Machines(name="2xL40S", count=4, servers=1, times=0.5),
)


def plan(machines: tuple[Machines, ...], promise: Promise | None) -> Plan:
    traffic = Traffic(
        requests_per_s=4, peak_factor=2, input_tokens=Lengths(low=2000), output_tokens=Lengths(low=500)
    )
    return PLAN.model_copy(update={"carried": Carried(traffic=traffic, machines=machines, promise=promise)})


@pytest.mark.parametrize(
    ("promise", "typed", "lengths", "kept", "replicas", "said"),
    [
        (
            Promise(ttft_s=1, percentile=99),
            {},
            (2000, 500),
            (1, None, 99),
            4,
            ("traffic", "lengths", "promise", "replicas"),
        ),
        (
            Promise(ttft_s=1, percentile=99),
            {"requests_per_s": 7},
            (2000, 500),
            (1, None, 99),
            4,
            ("lengths", "promise", "replicas"),
        ),
        (
            Promise(ttft_s=1, percentile=99),
            {"rates": "0-24=7", "output_tokens": "9", "ttft": 3},
            (2000, 9),
            (3, None, 99),
            4,
            ("lengths", "replicas"),
        ),
        (
            Promise(ttft_s=1, tpot_s=0.1),
            {"requests_per_s": 7, "input_tokens": "7", "output_tokens": "9", "ttft": 3, "percentile": 50},
            (7, 9),
            (3, 0.1, 50),
            4,
            ("promise", "replicas"),
        ),
        (None, {"requests_per_s": 7, "replicas": 9}, (2000, 500), (None, None, 95), 9, ("lengths",)),
    ],
    ids=("nothing", "a rate", "a length and a promise", "all", "of before"),
)
def test_what_is_not_typed_is_as_the_plan_says(
    promise: Promise | None,
    typed: dict[str, Any],
    lengths: tuple[int, int],
    kept: tuple[float | None, float | None, float],
    replicas: int,
    said: tuple[str, ...],
) -> None:
    coming, fleet, promised = (
        kind.of({name: value for name, value in typed.items() if name in kind.model_fields})
        for kind in (ComingOptions, FleetOptions, LatencyOptions)
    )
    found = as_planned("plan.json", plan(EQUAL, promise), coming, fleet, promised)  # type: ignore[arg-type]
    assert tuple(each.low for each in found.coming.lengths) == lengths
    assert (found.promise.ttft_s, found.promise.tpot_s, found.promise.percentile) == kept
    assert (found.fleet.replicas, found.said, found.there) == (replicas, said, None)
    assert found.coming.requests_per_s == (None if "rates" in typed else typed.get("requests_per_s", 4))


def test_lengths_of_a_plan_of_size_are_those_that_it_was_judged_by() -> None:
    asked = PLAN.workload.input_tokens, PLAN.workload.output_tokens
    found = as_planned("plan.json", PLAN, ComingOptions(requests_per_s=1), FleetOptions(), LatencyOptions())
    assert tuple(each.low for each in found.coming.lengths) == asked
    assert (found.said, found.fleet.replicas) == (("lengths",), None)


HINT = f"{OWN} with its share: corral simulate 'a plan.json' --replicas 4 --requests-per-s 3 --peak-factor 2"


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ({}, f"The plan counts on 2x {OWN} + 4x 2xL40S, and machines of one kind are simulated at a time."),
        (
            {"requests_per_s": 1},
            f"The plan counts on 2x {OWN} + 4x 2xL40S, and machines of one kind are simulated at a time.",
        ),
        (
            {"replicas": 4},
            f"The plan counts on 2x {OWN} + 4x 2xL40S, and machines of one kind are simulated at a time.",
        ),
        (
            {"requests_per_s": 1, "replicas": 5},
            f"The plan counts on 2x {OWN} + 4x 2xL40S: that is 4 replicas on {OWN}, not 5.",
        ),
    ],
    ids=("nothing", "a rate", "replicas", "more than there are"),
)
def test_unequal_machines_are_not_simulated_as_machines_that_nobody_has(
    typed: dict[str, Any], sentence: str
) -> None:
    coming = ComingOptions.of({name: value for name, value in typed.items() if name != "replicas"})
    fleet = FleetOptions(replicas=typed.get("replicas"))
    with pytest.raises(UsageError) as refused:
        as_planned("a plan.json", plan(MIXED, None), coming, fleet, LatencyOptions())
    assert (str(refused.value), refused.value.hint) == (sentence, HINT)


def test_a_part_of_them_is_simulated_and_no_more_of_it_recommended_than_there_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the hint says it; the plan's promise is broken, with half of the part that more are recommended of."""
    path = tmp_path / "plan.json"
    plan(MIXED, Promise(ttft_s=0.001)).write(path)
    command = ["simulate", str(path), "--requests-per-s", "1", "--hours", "0.02"]
    assert run([*command, "--replicas", "3", "--json"]) == 3
    found = Simulation.parse(capsys.readouterr().out, "stdout")
    assert (found.of_plan, found.replicas_there, found.replicas) == (("lengths", "promise"), 4, 3)
    assert found.promise is not None
    assert (found.promise.ttft_s, found.input_tokens, found.output_tokens) == (0.001, 2000, 500)
    assert run([*command, "--replicas", "3"]) == 3
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == (
        "  The plan says how long requests are, and the promise; all else is as typed, or by default."
    )
    assert lines[-1] == f"Next: corral simulate {path} --requests-per-s 1 --hours 0.02 --replicas 4"
    assert run([*command, "--replicas", "4"]) == 3
    assert capsys.readouterr().out.splitlines()[-1] == f"Those are all of the plan's replicas on {OWN}."


def test_a_plan_of_capacity_holds_its_promise(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "plan.json"
    words = "capacity scout --requests-per-s 0.2 --on p5.4xlarge --ttft 5 --percentile 90 --fill 0.7 -o"
    assert run([*words.split(), str(path)]) == 0
    capsys.readouterr()
    kept = json.loads(path.read_text(encoding="utf-8"))["carried"]["promise"]
    assert Promise.model_validate(kept) == Promise(ttft_s=5, percentile=90, fill=0.7)
