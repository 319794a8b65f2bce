"""What every place can do, in the order of the calls, and what it answers. What only some can is in abilities.py."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from pydantic import Field

from deploy.targets.deployment import Deployment
from infra.record import Record
from serving.vllm.endpoint import Endpoint

LOOK_S = 90.0
"""For all that one look at a deployment or a host asks, whoever is asked: none of them can hold it up for longer."""

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
    """What was looked at."""
    outcome: Literal["ok", "warning", "failed"]
    """Whether it stands in the way."""
    found: str
    """What was found, in words."""
    fix: str = ""
    """What to do about it; empty where nothing needs doing."""


class Checkup(Check):
    """One thing that was looked at, and what the line would end with because of it."""

    exit_code: int = 0
    """Of the failure; 0 where this is no obstacle to the line."""


class Replica(Record):
    """One of several engines of a deployment, each on a machine of its own."""

    name: str
    """As its gateway names it."""
    state: State
    """Of its server."""
    detail: str
    """Why, in words; empty where the state says all."""
    endpoint: Endpoint | None = None
    """Where it answers from here; null where it does not."""
    release: str | None = None
    """The release that it starts; null where that is the first, or cannot be told. `ID on trial` until it is kept."""


class Status(Record):
    """What a deployment is doing now, asked from the machine itself."""

    name: str
    """The deployment's."""
    target: str
    """Where it is: local, ssh or ec2."""
    state: State
    """What its server is doing, judged by asking it."""
    detail: str
    """Why, in words; empty where the state says all."""
    endpoint: Endpoint | None = None
    """Where it answers from here: the first of several replicas."""
    endpoints: tuple[Replica, ...] = Field(default=(), exclude_if=lambda replicas: not replicas)
    """Every replica and where it answers from here; absent where it is one engine."""
    usd_so_far: float | None = None
    """Since its start, by list price; null where nothing is rented, or the price is not known."""
    expires_at: str | None = None
    """When it ends itself (UTC); null where it does not."""
    release: str | None = None
    """The accepted release, where the place can have several: engine version, commit and options as one id."""
    adapters: tuple[str, ...] = Field(default=(), exclude_if=lambda names: not names)
    """What clients may ask for beside the model; absent where there is nothing."""
    gateway: str | None = Field(default=None, exclude_if=lambda url: url is None)
    """Where clients ask it through its gateway, while that runs; absent where there is none."""
    taken_out: tuple[str, ...] = Field(default=(), exclude_if=lambda names: not names)
    """The servers that were taken out of that gateway's rotation, and get no requests; absent where there is none."""


def together(names: Sequence[str], statuses: Sequence[Status], replicas: Sequence[str] = ()) -> Status:
    """Several machines as one deployment: as well as the worst of them, reached at the first.

    With the names that a gateway gives them, where each has an engine of its own.
    """
    worst = max(statuses, key=lambda status: SEVERITY.index(status.state))
    if len(statuses) == 1:
        return worst
    detail = "; ".join(
        f"{name}: {status.state}{f' at {status.endpoint.base_url}' if status.endpoint else ''}, {status.detail}"
        for name, status in zip(names, statuses, strict=True)
    )
    each = tuple(
        Replica(
            name=name,
            state=status.state,
            detail=status.detail,
            endpoint=status.endpoint,
            release=status.release,
        )
        for name, status in zip(replicas, statuses, strict=False)
    )
    return worst.model_copy(
        update={"detail": detail, "endpoint": statuses[0].endpoint, "endpoints": each, "release": None}
    )


class Teardown(Record):
    """The proof of a teardown: how many of each resource type remain, and which."""

    name: str
    """As it was asked for."""
    counts: dict[str, int]
    """Resource type -> how many are still there (all zero when clean)."""
    left: tuple[str, ...]
    """What could not be taken away, a line each; empty when clean."""
    account: str = ""
    """The cloud's account that was searched, where there is one."""
    kept: tuple[str, ...] = ()
    """What stays on purpose, with its size: weights that other deployments may share."""
    found: bool = Field(default=True, exclude_if=lambda found: found)
    """Whether anything had that name; told where nothing did, which proves nothing about what was meant."""
    others: tuple[str, ...] = Field(default=(), exclude_if=lambda others: not others)
    """What is there under other names, told with it: it may be what was meant, and cost."""
    audit: str = Field(default="", exclude_if=lambda audit: not audit)
    """Where what its gateway noted of each request stays; absent where there is nothing."""


@dataclass(frozen=True)
class Offer:
    """What a place would make ready, looked at: nothing is changed or paid for yet."""

    deployment: Deployment
    """At the commit of its weights, and where it would be."""
    checks: tuple[Check, ...]
    cost: str = ""
    """What is rented and what it costs, to be agreed to; empty where nothing is."""
    sent: tuple[str, ...] = ()
    """What leaves this machine: files, how many, how much, and where to."""
    is_planned: bool = False
    """Whether a plan names some of them, so that it is to be agreed to: it may be somebody else's plan."""


class Place(Protocol):
    """A module with these functions is a place. They are called in this order: `foreseen`, `wished`, `look`, `make`.

    The wishes are the record that the table of places names, or None; an offer is the place's own to add to.
    """

    def foreseen(self, wishes: Any) -> Any:
        """The wishes as they are meant here for any plan. Raises UsageError for what no plan can mend; asks nobody."""
        ...

    def wished(self, deployment: Deployment, wishes: Any) -> tuple[Deployment, Any]:
        """Both as they are meant here: what one says is known to the other. Raises UsageError; asks nobody."""
        ...

    def with_token_file(self, deployment: Deployment, path: str | None) -> Deployment:
        """With the file of this machine that holds the model hub's token. Raises UsageError where none is sent."""
        ...

    def requests(self, deployment: Deployment, wishes: Any = None) -> list[dict[str, object]]:
        """What would be asked of the world, as values, for --dry-run; without wishes, of what was made. Asks nobody."""
        ...

    def refuse_offline(self, deployment: Deployment, is_made: bool) -> None:
        """Raise UsageError where the internet is forbidden and making it would ask it, or serving it once it is made.

        DocumentError for a draft that is not here. Asks nobody: a dry run is refused as the run is.
        """
        ...

    def examined(self, deployment: Deployment | None, wishes: Any) -> Iterator[Checkup]:
        """All that can be known beforehand, for a plan or for any, none of it hiding another; changes nothing."""
        ...

    def look(self, deployment: Deployment, wishes: Any, to_serve: bool) -> AbstractContextManager["Offer"]:
        """Look, and hold the deployment until it is made; changes nothing. Raises what stands against it.

        What is to serve next may need more than what is only made: better told before it costs.
        """
        ...

    def make(self, offer: Any) -> Deployment:
        """Make the machine ready, and keep the document. Safe to call again after a failure."""
        ...

    def where(self, deployment: Deployment) -> str:
        """Where it is, in words."""
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
        """Stop the server; what a rented machine costs stopped is its status's to say."""
        ...

    def down(self, deployment: Deployment) -> Teardown:
        """Take everything away and prove it."""
        ...

    def without_document(self, name: str) -> str:
        """What to do for a deployment that was here, and whose document cannot be read; empty for nothing to say."""
        ...
