"""`corral capacity`: from traffic to machines and dollars a month."""

from decimal import Decimal
from pathlib import Path
from typing import Annotated

import typer


def capacity(
    model: Annotated[str, typer.Argument(help="scout or maverick.")],
    requests_per_s: Annotated[float | None, typer.Option(help="Average requests a second.")] = None,
    tokens_per_month: Annotated[
        float | None, typer.Option(help="Instead: input and output tokens a month.")
    ] = None,
    peak_factor: Annotated[float, typer.Option(help="The busiest moment over the average.")] = 2.0,
    input_tokens: Annotated[
        str, typer.Option(help="1000, 500-2000 (uniform) or 1000~300 (normal).")
    ] = "1000",
    output_tokens: Annotated[str, typer.Option(help="As --input-tokens.")] = "300",
    ttft: Annotated[
        float | None, typer.Option(help="Promised seconds to the first token, longest prompt.")
    ] = None,
    tpot: Annotated[float | None, typer.Option(help="Promised seconds a token after it.")] = None,
    spare: Annotated[int, typer.Option(help="Machines that may be gone: 1 is N+1.")] = 0,
    fill: Annotated[float, typer.Option(help="Share of a replica used at peak.")] = 0.8,
    precision: Annotated[str | None, typer.Option(help="Only this one: bf16, fp8, int4, nvfp4.")] = None,
    on: Annotated[list[str] | None, typer.Option(help="Only these machines; may be repeated.")] = None,
    usd_per_hour: Annotated[str | None, typer.Option(help="What an owned machine of --on costs.")] = None,
    context: Annotated[
        int | None, typer.Option(help="--max-model-len; else what the longest request needs.")
    ] = None,
    region: Annotated[str | None, typer.Option(help="AWS region of the prices.")] = None,
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
    from serving.sizing.ask import price_typed
    from serving.sizing.capacity import Question, answer
    from serving.sizing.show_capacity import capacity_text
    from serving.sizing.traffic import promise, traffic

    warn(trouble())
    price: Decimal | None = price_typed(usd_per_hour)
    found = answer(
        Question(
            model=model,
            traffic=traffic(requests_per_s, tokens_per_month, peak_factor, input_tokens, output_tokens),
            promise=promise(ttft, tpot, spare, fill),
            precision=precision and precision.lower(),
            machines=tuple(on or ()),
            usd_per_hour=price,
            context=context,
            region=region,
        ),
        output,
        plot,
    )
    emit(found, capacity_text(found, explain), json)
    return 0 if found.plan else 3
