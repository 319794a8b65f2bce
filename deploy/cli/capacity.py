"""`corral capacity`: from traffic to machines and dollars a month."""

from pathlib import Path
from typing import Annotated

import typer

from serving.sizing.traffic import MachineOptions, PromiseOptions, TrafficOptions


def capacity(
    model: Annotated[str, typer.Argument(help="scout or maverick.")],
    traffic: TrafficOptions,
    promise: PromiseOptions,
    machines: MachineOptions,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show every number behind the first choice.")
    ] = False,
    plot: Annotated[Path | None, typer.Option(help="Draw the first choice: a .png or .svg file.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the first choice's plan.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> int:
    """Which machines, how many of them, carry the traffic within the promise, and what they cost a month."""
    from infra.prices import trouble
    from infra.say import emit, warn
    from serving.sizing.capacity import Question
    from serving.sizing.capacity_search import answer
    from serving.sizing.capacity_text import capacity_text

    warn(trouble())
    question = Question(model=model, traffic=traffic.traffic, promise=promise.promise, **dict(machines))
    planned = answer(question, output, plot)
    emit(planned, capacity_text(planned, explain), json)
    return 0 if planned.plan else 3
