"""PURE: from a deployment and the user's options to the order for EC2."""

import getpass
import re
import socket
import uuid
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import NamedTuple

from deploy.targets import drafts, preflight
from deploy.targets.deployment import Deployment
from deploy.targets.ec2 import beside
from deploy.targets.ec2.options import Ec2Options, checked_zones, idle_minutes
from deploy.targets.ec2.own_resource_options import check_own_place
from deploy.targets.ec2.tags import tags_from
from infra import catalog, cloud_init
from infra import host as hosts
from infra.argument import pasted
from infra.aws.order import Order, StoredFolder
from infra.aws.region import checked_region
from infra.errors import UsageError
from infra.fetch.listing import CONFIG
from infra.hardware import Machine
from infra.lifetime import minutes
from infra.prices import HourlyPrice, on_demand_price, price_of
from serving.model import lora_files
from serving.sizing.plan import Plan
from serving.sizing.plan_again import size_again
from serving.vllm import chat_template
from serving.vllm.engine_lock import lock_of
from serving.vllm.serve_options import ServeOptions, argv, environment
from serving.vllm.startup_log import load_budget_s

# Two minutes of notice (AWS), less 15 s until it is seen and said and the 30 s systemd waits beyond the drain.
LONGEST_SPOT_DRAIN_S = 75

# What two orders under one name may differ in and still be the same wish.
PER_ORDER = {
    "account",
    "profile",
    "order_id",
    "created_by",
    "created_at",
    "version",
    "usd_per_hour",
    "price_source",
    "document",
    "user_data",
    "engine_unlocked",
    "weights_bytes",
    "expected_s3",
    "engine_gib",
}


def order(deployment: Deployment, options: Ec2Options) -> Order:
    """Everything EC2 will be asked for, in the regions of the options, of which there is one at least.

    Raises UsageError for what EC2 does not sell or the user cannot mean.
    """
    machine, types, price = as_sold(deployment.plan, options)
    regions, replicas = options.regions, options.replicas or 1
    check_region(options)
    setup = host_setup(deployment, options, regions[0])
    return Order(
        name=deployment.name,
        order_id=uuid.uuid4().hex,
        created_by=who(),
        created_at=datetime.now(UTC).replace(microsecond=0),
        version=version(),
        regions=regions,
        zones=options.zones,
        instance_types=types,
        purchases=options.purchases,
        nodes=machine.hosts,
        replicas=replicas,
        min_replicas=options.min_replicas,
        usd_per_hour=float(price.usd_per_hour) * machine.hosts * replicas if price else None,
        price_source=price.origin if price else "",
        max_usd_per_hour=options.max_usd_per_hour,
        allow_unknown_price=options.allow_unknown_price,
        ttl_minutes=minutes(options.ttl, "--ttl"),
        idle_minutes=idle_minutes(options),
        port=deployment.plan.serve.port,
        cidr=options.cidr,
        subnet_ids=options.subnet_ids,
        capacity_reservation_id=options.capacity_reservation_id,
        permissions_boundary=options.permissions_boundary or "",
        instance_profile=options.instance_profile or "",
        scheduler_role=options.scheduler_role or "",
        security_group_ids=options.security_group_ids,
        kms_key_id=options.kms_key_id or "",
        ami=options.ami,
        volume_gib=options.volume_gib,
        volume_mib_per_s=options.volume_mib_per_s,
        weights_bytes=fetched_bytes(deployment.plan, setup),
        engine_gib=preflight.figures()["engine_disk_gib"]["cuda"],
        user_data=cloud_init.user_data(setup),
        engine_unlocked=unlocked(setup),
        user_tags=tags_from(options.tags),
        read_parameters=tuple(filter(None, [setup.hf_token_parameter])),
        read_s3=stored(setup),
        expected_s3=expected(deployment.plan, setup),
    )


class Sold(NamedTuple):
    """A plan's machine as EC2 sells it."""

    machine: Machine
    types: tuple[str, ...]
    """To try in this order."""
    price: HourlyPrice | None
    """The stored one of the first type in the first region."""


def as_sold(plan: Plan, options: Ec2Options) -> Sold:
    """What is rented for a plan in the regions of the options. Raises UsageError where it is not sold so."""
    machine = sold(plan)
    check_replicas(machine, plan, options)
    types = instance_types(machine, plan, options)
    price = price_for(types[0], options.regions[0], options)
    check_affordable(types, options.regions, plan, options)
    return Sold(machine, types, price)


def check_replicas(machine: Machine, plan: Plan, options: Ec2Options) -> None:
    """Raise UsageError for replicas of a server that spans machines, and for more at the least than at the most."""
    replicas, least = options.replicas or 1, options.min_replicas or 1
    if machine.hosts > 1 and replicas > 1:
        raise UsageError(
            f"One server of this plan spans {machine.hosts} machines; replicas are of a plan of one machine.",
            f"Leave out --replicas, or plan for one machine: {size_again(plan)}",
        )
    if least > replicas:
        raise UsageError(
            f"--min-replicas {least} is more than the {replicas} that {'is' if replicas == 1 else 'are'} asked for.",
            f"Ask for more: --replicas {least}",
        )


