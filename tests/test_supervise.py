"""Starting a dead server again: the delays, the end of patience, and the real loop over a stand-in for vLLM."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import stubbed
from stubbed import Patience, members

from deploy.launch import launch, with_port
from deploy.supervise import supervise
from deploy.targets.deployment import Deployment, folder
from deploy.targets.local import place as local
from infra.errors import ServerError, UsageError
from infra.onhost.judge import Policy
from serving.sizing.plan import Plan
from serving.vllm import server
from serving.vllm.endpoint import Endpoint
from serving.vllm.health import CANARY_DEADLINE_S

POLICY = Policy()


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return stubbed.a_plan(tmp_path_factory.mktemp("plan"))


@pytest.fixture
def deployment(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployment]:
    """A tiny model's deployment whose vLLM is the stub; whatever the test leaves running is ended."""
    made = stubbed.a_deployment(plan, tmp_path, monkeypatch)
    Patience(made, monkeypatch)
    yield made
    stubbed.kill(made)


class Days:
    """A clock whose sleeps take no time, and let something happen while they last."""

    def __init__(self, deployment: Deployment, events: list[str]) -> None:
        self.deployment, self.events, self.now, self.slept = deployment, events, 0.0, list[float]()

    def __call__(self) -> float:
        return self.now

    def drawn(self) -> float:
        return 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept.append(seconds)
        event = self.events.pop(0) if seconds == POLICY.look_every_s else ""
        if event == "kill":
            leader = server.load(folder(self.deployment.name))
            assert leader is not None
            os.kill(leader.leader.pid, signal.SIGKILL)
            os.waitpid(leader.leader.pid, 0)
        if event == "stop":
            local.stop(self.deployment)


def test_a_killed_server_is_started_again_until_somebody_stops_it(deployment: Deployment) -> None:
    days, told = Days(deployment, ["", "kill", "stop"]), list[Endpoint]()
    supervise(deployment, told.append, POLICY, days.sleep, days, drawn=days.drawn)
    assert days.slept == [30, 30, 10, 30]
    assert len(told) == 2
    assert members(deployment) == ()


def test_patience_ends_with_the_cause(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUB", "dies")
    days = Days(deployment, [])
    with pytest.raises(ServerError) as caught:
        supervise(deployment, lambda _: None, POLICY, days.sleep, days, drawn=days.drawn)
    assert caught.value.message.startswith(
        "Gave up after 3 starts that did not get ready, without an hour of service between. "
        "The last: The server did not start: a GPU ran out of memory"
    )
    assert [each for each in days.slept if each >= 1] == [10, 20]
    place = folder(deployment.name)
    assert caught.value.hint == (
        f"Mend the cause and serve again. The first log: {place}/first-death; the last: corral logs {deployment.name}"
    )
    assert (place / "first-death" / "vllm.log").read_text() == (place / "vllm.log").read_text()
    assert len({(place / name / "vllm.log").stat().st_ino for name in ("", "first-death", "last-log")}) == 3


def test_a_server_that_hangs_is_ended_within_seventy_seconds(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It hangs right after a look. The looks are the real ones, but for how long they wait for a completion."""
    monkeypatch.setenv("STUB", "canary-hangs-later")
    monkeypatch.setattr("serving.vllm.health.look.__defaults__", (0.3,))
    days = Days(deployment, ["", "", "", "stop"])
    policy = POLICY._replace(most_ends=1)
    with pytest.raises(
        ServerError, match=r"The last: The server hung: /health answers 200, but a completion"
    ):
        supervise(deployment, lambda _: None, policy, days.sleep, days, drawn=days.drawn)
    assert days.slept == [30, 5]
    assert sum(days.slept) + 2 * CANARY_DEADLINE_S <= 70


def test_ctrl_c_ends_the_server_too(deployment: Deployment) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        supervise(deployment, lambda _: None, POLICY, interrupt)
    assert members(deployment) == ()


def test_what_another_serves_there_is_left_alone(deployment: Deployment) -> None:
    launch(deployment)
    other = with_port(deployment, deployment.plan.serve.port + 1)
    with pytest.raises(UsageError, match="other options"):
        supervise(other, lambda _: None, POLICY)
    assert members(deployment) != ()


def test_elsewhere_it_is_not_ours_to_supervise(deployment: Deployment) -> None:
    with pytest.raises(UsageError, match="Only a server of this machine"):
        supervise(deployment.model_copy(update={"target": "ec2"}), lambda _: None, POLICY)
