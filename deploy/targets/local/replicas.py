"""The one engine that a deployment of this machine is."""

from deploy.targets.deployment import Deployment, folder
from serving.vllm import server
from serving.vllm.endpoint import Endpoint


def replicas(deployment: Deployment) -> dict[str, Deployment]:
    """It alone."""
    return {deployment.name: deployment}


def count(deployment: Deployment) -> int:
    """One."""
    return 1


def answering(deployment: Deployment, opens: bool) -> dict[str, Endpoint]:
    """Where it answers, or will: no way is to be opened."""
    serve = deployment.plan.serve
    here = Endpoint(
        base_url=server.base_url(serve),
        served_model_name=serve.served_model_name,
        api_key_file=server.key_file(folder(deployment.name)),
    )
    return {deployment.name: here}


def share_key(deployment: Deployment) -> None:
    """It is its own."""
