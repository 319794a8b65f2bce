"""What only some places can do: a place that has the functions of one of these can, and is asked with isinstance."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from deploy.targets.deployment import Deployment
from deploy.targets.place import Check, Offer, Status, Teardown
from infra.egress_checks import Expected
from infra.egress_proof import Egress
from infra.onhost.history import Name
from infra.onhost.judge import Ends, Look, Policy
from infra.record import Record
from infra.rented import Rented
from serving.sizing.plan import Plan
from serving.vllm.diagnosis import Diagnosis
from serving.vllm.endpoint import Endpoint
from serving.vllm.events import Event


@runtime_checkable
class PreparesToServe(Protocol):
    """Costs nothing and asks nobody: `serve` makes it ready, too."""

    def prepared(self, deployment: Deployment) -> Deployment:
        """Make ready what does not run, at the commit of its weights. Raises UsageError where other options run."""
        ...


@runtime_checkable
class RentsMachines(Protocol):
    """Which of many machines it will be can be somebody's choice: what must fail is told before that is asked."""

    def says_where(self, wishes: Any) -> bool:
        """Whether somebody said where it is to be, as far as it has to be said."""
        ...

    def require_here(self) -> None:
        """Raise for what renting lacks on this machine, whatever is rented: AuthError, HostError."""
        ...

    def check_sold(self, plan: Plan, wishes: Any) -> None:
        """Raise UsageError where the plan's machine is not sold there as it is wished for."""
        ...

    def ask_prices(self, types: Iterable[str], wishes: Any) -> None:
        """Have the prices of these from whoever sells them, as far as it says them; what it does not is told."""
        ...

    def stored_cost(self, deployment: Deployment, wishes: Any) -> str:
        """What it may cost until it ends itself, by the prices stored here, or that none is; asks nobody."""
        ...


@runtime_checkable
class Outlines(Protocol):
    """There is more to say of a dry run than the plan does."""

    def outlined(self, deployment: Deployment, wishes: Any) -> tuple[str, ...]:
        """Where it would be, what would leave this machine or be made there, and who could reach it, a line each.

        Asks nobody.
        """
        ...


@runtime_checkable
class Hurries(Protocol):
    """What ends a server there waits on its own machine, and is told there to wait for no request."""

    def hurried(self, deployment: Deployment) -> AbstractContextManager[None]:
        """Have an end of it wait for no request while this lasts, also one that waits already."""
        ...


@runtime_checkable
class SendsFiles(Protocol):
    """Files of this machine that a plan names are sent there: a plan may be somebody else's."""

    def check_files(self, deployment: Deployment, beside: Path) -> None:
        """Look at what a plan that lies in that folder names. Raises UsageError for what is not to leave."""
        ...


@dataclass(frozen=True)
class Life:
    """What a look at a server that was started found."""

    status: Status
    """In its words; "stopped" where that was somebody's wish."""
    look: Look | None = None
    """For the judge, who sets its time; None where its leading process has ended."""
    born: object = None
    """Which server it is: another one than before may be served meanwhile, by an upgrade say."""
    load_s: float = 0.0
    """What that one may take to load."""
    is_stopping: bool = False
    """Whether somebody is about to stop it, and it finishes its requests."""


