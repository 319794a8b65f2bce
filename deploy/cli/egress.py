"""`corral egress`: the proof that nothing leaves."""

from pathlib import Path
from typing import Annotated

import typer

from deploy.cli.flags import Json, Name


def egress(
    name: Name,
    target: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST:PORT",
            help="What to try from inside the server's unit; repeat it. [public name servers, and this machine]",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Keep the report.")
    ] = None,
    as_json: Json = False,
) -> int:
    """Try to get out as the server does, and show by the kernel's counters that only answers left.

    Exit code 0 only when it is proved, which needs the lock of an SSH host; 11 otherwise.
    """
    from deploy.targets.deployment import load
    from deploy.targets.prove_egress import prove
    from deploy.targets.show_egress import described
    from infra.errors import HostError
    from infra.say import Told, emit, fail

    report = prove(load(name), tuple(target or ()))
    if output:
        report.write(output)
    emit(report, described(report), as_json)
    if report.verdict == "proved":
        return 0
    first, *more = report.problems
    sentence = f"Not proved: {first}{f' (and {len(more)} more)' if more else ''}."
    return Told(
        fail(HostError(sentence, "The report names all; its counters are the kernel's."), as_json=False)
    )
