"""Why a server on another machine died: its unit's log, that machine's kernel, and a step that can be done there."""

import shlex
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fake_aws import Clock

from deploy.targets import host_deaths
from deploy.targets.deployment import make
from deploy.targets.ec2 import boxes
from deploy.targets.ssh import host_unit
from infra.aws import rented_machines, session
from infra.aws.session import Answer
from infra.errors import HostError, ServerError
from infra.onhost.judge import Look
from infra.rented import Rented
from infra.ssh import Done, Host
from serving.sizing.size import answer_for
from serving.sizing.size_options import Options
from serving.vllm import health
from serving.vllm.endpoint import Endpoint
from serving.vllm.startup_log import load_budget_s

OOM = "RuntimeError: No available memory for the cache blocks\n"
BOX = Rented(
    instance_id="i-1",
    deployment="t1",
    region="us-east-1",
    zone="us-east-1a",
    instance_type="g5.12xlarge",
    purchase="on-demand",
    state="running",
    launched_at=datetime(2026, 11, 29, tzinfo=UTC),
)
XID = "NVRM: Xid (PCI:0000:01:00): 79, GPU has fallen off the bus.\n"


class Hosted(Host):
    """A host that answers one command."""

    def run(self, command: Any, **given: Any) -> Done:
        assert given == {"as_root": True, "check": False}
        assert command == host_deaths.kernel_command("t1")
        return Done(code=0, stdout=XID, stderr="")


def test_a_death_on_a_host_is_told_with_what_its_kernel_said() -> None:
    found = host_unit.death(Hosted("gpu-1"), "t1", OOM)
    assert found.name == "gpu-reboot"
    assert found.next.endswith("See there (ssh gpu-1): nvidia-smi; sudo dmesg -T | grep -i xid")


@pytest.mark.parametrize(
    ("exit_code", "cause"),
    [
        (
            0,
            "it was killed (SIGKILL), and not by the kernel: by a person, or by a program that watches processes",
        ),
        (1, "it was killed (SIGKILL), most likely by the kernel because the machine's memory was full"),
    ],
)
def test_a_kernel_that_cannot_be_asked_is_not_taken_for_silent(exit_code: int, cause: str) -> None:
    log = "corral-t1.service: Main process exited, code=killed, status=9/KILL\n"
    assert host_deaths.explain(log, "", exit_code, "ssh gpu-1").cause == cause


