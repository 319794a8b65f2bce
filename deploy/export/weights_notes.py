"""What whoever runs an export must know of the weights that it fetches: their commit, and their licence."""

from collections.abc import Iterator

from deploy.targets import hub_weights, licence
from serving.sizing.plan import Plan


def pinned(plan: Plan) -> Plan:
    """The plan at the commit that corral's table names, where it names none itself."""
    if not hub_weights.is_fetched(plan) or plan.serve.revision:
        return plan
    serve = plan.serve.model_copy(update={"revision": hub_weights.told(plan).revision})
    return plan.model_copy(update={"serve": serve})


def notes(plan: Plan) -> Iterator[str]:
    """A sentence each; none for a model that lies in a folder."""
    if not hub_weights.is_fetched(plan):
        return
    if plan.serve.revision is None:
        yield (
            f"No commit of {plan.serve.model} is named, so what is fetched may be another tomorrow: corral fetch "
            'says the newest; write it into the plan ("revision" under "serve") and export again.'
        )
    if terms := licence.terms_for(hub_weights.licence_of(hub_weights.told(plan))):
        yield (
            f"What this fetches is under the {terms.title}, to be accepted by who uses it before: {terms.url}. "
            f"{terms.says[0]}"
        )
