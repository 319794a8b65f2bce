"""From the name of a place to its module."""

from importlib import import_module
from typing import Annotated, cast

from pydantic import AfterValidator

from deploy.targets.deployment import Deployment
from deploy.targets.place import Place
from deploy.targets.table import PLACES
from infra.errors import UsageError


def place_of(deployment: Deployment) -> Place:
    """The place a deployment is at."""
    return place_called(deployment.target)


def place_called(name: str) -> Place:
    """The place of that name; its module is imported only now, as one needs boto3 and another does not."""
    return cast(Place, import_module(PLACES[name].module))


def checked_place(name: str) -> str:
    """The name as typed. Raises UsageError for a place there is not."""
    if name not in PLACES:
        raise UsageError(f"{name!r} is no target.", f"Use one of: {', '.join(PLACES)}")
    return name


Target = Annotated[str, AfterValidator(checked_place)]
