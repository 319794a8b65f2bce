"""`corral size`: which machine holds the model, how fast, at what price."""

from pathlib import Path
from typing import Annotated

import typer

from serving.sizing.size_options import Options


def size(
    model: Annotated[
        str, typer.Argument(help="scout, maverick, a checkpoint folder, or OWNER/NAME on the Hub.")
    ],
    options: Options,
    on: Annotated[
        str | None,
        typer.Option(
            help="EC2 type, COUNTxGPU (2xA100-80GB), or local. Without it: every machine that fits."
        ),
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="bf16, fp8, int4 or nvfp4. Without it: the best that fits.")
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Show how every number follows.")] = False,
    plot: Annotated[
        Path | None, typer.Option(help="Draw memory and throughput: a .png or .svg file.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Also write the plan to this file.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False,
) -> int:
    """Which machines hold the model, with which settings, how fast, at what price. Exit 0: it fits. 3: it does not.

    The options with vLLM's names are handed on to `vllm serve`; what you leave out is chosen for you.
    """
    from infra.prices import trouble
    from infra.say import emit, progress, warn
    from serving.sizing.plan_text import plan_text
    from serving.sizing.ranking_text import ranking_text
    from serving.sizing.size import answer_for, ranking_for
    from serving.sizing.size_options import check_ranking

    precision = precision and precision.lower()
    warn(trouble())
    if on is None:
        check_ranking({"--output": output, "--plot": plot, "--explain": explain})
        ranking = ranking_for(model, precision, options)
        emit(ranking, ranking_text(ranking), json)
        return 0 if ranking.machines else 3
    plan = answer_for(model, precision, on, options)
    if output:
        plan.write(output)
        progress(f"plan written to {output}")
    if plot:
        from serving.sizing.plan_plot import draw

        draw(plan, plot)
    text = plan_text(plan, output)
    if explain:
        from serving.sizing.plan_explained import explained

        text += "\n\n" + explained(plan)
    emit(plan, text, json)
    return 0 if plan.fits else 3
