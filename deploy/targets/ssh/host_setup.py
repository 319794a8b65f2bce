"""PURE but for looking at this machine's files: what an owned host is brought, and how its server is set up."""

import os
import re
from pathlib import Path, PurePosixPath

from pydantic import Field

from deploy.targets import adapters, drafts, preflight
from deploy.targets.deployment import Deployment, home
from infra import host as hosts
from infra import offline
from infra.argument import pasted
from infra.data import shipped_text
from infra.errors import UsageError
from infra.local_file import size_bytes
from infra.record import Record
from serving.model import checkpoint, checkpoint_files, hub, lora_files
from serving.model.speculation import EXAMPLE
from serving.sizing import planned_weights
from serving.sizing.plan import Plan
from serving.vllm import chat_template
from serving.vllm import engine as engines
from serving.vllm.lora_modules import LoraModule
from serving.vllm.pack import prefix_of, python_of
from serving.vllm.serve_options import ServeOptions, argv, environment
from serving.vllm.startup_log import load_budget_s

GIB = 2**30
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?", re.ASCII)


class Brought(Record):
    """What is sent to the host from here. What is None the host has, or gets by itself."""

    engine: Path | None = None
    """An engine's environment."""
    wheelhouse: Path | None = None
    python: str | None = None
    """The Python version the engine is packed for."""
    version: str
    """The version of vLLM, which pip installs where no engine is brought."""
    wheels: tuple[str, ...] = ()
    """The wheels' names; nothing else of that folder is sent."""
    model: Path | None = None
    model_files: tuple[str, ...] = ()
    """The names of the checkpoint's own files; nothing else of its folder is sent."""
    chat_template: Path | None = None
    adapters: tuple[LoraModule, ...] = ()
    """Of each the two files that a server reads."""
    draft: Path | None = Field(default=None, exclude_if=lambda draft: draft is None)
    draft_files: tuple[str, ...] = Field(default=(), exclude_if=lambda names: not names)
    """As those of the model; absent where none is sent."""
    disk_gib: float = 0.0

    @property
    def is_planned(self) -> bool:
        """Whether the plan names files of it, which may be somebody else's plan."""
        return bool(self.model or self.chat_template or self.adapters or self.draft)


def brought(deployment: Deployment) -> Brought:
    """Decide what to bring.

    Raises UsageError for an engine, a template or a repository that is none, DocumentError for a folder that is no
    checkpoint, ServerError when there is no engine to bring.
    """
    plan = deployment.plan
    draft = draft_here(plan.serve)
    model = _local(plan.serve.model)
    if not (model or plan.serve.model.startswith("/") or REPOSITORY.fullmatch(plan.serve.model)):
        raise UsageError(
            f"{plan.serve.model} is neither a folder here, nor a path of the host's, nor a repository of the Hub.",
            f"Plan with one of these: corral size scout --on {pasted(plan.machine.name)} -o plan.json",
        )
    files = checkpoint_files.own_files(model) if model else ()
    of_draft = checkpoint_files.draft_files(draft) if draft else ()
    bring = Brought(
        model=model,
        model_files=tuple(path.name for path in files),
        chat_template=_chat_template(plan),
        adapters=adapters.sent(plan),
        draft=draft,
        draft_files=tuple(path.name for path in of_draft),
        version=plan.vllm_version,
    )
    update = engine_brought(deployment)
    figures = preflight.figures()["engine_disk_gib"]
    engine_gib = figures["cuda"] if plan.machine.gpu_count else figures["cpu"]
    model_gib = checkpoint_files.size_bytes(files) / GIB if model else _fetched_gib(plan)
    draft_gib = (checkpoint_files.size_bytes(of_draft) if draft else fetched_draft_bytes(plan)) / GIB
    return bring.model_copy(update={**update, "disk_gib": engine_gib + model_gib + draft_gib})


def draft_here(serve: ServeOptions) -> Path | None:
    """The folder of this machine that is brought as the draft; None where there is none, or the host has or fetches it.

    Raises UsageError for what is neither a folder here, nor a path of the host's, nor a repository.
    """
    if serve.draft is None:
        return None
    folder = _local(serve.draft)
    if not (folder or serve.draft.startswith("/") or REPOSITORY.fullmatch(serve.draft)):
        raise UsageError(
            f"The draft {serve.draft} is neither a folder here, nor a path of the host's, nor a repository of the Hub.",
            f"Name one of these. {EXAMPLE}",
        )
    return folder


def fetched_draft_bytes(plan: Plan) -> int:
    """What the host downloads of a draft; nothing for one that lies there."""
    return drafts.weights_bytes(plan) if drafts.is_fetched(plan.serve) else 0


def check_model(plan: Plan, bring: Brought) -> None:
    """Raise UsageError for a folder that is sent as the model and is another than the plan's."""
    if bring.model:
        planned_weights.check(plan, checkpoint.read(bring.model))


