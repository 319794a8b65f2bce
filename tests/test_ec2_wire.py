"""Provision and down on the real wire: boto3, HTTP, moto's server on loopback; as a process where that is the point."""

import base64
import gzip
import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from datetime import UTC, datetime
from pathlib import Path
from subprocess import CompletedProcess
from typing import TYPE_CHECKING, Any

import fake_aws_cli
import json_schemas
import pytest
from botocore_once import models_read_once
from fake_rented_box import KEY

from deploy.cli.main import run
from deploy.targets import licence
from infra.aws.resource_kinds import TYPES
from serving.sizing.plan import Plan
from serving.sizing.size import answer_for
from serving.sizing.size_options import Options

if TYPE_CHECKING:
    from moto_aws import MotoAws


@pytest.fixture(scope="session")
def server() -> Iterator["MotoAws"]:
    """moto is imported by who uses it: it takes seconds."""
    with models_read_once():
        import moto_aws

        with moto_aws.running() as server:
            yield server


@pytest.fixture
def aws(server: "MotoAws", monkeypatch: pytest.MonkeyPatch) -> "MotoAws":
    """The server, with nothing in it; whatever is asked of AWS is asked of it."""
    server.reset()
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return server


@pytest.fixture
def plan(tmp_path: Path) -> str:
    """Its commit is in it, so that no process asks the Hub."""
    plan = answer_for("scout", "int4", "g5.12xlarge", Options())
    serve = plan.serve.model_copy(update={"revision": "5c0c7a3e" * 5})
    licence.accept("llama4", "US", "")  # by a file: corral is a process of its own here
    plan.model_copy(update={"serve": serve}).write(tmp_path / "plan.json")
    return str(tmp_path / "plan.json")


Start = Callable[..., "subprocess.Popen[str]"]
PROGRAM = [sys.executable, "-c", "from deploy.cli.start import main; main()"]


def corral(*arguments: str) -> CompletedProcess[str]:
    """Run a command here."""
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        code = run(arguments)
    return CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


