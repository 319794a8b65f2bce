"""Another release for rented servers: brought beside the one that serves, on the same machines, and served then.

EC2 is the strict fake; a box is made of the user data of its launch, its releases are turned by the real release.sh,
and its server starts by its unit alone, which refuses an engine that is not whole.
"""

import json
import os
import re
import signal
import threading
from pathlib import Path
from typing import Any

import fake_rented_box
import pytest
from fake_aws import FakeAws
from test_ec2_order import order, plan_on
from test_ec2_replicas import aws, corral, ends, front_of, log, lose, machines, plan
from test_ec2_roll import has, launched, rotation_of
from test_ec2_roll import told as orders
from test_ec2_several import Corral, commands

from deploy.cli.main import run
from deploy.releases import short_probe
from deploy.releases.release import Figures
from deploy.targets.deployment import Deployment, folder, load, make
from deploy.targets.ec2 import release_order, release_room
from deploy.targets.ec2.release_room import GIB, Room
from infra.aws import session
from infra.aws.order import Order
from infra.errors import UsageError
from infra.onhost import idle

__all__ = ["aws", "corral", "log", "plan"]

UPGRADE = ("--vllm-version", "0.32.0", "--yes")


@pytest.fixture
def booted(aws: FakeAws, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every box is made of what its launch tells it."""
    region = aws.regions["us-east-1"]
    launch = region.launch

    def launched(asked: dict[str, Any], index: int) -> str:
        key = launch(asked, index)
        fake_rented_box.boot(f"{log.parent}/{key}", asked["UserData"])
        return key

    monkeypatch.setattr(region, "launch", launched)
    monkeypatch.setattr(idle, "EVERY_S", 0.01)
    figures = Figures(output_tokens_per_s=100.0, requests=16, failed=0)
    monkeypatch.setattr(short_probe, "measured", lambda endpoint, most: figures)


@pytest.fixture
def two(booted: None, aws: FakeAws, log: Path, plan: list[str], corral: Corral) -> tuple[str, str]:
    """Two replicas that serve."""
    code, _, err = corral("up", *plan, "--replicas", "2")
    assert code == 0, err
    log.write_text("")
    first, second = machines(aws)
    return first, second


def rented(aws: FakeAws) -> tuple[object, ...]:
    """What no upgrade changes: the machines, their ends, the launches, the order."""
    schedules = json.dumps([*aws.schedulers["us-east-1"].schedules.values()], default=str)
    keys = [path.read_text() for path in sorted(folder("t1").glob("api-key*"))]
    return machines(aws), schedules, launched(aws), keys, (folder("t1") / "order.json").read_text()


def told(log: Path, *orders: str) -> list[tuple[str, str]]:
    """Which box was told to turn to a release, or to keep it, or what else is asked for."""
    said = [(box, re.search(r" release t1 (\w+) ", words)) for box, words in commands(log)]
    wanted = orders or ("turn", "keep", "back")
    return [(box, found[1]) for box, found in said if found and found[1] in wanted]


def serving(log: Path, box: str) -> str:
    """Which release the server of a box is of; nothing for that of its first boot."""
    path = log.parent / box / "serving"
    return path.read_text() if path.exists() else ""


@pytest.mark.usefixtures("has_haproxy")
def test_replicas_are_rolled_and_upgraded_without_a_lost_request_and_one_rented_anew_has_the_release(
    aws: FakeAws, log: Path, two: tuple[str, str], corral: Corral
) -> None:
    before, lost = rented(aws), list[int]()
    with front_of("t1") as door:
        assert door.key("good", requests_per_minute=100_000)
        over = threading.Event()

        def ask() -> None:
            while not over.is_set():
                if (status := door.ask("/v1/completions", {"prompt": "x"})[0]) != 200:
                    lost.append(status)

        asking = threading.Thread(target=ask)
        asking.start()
        for box in two:
            has(log, box, 7)
        anew = corral("roll", "t1", "--json")
        ended = orders(log)
        for box in two:
            has(log, box, 7)
        code, out, err = corral("roll", "t1", *UPGRADE, "--json")
        over.set()
        asking.join(60)
        assert code == 0, err
        assert (rotation_of("t1"), lost) == (dict.fromkeys(two, "UP"), [])
    first, second = two
    assert ended == [(first, "stop"), (first, "start"), (second, "stop"), (second, "start")]
    said = json.loads(anew[1])
    assert (anew[0], said["rolled"], said["skipped"], said["release"]) == (0, [*two], [], said["previous"])
    for steps, stops in ((anew[2], ()), (err, ("upgrade: the canary", "upgrade: a short probe of it"))):
        lines = [
            line
            for line in steps.splitlines()
            if line.startswith(("roll: ", "gateway: ", "upgrade: the", "upgrade: a short probe of it"))
        ]
        assert lines == [
            line
            for box in two
            for line in (
                f"roll: {box}",
                f"gateway: {box} gets no new requests",
                *(stops or ("roll: the canary",)),
                f"gateway: {box} gets requests again",
            )
        ]
    said, new = json.loads(out), load("t1").release
    assert (said["rolled"], said["release"], load("t1").plan.vllm_version) == ([*two], new, "0.32.0")
    assert rented(aws) == before
    assert told(log) == [(first, "turn"), (first, "keep"), (second, "turn"), (second, "keep")]
    assert [serving(log, box) for box in two] == [new, new]
    kept = (log.parent / first / "etc/systemd/system/corral-t1.prepare.service").read_text()
    assert f"ExecStart=/opt/corral/.releases/t1/{new}/bin/prepare\n" in kept  # at a boot, too
    assert "InaccessiblePaths" not in kept
    # The weights are those that are there.
    model = log.parent / first / f"opt/corral/.releases/t1/{new}/model"
    assert model.resolve() == (log.parent / first / "opt/corral/t1/model").resolve()
    status = json.loads(corral("status", "t1", "--json")[1])
    assert [each["release"] for each in status["endpoints"]] == [new, new]

    lose(aws, first)
    code, _, err = corral("serve", "t1")
    assert code == 0, err
    (third,) = machines(aws).keys() - {second}
    assert ends(aws) >= {second, third}
    asked = [call.parameters for call in aws.calls if call.operation == "RunInstances" and call.changes]
    assert ["vllm==0.32.0" in each["UserData"] for each in (asked[0], asked[-1])] == [False, True]
    assert asked[0]["ClientToken"] != asked[-1]["ClientToken"]
    now = Order.read(folder("t1") / "order.json")
    assert (now.user_data, now.order_id) == (
        asked[-1]["UserData"], Order.model_validate_json(str(before[-1])).order_id,
    )  # fmt: skip
    # It has that release from its first boot: nothing is left to do.
    log.write_text("")
    code, out, err = corral("roll", "t1", *UPGRADE, "--json")
    said = json.loads(out)
    assert (code, said["rolled"], sorted(said["skipped"]), told(log)) == (
        0,
        [],
        sorted((second, third)),
        [],
    ), err
    assert corral("down", "t1")[0] == 0
    assert aws.live() == []


def test_the_first_that_is_no_good_is_turned_back_and_what_has_no_room_is_not_brought(
    aws: FakeAws, log: Path, two: tuple[str, str], corral: Corral, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, (first, second) = rented(aws), two
    code, out, err = corral("roll", "t1", *UPGRADE[:2], "--dry-run", "--json")
    assert code == 0, err
    seen = json.loads(out)
    assert (seen["changes"], [each["steps"] for each in seen["replicas"]]) == (
        ["vllm_version: 0.33.0 -> 0.32.0"],
        [["wait", "upgrade", "canary", "probe"]] * 2,
    )
    assert (told(log, "note", "room"), load("t1").release) == ([], "")
    old, new = seen["previous"], seen["release"]

    (log.parent / second / f"broken-{new}").touch()
    code, _, err = corral("roll", "t1", *UPGRADE)
    assert (code, err.splitlines()[-2:]) == (7, [
        f"error: The roll of t1 stopped at {second}: The canary's answer is garbage: it says nothing. It is turned "
        f"back to {old} and serves. {first}: at {new}.",
        f"hint: Look: corral logs t1; the same command again goes on; all back to {old}: corral roll t1.",
    ])  # fmt: skip
    assert ([serving(log, box) for box in two], load("t1").release) == ([new, ""], old)
    assert (
        f"{first} starts another release than the accepted one: corral roll t1" in corral("status", "t1")[1]
    )
    (log.parent / second / f"broken-{new}").unlink()
    log.write_text("")
    code, out, err = corral("roll", "t1", *UPGRADE, "--json")
    assert (code, json.loads(out)["rolled"], json.loads(out)["skipped"]) == (0, [second], [first]), err
    assert ([serving(log, box) for box in two], load("t1").release) == ([new, new], new)
    assert told(log) == [(second, "turn"), (second, "keep")]

    third = ("--vllm-version", "0.31.0", "--yes")
    monkeypatch.setenv("FAKE_NO_ENGINE", "vllm==0.31.0")
    code, _, err = corral("roll", "t1", *third)
    assert (code, err.splitlines()[-2].rpartition("release ")[2]) == (
        7, f"{err.splitlines()[-2].rpartition('release ')[2][:12]}: failed: engine, line 104.",
    )  # fmt: skip
    df = log.parent / "box/df"
    df.write_text("#!/bin/sh\necho Avail\necho 1073741824\n")
    df.chmod(0o755)
    log.write_text("")
    code, _, err = corral("roll", "t1", *third)
    assert "1.0 GiB free on the root volume" in err.splitlines()[-2]
    assert (told(log, "note", "room", "turn"), rented(aws)) == ([], before)
    assert code != 0
    df.unlink()

    code, _, err = corral("upgrade", "t1", "--engine", "/x", "--yes")
    assert (code, err.splitlines()[-2]) == (
        2,
        "error: A rented machine is brought no engine from here: it installs the next one from the package index.",
    )
    code, _, err = corral("upgrade", "t1", "--rollback")
    assert code == 0, err
    assert ([serving(log, box) for box in two], load("t1").release) == (["", ""], old)
    assert rented(aws) == before
    assert corral("down", "t1")[0] == 0
    assert aws.live() == []


def killed(box: str, step: str) -> None:
    """Roll in a fork of this process that is killed just before that box is told that."""
    child = os.fork()
    if child == 0:
        try:
            tell = session.run

            def dying(instance_id: str, region: str, words: str, *more: Any) -> session.Answer:
                if instance_id == box and re.search(rf" release t1 {step} ", words):
                    os.kill(os.getpid(), signal.SIGKILL)
                return tell(instance_id, region, words, *more)

            setattr(session, "run", dying)  # noqa: B010
            run(["roll", "t1", *UPGRADE])
        finally:
            os._exit(0)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1]), step


def test_killed_at_each_step_every_replica_has_one_of_the_two_and_the_same_again_goes_on(
    aws: FakeAws, log: Path, two: tuple[str, str], corral: Corral
) -> None:
    before, (first, second) = rented(aws), two
    killed(second, "room")
    assert ([serving(log, each) for each in two], told(log)) == (["", ""], [])
    killed(first, "keep")
    new = serving(log, first)
    status = json.loads(corral("status", "t1", "--json")[1])
    assert [each["release"] for each in status["endpoints"]] == [f"{new} on trial", status["release"]]
    code, _, err = corral("serve", "t1")
    assert (code, [serving(log, box) for box in two]) == (0, ["", ""]), err
    assert f"{first}: ending release {new}, whose trial was cut short" in err
    killed(second, "turn")
    assert ([serving(log, box) for box in two], load("t1").plan.vllm_version) == ([new, ""], "0.33.0")
    code, out, err = corral("roll", "t1", *UPGRADE, "--json")
    assert (code, json.loads(out)["rolled"], json.loads(out)["skipped"]) == (0, [second], [first]), err
    assert ([serving(log, box) for box in two], load("t1").release) == ([new, new], new)
    assert rented(aws) == before


# --- what is told, and what there is room for


@pytest.fixture
def deployment() -> Deployment:
    return make(plan_on("g5.12xlarge"), "ec2", "t1")


@pytest.mark.parametrize(
    "options",
    [
        {"hf_token_parameter": "/hf/token"},
        {"weights": "s3://bucket/scout/", "engine": "s3://bucket/engine.tar", "ttl": "30m", "idle": "never"},
        {"cidr": "10.0.0.0/8", "open_to_the_world": True, "purchases": ("spot", "on-demand"), "replicas": 3},
        {"weights": "/srv/model", "regions": ("us-west-2", "us-east-1")},
    ],
)
def test_an_order_says_all_that_its_machines_were_told(
    deployment: Deployment, options: dict[str, Any]
) -> None:
    made = order(deployment, **options)
    assert release_order.order_of_release(deployment, made) == made
    later = deployment.model_copy(
        update={"release": "0" * 12, "plan": deployment.plan.model_copy(update={"vllm_version": "0.32.0"})}
    )
    changed = release_order.accepted(later, made)
    assert changed.model_copy(update={"user_data": made.user_data}) == made
    assert "ENGINE_REQUIREMENT=vllm==0.32.0\n" in changed.user_data
    assert release_order.accepted(deployment, made) == made


def test_what_its_machines_cannot_serve_is_refused(deployment: Deployment) -> None:
    stored = order(deployment, weights="s3://bucket/scout/", engine="s3://bucket/engine.tar")
    serve = deployment.plan.serve.model_copy(update={"revision": "1" * 40})
    other = deployment.model_copy(update={"plan": deployment.plan.model_copy(update={"serve": serve})})
    with pytest.raises(UsageError, match="read the weights of .* from s3://bucket/scout/, and no others"):
        release_order.refuse_unlike(deployment, other, stored)
    release_order.refuse_unlike(deployment, other, order(deployment))
    with pytest.raises(UsageError, match="packed, from s3://bucket/engine.tar, and no other version"):
        release_order.refuse_another_engine(deployment, stored)
    machine = deployment.plan.machine.model_copy(update={"gpu_count": 8, "name": "g5.48xlarge"})
    larger = deployment.model_copy(update={"plan": deployment.plan.model_copy(update={"machine": machine})})
    with pytest.raises(UsageError, match="The plan is for g5.48xlarge; t1 has g5.12xlarge"):
        release_order.refuse_unlike(deployment, larger, order(deployment))
    with pytest.raises(UsageError, match="one server over several machines"):
        release_order.refuse_unlike(deployment, deployment, stored.model_copy(update={"nodes": 2}))


@pytest.mark.parametrize(
    ("room", "outcome", "words"),
    [
        (Room(root=100 * GIB), "ok", "100.0 GiB free on the root volume, 72.4 needed"),
        (Room(root=60 * GIB), "failed", "60.0 GiB free on the root volume, 72.4 needed"),
        (
            Room(root=1, has_engine=True, has_weights=True),
            "ok",
            "0.0 GiB free on the root volume, 0.0 needed",
        ),
        (Room(root=60 * GIB, has_weights=True), "ok", "60.0 GiB free on the root volume, "),
        (Room(root=60 * GIB, nvme=100 * GIB), "ok", "100.0 GiB free on its own NVMe, "),
        (
            Room(root=60 * GIB, nvme=50 * GIB),
            "failed",
            "a stop empties that, and `serve` fetches the weights",
        ),
        (Room(root=60 * GIB, nvme=50 * GIB, begun=40 * GIB), "ok", "50.0 GiB free on its own NVMe, "),
    ],
)
def test_there_is_room_for_two_or_nothing_is_brought(
    deployment: Deployment, room: Room, outcome: str, words: str
) -> None:
    setup = release_order.setup_of(deployment, order(deployment))
    found = release_room.judged(deployment, "i-1", room, setup)
    assert (found.outcome, words in found.found, bool(found.fix)) == (outcome, True, outcome == "failed"), (
        found
    )
