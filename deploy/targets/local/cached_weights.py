"""The weights of a repository on this machine: in the Hub's own cache, where every deployment finds them."""

import os
from collections.abc import Callable
from pathlib import Path

from deploy.targets import adapters, drafts, hub_weights
from deploy.targets.abilities import VerifiedFolder
from deploy.targets.deployment import Deployment
from deploy.targets.place import Check
from deploy.targets.preflight import Room
from infra import bar, deadline, offline
from infra.argument import pasted
from infra.errors import AuthError, DocumentError, EndpointError, HostError, UsageError
from infra.fetch import verifying
from infra.fetch.checksums import OWN
from infra.say import progress
from serving.model import checkpoint, fetching, lora_files, precheck
from serving.sizing import planned_weights
from serving.sizing.plan import Plan
from serving.vllm.serve_options import ServeOptions

GIB = 2**30
HUB_TELLS_WITHIN_S = 5.0
"""Whether more belongs to what is here: a firewall that drops what is sent holds no start up for longer."""


def settled(deployment: Deployment) -> tuple[Deployment, tuple[Check, ...]]:
    """The deployment at the commit of its weights, and what there is to say of them before anything is fetched."""
    deployment, about = settled_draft(hub_weights.kept(adapters.settled(deployment)))
    serve = deployment.plan.serve
    if not hub_weights.is_fetched(deployment.plan):
        check_model(deployment.plan)
        return deployment, about
    if serve.revision is None and offline.is_offline():
        deployment = hub_weights.pinned(deployment, fetching.cached_commit(serve.model, os.environ))
    deployment, known = hub_weights.settled(deployment, str(whole(deployment) or ""))
    return deployment, (*about, hub_weights.check(known))


def check_model(plan: Plan) -> None:
    """Raise UsageError for a folder as the model that is another than the plan's, DocumentError for no checkpoint."""
    if not hub_weights.is_fetched(plan):
        planned_weights.check(plan, checkpoint.read(Path(plan.serve.model).expanduser()))


def settled_draft(deployment: Deployment) -> tuple[Deployment, tuple[Check, ...]]:
    """The same of the draft beside it, where one is named: it is looked up before anything of the model comes.

    Raises DocumentError for one that is not here, where the internet is forbidden or it is a folder.
    """
    there = with_draft(deployment.plan.serve)
    if not drafts.is_fetched(there) or offline.is_offline():
        precheck.check_draft(there.draft)
        return deployment, ()
    return drafts.settled(deployment)


def bring(deployment: Deployment) -> None:
    """Fetch what is missing of the draft and of the weights."""
    bring_draft(deployment)
    serve = deployment.plan.serve
    if not hub_weights.is_fetched(deployment.plan):
        return
    if whole(deployment):
        complete(serve.model, serve.revision, deployment)
    else:
        fetch(deployment)


def bring_draft(deployment: Deployment) -> None:
    """Fetch what is missing of the draft."""
    serve = deployment.plan.serve
    draft = with_draft(serve).draft
    if draft and not draft.startswith("/"):
        fetch_draft(deployment)
    elif draft and serve.draft and draft != serve.draft:
        complete(serve.draft, Path(draft).name, deployment)


def complete(repo: str, commit: str | None, deployment: Deployment) -> None:
    """Fetch what another tool left out of a commit that is here, where Hub and disk let us; else it stays."""
    if not commit or offline.is_offline() or fetching.is_listed(fetching.snapshot(repo, commit, os.environ)):
        return
    if not os.access(fetching.repository(repo, os.environ), os.W_OK):  # a cache that is not ours to write
        return
    try:
        token = hub_weights.token_of(deployment)
        with deadline.within(HUB_TELLS_WITHIN_S):
            hub_weights.looked_up(repo, commit, token)
        fetching.fetch(repo, commit, token)
    except (AuthError, DocumentError, EndpointError, HostError, UsageError) as error:
        progress(f"weights: whether more belongs to {repo} was not found out: {error.message}")


def fetch_draft(deployment: Deployment) -> None:
    """Fetch the draft into the Hub's own cache."""
    serve = deployment.plan.serve
    assert serve.draft
    assert serve.draft_revision, "settled before"
    progress(f"draft: fetching {serve.draft} at {serve.draft_revision}")
    fetching.fetch(serve.draft, serve.draft_revision, hub_weights.token_of(deployment))


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
    there = fetching.size_bytes(folder / "blobs") + fetching.size_bytes(folder / OWN)
    return Room(str(folder), max(0, plan.weights_bytes - there) / GIB)


