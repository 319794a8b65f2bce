"""`corral bundle`: engine, model and corral itself as a folder, for a machine without a network."""

from pathlib import Path
from typing import Annotated

import typer

from deploy.bundle.manifest import Known
from deploy.bundle.packing import Packing
from deploy.cli.flags import Group, Json, Planned

app = typer.Typer(cls=Group, help="A plan's engine and model for a machine without a network.")

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="What corral bundle create wrote.")]


@app.command("create")
def create(
    what: Planned,
    packing: Packing,
    as_json: Json = False,
) -> None:
    """Pack a plan's engine, its model and corral into a folder. Safe to repeat: an interrupted one goes on."""
    from deploy.bundle.create import create as run
    from deploy.by_name import plan_of
    from infra.say import emit, progress

    made = run(plan_of(what), packing, progress)
    emit(
        made,
        f"{made.folder}: {made.files} files, {made.gib:.1f} GiB; the other side's commands are in README.txt\n"
        f"Tell its checksum on another way: --manifest-sha256 {made.manifest_sha256}",
        as_json,
    )


@app.command("verify")
def verify(folder: Folder, told: Known, as_json: Json = False) -> int:
    """Say everything that is wrong with a bundle; asks no network, changes nothing. Exit 4 when anything is."""
    from deploy.bundle.verify import verify as run
    from infra.errors import DocumentError
    from infra.say import Told, emit, fail, progress

    verdict = run(folder, told.manifest_sha256, progress, told)
    whole = (
        f"{verdict.folder} is whole: {verdict.files} files, {verdict.gib:.1f} GiB, "
        f"manifest {verdict.manifest_sha256}\n{verdict.signature}"
    )
    emit(verdict, "\n".join(verdict.problems) or whole, as_json)
    if not verdict.problems:
        return 0
    error = DocumentError(
        f"{verdict.folder} must not be used: {len(verdict.problems)} problem(s).",
        "Copy it again from where it is whole; what is named of this machine, mend here.",
    )
    return Told(fail(error, as_json=False))


@app.command("install")
def install(folder: Folder, told: Known, as_json: Json = False) -> None:
    """Verify a bundle and put its engine and model where corral serve and provision find them; asks no network."""
    from deploy.bundle.install import install as run
    from deploy.bundle.install import text
    from infra.say import emit, progress

    made = run(folder, told.manifest_sha256, progress, told)
    emit(made, text(made), as_json)
