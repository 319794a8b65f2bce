"""Everything that carries a deployment's name is taken away, in the account it was made in, and that is proved."""

from collections.abc import Iterator
from contextlib import suppress

from deploy.targets.ec2 import documents, tunnels
from deploy.targets.place import Teardown
from infra.aws import account_preflight, rented_machines, renting
from infra.aws.api import Aws
from infra.aws.boto import default_region
from infra.aws.failures import Refused
from infra.aws.order import TAG, Order, utc
from infra.aws.renting import told
from infra.aws.tag_search import tagged_values
from infra.aws.teardown import enabled_regions
from infra.errors import AuthError, DocumentError
from infra.say import progress


@told
def remove(name: str, region: str | None = None) -> Teardown:
    """Take away whatever carries the name, with or without our documents."""
    with documents.alone(name, without=lambda why: progress(f"down: going on without a lock: {why}")):
        aws = documents.aws_for(name)
        assert aws.ledger is not None
        known = dict.fromkeys((*documents.ordered_regions(name), *aws.ledger.regions()))
        account = account_of(aws, name, tuple(known))
        progress(f"down: looking for what carries the name {name} on EC2 in account {account or 'unknown'}")
        tunnels.close(name)
        search = () if known else (region or default_region(),)
        remains = renting.take_away(aws, name, tuple(known), search)
        left = remains.left or documents.forget(name)
        is_found = bool(known or remains.removed or left)
        others = () if is_found else others_there(aws, *search)
        return Teardown(
            name=name, counts=remains.counts, left=left, account=account, found=is_found, others=others
        )


def others_there(aws: Aws, region: str) -> tuple[str, ...]:
    """What of ours stands in the account under any name, a deployment and region each: it may be what was meant."""
    return tuple(line for each in enabled_regions(aws, region) for line in others_in(aws, each))


def others_in(aws: Aws, region: str) -> Iterator[str]:
    """The same of one region, its machines with their types and ends."""
    try:
        machines, tagged = rented_machines.of_any(aws, region), tagged_values(aws, region, TAG)
    except Refused as refused:
        yield f"what is in {region}, which could not be looked at ({refused.code})"
        return
    for name, types in sorted(tagged.items()):
        own = [machine for machine in machines if machine.deployment == name]
        told = [
            f"{machine.instance_id}, {machine.instance_type}, {machine.state}"
            + (f", until {utc(machine.expires_at)}" if machine.expires_at else "")
            for machine in own
        ]
        rest = sorted(types - {"instance"})
        if told or rest:
            yield f"{name} in {region}: {'; '.join(told) or ', '.join(rest)} (corral down {name} --target ec2)"


def account_of(aws: Aws, name: str, regions: tuple[str, ...]) -> str:
    """The account these credentials are of, asked in the deployment's regions; empty where AWS does not say.

    Raises AuthError where the deployment was made in another: there nothing of it would be found.
    """
    try:
        account = account_preflight.identity(aws, regions or (default_region(),)).account
    except Refused as refused:
        if refused.kind in ("auth", "local"):
            raise
        return ""
    with suppress(DocumentError):
        refuse_another_account(documents.begun(name), account)
    return account


def refuse_another_account(order: Order | None, account: str) -> None:
    """Raise AuthError for an order that was placed in another account than this one."""
    if order and order.account not in ("", account):
        leads = "--profile, and the one of aws configure list-profiles that leads there"
        by = f"--profile {order.profile}" if order.profile else leads
        raise AuthError(
            f"{order.name!r} stands in AWS account {order.account}; these credentials are of {account}.",
            f"Use those of that account: {by}",
        )
