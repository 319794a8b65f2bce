"""A deployment: one named endpoint, where it runs, and the folder that keeps its documents."""

import re
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from deploy.targets.table import PLACES
from infra import bounded_json
from infra.argument import Value, pasted
from infra.catalog import check_nvidia
from infra.errors import DocumentError, DoesNotFit, UsageError
from infra.home import home as home
from infra.printable import one_line
from infra.record import Document, read_bytes
from serving.sizing.plan import Plan
from serving.sizing.plan_again import size_again


def named_place(target: str) -> str:
    """The name of a place there is. Raises what pydantic says of any other."""
    if target in PLACES:
        return target
    first, last = ", ".join(map(repr, list(PLACES)[:-1])), repr(list(PLACES)[-1])
    raise PydanticCustomError(
        "literal_error", "Input should be {expected}", {"expected": f"{first} or {last}"}
    )


Target = Annotated[
    str, AfterValidator(named_place), Field(json_schema_extra=lambda schema: schema.update(enum=list(PLACES)))
]

# Also a systemd unit, an EC2 tag value and a host name part: the intersection of what those allow.
NAME_PATTERN = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")

UP = "corral up scout --on g5.12xlarge --region us-east-1"
"""How a first deployment is made, wherever it is typed: without a machine and a region there may be none to choose."""

MOST_READ = 16 * 1024 * 1024
STATED_TARGET = re.compile(rb'\s*\{[^{}\[\]]*?"target"\s*:\s*"([a-z0-9]{1,20})"')

# Folders beside the deployments: the engine, air-gap bundles, matplotlib's fonts, what `corral probe` and
# `compare` keep; on a host the weights that deployments share.
RESERVED = ("engine", "bundles", "cache", "comparisons", "probes", "weights")


def valid_name(name: str) -> str:
    """The name. Raises what pydantic says of one that `checked_name` would refuse."""
    if NAME_PATTERN.fullmatch(name) and name not in RESERVED:
        return name
    raise PydanticCustomError("name", "it cannot be the name of a deployment")


class Deployment(Document):
    """What was asked for under one name. Its state is asked from the machine or the cloud, never stored here.

    What one place alone keeps of it is a document of its own beside this one, such as EC2's order.
    """

    kind: ClassVar[str] = "deployment"
    document: Literal["deployment"] = "deployment"
    schema_version: Literal[1] = 1

    name: Annotated[str, AfterValidator(valid_name)]
    """What it is called everywhere."""
    target: Target
    """Where it is: local, ssh or ec2."""
    plan: Plan
    """What it serves, and how."""
    created_at: datetime
    """When it was asked for (UTC)."""
    region: Value | None = None
    """Which of its place's regions, where that has some."""
    hosts: tuple[Value, ...] = ()
    """The machines, where they are named one by one: SSH destinations; of one replica of EC2 its instance id."""
    engine: Value = ""
    """Where those hosts get vLLM from: an engine's environment or a folder of wheels here, which are brought;
    empty: the index the host can reach (for a plan without GPUs, corral's own CPU engine is brought). On this machine
    the `vllm` of its release; empty: the one that is found."""
    release: str = Field(default="", pattern="^([0-9a-f]{12})?$", exclude_if=lambda release: not release)
    """The id of the release that it is, since an upgrade; absent before."""
    hf_token_file: Value = ""
    """Where the Hub's token lies on this machine; empty: where `hf` looks for it. Never the token."""


def folder(name: str) -> Path:
    """The folder of one deployment. Raises UsageError for a name that cannot be used everywhere it must go."""
    return home() / checked_name(name)


def checked_name(name: str) -> str:
    """Return the name, or raise UsageError when it is not 1 to 40 of a-z, 0-9 and inner hyphens, or reserved."""
    if name in RESERVED:
        raise UsageError(
            f"{name!r} cannot be the name of a deployment: corral keeps its own files in {home() / name}.",
            f"Choose another: --name {name}-1",
        )
    if not NAME_PATTERN.fullmatch(name):
        shown = name if len(name) <= 40 else f"{name[:37]}..."
        raise UsageError(
            f"{shown!r} cannot be the name of a deployment.",
            "Use 1 to 40 of a-z, 0-9 and hyphens, not first or last: scout-prod",
        )
    return name


