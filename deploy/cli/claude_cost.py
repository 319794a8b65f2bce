"""`corral claude-cost`: what requests cost on the Claude API."""

from deploy.cli.flags import Json
from deploy.costs.claude_cost_options import RequestOptions, Way


def claude_cost(
    asked: RequestOptions,
    way: Way,
    as_json: Json = False,
) -> None:
    """What equal requests cost on the Claude API, by its published rules: tiers by prompt length, cache, batch."""
    from deploy.costs.claude_cost import claude_cost, cost_text
    from deploy.costs.claude_prices import claude
    from infra.day import today
    from infra.say import emit

    cost = claude_cost(claude(asked.model), asked.request, asked.requests, way, today())
    emit(cost, cost_text(cost), as_json)
