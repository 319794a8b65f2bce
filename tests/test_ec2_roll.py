"""`corral roll` of rented replicas: one after the other, out of rotation and idle first, over Session Manager.

Nothing is rented, stopped or given another end; a box's server says how many requests are cut where it is ended early.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from fake_aws import FakeAws
from test_ec2_replicas import aws, corral, log, machines, plan
from test_ec2_several import Corral, commands, plan_on

from deploy.gateway import gateway, rotation
from deploy.releases import settling
from deploy.targets.deployment import folder
from deploy.targets.ec2 import boxes
from deploy.targets.place import Status
from infra.onhost import idle

__all__ = ["aws", "corral", "log", "plan"]


@pytest.fixture
def two(
    aws: FakeAws, log: Path, plan: list[str], corral: Corral, monkeypatch: pytest.MonkeyPatch
) -> tuple[str, str]:
    """Two replicas that serve."""
    monkeypatch.setattr(idle, "EVERY_S", 0.01)
    code, _, err = corral("up", *plan, "--replicas", "2")
    assert code == 0, err
    log.write_text("")
    first, second = machines(aws)
    return first, second


def told(log: Path) -> list[tuple[str, str]]:
    """Which box was told to end its server, or to start it."""
    orders = {"systemctl stop": "stop", "--no-block start": "start"}
    return [(box, order) for box, words in commands(log) for sign, order in orders.items() if sign in words]


def has(log: Path, box: str, requests: int) -> None:
    """A box's server has so many requests, of which one ends at each look."""
    path = log.parent / box / "requests"
    path.parent.mkdir(exist_ok=True)
    path.write_text(str(requests))


def rotation_of(name: str) -> dict[str, str]:
    return {each.name: each.state.split()[0] for each in rotation.in_front(gateway.folder(name))}


def launched(aws: FakeAws) -> int:
    return sum(call.operation == "RunInstances" and call.changes for call in aws.calls)


def test_the_first_that_does_not_start_ends_the_roll_and_the_same_again_goes_on(
    aws: FakeAws, log: Path, two: tuple[str, str], corral: Corral, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = two
    monkeypatch.setenv("FAKE_STRANGER", first)
    code, _, err = corral("roll", "t1")
    assert (code, err.splitlines()[-2:]) == (
        7,
        [
            f"error: The roll of t1 stopped at {first}: {first} did not start its server: Failed to start "
            f"corral-t1.service: Unit corral-t1.service is masked. {second}: as before.",
            "hint: Look: corral logs t1; the same command again goes on.",
        ],
    )
    assert told(log) == [(first, "stop"), (first, "start")]
    monkeypatch.delenv("FAKE_STRANGER")
    # A dry run says what the next one would do, and touches nothing.
    code, out, _ = corral("roll", "t1", "--dry-run", "--json")
    assert (
        code,
        [(each["name"], each["steps"], each["meanwhile"]) for each in json.loads(out)["replicas"]],
    ) == (
        0,
        [(box, ["wait", "restart", "canary"], "refused") for box in two],
    )
    assert len(told(log)) == 2
    code, out, err = corral("roll", "t1", "--json")
    assert (code, json.loads(out)["rolled"]) == (0, [first, second]), err
    assert (
        f"warning: No gateway gives {second} its requests: it finishes those it has, and refuses others"
        in err
    )
    assert Status.model_validate_json(corral("status", "t1", "--json")[1]).state == "serving"
    assert corral("down", "t1")[0] == 0
    assert aws.live() == []


def test_what_is_not_prepared_or_lost_ends_it_before_another_is_touched_and_nothing_is_rented(
    aws: FakeAws, log: Path, two: tuple[str, str], corral: Corral, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first, second), region, rented = two, aws.regions["us-east-1"], launched(aws)
    prepared, fetching = region.console, "corral: {name}: fetching the weights: 41 % of 61 GiB\n"
    notice = "interrupted by EC2: spot notice, ends at 08:22"
    for console, said in (
        (fetching, f"error: {first} is not prepared: fetching the weights: 41 % of 61 GiB.\nhint: Nothing was ended. "
                   "Wait until it serves: corral serve t1\n"),
        (f"{prepared}corral: {{name}}: {notice}\n", f"error: {first}: {notice}.\nhint: When it is gone, put another in "
                                                     "its place: corral serve t1\n"),
    ):  # fmt: skip
        region.console = console
        code, _, err = corral("roll", "t1")
        assert (code, err.endswith(said)) == (7, True), err
    region.console = prepared
    assert told(log) == []

    wait_ready = boxes.wait_ready

    def gone(*given: Any) -> None:
        (log.parent / first / "stopped").touch()
        region.terminate_instances(InstanceIds=[first])
        wait_ready(*given)

    monkeypatch.setattr(boxes, "wait_ready", gone)
    code, _, err = corral("roll", "t1")
    assert (code, err.splitlines()[-2]) == (
        7,
        f"error: The roll of t1 stopped at {first}: {first} is not there any more; another takes its place by: corral "
        f"serve t1. {second}: as before.",
    )
    assert told(log) == [(first, "stop"), (first, "start")]
    for more in ((), ("--dry-run",)):
        code, _, err = corral("roll", "t1", *more)
        assert (code, err.splitlines()[-2:]) == (
            12,
            [
                "error: Only 1 of the 2 machines of t1 run.",
                "hint: Nothing was ended. Have what is lost put back first: corral serve t1",
            ],
        )
    assert (len(told(log)), launched(aws)) == (2, rented)


def test_a_server_that_is_rented_alone_is_started_anew_by_one_corral_at_a_time(
    aws: FakeAws, log: Path, plan: list[str], corral: Corral
) -> None:
    assert corral("up", *plan)[0] == 0
    (box,) = machines(aws)
    log.write_text("")
    with settling.alone("t1"):  # another corral of this machine, which alone has its order
        for verb in ("roll", "serve"):
            assert corral(verb, "t1")[::2] == (
                2,
                "error: Another corral is upgrading t1 now.\nhint: See how far it is: corral status t1\n",
            )
    code, out, err = corral("roll", "t1", "--json")
    assert (code, json.loads(out)["rolled"]) == (0, [box]), err
    assert f"warning: No gateway gives {box} its requests" in err
    assert told(log) == [(box, "stop"), (box, "start")]
    assert sorted(path.name for path in folder("t1").iterdir() if "key" in path.name) == [f"api-key-{box}"]
    assert corral("stop", "t1")[0] == 0
    assert corral("roll", "t1")[::2] == (
        2, "error: t1 is stopped: there is nothing to roll.\nhint: Start it: corral serve t1\n",
    )  # fmt: skip
    assert corral("down", "t1")[0] == 0
    assert aws.live() == []


def test_one_server_over_two_machines_is_ended_on_both_before_it_joins_them_again(
    aws: FakeAws, log: Path, tmp_path: Path, corral: Corral, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FAKE_OWN_KEYS", raising=False)
    assert corral("up", *plan_on("2xp5.48xlarge", "maverick", "bf16", tmp_path, monkeypatch))[0] == 0
    first, second = machines(aws)
    before = len(commands(log))
    code, out, err = corral("roll", "t1", "--json")
    assert (code, json.loads(out)["rolled"]) == (0, [first]), err
    after = [
        (box, words.split("bin/")[-1].split()[0] if "bin/join" in words else "stop")
        for box, words in commands(log)[before:]
        if "bin/join" in words or "systemctl stop" in words
    ]
    assert after == [(first, "stop"), (second, "stop"), (first, "join"), (second, "join")]
