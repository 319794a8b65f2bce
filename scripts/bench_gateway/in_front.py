"""A gateway before a server, on a core of its own, with so many keys."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from clients import ROOT

from deploy.gateway import gateway, haproxy, key_store
from deploy.gateway import keys as keys_of
from deploy.gateway.gateway_options import GatewayOptions
from deploy.gateway.keys import KeyLimits, Keys
from deploy.targets.deployment import Deployment
from deploy.targets.deployment import folder as folder_of
from serving.sizing.plan import Plan

CORE = 1
"""HAProxy's, who has it alone; for root before all else there."""


@contextmanager
def opened(built: Path, server_port: int, keys: int) -> Iterator[tuple[int, tuple[int, ...]]]:
    """The port to ask, and the processes of what stands between: a gateway with so many keys, or nothing."""
    if not keys:
        yield server_port, ()
        return
    os.environ["CORRAL_HOME"] = str(built / f"home-{keys}")
    plan = Plan.read(ROOT / "tests/data/hosts/plan.json")
    plan = plan.model_copy(update={"serve": plan.serve.model_copy(update={"port": server_port})})
    served = Deployment(name="front", target="local", plan=plan, created_at=datetime.now(UTC))
    folder = folder_of("front")
    served.write(folder / "deployment.json")
    (folder / "api-key").write_text("sk-of-the-engine\n")
    asked = GatewayOptions(
        port=free_port(),
        requests_per_minute=1_000_000,
        requests_at_once=4096,
    )
    place = gateway.folder("front")
    if not (key := folder / "key").exists():  # made once: 10,000 take seconds
        made = [keys_of.made(f"person-{number}", KeyLimits(), keys_of.now_utc()) for number in range(keys)]
        Keys(keys=tuple(kept for kept, _ in made)).write(place / key_store.DOCUMENT)
        key.write_text(made[-1][1].key)
    with ending_with_this(place), patched("CORRAL_API_KEY", key.read_text()):
        gateway.start(served, asked)
        members = haproxy.members(place)
        for pid in members:
            os.sched_setaffinity(pid, {CORE})
            with suppress(PermissionError):
                os.sched_setscheduler(pid, os.SCHED_FIFO, os.sched_param(1))
        yield asked.port, members


@contextmanager
def patched(name: str, value: str) -> Iterator[None]:
    """A variable of the environment for a while."""
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]


END = (
    "import sys; from pathlib import Path; from deploy.gateway import haproxy; "
    "sys.stdin.read(); haproxy.stop(Path(sys.argv[1]), 0)"
)


@contextmanager
def ending_with_this(place: Path) -> Iterator[None]:
    """A gateway outlives whoever starts it: a process beside it ends it when this one has gone, killed too."""
    command = [sys.executable, "-c", END, str(place)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as beside:
        try:
            yield
        finally:
            beside.communicate()


def free_port() -> int:
    """One that nothing listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def cpu_s(pid: int) -> float:
    """What a process took so far."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