def planned_replicas(plan: Plan) -> int:
    """How many machines of the plan's own kind carry the traffic it was planned for, with one such server each.

    1 where it was planned for no traffic, or others carry it too: then the plan alone does not say what to rent.
    """
    if plan.carried is None or len(plan.carried.machines) > 1:
        return 1
    (machines,) = plan.carried.machines
    is_this = (machines.name, machines.servers) == (plan.machine.name, 1)
    return machines.count if is_this and plan.machine.hosts == 1 else 1


def located(options: Ec2Options, planned: str | None = None) -> Ec2Options:
    """The options with the regions to try: the user's, the plan's, or AWS's own setting here; never a default.

    Raises UsageError where nobody named one, or for what does not go with them.
    """
    if not options.regions:
        from infra.aws.boto import configured_region  # slow to import

        region = checked_region(planned) if planned else configured_region()
        options = options.model_copy(update={"regions": (region,)})
    check_region(options)
    return options


def check_region(options: Ec2Options) -> None:
    """Raise UsageError for zones, keys or groups that are of none of the regions."""
    checked_zones(options.zones, options.regions)
    check_own_place(options, options.regions, options.cidr)


def renewed(old: Order | None, new: Order) -> Order:
    """The order to carry out: the one begun before when it still holds, with as few as will do now; else the new one.

    Raises UsageError when something else was begun under this name.
    """
    if old is None or old.expires_at - timedelta(minutes=5) < new.created_at:
        return new
    again = old.model_copy(update={"min_replicas": new.min_replicas})
    if again.model_dump(exclude=PER_ORDER) != new.model_dump(exclude=PER_ORDER):
        raise begun_otherwise(new.name)
    return again


def begun_otherwise(name: str) -> UsageError:
    """What to say where another wish was begun under this name."""
    return UsageError(
        f"{name!r} was begun with other options.",
        f"Take it away first (corral down {name}), or choose another --name.",
    )


def sold(plan: Plan) -> Machine:
    """The plan's machine as EC2 sells it. Raises UsageError with the nearest shapes where it does not."""
    name = plan.machine.name
    machine = catalog.machine(name)
    if machine.kind == "ec2":
        return machine
    from deploy.targets.ec2.nearest_types import nearest, said

    there = nearest(machine)
    of_it = f" ({size_again(plan, there[0].instance_type)})" if there else ""
    raise UsageError(
        f"EC2 sells no {name}. Nearest: {said(there)}.",
        f"Plan for one{of_it}, or use one of your own: --target ssh --host gpu-1",
    )


def instance_types(machine: Machine, plan: Plan, options: Ec2Options) -> tuple[str, ...]:
    """The types to try. Others than the plan's must carry the same GPUs, or the plan would not hold."""
    own = machine.instance_type or machine.name
    for name in options.instance_types:
        other = catalog.machine(name)
        if (other.gpu_name, other.gpus_per_host, other.kind) != (
            machine.gpu_name,
            machine.gpus_per_host,
            "ec2",
        ):
            raise UsageError(
                f"This plan is for {machine.gpus_per_host}x {machine.gpu_name} a host; {name} has "
                f"{other.gpus_per_host}x {other.gpu_name}.",
                f"Make a plan for it: {size_again(plan, name)} -o other.json",
            )
    return options.instance_types or (own,)


def price_for(instance_type: str, region: str, options: Ec2Options) -> HourlyPrice | None:
    """The stored price. Raises UsageError for a type that is not sold this way."""
    price = price_of(catalog.machine(instance_type), region)
    on_demand_only = set(options.purchases) == {"on-demand"} and not options.capacity_reservation_id
    if price and price.purchase == "capacity-block" and on_demand_only:
        raise UsageError(
            f"{instance_type} has no on-demand price in {region}: EC2 sells it as a capacity block or spot.",
            f"Use --purchase spot, or see: corral capacity-block list {instance_type}",
        )
    return price


def check_affordable(
    types: tuple[str, ...], regions: tuple[str, ...], plan: Plan, options: Ec2Options
) -> None:
    """Raise UsageError when even the cheapest stored price is above the user's limit; today's are asked for later."""
    limit = options.max_usd_per_hour
    known = [price for name in types for region in regions if (price := on_demand_price(name, region))]
    if limit is None or set(options.purchases) != {"on-demand"} or len(known) < len(types) * len(regions):
        return
    least = plan.machine.hosts * (options.replicas or 1) * min(float(price.usd_per_hour) for price in known)
    if least > limit:
        raise UsageError(
            f"{least:.10g} USD per hour is more than --max-usd-per-hour {limit:g}.",
            f"Raise it to {ceil(least * 100) / 100:g}, or plan for a cheaper machine ({size_again(plan)}); "
            "is that price old? corral prices",
        )


