"""PURE: every call a launch would make, as values. What only AWS can tell is marked with the call that tells it."""

from typing import Any

from infra.aws import (
    account_preflight,
    bucket,
    own_resources,
    permissions,
    price_list,
    quotas,
    region_offer,
    request,
    reservation,
)
from infra.aws.order import Order
from infra.aws.request import Request, Site, Spot

ACCOUNT = "<Account of GetCallerIdentity>"
GROUP = "<GroupId of CreateSecurityGroup>"
INSTANCES = ["<InstanceId of RunInstances>"]
ARN = "<Arn of GetCallerIdentity>"


def requests(order: Order) -> list[dict[str, Any]]:
    """The reads, then what is made; one launch where a failover could make several."""
    here, spot = places(order)
    return [shown(request) for request in (*reads(order, here, spot), *changes(order, here, spot))]


def places(order: Order) -> tuple[Site, Spot]:
    """The first place that would be tried."""
    region = order.regions[0]
    here = Site(
        region=region,
        account=ACCOUNT,
        vpc_id="<VpcId of DescribeSubnets>",
        image_id=order.ami or "<Value of GetParameter>",
        root_device="<RootDeviceName of DescribeImages>",
    )
    spot = Spot(
        region=region,
        zone=order.zones[0] if order.zones else "<Location of DescribeInstanceTypeOfferings>",
        subnet_id=order.subnet_ids[0] if order.subnet_ids else "<SubnetId of DescribeSubnets>",
        instance_type=order.instance_types[0],
        purchase=order.purchases[0],
    )
    return here, spot


def reads(order: Order, here: Site, spot: Spot) -> list[Request]:
    """The preflight."""
    quota = quotas.quota_of(spot.instance_type, spot.purchase)
    image = [] if order.ami else [region_offer.parameter_request(here.region)]
    return [
        account_preflight.identity_request(here.region),
        *own_resources.account_requests(order),
        region_offer.instances_request(here.region),
        region_offer.offerings_request(order, here.region),
        region_offer.subnets_request(order, here.region),
        *image,
        *([reservation.reservation_request(order, here.region)] if order.capacity_reservation_id else []),
        region_offer.by_id(here.region, here.image_id),
        *bucket.location_requests(order, here.region),
        *bucket.listing_requests(order, here.region),
        *own_resources.region_requests(order, here.region),
        *([quotas.get_quota(here.region, quota)] if quota and quota.code else []),
        *prices(order, spot),
        *([] if order.security_group_ids else [request.dry(request.create_security_group(order, here))]),
        permissions.launch_dry_run(order, here, spot),
        permissions.simulation_request(order, ARN, ACCOUNT),
    ]


def prices(order: Order, spot: Spot) -> list[Request]:
    """What it costs; a capacity block was paid when it was bought."""
    types = (spot.instance_type,)
    listed = [price_list.products_request(spot.instance_type, spot.region)]
    now = [request.spot_prices(spot.region, types, order.created_at)]
    return {"on-demand": listed, "spot": listed + now}.get(spot.purchase, [])


def changes(order: Order, here: Site, spot: Spot) -> list[Request]:
    """What would be made."""
    placement = [request.create_placement_group(order, here.region)] if order.nodes > 1 else []
    group = [
        request.create_security_group(order, here),
        *request.security_group_rules(order, here.region, GROUP),
    ]
    return [
        *request.roles(order, here.account),
        *placement,
        request.create_schedule_group(order, here.region),
        *([] if order.security_group_ids else group),
        request.run_instances(order, here, spot, GROUP),
        request.create_schedule(order, here.region, here.account, INSTANCES, order.expires_at),
        request.status_request(here.region, INSTANCES),
    ]


def shown(request: Request) -> dict[str, Any]:
    """A request as it is printed."""
    return {
        "service": request.service,
        "operation": request.operation,
        "region": request.region,
        "parameters": request.parameters,
    }
