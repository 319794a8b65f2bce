"""`corral status NAME --history`: what happened to a deployment, as kept here and on its machines."""

import heapq

from deploy.targets.abilities import TellsHistory
from deploy.targets.choose import place_of
from deploy.targets.deployment import Deployment, folder
from deploy.targets.place import LOOK_S
from infra import deadline
from infra.errors import CorralError
from infra.say import warn
from serving.vllm import events
from serving.vllm.events import Event


def history_of(deployment: Deployment) -> tuple[Event, ...]:
    """All of it, oldest first: each source in its own order, for a clock that was set may lie."""
    here = events.read(folder(deployment.name))
    place = place_of(deployment)
    if not isinstance(place, TellsHistory):
        return here
    try:
        with deadline.within(LOOK_S):
            there = place.history(deployment)
    except CorralError as error:
        warn(f"only what is kept here: {error.message}")
        return here
    return tuple(heapq.merge(here, there, key=lambda event: event.at))
