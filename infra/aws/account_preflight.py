"""Look before a cent is spent: who we are, what is allowed, what fits, what it would cost. Changes nothing."""

from itertools import product
from typing import Any

from infra import catalog
from infra.aws import bucket, own_resources, quotas, region_offer, reservation
from infra.aws.api import Aws
from infra.aws.disk_room import disk_found
from infra.aws.failures import Refused, translated
from infra.aws.order import ORDER_TAG, TAG, Order
from infra.aws.permissions import denial, dry_runs, simulated
from infra.aws.preflight_findings import Finding, failed, ok, warning
from infra.aws.rates import Rate, Rates
from infra.aws.rates import rates as rates_of
from infra.aws.request import Request, Site, Spot
from infra.aws.type_limits import limits
from infra.errors import AuthError, CapacityError, CloudError, CorralError, UsageError
from infra.prices import HourlyPrice
from infra.quantity import counted
from infra.record import Record
from infra.rented import Purchase

# What a region says that is not enabled for the account, to keys that are right.
NOT_ENABLED = ("AuthFailure", "InvalidClientTokenId", "OptInRequired", "UnrecognizedClientException")


class Survey(Record):
    """Everything found."""

    account: str
    arn: str
    sites: tuple[Site, ...]
    spots: tuple[Spot, ...]
    """Where the order may be launched, in the order in which that is tried."""
    findings: tuple[Finding, ...]
    rates: tuple[Rate, ...]
    """What those of them cost whose price is known."""
    prices: tuple[HourlyPrice, ...]
    """What AWS said itself, on demand."""
    running: tuple[dict[str, Any], ...]
    """Instances that already carry this deployment's name."""


def survey(aws: Aws, order: Order) -> Survey:
    """Look at every region of the order. Raises AuthError without credentials; what else fails is a finding."""
    me = identity(aws, order.regions)
    findings = [ok("identity", order.regions[0], f"{me.arn} in account {me.account}")]
    sites, spots, rates, prices, running = [], [], [], [], []
    findings += own_resources.of_account(aws, order, me.account)
    lacking = any(finding.outcome == "failed" for finding in findings)
    for region in order.regions:
        try:
            seen = region_offer.instances(aws, region_offer.instances_request(region))
            running += [row | {"Region": region} for row in seen if tags(row).get(TAG) == order.name]
            if lacking:
                continue
            here, rated = look(aws, order, region, me.account, seen)
        except Refused as refused:
            if refused.kind != "auth":
                raise
            # What one region denies (not enabled, or a policy of its own) says nothing of the others.
            findings.append(failed("permission", region, denial(refused), translated(refused).hint))
            continue
        findings += rated.findings
        prices += rated.prices
        if here:
            sites.append(here)
            spots += rated.spots
            rates += rated.rates
    findings += [*unlocked_found(order), *simulated(aws, order, me.arn, me.account)]
    return Survey(
        account=me.account,
        arn=me.arn,
        sites=tuple(sites),
        spots=tuple(sorted(spots, key=lambda spot: rank(order, spot))),
        findings=tuple(findings),
        rates=tuple(rates),
        prices=tuple(prices),
        running=tuple(running),
    )


class Identity(Record):
    """Who we are to AWS."""

    account: str
    arn: str


def identity(aws: Aws, regions: tuple[str, ...]) -> Identity:
    """Ask who we are, in the first of the regions that knows us: one that is not enabled does not. Raises Refused."""
    for region in regions[:-1]:
        try:
            return identity_in(aws, region)
        except Refused as refused:
            if refused.code not in NOT_ENABLED:
                raise
    return identity_in(aws, regions[-1])


def identity_in(aws: Aws, region: str) -> Identity:
    """Ask one region who we are. Raises Refused."""
    me = aws.call(identity_request(region))
    return Identity(account=str(me["Account"]), arn=str(me["Arn"]))


