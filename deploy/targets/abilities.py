"""What only some places can do: a place that has the functions of one of these can, and is asked with isinstance."""

from datetime import datetime
from pathlib import Path
from typing import Protocol, runtime_checkable

from deploy.targets.deployment import Deployment
from deploy.targets.place import Teardown
from infra.egress_proof import Egress
from infra.record import Record
from infra.rented import Rented


@runtime_checkable
class PreparesToServe(Protocol):
    """Costs nothing and asks nobody: `serve` makes it ready, too."""

    def prepared(self, deployment: Deployment) -> Deployment:
        """Make ready what does not run, at the commit of its weights. Raises UsageError where other options run."""
        ...


@runtime_checkable
class SendsFiles(Protocol):
    """Files of this machine that a plan names are sent there: a plan may be somebody else's."""

    def check_files(self, deployment: Deployment, beside: Path) -> None:
        """Look at what a plan that lies in that folder names. Raises UsageError for what is not to leave."""
        ...


@runtime_checkable
class KeepsFirstDeath(Protocol):
    """Nobody else starts a server again there: `serve --supervise` does."""

    def keep_first_death(self, deployment: Deployment) -> None:
        """Keep the log of a server that died, beside those of its later lives."""
        ...


@runtime_checkable
class ProvesEgress(Protocol):
    """What its server sends can be looked at."""

    def egress(self, deployment: Deployment, destinations: tuple[str, ...]) -> Egress:
        """Try to get out to them as the server, ask it completions, look again, judge. Raises ServerError."""
        ...


@runtime_checkable
class EndsByItself(Protocol):
    """What it rents has an end, which can be moved and may be over."""

    def extend(self, deployment: Deployment, minutes: int) -> datetime:
        """Let it live that long from now; when that is over."""
        ...

    def reap(self, regions: tuple[str, ...], dry_run: bool) -> tuple[list[Rented], list[Teardown]]:
        """Take away every deployment whose time is over, whoever made it; with `dry_run` only say which."""
        ...


@runtime_checkable
class FindsByName(Protocol):
    """What is made carries its name there: it is found from any machine, with or without documents."""

    def remove(self, name: str, region: str | None = None) -> Teardown:
        """Take away whatever carries the name, our documents too, and prove it."""
        ...

    def made_elsewhere(self, name: str) -> str:
        """What to do for a deployment that is not known here."""
        ...


@runtime_checkable
class RemovesUnread(Protocol):
    """What is there of a deployment whose document cannot be read is found in its folder."""

    def remove_unread(self, name: str) -> Teardown:
        """Take away whatever of that name is there, and prove it."""
        ...


class Pushed(Record):
    """What lies in the bucket now, and what that saves. The figures about speed and S3's price are unverified."""

    address: str
    files: int
    bytes: int
    saves_s: float
    """A launch that fetches from there and not from the model hub."""
    saves_usd: float | None
    """At the machine's price, where that is known."""
    usd_per_hour: float | None
    costs_usd_per_month: float
    checked_on: str
    """When those figures were written down."""


@runtime_checkable
class PushesWeights(Protocol):
    """A place whose machine can upload the weights it has."""

    def push_weights(self, deployment: Deployment, address: str) -> Pushed:
        """Keep them in that folder of a bucket. Raises UsageError for a bucket elsewhere, HostError or CloudError."""
        ...
