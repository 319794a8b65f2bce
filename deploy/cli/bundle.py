"""`corral bundle`: engine, model and corral itself as a folder, for a machine without a network."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="A plan's engine and model for a machine without a network.")

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="What corral bundle create wrote.")]
ManifestSha256 = Annotated[
    str | None,
    typer.Option(
        "--manifest-sha256", metavar="HEX", help="The checksum that create printed, told another way."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command("create")
def create(
    plan: Annotated[
        Path, typer.Argument(metavar="PLAN", help="A plan.json, from corral size ... -o plan.json.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="Where to make it.")],
    engine: Annotated[
        Path | None,
        typer.Option(
            "--engine", metavar="ENV", help="An environment with vLLM; else the one corral starts here."
        ),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option("--model", metavar="FOLDER", help="The checkpoint; else the folder the plan names."),
    ] = None,
    split_gib: Annotated[
        float | None,
        typer.Option("--split-gib", metavar="N", min=0.001, help="Split files larger than that into parts."),
    ] = None,
    without_corral: Annotated[
        bool,
        typer.Option("--without-corral", help="Leave out the wheels of corral itself; needs no index then."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Pack a plan's engine, its model and corral into a folder. Safe to repeat: an interrupted one goes on."""
    from deploy.bundle.create import Packing
    from deploy.bundle.create import create as run
    from infra.say import emit, progress

    made = run(
        plan,
        output,
        Packing(
            engine=engine,
            model=model,
            split_bytes=round(split_gib * 2**30) if split_gib else None,
            with_corral=not without_corral,
        ),
        progress,
    )
    emit(
        made,
        f"{made.folder}: {made.files} files, {made.gib:.1f} GiB; the other side's commands are in README.txt\n"
        f"Tell its checksum on another way: --manifest-sha256 {made.manifest_sha256}",
        as_json,
    )


@app.command("verify")
def verify(folder: Folder, manifest_sha256: ManifestSha256 = None, as_json: AsJson = False) -> int:
    """Say everything that is wrong with a bundle; asks no network, changes nothing. Exit 4 when anything is."""
    from deploy.bundle.manifest import checked_sha256
    from deploy.bundle.verify import verify as run
    from infra.errors import DocumentError
    from infra.say import Told, emit, fail, progress

    found = run(folder, checked_sha256(manifest_sha256), progress)
    whole = (
        f"{found.folder} is whole: {found.files} files, {found.gib:.1f} GiB, manifest {found.manifest_sha256}"
    )
    emit(found, "\n".join(found.problems) or whole, as_json)
    if not found.problems:
        return 0
    error = DocumentError(
        f"{found.folder} must not be used: {len(found.problems)} problem(s).",
        "Copy it again from where it is whole.",
    )
    return Told(fail(error, as_json=False))


@app.command("install")
def install(folder: Folder, manifest_sha256: ManifestSha256 = None, as_json: AsJson = False) -> None:
    """Verify a bundle and put its engine and model where corral serve and provision find them; asks no network."""
    from deploy.bundle.install import install as run
    from deploy.bundle.manifest import checked_sha256
    from infra.say import emit, progress

    made = run(folder, checked_sha256(manifest_sha256), progress)
    emit(
        made,
        f"{made.name} is in {made.folder}\n"
        f"serve it here:   corral serve {made.plan}\n"
        f"or on a host:    corral up {made.plan} --target ssh --host USER@HOST --engine {made.engine}",
        as_json,
    )