def identity_request(region: str) -> Request:
    """Ask who we are."""
    return Request(service="sts", operation="GetCallerIdentity", region=region, parameters={})


def rank(order: Order, spot: Spot) -> tuple[int, int, int, str]:
    """Zones first, then types, then regions, and another way of buying last."""
    return (
        order.purchases.index(spot.purchase),
        order.regions.index(spot.region),
        order.instance_types.index(spot.instance_type),
        spot.zone,
    )


def look(
    aws: Aws, order: Order, region: str, account: str, seen: list[dict[str, Any]]
) -> tuple[Site | None, Rates]:
    """Look at one region: its site, the spots to try there with their prices, and what was found."""
    sold = region_offer.offered(aws, order, region)
    subnets = region_offer.subnets(aws, order, region)
    nets = {subnet.zone: subnet for subnet in subnets if subnet.free_addresses >= order.nodes}
    image = region_offer.image(aws, order, region)
    reserved = reservation.reservation(aws, order, region) if order.capacity_reservation_id else None
    findings = [zones_found(order, region, sold, nets), *network_found(order, region, nets)]
    findings += [*open_found(order, region), *full_found(order, region, subnets)]
    if order.capacity_reservation_id:
        ours = sum(tags(row).get(TAG) == order.name for row in seen)
        findings.append(reservation.found(order, region, reserved, ours))
    findings += [*several_found(order, region), *image_found(order, region, image)]
    findings += bucket.found(aws, order, region)
    findings += own_resources.of_region(aws, order, region, {subnet.vpc_id for subnet in nets.values()})
    if image is None or not nets or any(finding.outcome == "failed" for finding in findings):
        return None, Rates([], [], [], findings)
    here = Site(
        region=region,
        account=account,
        vpc_id=next(iter(nets.values())).vpc_id,
        image_id=image.image_id,
        root_device=image.root_device,
        image_name=image.name,
    )
    spots: list[Spot] = []
    for purchase, instance_type in product(order.purchases, order.instance_types):
        room = quota_found(aws, order, region, instance_type, purchase, seen)
        findings.append(room)
        if room.outcome != "failed":
            there = spots_of(order, region, instance_type, purchase, sold[instance_type], nets)
            spots += [spot for spot in there if reservation.is_in(reserved, spot.zone, spot.instance_type)]
    costs = rates_of(aws, order, region, spots)
    denied = dry_runs(aws, order, here, costs.spots)
    return None if denied else here, costs._replace(findings=findings + costs.findings + denied)


def spots_of(
    order: Order,
    region: str,
    instance_type: str,
    purchase: Purchase,
    selling: tuple[str, ...],
    nets: dict[str, region_offer.Subnet],
) -> list[Spot]:
    """The zones of a region that sell the type, have a subnet and are wanted."""
    return [
        Spot(
            region=region,
            zone=zone,
            subnet_id=nets[zone].subnet_id,
            instance_type=instance_type,
            purchase=purchase,
        )
        for zone in selling
        if zone in nets and zone in (order.zones or nets)
    ]


# --- each thing looked at


def unlocked_found(order: Order) -> list[Finding]:
    """What nobody has fixed beforehand of what the box will run."""
    if not order.engine_unlocked:
        return []
    sentence = f"{order.engine_unlocked} has no lock: the box installs what the package index has that day"
    fix = "Plan with a version that has one (README), or bring a packed engine: --engine"
    return [warning("engine", order.regions[0], sentence, fix)]


def zones_found(
    order: Order, region: str, sold: dict[str, tuple[str, ...]], nets: dict[str, region_offer.Subnet]
) -> Finding:
    """Whether a zone sells a type and has a subnet."""
    selling = sorted({zone for zones in sold.values() for zone in zones})
    usable = [zone for zone in selling if zone in nets and zone in (order.zones or nets)]
    types = " or ".join(order.instance_types)
    if usable:
        return ok("zones", region, f"{types} in {', '.join(usable)}")
    if not selling:
        return failed("zones", region, f"no zone sells {types}", "Try another region: --region us-east-1")
    return failed(
        "zones",
        region,
        f"{types} is sold in {', '.join(selling)}; the subnets are in {', '.join(sorted(nets)) or 'no zone'}",
        "Name a subnet in one of those zones (--subnet-id), or another --zone.",
    )


