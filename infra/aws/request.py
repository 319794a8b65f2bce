"""PURE: what to ask EC2, IAM and EventBridge Scheduler for, as values. `--dry-run` prints these.

Whatever creates something tags it in the same call, so that nothing exists for a moment without its owner's name.
"""

import hashlib
import json
from datetime import datetime
from decimal import ROUND_DOWN, Decimal
from typing import Any

from infra.aws import policy
from infra.aws.order import TAG, Order, utc
from infra.aws.partitions import partition_of
from infra.aws.root_volume import gp3_speed
from infra.aws.type_limits import limits
from infra.record import Record
from infra.rented import Purchase

TAGGED_AT_LAUNCH = ("instance", "volume", "network-interface")
SPOT_REQUEST = "spot-instances-request"
IAM_NAMES = {"service-quotas": "servicequotas"}
"""Services that IAM calls otherwise than boto3 does: by the name their requests are signed with (Service Authorization
Reference)."""


class Request(Record):
    """One call: AWS's own names, so that it can be looked up, and sent by any client."""

    service: str
    """boto3's name of the service: ec2, iam, scheduler, ..."""
    operation: str
    region: str
    parameters: dict[str, Any]

    @property
    def changes(self) -> bool:
        """Whether the call changes anything."""
        reads = self.operation.startswith(("Describe", "Get", "List", "Simulate"))
        return not reads and not self.parameters.get("DryRun")

    @property
    def removes(self) -> bool:
        """Whether the call only takes something away, or stops what costs."""
        return self.operation.startswith(("Terminate", "Delete", "Release", "Cancel", "Remove", "Stop"))

    @property
    def action(self) -> str:
        """The IAM action the call needs."""
        return f"{IAM_NAMES.get(self.service, self.service)}:{self.operation}"


class Spot(Record):
    """Where one launch goes: the values that the attempts of a failover differ in."""

    region: str
    zone: str
    subnet_id: str
    instance_type: str
    purchase: Purchase


class Site(Record):
    """What one region was found to offer for an order."""

    region: str
    account: str
    vpc_id: str
    image_id: str
    root_device: str
    image_name: str = ""


def dry(request: Request) -> Request:
    """The same request, asked only whether it would be allowed."""
    return request.model_copy(update={"parameters": request.parameters | {"DryRun": True}})


# --- what exists before the machines


def create_security_group(order: Order, site: Site) -> Request:
    """A group without any inbound rule; EC2 itself adds the outbound one."""
    return ec2(
        site.region,
        "CreateSecurityGroup",
        GroupName=order.resource_name,
        Description=f"corral deployment {order.name}",
        VpcId=site.vpc_id,
        TagSpecifications=tagged(order, "security-group"),
    )


def security_group_rules(order: Order, region: str, group_id: str) -> list[Request]:
    """The port for one CIDR where one was given; everything between the nodes where there are several (EFA)."""
    inbound: list[dict[str, Any]] = []
    if order.cidr:
        family = ("Ipv6Ranges", "CidrIpv6") if ":" in order.cidr else ("IpRanges", "CidrIp")
        port = {"IpProtocol": "tcp", "FromPort": order.port, "ToPort": order.port}
        inbound.append(port | {family[0]: [{family[1]: order.cidr, "Description": order.resource_name}]})
    itself = {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group_id}]}
    if order.nodes > 1:
        inbound.append(itself)
    requests = []
    if inbound:
        allow = {"GroupId": group_id, "IpPermissions": inbound}
        requests.append(ec2(region, "AuthorizeSecurityGroupIngress", **allow))
    if order.nodes > 1:
        # EFA traffic is not IP: "all addresses" does not cover it, the group itself must be named.
        requests.append(ec2(region, "AuthorizeSecurityGroupEgress", GroupId=group_id, IpPermissions=[itself]))
    return requests


def create_placement_group(order: Order, region: str) -> Request:
    """Several nodes close to each other, as EFA wants them."""
    return ec2(
        region,
        "CreatePlacementGroup",
        GroupName=order.resource_name,
        Strategy="cluster",
        TagSpecifications=tagged(order, "placement-group"),
    )


def box_role(order: Order, account: str) -> list[Request]:
    """The instance profile of least privilege: Session Manager, and the weights and secrets that were named."""
    name = f"{order.resource_name}-box"
    document = policy.box(order, account)
    trusted = policy.trust(policy.ec2_principal(partition_of(order.regions[0])))
    return [
        iam("CreateRole", **role(order, name, trusted)),
        iam("PutRolePolicy", RoleName=name, PolicyName="corral", PolicyDocument=json.dumps(document)),
        iam("CreateInstanceProfile", InstanceProfileName=name, Tags=tag_list(order.tags)),
        iam("AddRoleToInstanceProfile", InstanceProfileName=name, RoleName=name),
    ]


def schedule_role(order: Order, account: str) -> list[Request]:
    """What EventBridge Scheduler may do when time is up: end the instances of this deployment."""
    name = f"{order.resource_name}-end"
    document = policy.end(order, account)
    return [
        iam("CreateRole", **role(order, name, policy.trust("scheduler.amazonaws.com", account))),
        iam("PutRolePolicy", RoleName=name, PolicyName="corral", PolicyDocument=json.dumps(document)),
    ]


