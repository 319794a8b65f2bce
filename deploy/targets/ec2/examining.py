"""What renting needs, looked at for `corral doctor`: this machine, the weights, the account; none hides another."""

from collections.abc import Iterator

from deploy.targets.checkup import checkups, failure, tried
from deploy.targets.deployment import Deployment
from deploy.targets.ec2 import documents, granted, ordering, rental
from deploy.targets.ec2.options import Ec2Options
from deploy.targets.place import Checkup
from infra import day, prices
from infra.aws import account_preflight, boto, session
from infra.aws.renting import told
from infra.aws.unsent import NO_CREDENTIALS, said_of
from infra.errors import CorralError
from infra.quantity import counted

OF_AN_ACCOUNT = (
    "whose it is, quota, where the type is sold, network, image, roles, keys, permissions, today's price"
)
LOOK_AGAIN = "Give it credentials, and ask again."


def examined(deployment: Deployment | None, wishes: Ec2Options) -> Iterator[Checkup]:
    """Programs and credentials here, the weights, and all that AWS has, allows and denies for the order."""
    credentials = tried("credentials", found_credentials)
    yield credentials
    yield tried("session manager", programs)
    yield from map(price_age, wishes.regions)
    if deployment is None:
        return
    yield from checkups("weights", lambda: rental.settled(deployment, wishes)[1])
    if credentials.outcome == "ok":
        yield from of_the_account(deployment, wishes)
    else:
        yield Checkup(
            name="account", outcome="warning", found=f"not looked at: {OF_AN_ACCOUNT}", fix=LOOK_AGAIN
        )
        yield from of_any_account(deployment, wishes)


def programs() -> str:
    """What holds a session. Raises HostError where one is missing."""
    session.require_plugin()
    return "aws and session-manager-plugin are here"


def found_credentials() -> str:
    """That there are some; whose, AWS says later. Raises AuthError."""
    if not boto.has_credentials():
        raise said_of(NO_CREDENTIALS, "")
    return "found; AWS says below whose"


def price_age(region: str) -> Checkup:
    """How old what corral goes by is where AWS's price list does not answer."""
    here = [row.age_days(day.today()) for row in prices.rows() if row.region == region]
    fix = f"corral prices --refresh --region {region}"
    if prices.trouble():
        return Checkup(name="prices", outcome="warning", found=prices.trouble(), fix=fix)
    if not here:
        return Checkup(name="prices", outcome="warning", found=f"none is stored for {region}", fix=fix)
    is_old = min(here) > prices.OLD_AFTER_DAYS
    found = f"{len(here)} stored for {region}, the newest {counted(min(here), 'day')} old"
    return Checkup(
        name="prices", outcome="warning" if is_old else "ok", found=found, fix=fix if is_old else ""
    )


def of_any_account(deployment: Deployment, wishes: Ec2Options) -> Iterator[Checkup]:
    """What must be granted, whoever's account it will be: what somebody has to ask for, and AWS takes days over."""
    try:
        order = ordering.order(deployment, wishes)
    except CorralError as error:
        yield failure("order", error)
        return
    if quota := granted.quota_sentence(order):
        yield Checkup(
            name="quota", outcome="warning", found=f"it takes {quota}", fix=granted.ask_for_more(order)
        )
    fix = f"The least policy, for an admin: {granted.policy_line(order, wishes)}"
    yield Checkup(
        name="rights", outcome="warning", found="of corral in AWS: not known to be granted", fix=fix
    )


def of_the_account(deployment: Deployment, wishes: Ec2Options) -> Iterator[Checkup]:
    """What the preflight of a launch finds; what fails in one region is no obstacle where another has room."""
    begun = documents.begun(deployment.name)
    if begun and wishes.replicas is None:
        wishes = wishes.model_copy(update={"replicas": begun.replicas})
    try:
        order = ordering.order(deployment, wishes)
        seen = told(account_preflight.survey)(documents.reader(), order)
    except CorralError as error:
        yield failure("account", error)
        return
    obstacle = 0
    try:
        account_preflight.checked(seen, order)
    except CorralError as error:
        obstacle = error.exit_code
        if not any(finding.outcome == "failed" for finding in seen.findings):
            yield failure("account", error)
    for check in rental.checks(seen):
        code = obstacle if check.outcome == "failed" else 0
        yield Checkup(**check.model_dump(), exit_code=code)
