"""Keeping the way to a server open: Session Manager ends a tunnel that is idle, and any after about an hour."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from deploy.targets.abilities import Replicated
from deploy.targets.choose import place_of
from deploy.targets.deployment import Deployment
from infra.errors import EndpointError, HostError, UsageError
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
    """Hold the way open until Ctrl-C, opening it again when it ends; `opened` is told where, once for each place.

    Of several replicas all ways are held, and the others than the first are told by the way.
    """
    place, told, others = place_of(deployment), None, dict[str, Endpoint]()
    while True:
        with telling(say):
            endpoint = place.endpoint(deployment)
            if endpoint != told:
                opened(endpoint)
                told = endpoint
            client.health(endpoint)
        with telling(say):  # also where the first is away
            for name, other in beside(place, deployment).items():
                with telling(say):
                    if other != others.get(name):
                        say(f"connect: {name} answers at {other.base_url}")
                        others[name] = other
                    client.health(other)
        sleep(LOOK_EVERY_S)


@contextmanager
def telling(say: Callable[[str], None]) -> Iterator[None]:
    """Say what cannot be reached, and go on."""
    try:
        yield
    except (EndpointError, HostError) as error:
        say(f"connect: {error.message}")


def beside(place: object, deployment: Deployment) -> dict[str, Endpoint]:
    """The replicas after the first, by name, each by a way that is opened if need be."""
    if not isinstance(place, Replicated) or place.count(deployment) == 1:
        return {}
    try:
        _, *others = place.answering(deployment, opens=True).items()
    except UsageError:  # they take different keys, which their status tells
        return {}
    return dict(others)
