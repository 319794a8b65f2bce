"""What goes into a bundle: engine, model and plan, each checked against the others before a byte is copied."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from deploy.bundle.manifest import ADAPTERS, DRAFT
from deploy.targets import adapters, hub_weights, licence
from deploy.targets.deployment import Deployment, deployment_for, home
from deploy.targets.local import cached_weights
from deploy.targets.preflight import Room
from deploy.targets.table import default
from infra.errors import UsageError
from serving.model import checkpoint, checkpoint_files, lora_files, precheck
from serving.sizing import planned_weights
from serving.sizing.plan import Plan
from serving.vllm import chat_template, engine, flashinfer_kernels
from serving.vllm import versions as vllm_versions
from serving.vllm.engine import Engine
from serving.vllm.pack import LEFT_HERE, check_members, prefix_of


class Begun(NamedTuple):
    """What is known before the model is here: nothing was fetched to find it out."""

    made: Deployment
    engine: Engine
    prefix: Path
    adapters: Mapping[str, Path]
    """The folder of each, by its name."""
    to_fetch: Room | None
    """What of the model comes first, and where to; None where it lies here."""
    beside: Path | None
    """The folder of the plan's file; None for a deployment's plan, whose files lie with the model."""


class Sources(NamedTuple):
    """Where everything is taken from."""

    name: str
    plan: Plan
    engine: Engine
    prefix: Path
    model: Path
    chat_template: Path | None
    draft: Path | None = None
    adapters: Mapping[str, Path] = {}
    """The folder of each, by its name."""


def begun(
    source: tuple[Plan, Path | None],
    environment: Path | None,
    model: Path | None,
    progress: Callable[[str], None],
) -> Begun:
    """Find and check all but the model, of a plan and the folder of its file, if it has one.

    Raises DoesNotFit or DocumentError for a plan that cannot be used, UsageError for an engine that is not the plan's
    or that no bundle can hold.
    """
    plan, beside = source
    made = hub_weights.kept(deployment_for(plan, default(), None))
    # Here it is the engine that is brought that counts, and it is told of below.
    vllm_versions.check_planned(plan.vllm_version, lambda text: None, plan.serve)
    packed = engine_for(made.plan, environment)
    vllm_versions.check(packed.version, progress, made.plan.serve.extra_args)
    prefix = prefix_of(packed.vllm)
    check_members(prefix)
    template_here(made.plan)
    made = adapters.settled(made)
    modules = {module.name: lora_files.folder_of(module) for module in adapters.sent(made.plan)}
    for folder in modules.values():
        licence.require(licence.in_folder(folder))
    to_fetch = cached_weights.to_fetch(made) if is_to_come(plan, model) else None
    return Begun(made, packed, prefix, modules, to_fetch, beside)


def checked_sources(found: Begun, model: Path | None, progress: Callable[[str], None]) -> Sources:
    """The same with the model and its draft, which are fetched where they are repositories.

    Raises UsageError for a model that is not the plan's, DocumentError for a checkpoint that is not whole, and what
    stands against fetching.
    """
    made = found.made
    draft = draft_for(made, progress)  # first: it is small, and may be wrong
    folder = model_for(made, model, progress)
    template = template_for(made.plan, tuple(filter(None, (found.beside, folder))))
    warn(made.plan, found.engine, found.prefix, licences(folder), progress)
    return Sources(made.name, made.plan, found.engine, found.prefix, folder, template, draft, found.adapters)


def is_to_come(plan: Plan, named: Path | None) -> bool:
    """Whether the model is a repository of the Hub, and no folder."""
    return named is None and hub_weights.is_fetched(plan) and not Path(plan.serve.model).is_dir()


def way_to_one(plan: Plan) -> str:
    """How to get an engine for a plan."""
    if not plan.machine.gpu_count:
        return "Install the CPU build: corral engine install"
    install = f"python3 -m venv vllm-env && vllm-env/bin/pip install vllm=={plan.vllm_version}"
    return f"Make one, no GPU is needed for it: {install}, and name it: --engine vllm-env"


def engine_for(plan: Plan, environment: Path | None) -> Engine:
    """The engine named, or the one corral starts here. Raises UsageError for one that cannot serve the plan."""
    chosen = named_engine(environment, plan) if environment else found_engine(plan)
    if chosen.is_cpu == bool(plan.machine.gpu_count):
        kind, machine = ("CPU", "GPUs") if chosen.is_cpu else ("CUDA", "no GPU")
        raise UsageError(
            f"vLLM {chosen.version} at {chosen.vllm} is a {kind} build, and the plan's machine "
            f"({plan.machine.name}) has {machine}.",
            way_to_one(plan),
        )
    return chosen


def found_engine(plan: Plan) -> Engine:
    """The engine that corral starts here. Raises NoEngine; what corral installs is for no GPU."""
    try:
        return engine.find(home(), os.environ)
    except engine.NoEngine as error:
        if plan.machine.gpu_count:
            error.hint = way_to_one(plan)
        raise


def named_engine(environment: Path, plan: Plan) -> Engine:
    """The engine of an environment. Raises UsageError for a folder that is none, ServerError for another's."""
    vllm = environment.resolve() / "bin" / "vllm"
    if not os.access(vllm, os.X_OK):
        raise UsageError(f"{environment} is no environment with vLLM: it has no bin/vllm.", way_to_one(plan))
    engine.require_ours(vllm, home())
    return Engine(vllm=vllm, version=engine.version_of(vllm), origin="CORRAL_VLLM")