@runtime_checkable
class Supervised(Protocol):
    """Nobody else starts a server again there: `serve --supervise` does."""

    def is_unattended(self) -> bool:
        """Whether nobody is there to read what is said: a unit started this."""
        ...

    def given_up(self, deployment: Deployment) -> str:
        """Why it was given up, since when nobody asked for it; "" where it was not."""
        ...

    def stop_server(self, deployment: Deployment) -> None:
        """End its server, letting its requests finish; safe to repeat."""
        ...

    def life(self, deployment: Deployment) -> Life:
        """Look at its server. Never raises for what a server can do, or for a record that cannot be read."""
        ...

    def born(self, deployment: Deployment) -> object:
        """Which server is the last that was started."""
        ...

    def ends(self, deployment: Deployment, policy: Policy) -> Ends:
        """How often it has ended since somebody asked for it, whoever watched it."""
        ...

    def last_trouble(self, deployment: Deployment) -> str:
        """Why it ended last, when nobody wished it; "" where it never did."""
        ...

    def served_s(self, deployment: Deployment) -> float:
        """How long its server has served until now, whoever watched it."""
        ...

    def end_stuck(self, deployment: Deployment, event: Name, cause: str) -> None:
        """End what is left of a server that died or has nothing to finish, and note it so. Raises LeftoverError."""
        ...

    def stop_wish(self, deployment: Deployment) -> object:
        """Something else than before once somebody has stopped it, or taken it away."""
        ...

    def in_the_way(self, deployment: Deployment) -> str:
        """What holds the GPUs it needs; "" where they are free, or there is no telling."""
        ...

    def broken_gpu(self, deployment: Deployment) -> Diagnosis | None:
        """What has lately befallen a GPU it needs that no start mends; None for nothing, or where nobody can tell."""
        ...

    def full(self, deployment: Deployment) -> str:
        """Why the disk takes nothing that a start writes, and what to do; "" where there is room."""
        ...

    def gpus_missing(self, deployment: Deployment) -> str:
        """Which GPUs it needs are not there; "" where all are."""
        ...

    def note(self, deployment: Deployment, event: Name, cause: str) -> None:
        """Keep it in the deployment's history, as well as the disk allows."""
        ...

    def keep_first_death(self, deployment: Deployment) -> None:
        """Keep the log of a server that died, beside those of its later lives."""
        ...


@runtime_checkable
class RunsAsUnit(Protocol):
    """Its server can be a unit of this user's own systemd."""

    def require_units(self, deployment: Deployment) -> None:
        """Raise HostError where there is no such systemd."""
        ...

    def serve_as_unit(self, deployment: Deployment) -> Endpoint:
        """Have it started now and at every boot, supervised; wait until it answers. Raises HostError, ServerError."""
        ...


@runtime_checkable
class TellsHistory(Protocol):
    """Its machines keep what happened there."""

    def history(self, deployment: Deployment) -> tuple[Event, ...]:
        """What each has on record, asked in the time of one look. Raises HostError where one cannot be asked."""
        ...


@runtime_checkable
class HoldsReleases(Protocol):
    """The next release is brought there beside the one that serves, and is served in its stead."""

    def engine_version(self, deployment: Deployment) -> str:
        """The version of the engine that it is served with, as far as this machine knows; asks no other."""
        ...

    def pinned(self, deployment: Deployment) -> Deployment:
        """With that engine named, so that it is the same one later."""
        ...

    def with_engine(self, deployment: Deployment, version: str | None, engine: str | None) -> Deployment:
        """With the engine of that version, or at that path. Raises UsageError for one that cannot be had there."""
        ...

    def settled(self, deployment: Deployment) -> tuple[Deployment, tuple[Check, ...]]:
        """At the commit of its weights, and what there is to say of them before they are fetched."""
        ...

    def bring(
        self, deployment: Deployment, about: tuple[Check, ...], approve: Callable[[Offer], None]
    ) -> None:
        """Put its engine and weights there, once it was approved; what serves is left alone.

        Raises HostError where there is no room for both, and what stands against it.
        """
        ...

    def missing(self, deployment: Deployment) -> str:
        """What of a release that was brought is not there any more; "" when all of it is."""
        ...

    def remember(self, deployment: Deployment) -> None:
        """What serves there now is this one: it can be turned to again. Safe to repeat."""
        ...

    def turn_to(self, deployment: Deployment) -> Endpoint:
        """End what is served and serve this, until the machine starts again or it is kept. Raises ServerError."""
        ...

    def keep(self, deployment: Deployment) -> None:
        """What was turned to is what starts from now on, whoever starts it. Safe to repeat."""
        ...

    def let_go(self, deployment: Deployment) -> None:
        """End what was turned to; this one is what starts next. Safe to repeat."""
        ...

    def note(self, deployment: Deployment, event: Name, cause: str) -> None:
        """Keep what became of a release where what happens to its server is kept. Never raises."""
        ...

    def status(self, deployment: Deployment) -> Status:
        """As any place."""
        ...


