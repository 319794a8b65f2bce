"""The weights of a repository on this machine: in the Hub's own cache, where every deployment finds them."""

import os
from pathlib import Path

from deploy.targets import hub_weights
from deploy.targets.deployment import Deployment
from deploy.targets.place import Check
from deploy.targets.preflight import Room
from infra import offline
from infra.say import progress
from serving.model import fetching, precheck
from serving.vllm.serve_options import ServeOptions

GIB = 2**30


def settled(deployment: Deployment) -> tuple[Deployment, tuple[Check, ...]]:
    """The deployment at the commit of its weights, and what there is to say of them before anything is fetched."""
    deployment = hub_weights.kept(deployment)
    serve = deployment.plan.serve
    precheck.check_draft(with_draft(serve).draft)
    if not hub_weights.is_fetched(deployment.plan):
        return deployment, ()
    if serve.revision is None and offline.is_offline():
        deployment = hub_weights.pinned(deployment, fetching.cached_commit(serve.model, os.environ))
    deployment, known = hub_weights.settled(deployment, str(whole(deployment) or ""))
    return deployment, (hub_weights.check(known),)


def whole(deployment: Deployment) -> Path | None:
    """Where the weights of a repository lie on this machine, if they all do."""
    serve = deployment.plan.serve
    if not hub_weights.is_fetched(deployment.plan) or serve.revision is None:
        return None
    snapshot = fetching.snapshot(serve.model, serve.revision, os.environ)
    return snapshot if fetching.is_whole(snapshot) else None


def to_fetch(deployment: Deployment) -> Room | None:
    """What of the weights is still to come, and where to."""
    plan = deployment.plan
    if not hub_weights.is_fetched(plan) or whole(deployment):
        return None
    folder = fetching.repository(plan.serve.model, os.environ)
    there = fetching.size_bytes(folder / "blobs")
    return Room(str(folder), max(0, plan.weights_bytes - there) / GIB)


def fetch(deployment: Deployment) -> None:
    """Fetch the weights into the Hub's own cache, where every deployment finds them."""
    serve, total = deployment.plan.serve, deployment.plan.weights_bytes
    assert serve.revision, "settled before"
    folder = fetching.repository(serve.model, os.environ)
    progress(f"weights: fetching {serve.model} at {serve.revision} into {folder}")

    def tell(there: int) -> None:
        percent = f" ({min(99, 100 * there // total)} %)" if total else ""
        progress(f"weights: {there / GIB:.1f} of {total / GIB:.1f} GiB{percent}")

    fetching.fetch(serve.model, serve.revision, hub_weights.token_of(deployment), tell)


def here(options: ServeOptions) -> ServeOptions:
    """The options with the folders that the Hub's own cache has for the commits of repositories."""
    options = with_draft(options)
    if options.revision is None or options.model.startswith("/"):
        return options
    folder = fetching.snapshot(options.model, options.revision, os.environ)
    return options.model_copy(update={"model": str(folder), "revision": None})


def with_draft(options: ServeOptions) -> ServeOptions:
    """The options with the folder of the draft, where the cache has all of it."""
    repo = options.draft
    if repo is None or repo.startswith("/"):
        return options
    commit = options.draft_revision or fetching.cached_commit(repo, os.environ)
    folder = fetching.snapshot(repo, commit, os.environ) if commit else None
    return options.with_draft(str(folder)) if folder and fetching.is_whole(folder) else options