def model_for(made: Deployment, named: Path | None, progress: Callable[[str], None]) -> Path:
    """The checkpoint folder, whole and the plan's model; a repository of the Hub is fetched into its cache.

    Raises UsageError or DocumentError for another, and what stands against fetching.
    """
    plan = made.plan
    if is_to_come(plan, named):
        named = fetched(made, progress)
    folder = (named or Path(plan.serve.model)).absolute()
    if named is None and not folder.is_dir():
        raise UsageError(
            f"The plan's model {plan.serve.model} is not a folder of this machine.",
            "Name the checkpoint as it lies here: --model checkpoint; a repository of the Hub would be fetched.",
        )
    checkpoint_files.own_files(folder)
    licence.require(licence.in_folder(folder))
    precheck.check_tokenizer(folder)
    planned_weights.check(plan, checkpoint.read(folder), way_to_the_model(plan, folder))
    return folder


def way_to_the_model(plan: Plan, folder: Path) -> str:
    """How to pack a plan's own weights, or a plan for these."""
    return (
        f"Name the checkpoint the plan was made for, as it lies here, with --model: {plan.serve.model}; or plan for "
        f"this one: {planned_weights.anew(plan, str(folder))}"
    )


def fetched(made: Deployment, progress: Callable[[str], None]) -> Path:
    """Where the plan's weights lie in the Hub's own cache, fetched if need be, and verified."""
    made, about = cached_weights.settled(made)
    for check in about:
        progress(f"{check.name}: {check.found}")
    cached_weights.bring(made)
    options = cached_weights.here(made.plan.serve)
    cached_weights.make_sure(made, options)
    return Path(options.model)


def draft_for(made: Deployment, progress: Callable[[str], None]) -> Path | None:
    """The folder of the plan's draft; a repository of the Hub is fetched into its cache. Raises as `model_for` does."""
    if made.plan.serve.draft is None:
        return None
    made, about = cached_weights.settled_draft(made)
    for check in about:
        progress(f"{check.name}: {check.found}")
    cached_weights.bring_draft(made)
    options = cached_weights.with_draft(made.plan.serve)
    cached_weights.make_sure_of_draft(made, options)
    folder = Path(options.draft or "").absolute()
    checkpoint_files.draft_files(folder)
    licence.require(licence.in_folder(folder))
    return folder


def template_for(plan: Plan, folders: tuple[Path, ...]) -> Path | None:
    """The plan's chat template, which lies below one of the folders. Raises UsageError for what is none."""
    template = template_here(plan)
    if template is not None:
        chat_template.check_place(template, folders)
        chat_template.read(template)
    return template


def template_here(plan: Plan) -> Path | None:
    """The file of the plan's chat template; None where it names none. Raises UsageError for one that is not here."""
    said = plan.serve.chat_template
    template = chat_template.file_here(said) if said else None
    if said and template is None:
        raise UsageError(f"The plan's chat template is not here: {said}.", "Correct the plan's path.")
    return template


def model_files(folder: Path) -> tuple[Path, ...]:
    """The checkpoint's own files, and nothing else of its folder. Raises DocumentError where one is another's."""
    return checkpoint_files.own_files(folder)


def beside_files(sources: Sources) -> dict[str, Path]:
    """The files of the draft and the adapters, by their names in the bundle."""
    found: dict[str, Path] = {}
    if sources.draft:
        found |= {f"{DRAFT}/{path.name}": path for path in checkpoint_files.draft_files(sources.draft)}
    for adapter, folder in sources.adapters.items():
        found |= {f"{ADAPTERS}/{adapter}/{path.name}": path for path in lora_files.paths(folder)}
    return found


def licences(folder: Path) -> tuple[str, ...]:
    """The names of the licence files of a checkpoint."""
    return tuple(path.name for path in model_files(folder) if checkpoint_files.is_licence(path.name))


def engine_bytes(prefix: Path) -> int:
    """What the packed engine takes."""
    tops = [entry for entry in prefix.iterdir() if entry.name not in LEFT_HERE and not entry.is_symlink()]
    return sum(path.lstat().st_size for top in tops for path in (top, *top.rglob("*")))


def warn(
    plan: Plan, packed: Engine, prefix: Path, licence_files: tuple[str, ...], progress: Callable[[str], None]
) -> None:
    """Say what will only be noticed on the other side."""
    if vllm_versions.release(packed.version) != vllm_versions.release(plan.vllm_version):
        progress(f"warning: the plan counts with vLLM {plan.vllm_version}, the engine is {packed.version}")
    if not licence_files:
        progress(
            "warning: no licence file lies with the model; Llama 4's licence asks for a copy of it: put its text there "
            "as LICENSE"
        )
    if lacking := flashinfer_kernels.lacking(prefix, plan.machine.gpu):
        progress(f"warning: {lacking}")
