"""What `provision` and `up` are asked: a deployment and the wishes of its place; the question before spending."""

import sys
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import Field

from deploy.line import Approve
from deploy.targets.choose import Target, place_called
from deploy.targets.deployment import Deployment, deployment_for
from deploy.targets.hub_weights import TokenFile
from deploy.targets.place import Offer
from deploy.targets.table import PLACES, default
from deploy.targets.wishes import NameOptions, PlaceOptions, Wishes
from infra.asked import either
from infra.errors import UsageError
from infra.say import is_somebody_there, progress
from serving.sizing.plan import Plan


class Where(NameOptions, TokenFile):
    """Where a plan goes, under which name, and with which token."""

    target: Annotated[Target, Field(description=f"Where: {either(tuple(PLACES))}.")] = default()


class Asking(NamedTuple):
    """What the flags come to."""

    deployment: Deployment
    wishes: PlaceOptions | None
    """What is asked of its place; None where nothing may be."""


def asking_for(plan: Path, where: Where, wishes: Wishes) -> Asking:
    """Read the plan, and see that its place takes what is asked. Raises UsageError, DocumentError or DoesNotFit."""
    of_place = wishes.of(where.target)
    place = place_called(where.target)
    planned = deployment_for(Plan.read(plan), where.target, where.name)
    deployment, of_place = place.wished(planned, of_place)
    return Asking(place.with_token_file(deployment, where.hf_token_file), of_place)


def approval(yes: bool) -> Approve:
    """The checks, and the question before money is spent: price and time limit, y or n."""

    def approve(offer: Offer) -> None:
        for check in offer.checks:
            progress(
                f"{check.outcome:7}  {check.name}: {check.found}" + (f"  ({check.fix})" if check.fix else "")
            )
        if offer.cost and not yes:
            confirm(offer.cost)

    return approve


def confirm(sentence: str) -> None:
    """Ask. Raises UsageError where nobody can answer, or the answer is no."""
    progress(sentence)
    if not is_somebody_there():
        raise UsageError("Nobody is there to confirm the cost.", "Say so beforehand: --yes")
    print("Rent it? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise UsageError("Not confirmed; nothing was rented.", "")
