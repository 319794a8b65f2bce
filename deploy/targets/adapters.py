"""The adapters of a plan, wherever it is served: fetched or sent there, and proved at the start."""

import os
from collections.abc import Sequence
from pathlib import Path

from deploy.targets import hub_weights
from deploy.targets.deployment import Deployment
from infra import offline
from infra.argument import pasted
from infra.errors import DocumentError
from infra.fetch import layouts
from infra.fetch.hub_answers import NoCommit
from infra.say import progress, warn
from serving.model import fetching, hub_token, lora_files
from serving.model.checkpoint_files import check_own
from serving.sizing.given_adapters import given, require_slots
from serving.sizing.plan import Plan
from serving.vllm import in_line, lora_proof
from serving.vllm.endpoint import Endpoint
from serving.vllm.lora_modules import LoraModule, misapplied
from serving.vllm.serve_options import ServeOptions

PLACE = layouts.ADAPTERS
"""Their folder, wherever they are brought; in it each has one of its own name."""


def prove(serve: ServeOptions, endpoint: Endpoint) -> None:
    """Ask a server that has just started by the name of each adapter.

    Raises ServerError for one that changes nothing; EndpointError or AuthError where it does not answer. One that only
    serves others first is no worse for it, and is not proved.
    """
    try:
        lora_proof.require(endpoint, serve.adapters)
    except in_line.Behind as error:
        warn(f"whether its adapters change what the model says was not proved: {error.message}")
        return
    for module in serve.lora_modules:
        progress(f"serve: the adapter {module.name} changes what the model says")
        warn(misapplied(module))


def given_here(plan: Plan, modules: tuple[LoraModule, ...], token_file: str = "") -> Plan:
    """The plan with those adapters in place of its own; none is fetched for a plan without room. Raises as `here`."""
    require_slots(plan, modules)
    return given(plan, here(modules, token_file))


def given_unfetched(plan: Plan, modules: tuple[LoraModule, ...]) -> Plan:
    """The same for a dry run, which fetches nothing. Raises UsageError where the fetching is forbidden."""
    require_slots(plan, modules)
    refuse_offline(modules)
    return given(plan, modules)


def refuse_offline(modules: Sequence[LoraModule]) -> None:
    """Raise UsageError where the internet is forbidden and one of them would be fetched."""
    for module in modules:
        named = of_repository(module)
        if named and not whole(*named):
            offline.refuse(f"the model hub for {named[0]}")


def of_repository(module: LoraModule) -> tuple[str, str | None] | None:
    """The repository that it is fetched from, and the commit where it says one; None for what lies in a folder."""
    lies_here = os.path.exists(os.path.expanduser(module.path))
    return None if lies_here else lora_files.of_hub(module.path)


def whole(repo: str, commit: str | None) -> Path | None:
    """Where the Hub's cache of this machine has all of an adapter."""
    there = lora_files.cached(repo, commit)
    return there if there and all((there / name).is_file() for name in lora_files.FILES) else None


def here(modules: Sequence[LoraModule], token_file: str = "") -> tuple[LoraModule, ...]:
    """Each in its folder on this machine; what a repository has is fetched, at one commit, each file held to its sum.

    Raises AuthError, DocumentError or EndpointError for what cannot be had, UsageError where the internet is forbidden
    or for a licence that nobody accepted, HostError for a disk that refuses.
    """
    return tuple(fetched(module, token_file) for module in modules)


def fetched(module: LoraModule, token_file: str) -> LoraModule:
    """The same of one; what names no repository is as it was."""
    named = of_repository(module)
    if named is None:
        return module
    repo, commit = named
    there = whole(repo, commit)
    if there is None:
        offline.refuse(f"the model hub for {repo}")
        token = hub_token.find(os.environ, token_file)
        try:
            known = hub_weights.looked_up(repo, commit, token)
        except NoCommit:
            raise DocumentError(
                f"The adapter {module.name}, {repo}, has no commit {commit}.",
                f"Name another, or none for the newest: --lora {module.name}={repo}",
            ) from None
        progress(f"adapter {module.name}: fetching {hub_weights.description(known)}")
        there = fetching.fetch(repo, known.revision or "", token).folder
        if commit is None:
            fetching.note_newest(repo, known.revision or "", os.environ)
    return module.model_copy(update={"path": str(there)})


def settled(deployment: Deployment) -> Deployment:
    """The deployment with its plan's adapters here: those of a repository that lie nowhere yet are fetched."""
    serve = deployment.plan.serve
    modules = here(serve.lora_modules, deployment.hf_token_file)
    plan = deployment.plan.model_copy(update={"serve": serve.model_copy(update={"lora_modules": modules})})
    return deployment.model_copy(update={"plan": plan})


def sent(plan: Plan) -> tuple[LoraModule, ...]:
    """The adapters whose files are sent to a host, as they were planned for.

    Raises UsageError for one that has changed since, or is not of the model; DocumentError where a file is missing, or
    a link to something else.
    """
    modules = plan.serve.lora_modules
    if not modules:
        return ()
    for module in modules:
        for path in lora_files.paths(lora_files.folder_of(module)):
            if path.exists():
                check_own(path, path.parent)
    for planned, now in zip(modules, checked(plan), strict=True):
        lora_files.check_same(planned, now)
    return modules


def check_those_here(plan: Plan) -> None:
    """Raise as `sent` does for those that lie here; others are held to their sums where they are served."""
    modules = plan.serve.lora_modules
    lie_here = tuple(module for module in modules if os.path.isdir(module.path))
    sent(plan.model_copy(update={"serve": plan.serve.model_copy(update={"lora_modules": lie_here})}))


def checked(plan: Plan) -> Sequence[LoraModule]:
    """Each as it lies here now, held to the plan's model where that can be read here, else by itself."""
    try:
        return given(plan, plan.serve.lora_modules).serve.lora_modules
    except DocumentError:
        if Path(plan.serve.model).exists():
            raise
        # The checkpoint lies on the host alone: what was planned for was held to it then.
        return [lora_files.unjudged(module) for module in plan.serve.lora_modules]


def there(serve: ServeOptions, folder: str) -> tuple[LoraModule, ...]:
    """The adapters below a folder of another machine, each in one of its own name."""
    return tuple(
        module.model_copy(update={"path": f"{folder}/{module.name}"}) for module in serve.lora_modules
    )


def copied(modules: Sequence[LoraModule], folder: str) -> str:
    """The shell's commands that put them below a folder, each in one of its own name."""
    return " && ".join(
        f"mkdir -p {pasted(f'{folder}/{module.name}')} && cp "
        f"{' '.join(pasted(f'{module.path}/{name}') for name in lora_files.FILES)} {pasted(f'{folder}/{module.name}')}"
        for module in modules
    )