def role(order: Order, name: str, trust: dict[str, Any]) -> dict[str, Any]:
    """The parameters of CreateRole."""
    bounded = {"PermissionsBoundary": order.permissions_boundary} if order.permissions_boundary else {}
    return {
        "RoleName": name,
        "AssumeRolePolicyDocument": json.dumps(trust),
        "Description": f"corral deployment {order.name}",
        "Tags": tag_list(order.tags),
        **bounded,
    }


def roles(order: Order, account: str) -> list[Request]:
    """The roles that are made: none where the user has them."""
    box = [] if order.instance_profile else box_role(order, account)
    return box + ([] if order.scheduler_role else schedule_role(order, account))


def instance_profile(order: Order) -> dict[str, str]:
    """The machines' instance profile, as EC2 is told it: by its name, or by its ARN."""
    name = order.instance_profile or f"{order.resource_name}-box"
    return {"Arn" if name.startswith("arn:") else "Name": name}


def create_schedule_group(order: Order, region: str) -> Request:
    """Schedules carry no tags, their group does."""
    return Request(
        service="scheduler",
        operation="CreateScheduleGroup",
        region=region,
        parameters={
            "Name": order.resource_name,
            "ClientToken": token(order.order_id, region, "group"),
            "Tags": tag_list(order.tags),
        },
    )


# --- the machines


def run_instances(
    order: Order, site: Site, spot: Spot, group_id: str, generation: int = 0, there: int = 0
) -> Request:
    """All nodes in one call, all or none; of replicas as many as the place has of those that are not there yet.

    The client token is the hash of everything asked, so a repeat is no second launch; `generation` makes a new one when
    the machines of the last are known to be dead, or counted already.
    """
    parameters: dict[str, Any] = {
        "ImageId": site.image_id,
        "InstanceType": spot.instance_type,
        "MinCount": order.nodes,
        "MaxCount": order.machines - there,
        "UserData": order.user_data,
        "IamInstanceProfile": instance_profile(order),
        "InstanceInitiatedShutdownBehavior": "terminate",
        "MetadataOptions": {
            "HttpTokens": "required",
            "HttpPutResponseHopLimit": 1,
            "HttpEndpoint": "enabled",
        },
        "BlockDeviceMappings": [{"DeviceName": site.root_device, "Ebs": root_volume(order)}],
        "NetworkInterfaces": network_interfaces(order, spot, group_id),
        "TagSpecifications": tagged(order, *TAGGED_AT_LAUNCH, *spot_tags(spot)),
        **market(order, spot),
    }
    if is_grouped(order, spot):
        parameters["Placement"] = {"GroupName": order.resource_name, "AvailabilityZone": spot.zone}
    parameters["ClientToken"] = token(order.order_id, spot, generation, parameters)
    return ec2(spot.region, "RunInstances", **parameters)


def is_grouped(order: Order, spot: Spot) -> bool:
    """Whether the nodes stand in a placement group of ours. Those of a Capacity Block stand close without one, and with
    one EC2 finds no capacity (AWS: EC2 Capacity Blocks, "Launch instances"; terraform-aws-eks PR 3730).
    """
    return order.nodes > 1 and spot.purchase != "capacity-block"


def status_request(region: str, instance_ids: list[str]) -> Request:
    """Ask for state and checks in one call."""
    return ec2(region, "DescribeInstanceStatus", InstanceIds=instance_ids, IncludeAllInstances=True)


def root_volume(order: Order) -> dict[str, Any]:
    """Encrypted gp3, gone with the machine."""
    return {
        "VolumeType": "gp3",
        "VolumeSize": order.volume_gib,
        **gp3_speed(order.volume_mib_per_s),
        "Encrypted": True,
        "DeleteOnTermination": True,
        **({"KmsKeyId": order.kms_key_id} if order.kms_key_id else {}),
    }


def network_interfaces(order: Order, spot: Spot, group_id: str) -> list[dict[str, Any]]:
    """One interface; for several nodes one EFA a network card, as the type has them. In the group that was made, or
    in the user's own.
    """
    groups = list(order.security_group_ids) or [group_id]
    common = {"SubnetId": spot.subnet_id, "Groups": groups, "DeleteOnTermination": True}
    type_limits = limits(spot.instance_type)
    if order.nodes == 1 or not type_limits.efa_interfaces:
        return [{"DeviceIndex": 0, **common}]
    # Where there is a card more than EFA interfaces (p6-b300), the first card carries no EFA.
    first = "interface" if type_limits.network_cards > type_limits.efa_interfaces else "efa"
    cards = [{"DeviceIndex": 0, "NetworkCardIndex": 0, "InterfaceType": first, **common}]
    return cards + [
        {"DeviceIndex": 1, "NetworkCardIndex": card, "InterfaceType": "efa-only", **common}
        for card in range(1, type_limits.network_cards)
    ]


