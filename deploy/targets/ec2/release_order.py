"""PURE: what the machines of an order are told of a later release: beside the one that serves, or at their first boot.

The order was placed once, and says what its machines were told; its id and all that ends them stay as they are. EC2
takes the client token of a launch from all that is asked, so one with other user data is another launch.
"""

from deploy.targets.deployment import Deployment
from deploy.targets.ec2 import ordering
from deploy.targets.ec2.options import Ec2Options
from infra import cloud_init
from infra import host as hosts
from infra.aws.order import Order
from infra.errors import UsageError
from serving.sizing.plan_again import size_again


def options_of(order: Order) -> Ec2Options:
    """What the machines of an order are told whatever they serve, as it was wished for.

    Raises DocumentError where the order does not say it.
    """
    told = cloud_init.told(order.user_data, order.name)
    weights = told.get("WEIGHTS", "")
    return Ec2Options(
        regions=order.regions,
        ttl=f"{order.ttl_minutes}m",
        idle=f"{order.idle_minutes}m" if order.idle_minutes else "never",
        cidr=order.cidr,
        open_to_the_world=order.cidr is not None,
        purchases=order.purchases,
        capacity_reservation_id=order.capacity_reservation_id,
        weights=None if weights.startswith("hf://") else weights,
        engine=told.get("ENGINE_ARCHIVE") or None,
        hf_token_parameter=told.get("HF_TOKEN_PARAMETER") or None,
    )


def setup_of(deployment: Deployment, order: Order) -> hosts.HostSetup:
    """How a machine prepares that release. Raises UsageError for what it cannot be told."""
    return ordering.host_setup(deployment, options_of(order), order.regions[0])


def order_of_release(deployment: Deployment, order: Order) -> Order:
    """The order whose machines serve that release from their first boot. Raises UsageError for more than EC2 takes."""
    setup = setup_of(deployment.model_copy(update={"release": ""}), order)
    return order.model_copy(
        update={
            "user_data": cloud_init.user_data(setup),
            "engine_unlocked": ordering.unlocked(setup),
            "weights_bytes": ordering.fetched_bytes(deployment.plan, setup),
            "expected_s3": ordering.expected(deployment.plan, setup),
        }
    )


def accepted(deployment: Deployment, order: Order) -> Order:
    """The order as what is launched from now on is to be: at the release that was accepted, where there was another."""
    return order_of_release(deployment, order) if deployment.release else order


def refuse_unlike(present: Deployment, wanted: Deployment, order: Order) -> None:
    """Raise UsageError for what the machines that are there cannot come to serve."""
    name, machine = present.name, present.plan.machine
    if order.nodes > 1:
        raise UsageError(
            f"{name} is one server over several machines, which corral does not upgrade.",
            under_another_name(present),
        )
    here, there = ((each.gpu, each.gpu_count, each.hosts) for each in (machine, wanted.plan.machine))
    if here != there:
        raise UsageError(
            f"The plan is for {wanted.plan.machine.name}; {name} has {machine.name}.",
            f"Plan for that: {size_again(wanted.plan, machine.name)} -o next.json",
        )
    stored = options_of(order).weights
    was, will = present.plan.serve, wanted.plan.serve
    if stored and (was.model, was.revision) != (will.model, will.revision):
        raise UsageError(
            f"The machines of {name} read the weights of {was.model} from {stored}, and no others.",
            under_another_name(present),
        )


def refuse_another_engine(present: Deployment, order: Order) -> None:
    """Raise UsageError where its machines have their engine packed: they may reach no package index."""
    if archive := options_of(order).engine:
        raise UsageError(
            f"The machines of {present.name} have vLLM {present.plan.vllm_version} packed, from {archive}, and no "
            "other version.",
            under_another_name(present),
        )


def under_another_name(deployment: Deployment) -> str:
    """The way to another release where none is brought beside the one that serves."""
    name = deployment.name
    return (
        f"Bring it up under another name, switch to that, then take this one away: corral up plan.json --target "
        f"{deployment.target} --name {name[:38]}-2; corral down {name}"
    )