@pytest.mark.parametrize(
    ("boot", "since", "code", "said"),
    [("line", "@1000", 0, "--since=@100"), ("line", "", 0, "--since=@0"), ("", "@1000", 1, "")],
)
def test_the_command_asks_from_before_the_last_start(
    tmp_path: Path, boot: str, since: str, code: int, said: str
) -> None:
    """By a systemctl and a journalctl that tell what they are asked."""
    for name, text in (
        ("systemctl", f"echo '{since}'"),
        (
            "journalctl",
            f'case "$*" in *--lines=1) echo "{boot}";; *) for each; do last=$each; done; echo "$last";; esac',
        ),
    ):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    done = subprocess.run(
        host_deaths.kernel_command("t1"),
        env={"PATH": f"{tmp_path}:/bin:/usr/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (code, said)


def rented(monkeypatch: pytest.MonkeyPatch, *answers: Answer | HostError) -> ServerError:
    """The failure of a rented box that answers so, one command after another."""
    left = list(answers)

    def run(instance_id: str, region: str, words: str) -> Answer:
        answer = left.pop(0)
        if isinstance(answer, HostError):
            raise answer
        return answer

    monkeypatch.setattr(session, "run", run)
    deployment = make(answer_for("scout", "int4", "g5.12xlarge", Options()), "ec2", "t1")
    return boxes.explained(deployment, BOX, ServerError("The server died.", "See its log."))


def test_a_death_on_a_rented_box_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    error = rented(monkeypatch, Answer(text=OOM, exit_code=0), Answer(text="", exit_code=0))
    assert error.message == (
        "The server on i-1 did not start: the weights and the activations leave no memory for the KV cache."
    )
    assert error.hint == (
        "Use more or larger GPUs, a smaller precision, or a higher --gpu-memory-utilization: corral size shows which. "
        "It still costs: corral down t1"
    )


@pytest.mark.parametrize(
    "answers",
    [
        (HostError("No.", "Why."),),
        (Answer(text=OOM, exit_code=0), HostError("No.", "Why.")),
        (Answer(text="nothing", exit_code=0), Answer(text="", exit_code=1)),
        (Answer(text=OOM, exit_code=1), Answer(text="", exit_code=0)),
    ],
)
def test_a_box_that_tells_nothing_leaves_the_failure_as_it_was(
    monkeypatch: pytest.MonkeyPatch, answers: tuple[Answer | HostError, ...]
) -> None:
    error = rented(monkeypatch, *answers)
    assert (error.message, error.hint) == (
        "The server died.",
        "Read why: corral logs t1; it still costs: corral down t1",
    )


@pytest.mark.parametrize(("early_s", "asked"), [(4000.0, 268), (0.0, 1)])
def test_what_a_box_does_before_the_start_takes_nothing_of_the_loads_time(
    early_s: float, asked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sums of large weights, then a load of most of its budget; nothing is asked of it once it loads."""
    made, clock, heard = (
        make(answer_for("scout", "int4", "g5.12xlarge", Options()), "ec2", "t1"),
        Clock(0),
        [],
    )
    budget_s = load_budget_s(made.plan.weights_bytes)

    def run(instance_id: str, region: str, words: str) -> Answer:
        assert shlex.split(words) == [
            "systemctl",
            "show",
            "--value",
            "--property=SubState",
            "corral-t1.service",
        ]
        heard.append(instance_id)
        return Answer(text="start-pre\n" if clock() < early_s else "running\n", exit_code=0)

    def judge(*_: object) -> health.Verdict:
        is_loading = clock() < early_s + budget_s - 10
        look = Look(0.0, "refuse", "refuse", "refuse", "refuse")
        return health.Verdict("starting" if is_loading else "serving", "", look if is_loading else None)

    monkeypatch.setattr(session, "run", run)
    monkeypatch.setattr(boxes, "ending", lambda *_: None)
    monkeypatch.setattr(rented_machines, "failing_checks", lambda *_: "")
    monkeypatch.setattr(health, "look", lambda *_: None)
    monkeypatch.setattr(health, "judge", judge)
    aws: Any = SimpleNamespace(clock=clock, sleep=lambda seconds: clock.sleep(5 * seconds))
    boxes.wait_ready(aws, made, (BOX,), Endpoint(base_url="http://127.0.0.1:1", served_model_name="m"))
    assert early_s + budget_s - 10 <= clock() < early_s + budget_s + 20
    assert len(heard) == asked


def test_of_a_server_over_several_boxes_the_first_is_asked_why_it_did_not_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def given_up(*_: object) -> None:
        raise ServerError("It is not ready.", "")

    monkeypatch.setattr(health, "wait_until_ready", given_up)
    monkeypatch.setattr(boxes, "is_before_start", lambda *_: False)
    monkeypatch.setattr(boxes, "explained", lambda _, box, error: ServerError(box.instance_id, error.message))
    made = make(answer_for("scout", "int4", "g5.12xlarge", Options()), "ec2", "t1")
    aws: Any = SimpleNamespace(clock=lambda: 0.0, sleep=None, say=None)
    both = (BOX, BOX.model_copy(update={"instance_id": "i-2"}))
    with pytest.raises(ServerError) as caught:
        boxes.wait_ready(aws, made, both, Endpoint(base_url="http://127.0.0.1:1", served_model_name="m"))
    assert (caught.value.message, caught.value.hint) == ("i-1", "It is not ready.")
