"""What a deployment fetches from the model hub: which commit, how much, under which licence, and whether it may."""

import os
from pathlib import Path
from typing import Literal

from deploy.targets.deployment import Deployment, folder
from deploy.targets.place import Check
from infra import offline
from infra.errors import AuthError, CorralError, DocumentError, EndpointError, UsageError
from infra.record import Record
from serving.model import hub, hub_token, models
from serving.model.hub_token import Token
from serving.sizing.plan import Plan

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
    gated: bool | None = None
    """None where nobody said."""
    token: str = ""
    """Where the token is that will be sent; empty for none."""
    access: Literal["granted", "not asked"] = "not asked"
    by: Literal["here", "ec2"] = "here"
    """Who sends the token: this machine (for itself and for hosts over SSH), or a rented box."""
    unasked: str = ""
    """Why the Hub was not asked what is unknown."""
    at: str = ""
    """Where they lie already, whole."""

    @property
    def gib(self) -> float:
        """How much is fetched."""
        return self.bytes / GIB


def is_fetched(plan: Plan) -> bool:
    """Whether the plan's model is a repository of the Hub, and no folder."""
    return not plan.serve.model.startswith(("/", ".", "~"))


def told(plan: Plan) -> Weights:
    """What the plan and corral's own table say; asks nobody."""
    repo = plan.serve.model
    listed = models.published(repo)
    found = Weights(repo=repo, revision=plan.serve.revision, bytes=plan.weights_bytes)
    if listed is None:
        return found
    model, checkpoint = listed
    revision = plan.serve.revision or checkpoint.revision
    about = {"licence": model.licence, "maker": model.maker, "gated": checkpoint.gated, "revision": revision}
    return found.model_copy(update=about)


def look(plan: Plan, token: Token | None, parameter: str | None = None) -> Weights:
    """Ask the Hub for what the table does not say, and whether the token may have the files.

    `parameter` is where a rented box gets its token from; None where this machine sends its own. Raises AuthError for a
    token that is refused, DocumentError for a repository or a commit that is not there.
    """
    place = (token.place if token else "") if parameter is None else parameter
    found = told(plan).model_copy(update={"token": place, "by": "here" if parameter is None else "ec2"})
    if offline.is_offline():
        return found.model_copy(update={"unasked": "--offline"})
    try:
        return checked_access(described(found, token), token)
    except EndpointError as error:
        return found.model_copy(update={"unasked": error.message.rstrip(".")})


def described(found: Weights, token: Token | None) -> Weights:
    """With what only the Hub knows; it is not asked what the table says."""
    if found.revision and found.gated is not None and found.licence and found.bytes:
        return found
    said = hub.describe(found.repo, found.revision, token)
    return found.model_copy(
        update={
            "revision": said.revision,
            "gated": said.gated,
            "licence": found.licence or said.licence,
            "bytes": max(found.bytes, said.fetched_bytes),
        }
    )


def checked_access(found: Weights, token: Token | None) -> Weights:
    """Whether the token this machine sends is let in. What a rented box sends cannot be tried from here."""
    if not (found.gated and token and found.by == "here"):
        return found
    hub.check_access(found.repo, token)
    return found.model_copy(update={"access": "granted"})


def refusal(found: Weights) -> CorralError | None:
    """Why these weights cannot be fetched; None when they can, or when nobody could be asked."""
    if found.at:
        return None
    if found.gated and not found.token:
        accept = f"Accept its licence at https://huggingface.co/{found.repo}; then "
        return AuthError(
            f"{found.repo} is gated: without a token of somebody who accepted its licence nothing is fetched.",
            accept + (TOKEN_OF_A_BOX if found.by == "ec2" else TOKEN_OF_YOURS),
        )
    if found.revision is None and found.unasked != "--offline":
        return EndpointError(
            f"Which commit of {found.repo} to fetch is not known: {found.unasked}.",
            "corral fetches no branch, which may move. Let this machine reach the Hub (HTTPS_PROXY), or write the "
            'commit into the plan: "revision" under "serve".',
        )
    return None


TOKEN_OF_YOURS = "`hf auth login`, or HF_TOKEN, or --hf-token-file FILE."
TOKEN_OF_A_BOX = (
    "put a token into SSM (aws ssm put-parameter --type SecureString --name /hf/token --value file://FILE) and "
    "name it: --hf-token-parameter /hf/token"
)


