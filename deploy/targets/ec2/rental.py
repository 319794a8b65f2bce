"""From the wishes to machines that run: what is asked for is checked, the account looked at, the order placed."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from deploy.targets import deployment as deployments
from deploy.targets import hub_weights
from deploy.targets.deployment import Deployment, folder
from deploy.targets.ec2 import beside, boxes, documents, ordering, prerequisites, release_order
from deploy.targets.ec2.cost import cost_sentence, hourly, priced
from deploy.targets.ec2.options import Ec2Options
from deploy.targets.ec2.takedown import refuse_another_account
from deploy.targets.place import LOOK_S, Check, Offer
from infra import deadline, prices
from infra.aws import account_preflight, power, profile, rented_machines, renting, replacing
from infra.aws.account_preflight import Survey
from infra.aws.api import Aws
from infra.aws.failures import Refused
from infra.aws.order import Order, utc
from infra.aws.renting import told
from infra.errors import CorralError, DocumentError, Interrupted
from infra.local_file import size_bytes
from serving.vllm import chat_template

HOW_TO_GIVE_A_TOKEN = (
    "put a token into SSM (aws ssm put-parameter --type SecureString --name /hf/token --value file://token.txt) and "
    "name it: --hf-token-parameter /hf/token"
)


@dataclass(frozen=True, kw_only=True)
class Rental(Offer):
    """What would be rented, and what AWS was seen to have for it."""

    aws: Aws
    order: Order
    survey: Survey
    keep: bool
    """Whether a failed launch is left for looking at."""


@contextmanager
def look(deployment: Deployment, wishes: Ec2Options, to_serve: bool) -> Iterator[Rental]:
    """First the wishes, then what this machine needs, then the weights, at last the account: each costs more to ask.

    Session Manager is needed here only for what is served next. Nothing is written before it is approved.
    """
    deployment = hub_weights.kept(deployment)
    order_for(deployment, wishes)
    if to_serve:
        prerequisites.require()
    deployment, about = settled(deployment, wishes)
    order = order_for(deployment, wishes)
    refuse_another_server(deployment, order)
    placed = deployment.model_copy(
        update={"region": order.regions[0], "release": accepted_release(deployment.name, order)}
    )
    order = release_order.accepted(placed, order)
    with documents.alone(placed.name):
        aws = documents.aws_for(placed.name)
        survey = surveyed(aws, order)
        refuse_another_account(order, survey.account)
        yield Rental(
            deployment=placed,
            checks=(*about, *checks(survey)),
            sent=told_of_template(deployment),
            is_planned=bool(told_of_template(deployment)),
            cost=cost_sentence(order, survey),
            aws=aws,
            order=order,
            survey=survey,
            keep=wishes.keep,
        )


@told
def make(rental: Rental) -> Deployment:
    """Write the order down, then launch it, or find it running: one order is one set of machines.

    Raises Interrupted, which says what is still rented.
    """
    deployment = rental.deployment
    prices.keep(rental.survey.prices)
    order = priced(rental.order, rental.survey).model_copy(update={"profile": profile.named()})
    order.write(documents.order_file(deployment.name))
    deployment.write(folder(deployment.name) / "deployment.json")
    renting.rent(rental.aws, order, rental.survey, rental.keep)
    try:
        boxes.tell_ends(rental.aws, deployment, order)
    except KeyboardInterrupt:
        raise still_rented(rental.aws, order) from None
    return deployment


@told
def put_back(aws: Aws, deployment: Deployment, order: Order) -> None:
    """Rent the replicas anew that are lost of those that run, after a look at the account: at the accepted release."""
    order = retold(deployment, order)
    survey = surveyed(aws, order)
    refuse_another_account(order, survey.account)
    there = replacing.without_surplus(aws, order, renting.seen(survey))
    if len(there) < order.machines:
        replacing.replaced(aws, order, survey, there)


def still_rented(aws: Aws, order: Order) -> Interrupted:
    """What Ctrl-C leaves: the machines, what they cost, when they end, and the two ways on.

    That may be fewer than were ordered, and another end; where AWS does not say, or a second Ctrl-C does not wait for
    it, it is told as ordered.
    """
    count, end = order.machines, order.expires_at
    with suppress(Refused, CorralError, KeyboardInterrupt), deadline.within(LOOK_S):
        there = replacing.up(rented_machines.machines(aws, order.name, order.regions))
        count, end = len(there) or count, power.end_of(order, there)
    what = "Its machine is" if count == 1 else f"Its {count} machines are"
    fewer = f" for all {order.machines} that were ordered" if count != order.machines else ""
    return Interrupted(
        f"Interrupted while waiting for {order.name}. {what} still rented at {hourly(order)}{fewer}, until "
        f"{utc(end)} at the latest.",
        f"Go on: corral serve {order.name}; take it away: corral down {order.name}",
    )


def order_for(deployment: Deployment, wishes: Ec2Options) -> Order:
    """The order to carry out, which may have been begun before. Raises UsageError for what cannot be meant."""
    return ordering.renewed(documents.begun(deployment.name), ordering.order(deployment, wishes))


def retold(deployment: Deployment, order: Order) -> Order:
    """The order with what its machines are to be told now, kept before any is launched by it."""
    now = release_order.accepted(deployment, order)
    if now != order:
        now.write(documents.order_file(order.name))
    return now


def accepted_release(name: str, order: Order) -> str:
    """The release that an order which was begun has come to; empty for a new one, or where it had no other."""
    before = documents.begun(name)
    if before is None or before.order_id != order.order_id:
        return ""
    with suppress(DocumentError):
        return deployments.load(name).release
    return ""


def told_of_template(deployment: Deployment) -> tuple[str, ...]:
    """The chat template that leaves this machine in the box's user data; nothing for none, or for a text."""
    template = chat_template.file_here(deployment.plan.serve.chat_template)
    return (
        (f"1 file, {size_bytes(template):,} bytes, {template}, in the user data of EC2",) if template else ()
    )


