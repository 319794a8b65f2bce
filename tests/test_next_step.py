"""The next step of a deployment: what follows from what is known, and that each line printed can be run."""

import os
import shlex
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import stubbed
from probing import a_point, a_sweep
from test_compare import PROBE

from deploy.cli.main import run
from deploy.next_step import WHEN_NOT_WELL, Known, is_sound, next_step
from deploy.targets.deployment import Deployment, load
from deploy.targets.place import State
from serving.probe.results import REPORT
from serving.sizing.plan import Plan, Workload

LOAD = Workload(input_tokens=3000, output_tokens=200, concurrency=64)
NEW = Known("s", LOAD, None, is_probed=False, is_compared=False, has_page=False)
PROBE_S = "corral probe s --concurrency 64 --requests 256 --input-tokens 3000 --output-tokens 200"


@pytest.mark.parametrize(
    ("known", "command"),
    [
        ({}, "corral serve s"),
        ({"has_served": True}, "corral status s"),
        ({"has_served": True, "is_probed": True}, "corral compare s"),
        ({"state": "stopped", "has_served": True}, "corral serve s"),
        ({"state": "provisioned"}, "corral serve s"),
        ({"state": "stopped"}, "corral serve s"),
        ({"state": "serving"}, PROBE_S),
        ({"state": "serving", "is_probed": True}, "corral compare s"),
        ({"state": "serving", "is_probed": True, "has_price": False}, "corral compare s --price-per-hour 1"),
        ({"state": "stopped", "is_probed": True}, "corral compare s"),
        ({"is_probed": True, "is_compared": True}, "corral report s"),
        ({"is_compared": True, "has_page": True}, "corral serve s"),  # of what the plan predicts
        ({"state": "serving", "is_probed": True, "is_compared": True, "has_page": True}, "corral down s"),
        ({"state": "starting"}, "corral logs -f s"),
        ({"state": "dead", "is_probed": True, "is_compared": True}, "corral logs s"),
        ({"state": "unknown"}, "corral status --history s"),
        ({"state": "absent"}, "corral status --history s"),
    ],
)
def test_the_next_step_follows_from_what_is_known(known: dict[str, Any], command: str) -> None:
    assert next_step(NEW._replace(**known)).command == command


def test_every_state_has_a_next_step() -> None:
    assert {*WHEN_NOT_WELL, "provisioned", "serving", "stopped"} == set(get_args(State))


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return stubbed.a_plan(tmp_path_factory.mktemp("plan"))


@pytest.fixture
def deployment(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployment]:
    """What `serve` makes of plan.json, whose vLLM is the stub; whatever is left running is ended."""
    made = stubbed.a_deployment(plan, tmp_path, monkeypatch)
    stubbed.Patience(made, monkeypatch)
    monkeypatch.chdir(tmp_path)
    made.plan.write(tmp_path / "plan.json")
    yield made
    stubbed.kill(made)


@pytest.fixture
def measured(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """A probe says what it said of another server, and sends nothing."""
    load = {"concurrency": 64, "shape": "concurrency", "api": "completions"}
    load |= {"input_tokens": 750, "output_tokens": 250}
    found = PROBE.model_copy(update={"model": deployment.plan.serve.served_model_name, "load": load})

    def probe(target: object, load: object, workload: object, folder: Path, *_: object) -> object:
        found.write(folder / REPORT)
        return found

    monkeypatch.setattr("serving.probe.run.run", probe)


def said_next(capsys: pytest.CaptureFixture[str]) -> str:
    """The command of the last line of what was printed."""
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("Next: ")
    return "corral " + last.partition("corral ")[2]


@pytest.mark.usefixtures("measured")
def test_each_step_is_told_by_the_one_before_from_a_plan_to_nothing_left(
    deployment: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    """As somebody does who pastes each line that ends the last answer; `corral` alone knows the same."""
    load, name = deployment.plan.workload, deployment.name
    step, taken = "corral provision plan.json --target local", []
    while not step.startswith("corral down"):
        assert run(shlex.split(step)[1:]) == 0, step
        taken.append(step)
        step = said_next(capsys)
        assert step not in taken
        assert run([]) == 0
        alone = capsys.readouterr().out.splitlines()[-1].strip()
        # Nobody asked whether it serves still: who looks is told.
        assert alone.partition("  #")[0] == (step if "corral probe" not in step else f"corral status {name}")
        assert run(["status", name]) == 0
        assert said_next(capsys) == step
    assert [*taken, step] == [
        "corral provision plan.json --target local",
        f"corral serve {name}",
        f"corral probe {name} --concurrency {load.concurrency} --requests 200 --input-tokens {load.input_tokens} "
        f"--output-tokens {load.output_tokens}",
        f"corral compare {name} --price-per-hour 1",
        f"corral report {name}",
        f"corral down {name}",
    ]
    assert run(shlex.split(step)[1:]) == 0
    assert stubbed.members(deployment) == ()


def test_each_step_of_one_that_is_not_well_can_be_run(
    deployment: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["serve", "plan.json"]) == 0
    for pid in stubbed.members(deployment):
        os.kill(pid, signal.SIGKILL)
    stubbed.until(lambda: not stubbed.members(deployment))
    capsys.readouterr()
    assert run(["status", deployment.name]) == 7
    assert said_next(capsys) == f"corral logs {deployment.name}"
    for words in sorted({*WHEN_NOT_WELL.values()}):
        assert run([*words.split(), deployment.name]) == 0, words
    assert run(["down", deployment.name]) == 0


def test_nothing_of_it_is_in_json(deployment: Deployment, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["provision", "plan.json", "--target", "local", "--json"]) == 0
    assert "Next" not in "".join(capsys.readouterr())
    assert load(deployment.name).plan == deployment.plan


def test_a_sweep_of_which_no_step_was_served_is_no_measurement(tmp_path: Path) -> None:
    for verdict, sound in (("refused", False), ("limited_by_client", False), ("served", True)):
        a_sweep(a_point(verdict=verdict)).write(tmp_path / "sweep.json")
        assert is_sound(tmp_path) == sound
