"""Rented machines from `up` to `down`: one server over two of them, and a spot machine that EC2 takes back.

EC2 is the strict fake with its own clock; Session Manager is a real `aws` process, behind which a fake box answers.
"""

import json
import os
import random
import shlex
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import fake_aws_cli
import pytest
from fake_aws import FakeAws
from renting import door, fresh
from stubbed import until as ended

from deploy.cli.main import run
from deploy.keep_open import keep
from deploy.targets.deployment import folder, load
from deploy.targets.ec2 import boxes, documents, judged_start
from deploy.targets.place import Status
from infra import host as hosts
from infra.aws.session import Tunnel
from infra.ports import is_free
from infra.processes import is_alive
from infra.say import progress
from serving.sizing.size import answer_for
from serving.sizing.size_options import Options
from serving.vllm.endpoint import Endpoint

Corral = Callable[..., tuple[int, str, str]]


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> FakeAws:
    """An account with room for P5, which corral talks to."""
    aws, clock = fresh()
    clock.now_s = float(int(time.time()))  # that of the orders, which are placed here
    aws.quotas |= {"L-417A185B": 1000.0, "by name": 1000.0}
    region = aws.regions["us-east-1"]
    region.vcpu_limit, region.public_subnets = 1000, False
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.setattr(
        documents, "aws_for", lambda name: replace(door(aws, clock, folder(name)), say=progress)
    )
    return aws


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tunnels: None) -> Path:
    """How Session Manager was called: a line a call."""
    tools = fake_aws_cli.installed(tmp_path)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_AWS_LOG", str(tmp_path / "aws.log"))
    monkeypatch.setenv("FAKE_UNIT", "active")
    return tmp_path / "aws.log"


