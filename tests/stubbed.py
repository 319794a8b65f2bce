"""What the tests of a server on this machine share: a deployment whose vLLM is a stand-in."""

import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
from ports import free_port

from deploy.targets.deployment import Deployment, folder, make
from deploy.targets.local import starting
from serving.model import tiny
from serving.sizing.plan import Plan
from serving.sizing.size import answer_for
from serving.sizing.size_options import Options
from serving.vllm import server

STUB = Path(__file__).parent / "data" / "stub_vllm.py"


def a_plan(folder: Path) -> Plan:
    """A plan of a tiny model for this machine, with a short drain; it is looked at for that, which takes a while."""
    model = tiny.make(folder / "tiny")
    plan = answer_for(str(model), None, "local", Options(kv_cache_memory_bytes=2**26))
    return plan.model_copy(update={"serve": plan.serve.model_copy(update={"shutdown_timeout": 1})})


def a_deployment(plan: Plan, place: Path, monkeypatch: pytest.MonkeyPatch) -> Deployment:
    """The plan's deployment on a free port, whose vLLM is the stub."""
    vllm = place / "bin" / "vllm"
    vllm.parent.mkdir()
    vllm.write_text(f"#!{sys.executable}\n{STUB.read_text()}")
    vllm.chmod(0o755)
    monkeypatch.setenv("CORRAL_VLLM", str(vllm))
    serve = plan.serve.model_copy(update={"port": free_port()})
    return make(plan.model_copy(update={"serve": serve}), "local")


def members(deployment: Deployment) -> tuple[int, ...]:
    """The living processes of its server."""
    return server.members(folder(deployment.name))


def kill(deployment: Deployment) -> None:
    """End whatever a test leaves running, and remove the folder of its sockets."""
    for pid in members(deployment):
        with suppress(ProcessLookupError):  # what writes the log ends with the server
            os.kill(pid, signal.SIGKILL)
    shutil.rmtree(server.temporary(folder(deployment.name)), ignore_errors=True)


def until(condition: Callable[[], bool]) -> None:
    """Wait for a thing that must happen; the test's own time limit ends a wait for what does not."""
    while not condition():
        time.sleep(0.02)


class Patience:
    """The clock of whoever waits for a server to start. Sleeping moves it, once the server listens or has ended."""

    def __init__(self, deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
        self.deployment, self.now_s = deployment, 0.0
        monkeypatch.setattr(starting, "time", SimpleNamespace(sleep=self.sleep, monotonic=lambda: self.now_s))

    def sleep(self, seconds: float) -> None:
        """Wait for the server, however slow the machine is."""
        until(lambda: self.listens() or not members(self.deployment))
        self.now_s += seconds

    def listens(self) -> bool:
        """Whether somebody does on the server's port."""
        with socket.socket() as asking:
            return asking.connect_ex(("127.0.0.1", self.deployment.plan.serve.port)) == 0
