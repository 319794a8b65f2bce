"""One region of the fake account's EC2."""

import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from fake_kms import FakeKms

from infra import catalog
from infra.aws.failures import ApiFailure
from infra.cloud_init import packed

SHOWN_AFTER_S = 6.0
RUNNING_AFTER_S = 20.0
HEALTHY_AFTER_S = 50.0
TERMINATED_AFTER_S = 25.0
STOPPED_AFTER_S = 40.0
FORGOTTEN_AFTER_S = 3600.0
SNAPSHOT_GIB = 75
IMAGE = "ami-0123456789abcdef0"


class FakeEc2:
    """Instances, volumes, interfaces, security groups and placement groups of a region."""

    def __init__(self, name: str, clock: Callable[[], float], iam: Any) -> None:
        self.name = name
        self.clock = clock
        self.iam = iam
        self.zones = tuple(f"{name}{letter}" for letter in "abc")
        self.no_capacity: set[tuple[str, str, str]] = set()
        """(purchase, instance type, zone)"""
        self.few: dict[tuple[str, str, str], int] = {}
        """How many more the same places have, where that is not as many as are asked for."""
        self.vcpu_limit = 192
        self.not_sold_in: set[str] = set()
        self.public_subnets = True
        self.full_zones: set[str] = set()
        """Where no subnet has an address left."""
        self.default_vpc = True
        self.image_is_there = True
        self.other_images: list[dict[str, Any]] = []
        """Rows beside the image: what differs from it."""
        self.instances: dict[str, dict[str, Any]] = {}
        self.forgotten: dict[str, dict[str, Any]] = {}
        """Shown no more; but what a client token launched is answered with whole, if some of it is there."""
        self.volumes: dict[str, dict[str, Any]] = {}
        self.interfaces: dict[str, dict[str, Any]] = {}
        self.groups: dict[str, dict[str, Any]] = {}
        self.placement_groups: dict[str, dict[str, Any]] = {}
        self.tokens: dict[str, tuple[dict[str, Any], list[str]]] = {}
        self.die_at_start: list[str] = []
        """Reasons with which the next instances end right after their launch."""
        self.stop_at_start = False
        """The next instance stops right after its launch, as a full account's encrypted volume makes it."""
        self.never_healthy = False
        self.impaired: set[str] = set()
        """The instances that hang, so that EC2's check of their system fails."""
        self.keys = FakeKms(name)
        self.spot_requests: dict[str, dict[str, Any]] = {}
        self.spot_usd = dict.fromkeys(self.zones, "2.050000")
        self.blocks = 0
        self.addresses: list[dict[str, Any]] = []
        """Elastic IPs of the account's own."""
        self.reservations: dict[str, dict[str, Any]] = {}
        """The user's own, as DescribeCapacityReservations tells them."""
        self.numbers = itertools.count(1)
        self.console = "corral: {name}: prepared\n"

    # --- the truth

    def live(self) -> list[str]:
        self.settle()
        alive = [f"instance {key}" for key, row in self.instances.items() if self.state(row) != "terminated"]
        things = (self.volumes, self.interfaces, self.groups, self.placement_groups)
        asked = [key for key, row in self.spot_requests.items() if row["State"] == "active"]
        return alive + asked + [key for thing in things for key in thing]

    def settle(self) -> None:
        """Let time do its work: what is terminated lets go of its parts, and is forgotten after an hour."""
        for key, row in list(self.instances.items()):
            if self.state(row) == "terminated":
                self.volumes = {k: v for k, v in self.volumes.items() if v["of"] != key or v["stays"]}
                self.interfaces = {k: v for k, v in self.interfaces.items() if v["of"] != key}
                if self.clock() > row["ended"] + FORGOTTEN_AFTER_S:
                    self.forgotten[key] = self.instances.pop(key)

    def state(self, row: dict[str, Any]) -> str:
        now = self.clock()
        if row["ended"] is not None:
            return "shutting-down" if now < row["ended"] + TERMINATED_AFTER_S else "terminated"
        if row["stopped"] is not None:
            return "stopping" if now < row["stopped"] + STOPPED_AFTER_S else "stopped"
        if row["host"] > 1 and now < row["started"] + SHOWN_AFTER_S:
            return "stopped"  # as what was just made is not shown yet
        return "pending" if now < row["started"] + RUNNING_AFTER_S else "running"

    def shown(self, row: dict[str, Any]) -> bool:
        return self.clock() >= float(row["made"]) + SHOWN_AFTER_S

    # --- launching

    def run_instances(self, **asked: Any) -> dict[str, Any]:
        token = asked["ClientToken"]
        if token in self.tokens:
            first, ids = self.tokens[token]
            if first != asked:
                raise ApiFailure("IdempotentParameterMismatch", token)
            rows = [(self.forgotten | self.instances)[key] for key in ids]
            if all(self.state(row) == "terminated" for row in rows):
                words = "The client token is of a launch whose instance has been terminated"
                raise ApiFailure("IdempotentInstanceTerminated", words)
            return {"Instances": [self.row(row) for row in rows]}
        count = self.check_launch(asked)
        ids = [self.launch(asked, index) for index in range(count)]
        self.tokens[token] = (asked, ids)
        return {"Instances": [self.row(self.instances[key]) for key in ids]}

    def check_launch(self, asked: dict[str, Any]) -> int:
        """Everything EC2 refuses before it looks for room; then how many it launches."""
        if not 1 <= asked["MinCount"] <= asked["MaxCount"]:
            raise ApiFailure(
                "InvalidParameterValue", "The maximum count must be at least the minimum, and that at least 1"
            )
        if len(packed(asked.get("UserData", ""))) > 16384:
            raise ApiFailure("InvalidParameterValue", "User data is limited to 16384 bytes")
        if len(asked["ClientToken"]) > 64:
            raise ApiFailure("InvalidParameterValue", "ClientToken")
        if asked["ImageId"] != IMAGE:
            raise ApiFailure("InvalidAMIID.NotFound", asked["ImageId"])
        check_tags(asked["TagSpecifications"], spot=purchase_of(asked) == "spot")
        for mapping in asked["BlockDeviceMappings"]:
            check_volume(mapping["Ebs"])
        for interface in asked["NetworkInterfaces"]:
            for group in interface["Groups"]:
                if group not in self.groups:
                    raise ApiFailure("InvalidGroup.NotFound", group)
                if self.groups[group]["VpcId"] != "vpc-1":
                    words = f"Security group {group} and subnet {interface['SubnetId']} belong to different networks."
                    raise ApiFailure("InvalidParameter", words)
        self.check_profile(asked["IamInstanceProfile"])
        placement = asked.get("Placement", {}).get("GroupName")
        if placement and purchase_of(asked) == "capacity-block":
            raise ApiFailure(
                "InsufficientInstanceCapacity", "no capacity in the block for that placement group"
            )
        if placement and placement not in self.placement_groups:
            raise ApiFailure("InvalidPlacementGroup.Unknown", placement)
        return self.room(asked)

    def check_profile(self, given: dict[str, str]) -> None:
        """EC2 takes a name or an ARN, of this account, of a profile that holds a role."""
        if len(given) != 1:
            words = "'iamInstanceProfile.name' may not be used in combination with 'iamInstanceProfile.arn'"
            raise ApiFailure("InvalidParameterCombination", f"The parameter {words}")
        ((kind, value),) = given.items()
        begins = "arn:aws:iam::123456789012:instance-profile/" if kind == "Arn" else ""
        profile = self.iam.profiles.get(value.rpartition("/")[2]) if value.startswith(begins) else None
        if profile is None or not self.iam.spread(profile):
            words = f"Value ({value}) for parameter iamInstanceProfile.{kind.lower()} is invalid."
            raise ApiFailure("InvalidParameterValue", words)
        if not profile["held"]:
            raise ApiFailure(
                "InvalidParameterValue", f"IAM Instance Profile {value} has no associated IAM Roles"
            )

    def room(self, asked: dict[str, Any]) -> int:
        """How many of what is asked for: "the largest possible number of instances above MinCount" (botocore's model of
        RunInstances). Zone, quota, capacity and addresses must have the least.
        """
        zone = zone_of(asked["NetworkInterfaces"][0]["SubnetId"])
        if zone in self.not_sold_in:
            raise ApiFailure("Unsupported", f"{asked['InstanceType']} is not supported in {zone}")
        # Of MaxCount, too, botocore's model says "Between 1 and the quota"; whether EC2 would launch fewer is not said.
        self.check_quota(vcpus(asked["InstanceType"]) * asked["MaxCount"])
        most = asked.get("InstanceMarketOptions", {}).get("SpotOptions", {}).get("MaxPrice")
        if most and Decimal(most) < Decimal(self.spot_usd[zone]):
            raise ApiFailure(
                "SpotMaxPriceTooLow", f"Your Spot request price of {most} is lower than required"
            )
        if zone in self.full_zones:
            raise ApiFailure(
                "InsufficientFreeAddressesInSubnet", "The specified subnet has no free addresses"
            )
        place = (purchase_of(asked), asked["InstanceType"], zone)
        there = 0 if place in self.no_capacity else self.few.get(place, asked["MaxCount"])
        if there < asked["MinCount"]:
            raise ApiFailure("InsufficientInstanceCapacity", f"no {asked['InstanceType']} in {zone}")
        count = self.reserved(asked, zone, min(asked["MaxCount"], there))
        if place in self.few:
            self.few[place] -= count
        return count

    def check_quota(self, more: int) -> None:
        """What is stopped counts for nothing."""
        used = [row for row in self.instances.values() if row["ended"] is None and row["stopped"] is None]
        if sum(vcpus(row["InstanceType"]) for row in used) + more > self.vcpu_limit:
            raise ApiFailure("VcpuLimitExceeded", f"limit {self.vcpu_limit}")

    def launch(self, asked: dict[str, Any], index: int) -> str:
        number = next(self.numbers)
        key = f"i-{number:017x}"
        tags = {spec["ResourceType"]: spec["Tags"] for spec in asked["TagSpecifications"]}
        interfaces = asked["NetworkInterfaces"]
        reason = self.die_at_start.pop(0) if self.die_at_start else None
        # EC2 looks at a key only when the volume is made: the call has succeeded by then.
        keys = [mapping["Ebs"].get("KmsKeyId") for mapping in asked["BlockDeviceMappings"]]
        if not all(key is None or self.keys.encrypts(key) for key in keys):
            reason = "Client.InternalError: Client error on launch"
        self.instances[key] = {
            "InstanceId": key,
            "InstanceType": asked["InstanceType"],
            "Tags": list(tags["instance"]),
            "SubnetId": interfaces[0]["SubnetId"],
            "ClientToken": asked["ClientToken"],
            "groups": interfaces[0]["Groups"],
            "zone": zone_of(interfaces[0]["SubnetId"]),
            "placement": asked.get("Placement", {}).get("GroupName"),
            "purchase": purchase_of(asked),
            "made": self.clock(),
            "started": self.clock(),
            "ended": self.clock() + 1 if reason else None,
            "reason": reason or "",
            "code": reason.partition(":")[0] if reason else "",
            "index": index,
            "host": 1,
            "address": f"10.0.0.{number}",
            # As if it had been some time ago: EC2 shows it stopped at once.
            "stopped": self.clock() - STOPPED_AFTER_S if self.stop_at_start else None,
            "by_user": False,
            "protected": False,
            "stop_protected": False,
            "root_device": "ebs",
        }
        self.stop_at_start = False
        for mapping in asked["BlockDeviceMappings"]:
            ebs = mapping["Ebs"]
            volume = {"of": key, "stays": not ebs["DeleteOnTermination"], "Tags": tags["volume"]}
            shape = {
                "Size": ebs["VolumeSize"],
                "VolumeType": ebs["VolumeType"],
                "Iops": ebs["Iops"],
                "Throughput": ebs["Throughput"],
                "Attachments": [{"InstanceId": key, "State": "attached"}],
            }
            self.volumes[f"vol-{next(self.numbers):017x}"] = volume | shape
        if purchase_of(asked) == "spot":
            request = {"State": "active", "Tags": tags["spot-instances-request"], "of": key}
            self.spot_requests[f"sir-{next(self.numbers):08x}"] = request
        for _ in interfaces:
            interface = {"of": key, "Tags": tags["network-interface"]}
            self.interfaces[f"eni-{next(self.numbers):017x}"] = interface
        return key

    def take_back(self, key: str) -> None:
        """End a spot instance as EC2 does: its request is closed, too."""
        assert self.instances[key]["purchase"] == "spot"
        self.instances[key] |= {"ended": self.clock(), "code": "Server.SpotInstanceTermination"}
        for request in self.spot_requests.values():
            if request["of"] == key:
                request["State"] = "closed"

    def terminate_instances(self, InstanceIds: list[str]) -> dict[str, Any]:  # noqa: N803
        for key in InstanceIds:
            if key not in self.instances:
                raise ApiFailure("InvalidInstanceID.NotFound", key)
            if self.instances[key]["protected"]:
                raise ApiFailure("OperationNotPermitted", "Modify its 'disableApiTermination' attribute")
        for key in InstanceIds:
            if self.instances[key]["ended"] is None:
                words = "Client.UserInitiatedShutdown: User initiated shutdown"
                self.instances[key] |= {
                    "ended": self.clock(),
                    "reason": words,
                    "code": words.partition(":")[0],
                }
        return {}

    # --- stopping and starting

    def stop_instances(self, InstanceIds: list[str]) -> dict[str, Any]:  # noqa: N803
        for key in InstanceIds:
            self.check_stop(key)
        for key in InstanceIds:
            row = self.instances[key]
            if row["stopped"] is None:
                row |= {"stopped": self.clock(), "by_user": True, "code": "Client.UserInitiatedShutdown"}
        return {}

    def check_stop(self, key: str) -> None:
        """What EC2 does not stop."""
        row = self.known(key)
        if row["purchase"] == "spot":
            words = f"You can't stop the Spot Instance '{key}' because it is associated with a one-time Spot"
            raise ApiFailure("UnsupportedOperation", f"{words} Instance request.")
        if row["root_device"] == "instance-store":
            words = f"The instance '{key}' does not have an 'ebs' root device type and cannot be stopped."
            raise ApiFailure("UnsupportedOperation", words)
        if row["stop_protected"]:
            words = f"The instance '{key}' may not be stopped. Modify its 'disableApiStop' instance attribute"
            raise ApiFailure("OperationNotPermitted", f"{words} and try again.")
        if self.state(row) not in ("running", "stopping", "stopped"):
            words = f"This instance '{key}' is not in a state from which it can be stopped."
            raise ApiFailure("IncorrectInstanceState", words)

    def start_instances(self, InstanceIds: list[str]) -> dict[str, Any]:  # noqa: N803
        rows = [self.known(key) for key in InstanceIds]
        for row in rows:
            if self.state(row) not in ("pending", "running", "stopped"):
                words = f"The instance '{row['InstanceId']}' is not in a state from which it can be started."
                raise ApiFailure("IncorrectInstanceState", words)
        stopped = [row for row in rows if row["stopped"] is not None]
        self.check_quota(sum(vcpus(row["InstanceType"]) for row in stopped))
        for row in stopped:
            if (row["purchase"], row["InstanceType"], row["zone"]) in self.no_capacity:
                words = f"Insufficient capacity of {row['InstanceType']} in {row['zone']}."
                raise ApiFailure("InsufficientInstanceCapacity", words)
        for row in stopped:
            changes = {"stopped": None, "by_user": False, "code": "", "started": self.clock()}
            row |= changes | {"host": row["host"] + 1}
        return {}

    def known(self, key: str) -> dict[str, Any]:
        """An instance, if there is one of that id."""
        if key not in self.instances:
            raise ApiFailure("InvalidInstanceID.NotFound", f"The instance ID '{key}' does not exist")
        return self.instances[key]

    # --- looking

    def row(self, row: dict[str, Any]) -> dict[str, Any]:
        lifecycle = {} if row["purchase"] == "on-demand" else {"InstanceLifecycle": row["purchase"]}
        return {
            "InstanceId": row["InstanceId"],
            "InstanceType": row["InstanceType"],
            "Tags": list(row["Tags"]),
            "SubnetId": row["SubnetId"],
            "State": {"Name": self.state(row)},
            "StateReason": {"Code": row["code"], "Message": row["reason"]},
            "AmiLaunchIndex": row["index"],
            # What is terminated has no address any more.
            **({} if self.state(row) == "terminated" else {"PrivateIpAddress": row["address"]}),
            # Of its last start, in whole seconds.
            "LaunchTime": datetime.fromtimestamp(int(row["started"]), UTC),
            "StateTransitionReason": self.transition(row),
            "RootDeviceType": row["root_device"],
            "Placement": {"AvailabilityZone": row["zone"]},
            "CpuOptions": {"CoreCount": vcpus(row["InstanceType"]) // 2, "ThreadsPerCore": 2},
            "PublicDnsName": self.public_name(row),
            "ClientToken": row["ClientToken"],
            **lifecycle,
        }

    def transition(self, row: dict[str, Any]) -> str:
        """When a user ended or stopped it, in EC2's words."""
        at = row["ended"] if row["ended"] is not None else row["stopped"] if row["by_user"] else None
        return (
            "" if at is None else f"User initiated ({datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} GMT)"
        )

    def public_name(self, row: dict[str, Any]) -> str:
        """A public address is another at every start, and none between."""
        if not self.public_subnets or self.state(row) not in ("pending", "running"):
            return ""
        numbers = row["address"].rpartition(".")[2]
        return f"ec2-203-0-{row['host']}-{numbers}.compute-1.amazonaws.com"

    def describe_instances(self, Filters: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803
        self.settle()
        # In no order that EC2 would promise.
        rows = [self.row(row) for row in reversed(self.instances.values()) if self.shown(row)]
        flat = {
            "instance-state-name": lambda row: row["State"]["Name"],
            "client-token": lambda row: row["ClientToken"],
        }
        kept = [row for row in rows if all(matches(row, one, flat) for one in Filters)]
        return {"Reservations": [{"Instances": [row]} for row in kept]}

    def describe_instance_status(
        self,
        InstanceIds: list[str],  # noqa: N803
        IncludeAllInstances: bool,  # noqa: N803
    ) -> dict[str, Any]:
        for key in InstanceIds:
            if key not in self.instances or not self.shown(self.instances[key]):
                raise ApiFailure("InvalidInstanceID.NotFound", key)
        rows = [self.instances[key] for key in InstanceIds]
        return {"InstanceStatuses": [self.status_row(row) for row in rows]}

    def status_row(self, row: dict[str, Any]) -> dict[str, Any]:
        healthy = self.clock() >= row["started"] + HEALTHY_AFTER_S and not self.never_healthy
        check = {"Status": "ok" if healthy else "initializing"}
        state = {"Name": self.state(row)}
        return {
            "InstanceId": row["InstanceId"],
            "InstanceState": state,
            "InstanceStatus": {"Status": "impaired"} if row["InstanceId"] in self.impaired else check,
            "SystemStatus": check,
        }

    def get_console_output(self, InstanceId: str, Latest: bool) -> dict[str, Any]:  # noqa: N803
        tags = {tag["Key"]: tag["Value"] for tag in self.instances[InstanceId]["Tags"]}
        # EC2 sends base64, and botocore takes it off again.
        return {"Output": self.console.format(name=tags["corral:deployment"])}

    def describe_instance_type_offerings(self, LocationType: str, Filters: Any) -> dict[str, Any]:  # noqa: N803
        return {
            "InstanceTypeOfferings": [
                {"InstanceType": name, "Location": zone}
                for name in Filters[0]["Values"]
                for zone in self.zones
                if zone not in self.not_sold_in
            ]
        }

    def describe_subnets(self, Filters: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803
        rows = [
            {
                "SubnetId": f"subnet-{zone}{number}",
                "VpcId": "vpc-1",
                "AvailabilityZone": zone,
                "MapPublicIpOnLaunch": self.public_subnets,
                "AvailableIpAddressCount": 0 if zone in self.full_zones else free,
            }
            for zone in self.zones
            for number, free in (("", 100), ("-small", 3))
        ]
        if Filters[0]["Name"] == "default-for-az":
            return {"Subnets": rows if self.default_vpc else []}
        return {"Subnets": [row for row in rows if row["SubnetId"] in Filters[0]["Values"]]}

    def describe_images(self, **asked: Any) -> dict[str, Any]:
        device = {"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": SNAPSHOT_GIB}}
        image = {
            "ImageId": IMAGE,
            "Name": "Deep Learning Base OSS Nvidia Driver GPU AMI (Ubuntu 24.04)",
            "RootDeviceName": "/dev/sda1",
            "BlockDeviceMappings": [device],
            "Architecture": "x86_64",
            "State": "available",
            "CreationDate": "2026-10-01",
        }
        others = [image | row for row in self.other_images]
        wanted = asked.get("ImageIds")
        rows = [*others, *([image] if self.image_is_there else [])]
        return {"Images": [row for row in rows if not wanted or row["ImageId"] in wanted]}

    def describe_regions(self) -> dict[str, Any]:
        return {
            "Regions": [{"RegionName": name} for name in ("eu-west-1", "us-east-1", "us-east-2", "us-west-2")]
        }

    def describe_spot_price_history(self, **asked: Any) -> dict[str, Any]:
        zones = [values for one in asked.get("Filters", []) for values in one["Values"]]
        return {
            "SpotPriceHistory": [
                {"AvailabilityZone": zone, "InstanceType": name, "SpotPrice": self.spot_usd[zone]}
                for name in asked["InstanceTypes"]
                for zone in zones or self.zones
            ]
        }

    def describe_tags(self, Filters: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803
        self.settle()
        wanted = {each["Name"].capitalize(): each["Values"] for each in Filters}
        shown = {key: row for key, row in self.instances.items() if self.shown(row)}
        types = {
            "instance": shown,
            "volume": self.volumes,
            "network-interface": self.interfaces,
            "security-group": self.groups,
            "placement-group": self.placement_groups,
            "spot-instances-request": self.spot_requests,
        }
        return {
            "Tags": [
                {"ResourceType": kind, "ResourceId": key, **tag}
                for kind, things in types.items()
                for key, thing in things.items()
                for tag in thing["Tags"]
                if all(tag[part] in values for part, values in wanted.items())
            ]
        }

    def create_tags(self, Resources: list[str], Tags: list[dict[str, str]]) -> dict[str, Any]:  # noqa: N803
        for key in Resources:
            kept = [
                tag for tag in self.instances[key]["Tags"] if tag["Key"] not in {new["Key"] for new in Tags}
            ]
            self.instances[key]["Tags"] = kept + Tags
        return {}

    # --- security and placement groups, and what goes with a machine

    def create_security_group(self, GroupName: str, TagSpecifications: Any, **rest: Any) -> dict[str, Any]:  # noqa: N803
        if any(group["GroupName"] == GroupName for group in self.groups.values()):
            raise ApiFailure("InvalidGroup.Duplicate", GroupName)
        check_tags(TagSpecifications, spot=False)
        key = f"sg-{next(self.numbers):017x}"
        tags = TagSpecifications[0]["Tags"]
        self.groups[key] = {
            "GroupId": key,
            "GroupName": GroupName,
            "VpcId": "vpc-1",
            "Tags": tags,
            "inbound": [],
            "outbound": [],
        }
        return {"GroupId": key}

    def authorize_security_group_ingress(self, GroupId: str, IpPermissions: Any) -> dict[str, Any]:  # noqa: N803
        return self.authorize(GroupId, IpPermissions, "inbound")

    def authorize_security_group_egress(self, GroupId: str, IpPermissions: Any) -> dict[str, Any]:  # noqa: N803
        return self.authorize(GroupId, IpPermissions, "outbound")

    def authorize(self, group: str, rules: Any, side: str) -> dict[str, Any]:
        if group not in self.groups:
            raise ApiFailure("InvalidGroup.NotFound", group)
        if any(rule in self.groups[group][side] for rule in rules):
            raise ApiFailure("InvalidPermission.Duplicate", group)
        self.groups[group][side] += rules
        return {}

    def describe_security_groups(self, Filters: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803
        flat = {
            "group-name": lambda row: row["GroupName"],
            "group-id": lambda row: row["GroupId"],
            "vpc-id": lambda row: "vpc-1",
        }
        rows = list(self.groups.values())
        return {"SecurityGroups": [row for row in rows if all(matches(row, one, flat) for one in Filters)]}

    def delete_security_group(self, GroupId: str) -> dict[str, Any]:  # noqa: N803
        if GroupId not in self.groups:
            raise ApiFailure("InvalidGroup.NotFound", GroupId)
        rows = self.instances.values()
        if any(GroupId in row["groups"] and self.state(row) != "terminated" for row in rows):
            raise ApiFailure("DependencyViolation", f"{GroupId} has a dependent object")
        del self.groups[GroupId]
        return {}

    def create_placement_group(self, GroupName: str, TagSpecifications: Any, **rest: Any) -> dict[str, Any]:  # noqa: N803
        if GroupName in self.placement_groups:
            raise ApiFailure("InvalidPlacementGroup.Duplicate", GroupName)
        group = {"GroupName": GroupName, "State": "available", "Tags": TagSpecifications[0]["Tags"]}
        self.placement_groups[GroupName] = group
        return {}

    def describe_placement_groups(self, Filters: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803
        flat = {"group-name": lambda row: row["GroupName"]}
        rows = list(self.placement_groups.values())
        return {"PlacementGroups": [row for row in rows if all(matches(row, one, flat) for one in Filters)]}

    def delete_placement_group(self, GroupName: str) -> dict[str, Any]:  # noqa: N803
        if GroupName not in self.placement_groups:
            raise ApiFailure("InvalidPlacementGroup.Unknown", GroupName)
        rows = self.instances.values()
        if any(row["placement"] == GroupName and self.state(row) != "terminated" for row in rows):
            raise ApiFailure("InvalidPlacementGroup.InUse", GroupName)
        del self.placement_groups[GroupName]
        return {}

    def describe_volumes(self, Filters: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803
        self.settle()
        rows = [{"VolumeId": key, **volume} for key, volume in self.volumes.items()]
        flat = {"attachment.instance-id": lambda row: row["of"]}
        return {"Volumes": [row for row in rows if all(matches(row, one, flat) for one in Filters)]}

    def delete_volume(self, VolumeId: str) -> dict[str, Any]:  # noqa: N803
        self.settle()
        owner = self.instances.get(self.volumes[VolumeId]["of"])
        if owner and self.state(owner) != "terminated":
            raise ApiFailure("VolumeInUse", VolumeId)
        del self.volumes[VolumeId]
        return {}

    def describe_network_interfaces(self, Filters: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803
        self.settle()
        return {"NetworkInterfaces": tagged("NetworkInterfaceId", self.interfaces, Filters)}

    def delete_network_interface(self, NetworkInterfaceId: str) -> dict[str, Any]:  # noqa: N803
        # An interface made by a launch goes with its machine; until then it is attached.
        raise ApiFailure(
            "InvalidParameterValue", f"Network interface '{NetworkInterfaceId}' is currently in use."
        )

    def describe_capacity_block_offerings(self, InstanceType: str, **asked: Any) -> dict[str, Any]:  # noqa: N803
        day = datetime(2026, 11, 25, 11, 30, tzinfo=UTC)
        offers = (("cb-0000000000000000a", "a", "1200.00"), ("cb-0000000000000000b", "b", "998.40"))
        rows = [
            {
                "CapacityBlockOfferingId": key,
                "AvailabilityZone": f"{self.name}{letter}",
                "InstanceType": InstanceType,
                "InstanceCount": asked["InstanceCount"],
                "StartDate": day,
                "EndDate": day + timedelta(hours=asked["CapacityDurationHours"]),
                "CapacityBlockDurationHours": asked["CapacityDurationHours"],
                "UpfrontFee": usd,
                "CurrencyCode": "USD",
            }
            for key, letter, usd in offers
        ]
        return {"CapacityBlockOfferings": rows}

    def purchase_capacity_block(self, CapacityBlockOfferingId: str, **asked: Any) -> dict[str, Any]:  # noqa: N803
        self.blocks += 1
        return {"CapacityReservation": {"CapacityReservationId": f"cr-{self.blocks - 1:017x}"}}

    def describe_addresses(self, Filters: Any) -> dict[str, Any]:  # noqa: N803
        flat = {"instance-id": lambda row: row["InstanceId"]}
        return {
            "Addresses": [row for row in self.addresses if all(matches(row, one, flat) for one in Filters)]
        }

    def describe_key_pairs(self, Filters: Any) -> dict[str, Any]:  # noqa: N803
        return {"KeyPairs": []}

    def describe_launch_templates(self, Filters: Any) -> dict[str, Any]:  # noqa: N803
        return {"LaunchTemplates": []}

    def describe_spot_instance_requests(self, Filters: Any) -> dict[str, Any]:  # noqa: N803
        return {"SpotInstanceRequests": tagged("SpotInstanceRequestId", self.spot_requests, Filters)}

    def cancel_spot_instance_requests(self, SpotInstanceRequestIds: list[str]) -> dict[str, Any]:  # noqa: N803
        for key in SpotInstanceRequestIds:
            self.spot_requests[key]["State"] = "cancelled"
        return {}

    def describe_capacity_reservations(
        self,
        Filters: Any = (),  # noqa: N803
        CapacityReservationIds: Any = (),  # noqa: N803
    ) -> dict[str, Any]:
        if unknown := [key for key in CapacityReservationIds if key not in self.reservations]:
            raise ApiFailure("InvalidCapacityReservationId.NotFound", unknown[0])
        return {"CapacityReservations": [self.reservations[key] for key in CapacityReservationIds]}

    def reserve(self, key: str, instance_type: str, zone: str, count: int, **more: Any) -> None:
        """A reservation of the user's own."""
        self.reservations[key] = {
            "CapacityReservationId": key,
            "InstanceType": instance_type,
            "AvailabilityZone": zone,
            "TotalInstanceCount": count,
            "AvailableInstanceCount": count,
            "State": "active",
            "ReservationType": "default",
            **more,
        }

    def reserved(self, asked: dict[str, Any], zone: str, count: int) -> int:
        """How many of so many. A launch into one must be of its kind, type and zone, and find room for the least; the
        code for a misfit is not public.
        """
        target = asked.get("CapacityReservationSpecification", {}).get("CapacityReservationTarget")
        if not target:
            return count
        key = target["CapacityReservationId"]
        if key not in self.reservations:
            raise ApiFailure("InvalidCapacityReservationId.NotFound", key)
        its = self.reservations[key]
        kind = "capacity-block" if purchase_of(asked) == "capacity-block" else "default"
        if (its["InstanceType"], its["AvailabilityZone"], its["ReservationType"], its["State"]) != (
            asked["InstanceType"],
            zone,
            kind,
            "active",
        ):
            raise ApiFailure("InvalidParameterCombination", f"The launch does not match {key}")
        if its["AvailableInstanceCount"] < asked["MinCount"]:
            raise ApiFailure("ReservationCapacityExceeded", f"{key} has no room for it")
        count = min(count, its["AvailableInstanceCount"])
        its["AvailableInstanceCount"] -= count
        return count


def tagged(
    id_key: str, things: dict[str, dict[str, Any]], filters: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """The things that pass the filters."""
    rows = [{id_key: key, **thing} for key, thing in things.items()]
    return [row for row in rows if all(matches(row, one, {}) for one in filters)]


def matches(row: dict[str, Any], one: dict[str, Any], flat: dict[str, Any]) -> bool:
    """One filter of a Describe call."""
    name, values = one["Name"], one["Values"]
    if name.startswith("tag:"):
        return any(tag["Key"] == name[4:] and tag["Value"] in values for tag in row["Tags"])
    if name == "tag-key":
        return any(tag["Key"] in values for tag in row["Tags"])
    if name == "instance-id":
        return row["InstanceId"] in values
    return flat[name](row) in values


def purchase_of(asked: dict[str, Any]) -> str:
    """How a launch is to be bought."""
    return str(asked.get("InstanceMarketOptions", {}).get("MarketType", "on-demand"))


def zone_of(subnet: str) -> str:
    """The zone of one of our subnets."""
    return subnet.removeprefix("subnet-").removesuffix("-small")


def vcpus(instance_type: str) -> int:
    """The vCPUs of a type."""
    return catalog.machine(instance_type).vcpus or 0


def check_tags(specifications: list[dict[str, Any]], spot: bool) -> None:
    """EC2's rules for tags."""
    for specification in specifications:
        keys = [tag["Key"] for tag in specification["Tags"]]
        if len(set(keys)) < len(keys):
            raise ApiFailure("InvalidParameterValue", "Duplicate tag key")
        if specification["ResourceType"] == "spot-instances-request" and not spot:
            raise ApiFailure(
                "InvalidParameterValue", "'spot-instances-request' is not a valid taggable resource type"
            )
        tags = specification["Tags"]
        bad = [
            tag
            for tag in tags
            if tag["Key"].startswith("aws:") or len(tag["Value"]) > 256 or len(tag["Key"]) > 128
        ]
        if bad or len(tags) > 50:
            raise ApiFailure("InvalidParameterValue", "tags")


def check_volume(ebs: dict[str, Any]) -> None:
    """gp3's limits, and the size of the snapshot."""
    if ebs["VolumeSize"] < SNAPSHOT_GIB:
        raise ApiFailure(
            "InvalidBlockDeviceMapping", f"smaller than snapshot, expect size >= {SNAPSHOT_GIB}GB"
        )
    if ebs.get("KmsKeyId") and not ebs.get("Encrypted"):
        raise ApiFailure(
            "InvalidParameterDependency", "The parameter KmsKeyId requires the parameter Encrypted to be set."
        )
    if not 3000 <= ebs["Iops"] <= 80000 or ebs["Throughput"] > ebs["Iops"] * 0.25 or ebs["Throughput"] > 2000:
        raise ApiFailure(
            "InvalidParameterValue", "Throughput (MiBps) to iops ratio is too high; maximum is 0.25"
        )
