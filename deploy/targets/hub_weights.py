"""What a deployment fetches from the model hub: which commit, how much, under which licence, and whether it may."""

import os
from typing import TYPE_CHECKING, Literal, NamedTuple

from deploy.targets import licence
from infra import offline
from infra.errors import AuthError, CorralError, DocumentError, EndpointError
from infra.record import Record
from infra.typed_path import typed_path
from serving.model import families, hub, hub_token, models
from serving.model.hub_token import Token

if TYPE_CHECKING:  # weights are fetched by name without what reads plans
    from deploy.targets.deployment import Deployment
    from deploy.targets.place import Check
    from serving.sizing.plan import Plan
    from serving.vllm.serve_options import ServeOptions

GIB = 2**30


class Weights(Record):
    """What is known of the weights before anything is rented or changed. Holds no token, only where one is."""

    repo: str
    revision: str | None
    bytes: int
    licence: str = ""
    """Empty where nobody said."""
    maker: str = ""
    """The owner of the weights as their maker released them; empty where that is not known."""
    family: str = ""
    """Of families.toml; empty where nobody said."""
    based_on: tuple[str, ...] = ()
    """Repositories that these were made of."""
    gated: bool | None = None
    """None where nobody said."""
    token: str = ""
    """Where the token is that will be sent; empty for none."""
    access: Literal["granted", "not asked"] = "not asked"
    by: Literal["here", "machine"] = "here"
    """Who sends the token: this machine (for itself and for hosts over SSH), or the one that fetches."""
    how_to_give_one: str = "`hf auth login`, or HF_TOKEN, or --hf-token-file token.txt."
    unasked: str = ""
    """Why the Hub was not asked what is unknown."""
    at: str = ""
    """Where they lie already, whole."""

    @property
    def gib(self) -> float:
        """How much is fetched."""
        return self.bytes / GIB


def is_fetched(plan: "Plan") -> bool:
    """Whether the plan's model is a repository of the Hub, and no folder."""
    return not plan.serve.model.startswith(("/", ".", "~"))


def told(plan: "Plan") -> Weights:
    """What the plan and corral's own table say; asks nobody."""
    known = told_of(plan.serve.model, plan.serve.revision, plan.weights_bytes)
    return known.model_copy(update={"family": known.family or family_planned(plan)})


def family_planned(plan: "Plan") -> str:
    """The family of a plan's model: by its name, else the only one there is; "" where it may be one of many."""
    if plan.model in models.models():
        return models.model(plan.model).family.name
    known = [*families.families()]
    return known[0] if len(known) == 1 else ""


def told_of(repo: str, revision: str | None, weights_bytes: int) -> Weights:
    """The same of a repository; 0 bytes where nobody knows."""
    listed = models.published(repo)
    known = Weights(repo=repo, revision=revision, bytes=weights_bytes)
    if listed is None:
        return known
    model, checkpoint = listed
    revision = revision or checkpoint.revision
    about = {
        "licence": model.licence,
        "maker": model.maker,
        "family": model.family.name,
        "gated": checkpoint.gated,
        "revision": revision,
    }
    return known.model_copy(update=about)


class OwnToken(NamedTuple):
    """That of a machine which sends one itself, and not this machine's."""

    place: str
    """Where it gets it from; empty for none."""
    how_to_give_one: str


def look(plan: "Plan", token: Token | None, machine: OwnToken | None = None) -> Weights:
    """Ask the Hub for what the table does not say, and whether the token may have the files.

    Raises AuthError for a token that is refused, DocumentError for a repository or a commit that is not there.
    """
    known = with_token(told(plan), token, machine)
    if offline.is_offline():
        return known.model_copy(update={"unasked": "--offline"})
    try:
        return checked_access(described(known, token), token)
    except EndpointError as error:
        return known.model_copy(update={"unasked": error.message.rstrip(".")})


def with_token(known: Weights, token: Token | None, machine: OwnToken | None) -> Weights:
    """With where the token is that will be sent: this machine's, unless another has its own."""
    if machine is None:
        return known.model_copy(update={"token": token.place if token else ""})
    return known.model_copy(
        update={"token": machine.place, "by": "machine", "how_to_give_one": machine.how_to_give_one}
    )


def described(known: Weights, token: Token | None) -> Weights:
    """With what only the Hub knows; it is not asked what the table says."""
    if known.revision and known.gated is not None and known.licence and known.bytes:
        return known
    repository = hub.describe(known.repo, known.revision, token)
    return known.model_copy(
        update={
            "revision": repository.revision,
            "gated": repository.gated,
            "licence": known.licence or repository.licence,
            "family": known.family or repository.family,
            "based_on": repository.based_on,
            "bytes": max(known.bytes, repository.fetched_bytes),
        }
    )


def checked_access(known: Weights, token: Token | None) -> Weights:
    """Whether the token this machine sends is let in. What another sends cannot be tried from here."""
    if not (known.gated and token and known.by == "here"):
        return known
    hub.check_access(known.repo, token)
    return known.model_copy(update={"access": "granted"})


def refusal(known: Weights) -> CorralError | None:
    """Why these weights cannot be fetched; None when they can, or when nobody could be asked."""
    if known.at:
        return None
    if known.gated and not known.token:
        accept = f"Accept its licence at https://huggingface.co/{known.repo}; then "
        return AuthError(
            f"{known.repo} is gated: without a token of somebody who accepted its licence nothing is fetched.",
            accept + known.how_to_give_one,
        )
    if known.revision is None and known.unasked != "--offline":
        return EndpointError(
            f"Which commit of {known.repo} to fetch is not known: {known.unasked}.",
            "corral fetches no branch, which may move. Let this machine reach the Hub (HTTPS_PROXY), or write the "
            'commit into the plan: "revision" under "serve".',
        )
    return None


