"""What systemd says of a server on a host, and what that means to whoever asks."""

import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fake_aws import Clock
from test_owned import deployment

from deploy.targets import host_history
from deploy.targets.deployment import Deployment, folder
from deploy.targets.ssh import host_releases, host_unit, one_key, tunnels
from deploy.targets.ssh.host_unit import UnitState
from infra.errors import HostError
from infra.onhost.judge import Look
from serving.vllm import events, health
from serving.vllm.endpoint import Endpoint
from serving.vllm.startup_log import load_budget_s


class Host:
    """A host that answers a look at its unit with these lines."""

    destination = "gpu-1"

    def __init__(self, said: str) -> None:
        self.said = said

    def run(self, command: list[str], **_: Any) -> SimpleNamespace:
        assert command[:2] == ["sh", "-c"]
        return SimpleNamespace(stdout=self.said, code=0)


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ("", UnitState(active="absent")),
        ("ActiveState=active\n", UnitState(active="absent")),
        ("Record=\n", UnitState(active="", sub="", restarts=0, has_run=False, phase="")),
        (
            "Record=\nActiveState=activating\nSubState=auto-restart\nNRestarts=3\nHasRun=\nPhase=a=b\n",
            UnitState(active="activating", sub="auto-restart", restarts=3, has_run=True, phase="a=b"),
        ),
        ("Record=\nActiveState=inactive\nNRestarts=\n", UnitState(active="inactive")),
        ("Record=\nGaveUp=a=b\n", UnitState(active="", gave_up="a=b")),
        ("Record=\nRelease=0123456789ab\n", UnitState(active="", release="0123456789ab")),
        ("Record=\nTrial=unknown\nTrial=0123456789ab\n", UnitState(active="", trial="0123456789ab")),
    ],
)
def test_what_systemd_says(said: str, state: UnitState) -> None:
    found = host_unit.state("scout", Host(said))  # type: ignore[arg-type]
    assert found.model_dump() == state.model_dump()
    defaults = {
        "sub": "",
        "restarts": 0,
        "has_run": False,
        "phase": "",
        "gave_up": "",
        "release": "",
        "trial": "",
    }
    assert UnitState(active="active").model_dump() == {"active": "active", **defaults}


@pytest.mark.parametrize(
    ("said", "state", "detail"),
    [
        ("", "absent", "nothing of that name on gpu-1"),
        ("Record=\nActiveState=inactive\n", "provisioned", "not prepared"),
        ("Record=\nActiveState=inactive\nPhase=prepared\n", "provisioned", "prepared"),
        ("Record=\nActiveState=inactive\nHasRun=\nPhase=prepared\n", "stopped", "prepared"),
        (
            "Record=\nActiveState=inactive\nHasRun=\nPhase=failed: lock: the egress lock is gone\n",
            "stopped",
            "failed: lock: the egress lock is gone",
        ),
    ],
)
def test_what_that_means(said: str, state: str, detail: str) -> None:
    made: Deployment = deployment()
    found = host_unit.status(made, Host(said))  # type: ignore[arg-type]
    assert (found.name, found.target, found.state, found.detail, found.endpoint) == (
        made.name,
        "ssh",
        state,
        detail,
        None,
    )


