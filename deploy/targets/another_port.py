"""The port that a server listens on, as a flag of the verbs that make one or start it."""

from typing import Annotated

from pydantic import Field

from deploy.targets.deployment import Deployment
from infra.asked import Asked, Flag
from serving.vllm.serve_options import Port


class PortOption(Asked):
    """Where a server listens."""

    port: Annotated[Port | None, Flag(shows_limits=True), Field(examples=[8000])] = None
    """Another port than the plan's."""


def with_port(deployment: Deployment, port: int | None) -> Deployment:
    """The same deployment on another port, if one is given."""
    if port is None:
        return deployment
    serve = deployment.plan.serve.model_copy(update={"port": port})
    plan = deployment.plan.model_copy(update={"serve": serve})
    return deployment.model_copy(update={"plan": plan})
