"""What an export knows of a deployment beyond its plan: what it is called, and where its servers answer."""

from deploy.export.formats import FORMATS
from deploy.targets.abilities import Replicated
from deploy.targets.choose import place_of
from deploy.targets.deployment import Deployment
from deploy.targets.table import PLACES
from infra.say import progress


def answers_at(to: str, deployment: Deployment) -> tuple[str, ...]:
    """The base URL of each of its servers as seen from here, for a format that stands in front of them; asks nobody.

    None for rented machines, which only their cloud can tell of. Raises UsageError where they take different keys.
    """
    place = place_of(deployment)
    if to not in FORMATS or not FORMATS[to].in_front or not isinstance(place, Replicated):
        return ()
    if not PLACES[deployment.target].rents:
        return tuple(each.base_url for each in place.answering(deployment, opens=False).values())
    if place.count(deployment) > 1:
        progress(
            f"One server of {place.count(deployment)} is named in it: name each by --endpoint, as corral status "
            f"{deployment.name} tells them."
        )
    return ()
