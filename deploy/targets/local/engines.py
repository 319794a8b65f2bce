"""Which of this machine's engines a deployment is served with: the one of its release, else the one that is found."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from deploy.targets import preflight
from deploy.targets.deployment import Deployment, home
from infra.errors import ServerError, UsageError
from infra.say import progress
from infra.typed_path import typed_path
from serving.vllm import engine, versions
from serving.vllm.engine import Engine


def engine_of(deployment: Deployment) -> Engine:
    """The engine a start takes. Raises ServerError where there is none, or the release's own is gone."""
    if not deployment.engine:
        return engine.find(home(), os.environ)
    if gone := missing_engine(deployment):
        raise ServerError(
            f"The engine of {deployment.name}'s release is not there any more: {gone}.",
            f"Bring one: corral upgrade {deployment.name} --vllm-version {deployment.plan.vllm_version}",
        )
    vllm = Path(deployment.engine)
    engine.require_ours(vllm, home())
    return Engine(vllm=vllm, version=engine.version_of(vllm), origin="of its release")


def described(deployment: Deployment | None) -> str:
    """Which engine a start takes, of that deployment or any. Raises ServerError."""
    found = engine_of(deployment) if deployment else engine.find(home(), os.environ)
    return f"vLLM {found.version} at {found.vllm} ({found.origin})"


def missing_engine(deployment: Deployment) -> str:
    """The engine a release names, where it cannot be run; "" where it can, or none is named."""
    return "" if not deployment.engine or is_executable(Path(deployment.engine)) else deployment.engine


def is_executable(path: Path) -> bool:
    """Whether it is a file this user may run."""
    return os.path.isfile(path) and os.access(path, os.X_OK)


def chosen(deployment: Deployment, version: str | None, path: str | None) -> Engine:
    """The engine that is meant, which may have to be installed yet. Raises UsageError for one that cannot be had."""
    if path is None:
        return engine_of(deployment) if version is None else of_version(deployment, version)
    there = named(typed_path(path))
    if version is not None and not is_same(there.version, version):
        raise UsageError(f"{path} is vLLM {there.version}, not {version}.", "Leave out --vllm-version.")
    return there


def named(path: Path) -> Engine:
    """The engine at a path: its executable, or the environment that has it. Raises UsageError."""
    vllm = path / "bin" / "vllm" if os.path.isdir(path) else path
    if not is_executable(vllm):
        raise UsageError(
            f"{path} is no engine: {vllm} cannot be run.",
            "Name a virtual environment with vLLM, or its vllm: --engine ~/venv",
        )
    return Engine(vllm=vllm, version=engine.version_of(vllm), origin="of its release")


def of_version(deployment: Deployment, version: str) -> Engine:
    """The engine of that version which is here, or which corral can install. Raises UsageError."""
    versions.number(version)
    there = next((one for one in all_here() if is_same(one.version, version)), None)
    if there is not None:
        return there
    if deployment.plan.machine.gpu_count:
        vllm = engine.version_folder(home(), version) / "bin" / "vllm"
        return Engine(vllm=vllm, version=version, origin="installed by corral")
    if is_same(engine.recipe().version, version):
        return Engine(vllm=engine.executable(home()), version=version, origin="installed by corral")
    raise UsageError(
        f"There is no vLLM {version} on this machine, and corral installs {engine.recipe().version} for CPUs.",
        f"Name an environment that has it: --engine ~/venv; or: --vllm-version {engine.recipe().version}",
    )


def all_here() -> Iterator[Engine]:
    """The engines of this machine that corral knows how to find."""
    if on_path := shutil.which("vllm"):
        yield named(Path(on_path))
    if (said := os.environ.get("CORRAL_VLLM")) and is_executable(Path(said)):
        yield named(Path(said))
    for place in sorted((home() / "engine").glob("*")):
        is_whole = (place / engine.STAMP).is_file() or place == engine.bundled(home())
        if is_whole and is_executable(place / "bin" / "vllm"):
            yield named(place)


def is_same(version: str, other: str) -> bool:
    """Whether two versions are of one release of vLLM, whatever it was built for."""
    return bool(versions.release(version)) and versions.release(version) == versions.release(other)


def install(deployment: Deployment) -> Engine:
    """The engine of the release, installed where it is one of corral's that is not here yet. Raises HostError."""
    if missing_engine(deployment):
        vllm = Path(deployment.engine)
        if vllm == engine.executable(home()):
            engine.install(home(), progress)
        elif vllm.parent.parent == engine.version_folder(home(), deployment.plan.vllm_version):
            disk_gib = preflight.figures()["engine_disk_gib"]["cuda"]
            engine.install_version(vllm.parent.parent, deployment.plan.vllm_version, disk_gib, progress)
    return engine_of(deployment)