def market(order: Order, spot: Spot) -> dict[str, Any]:
    """How it is bought."""
    options: dict[str, Any] = {}
    if spot.purchase == "spot":
        once = {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate"}
        options["InstanceMarketOptions"] = {"MarketType": "spot", "SpotOptions": once | most(order)}
    if spot.purchase == "capacity-block":
        options["InstanceMarketOptions"] = {"MarketType": "capacity-block"}
    if order.capacity_reservation_id:
        target = {"CapacityReservationId": order.capacity_reservation_id}
        options["CapacityReservationSpecification"] = {"CapacityReservationTarget": target}
    return options


def most(order: Order) -> dict[str, str]:
    """The user's limit for one machine: above it EC2 takes a spot machine back. Rounded down to what EC2 prices by."""
    if order.max_usd_per_hour is None:
        return {}
    each = Decimal(str(order.max_usd_per_hour)) / order.machines
    return {"MaxPrice": f"{each.quantize(Decimal('0.0001'), ROUND_DOWN):f}"}


def spot_tags(spot: Spot) -> tuple[str, ...]:
    """EC2 refuses a tag for a spot request where there is none."""
    return (SPOT_REQUEST,) if spot.purchase == "spot" else ()


# --- the time limit that works when the laptop is closed


def create_schedule(
    order: Order, region: str, account: str, instance_ids: list[str], at: datetime
) -> Request:
    """A one-time schedule that terminates the instances and then deletes itself."""
    return Request(
        service="scheduler",
        operation="CreateSchedule",
        region=region,
        parameters=schedule(order, account, instance_ids, at)
        | {"ClientToken": token(order.order_id, region, instance_ids, utc(at))},
    )


def update_schedule(
    order: Order, region: str, account: str, instance_ids: list[str], at: datetime
) -> Request:
    """The same schedule at another time."""
    return Request(
        service="scheduler",
        operation="UpdateSchedule",
        region=region,
        parameters=schedule(order, account, instance_ids, at),
    )


def schedule(order: Order, account: str, instance_ids: list[str], at: datetime) -> dict[str, Any]:
    """The schedule itself."""
    partition = partition_of(order.regions[0])
    own = f"arn:{partition}:iam::{account}:role/{order.resource_name}-end"
    return {
        "GroupName": order.resource_name,
        "Name": schedule_name(order, instance_ids),
        "ScheduleExpression": f"at({at.strftime('%Y-%m-%dT%H:%M:%S')})",
        "ScheduleExpressionTimezone": "UTC",
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "ActionAfterCompletion": "DELETE",
        "Target": {
            "Arn": f"arn:{partition}:scheduler:::aws-sdk:ec2:terminateInstances",
            "RoleArn": order.scheduler_role or own,
            "Input": json.dumps({"InstanceIds": instance_ids}),
        },
    }


def schedule_name(order: Order, instance_ids: list[str]) -> str:
    """One schedule ends one server: of several ids EC2 ends none where one is long gone, as a lost replica is."""
    return "end" if order.replicas == 1 else f"end-{instance_ids[0]}"


def move_expiry(region: str, instance_ids: list[str], at: datetime) -> Request:
    """Write the new end on the instances."""
    tags = [{"Key": "corral:expires-at", "Value": utc(at)}]
    return ec2(region, "CreateTags", Resources=instance_ids, Tags=tags)


# --- what it costs


def spot_prices(region: str, instance_types: tuple[str, ...], now: datetime, zone: str = "") -> Request:
    """A history that begins now holds the spot prices in effect: of one zone, or of each."""
    parameters: dict[str, Any] = {
        "StartTime": utc(now),
        "InstanceTypes": list(instance_types),
        "ProductDescriptions": ["Linux/UNIX"],
    }
    if zone:
        parameters["Filters"] = [{"Name": "availability-zone", "Values": [zone]}]
    return ec2(region, "DescribeSpotPriceHistory", **parameters)


# --- small parts


def ec2(region: str, operation: str, **parameters: Any) -> Request:
    """A call to EC2."""
    return Request(service="ec2", operation=operation, region=region, parameters=parameters)


def iam(operation: str, **parameters: Any) -> Request:
    """A call to IAM, which has one endpoint for all regions: this one, or that of the partition we are in."""
    return Request(service="iam", operation=operation, region="us-east-1", parameters=parameters)


def tagged(order: Order, *resource_types: str) -> list[dict[str, Any]]:
    """TagSpecifications for those types."""
    return [{"ResourceType": kind, "Tags": tag_list(order.tags)} for kind in resource_types]


def tag_list(tags: dict[str, str]) -> list[dict[str, str]]:
    """Tags as AWS lists them."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def ours(name: str) -> list[dict[str, Any]]:
    """The filter that finds what belongs to a deployment."""
    return marked(TAG, name)


def marked(key: str, value: str) -> list[dict[str, Any]]:
    """The filter that finds what carries a tag."""
    return [{"Name": f"tag:{key}", "Values": [value]}]


def token(*parts: Any) -> str:
    """A client token: the same for the same parts, 64 characters."""
    plain = [part.model_dump() if isinstance(part, Record) else part for part in parts]
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