def require(found: Weights) -> None:
    """Raise what forbids the fetching."""
    error = refusal(found)
    if error:
        raise error


def check(found: Weights, name: str = "weights") -> Check:
    """The line of the preflight."""
    said = description(found)
    if found.unasked and not found.at:
        said += f". The Hub was not asked: {found.unasked}"
    error = refusal(found)
    if error:
        return Check(name=name, outcome="failed", found=said, fix=error.hint)
    if found.unasked and not found.at:
        fix = "What is unknown is found out when it is fetched."
        return Check(name=name, outcome="warning", found=said, fix=fix)
    return Check(name=name, outcome="ok", found=said)


def description(found: Weights) -> str:
    """Whose they are, which, how large, under which licence, and who may have them."""
    owner = found.repo.partition("/")[0]
    whose = f" (a third party's, not {found.maker}'s)" if found.maker not in ("", owner) else ""
    where = f"; here already: {found.at}" if found.at else ""
    return (
        f"{found.repo}{whose} at {found.revision or 'a commit nobody knows'}, {found.gib:.1f} GiB, "
        f"licence {found.licence or 'unknown'}, {access(found)}{where}"
    )


def access(found: Weights) -> str:
    """Gated or not, and the token."""
    if found.gated is None:
        return f"gated or not is unknown; {f'token from {found.token}' if found.token else 'no token'}"
    if not found.gated:
        return "not gated"
    if not found.token:
        return "gated, and no token is there"
    tried = "let in by the Hub" if found.access == "granted" else "not tried"
    return f"gated, token from {found.token} ({tried})"


def stored(place: str, weights_bytes: int) -> Check:
    """The line for weights that come from elsewhere than the Hub."""
    found = f"{place}, {weights_bytes / GIB:.1f} GiB as planned; what lies there is not looked at"
    return Check(name="weights", outcome="ok", found=found)


def kept_line(folder: str, size_bytes: int) -> str:
    """What `down` says of weights that stay."""
    return f"weights {folder} ({size_bytes / GIB:.1f} GiB)"


# --- the commit, once for a deployment


def kept(deployment: Deployment) -> Deployment:
    """With the commit that the table names, or that was pinned when this deployment was begun."""
    plan = deployment.plan
    if not is_fetched(plan) or plan.serve.revision:
        return deployment
    return pinned(deployment, told(plan).revision or begun_at(deployment))


def begun_at(deployment: Deployment) -> str | None:
    """The commit in the documents of a deployment of that name and model, if there are any."""
    try:
        serve = Deployment.read(folder(deployment.name) / "deployment.json").plan.serve
    except DocumentError:
        return None
    return serve.revision if serve.model == deployment.plan.serve.model else None


def pinned(deployment: Deployment, revision: str | None) -> Deployment:
    """The deployment at that commit."""
    serve = deployment.plan.serve.model_copy(update={"revision": revision})
    return deployment.model_copy(update={"plan": deployment.plan.model_copy(update={"serve": serve})})


def settled(deployment: Deployment, at: str = "") -> tuple[Deployment, Weights]:
    """The deployment at its commit, and what is known of its weights; `at` is where they lie already, whole.

    What lies there is asked of nobody. Raises UsageError where the internet is forbidden and it does not; AuthError,
    DocumentError and EndpointError for what cannot be fetched.
    """
    plan = deployment.plan
    if at:
        return deployment, told(plan).model_copy(update={"at": at})
    offline.refuse(f"the model hub for {plan.serve.model}")
    found = look(plan, token_of(deployment))
    require(found)
    return pinned(deployment, found.revision), found


def with_token_file(deployment: Deployment, path: str | None) -> Deployment:
    """The deployment with the place of the token, wherever corral runs next.

    Raises UsageError for a file that holds none, and on EC2, where a box gets its token from AWS.
    """
    if path is None:
        return deployment
    if deployment.target == "ec2":
        raise UsageError(
            "--hf-token-file is for this machine and hosts over SSH; a rented box reads its token from AWS.",
            "Put it there (aws ssm put-parameter --type SecureString --name /hf/token --value file://FILE), then: "
            "--hf-token-parameter /hf/token",
        )
    hub_token.find({}, path)
    return deployment.model_copy(update={"hf_token_file": str(Path(path).expanduser().absolute())})


def token_of(deployment: Deployment) -> Token | None:
    """The user's own token."""
    return hub_token.find(os.environ, deployment.hf_token_file)