def fetch(deployment: Deployment) -> None:
    """Fetch the weights into the Hub's own cache, where every deployment finds them."""
    serve = deployment.plan.serve
    assert serve.revision, "settled before"
    folder = fetching.repository(serve.model, os.environ)
    progress(f"weights: fetching {serve.model} at {serve.revision} into {folder}")
    fetching.fetch(serve.model, serve.revision, hub_weights.token_of(deployment))


def make_sure(deployment: Deployment, options: ServeOptions) -> None:
    """See that weights and draft are what was fetched: what was changed in the Hub's cache is fetched again.

    Raises DocumentError for a folder of the user's that has changed, or where the internet is forbidden.
    """
    is_fetched = hub_weights.is_fetched(deployment.plan)
    make_sure_of(Path(options.model), (lambda: fetch(deployment)) if is_fetched else None)
    make_sure_of_draft(deployment, options)


def make_sure_of_draft(deployment: Deployment, options: ServeOptions) -> None:
    """The same of the draft alone."""
    serve = deployment.plan.serve
    is_fetched = drafts.is_fetched(serve) and serve.draft_revision
    if options.draft:
        make_sure_of(Path(options.draft), (lambda: fetch_draft(deployment)) if is_fetched else None)


def make_sure_of(folder: Path, fetch_again: Callable[[], None] | None) -> None:
    """The same of one folder; None for one that nothing is fetched for."""
    if not (folder.is_absolute() and folder.is_dir() and (wrong := fetching.confirm(folder))):
        return
    name, why = wrong[0]
    if fetch_again and not offline.is_offline():
        progress(f"weights: {name} {why}; it is fetched again")
        fetch_again()
        return
    noted = fetching.origin(folder)
    came, again = "fetched", "fetch there again what is wrong: --to"
    if noted and noted.bundle:
        came, again = "brought", "install its bundle again"
    raise DocumentError(
        f"{folder / name} {why}: these are not the weights that were {came}.",
        f"See all of it: corral fetch --verify {pasted(folder)}; then {again}",
    )


def verified(deployment: Deployment) -> tuple[VerifiedFolder, ...]:
    """What the bytes of weights, draft and adapters are found to be. Raises DocumentError for what is not here."""
    serve = deployment.plan.serve
    draft = [lies_at(serve.draft, serve.draft_revision)] if serve.draft else []
    adapters_at = [adapter_at(module.path) for module in serve.lora_modules]
    model = verified_folder(lies_at(serve.model, serve.revision), is_model=True)
    return (model, *(verified_folder(folder, is_model=False) for folder in (*draft, *adapters_at)))


def adapter_at(path: str) -> Path:
    """The folder of an adapter that has one, or is of a repository."""
    of_hub = None if os.path.isdir(path) else lora_files.of_hub(path)
    return lies_at(*of_hub) if of_hub else Path(path)


def lies_at(model: str, commit: str | None) -> Path:
    """The folder that weights are read from; of a repository without a commit, at the newest that the cache has.

    An earlier corral kept none. Raises DocumentError where nothing of it was ever fetched.
    """
    if model.startswith(("/", ".", "~")):
        return Path(model).expanduser()
    commit = commit or fetching.cached_commit(model, os.environ)
    if commit is None:
        raise DocumentError(
            f"Nothing of {model} is on this machine, and nobody noted at which commit it would be.",
            f"Fetch it: corral fetch {pasted(model)}",
        )
    return fetching.snapshot(model, commit, os.environ)


def verified_folder(folder: Path, is_model: bool) -> VerifiedFolder:
    """The same of one folder; nothing vouches for one of the user's own that was not fetched."""
    if folder.is_dir() and not fetching.is_vouched_for(folder):
        return VerifiedFolder(at=str(folder), is_model=is_model, by="", files=0, bytes=0, problems=())
    with bar.shown("verified") as tell:
        found = verifying.verify(folder, tell)
    problems = tuple(f"{name} {why}" for name, why in found.problems)
    return VerifiedFolder(
        at=str(folder),
        is_model=is_model,
        by="the bundle's" if found.bundle else "the Hub's",
        files=found.files,
        bytes=found.bytes,
        problems=problems,
    )


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
