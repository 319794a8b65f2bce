"""`corral down`: take everything of a deployment away, and prove it."""

from typing import Annotated

import typer

from deploy.cli.flags import Json, Name


def down(
    name: Name,
    target: Annotated[
        str | None,
        typer.Option("--target", help="ec2: look for it there by its tag, with or without documents here."),
    ] = None,
    region: Annotated[
        str | None, typer.Option("--region", help="ec2: the region to ask which regions there are.")
    ] = None,
    as_json: Json = False,
) -> int:
    """Take it away and count what is left, type by type. Exit code 10 when anything is."""
    from deploy.line import down as run
    from deploy.targets.choose import checked_place
    from deploy.targets.show_provision import leftover, teardown
    from infra.say import Told, emit, fail

    proof = run(name, None if target is None else checked_place(target), region)
    emit(proof, teardown(proof), as_json)
    return Told(fail(leftover(proof), as_json=False)) if proof.left else 0
