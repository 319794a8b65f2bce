"""`corral engine`: the vLLM that corral starts on this machine."""

from pathlib import Path
from typing import Annotated

import typer

from deploy.cli.flags import Group, Json

app = typer.Typer(cls=Group, help="The vLLM that corral starts on this machine.")


@app.command("install")
def install(as_json: Json = False) -> None:
    """Install vLLM's CPU build into $CORRAL_HOME/engine: enough to try the whole line without a GPU."""
    from deploy.targets.deployment import home
    from infra import bar
    from infra.say import emit, progress
    from serving.vllm import engine as engines

    with bar.waiting("vLLM is installed"):
        engine = engines.install(home(), progress)
    emit(engine, f"vLLM {engine.version} is at {engine.vllm}", as_json)


@app.command("show")
def show(as_json: Json = False) -> None:
    """Say which vLLM corral would start here, and where it was found."""
    import os

    from deploy.targets.deployment import home
    from infra.say import emit
    from serving.vllm import engine as engines

    engine = engines.find(home(), os.environ)
    emit(engine, f"vLLM {engine.version} at {engine.vllm} ({engine.origin})", as_json)


@app.command("pack")
def pack(
    file: Annotated[Path, typer.Argument(metavar="FILE.tar", help="Where to write it.")],
    as_json: Json = False,
) -> None:
    """Pack the engine of this machine for rented machines without internet: --engine s3://BUCKET/FILE.tar.

    A host over SSH is brought the engine itself, --engine vllm-env: for that nothing is packed.
    """
    import os

    from deploy.targets.deployment import home
    from infra.say import emit, warn
    from serving.vllm import engine as engines
    from serving.vllm.flashinfer_kernels import lacking
    from serving.vllm.pack import pack_file, prefix_of

    engine = engines.find(home(), os.environ)
    packed = pack_file(engine, file)
    warn(lacking(prefix_of(engine.vllm), None))
    emit(
        packed,
        f"{packed.path}: vLLM {packed.version} for Python {packed.python} ({packed.gib:.1f} GiB)",
        as_json,
    )
