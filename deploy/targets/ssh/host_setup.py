"""PURE but for looking at this machine's files: what an owned host is brought, and how its server is set up."""

import os
from pathlib import Path

from deploy.targets import preflight
from deploy.targets.deployment import Deployment, home
from infra import host as hosts
from infra import offline
from infra.data import shipped_text
from infra.errors import UsageError
from infra.record import Record
from serving.sizing.plan import Plan
from serving.vllm import engine as engines
from serving.vllm.pack import prefix_of, python_of
from serving.vllm.serve_options import ServeOptions, argv, environment
from serving.vllm.startup_log import load_budget_s

GIB = 2**30


class Brought(Record):
    """What is sent to the host from here. What is None the host has, or gets by itself."""

    engine: Path | None = None
    """An engine's environment."""
    wheelhouse: Path | None = None
    python: str | None = None
    """The Python version the engine is packed for."""
    version: str
    """The version of vLLM, which pip installs where no engine is brought."""
    model: Path | None = None
    chat_template: Path | None = None
    disk_gib: float = 0.0


def brought(deployment: Deployment) -> Brought:
    """Decide what to bring. Raises UsageError for an engine that is none, ServerError when there is none to bring."""
    plan = deployment.plan
    model = _local(plan.serve.model)
    bring = Brought(
        model=model,
        chat_template=_local(plan.serve.chat_template or ""),
        version=plan.vllm_version,
    )
    update = _engine(deployment)
    figures = preflight.figures()["engine_disk_gib"]
    engine_gib = figures["cuda"] if plan.machine.gpu_count else figures["cpu"]
    model_gib = _size_gib(model) if model else _fetched_gib(plan)
    return bring.model_copy(update={**update, "disk_gib": engine_gib + model_gib})


def refuse_downloads(deployment: Deployment, bring: Brought) -> None:
    """Raise UsageError when the internet is forbidden and the host would fetch weights or an engine from it."""
    if is_repository(deployment.plan, bring):
        offline.refuse(f"the model hub for {deployment.plan.serve.model}")
    if not (bring.engine or bring.wheelhouse):
        offline.refuse("a package index for vLLM (bring it: --engine)")


def host_setup(deployment: Deployment, bring: Brought) -> hosts.HostSetup:
    """How the host is prepared for this plan, with the paths it will have there."""
    options = _options_there(deployment, bring)
    home_there = hosts.state_folder(deployment.name)
    return hosts.HostSetup(
        name=deployment.name,
        argv=argv(options),
        environment=environment(home_there, load_budget_s(deployment.plan.weights_bytes)),
        host=options.host,
        port=options.port,
        nodes=deployment.plan.machine.hosts,
        engine=_engine_there(deployment.name, bring),
        weights=_weights(deployment.plan, bring),
        weights_bytes=deployment.plan.weights_bytes,
        read_only_paths=(options.model,) if options.model.startswith(("/home/", "/root/")) else (),
        api_key="generated",
        shutdown_timeout_s=options.shutdown_timeout,
    )


def removal_script() -> str:
    """What takes a deployment away from a host and says what is left."""
    return shipped_text("infra.onhost", "remove.sh")


def _local(path: str) -> Path | None:
    """A path of this machine, or None for a repository, or a path of the host's."""
    here = Path(path)
    return here.resolve() if path and here.exists() else None


def _engine(deployment: Deployment) -> dict[str, object]:
    """The engine to bring: the one named, or corral's own for a plan without GPUs."""
    if deployment.engine:
        return _named_engine(Path(deployment.engine))
    if deployment.plan.machine.gpu_count:
        return {}
    prefix = prefix_of(engines.find(home(), os.environ).vllm)
    return _engine_at(prefix)


def _named_engine(path: Path) -> dict[str, object]:
    if (path / "pyvenv.cfg").is_file():
        return _engine_at(path.resolve())
    if any(path.glob("*.whl")):
        return {"wheelhouse": path.resolve()}
    raise UsageError(
        f"{path} is neither an engine's environment nor a folder of wheels.",
        "Name a virtual environment with vLLM, or make wheels: pip download vllm -d FOLDER",
    )


def _engine_at(prefix: Path) -> dict[str, object]:
    version = engines.version_of(prefix / "bin" / "vllm")
    return {"engine": prefix, "python": python_of(prefix), "version": version}


def _engine_there(name: str, bring: Brought) -> hosts.Engine:
    # With a packed engine the requirement only tells one from another, so that a newer one is sent again.
    requirement = f"vllm=={bring.version}"
    if bring.engine:
        return hosts.Engine(archive="-", python=f"python{bring.python}", requirement=requirement)
    wheelhouse = f"{hosts.root(name)}/wheelhouse" if bring.wheelhouse else ""
    return hosts.Engine(requirement=requirement, wheelhouse=wheelhouse)


def is_repository(plan: Plan, bring: Brought) -> bool:
    """Whether the host fetches the model from the Hub: it is not brought, and no path of the host's."""
    return bring.model is None and not plan.serve.model.startswith("/")


def _weights(plan: Plan, bring: Brought) -> str:
    """What the host fetches from the Hub; empty where the model is brought or lies there."""
    return hosts.from_hub(plan.serve.model, plan.serve.revision) if is_repository(plan, bring) else ""


def _options_there(deployment: Deployment, bring: Brought) -> ServeOptions:
    """The plan's options with the paths the host will have."""
    serve = deployment.plan.serve
    update: dict[str, object] = {}
    if bring.model or is_repository(deployment.plan, bring):
        update |= {"model": hosts.model_folder(deployment.name), "revision": None}
    if bring.chat_template:
        update["chat_template"] = f"{hosts.root(deployment.name)}/chat_template.jinja"
    return serve.model_copy(update=update)


def _size_gib(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / GIB


def _fetched_gib(plan: Plan) -> float:
    """What the host will download; nothing for a model that lies there."""
    return 0.0 if plan.serve.model.startswith("/") else plan.weights_bytes / GIB