def require(known: Weights) -> None:
    """Raise what forbids the fetching: who may not have them, or a licence that nobody accepted here."""
    error = refusal(known)
    if error:
        raise error
    licence.require(licence_of(known))


def require_told(plan: "Plan") -> None:
    """Raise UsageError for a licence that nobody accepted, by what is known without asking anybody; ask where one can.

    A question, and a refusal, come before what costs time.
    """
    if is_fetched(plan):
        licence.require(licence_of(told(plan)))


def licence_of(known: Weights) -> str:
    """The licence of weights, by its name: told, or known by what they are; the Hub need not have answered."""
    return licence.name_for(known.licence, (known.repo, *known.based_on), known.family)


def looked_up(
    repo: str, revision: str | None, token: Token | None, machine: OwnToken | None = None
) -> Weights:
    """What the Hub says of a repository that is to be fetched, before any byte of it.

    Raises AuthError, DocumentError or EndpointError for what cannot be had, UsageError for a licence nobody accepted.
    """
    known = with_token(told_of(repo, revision, 0), token, machine)
    known = checked_access(described(known, token), token)
    require(known)
    return known


def check(known: Weights, name: str = "weights") -> "Check":
    """The line of the preflight."""
    from deploy.targets.place import Check

    sentence = description(known)
    if known.unasked and not known.at:
        sentence += f". The Hub was not asked: {known.unasked}"
    error = refusal(known)
    if error:
        return Check(name=name, outcome="failed", found=sentence, fix=error.hint)
    if known.unasked and not known.at:
        fix = "What is unknown is found out when it is fetched."
        return Check(name=name, outcome="warning", found=sentence, fix=fix)
    return Check(name=name, outcome="ok", found=sentence)


def description(known: Weights) -> str:
    """Whose they are, which, how large, under which licence, and who may have them."""
    owner = known.repo.partition("/")[0]
    whose = f" (a third party's, not {known.maker}'s)" if known.maker not in ("", owner) else ""
    where = f"; here already: {known.at}" if known.at else ""
    return (
        f"{known.repo}{whose} at {known.revision or 'a commit nobody knows'}, {known.gib:.1f} GiB, "
        f"licence {known.licence or 'unknown'}, {access(known)}{where}"
    )


def access(known: Weights) -> str:
    """Gated or not, and the token."""
    if known.gated is None:
        return f"gated or not is unknown; {f'token from {known.token}' if known.token else 'no token'}"
    if not known.gated:
        return "not gated"
    if not known.token:
        return "gated, and no token is there"
    tried = "let in by the Hub" if known.access == "granted" else "not tried"
    return f"gated, token from {known.token} ({tried})"


def stored(place: str, weights_bytes: int) -> "Check":
    """The line for weights that come from elsewhere than the Hub."""
    from deploy.targets.place import Check

    unseen = "" if place.startswith("s3://") else "; what lies there is not looked at"
    sentence = f"{place}, {weights_bytes / GIB:.1f} GiB as planned{unseen}"
    return Check(name="weights", outcome="ok", found=sentence)


def kept_line(folder: str, size_bytes: int) -> str:
    """What `down` says of weights that stay."""
    return f"weights {folder} ({size_bytes / GIB:.1f} GiB)"


# --- the commit, once for a deployment


def kept(deployment: "Deployment") -> "Deployment":
    """With the commit that the table names, or that was pinned when this deployment was begun."""
    plan = deployment.plan
    if not is_fetched(plan) or plan.serve.revision:
        return deployment
    return pinned(deployment, told(plan).revision or begun_at(deployment))


def begun_at(deployment: "Deployment") -> str | None:
    """The commit in the documents of a deployment of that name and model, if there are any."""
    serve = begun(deployment)
    return serve.revision if serve and serve.model == deployment.plan.serve.model else None


def begun(deployment: "Deployment") -> "ServeOptions | None":
    """What a deployment of that name was begun to serve; None where there is none, or it cannot be read."""
    from deploy.targets.deployment import Deployment, folder

    try:
        return Deployment.read(folder(deployment.name) / "deployment.json").plan.serve
    except DocumentError:
        return None


def pinned(deployment: "Deployment", revision: str | None) -> "Deployment":
    """The deployment at that commit."""
    serve = deployment.plan.serve.model_copy(update={"revision": revision})
    return deployment.model_copy(update={"plan": deployment.plan.model_copy(update={"serve": serve})})


def settled(deployment: "Deployment", at: str = "") -> "tuple[Deployment, Weights]":
    """The deployment at its commit, and what is known of its weights; `at` is where they lie already, whole.

    What lies there is asked of nobody. Raises UsageError where the internet is forbidden and it does not; AuthError,
    DocumentError and EndpointError for what cannot be fetched.
    """
    plan = deployment.plan
    if at:
        return deployment, told(plan).model_copy(update={"at": at})
    hub.refuse_offline(plan.serve.model)
    known = look(plan, token_of(deployment))
    require(known)
    return pinned(deployment, known.revision), known


def with_token_file(deployment: "Deployment", path: str | None) -> "Deployment":
    """The deployment with the file of this machine that holds its token, wherever corral runs next.

    Raises UsageError for a file that holds none.
    """
    if path is None:
        return deployment
    hub_token.find({}, path)
    return deployment.model_copy(update={"hf_token_file": str(typed_path(path))})


def token_of(deployment: "Deployment") -> Token | None:
    """The user's own token."""
    return hub_token.find(os.environ, deployment.hf_token_file)