@pytest.fixture
def corral(capsys: pytest.CaptureFixture[str]) -> Corral:
    """Run a command: its exit code, and what it said."""

    def call(*arguments: str) -> tuple[int, str, str]:
        code = run(list(arguments))
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def plan_on(
    machine: str, model: str, precision: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """The arguments that rent for a plan."""
    plan = answer_for(model, precision, machine, Options())
    plan = plan.model_copy(update={"serve": plan.serve.model_copy(update={"port": port_for_a_tunnel()})})
    monkeypatch.setenv("FAKE_MODEL", plan.serve.served_model_name)
    plan.write(folder / "plan.json")
    token = ["--hf-token-parameter", "/hf/token"]
    return [str(folder / "plan.json"), "--target", "ec2", "--name", "t1", "--yes", *token]


def port_for_a_tunnel() -> int:
    """Free, and left free meanwhile: below those that the system gives to connections, and nobody else's by chance."""
    return next(port for port in iter(lambda: random.randrange(20_000, 32_000), None) if is_free(port))


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return plan_on("2xp5.48xlarge", "maverick", "bf16", tmp_path, monkeypatch)


@pytest.fixture
def one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return [*plan_on("g5.12xlarge", "scout", "int4", tmp_path, monkeypatch), "--purchase", "spot"]


BROUGHT = f" && sudo systemctl daemon-reload; }} || exit {judged_start.NOT_BROUGHT}; "


def commands(log: Path) -> list[tuple[str, str]]:
    """Which box was told what, after what it was brought with that."""
    calls = [json.loads(line) for line in log.read_text().splitlines()]
    said = [(call[call.index("--target") + 1], json.loads(call[-1])) for call in calls]
    return [
        (target, shlex.split(parameters["command"][0])[4].rpartition(BROUGHT)[2])
        for target, parameters in said
        if "command" in parameters
    ]


def test_two_machines_serve_as_one(aws: FakeAws, log: Path, two: list[str], corral: Corral) -> None:
    code, out, err = corral("up", *two, "--json")
    assert code == 0, err
    assert "warning  network us-east-1: one server over rented machines: derived from owned hosts" in err
    rows = aws.regions["us-east-1"].instances
    first, second = rows
    addresses = f"{rows[first]['address']} {rows[second]['address']}"
    join = "sudo /opt/corral/t1/bin/join"
    joined = [(box, words) for box, words in commands(log) if "bin/join" in words]
    assert joined == [(first, f"{join} 0 {addresses}"), (second, f"{join} 1 {addresses}")]
    endpoint = json.loads(out)
    tunnels = [line for line in log.read_text().splitlines() if "localPortNumber" in line]
    assert len(tunnels) == 1
    assert endpoint["base_url"].rpartition(":")[2] in tunnels[0]
    assert first in tunnels[0]
    assert endpoint["api_key_file"].endswith(f"api-key-{first}")

    status = json.loads(corral("status", "t1", "--json")[1])
    assert (status["state"], status["endpoint"]) == ("serving", endpoint)
    assert f"{second}: serving, {second}, on-demand p5.48xlarge in us-east-1a: works for the first" in str(
        status
    )
    lines = corral("logs", "t1")[1].splitlines()
    assert [line for line in lines if "a line" in line] == [f"{id}: a line of the log" for id in rows]
    assert corral("extend", "t1", "2d")[0] == 0
    told = [(box, words) for box, words in commands(log) if "bin/extend" in words]
    assert told == [(id, "sudo /opt/corral/t1/bin/extend 2880") for id in rows]

    # Less than it has is refused, and nobody is told; unless that is meant.
    until = json.loads(corral("status", "t1", "--json")[1])["expires_at"]
    code, _, err = corral("extend", "t1", "9h")
    assert (code, err.splitlines()) == (
        2,
        [
            f"error: t1 lives until {until} already: later than 540 minutes from now.",
            "hint: Name a longer time; or to end it earlier: corral extend t1 --shorten 540m",
        ],
    )
    assert json.loads(corral("status", "t1", "--json")[1])["expires_at"] == until
    assert len([words for _, words in commands(log) if "bin/extend" in words]) == len(rows)
    assert corral("extend", "t1", "540m", "--shorten")[0] == 0
    assert json.loads(corral("status", "t1", "--json")[1])["expires_at"] < until

    # Asked again, each is told its rank again, and nothing more is rented.
    assert corral("serve", "t1", "--json")[:2] == (0, out)
    assert [(box, words) for box, words in commands(log) if "bin/join" in words] == joined * 2
    assert len(rows) == 2
    assert corral("down", "t1")[0] == 0
    assert aws.live() == []


def test_a_box_that_fetches_says_how_far_it_is(
    aws: FakeAws, log: Path, one: list[str], corral: Corral
) -> None:
    region = aws.regions["us-east-1"]
    assert corral("provision", *one)[0] == 0
    region.console = "corral: {name}: fetching the weights: 41 % of 61 GiB\r\n"
    aws.clock.sleep(300)
    (instance,) = region.instances
    box = f"{instance}, spot g5.12xlarge in us-east-1a"
    code, out, _ = corral("status", "t1", "--json")
    status = Status.model_validate_json(out)
    assert (code, status.state) == (0, "starting")
    assert status.detail == f"{box}: fetching the weights: 41 % of 61 GiB (6 of at most 41 minutes)"
    region.console = "corral: {name}: failed: weights, line 9\r\n"
    status = Status.model_validate_json(corral("status", "t1", "--json")[1])
    assert (status.state, status.detail) == ("dead", f"{box}: failed: weights, line 9")


def test_a_machine_that_takes_no_rank_is_named(
    aws: FakeAws, log: Path, two: list[str], corral: Corral, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert corral("provision", *two)[0] == 0
    rows = aws.regions["us-east-1"].instances
    first, second = rows
    monkeypatch.setenv("FAKE_STRANGER", second)
    code, _, err = corral("serve", "t1")
    address = rows[second]["address"]
    assert code == 7
    assert (
        f"error: {second} took no rank: corral: t1: not joined: no interface here has the address {address}"
        in err
    )
    assert "it still costs: corral down t1" in err

    rows[second]["address"] = "10.0.0.9; reboot"
    before = len(commands(log))
    code, _, err = corral("serve", "t1")
    assert (code, len(commands(log))) == (11, before), err
    assert "'10.0.0.9; reboot' is no address that a host can have" in err


@pytest.mark.parametrize(
    ("unit", "state", "detail"),
    [("inactive", "provisioned", "start it: corral serve t1"), ("failed", "dead", "its unit has failed")],
)
def test_what_systemd_says_on_each_machine_is_the_status(
    unit: str,
    state: str,
    detail: str,
    aws: FakeAws,
    log: Path,
    two: list[str],
    corral: Corral,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert corral("provision", *two)[0] == 0
    monkeypatch.setenv("FAKE_UNIT", unit)
    status = json.loads(corral("status", "t1", "--json")[1])
    assert (status["state"], status["endpoint"], status["detail"].count(detail)) == (state, None, 2)


def test_a_server_that_lost_a_machine_is_dead_and_up_makes_all_anew(
    aws: FakeAws, log: Path, two: list[str], corral: Corral
) -> None:
    assert corral("up", *two)[0] == 0
    region = aws.regions["us-east-1"]
    first, second = region.instances
    region.terminate_instances(InstanceIds=[second])
    aws.clock.sleep(60)
    status = json.loads(corral("status", "t1", "--json")[1])
    assert status["state"] == "dead"
    assert "missing: dead, 1 of 2 machines ended. When it is gone, rent anew" in status["detail"]
    code, _, err = corral("serve", "t1")
    assert (code, "Only 1 of the 2 machines of t1 run." in err) == (12, True)
    code, _, err = corral("up", *two)
    assert code == 0, err
    aws.clock.sleep(60)
    alive = [id for id, row in region.instances.items() if row["ended"] is None]
    assert len(alive) == 2
    assert not {first, second} & set(alive)
    assert corral("down", "t1")[0] == 0
    assert aws.live() == []


@pytest.mark.parametrize("verb", ["up", "serve"])
def test_ctrl_c_while_the_server_is_waited_for_says_what_still_costs(
    aws: FakeAws,
    log: Path,
    one: list[str],
    corral: Corral,
    verb: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    region = aws.regions["us-east-1"]
    region.console = "corral: {name}: fetching the weights\n"
    assert corral("provision", *one)[0] == 0
    began, sleep = aws.clock(), aws.clock.sleep

    def interrupted(seconds: float) -> None:
        sleep(seconds)
        if aws.clock() > began + 100:
            raise KeyboardInterrupt

    monkeypatch.setattr(aws.clock, "sleep", interrupted)
    code, _, err = corral(*(["up", *one] if verb == "up" else ["serve", "t1"]))
    (machine,) = region.instances
    assert (code, err.splitlines()[-2:]) == (
        130,
        [
            "error: Interrupted while waiting for t1. Its machine is still rented at 5.672 USD per hour, until "
            f"{end_of(aws)} at the latest.",
            "hint: Go on: corral serve t1; take it away: corral down t1",
        ],
    )
    waited = [line for line in err.splitlines() if "fetching the weights" in line]
    said = f"serve: {machine}: fetching the weights"
    assert waited == [f"{said} ({minutes} of at most 41 minutes)" for minutes in (0, 0, 1, 2)]
    assert any(name.startswith("instance") for name in aws.live())


def end_of(aws: FakeAws) -> str:
    """When the only machine ends itself, as its tag says."""
    (machine,) = aws.regions["us-east-1"].instances.values()
    return next(str(tag["Value"]) for tag in machine["Tags"] if tag["Key"] == "corral:expires-at")


def test_a_tunnel_that_ended_is_opened_again_where_it_was(
    aws: FakeAws, log: Path, one: list[str], corral: Corral
) -> None:
    """Session Manager ends one that is idle for 20 minutes, and any after about an hour."""
    endpoint = Endpoint.model_validate_json(corral("up", *one, "--json")[1])

    def end_the_tunnel(seconds: float = 0) -> None:
        holder = Tunnel.read(folder("t1") / "tunnel.json").holder
        os.killpg(holder.pid, signal.SIGKILL)
        while is_alive(holder):
            time.sleep(0.01)

    end_the_tunnel()
    status = Status.model_validate_json(corral("status", "t1", "--json")[1])
    assert (status.state, status.endpoint) == ("serving", endpoint)
    rounds = iter((end_the_tunnel, end_the_tunnel, interrupted))
    opened: list[Endpoint] = []
    with pytest.raises(KeyboardInterrupt):
        keep(load("t1"), opened.append, progress, lambda seconds: next(rounds)(seconds))
    assert opened == [endpoint]
    assert log.read_text().count("localPortNumber") == 4
    assert corral("down", "t1")[0] == 0


def interrupted(seconds: float) -> None:
    raise KeyboardInterrupt


def test_a_shell_on_the_box_is_a_session_with_it(
    aws: FakeAws, log: Path, one: list[str], corral: Corral, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert corral("provision", *one)[0] == 0
    ran: list[tuple[str, ...]] = []
    monkeypatch.setattr(os, "execvp", lambda program, words: ran.append((program, *words)))
    assert corral("ssh", "t1")[0] == 0
    (machine,) = aws.regions["us-east-1"].instances
    session = ("aws", "ssm", "start-session", "--region", "us-east-1", "--target", machine)
    assert ran == [("aws", *session)]


# --- stopped and started


@pytest.fixture
def kept(one: list[str]) -> list[str]:
    """The arguments that rent what can be stopped."""
    return one[:-2]


def told_ends(log: Path) -> list[str]:
    """What the boxes were told of their end, in order."""
    return [words.split("/")[-1] for _, words in commands(log) if "bin/extend" in words]


def test_a_machine_is_stopped_costs_its_volume_and_is_started_again(
    aws: FakeAws, log: Path, kept: list[str], corral: Corral
) -> None:
    assert corral("up", *kept, "--ttl", "8h")[0] == 0
    region = aws.regions["us-east-1"]
    ((key, row),) = region.instances.items()
    held = Tunnel.read(folder("t1") / "tunnel.json").holder
    code, out, _ = corral("stop", "t1", "--json")
    status = Status.model_validate_json(out)
    ends = status.expires_at
    assert (code, status.state, status.endpoint) == (0, "stopped", None)
    assert status.detail == (
        f"{key}, on-demand g5.12xlarge in us-east-1a: stopped; its 150 GiB of volumes still cost 27.00 USD a month "
        f"(AWS EBS and VPC pricing as quoted by others, unverified, 2026-11-28) until {ends}, when it ends; "
        "start it: corral serve t1"
    )
    assert not (folder("t1") / "tunnel.json").exists()
    ended(lambda: not is_alive(held))
    assert corral("status", "t1")[0] == 0
    assert corral("stop", "t1")[0] == 0

    # What needs it to run says how it is started.
    for verb in ("logs", "ssh", "connect"):
        code, _, err = corral(verb, "t1")
        assert (code, err.splitlines()[-2:]) == (
            12,
            ["error: No machine of t1 runs.", "hint: It is stopped; start it: corral serve t1"],
        )

    cost = status.usd_so_far
    aws.clock.sleep(3600)
    assert Status.model_validate_json(corral("status", "t1", "--json")[1]).usd_so_far == cost
    assert told_ends(log) == []
    code, out, err = corral("serve", "t1", "--json")
    assert code == 0, err
    assert json.loads(out)["base_url"].startswith("http://127.0.0.1:")
    # Its own timer went with the stop, and is set anew.
    assert ends is not None
    (told,) = told_ends(log)
    left_s = datetime.fromisoformat(ends).timestamp() - aws.clock()
    assert float(told.removeprefix("extend ")) == pytest.approx(left_s / 60, abs=1)
    assert (list(region.instances), region.state(row)) == ([key], "running")
    status = Status.model_validate_json(corral("status", "t1", "--json")[1])
    assert (status.state, status.expires_at) == ("serving", ends)
    assert status.usd_so_far is not None
    assert cost is not None
    assert status.usd_so_far > cost
    assert corral("stop", "t1")[0] == 0
    assert corral("down", "t1")[0] == 0
    assert aws.live() == []


def test_up_starts_what_is_stopped_and_says_its_later_end(
    aws: FakeAws, log: Path, kept: list[str], corral: Corral
) -> None:
    assert corral("up", *kept, "--ttl", "8h")[0] == 0
    region = aws.regions["us-east-1"]
    (key,) = region.instances
    assert corral("stop", "t1")[0] == 0
    code, out, _ = corral("extend", "t1", "2d", "--json")
    assert (code, told_ends(log)) == (0, [])
    aws.clock.sleep(24 * 3600)
    code, _, err = corral("serve", "t1")
    assert code == 0, err
    assert (list(region.instances), told_ends(log)) == ([key], ["extend 1439"])
    status = Status.model_validate_json(corral("status", "t1", "--json")[1])
    assert (status.state, status.expires_at) == ("serving", json.loads(out)["expires_at"])
    assert corral("down", "t1")[0] == 0


def test_up_again_starts_the_same_machine(
    aws: FakeAws, log: Path, kept: list[str], corral: Corral, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert corral("up", *kept)[0] == 0
    region = aws.regions["us-east-1"]
    (key,) = region.instances
    assert corral("stop", "t1")[0] == 0
    code, _, err = corral("up", *kept)
    assert code == 0, err
    assert f"stopped: {key}: started again\n" in err
    assert list(region.instances) == [key]


def test_a_box_that_cannot_be_told_its_end_is_named(
    aws: FakeAws, log: Path, kept: list[str], corral: Corral, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert corral("up", *kept)[0] == 0
    (key,) = aws.regions["us-east-1"].instances
    assert corral("stop", "t1")[0] == 0
    monkeypatch.setenv("FAKE_STRANGER", key)
    monkeypatch.setattr(boxes, "TOLD_WITHIN_S", 3 * boxes.POLL_S)
    code, _, err = corral("serve", "t1")
    error, hint = err.splitlines()[-2:]
    assert (code, error) == (
        11,
        f"error: {key} did not move its own end: Failed to set wall message, ignoring: Access denied.",
    )
    assert hint.startswith("hint: It ends itself soon unless it is told: corral extend t1 ")
    monkeypatch.delenv("FAKE_STRANGER")
    # It runs by now, and is told all the same.
    assert corral("serve", "t1")[0] == 0
    assert len(told_ends(log)) > 1


def test_where_there_is_no_room_serve_says_so(
    aws: FakeAws, log: Path, kept: list[str], corral: Corral
) -> None:
    assert corral("up", *kept)[0] == 0
    region = aws.regions["us-east-1"]
    assert corral("stop", "t1")[0] == 0
    region.no_capacity = {("on-demand", "g5.12xlarge", "us-east-1a")}
    code, _, err = corral("serve", "t1")
    assert (code, "stays stopped." in err) == (6, True)
    assert json.loads(corral("status", "t1", "--json")[1])["state"] == "stopped"


def test_a_spot_machine_is_not_stopped(aws: FakeAws, log: Path, one: list[str], corral: Corral) -> None:
    assert corral("up", *one)[0] == 0
    code, _, err = corral("stop", "t1")
    assert code == 2
    assert err.splitlines()[-2] == "error: A one-time spot machine cannot be stopped: EC2 only ends it."
    assert json.loads(corral("status", "t1", "--json")[1])["state"] == "serving"


def test_an_interrupted_stop_says_that_it_goes_on(
    aws: FakeAws, log: Path, kept: list[str], corral: Corral, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert corral("up", *kept)[0] == 0

    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(aws.clock, "sleep", interrupted)
    code, _, err = corral("stop", "t1")
    assert (code, err.splitlines()[-2:]) == (
        130,
        [
            "error: Interrupted while t1 stops: what EC2 was asked for, it goes on with.",
            "hint: See how it is: corral status t1; again: corral stop t1",
        ],
    )


LOCKED_OUT = "failed: start: the egress lock cannot be loaded"
WORDS = "interrupted by EC2: spot notice, ends at 2026-11-26T08:22:00Z"


def test_a_spot_machine_that_ec2_takes_back_is_told_and_replaced(
    aws: FakeAws, log: Path, one: list[str], corral: Corral
) -> None:
    assert corral("up", *one)[0] == 0
    region = aws.regions["us-east-1"]
    (first,) = region.instances
    prepared, region.console = region.console, f"{region.console}[99.1] corral: {{name}}: {WORDS}\r\n"
    code, out, _ = corral("status", "t1", "--json")
    status = json.loads(out)
    assert (code, status["state"], status["endpoint"]) == (7, "interrupted", None)
    rent = "rent anew with the same options: corral up plan.json --target ec2 --name t1"
    assert status["detail"] == (f"{first}, spot g5.12xlarge in us-east-1a: {WORDS}. When it is gone, {rent}")
    # While it still runs it is no machine to serve on.
    code, _, err = corral("up", *one)
    assert (code, f"error: {first}: {WORDS}.\n" in err, rent in err) == (7, True, True)

    region.take_back(first)
    aws.clock.sleep(60)
    status = json.loads(corral("status", "t1", "--json")[1])
    assert (status["state"], rent in status["detail"]) == ("interrupted", True)
    assert status["detail"].startswith("interrupted by EC2: its machine was taken back")
    region.console = prepared
    assert corral("up", *one)[0] == 0
    assert [id for id, row in region.instances.items() if row["ended"] is None] != [first]

    # The request of the machine that runs is cancelled with it; the other was closed by EC2.
    assert sorted(row["State"] for row in region.spot_requests.values()) == ["active", "closed"]
    assert corral("down", "t1")[0] == 0
    assert sorted(row["State"] for row in region.spot_requests.values()) == ["cancelled", "closed"]
    assert aws.live() == []


@pytest.mark.parametrize(
    ("words", "said", "step"),
    [
        (WORDS, WORDS, "rent anew"),
        (LOCKED_OUT, LOCKED_OUT, "corral logs t1"),
        (
            "failed: start: gave up",
            "failed: start: gave up: a GPU ran out of memory (CUDA out",
            "corral logs t1",
        ),
    ],
    ids=["taken back", "no lock", "gave up"],
)
def test_what_a_box_says_while_its_server_loads_ends_the_wait(
    words: str,
    said: str,
    step: str,
    aws: FakeAws,
    log: Path,
    one: list[str],
    corral: Corral,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FAKE_MODEL", "another, so it is never ready")
    region = aws.regions["us-east-1"]
    asked, prepared_at = region.get_console_output, list[float]()

    def console(**parameters: Any) -> dict[str, Any]:
        if "gave up" in words:
            on_the_box(log, parameters["InstanceId"], "gave-up").touch()
            on_the_box(log, parameters["InstanceId"], "first-death.log").write_text(OOM)
        late = f"corral: t1: {words}\n" if prepared_at else ""
        prepared_at.append(aws.clock())
        return {"Output": asked(**parameters)["Output"] + late}

    monkeypatch.setattr(region, "get_console_output", console)
    code, _, err = corral("up", *one)
    assert (code, said in err, step in err) == (7, True, True), err
    assert [at - prepared_at[0] for at in prepared_at] == [0, 15]


# --- the judge beside the server


GAVE_UP = (
    "gave up after 3 starts that did not get ready, without an hour of service between; the first: it ended with "
    "exit code 1"
)
OOM = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB\n"


def on_the_box(log: Path, box: str, name: str) -> Path:
    """A file of the deployment's folder on a box."""
    path = log.parent / box / "opt/corral/t1" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def test_a_box_is_brought_its_judge_and_then_its_server_is_started(
    aws: FakeAws, log: Path, one: list[str], corral: Corral
) -> None:
    code, _, err = corral("up", *one)
    assert code == 0, err
    (box,) = aws.regions["us-east-1"].instances
    there = log.parent / box
    folder_there, units = "opt/corral/t1/bin", "etc/systemd/system"
    programs = {f"{folder_there}/{name}": 0o755 for name in ("heal", "judging", "watch")}
    others = [
        *(f"{folder_there}/{name}.py" for name in ("codes", "history", "judge", "marks", "sums", "xid")),
        "opt/corral/t1/xids",
        *(f"{units}/corral-t1.{name}.service" for name in ("judge", "watch")),
        "opt/corral/t1/gpus",
        f"{units}/corral-t1.watch.timer",
        f"{units}/corral-t1.service.d/judge.conf",
    ]
    found = {
        str(path.relative_to(there)): path.stat().st_mode & 0o777
        for path in there.rglob("*")
        if path.is_file()
    }
    assert found == programs | dict.fromkeys(others, 0o644)
    # A rented box whose judge asks every half minute would never be idle.
    asked = '"--asked" "/run/corral-t1.judge/asked"'
    assert asked in (there / units / "corral-t1.judge.service").read_text()
    assert asked in (there / units / "corral-t1.watch.service").read_text()
    (line,) = [line for line in log.read_text().splitlines() if "--no-block start" in line]
    words = shlex.split(json.loads(json.loads(line)[-1])["command"][0])[4]
    brought, started = words.split(BROUGHT)
    assert " || printf %s H4sI" in brought
    assert started == "sudo " + shlex.join(hosts.start_command("t1"))


def test_a_box_that_takes_no_judge_serves_and_it_is_told_what_is_not_watched(
    aws: FakeAws, log: Path, one: list[str], corral: Corral, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, _ = corral("provision", *one)
    assert (code, out.splitlines()[1:]) == (
        0,
        [
            "Its server starts by itself. Nothing judges it until the first `corral serve`: one that hangs before that "
            "stays so.",
            "end:      corral down t1",
            "Next: corral serve t1",
        ],
    )
    (box,) = aws.regions["us-east-1"].instances
    monkeypatch.setenv("FAKE_FULL", box)
    code, _, err = corral("serve", "t1")
    assert code == 0, err
    assert (
        f"warning: {box} takes no judge (tar: opt/corral/t1/bin/heal: Cannot write: No space left on device): unless "
        "an earlier one is there, a server that hangs stays so, and one that dies is started again for ever. Make "
        "room, then again: corral serve t1" in err.splitlines()
    )
    assert [words for _, words in commands(log)].count("sudo " + shlex.join(hosts.start_command("t1"))) == 2


def test_a_box_is_not_brought_again_what_it_has(
    aws: FakeAws, log: Path, one: list[str], corral: Corral, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert corral("up", *one)[0] == 0
    (box,) = aws.regions["us-east-1"].instances
    monkeypatch.setenv("FAKE_FULL", box)
    assert (corral("serve", "t1")[0], "takes no judge" in corral("serve", "t1")[2]) == (0, False)
    (log.parent / box / "opt/corral/t1/bin/heal").write_text("an earlier corral's\n")
    code, _, err = corral("serve", "t1")
    assert (code, f"warning: {box} takes no judge" in err) == (0, True)


def test_what_was_given_up_is_told_with_its_cause_and_its_price_and_started_when_asked_for(
    aws: FakeAws, log: Path, one: list[str], corral: Corral
) -> None:
    assert corral("provision", *one)[0] == 0
    region = aws.regions["us-east-1"]
    region.console += f"corral: {{name}}: failed: start: {GAVE_UP}\r\n"
    (box,) = region.instances
    on_the_box(log, box, "gave-up").write_text(f"{GAVE_UP}\n")
    on_the_box(log, box, "first-death.log").write_text(OOM)
    status = Status.model_validate_json(corral("status", "t1", "--json")[1])
    assert (status.state, status.detail) == (
        "dead",
        f"{box}, spot g5.12xlarge in us-east-1a: failed: start: {GAVE_UP}: a GPU ran out of memory (CUDA out of "
        "memory. Tried to allocate 2.00 GiB); again: corral serve t1; it still costs 5.672 USD per hour: corral "
        "down t1",
    )
    code, _, err = corral("serve", "t1")
    assert code == 0, err
    assert sum("--no-block start" in words for _, words in commands(log)) == 1


def test_what_happened_on_a_box_is_told(aws: FakeAws, log: Path, one: list[str], corral: Corral) -> None:
    assert corral("provision", *one)[0] == 0
    region = aws.regions["us-east-1"]
    (box,) = region.instances
    assert corral("status", "t1", "--history")[:2] == (0, "Nothing is on record.\n")
    lines = [
        '{"at": "2026-11-29T10:00:00Z", "event": "ready", "cause": ""}',
        '{"at": "2026-11-29T10:01:00Z", "event": "ended", "cause": "it hangs"}',
        '{"at": "2026-11-29T1',
    ]
    on_the_box(log, box, "history.jsonl").write_text("\n".join(lines))
    assert corral("status", "t1", "--history")[:2] == (
        0,
        "2026-11-29 10:00:00 UTC  ready\n2026-11-29 10:01:00 UTC  ended        it hangs\n",
    )
    region.terminate_instances(InstanceIds=[box])
    aws.clock.sleep(60)
    code, out, err = corral("status", "t1", "--history")
    assert (code, out) == (0, "Nothing is on record.\n")
    assert err == "warning: only what is kept here: No machine of t1 runs.\n"


def test_the_weights_of_a_box_are_read_where_they_lie(
    aws: FakeAws, log: Path, one: list[str], corral: Corral, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert corral("provision", *one)[0] == 0
    (box,) = aws.regions["us-east-1"].instances
    assert corral("fetch", "--verify", "t1") == (
        11,
        "",
        f"{box}: reading every byte of its weights\n"
        f"error: {box} cannot verify its weights: it has not been brought what reads them.\n"
        "hint: That comes when it is served: corral serve t1\n",
    )
    assert corral("serve", "t1")[0] == 0
    row = {
        "at": "/opt/corral/t1/model",
        "is_model": True,
        "by": "the first start's",
        "files": 9,
        "bytes": 2**30,
        "problems": [],
    }
    monkeypatch.setenv("FAKE_VERIFIED", json.dumps([row]))
    assert corral("fetch", "--verify", "t1")[:2] == (
        0,
        f"{box}:/opt/corral/t1/model: 9 files, 1.00 GiB, every checksum right by the first start's sums\n",
    )
    monkeypatch.setenv("FAKE_VERIFIED", json.dumps([row | {"problems": ["a is missing"]}]))
    code, out, err = corral("fetch", "--verify", "t1")
    assert (code, out, err.splitlines()[-2:]) == (
        4,
        f"{box}:/opt/corral/t1/model: a is missing\n",
        [
            "error: t1 must not be started with these weights: 1 problem(s).",
            "hint: Take it away and bring it up anew: corral down t1",
        ],
    )
    monkeypatch.setenv("FAKE_VERIFIED", json.dumps([row | {"by": ""}]))
    assert corral("fetch", "--verify", "t1")[2].splitlines()[-2] == (
        "error: Nothing says what the weights of t1 should be: they were not fetched from the Hub, and no sums are "
        "noted."
    )
