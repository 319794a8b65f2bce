"""`corral doctor`: all that is known beforehand, with its remedy; none hides another, nothing is changed or asked."""

import io
import json
import shutil
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fake_aws import FakeAws
from renting import fresh

from deploy import up_request
from deploy.cli.main import run
from deploy.gateway import haproxy
from deploy.targets import licence, preflight
from deploy.targets.ec2 import documents, examining
from deploy.targets.ssh import place as ssh_place
from infra import day, facts, gpus, local_facts, prices
from infra.aws import session
from infra.aws.api import Aws
from infra.errors import HostError
from infra.say import is_somebody_there
from infra.ssh import Host
from serving.model import hub, tiny

DATA = Path(__file__).parent / "data" / "hosts"
Doctor = Callable[..., tuple[int, dict[str, tuple[str, str, int]]]]


@pytest.fixture
def doctor(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Doctor:
    """Run it at a terminal, which it is not to ask: its exit code, and each check as outcome, finding and code."""
    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr(hub, "check_access", lambda repo, token: None)

    def asked(*words: str) -> tuple[int, dict[str, tuple[str, str, int]]]:
        capsys.readouterr()
        code = run(["doctor", *words, "--json"])
        found = json.loads(capsys.readouterr().out)
        assert found["exit_code"] == code
        assert not (tmp_path / "corral-home").exists()
        return code, {
            each["name"]: (each["outcome"], each["found"], each["exit_code"]) for each in found["checks"]
        }

    return asked


class Terminal(io.StringIO):
    """Somebody sits there, and is asked nothing."""

    def isatty(self) -> bool:
        return True

    def readline(self, *size: Any) -> Any:
        raise AssertionError("a question was asked")


def host(**changes: Any) -> facts.HostFacts:
    """Two H100 under Debian, all well."""
    free: dict[str, Any] = {"ports_in_use": frozenset()}
    return facts.parse((DATA / "debian.txt").read_text()).model_copy(update=free | changes)


def on_host(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    """The hosts are of that kind, at our time."""
    monkeypatch.setattr(Host, "facts", lambda self: host(clock_s=time.time(), **changes))


ALWAYS = ["python", "home", "hub token"]
ANY_MODEL = ["hub", "licence"]


# --- this machine


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine has two H100 and an engine."""
    monkeypatch.setattr(local_facts, "facts", host)
    monkeypatch.setattr(gpus, "report", lambda: host().gpu)
    monkeypatch.setenv("CORRAL_VLLM", "/bin/true")


@pytest.mark.usefixtures("here")
def test_a_machine_where_all_is_well(doctor: Doctor) -> None:
    code, found = doctor()
    assert code == 0
    machine = ["system", "gpu", "driver", "fabric manager", "link", "disk", "port"]
    assert list(found) == [*ALWAYS, *ANY_MODEL, *machine, "engine"]
    assert {name: outcome for name, (outcome, _, _) in found.items() if outcome != "ok"} == {
        "hub token": "warning",
        "licence": "warning",
    }
    assert found["gpu"] == ("ok", "2x NVIDIA H100 80GB HBM3", 0)
    assert found["engine"] == ("ok", "vLLM unknown at /bin/true (CORRAL_VLLM)", 0)


@pytest.mark.usefixtures("here")
def test_all_that_is_wrong_here_is_told_at_once(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpus, "report", lambda: facts.GpuReport(problem="no driver"))
    monkeypatch.setattr(
        local_facts, "facts", lambda: host(disk_free_mib={"/": 10}, ports_in_use=frozenset({8000}))
    )
    monkeypatch.setenv("CORRAL_VLLM", "/nowhere/vllm")
    code, found = doctor()
    wrong = {name: code for name, (outcome, _, code) in found.items() if outcome == "failed"}
    assert (code, wrong) == (11, {"gpu": 11, "disk": 11, "port": 11, "engine": 7})
    assert run(["doctor"]) == 11
    said = capsys.readouterr().out
    assert said.endswith("\n\nlocal, no plan yet: 4 in the way.\n")
    assert (
        "failed   engine: CORRAL_VLLM names /nowhere/vllm, which is not an executable file\n         Correct or unset"
        in said
    )


@pytest.mark.usefixtures("here")
def test_a_plan_is_looked_at_as_up_would(doctor: Doctor, tmp_path: Path) -> None:
    plan = str(tmp_path / "plan.json")
    assert run(["size", "scout", "--on", "4xH100", "--precision", "fp8", "-o", plan]) == 0
    code, found = doctor(plan)
    assert code == 11
    assert found["gpu"] == ("failed", "2x NVIDIA H100 80GB HBM3; the plan needs 4xH100", 11)
    assert found["weights"][0] == "ok"
    assert list(found)[:5] == [*ALWAYS, "weights", "system"]


@pytest.mark.usefixtures("here")
def test_what_only_looks_has_nobody_to_agree(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    there: list[bool] = []
    monkeypatch.setattr(licence, "require", lambda name: there.append(is_somebody_there()))
    doctor("scout", "--on", "2xH100", "--precision", "int4", "--target", "local")
    assert (there, is_somebody_there()) == ([False], True)


def test_a_plan_that_is_not_there_hides_nothing(doctor: Doctor) -> None:
    code, found = doctor("nowhere.json")
    assert (code, found["plan"]) == (4, ("failed", "There is no plan at nowhere.json", 4))
    assert {"gpu", "engine"} < set(found)


def test_words_that_need_a_model_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "--on", "8xH100"]) == 2
    assert capsys.readouterr().err == (
        "error: No model is named to be sized.\nhint: Name it: corral doctor scout --on 8xH100\n"
    )


# --- hosts over SSH


def test_each_host_is_looked_at_whatever_becomes_of_another(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(self: Host) -> facts.HostFacts:
        if self.destination == "gpu-1":
            raise HostError("gpu-1 cannot be reached: refused.", "Try by hand.")
        return host(clock_s=time.time(), tools=host().tools - {"nft"}, disk_free_mib={"/": 904857600})

    monkeypatch.setattr(Host, "facts", read)
    code, found = doctor("--target", "ssh", "--host", "gpu-1", "--host", "gpu-2")
    assert found["gpu-1"] == ("failed", "gpu-1 cannot be reached: refused", 11)
    assert (code, found["gpu-2: egress lock"]) == (11, ("failed", "nft is missing", 11))
    assert found["gpu-2: gpu"] == ("ok", "2x NVIDIA H100 80GB HBM3", 0)
    on_host(monkeypatch, disk_free_mib={"/": 904857600})
    assert doctor("--target", "ssh", "--host", "gpu-2")[0] == 0


def test_hosts_that_a_plan_cannot_go_to_are_looked_at_all_the_same(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whatever stands against the whole, it is said once."""
    plan = str(tmp_path / "plan.json")
    assert run(["size", "scout", "--on", "2xH100", "--precision", "int4", "-o", plan]) == 0
    words = (plan, "--target", "ssh", "--host", "gpu-1")

    def read(self: Host) -> facts.HostFacts:
        raise HostError(f"{self.destination} cannot be reached: refused.", "Try by hand.")

    monkeypatch.setattr(Host, "facts", read)
    repository = "RedHatAI/Llama-4-Scout-17B-16E-Instruct-quantized.w4a16"
    weights = ("failed", f"This would ask the model hub for {repository}, and --offline forbids it", 2)
    gone = ("failed", "gpu-1 cannot be reached: refused", 11)
    with monkeypatch.context() as offline:
        offline.setenv("CORRAL_OFFLINE", "1")
        code, found = doctor(*words)
        said = [*ALWAYS, "ssh client", "weights", "gpu-1"]
        assert (code, list(found), found["weights"], found["gpu-1"]) == (2, said, weights, gone)
    with monkeypatch.context() as asks_the_host:
        asks_the_host.setattr(ssh_place, "settled", lambda deployment: read(Host("gpu-1")))
        code, found = doctor(*words)
        assert (code, list(found), found["gpu-1"]) == (11, [*ALWAYS, "ssh client", "gpu-1"], gone)
    on_host(monkeypatch, disk_free_mib={"/": 904857600})
    two = ("--host", "gpu-2")
    monkeypatch.setenv("CORRAL_OFFLINE", "1")
    code, found = doctor(*words, *two)
    gpu = ("ok", "2x NVIDIA H100 80GB HBM3", 0)
    assert (code, found["weights"], found["gpu-1: gpu"], found["gpu-2: gpu"]) == (2, weights, gpu, gpu)


def test_what_is_wrong_with_an_engine_is_said_of_the_engine(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It ends the looks at the weights and the host, too, and is said once."""
    plan = str(tmp_path / "plan.json")
    assert run(["size", "scout", "--on", "8xH100", "--precision", "bf16", "-o", plan]) == 0
    monkeypatch.setattr(Host, "facts", lambda host: pytest.fail("nothing is asked of it"))
    monkeypatch.setattr(ssh_place, "examined_alone", lambda destinations: ())
    code, found = doctor(plan, "--target", "ssh", "--host", "gpu-1", "--engine", str(tmp_path / "none"))
    assert (code, list(found)) == (2, [*ALWAYS, "ssh client", "engine"])
    assert found["engine"] == ("failed", f"There is no engine to bring at {tmp_path}/none", 2)


def test_the_target_ssh_needs_a_host_and_a_client(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    code, found = doctor("--target", "ssh")
    assert (code, found["ssh client"], found["hosts"]) == (
        11,
        ("failed", "There is no ssh on this machine", 11),
        ("failed", "The target ssh needs hosts", 2),
    )


# --- EC2


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> FakeAws:
    """An account that may do all, and what this machine needs for it."""
    aws, clock = fresh()

    def door(transport: Any, ledger: Any = None, **options: Any) -> Aws:
        return Aws(transport, ledger, sleep=clock.sleep, clock=clock, **options)

    monkeypatch.setattr(documents, "Aws", door)
    monkeypatch.setattr(documents, "Boto", lambda: aws)
    monkeypatch.setattr(session, "missing_programs", lambda: ())
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    return aws


EC2 = ["credentials", "session manager", "prices", "weights"]


def test_an_account_where_all_is_well(doctor: Doctor, aws: FakeAws) -> None:
    code, found = doctor("--target", "ec2", "--region", "us-east-1")
    topics = [
        f"{topic} us-east-1" for topic in ("identity", "zones", "network", "image", "disk", "quota", "price")
    ]
    assert (code, list(found)) == (0, [*ALWAYS, *EC2, *topics, "gateway"])
    assert found["quota us-east-1"][1].endswith("48 vCPUs needed, 0 in use, 192 allowed")
    assert (aws.live(), [call.operation for call in aws.calls if call.changes]) == ([], [])


@pytest.mark.usefixtures("aws")
def test_whether_a_gateway_could_stand_here_is_told_before_anything_is_rented(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(haproxy, "found", lambda: "/usr/sbin/haproxy")
    assert doctor("--target", "ec2")[1]["gateway"] == ("ok", "/usr/sbin/haproxy is here", 0)

    def missing() -> str:
        raise HostError("HAProxy is not installed on this machine.", "sudo apt-get install haproxy")

    monkeypatch.setattr(haproxy, "found", missing)
    code, found = doctor("--target", "ec2")
    told = "HAProxy is not installed on this machine: a gateway needs it, and nothing else"
    assert (code, found["gateway"]) == (0, ("warning", told, 0))


def test_prices_are_as_many_days_old_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    newest = max(row.checked_on for row in prices.rows() if row.region == "us-east-1")
    for days, told in ((0, "0 days"), (1, "1 day"), (2, "2 days")):
        today = newest + timedelta(days=days)
        monkeypatch.setattr(day, "today", lambda today=today: today)
        assert examining.price_age("us-east-1").found.endswith(
            f" stored for us-east-1, the newest {told} old"
        )


@pytest.mark.usefixtures("aws")
def test_of_a_sample_that_nobody_named_no_deployment_is_told(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(up_request, "names", lambda: ["scout"])
    assert run(["doctor", "--target", "ec2"]) == 0
    assert capsys.readouterr().err == ""
    assert run(["doctor", "scout", "--on", "g5.12xlarge"]) == 0
    said = "scout is the model here; the deployment of that name: corral serve scout\n"
    assert capsys.readouterr().err == said


def test_what_fails_in_one_region_is_no_obstacle_where_another_has_room(doctor: Doctor, aws: FakeAws) -> None:
    aws.denied = {"us-west-2/ec2:DescribeSubnets"}
    words = ("scout", "--on", "g5.12xlarge", "--region", "us-west-2", "--region", "us-east-1")
    code, found = doctor(*words)
    assert (code, found["permission us-west-2"][0], found["permission us-west-2"][2]) == (0, "failed", 0)
    aws.denied = {"ec2:DescribeSubnets"}
    code, found = doctor(*words)
    assert (code, found["permission us-west-2"][2], found["permission us-east-1"][2]) == (5, 5, 5)


def test_a_quota_ends_it_with_its_own_code(doctor: Doctor, aws: FakeAws) -> None:
    aws.quotas["L-417A185B"] = 0.0
    assert doctor("--target", "ec2", "--instance-type", "g5.12xlarge")[0] == 0
    code, found = doctor("--target", "ec2", "--instance-type", "p4d.24xlarge")
    assert (code, found["quota us-east-1"][0], found["quota us-east-1"][2]) == (6, "failed", 6)


@pytest.mark.usefixtures("aws")
def test_what_this_machine_lacks_for_ec2_is_told_with_the_rest(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "missing_programs", lambda: ("session-manager-plugin",))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    code, found = doctor("--target", "ec2")
    wrong = {name: code for name, (outcome, _, code) in found.items() if outcome == "failed"}
    assert (code, wrong) == (5, {"credentials": 5, "session manager": 11})
    assert found["account"][:2] == ("warning", f"not looked at: {examining.OF_AN_ACCOUNT}")
    assert found["quota"] == (
        "warning",
        "it takes 48 vCPUs of 'Running On-Demand G and VT instances' (L-DB2E81BA) in us-east-1; a new account has 0",
        0,
    )
    assert found["rights"][0] == "warning"
    assert "weights" in found
    monkeypatch.delenv("AWS_REGION")
    code, found = doctor("--target", "ec2")
    assert (code, found["plan"][1]) == (
        2,
        "No AWS region is named: where a machine stands is not for corral to choose",
    )
    assert {"credentials", "session manager"} < set(found)


def test_without_an_account_what_it_must_grant_is_told_and_where(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(hub, "check_access", lambda repo, token: None)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    boundary = "arn:aws:iam::123456789012:policy/bound"
    words = ["--region", "eu-central-1", "--permissions-boundary", boundary]
    run(["doctor", "scout", "--on", "g7e.2xlarge", "--precision", "int4", *words])
    said = capsys.readouterr().out
    page = "https://eu-central-1.console.aws.amazon.com/servicequotas/home/services/ec2/quotas/L-DB2E81BA"
    assert f"         Ask AWS for them, which may take days: {page}\n" in said
    assert (
        f"         The least policy, for an admin: corral iam-policy --permissions-boundary {boundary} "
        "--region eu-central-1 --instance-type g7e.2xlarge\n" in said
    )


@pytest.mark.usefixtures("here")
def test_a_token_is_missed_only_where_somebody_would_ask_for_it(doctor: Doctor, tmp_path: Path) -> None:
    """Not of weights that are open to everybody, that lie in a folder, or that come from a place of the user's."""

    def token(*words: str) -> tuple[str, str, int]:
        return doctor(*words)[1]["hub token"]

    here = ("--on", "4xH100", "--target", "local")
    lacks = ("warning", "none", 0)
    assert [token(), token("scout", "--precision", "bf16", *here), token("nowhere.json")] == [lacks] * 3
    repository = "RedHatAI/Llama-4-Scout-17B-16E-Instruct-quantized.w4a16"
    opened = ("ok", f"none, and none is needed: {repository} is not known to be gated", 0)
    assert token("scout", "--precision", "int4", *here) == opened
    folder = str(tiny.make(tmp_path / "toy"))
    assert token(folder, "--target", "local") == (
        "ok",
        f"none, and none is needed: the weights lie in {folder}",
        0,
    )
    own = ("scout", "--precision", "bf16", "--on", "p4de.24xlarge", "--weights", "s3://models/scout/")
    assert token(*own) == ("ok", "none, and none is needed: the weights lie in s3://models/scout/", 0)


# --- rules


@pytest.mark.parametrize(
    "case", json.loads((DATA / "gpus.json").read_text()), ids=lambda case: case["situation"]
)
def test_a_machine_is_judged_without_a_plan_as_with_one_but_for_what_the_plan_needs(
    case: dict[str, Any],
) -> None:
    report = facts.gpu_report(case["gpus"], case["driver"])
    machine = host(gpu=report, nvidia_device=case["driver"] is not None, tools=frozenset())
    found = preflight.machine_checks(machine, report, disk_path="/", disk_gib=1)
    failed = {f"{check.name}: {check.found}" for check in found if check.outcome == "failed"}
    lines = {line.replace("; the plan needs 2xH100; they", "; they") for line in case["failed"]}
    assert failed == {line for line in lines if "the plan" not in line}


def test_a_home_that_cannot_be_written_is_told(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Even root makes nothing below /proc, nor below a file."""
    (tmp_path / "file").touch()
    for place in ("/proc/none/home", str(tmp_path / "file" / "home")):
        monkeypatch.setenv("CORRAL_HOME", place)
        outcome, found, *_ = doctor()[1]["home"]
        assert (outcome, found.startswith(f"{place} cannot be written: ")) == ("failed", True)


def test_a_home_is_made_to_know_and_taken_away_again(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    there = tmp_path / "there"
    there.mkdir()
    for place in (there, tmp_path / "new" / "home"):
        monkeypatch.setenv("CORRAL_HOME", str(place))
        assert doctor()[1]["home"][0] == "ok"
    assert (list(there.iterdir()), (tmp_path / "new").exists()) == ([], False)


def test_a_home_with_less_room_than_documents_need_is_a_warning(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=2**30 // 10))
    outcome, found, *_ = doctor()[1]["home"]
    assert (outcome, found.endswith(", 0.1 GiB free")) == ("warning", True)