def test_what_comes_before_the_start_takes_nothing_of_the_loads_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU that is late and the sums of large weights: 4,000 s; then a load of most of its budget."""
    made, clock = deployment(), Clock(0)
    budget_s = load_budget_s(made.plan.weights_bytes)

    def state(*_: object) -> UnitState:
        return (
            UnitState(active="activating", sub="start-pre") if clock() < 4000 else UnitState(active="active")
        )

    def verdict(_: object) -> health.Verdict:
        is_loading = clock() < 4000 + budget_s - 10
        return health.Verdict("starting" if is_loading else "serving", "", NOT_YET if is_loading else None)

    def sleep(seconds: float) -> None:
        clock.sleep(10 * seconds)

    monkeypatch.setattr(host_unit, "time", SimpleNamespace(sleep=sleep, monotonic=clock))
    monkeypatch.setattr(host_unit, "state", state)
    monkeypatch.setattr(host_unit, "say_phases", lambda *_: None)
    monkeypatch.setattr(host_unit, "verdict", verdict)
    host_unit.wait(made, Host(""), ENDPOINT)  # type: ignore[arg-type]
    assert 4000 + budget_s - 10 <= clock() < 4000 + budget_s


@pytest.mark.parametrize(
    ("said", "here"), [("corral: upgraded: to 2.0.0\n", []), ("", [("upgraded", "to 2.0.0")])]
)
def test_what_a_host_of_an_earlier_corral_does_not_note_is_kept_here(
    said: str, here: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = deployment()
    folder(made.name).mkdir(parents=True)
    heard: list[list[str]] = []

    def run(command: list[str], **_: Any) -> SimpleNamespace:
        heard.append(command[-4:])
        return SimpleNamespace(stdout=said, code=0)

    monkeypatch.setattr(host_releases, "connected", lambda name: SimpleNamespace(destination=name, run=run))
    host_releases.note(made, "upgraded", "to 2.0.0")
    assert heard == [["note", made.name, "upgraded", "to 2.0.0"]]
    assert [(event.event, event.cause) for event in events.read(folder(made.name))] == here


NOT_YET = Look(0.0, "refuse", "refuse", "refuse", "refuse")
ENDPOINT = Endpoint(base_url="http://127.0.0.1:1", served_model_name="m")


class Answering:
    """A host with these answers, by a word of what it is asked."""

    destination = "gpu-1"

    def __init__(self, **answers: str) -> None:
        self.answers = answers

    def run(self, command: list[str], **_: Any) -> SimpleNamespace:
        said = [text for word, text in self.answers.items() if any(word in part for part in command)]
        return SimpleNamespace(stdout="".join(said), code=0 if said else 1)


OOM = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.\n"


@pytest.mark.parametrize(
    ("active", "state"),
    [("inactive", "dead"), ("failed", "dead"), ("deactivating", "dead"), ("absent", "absent")],
)
def test_a_server_that_was_given_up_says_why_after_a_reboot_too(active: str, state: str) -> None:
    record = "Record=yes\n" if active != "absent" else ""
    shown = (
        f"{record}HasRun=yes\nGaveUp=gave up after 3 starts; the first: exit code 0\nActiveState={active}\n"
    )
    host = Answering(ActiveState=shown, death=OOM)
    found = host_unit.status(deployment(), host)  # type: ignore[arg-type]
    assert found.state == state
    if state == "dead":
        assert found.detail.startswith(
            "gave up after 3 starts; the first: exit code 0: a GPU ran out of memory"
        )


def test_a_first_log_that_holds_nothing_explains_nothing() -> None:
    host = Answering(**{"first-death": "\n", "InvocationID": OOM})
    assert host_unit.explain(host, "scout").cause.startswith("a GPU ran out of memory")  # type: ignore[arg-type]


def test_what_happened_is_what_the_host_has_kept() -> None:
    line = '{"at": "2026-11-29T17:00:00Z", "event": "gave up", "cause": "x"}\n'
    host = Answering(history=f"cut short\n{line}[1]\n")
    (event,) = host_unit.history(deployment(), host)  # type: ignore[arg-type]
    assert (event.event, event.cause) == ("gave up", "x")


def test_what_a_full_disk_of_the_host_did_not_take_is_told_too(tmp_path: Path) -> None:
    line = '{"at": "2026-11-29T17:00:00Z", "event": "%s", "cause": ""}\n'
    kept, waiting = tmp_path / "kept", tmp_path / "waiting"
    kept.write_text(f"{line % 'ready'}{line[:30]}")
    waiting.write_text(line % "died")

    def told(*places: Path) -> list[str]:
        command = ["sh", "-c", host_history.SCRIPT, "history", "4096", *map(str, places)]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
        return [event.event for event in events.parsed(done.stdout)]

    assert told(kept, waiting) == ["ready", "died"]
    assert told(kept, tmp_path / "none") == ["ready"]
    assert told(tmp_path / "none", waiting) == ["died"]


@pytest.mark.parametrize("active", ["active", "activating"])
def test_a_server_that_cannot_be_asked_from_here_is_unknown(
    active: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def endpoint(*_: object) -> None:
        raise HostError("Port 1 is taken.")

    monkeypatch.setattr(tunnels, "endpoint", endpoint)
    found = host_unit.status(deployment(), Host(f"Record=\nActiveState={active}\n"))  # type: ignore[arg-type]
    assert (found.state, found.detail, found.endpoint, found.release) == (
        "unknown",
        f"its unit is {active}; it cannot be asked from here: Port 1 is taken.",
        None,
        None,
    )


@pytest.mark.parametrize(
    ("said", "takes_key", "detail", "release"),
    [
        ("", True, "answers", None),
        ("NRestarts=0\nRelease=0123456789ab\n", True, "answers", "0123456789ab"),
        ("NRestarts=1\n", True, "answers; 1 restart", None),
        ("NRestarts=2\nRelease=0123456789ab\nTrial=unknown\n", True, "answers; 2 restarts", "unknown on trial"),
        ("NRestarts=2\n", False,
         "answers; 2 restarts; it has a key of its own until it is started anew: corral roll scout", None),
        ("", False, "answers; it has a key of its own until it is started anew: corral roll scout", None),
    ],
)  # fmt: skip
def test_a_server_that_is_asked_is_what_it_answers(
    said: str, takes_key: bool, detail: str, release: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tunnels, "endpoint", lambda *_: ENDPOINT)
    monkeypatch.setattr(host_unit, "verdict", {ENDPOINT: health.Verdict("serving", "answers", None)}.get)
    monkeypatch.setattr(one_key, "is_taken", lambda *_: takes_key)
    host = Host(f"Record=\nActiveState=active\n{said}")
    found = host_unit.status(deployment(), host)  # type: ignore[arg-type]
    assert (found.state, found.detail, found.endpoint, found.release) == (
        "serving",
        detail,
        ENDPOINT,
        release,
    )


@pytest.mark.parametrize(
    ("active", "sub", "is_before_start", "has_died"),
    [
        ("active", "running", False, False),
        ("activating", "start-pre", True, False),
        ("activating", "auto-restart", False, True),
        ("failed", "failed", False, True),
        ("inactive", "dead", False, False),
    ],
)
def test_what_a_unit_waits_for_and_whether_it_has_died(
    active: str, sub: str, is_before_start: bool, has_died: bool
) -> None:
    unit = UnitState(active=active, sub=sub)
    assert (unit.is_before_start, unit.has_died) == (is_before_start, has_died)


def test_a_stop_waits_for_requests_and_the_drain_and_then_some() -> None:
    assert host_unit.stop_timeout_s(deployment(shutdown_timeout=90)) == 2 * 90 + 120
