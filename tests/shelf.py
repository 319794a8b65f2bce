"""A place that holds releases and runs no process: what it runs is a word in a file."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.targets.deployment import Deployment, folder
from deploy.targets.hub_weights import with_token_file as with_token_file
from deploy.targets.place import Check, Offer, State, Status
from infra.errors import ServerError, UsageError
from infra.onhost.history import Name
from infra.record import write_text_atomically
from serving.vllm import events
from serving.vllm.endpoint import Endpoint

BROKEN: set[str] = set()
"""Versions that do not start."""
GONE: set[str] = set()


def machine(name: str) -> Path:
    """Where it is noted what runs."""
    return folder(name) / "machine"


def runs(name: str) -> str:
    """The version that runs; "" for none."""
    return machine(name).read_text() if machine(name).exists() else ""


def put(name: str, version: str) -> None:
    """Let it run that version."""
    write_text_atomically(machine(name), version)


def engine_version(deployment: Deployment) -> str:
    return deployment.engine or "1.0.0"


def pinned(deployment: Deployment) -> Deployment:
    return deployment.model_copy(update={"engine": engine_version(deployment)})


def with_engine(deployment: Deployment, version: str | None, engine: str | None) -> Deployment:
    if version == "9.9.9":
        raise UsageError("There is no 9.9.9.", "Take another.")
    return deployment.model_copy(update={"engine": version or engine})


def refuse_offline(deployment: Deployment, is_made: bool) -> None:
    """It asks nobody."""


def settled(deployment: Deployment) -> tuple[Deployment, tuple[Check, ...]]:
    return deployment, ()


@contextmanager
def look(deployment: Deployment, wishes: None, to_serve: bool) -> Iterator[Offer]:
    yield Offer(deployment, ())


def make(offer: Offer) -> Deployment:
    return offer.deployment


def bring(deployment: Deployment, about: tuple[Check, ...], approve: Callable[[Offer], None]) -> None:
    approve(Offer(deployment, about))


def remember(deployment: Deployment) -> None:
    """Nothing to do."""


def missing(deployment: Deployment) -> str:
    return f"its engine {deployment.engine}" if deployment.engine in GONE else ""


def note(deployment: Deployment, event: Name, cause: str) -> None:
    events.note(folder(deployment.name), event, cause)


def turn_to(deployment: Deployment) -> Endpoint:
    put(deployment.name, "")
    if engine_version(deployment) in BROKEN:
        raise ServerError(f"{engine_version(deployment)} died.", "Mend it.")
    put(deployment.name, engine_version(deployment))
    return Endpoint(
        base_url=f"http://{engine_version(deployment)}", served_model_name="tiny", api_key_file=None
    )


def keep(deployment: Deployment) -> None:
    """Nothing to do."""


def let_go(deployment: Deployment) -> None:
    put(deployment.name, "")


def serve(deployment: Deployment) -> Endpoint:
    if runs(deployment.name) != engine_version(deployment):
        return turn_to(deployment)
    return Endpoint(base_url="http://there", served_model_name="tiny", api_key_file=None)


def status(deployment: Deployment) -> Status:
    running = runs(deployment.name)
    state: State = "serving" if running else "stopped"
    endpoint = Endpoint(base_url=f"http://{running}", served_model_name="tiny", api_key_file=None)
    return Status(
        name=deployment.name, target="shelf", state=state, detail=running or "nothing", endpoint=endpoint
    )
