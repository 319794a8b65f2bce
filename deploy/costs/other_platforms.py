"""PURE: the Claude models of a comparison as Amazon Bedrock and Google Vertex AI sell them."""

from collections.abc import Callable, Iterable, Iterator

from deploy.costs.claude_platforms import at, platforms
from deploy.costs.claude_prices import ClaudeModel
from deploy.costs.comparison import ClaudeSide
from infra.errors import UsageError
from serving.sizing.plan import Plan

OTHERS = ("bedrock", "vertex")
ANYWHERE = "global"


def on_other_platforms(
    plan: Plan, models: Iterable[ClaudeModel], priced: Callable[[ClaudeModel], ClaudeSide]
) -> tuple[ClaudeSide, ...]:
    """Those named for the API, anywhere and in the plan's part of the world; `priced` is how one is compared."""
    of_api = [model for model in models if model.platform == "api"]
    places = [(platform, region) for platform in OTHERS for region in (ANYWHERE, zone_of(plan))]
    return tuple(side for model in of_api for place in places for side in sold_there(model, place, priced))


def zone_of(plan: Plan) -> str:
    """The zone of Bedrock and Vertex that the machine is in; the US where it is in none of the EU."""
    region = plan.region or (plan.price.region if plan.price else "")
    return "eu" if region.startswith("eu-") else "us"


def sold_there(
    model: ClaudeModel, place: tuple[str, str], priced: Callable[[ClaudeModel], ClaudeSide]
) -> Iterator[ClaudeSide]:
    """The model there; nothing where it is not sold, or has no price for requests that are sent so."""
    platform, region = place
    try:
        yield priced(at(model, platforms()[platform], region))
    except UsageError:
        return
