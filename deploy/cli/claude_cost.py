"""`corral claude-cost`: what requests cost on the Claude API, or where else Claude is sold."""

from deploy.cli.flags import All, Json
from deploy.costs.claude_cost_options import RequestOptions, Way


def claude_cost(
    asked: RequestOptions,
    way: Way,
    show_all: All = False,
    as_json: Json = False,
) -> None:
    """What equal requests cost on the Claude API, by its published rules: tiers by prompt length, cache, batch.

    Amazon Bedrock, Google Vertex AI and Microsoft Foundry sell it too: name the model as they do, or the platform.
    """
    from deploy.costs.claude_cost import claude_cost, cost_text
    from deploy.costs.claude_platforms import sold
    from deploy.costs.currency import currency
    from infra.day import today
    from infra.say import emit

    on = way.at or today()
    other = currency(asked.currency) if asked.currency else None
    cost = claude_cost(sold(asked.model, way, on), asked.request, asked.requests, way, on, other)
    emit(cost, cost_text(cost, show_all), as_json)