def network_found(order: Order, region: str, nets: dict[str, region_offer.Subnet]) -> list[Finding]:
    """Whether there is a subnet, and whether the machine can reach AWS from it."""
    if not nets:
        missing = f"none of {', '.join(order.subnet_ids)}" if order.subnet_ids else "no default VPC"
        fix = f"Make one (aws ec2 create-default-vpc --region {region}) or name a subnet: --subnet-id"
        return [failed("network", region, missing, fix)]
    if len({subnet.vpc_id for subnet in nets.values()}) > 1:
        return [failed("network", region, "the subnets are in several VPCs", "Name subnets of one VPC.")]
    several_cards = any(limits(name).network_cards > 1 for name in order.instance_types)
    if order.nodes > 1 and several_cards and any(subnet.public for subnet in nets.values()):
        return [
            failed(
                "network",
                region,
                "EC2 gives no public address to a machine with several network cards",
                "Name private subnets with a NAT gateway: --subnet-id",
            )
        ]
    if not any(subnet.public for subnet in nets.values()):
        fix = "It needs a NAT gateway, or VPC endpoints for ssm, ssmmessages and s3."
        return [warning("network", region, "the subnets give no public address", fix)]
    return [ok("network", region, counted(len(nets), "subnet"))]


def open_found(order: Order, region: str) -> list[Finding]:
    """Whom the port is opened to, and that nothing on the way is encrypted."""
    if not order.cidr:
        return []
    sentence = f"port {order.port} is opened to {order.cidr} by plain HTTP: prompts, answers and the key in the clear"
    fix = "Leave out --cidr: Session Manager encrypts. Or put a proxy with TLS before it."
    return [warning("network", region, sentence, fix)]


def full_found(order: Order, region: str, subnets: tuple[region_offer.Subnet, ...]) -> list[Finding]:
    """The subnets, the roomiest of their zones, that have no address left for every machine."""
    return [
        warning(
            "network",
            region,
            f"{subnet.subnet_id} in {subnet.zone} has {subnet.free_addresses} free addresses, so it is not tried",
            "Name another: --subnet-id",
        )
        for subnet in subnets
        if subnet.free_addresses < order.nodes
    ]


def several_found(order: Order, region: str) -> list[Finding]:
    """What nobody has verified of one server over several machines."""
    if order.nodes == 1:
        return []
    sentence = "one server over rented machines: derived from owned hosts, never run on EC2 or over EFA"
    fix = "Without its OFI plugin NCCL silently uses TCP (vLLM PR 55783): look for NET/OFI in corral logs."
    return [warning("network", region, sentence, fix)]


def image_found(order: Order, region: str, image: region_offer.Image | None) -> list[Finding]:
    """Whether there is an image for the architecture, and whether the volume holds it."""
    if image is None:
        asked = order.ami or "the Deep Learning base image"
        return [failed("image", region, f"{asked} is not available", "Name one: --ami ami-...")]
    if image.architecture != "x86_64":
        return [failed("image", region, f"{image.image_id} is {image.architecture}", "Use an x86_64 image.")]
    if order.volume_gib < image.snapshot_gib:
        sentence = f"{order.volume_gib} GiB; the image alone is {image.snapshot_gib} GiB"
        return [failed("volume", region, sentence, f"Use --volume-gib {2 * image.snapshot_gib}")]
    return [
        ok("image", region, f"{image.image_id} {image.name}"),
        *disk_found(order, region, image),
        *slow_volume(order, region),
    ]