def check_template_place(plan: Plan, beside: Path) -> None:
    """Raise UsageError for a chat template of this machine that a plan lying in that folder may not send."""
    if _chat_template(plan):
        chat_template.check_planned(plan.serve, beside)


def sent(deployment: Deployment, bring: Brought) -> tuple[str, ...]:
    """What leaves this machine, for a person: how many files, how much, which, and where to."""
    there = own_root(deployment)
    sends: list[tuple[str, str]] = []
    if bring.model:
        sends.append((_files(bring.model, bring.model_files), f"{there}/model"))
    if bring.chat_template:
        template = bring.chat_template
        sends.append((_files(template.parent, (template.name,)), f"{there}/chat_template.jinja"))
    if bring.draft:
        sends.append((_files(bring.draft, bring.draft_files), f"{there}/{drafts.PLACE}"))
    for module in bring.adapters:
        folder = f"{adapters_folder(deployment.name, deployment.release)}/{module.name}"
        sends.append((_files(lora_files.folder_of(module), lora_files.FILES), folder))
    if bring.wheelhouse:
        sends.append((_files(bring.wheelhouse, bring.wheels), f"{there}/wheelhouse"))
    if bring.engine:
        sends.append((f"the engine {bring.engine}, vLLM {bring.version}", f"{there}/engine"))
    return tuple(
        f"{what}, to {', '.join(f'{host}:{path}' for host in deployment.hosts)}" for what, path in sends
    )


def _files(folder: Path, names: tuple[str, ...]) -> str:
    size = sum(size_bytes(folder / name) for name in names)
    return f"{len(names)} {'file' if len(names) == 1 else 'files'}, {size:,} bytes, of {folder} ({', '.join(names)})"


def refuse_downloads(deployment: Deployment, bring: Brought) -> None:
    """Raise UsageError when the internet is forbidden and the host would fetch weights or an engine from it."""
    if is_repository(deployment.plan, bring):
        hub.refuse_offline(deployment.plan.serve.model)
    if is_draft_fetched(deployment.plan, bring):
        offline.refuse(f"the model hub for {deployment.plan.serve.draft}")
    if not (bring.engine or bring.wheelhouse):
        wheels = f"pip download vllm=={bring.version} -d wheels"
        offline.refuse("a package index for vLLM (bring it: --engine)", wheels, "add --engine wheels")


def host_setup(deployment: Deployment, bring: Brought) -> hosts.HostSetup:
    """How the host is prepared for this plan, with the paths it will have there."""
    options = _options_there(deployment, bring)
    home_there = hosts.state_folder(deployment.name)
    return hosts.HostSetup(
        name=deployment.name,
        release=deployment.release,
        argv=argv(options),
        environment=environment(home_there, load_budget_s(deployment.plan.weights_bytes)),
        host=options.host,
        port=options.port,
        served_model_name=options.served_model_name,
        load_budget_s=load_budget_s(deployment.plan.weights_bytes),
        gpus=deployment.plan.machine.gpu_count // deployment.plan.machine.hosts,
        nodes=deployment.plan.machine.hosts,
        engine=_engine_there(deployment, bring),
        weights=_weights(deployment.plan, bring),
        weights_bytes=deployment.plan.weights_bytes,
        beside={drafts.PLACE: drafts.address(deployment.plan.serve)}
        if is_draft_fetched(deployment.plan, bring)
        else {},
        read_only_paths=tuple(filter(hosts.is_hidden, filter(None, (options.model, options.draft)))),
        api_key="generated",
        shutdown_timeout_s=options.shutdown_timeout,
    )


def judged_setup(deployment: Deployment) -> hosts.HostSetup:
    """As much of the same as what judges its server needs to know; nothing that is brought is looked at."""
    plan = deployment.plan
    return hosts.HostSetup(
        name=deployment.name,
        release=deployment.release,
        argv=(),
        host=plan.serve.host,
        port=plan.serve.port,
        served_model_name=plan.serve.served_model_name,
        load_budget_s=load_budget_s(plan.weights_bytes),
        gpus=plan.machine.gpu_count // plan.machine.hosts,
        nodes=plan.machine.hosts,
        engine=hosts.Engine(),
        api_key="generated",
    )


def own_root(deployment: Deployment) -> str:
    """The folder of the host that is its own, or its release's."""
    return hosts.own_root(deployment.name, deployment.release)


def removal_script() -> str:
    """What takes a deployment away from a host and says what is left."""
    return shipped_text("infra.onhost", "remove.sh")


def _local(path: str) -> Path | None:
    """A path of this machine, or None for a repository, or a path of the host's."""
    return Path(path).resolve() if os.path.exists(path) else None