def process(*arguments: str) -> CompletedProcess[str]:
    """Run a command as a process of its own."""
    done = subprocess.run(
        [*PROGRAM, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    json_schemas.check(arguments, done.stdout)
    return done


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a command as a process; ended with the test."""
    begun: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        begun.append(subprocess.Popen([*PROGRAM, *arguments], stderr=subprocess.PIPE, text=True))
        return begun[-1]

    yield start
    for running in begun:
        running.kill()
        running.wait()
        assert running.stderr
        running.stderr.close()


def wait(event: threading.Event, running: "subprocess.Popen[str]") -> None:
    """Wait for what that process must cause; the test's own time limit ends a wait for what it does not."""
    while not event.wait(0.1):
        assert running.poll() is None, running.communicate()


def rent(plan: str, name: str) -> list[str]:
    """The command that rents for a plan."""
    return ["provision", plan, "--target", "ec2", "--name", name, "--yes"]


def test_provision_rents_one_tagged_machine_and_down_proves_that_nothing_is_left(
    aws: "MotoAws", plan: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [*rent(plan, "t1"), "--tag", "team=ml platform", "--tag", "cost/centre=42"]
    monkeypatch.setenv("AWS_ENDPOINT_URL_PRICING", aws.url)  # moto's server has no price list: it answers 500
    up = process(*command, "--json")
    assert (up.returncode, json.loads(up.stdout)["region"]) == (0, "us-east-1"), up.stderr
    (said,) = [line for line in up.stderr.splitlines() if " price us-east-1: " in line]
    assert said.startswith(
        "warning  price us-east-1: on-demand g5.12xlarge: 5.672 USD per hour (AWS Pricing API, "
    )
    assert re.search(
        r" days old\); AWS's price list does not answer: 500  \(Allow pricing:GetProducts ", said
    )
    (machine,) = aws.instances()
    assert machine["InstanceType"] == "g5.12xlarge"
    assert machine["MetadataOptions"]["HttpTokens"] == "required"
    tags = {tag["Key"]: tag["Value"] for tag in machine["Tags"]}
    assert (tags["corral:deployment"], tags["team"], tags["cost/centre"]) == ("t1", "ml platform", "42")
    again = corral(*command)
    assert (again.returncode, [row["InstanceId"] for row in aws.instances()]) == (0, [machine["InstanceId"]])

    down = process("down", "t1", "--json")
    assert down.returncode == 0, down.stderr
    assert json.loads(down.stdout) == {
        "name": "t1",
        "counts": dict.fromkeys(TYPES, 0),
        "left": [],
        "account": "123456789012",
        "kept": [],
    }
    assert aws.instances() == []
    assert corral("down", "t1", "--json").returncode == 0


def test_a_volume_that_outlives_its_machine_is_found(aws: "MotoAws", plan: str) -> None:
    tags = [{"Key": "corral:deployment", "Value": "left-behind"}]
    ec2 = aws.client("ec2", "us-west-2")
    specification = [{"ResourceType": "volume", "Tags": tags}]
    ec2.create_volume(AvailabilityZone="us-west-2a", Size=10, TagSpecifications=specification)
    ec2.create_volume(AvailabilityZone="us-west-2a", Size=11)
    down = corral("down", "left-behind", "--target", "ec2", "--json")
    assert (down.returncode, json.loads(down.stdout)["left"]) == (0, []), down.stderr
    assert [volume["Size"] for volume in ec2.describe_volumes()["Volumes"]] == [11]


def test_without_a_terminal_and_without_yes_nothing_is_rented(aws: "MotoAws", plan: str) -> None:
    words = shlex.join([*PROGRAM, "provision", plan, "--target", "ec2", "--name", "t2"])
    done = subprocess.run(["sh", "-c", f"{words} <&-"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "g5.12xlarge in us-east-1: 5.672 USD per hour (AWS Price List API (GetProducts), " in done.stderr
    assert "hint: Say so beforehand: --yes" in done.stderr
    assert aws.instances() == []


def test_the_price_of_today_is_asked_about_and_held_to_the_limit(aws: "MotoAws", plan: str) -> None:
    aws.prices.usd["g5.12xlarge"] = "6.1000000000"
    dear = corral(*rent(plan, "t8"), "--max-usd-per-hour", "6")
    assert (dear.returncode, aws.instances()) == (2, [])
    assert ": more than --max-usd-per-hour 6." in dear.stderr
    up = corral(*rent(plan, "t8"))
    assert (up.returncode, len(aws.instances())) == (0, 1), up.stderr
    size = corral("size", "scout", "--precision", "int4", "--on", "g5.12xlarge", "--json")
    price = json.loads(size.stdout)["price"]
    assert (price["usd_per_hour"], price["source"]) == (6.1, "AWS Price List API (GetProducts)")
    assert corral("down", "t8").returncode == 0
    asked = corral("prices", "--refresh", "g5.12xlarge", "p5e.48xlarge", "--json")
    assert (asked.returncode, len(json.loads(asked.stdout)["refused"])) == (12, 1)
    assert "AWS named no price that may be used: p5e.48xlarge in us-east-1: " in asked.stderr


# Secrets a user has around him; none is corral's to hand on.
CANARIES = {
    "HF_TOKEN": "hf_SENTINEL0123456789",
    "VLLM_API_KEY": "SENTINEL-vllm",
    "AWS_SECRET_ACCESS_KEY": "SENTINEL-aws",
    "ANTHROPIC_API_KEY": "sk-ant-SENTINEL",
}


@pytest.fixture
def session_manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tunnels: None) -> Path:
    """An `aws` that reaches the box is on the PATH; the log of how it was called."""
    tools, log = fake_aws_cli.installed(tmp_path), tmp_path / "aws.log"
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_AWS_LOG", str(log))
    return log


def test_up_serves_through_session_manager_with_no_port_open(
    aws: "MotoAws", plan: str, session_manager: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = session_manager
    for name, value in CANARIES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("FAKE_MODEL", Plan.read(Path(plan)).serve.served_model_name)
    up = corral("up", plan, "--target", "ec2", "--name", "t3", "--yes", "--json")
    assert up.returncode == 0, up.stderr
    endpoint = json.loads(up.stdout)
    assert endpoint["base_url"].startswith("http://127.0.0.1:")
    status = corral("status", "t3", "--json")
    assert (status.returncode, json.loads(status.stdout)["state"]) == (0, "serving"), status.stderr
    assert corral("logs", "t3").stdout == "a line of the log\n"
    extended = corral("extend", "t3", "2d", "--json")
    until = json.loads(extended.stdout)["expires_at"]
    (machine,) = aws.instances()
    lived_s = (datetime.now(UTC) - machine["LaunchTime"]).total_seconds()
    billed_s = json.loads(status.stdout)["usd_so_far"] / 5.672 * 3600
    assert 60 <= round(billed_s) <= max(60, lived_s)
    assert {tag["Key"]: tag["Value"] for tag in machine["Tags"]}["corral:expires-at"] == until
    schedule = aws.client("scheduler").get_schedule(Name="end", GroupName="corral-t3")
    assert schedule["ScheduleExpression"] == f"at({until.removesuffix('Z')})"
    (words,) = [line for line in log.read_text().splitlines() if "bin/extend" in line]
    assert "sudo /opt/corral/t3/bin/extend 2880" in words
    no_secret_anywhere(aws, machine["InstanceId"], tmp_path, [up, status, extended], log)
    down = corral("down", "t3", "--json")
    assert (down.returncode, json.loads(down.stdout)["left"]) == (0, []), down.stderr
    (forwarding,) = [line for line in log.read_text().splitlines() if "localPortNumber" in line]
    assert endpoint["base_url"].rpartition(":")[2] in forwarding


def test_two_servers_are_one_order_on_the_wire_and_each_has_an_end_of_its_own(
    aws: "MotoAws", plan: str
) -> None:
    up = corral(*rent(plan, "t4"), "--replicas", "2", "--tag", "team=ml")
    assert up.returncode == 0, up.stderr
    machines = aws.instances()
    tags = [{tag["Key"]: tag["Value"] for tag in machine["Tags"]} for machine in machines]
    assert [(each["corral:deployment"], each["team"]) for each in tags] == [("t4", "ml")] * 2
    assert len({each["corral:expires-at"] for each in tags}) == 1
    for machine in machines:
        name = f"end-{machine['InstanceId']}"
        schedule = aws.client("scheduler").get_schedule(Name=name, GroupName="corral-t4")
        assert json.loads(schedule["Target"]["Input"]) == {"InstanceIds": [machine["InstanceId"]]}
    # One is ended by somebody: the same command rents one more, and no other.
    lost, kept = (machine["InstanceId"] for machine in machines)
    aws.client("ec2").terminate_instances(InstanceIds=[lost])
    again = corral(*rent(plan, "t4"), "--replicas", "2", "--tag", "team=ml")
    assert again.returncode == 0, again.stderr
    left = {machine["InstanceId"] for machine in aws.instances()}
    assert (len(left), kept in left, lost in left) == (2, True, False)
    down = corral("down", "t4", "--json")
    assert (down.returncode, json.loads(down.stdout)["left"], aws.instances()) == (0, [], []), down.stderr


def no_secret_anywhere(
    aws: "MotoAws", machine: str, folder: Path, said: list[CompletedProcess[str]], log: Path
) -> None:
    """The box's key is in one file only its owner can read, and nowhere else."""
    attribute = aws.client("ec2").describe_instance_attribute(InstanceId=machine, Attribute="userData")
    user_data = gzip.decompress(base64.b64decode(attribute["UserData"]["Value"])).decode()
    assert user_data.startswith("#cloud-config")
    holding = [
        path for path in folder.rglob("*") if path.is_file() and KEY in path.read_text(errors="replace")
    ]
    assert [(path.name, path.stat().st_mode & 0o777) for path in holding] == [(f"api-key-{machine}", 0o600)]
    written = [path.read_text(errors="replace") for path in folder.rglob("*") if path.is_file()]
    described = json.dumps(aws.client("ec2").describe_tags()["Tags"]) + json.dumps(
        aws.instances(), default=str
    )
    printed = "".join(done.stdout + done.stderr for done in said)
    for artefact in (user_data, described, printed, log.read_text()):
        assert KEY not in artefact
    for artefact in (user_data, described, printed, log.read_text(), *written):
        assert "SENTINEL" not in artefact


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_kill_9_at_the_launch_then_up_again_makes_one_machine(
    after: bool, aws: "MotoAws", plan: str, tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    from moto.ec2.models.instances import InstanceBackend

    launch = InstanceBackend.run_instances
    running: list[subprocess.Popen[str]] = []

    def killing(*args: Any, **kwargs: Any) -> Any:
        done = launch(*args, **kwargs) if after else None
        os.kill(running[0].pid, signal.SIGKILL)
        running[0].wait()
        return done

    with monkeypatch.context() as patched:
        patched.setattr(InstanceBackend, "run_instances", killing)
        running.append(start(*rent(plan, "t4")))
        assert running[0].wait() == -signal.SIGKILL
    left = [row["InstanceId"] for row in aws.instances()]
    assert len(left) == int(after)
    again = corral(*rent(plan, "t4"))
    ids = [row["InstanceId"] for row in aws.instances()]
    assert (again.returncode, len(ids), left or ids) == (0, 1, ids), again.stderr
    monkeypatch.setenv("CORRAL_HOME", str(tmp_path / "elsewhere"))
    down = corral("down", "t4", "--target", "ec2", "--json")
    assert (json.loads(down.stdout)["left"], aws.instances()) == ([], [])
    assert not (tmp_path / "elsewhere" / "t4" / "order.json").exists()


def test_ctrl_c_while_waiting_for_the_machine_leaves_nothing(
    aws: "MotoAws", plan: str, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    from moto.core.responses import ActionResult
    from moto.ec2.responses import EC2Response

    asked = threading.Event()

    def never(*args: Any, **kwargs: Any) -> Any:
        asked.set()
        return ActionResult({"InstanceStatuses": []})

    monkeypatch.setattr(EC2Response, "describe_instance_status", never)
    running = start(*rent(plan, "t8"))
    wait(asked, running)
    assert len(aws.instances()) == 1
    running.send_signal(signal.SIGINT)
    said = running.communicate()[1]
    assert (running.returncode, said.splitlines()[-1]) == (130, "error: Interrupted while launching."), said
    assert aws.instances() == []
    groups = aws.client("ec2").describe_security_groups()["SecurityGroups"]
    assert [group["GroupName"] for group in groups if "corral" in group["GroupName"]] == []


def test_two_zones_without_room_are_two_calls_and_not_a_retry_more(
    aws: "MotoAws", plan: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EC2 says so with a 500, which botocore would ask again by itself."""
    from moto.ec2.models.instances import InstanceBackend
    from werkzeug.exceptions import InternalServerError

    launch, calls = InstanceBackend.run_instances, []
    error = "<Error><Code>InsufficientInstanceCapacity</Code><Message>We have not sufficient capacity</Message></Error>"

    def full(self: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append(kwargs["client_token"])
        if len(calls) <= 2:
            raise InternalServerError(f"<Response><Errors>{error}</Errors></Response>")
        return launch(self, *args, **kwargs)

    monkeypatch.setattr(InstanceBackend, "run_instances", full)
    up = corral(*rent(plan, "t5"))
    assert (up.returncode, len(calls), len(set(calls)), len(aws.instances())) == (0, 3, 3, 1), up.stderr
    assert up.stderr.count("InsufficientInstanceCapacity") == 2
    assert corral("down", "t5").returncode == 0


def test_of_two_at_once_one_is_refused(
    aws: "MotoAws", plan: str, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    from moto.ec2.models.instances import InstanceBackend

    launch, begun, go_on = InstanceBackend.run_instances, threading.Event(), threading.Event()

    def slow(*args: Any, **kwargs: Any) -> Any:
        begun.set()
        go_on.wait()
        return launch(*args, **kwargs)

    monkeypatch.setattr(InstanceBackend, "run_instances", slow)
    first = start(*rent(plan, "t6"))
    try:
        wait(begun, first)
        second = corral(*rent(plan, "t6"))
    finally:
        go_on.set()
    assert (first.wait(), second.returncode) == (0, 2)
    assert "Another corral is at work on 't6'" in second.stderr
    assert len(aws.instances()) == 1
    assert corral("down", "t6").returncode == 0


def test_reap_ends_only_what_is_over_its_time_and_ours(aws: "MotoAws", plan: str) -> None:
    assert corral(*rent(plan, "t7")).returncode == 0
    ec2 = aws.client("ec2")
    tags = [{"Key": "corral-like", "Value": "x"}, {"Key": "expires-at", "Value": "2020-01-01T00:00:00Z"}]
    specification = [{"ResourceType": "instance", "Tags": tags}]
    image = ec2.describe_images(Owners=["self"])["Images"][0]["ImageId"]
    ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1, TagSpecifications=specification)
    nothing = corral("reap", "--region", "us-east-1", "--json")
    assert json.loads(nothing.stdout) == {"expired": [], "removed": []}
    (ours,) = [row["InstanceId"] for row in aws.instances() if "corral-t7" in json.dumps(row, default=str)]
    ec2.create_tags(Resources=[ours], Tags=[{"Key": "corral:expires-at", "Value": "2020-01-01T00:00:00Z"}])
    dry = corral("reap", "--region", "us-east-1", "--dry-run")
    assert ours in dry.stdout
    assert len(aws.instances()) == 2
    done = corral("reap", "--region", "us-east-1", "--json")
    assert (done.returncode, json.loads(done.stdout)["removed"][0]["left"]) == (0, []), done.stderr
    assert [row["InstanceId"] for row in aws.instances()] != [ours]
    assert len(aws.instances()) == 1
    ec2.terminate_instances(InstanceIds=[aws.instances()[0]["InstanceId"]])