def slow_volume(order: Order, region: str) -> list[Finding]:
    """A type may not be able to read as fast as the volume is paid for."""
    slowest = min((limits(name).ebs_mb_per_s or 1e9) for name in order.instance_types)
    if order.volume_mib_per_s * 1.048576 <= slowest:
        return []
    sentence = f"{order.volume_mib_per_s} MiB/s asked; the type reads at {slowest:.0f} MB/s"
    return [warning("volume", region, sentence, "Lower --volume-mib-per-s; the rest is paid for nothing.")]


def quota_found(
    aws: Aws,
    order: Order,
    region: str,
    instance_type: str,
    purchase: Purchase,
    seen: list[dict[str, Any]],
) -> Finding:
    """vCPUs needed and used against the quota. What already runs under this name is no new need."""
    quota = quotas.quota_of(instance_type, purchase)
    if quota is None:
        return ok("quota", region, f"no vCPU quota known for {purchase} {instance_type}")
    each = catalog.machine(instance_type).vcpus or 0
    need = each * order.machines
    others = [instance for instance in seen if tags(instance).get(TAG) != order.name]
    used = quotas.vcpus_used(others, instance_type, purchase)
    try:
        allowed = quotas.value(aws, region, quota)
    except Refused as refused:
        return warning("quota", region, f"{quota.name}: not shown ({refused.code})", "The launch will tell.")
    if allowed is None:
        return warning("quota", region, f"{quota.name}: AWS knows no such quota", "The launch will tell.")
    sentence = f"{quota.name}: {need} vCPUs needed, {used} in use, {allowed:.0f} allowed"
    if need + used <= allowed:
        return ok("quota", region, sentence)
    fix = f"Ask for {need + used}: {quotas.page(region, quota)}"
    if each and (fewer := min(int(allowed - used) // each, order.replicas)) > 0 and order.replicas > 1:
        fix = f"{fix}; or for fewer: --replicas {fewer}"
    return failed("quota", region, sentence, fix)


# --- the verdict


def checked(seen: Survey, order: Order) -> Survey:
    """Return the survey, or raise the error that says why the order cannot be launched anywhere."""
    strangers = [row for row in seen.running if tags(row).get(ORDER_TAG) != order.order_id]
    if strangers:
        raise UsageError(
            f"{order.name!r} is already up: {strangers[0]['InstanceId']}, "
            f"made by {tags(strangers[0]).get('corral:created-by', 'somebody')}.",
            f"Choose another --name, or take that one away: corral down {order.name} --target ec2",
        )
    if seen.spots or seen.running:
        return seen
    problems = [finding for finding in seen.findings if finding.outcome == "failed"]
    raise verdict(problems)


def verdict(problems: list[Finding]) -> CorralError:
    """The error for what was found: a denied action before a missing quota before all else."""
    errors: dict[str, type[CorralError]] = {
        "permission": AuthError,
        "roles": UsageError,
        "price": UsageError,
        "disk": UsageError,
        "bucket": UsageError,
        "quota": CapacityError,
        "zones": CapacityError,
        "reservation": CapacityError,
    }
    for topic in (
        "permission",
        "roles",
        "reservation",
        "volume",
        "disk",
        "bucket",
        "network",
        "image",
        "price",
        "quota",
        "zones",
    ):
        of_topic = [finding for finding in problems if finding.topic == topic]
        if of_topic:
            sentence = "; ".join(f"{finding.region}: {finding.found}" for finding in of_topic)
            return errors.get(topic, CloudError)(
                f"This cannot be launched. {topic}: {sentence}.", of_topic[0].fix
            )
    return CapacityError("This cannot be launched: no zone is left to try.", "Allow more: --region, --zone")


def tags(resource: dict[str, Any]) -> dict[str, str]:
    """The tags of a resource."""
    return {tag["Key"]: tag["Value"] for tag in resource.get("Tags", [])}
