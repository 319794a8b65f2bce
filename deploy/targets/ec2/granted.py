"""PURE: what an account must have been granted before an order: vCPUs of a quota, which takes AWS days, and rights."""

from typing import NamedTuple

from deploy.targets.ec2.options import Ec2Options
from deploy.targets.ec2.own_resource_options import Own
from deploy.targets.ec2.policy_request import PolicyOptions
from infra import catalog
from infra.asked import again
from infra.aws import quotas
from infra.aws.order import Order
from infra.quantity import counted


class Granted(NamedTuple):
    """One quota that an order counts against."""

    quota: quotas.Quota
    vcpus: int
    """That the order takes of it, at most."""


def granted(order: Order) -> tuple[Granted, ...]:
    """Every quota that the order may count against; none for capacity blocks, and for what nobody knows one of."""
    taken: dict[quotas.Quota, int] = {}
    for purchase in order.purchases:
        for name in order.instance_types:
            quota, vcpus = quotas.quota_of(name, purchase), catalog.machine(name).vcpus
            if quota and vcpus:
                taken[quota] = max(taken.get(quota, 0), vcpus * order.machines)
    return tuple(Granted(quota, vcpus) for quota, vcpus in taken.items())


def words(each: Granted) -> str:
    """A quota as it stands in a sentence."""
    code = f" ({each.quota.code})" if each.quota.code else ""
    return f"{counted(each.vcpus, 'vCPU')} of {each.quota.name!r}{code}"


def quota_sentence(order: Order) -> str:
    """What must be granted of quotas, and where; empty for nothing."""
    needed = " or ".join(map(words, granted(order)))
    return f"{needed} in {' or '.join(order.regions)}; a new account has 0" if needed else ""


def ask_for_more(order: Order) -> str:
    """Where more is asked for: a page for each region and quota."""
    pages = (quotas.page(region, each.quota) for region in order.regions for each in granted(order))
    return f"Ask AWS for them, which may take days: {' '.join(dict.fromkeys(pages))}"


def policy_line(order: Order, wishes: Ec2Options) -> str:
    """The line that prints the rights which the order takes."""
    own = {field: getattr(wishes, field) for field in Own.model_fields}
    stored = (wishes.weights,) if wishes.weights and wishes.weights.startswith("s3://") else ()
    narrowed = PolicyOptions(
        **own, regions=order.regions, instance_types=order.instance_types, weights=stored
    )
    return f"corral iam-policy{again(narrowed)}"
