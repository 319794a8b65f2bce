"""A draft beside a model, wherever it is served: fetched at one commit, or a folder that is there or is sent there."""

import re

from deploy.targets import hub_weights
from deploy.targets.deployment import Deployment
from deploy.targets.hub_weights import OwnToken
from deploy.targets.place import Check
from infra import host as hosts
from infra.errors import DocumentError, UsageError
from infra.fetch import layouts
from infra.fetch.hub_answers import NoCommit
from infra.printable import one_line
from serving.model.speculation import EXAMPLE
from serving.sizing.plan import Plan
from serving.vllm.serve_options import ServeOptions

ADDRESS = re.compile(r"hf://[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?(@\w[\w./-]{0,200})?", re.ASCII)

PLACE = layouts.DRAFT
"""Its folder, wherever it is brought."""


def is_fetched(serve: ServeOptions) -> bool:
    """Whether it comes from the Hub, and lies in no folder."""
    return serve.draft is not None and not serve.draft.startswith(("/", ".", "~"))


def settled(
    deployment: Deployment, machine: OwnToken | None = None, at: str = ""
) -> tuple[Deployment, tuple[Check, ...]]:
    """The deployment at the commit of its draft, and what there is to say of it before anything of it comes.

    Nothing where none is fetched; `at` is where it lies already, whole. Raises as `hub_weights.looked_up` does.
    """
    deployment = kept(deployment)
    serve = deployment.plan.serve
    if serve.draft is None or not is_fetched(serve):
        return deployment, ()
    if at:
        known = hub_weights.told_of(serve.draft, serve.draft_revision, weights_bytes(deployment.plan))
        return deployment, (hub_weights.check(known.model_copy(update={"at": at}), "draft"),)
    token = hub_weights.token_of(deployment)
    try:
        known = hub_weights.looked_up(serve.draft, serve.draft_revision, token, machine)
    except NoCommit:
        raise DocumentError(
            f"The draft {serve.draft} has no commit {one_line(str(serve.draft_revision), 60)!r}.",
            "Correct 'revision' under speculative_config (under serve in the plan), or take it out.",
        ) from None
    return pinned(deployment, known.revision), (hub_weights.check(known, "draft"),)


def kept(deployment: Deployment) -> Deployment:
    """With the commit of its draft that was pinned when this deployment was begun, where nothing else names one."""
    serve = deployment.plan.serve
    begun = None if serve.draft_revision or not is_fetched(serve) else hub_weights.begun(deployment)
    if begun is None or begun.draft != serve.draft or not begun.draft_revision:
        return deployment
    return pinned(deployment, begun.draft_revision)


def pinned(deployment: Deployment, revision: str | None) -> Deployment:
    """The deployment with its draft at that commit."""
    serve = deployment.plan.serve
    config = (serve.speculative_config or {}) | {"revision": revision}
    plan = deployment.plan.model_copy(
        update={"serve": serve.model_copy(update={"speculative_config": config})}
    )
    return deployment.model_copy(update={"plan": plan})


def address(serve: ServeOptions) -> str:
    """Where a host fetches it from; empty where none is fetched. Raises UsageError for what is no name."""
    if not is_fetched(serve):
        return ""
    found = hosts.from_hub(serve.draft or "", serve.draft_revision)
    if not ADDRESS.fullmatch(found):
        raise UsageError(
            f"The draft {one_line(found.removeprefix('hf://'), 200)} is neither a folder nor a repository of the Hub.",
            f"Name one of these. {EXAMPLE}",
        )
    return found


def weights_bytes(plan: Plan) -> int:
    """What it takes; 0 without one."""
    return plan.drafts.weights_bytes if plan.drafts else 0


def require_commit(serve: ServeOptions) -> None:
    """Raise UsageError where a host would be told to fetch it, and nobody says at which commit."""
    if is_fetched(serve) and not serve.draft_revision:
        raise UsageError(
            f"Which commit of the draft {serve.draft} to fetch is not known, and a branch may move.",
            'Plan again with its commit, "revision" in --speculative-config.',
        )
