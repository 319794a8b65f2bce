"""`corral doctor NAME`: how a deployment is, and what it needs where it is; its own server is no fault."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from test_compare import PLAN
from test_doctor import ALWAYS, Terminal, host

from deploy.cli.main import run
from deploy.targets.deployment import folder, make
from deploy.targets.ec2 import examining
from deploy.targets.ec2 import place as ec2
from deploy.targets.local import place as local
from deploy.targets.place import State, Status
from infra import facts, gpus, local_facts
from infra.aws import session
from infra.errors import HostError
from serving.vllm import versions

Doctor = Callable[..., tuple[int, dict[str, tuple[str, str, str, int]]]]


@pytest.fixture
def doctor(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Doctor:
    """Its exit code, and each check as outcome, finding, remedy and code."""
    monkeypatch.setattr("sys.stdin", Terminal())

    def asked(name: str) -> tuple[int, dict[str, tuple[str, str, str, int]]]:
        code = run(["doctor", name, "--json"])
        found = json.loads(capsys.readouterr().out)
        assert found["exit_code"] == code
        return code, {
            each["name"]: (each["outcome"], each["found"], each["fix"], each["exit_code"])
            for each in found["checks"]
        }

    return asked


@pytest.fixture
def busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine has an engine, a server at its port and no GPU that is free."""
    monkeypatch.setattr(local_facts, "facts", lambda: host(ports_in_use=frozenset({8000})))
    monkeypatch.setattr(gpus, "report", lambda: facts.GpuReport(problem="no driver"))
    monkeypatch.setenv("CORRAL_VLLM", "/bin/true")


def is_in(state: State, monkeypatch: pytest.MonkeyPatch, place: Any = local, **more: Any) -> None:
    status = Status(name="prod", target="local", state=state, detail="so it says", **more)
    monkeypatch.setattr(place, "status", lambda deployment: status)


@pytest.fixture(autouse=True)
def deployments() -> None:
    for target in ("local", "ec2"):
        made = make(PLAN, target, f"prod-{target}").model_copy(
            update={"region": "us-east-1" if target == "ec2" else None}
        )
        made.write(folder(made.name) / "deployment.json")


@pytest.mark.usefixtures("busy")
@pytest.mark.parametrize(
    ("state", "code", "said", "wrong"),
    [
        ("serving", 0, ("ok", "serving, so it says", "", 0), []),
        ("hung", 7, ("failed", "hung, so it says", "corral logs prod-local", 7), ["deployment"]),
        (
            "stopped", 11, ("ok", "stopped, so it says", "corral serve prod-local", 0),
            ["gpu", "port"],
        ),
    ],
)  # fmt: skip
def test_how_it_is_comes_first_and_what_its_own_server_has_is_no_fault(
    state: State, code: int, said: tuple[str, str, str, int], wrong: list[str],
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    is_in(state, monkeypatch)
    got, found = doctor("prod-local")
    assert list(found)[: 2 + len(ALWAYS)] == ["deployment", "vllm", *ALWAYS]
    failed = [name for name, (outcome, *_) in found.items() if outcome == "failed"]
    assert (got, found["deployment"], failed) == (code, said, wrong)
    assert found["engine"][0] == "ok"


def test_a_rented_one_tells_when_it_ends_and_is_not_looked_for_as_if_it_were_new(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The quota that it has itself would be missing."""
    is_in("serving", monkeypatch, ec2, expires_at="2026-11-24T12:00:00Z")
    monkeypatch.setattr(session, "missing_programs", lambda: ())
    monkeypatch.setattr(examining, "found_credentials", lambda: "found")
    monkeypatch.setattr(examining, "of_the_account", lambda *asked: pytest.fail("the account was surveyed"))
    code, found = doctor("prod-ec2")
    assert (code, found["end"]) == (
        0,
        ("ok", "it ends itself at 2026-11-24T12:00:00Z", "Later: corral extend prod-ec2 4h", 0),
    )
    assert list(found) == ["deployment", "end", "vllm", *ALWAYS, "credentials", "session manager", "prices"]


@pytest.mark.usefixtures("busy")
def test_what_cannot_be_asked_hides_nothing_else(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(deployment: object) -> Status:
        raise HostError("It cannot be asked.", "Ask again.")

    monkeypatch.setattr(local, "status", refuse)
    code, found = doctor("prod-local")
    assert (code, found["deployment"]) == (11, ("failed", "It cannot be asked", "Ask again.", 11))
    assert found["engine"][0] == "ok"


def test_one_that_is_not_known_is_a_model_that_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "nobody"]) == 2
    assert "nobody' is not a model corral knows" in capsys.readouterr().out


def test_what_is_known_against_its_vllm_is_a_warning_with_the_next_one(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_in("serving", monkeypatch)
    old = PLAN.model_copy(update={"vllm_version": "0.22.0"})
    make(old, "local", "prod-local").write(folder("prod-local") / "deployment.json")
    _, found = doctor("prod-local")
    outcome, said, fix, code = found["vllm"]
    newest = versions.data()["newest"]
    assert (outcome, fix, code) == (
        "warning",
        f"The next one: corral upgrade prod-local --vllm-version {newest}",
        0,
    )
    assert said.startswith("vLLM 0.22.0 has ")