@runtime_checkable
class SharedByOperators(Protocol):
    """A place whose deployments others may change from other machines."""

    def alone(self, deployment: Deployment) -> AbstractContextManager[None]:
        """Keep them from changing its releases while this lasts. Raises UsageError where somebody does."""
        ...


@runtime_checkable
class Replicated(Protocol):
    """It may be several engines, each on a machine of its own, behind one key."""

    def replicas(self, deployment: Deployment) -> dict[str, Deployment]:
        """Each as a deployment of its machine alone, by the name that a gateway gives it.

        Asks nobody where the machines are somebody's own. Raises CloudError where none that is rented runs.
        """
        ...

    def count(self, deployment: Deployment) -> int:
        """How many engines it is to have. Asks nobody."""
        ...

    def answering(self, deployment: Deployment, opens: bool) -> dict[str, Endpoint]:
        """Where each answers from here, by that name; without `opens` no way there is opened.

        Raises UsageError where one takes another key than the others.
        """
        ...

    def share_key(self, deployment: Deployment) -> None:
        """Have every machine hold the one key; a server that runs with another takes it when it is started anew."""
        ...


@runtime_checkable
class StartsAnew(Protocol):
    """A server there can be ended and started without anything else of its machine."""

    def restart(self, deployment: Deployment) -> Endpoint:
        """End what is served, once it has no request, and start it anew. Raises ServerError."""
        ...

    def require_whole(self, deployment: Deployment) -> None:
        """Raise where what it would be started with is not there, so that it is not ended first: ServerError for an
        engine or weights, CloudError for a machine.
        """
        ...

    def status(self, deployment: Deployment) -> Status:
        """As any place."""
        ...


@runtime_checkable
class ProvesEgress(Protocol):
    """What its server sends can be looked at."""

    def egress(self, deployment: Deployment, destinations: tuple[str, ...]) -> Egress:
        """Try to get out to them as the server, ask it completions, look again, judge. Raises ServerError."""
        ...


@runtime_checkable
class KnowsWhatServes(Protocol):
    """What its server should run, and be locked by, is known here."""

    def should_have_served(self, deployment: Deployment) -> Expected:
        """The digests of that: of engine and weights where they lie here."""
        ...


@runtime_checkable
class EndsByItself(Protocol):
    """What it rents has an end, which can be moved and may be over."""

    def extend(self, deployment: Deployment, minutes: int, shorten: bool) -> datetime:
        """Let it live that long from now; when that is over. Raises UsageError for less than it has, unless asked."""
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
    """s3://BUCKET/FOLDER/."""
    files: int
    """How many lie there."""
    bytes: int
    """All of them together."""
    saves_s: float
    """A launch that fetches from there and not from the model hub."""
    saves_usd: float | None
    """At the machine's price, where that is known."""
    usd_per_hour: float | None
    """Of the machine that no longer waits for them; null where no plan was named."""
    costs_usd_per_month: float
    """Of storing them in S3, by its list price."""
    checked_on: str
    """When those figures were written down."""


class VerifiedFolder(Record):
    """What the bytes of weights, a draft or an adapter were found to be, where they lie."""

    at: str
    """The folder, after the name of its machine where that is another."""
    is_model: bool
    """And no draft or adapter beside it."""
    by: str
    """Whose sums they were held to; empty where nothing says what they should be."""
    files: int
    """How many were read."""
    bytes: int
    """All of them together."""
    problems: tuple[str, ...]
    """A file, and what is wrong with it."""


@runtime_checkable
class VerifiesWeights(Protocol):
    """The weights of what it serves can be read there, byte by byte."""

    def verified(self, deployment: Deployment) -> tuple[VerifiedFolder, ...]:
        """Read all of them and say what is wrong; serves on meanwhile. Raises HostError where it cannot be asked."""
        ...


@runtime_checkable
class PushesWeights(Protocol):
    """A place whose machine can upload the weights it has."""

    def push_weights(self, deployment: Deployment, address: str) -> Pushed:
        """Keep them in that folder of a bucket. Raises UsageError for a bucket elsewhere, HostError or CloudError."""
        ...