def make(plan: Plan, target: str, name: str | None = None) -> Deployment:
    """A new deployment of a plan, under the given name or one made of the model and its precision."""
    return Deployment(
        name=checked_name(name if name is not None else default_name(plan)),
        target=target,
        plan=plan,
        created_at=datetime.now(UTC),
    )


def deployment_for(plan: Plan, target: str, name: str | None) -> Deployment:
    """The deployment of a plan at a place.

    Raises DoesNotFit for a plan that cannot work, UsageError for GPUs that corral does not serve on.
    """
    if not plan.fits:
        raise DoesNotFit(f"This plan does not fit: {plan.reason}", f"See what holds it: {size_again(plan)}")
    check_nvidia(plan.machine.gpu)
    return make(plan, target, name)


def default_name(plan: Plan) -> str:
    """A name made of the model and its precision, such as scout-int4."""
    return name_of(f"{plan.model}-{plan.precision}")


def name_of(words: str) -> str:
    """A name that some words come to, such as meta-llama-scout."""
    return re.sub("[^a-z0-9]+", "-", words.lower()).strip("-")[:40].strip("-") or "model"


def name_of_model(plan: Plan, target: str) -> str:
    """What a deployment made of a model is called: as the model, unless another is called so; then with its precision.

    One of the same plan at the same place is no other: it is made ready again.
    """
    first, then = name_of(plan.model), default_name(plan)
    if first in RESERVED or is_another(first, plan, target):
        return then
    return then if first not in names() and then in names() and not is_another(then, plan, target) else first


def is_another(name: str, plan: Plan, target: str) -> bool:
    """Whether the deployment of that name is of another model, precision, machine or place; one unread is not known."""
    if name not in names():
        return False
    with suppress(DocumentError):
        known = load(name)
        kept = (known.target, known.plan.model, known.plan.precision, known.plan.machine.name)
        return kept != (target, plan.model, plan.precision, plan.machine.name)
    return False


def load(name: str) -> Deployment:
    """Read the deployment of that name. Raises DocumentError when there is none, or it cannot be read."""
    path = folder(name) / "deployment.json"
    if not path.exists():
        known = names()
        raise DocumentError(
            f"There is no deployment called {name!r} in {home()}.",
            f"Known here: {', '.join(known)}."
            if known
            else f"Make one: {UP} --name {pasted(name)}; made from another machine: corral hosts adopt --help",
        )
    try:
        return named(Deployment.read(path), name, path)
    except DocumentError as error:
        error.hint = f"Take it away, then make it again: corral down {name}"
        raise


def named(deployment: Deployment, name: str, where: object) -> Deployment:
    """The deployment, which is called so. Raises DocumentError for another's document."""
    if deployment.name != name:
        raise DocumentError(
            f"{where} is the document of another deployment, {deployment.name}, not of {name}."
        )
    return deployment


def stated_target(name: str) -> str:
    """The target a document names, though this version cannot read the rest; "" where even that is unreadable.

    Of one that is no JSON (cut off, nested without an end) what it says before anything is nested.
    """
    try:
        text = read_bytes(folder(name) / "deployment.json", "", MOST_READ)
    except DocumentError:
        return ""
    try:
        document = bounded_json.load(text)
    except ValueError:
        begun = STATED_TARGET.match(text)
        return begun[1].decode() if begun else ""
    return one_line(str(document.get("target", "")), 40) if isinstance(document, dict) else ""


def names() -> tuple[str, ...]:
    """The names of the deployments whose documents are kept here."""
    return tuple(sorted(path.parent.name for path in home().glob("*/deployment.json")))
