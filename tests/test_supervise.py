"""Starting a dead server again: the delays, the end of patience, and the real loop over a stand-in for vLLM."""

import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.deployment import Deployment, folder, make
from deploy.sizing.fit import Options
from deploy.sizing.size import plan_checkpoint
from deploy.supervise import supervise
from deploy.targets import local
from infra.errors import ServerError, UsageError
from serving import server, tiny
from serving.endpoint import Endpoint
from serving.health import CANARY_DEADLINE_S
from serving.supervise import Policy, delay_s

STUB = Path(__file__).parent / "data" / "stub_vllm.py"
POLICY = Policy()


@pytest.mark.parametrize(
    ("deaths", "now", "wait"),
    [
        ([], 100.0, 10),
        ([100.0], 100.0, 10),
        ([100.0, 130.0], 130.0, 20),
        ([100.0, 130.0, 170.0], 170.0, None),
        ([100.0, 130.0, 900.0], 900.0, 10),  # the first two are long ago
        ([0.0, 300.0, 600.0], 600.0, None),
        ([0.0, 300.0, 600.1], 600.1, 20),
    ],
)
def test_delays_double_and_patience_ends(deaths: list[float], now: float, wait: float | None) -> None:
    assert delay_s(deaths, now, POLICY) == wait


def test_a_delay_has_a_limit() -> None:
    assert delay_s([0.0] * 9, 0.0, POLICY.model_copy(update={"most_deaths": 10})) == 300


@pytest.fixture
def deployment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployment]:
    """A tiny model's deployment whose vLLM is the stub; whatever the test leaves running is ended."""
    vllm = tmp_path / "bin" / "vllm"
    vllm.parent.mkdir()
    vllm.write_text(f"#!{sys.executable}\n{STUB.read_text()}")
    vllm.chmod(0o755)
    monkeypatch.setenv("CORRAL_VLLM", str(vllm))
    plan = plan_checkpoint(tiny.make(tmp_path / "tiny"), options=Options(kv_cache_memory_bytes=2**26))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serve = plan.serve.model_copy(update={"port": listener.getsockname()[1], "shutdown_timeout": 1})
    made = make(plan.model_copy(update={"serve": serve}), "local")
    yield made
    for pid in server.members(folder(made.name)):
        os.kill(pid, signal.SIGKILL)


class Days:
    """A clock whose sleeps take no time, and let something happen while they last."""

    def __init__(self, deployment: Deployment, events: list[str]) -> None:
        self.deployment, self.events, self.now, self.slept = deployment, events, 0.0, list[float]()

    def __call__(self) -> float:
        return self.now

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
    supervise(deployment, told.append, POLICY, days.sleep, days)
    assert days.slept == [30, 30, 10, 30]
    assert len(told) == 2
    assert server.members(folder(deployment.name)) == ()


def test_patience_ends_with_the_cause(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUB", "dies")
    days = Days(deployment, [])
    with pytest.raises(ServerError) as caught:
        supervise(deployment, lambda _: None, POLICY, days.sleep, days)
    assert caught.value.message.startswith(
        "Gave up after 3 deaths in 10 minutes. The last: The server did not start: a GPU ran out of memory"
    )
    assert [each for each in days.slept if each >= 1] == [10, 20]


def test_a_server_that_hangs_is_ended_within_seventy_seconds(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It hangs right after a look. The looks are the real ones, but for how long they wait for a completion."""
    monkeypatch.setenv("STUB", "canary-hangs-later")
    monkeypatch.setattr("serving.health.look.__defaults__", (0.3,))
    days = Days(deployment, ["", "", "", "stop"])
    policy = POLICY.model_copy(update={"most_deaths": 1})
    with pytest.raises(
        ServerError, match=r"The last: The server hung: /health answers 200, but a completion"
    ):
        supervise(deployment, lambda _: None, policy, days.sleep, days)
    assert days.slept == [30, 5]
    assert sum(days.slept) + 2 * CANARY_DEADLINE_S <= 70


def test_ctrl_c_ends_the_server_too(deployment: Deployment) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        supervise(deployment, lambda _: None, POLICY, interrupt)
    assert server.members(folder(deployment.name)) == ()


def test_elsewhere_it_is_not_ours_to_supervise(deployment: Deployment) -> None:
    with pytest.raises(UsageError, match="Only a server of this machine"):
        supervise(deployment.model_copy(update={"target": "ec2"}), lambda _: None, POLICY)
