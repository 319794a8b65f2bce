"""`corral claude-cost`: what requests cost on the Claude API."""

from typing import Annotated

import typer


def claude_cost(
    model: Annotated[str, typer.Option(help="claude-sonnet-5-5, haiku-5.5, ...")],
    input_tokens: Annotated[
        int, typer.Option(help="Of one request: the whole prompt, cached part included.")
    ],
    output_tokens: Annotated[int, typer.Option(help="Of one request; thinking counts as output.")],
    requests: Annotated[int, typer.Option(help="How many such requests.")] = 1,
    cache_read_fraction: float = 0.0,
    cache_write_fraction: Annotated[float, typer.Option(help="Written to the five-minute cache.")] = 0.0,
    cache_write_1h_fraction: float = 0.0,
    batch: Annotated[bool, typer.Option("--batch", help="Through the Batches API.")] = False,
    us_only: Annotated[bool, typer.Option("--us-only", help='inference_geo "us".')] = False,
    fast: Annotated[bool, typer.Option("--fast", help='speed "fast".')] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """What equal requests cost on the Claude API, by its published rules: tiers by prompt length, cache, batch."""
    from deploy.costs import ask_cost
    from deploy.costs.claude_cost import Way, claude_cost, cost_text
    from deploy.costs.claude_prices import claude
    from infra.day import today
    from infra.say import emit

    request = ask_cost.request_of(
        input_tokens, output_tokens, cache_read_fraction, cache_write_fraction, cache_write_1h_fraction
    )
    way = Way(batch=batch, us_only=us_only, fast=fast)
    cost = claude_cost(claude(model), request, ask_cost.requests_of(requests), way, today())
    emit(cost, cost_text(cost), as_json)
