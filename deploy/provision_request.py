"""What `provision` and `up` are asked: a deployment and the wishes of its place; the question before spending."""

import sys
from functools import partial
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import Field

from deploy.by_name import is_file, is_named, plan_of
from deploy.line import Approve
from deploy.targets import adapters
from deploy.targets.abilities import SendsFiles
from deploy.targets.another_port import PortOption, with_port
from deploy.targets.choose import Target, place_called
from deploy.targets.deployment import Deployment, default_name, deployment_for, load, stated_target
from deploy.targets.place import Offer
from deploy.targets.table import PLACES, default, renting
from deploy.targets.token_file import TokenFile
from deploy.targets.wishes import NameOptions, PlaceOptions, Wishes
from infra.asked import again, either
from infra.columns import on_a_line
from infra.errors import UsageError
from infra.printable import sentence
from infra.say import is_somebody_there, notice, progress
from serving.sizing.carried import one_of
from serving.sizing.plan import Plan
from serving.vllm.lora_modules import LoraOptions, asked_again


class Where(NameOptions, TokenFile, LoraOptions, PortOption):
    """Where a plan goes, under which name, and with which token."""

    target: Annotated[
        Target | None,
        Field(
            description=f"Where: {either(tuple(PLACES))}. [where the plan's machine is rented; else {default()}]"
        ),
    ] = None

    @property
    def place(self) -> str:
        """Where a plan goes."""
        return self.target or default()


class Asking(NamedTuple):
    """What the flags come to."""

    deployment: Deployment
    wishes: PlaceOptions | None
    """What is asked of its place; None where nothing may be."""


def asking_for(what: str, where: Where, wishes: Wishes, is_dry: bool = False) -> Asking:
    """Read the plan, and see that its place takes what is asked; adapters that are named come here, unless it is dry.

    A deployment is made ready again where it is; with another name it is its plan that is meant. Raises UsageError,
    DocumentError or DoesNotFit, and what stands against fetching.
    """
    if where.target:  # What does not hold is said before what is not there.
        wishes.of(where.target)
    if (is_named(what) or not is_file(what)) and where.name in (None, what):
        return asking_again(load(what), where, wishes)
    plan, beside = plan_of(what)
    meant = where if is_named(what) else placed(where, plan)
    asking = asking_of(plan, beside, meant, wishes, is_dry)
    if meant.target != where.target and PLACES[meant.place].rents and not is_dry:
        notice(
            f"rented on {meant.place.upper()}: the plan is for {plan.machine.name}, which is rented there; "
            f"for this machine: --target {default()}"
        )
    return asking


def placed(where: Where, plan: Plan) -> Where:
    """Where a plan goes when nobody says: where it stands under that name here, what EC2 rents out there, as a model
    does, the rest here.
    """
    if where.target:
        return where
    is_here = stated_target(where.name or default_name(plan)) == default()
    found = renting() if plan.machine.instance_type and not is_here else default()
    return where.model_copy(update={"target": found})


def asking_again(known: Deployment, where: Where, wishes: Wishes) -> Asking:
    """The same of a deployment, where it is. Raises UsageError for one that is rented, or for another place."""
    name, place = known.name, place_called(known.target)
    if PLACES[known.target].rents:
        raise UsageError(
            f"{name} is a deployment already, and rented.", f"Serve it: corral serve {name}{again()}"
        )
    if where.target not in (None, known.target) and "target" not in wishes.kept:
        raise UsageError(
            f"{name} is a deployment on {known.target} already.",
            f"Leave out --target, or have another of its plan: --name {name[:38]}-2",
        )
    if where.lora:
        raise UsageError(
            f"{name} has adapters of its own.",
            f"Bring others: corral upgrade {name}{asked_again(where.lora)}",
        )
    of_place = wishes_of(known, wishes)
    deployment, of_place = place.wished(with_port(known, where.port), place.foreseen(of_place))
    token_file = where.hf_token_file or known.hf_token_file or None
    return Asking(place.with_token_file(deployment, token_file), of_place)


def wishes_of(known: Deployment, wishes: Wishes | None = None) -> PlaceOptions | None:
    """What a deployment was made by, as far as it keeps that; what was typed now goes first. Raises UsageError."""
    given = wishes or Wishes({})
    if known.target not in given.records():
        return given.of(known.target)
    kept = {"hosts": known.hosts, "engine": known.engine, "regions": (known.region,) if known.region else ()}
    own = {field: value for field, value in kept.items() if value}
    typed = {
        field: value
        for field, value in given.get(known.target, {}).items()
        if field not in own or (value and field not in given.kept)
    }
    return Wishes({**given, known.target: {**own, **typed}}, given.kept).of(known.target)


def asking_of(plan: Plan, beside: Path | None, where: Where, wishes: Wishes, is_dry: bool = False) -> Asking:
    """The same of a plan that was read, or made; its files lie in that folder, or were looked at before."""
    of_place = wishes.of(where.place)
    place = place_called(where.place)
    token_file = where.hf_token_file or ""
    bring = adapters.given_unfetched if is_dry else partial(adapters.given_here, token_file=token_file)
    read = bring(plan, where.lora)
    planned = with_port(deployment_for(read, where.place, where.name), where.port)
    tell_of_others(read)
    deployment, of_place = place.wished(planned, of_place)
    if beside and isinstance(place, SendsFiles):
        place.check_files(deployment, beside)
    return Asking(place.with_token_file(deployment, where.hf_token_file), of_place)


def tell_of_others(plan: Plan) -> None:
    """Say how many servers beside it the plan counts on: they are started elsewhere, or as its replicas on EC2."""
    if plan.carried and (words := one_of(plan.carried)):
        progress(sentence(words))


LABEL = 9
"""Letters before what a check found."""


def approval(yes: bool, about: str = "") -> Approve:
    """Its matter, the checks, what leaves this machine, and the question before that and before spending: y or n."""

    def approve(offer: Offer) -> None:
        is_asked = not yes and (offer.is_planned or offer.cost)
        if about:
            (notice if is_asked else progress)(about)
        for check in offer.checks:
            tell = progress if check.outcome == "ok" else notice
            tell(
                on_a_line(f"{check.name}: {check.found}" + (f"  ({check.fix})" if check.fix else ""), LABEL),
                check.outcome.ljust(LABEL),
            )
        for line in offer.sent:
            (notice if offer.is_planned and not yes else progress)(f"leaves this machine: {sentence(line)}")
        if offer.is_planned and not yes:
            confirm(SENDING)
        if offer.cost and not yes:
            notice(offer.cost)
            confirm(RENTING)

    return approve


class Question(NamedTuple):
    """A question, and what is said where the answer is no, or nobody is there to give one."""

    question: str
    nobody: str
    no: str


RENTING = Question("Rent it?", "Nobody is there to confirm the cost.", "Not confirmed; nothing was rented.")
SENDING = Question("Send it?", "Nobody is there to confirm what is sent.", "Not confirmed; nothing was sent.")

ADOPTING = Question(
    "Take it over?", "Nobody is there to confirm it.", "Not confirmed; nothing was taken over."
)


def confirm(asked: Question) -> None:
    """Ask. Raises UsageError where nobody can answer, or the answer is no."""
    if not is_somebody_there():
        raise UsageError(asked.nobody, "Say so beforehand: --yes")
    print(f"{asked.question} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise UsageError(asked.no, "")
