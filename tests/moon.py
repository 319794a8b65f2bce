"""A cloud of one's own, in a folder's stead: all that a new place has to say, as the tests add it to the table."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, ClassVar

from pydantic import Field

from deploy.targets.deployment import Deployment, folder
from deploy.targets.hub_weights import with_token_file as with_token_file
from deploy.targets.place import Check, Checkup, Offer, State, Status, Teardown
from deploy.targets.wishes import PlaceOptions
from infra import offline
from infra.errors import CloudError, Interrupted
from infra.record import removed
from serving.vllm.endpoint import Endpoint

RENTED: dict[str, str] = {}
"""Deployment -> the crater its machine stands in; the truth is there."""
COST = "9.000 USD per hour"


class MoonOptions(PlaceOptions):
    """What may be asked of the moon."""

    heading: ClassVar[str] = "Moon"

    crater: Annotated[str, Field(pattern="^[A-Z][a-z]+$", examples=["Copernicus"])] = "Tycho"
    """moon: where the machine stands."""


def foreseen(wishes: MoonOptions) -> MoonOptions:
    return wishes


def wished(deployment: Deployment, wishes: MoonOptions) -> tuple[Deployment, MoonOptions]:
    return deployment.model_copy(update={"region": wishes.crater}), wishes


def refuse_offline(deployment: Deployment, is_made: bool) -> None:
    offline.refuse("the moon")


def requests(deployment: Deployment, wishes: MoonOptions | None = None) -> list[dict[str, object]]:
    return [{"operation": "Land", "name": deployment.name, "crater": deployment.region}]


def examined(deployment: Deployment | None, wishes: MoonOptions) -> Iterator[Checkup]:
    """As a look is."""
    yield Checkup(name="crater", outcome="ok", found=f"room in {wishes.crater}")


@contextmanager
def look(deployment: Deployment, wishes: MoonOptions, to_serve: bool) -> Iterator[Offer]:
    check = Check(name="crater", outcome="ok", found=f"room in {deployment.region}")
    yield Offer(deployment, (check,), f"A lander in {deployment.region}: {COST}")


def make(offer: Offer) -> Deployment:
    RENTED[offer.deployment.name] = offer.deployment.region or ""
    offer.deployment.write(folder(offer.deployment.name) / "deployment.json")
    return offer.deployment


def where(deployment: Deployment) -> str:
    return f"the moon, {deployment.region}"


def serve(deployment: Deployment) -> Endpoint:
    try:
        wait()
    except KeyboardInterrupt:
        name = deployment.name
        hint = f"Go on: corral serve {name}; take it away: corral down {name}"
        raise Interrupted(f"Interrupted: {name} is still rented at {COST}.", hint) from None
    return endpoint(deployment)


def wait() -> None:
    """Until it answers, which is at once."""


def endpoint(deployment: Deployment) -> Endpoint:
    if deployment.name not in RENTED:
        raise CloudError(f"No machine of {deployment.name} runs.", "Rent one: corral up PLAN --target moon")
    return Endpoint(base_url="http://tycho.example", served_model_name="scout", api_key_file=None)


def shell(deployment: Deployment) -> tuple[str, ...]:
    return ("ssh", f"root@{RENTED[deployment.name]}")


def status(deployment: Deployment) -> Status:
    state: State = "serving" if deployment.name in RENTED else "absent"
    return Status(name=deployment.name, target="moon", state=state, detail=where(deployment))


def logs(deployment: Deployment, follow: bool) -> Iterator[str]:
    yield "The Eagle has landed."


def stop(deployment: Deployment) -> None:
    """It cannot be stopped."""


def down(deployment: Deployment) -> Teardown:
    return remove(deployment.name)


def without_document(name: str) -> str:
    return f"On the moon: corral down {name} --target moon."


# What follows is one ability that not every place has: it finds by name what another machine made.


def remove(name: str, region: str | None = None) -> Teardown:
    RENTED.pop(name, None)
    return Teardown(name=name, counts={"landers": 0}, left=removed([folder(name) / "deployment.json"]))


def made_elsewhere(name: str) -> str:
    return f"Made on the moon? corral down {name} --target moon"
