"""The verbs every target has, and what they answer."""

from collections.abc import Iterator, Sequence
from typing import Literal, Protocol

from deploy.targets.deployment import Deployment
from infra.record import Record
from serving.vllm.endpoint import Endpoint

State = Literal[
    "absent",
    "provisioned",
    "starting",
    "serving",
    "degraded",
    "hung",
    "stopped",
    "dead",
    "interrupted",
    "unknown",
]

# From well to ill.
SEVERITY: tuple[State, ...] = (
    "serving",
    "starting",
    "provisioned",
    "stopped",
    "degraded",
    "hung",
    "dead",
    "interrupted",
    "absent",
    "unknown",
)


class Check(Record):
    """One preflight check: what was looked at, what was found, and how to mend it."""

    name: str
    outcome: Literal["ok", "warning", "failed"]
    found: str
    fix: str = ""


class Status(Record):
    """What a deployment is doing now, asked from the machine itself."""

    name: str
    target: str
    state: State
    detail: str
    endpoint: Endpoint | None = None
    usd_so_far: float | None = None
    expires_at: str | None = None


def together(names: Sequence[str], found: Sequence[Status]) -> Status:
    """Several machines as one deployment: as well as the worst of them, reached at the first."""
    worst = max(found, key=lambda one: SEVERITY.index(one.state))
    if len(found) == 1:
        return worst
    detail = "; ".join(
        f"{name}: {one.state}{f' at {one.endpoint.base_url}' if one.endpoint else ''}, {one.detail}"
        for name, one in zip(names, found, strict=True)
    )
    return worst.model_copy(update={"detail": detail, "endpoint": found[0].endpoint})


class Teardown(Record):
    """The proof of a teardown: how many of each resource type remain, and which."""

    name: str
    counts: dict[str, int]
    """Resource type -> how many are still there (all zero when clean)."""
    left: tuple[str, ...]
    account: str = ""
    """The AWS account that was searched, for target ec2."""
    kept: tuple[str, ...] = ()
    """What stays on purpose, with its size: weights that other deployments may share."""


class Target(Protocol):
    """A module with these functions is a target."""

    def settled(self, deployment: Deployment) -> tuple[Deployment, tuple[Check, ...]]:
        """The deployment at the commit of its weights, and the check of them. Raises what forbids their fetching."""
        ...

    def preflight(self, deployment: Deployment) -> tuple[Check, ...]:
        """Look before anything is changed or paid for; changes nothing."""
        ...

    def requests(self, deployment: Deployment) -> list[dict[str, object]]:
        """What would be asked of the world, as values, for --dry-run."""
        ...

    def provision(self, deployment: Deployment) -> None:
        """Make the machine ready. Safe to call again after a failure."""
        ...

    def serve(self, deployment: Deployment) -> Endpoint:
        """Start the server and return once it has answered a real completion."""
        ...

    def endpoint(self, deployment: Deployment) -> Endpoint:
        """Where the server answers from here, by a tunnel that is opened if need be; starts nothing."""
        ...

    def shell(self, deployment: Deployment) -> tuple[str, ...]:
        """The command that opens a shell on its (first) machine."""
        ...

    def status(self, deployment: Deployment) -> Status:
        """Ask the machine, not our documents."""
        ...

    def logs(self, deployment: Deployment, follow: bool) -> Iterator[str]:
        """The server's log, line by line."""
        ...

    def stop(self, deployment: Deployment) -> None:
        """Stop the server; keep the machine."""
        ...

    def down(self, deployment: Deployment) -> Teardown:
        """Take everything away and prove it."""
        ...
