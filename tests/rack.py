"""A place of several engines, each of a known schedule (tests/fake_llm.py) and behind a tunnel (tests/relay.py)."""

import subprocess
import sys
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path

from fake_server import FakeServer
from ports import free_port
from stubbed import until

from deploy.targets.deployment import Deployment, folder
from deploy.targets.place import Check, Offer, State, Status, together
from infra.errors import ServerError
from infra.onhost.history import Name
from serving.vllm import events, stopping
from serving.vllm.endpoint import Endpoint

CONFIG: dict[str, float] = {"ttft_ms": 1, "itl_ms": 5}
BROKEN: set[str] = set()
"""Engines' versions that do not start, as VERSION@HOST or VERSION."""


class Unit:
    """One engine and the end of the tunnel to it."""

    def __init__(self, key: str) -> None:
        self.key, self.version, self.kept = key, "", ""
        self.process: FakeServer | None = None
        self.had: list[float | None] = []
        """How many requests it had whenever it was ended."""
        self.behind = free_port()
        relay = [sys.executable, str(Path(__file__).with_name("relay.py")), str(self.behind)]
        self.tunnel = subprocess.Popen(relay, stdout=subprocess.PIPE, text=True)
        assert self.tunnel.stdout
        self.port = int(self.tunnel.stdout.readline())

    def start(self, version: str) -> None:
        self.version = version
        self.process = FakeServer(port=self.behind, key=self.key, **CONFIG)
        until(self.is_well)

    def is_well(self) -> bool:
        door = HTTPConnection("127.0.0.1", self.behind, timeout=10)
        try:
            door.request("GET", "/health")
            return door.getresponse().status == 200
        except OSError:
            return False
        finally:
            door.close()

    def state(self) -> State:
        return "serving" if self.is_well() else "dead"

    def end(self) -> None:
        """At once, whatever it has."""
        if self.process:
            self.had.append(
                stopping.requests_of(
                    Endpoint(base_url=f"http://127.0.0.1:{self.behind}", served_model_name="fake")
                )
            )
            self.process.kill()
            self.process = None


UNITS: dict[str, Unit] = {}


def clear() -> None:
    for unit in UNITS.values():
        unit.end()
        unit.tunnel.kill()
        unit.tunnel.communicate()
    UNITS.clear()
    BROKEN.clear()


def at(deployment: Deployment) -> Endpoint:
    return Endpoint(
        base_url=f"http://127.0.0.1:{UNITS[deployment.hosts[0]].port}",
        served_model_name="fake",
        api_key_file=folder(deployment.name) / "api-key",
    )


def replicas(deployment: Deployment) -> dict[str, Deployment]:
    return {host: deployment.model_copy(update={"hosts": (host,)}) for host in deployment.hosts}


def count(deployment: Deployment) -> int:
    return len(deployment.hosts)


def answering(deployment: Deployment, opens: bool) -> dict[str, Endpoint]:
    return {name: at(each) for name, each in replicas(deployment).items()}


def share_key(deployment: Deployment) -> None:
    """They have one."""


def status(deployment: Deployment) -> Status:
    each = [
        Status(
            name=deployment.name,
            target="rack",
            state=UNITS[host].state(),
            detail=UNITS[host].version,
            endpoint=at(deployment.model_copy(update={"hosts": (host,)})),
            release=UNITS[host].kept or None,
        )
        for host in deployment.hosts
    ]
    found = together(deployment.hosts, each, deployment.hosts)
    return found if len(each) > 1 else each[0]


def engine_version(deployment: Deployment) -> str:
    return deployment.engine or "1.0.0"


def pinned(deployment: Deployment) -> Deployment:
    return deployment.model_copy(update={"engine": engine_version(deployment)})


def with_engine(deployment: Deployment, version: str | None, engine: str | None) -> Deployment:
    return deployment.model_copy(update={"engine": version or engine})


def with_token_file(deployment: Deployment, path: str | None) -> Deployment:
    return deployment


def settled(deployment: Deployment) -> tuple[Deployment, tuple[Check, ...]]:
    return deployment, ()


def bring(deployment: Deployment, about: tuple[Check, ...], approve: Callable[[Offer], None]) -> None:
    approve(Offer(deployment, about))


def remember(deployment: Deployment) -> None:
    """Nothing to do."""


def missing(deployment: Deployment) -> str:
    return ""


def note(deployment: Deployment, event: Name, cause: str) -> None:
    events.note(folder(deployment.name), event, cause)


def turn_to(deployment: Deployment) -> Endpoint:
    (host,) = deployment.hosts
    version = engine_version(deployment)
    UNITS[host].end()
    if BROKEN & {version, f"{version}@{host}"}:
        raise ServerError(f"{version} died.", "Mend it.")
    UNITS[host].start(version)
    return at(deployment)


def restart(deployment: Deployment) -> Endpoint:
    return turn_to(deployment)


def require_whole(deployment: Deployment) -> None:
    pass


def keep(deployment: Deployment) -> None:
    (host,) = deployment.hosts
    UNITS[host].kept = deployment.release


def let_go(deployment: Deployment) -> None:
    for host in deployment.hosts:
        UNITS[host].end()
