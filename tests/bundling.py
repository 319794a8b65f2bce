"""What the tests of the air-gap bundle share: a fake engine of a few bytes, a tiny model, and a bundle of both."""

import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from deploy.bundle.create import Made
from deploy.bundle.create import create as create_bundle
from deploy.bundle.packing import Packing
from serving.model import tiny
from serving.sizing.plan import Plan
from serving.sizing.size import answer_for
from serving.sizing.size_options import Options

PYTHON = "{}.{}".format(*sys.version_info)
STUB = Path(__file__).parent / "data" / "stub_vllm.py"
# Smaller than the weights, larger than everything else.
SPLIT_BYTES = 9 * 2**17


def an_engine(prefix: Path, version: str = "0.32.0+cpu", python: str = PYTHON) -> Path:
    """An environment whose vLLM is the stub, with a link and a set-user-id file as real ones have."""
    site = prefix / "lib" / f"python{python}" / "site-packages"
    cli = site / "vllm" / "entrypoints" / "cli"
    cli.mkdir(parents=True)
    (site / "vllm" / "__init__.py").write_text("")
    (cli / "main.py").write_text(STUB.read_text())
    (site / f"vllm-{version}.dist-info").mkdir()
    (prefix / "lib64").symlink_to("lib")
    (prefix / "bin").mkdir()
    (prefix / "bin" / "vllm").write_text("#!/absolute/path/python\n")
    (prefix / "bin" / "vllm").chmod(0o755)
    (prefix / "pyvenv.cfg").write_text("home = /absolute/path\n")
    return prefix


def a_source(root: Path) -> tuple[Plan, Path]:
    """The plan that lies there, and where."""
    return Plan.read(root / "plan.json"), root


@cache
def checkpoint() -> tuple[dict[str, bytes], Plan]:
    """A tiny checkpoint's files and a plan for it: made once, it takes a second."""
    with TemporaryDirectory() as folder:
        model = tiny.make(Path(folder) / "model", "multimodal")
        plan = answer_for(str(model), None, "local", Options(kv_cache_memory_bytes=2**26))
        return tree(model), plan


def a_checkpoint(folder: Path) -> Path:
    """A tiny checkpoint in that folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in checkpoint()[0].items():
        (folder / name).write_bytes(content)
    return folder


def planned_for(plan: Plan, model: Path) -> Plan:
    """A plan with a tiny checkpoint in that folder as its model, and what a plan says of that."""
    of_tiny = checkpoint()[1]
    serve = plan.serve.model_copy(update={"model": str(model), "revision": None})
    update = {"serve": serve, "precision": of_tiny.precision, "weights_bytes": of_tiny.weights_bytes}
    return plan.model_copy(update=update)


def a_plan(folder: Path) -> None:
    """A plan.json for a tiny model beside it, which has a licence and what `hf download` leaves."""
    files, plan = checkpoint()
    for name, content in (files | {"LICENSE": b"Llama 4 Community License\n", ".cache/lock": b""}).items():
        path = folder / "model" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    serve = plan.serve.model_copy(update={"model": str(folder / "model"), "shutdown_timeout": 1})
    plan.model_copy(update={"serve": serve}).write(folder / "plan.json")


def a_bundle(
    root: Path,
    split_bytes: int | None = SPLIT_BYTES,
    said: list[str] | None = None,
    sign_key: Path | None = None,
) -> Made:
    """Create a bundle in ROOT/bundle, of what lies in ROOT; made there when it is not."""
    if not (root / "engine").exists():
        an_engine(root / "engine")
        a_plan(root)
    packing = Packing(
        output=root / "bundle",
        engine=root / "engine",
        split_gib=split_bytes and split_bytes / 2**30,
        without_corral=True,
        sign_key=sign_key,
    )
    return create_bundle(
        a_source(root),
        packing,
        (said if said is not None else []).append,
    )


def a_key(path: Path) -> str:
    """A key of SSH without a passphrase, made there; its public line."""
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return path.with_name(f"{path.name}.pub").read_text()


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder and its bytes; empty where there is no folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def steps(*each: Callable[[Path], object]) -> Callable[[Path], None]:
    """Several changes of one folder as one."""

    def do(folder: Path) -> None:
        for change in each:
            change(folder)

    return do