def host_setup(deployment: Deployment, options: Ec2Options, region: str) -> hosts.HostSetup:
    """How the rented box prepares itself at first boot, or for a release beside the one that it serves."""
    serve = serve_there(deployment, options)
    return hosts.HostSetup(
        name=deployment.name,
        release=deployment.release,
        argv=argv(serve),
        environment=environment(
            hosts.state_folder(deployment.name), load_budget_s(deployment.plan.weights_bytes)
        ),
        host=serve.host,
        port=serve.port,
        served_model_name=serve.served_model_name,
        load_budget_s=load_budget_s(deployment.plan.weights_bytes),
        gpus=deployment.plan.machine.gpu_count // deployment.plan.machine.hosts,
        engine=hosts.Engine(
            requirement=f"vllm=={deployment.plan.vllm_version}",
            archive=options.engine or "",
            lock=None if options.engine else lock_of(deployment.plan.vllm_version),
        ),
        weights=weights(deployment, options),
        weights_bytes=deployment.plan.weights_bytes,
        beside=beside.fetched(deployment.plan.serve),
        sums=beside.sums(deployment.plan.serve),
        hf_token_parameter=options.hf_token_parameter or "",
        region=region,
        api_key="generated",
        ttl_minutes=minutes(options.ttl, "--ttl"),
        idle_minutes=idle_minutes(options),
        rented=True,
        spot="spot" in options.purchases,
        shutdown_timeout_s=checked_drain(serve.shutdown_timeout, options),
        nodes=deployment.plan.machine.hosts,
    )


def checked_drain(shutdown_timeout_s: int, options: Ec2Options) -> int:
    """The plan's own, or UsageError where requests would not have ended before EC2 takes a spot machine back."""
    if "spot" in options.purchases and shutdown_timeout_s > LONGEST_SPOT_DRAIN_S:
        raise UsageError(
            f"The plan gives running requests {shutdown_timeout_s} s to end; EC2 gives a spot machine 120 s in all.",
            f"Set shutdown_timeout in the plan to {LONGEST_SPOT_DRAIN_S} or less, or leave out --purchase spot.",
        )
    return shutdown_timeout_s


def serve_there(deployment: Deployment, options: Ec2Options) -> ServeOptions:
    """The plan's options with the box's own paths, and its chat template as text.

    It listens outside only where a network was let in.
    """
    listen = "0.0.0.0" if options.cidr else "127.0.0.1"
    beside.require_kept(deployment.plan.serve, options.weights)
    return beside.there(deployment.plan.serve, deployment.name, deployment.release).model_copy(
        update={
            "host": listen,
            "model": hosts.model_folder(deployment.name, deployment.release),
            "revision": None,
            "chat_template": chat_template.text_of(deployment.plan.serve.chat_template),
        }
    )


def weights(deployment: Deployment, options: Ec2Options) -> str:
    """Where the box gets the weights from. Raises UsageError for a folder of this machine."""
    model = deployment.plan.serve.model
    if options.weights:
        return options.weights
    if model.startswith(("/", ".", "~")):
        raise UsageError(
            f"EC2 cannot see the folder {model} of this machine.",
            f"Put it in S3 (corral weights push {pasted(model)} --to s3://bucket/scout/), and say so: --weights "
            "s3://bucket/scout/",
        )
    return hosts.from_hub(model, deployment.plan.serve.revision)


def unlocked(setup: hosts.HostSetup) -> str:
    """What the box installs as the package index has it that day; empty where nothing is."""
    return "" if setup.engine.archive or setup.engine.lock else setup.engine.requirement


def fetched_bytes(plan: Plan, setup: hosts.HostSetup) -> int:
    """What comes to the box's disk; nothing of weights that lie in its image."""
    draft = 0 if setup.weights.startswith("/") and not setup.beside else drafts.weights_bytes(plan)
    return draft + (0 if setup.weights.startswith("/") else plan.weights_bytes)


def stored(setup: hosts.HostSetup) -> tuple[str, ...]:
    """What the box reads from S3: the folder of the weights and the one object that is the engine."""
    places = (f"{setup.weights.rstrip('/')}/", setup.engine.archive)
    return tuple(place for place in places if place.startswith("s3://"))


def expected(plan: Plan, setup: hosts.HostSetup) -> tuple[StoredFolder, ...]:
    """What must lie in S3: the weights, and below them the draft and the adapters that the Hub does not have."""
    if not setup.weights.startswith("s3://"):
        return ()
    root = f"{setup.weights.rstrip('/')}/"
    found = [StoredFolder(address=root, files=(CONFIG,), bytes=plan.weights_bytes)]
    for place in beside.kept(plan.serve):
        is_draft = place == drafts.PLACE
        files = (CONFIG,) if is_draft else lora_files.FILES
        size = drafts.weights_bytes(plan) if is_draft else 0
        found.append(StoredFolder(address=f"{root}{place}/", files=files, bytes=size))
    return tuple(found)


def who() -> str:
    """Who orders, for the tag, in the characters a tag may have."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "unknown"
    return re.sub(r"[^\w.:/=+@-]", "-", f"{user}@{socket.gethostname()}")[:200]


def version() -> str:
    """The version of corral."""
    from importlib.metadata import version as version_of

    return version_of("corral")