def refuse_another_server(deployment: Deployment, order: Order) -> None:
    """Raise UsageError where the boxes of an order that was begun are told to serve otherwise: they are told once.

    Other adapters, say, or another draft.
    """
    before, told = documents.begun(deployment.name), hub_weights.begun(deployment)
    if before and before.order_id == order.order_id and told not in (None, deployment.plan.serve):
        raise ordering.begun_otherwise(deployment.name)


def settled(deployment: Deployment, wishes: Ec2Options) -> tuple[Deployment, tuple[Check, ...]]:
    """The deployment at the commits its boxes will fetch, and what there is to say before anything is paid for."""
    machine = hub_weights.OwnToken(wishes.hf_token_parameter or "", HOW_TO_GIVE_A_TOKEN)
    if not wishes.weights:
        hub_weights.require_told(deployment.plan)
    deployment, about = beside.settled(deployment, wishes.weights, machine)
    plan = deployment.plan
    if wishes.weights:
        return deployment, (*about, hub_weights.stored(wishes.weights, plan.weights_bytes))
    told_of = hub_weights.look(plan, hub_weights.token_of(deployment), machine)
    hub_weights.require(told_of)
    return hub_weights.pinned(deployment, told_of.revision), (*about, hub_weights.check(told_of))


@told
def surveyed(aws: Aws, order: Order) -> Survey:
    """Look at the account, and raise when nothing could be launched."""
    return account_preflight.checked(account_preflight.survey(aws, order), order)


def checks(survey: Survey) -> tuple[Check, ...]:
    """The findings as checks."""
    return tuple(
        Check(
            name=f"{finding.topic} {finding.region}",
            outcome=finding.outcome,
            found=finding.found,
            fix=finding.fix,
        )
        for finding in survey.findings
    )