def _chat_template(plan: Plan) -> Path | None:
    """The file of this machine that is brought as the chat template. Raises UsageError for what is none.

    One that is not here must lie with a model on the host: no other file of it is any of the plan's business.
    """
    said, model = plan.serve.chat_template, plan.serve.model
    template = chat_template.file_here(said)
    if template:
        chat_template.read(template)
    elif said and not chat_template.is_text(said):
        there = PurePosixPath(os.path.normpath(said))
        if not (model.startswith("/") and there.is_relative_to(os.path.normpath(model))):
            raise UsageError(f"The plan's chat template is not here: {said}.", chat_template.ELSEWHERE)
    return template


def engine_brought(deployment: Deployment) -> dict[str, object]:
    """The engine to bring: the one named, or corral's own for a plan without GPUs."""
    if deployment.engine:
        return _named_engine(Path(deployment.engine), deployment.plan)
    if deployment.plan.machine.gpu_count:
        return {}
    prefix = prefix_of(engines.find(home(), os.environ).vllm)
    return _engine_at(prefix)


def _named_engine(path: Path, plan: Plan) -> dict[str, object]:
    if os.path.isfile(path / "pyvenv.cfg"):
        return _engine_at(path.resolve())
    there = path.glob("*.whl") if os.path.isdir(path) else ()
    wheels = tuple(sorted(wheel.name for wheel in there if is_wheel(wheel)))
    if wheels:
        return {"wheelhouse": path.resolve(), "wheels": wheels}
    if path.name.endswith(".tar") and os.path.isfile(path):
        raise UsageError(
            f"{path} is a packed engine, which rented machines take from S3; hosts over SSH are brought the engine.",
            "Name its environment, which corral engine show tells: --engine vllm-env. Here nothing need be packed.",
        )
    version = plan.vllm_version
    one = f"python3 -m venv vllm-env && vllm-env/bin/pip install vllm=={version}"
    raise UsageError(
        f"{path} is neither an engine's environment nor a folder of wheels."
        if os.path.lexists(path)
        else f"There is no engine to bring at {path}.",
        f"Name an environment with vLLM, made by {one}; or a folder of wheels: pip download vllm=={version} -d wheels"
        if plan.machine.gpu_count
        else "Install the CPU build (corral engine install) and leave out --engine: it is brought then.",
    )


def is_wheel(path: Path) -> bool:
    """Whether it is a file itself, by a name that wheels have, and not a link to another."""
    return path.is_file() and not path.is_symlink() and not path.name.startswith((".", "-"))


def _engine_at(prefix: Path) -> dict[str, object]:
    version = engines.version_of(prefix / "bin" / "vllm")
    return {"engine": prefix, "python": python_of(prefix), "version": version}


def _engine_there(deployment: Deployment, bring: Brought) -> hosts.Engine:
    # With a packed engine the requirement only tells one from another, so that a newer one is sent again.
    requirement = f"vllm=={bring.version}"
    if bring.engine:
        return hosts.Engine(archive="-", python=f"python{bring.python}", requirement=requirement)
    wheelhouse = f"{own_root(deployment)}/wheelhouse" if bring.wheelhouse else ""
    return hosts.Engine(requirement=requirement, wheelhouse=wheelhouse)


def is_repository(plan: Plan, bring: Brought) -> bool:
    """Whether the host fetches the model from the Hub: it is not brought, and no path of the host's."""
    return bring.model is None and not plan.serve.model.startswith("/")


def is_draft_fetched(plan: Plan, bring: Brought) -> bool:
    """Whether the host fetches the draft from the Hub."""
    return bring.draft is None and drafts.is_fetched(plan.serve)


def _weights(plan: Plan, bring: Brought) -> str:
    """What the host fetches from the Hub; empty where the model is brought or lies there."""
    return hosts.from_hub(plan.serve.model, plan.serve.revision) if is_repository(plan, bring) else ""


def _options_there(deployment: Deployment, bring: Brought) -> ServeOptions:
    """The plan's options with the paths the host will have."""
    serve = deployment.plan.serve
    update: dict[str, object] = {}
    if bring.model or is_repository(deployment.plan, bring):
        update |= {"model": f"{own_root(deployment)}/model", "revision": None}
    if bring.chat_template:
        update["chat_template"] = f"{own_root(deployment)}/chat_template.jinja"
    if bring.adapters:
        update["lora_modules"] = adapters.there(serve, adapters_folder(deployment.name, deployment.release))
    there = serve.model_copy(update=update)
    if bring.draft or is_draft_fetched(deployment.plan, bring):
        there = there.with_draft(f"{own_root(deployment)}/{drafts.PLACE}")
    return there


def adapters_folder(name: str, release: str = "") -> str:
    """Where adapters lie on the host, each in a folder of its own name."""
    return f"{hosts.own_root(name, release)}/adapters"


def _fetched_gib(plan: Plan) -> float:
    """What the host will download; nothing for a model that lies there."""
    return 0.0 if plan.serve.model.startswith("/") else plan.weights_bytes / GIB
