"""Keeping the way to a server open: Session Manager ends a tunnel that is idle, and any after about an hour."""

from collections.abc import Callable

from deploy.targets.choose import place_of
from deploy.targets.deployment import Deployment
from infra.errors import EndpointError, HostError
from serving.vllm import client
from serving.vllm.endpoint import Endpoint

LOOK_EVERY_S = 60.0
"""Well below the twenty minutes after which Session Manager ends a session nobody uses."""


def keep(
    deployment: Deployment,
    opened: Callable[[Endpoint], None],
    say: Callable[[str], None],
    sleep: Callable[[float], None],
) -> None:
    """Hold the way open until Ctrl-C, opening it again when it ends; `opened` is told where, once for each place."""
    place, told = place_of(deployment), None
    while True:
        try:
            endpoint = place.endpoint(deployment)
            if endpoint != told:
                opened(endpoint)
                told = endpoint
            client.health(endpoint)
        except (EndpointError, HostError) as error:
            say(f"connect: {error.message}")
        sleep(LOOK_EVERY_S)
