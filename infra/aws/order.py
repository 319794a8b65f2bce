"""The order: everything one deployment asks of EC2, fixed and stored before the first call is made."""

from datetime import datetime, timedelta
from typing import ClassVar, Literal

from pydantic import Field

from infra.record import Document, Record
from infra.rented import Purchase

TAG = "corral:deployment"
ORDER_TAG = "corral:order"
EXPIRES_TAG = "corral:expires-at"


class StoredFolder(Record):
    """A folder of a bucket that the boxes will read, and what must lie in it."""

    address: str
    """It ends in /."""
    files: tuple[str, ...]
    """Besides *.safetensors."""
    bytes: int = 0
    """Of those, as planned; 0 where that is not known."""


class Order(Document):
    """What was asked for. A second `up` with the same order sends the same requests, so EC2 can tell they are one."""

    kind: ClassVar[str] = "order"
    document: Literal["order"] = "order"
    schema_version: Literal[1] = 1

    name: str
    """The deployment's."""
    order_id: str
    """New for every order under the same name; part of every client token."""
    created_by: str
    """USER@MACHINE, for the tags."""
    created_at: datetime
    """When it was first asked for (UTC)."""
    version: str
    """The version of corral that made the order."""

    account: str = ""
    """The AWS account it was approved for, and """
    profile: str = ""
    """the profile of the AWS configuration that named it; empty for none."""
    regions: tuple[str, ...]
    """To be tried, in order."""
    instance_types: tuple[str, ...]
    """To be tried, in order."""
    purchases: tuple[Purchase, ...] = ("on-demand",)
    """To be tried, in order."""
    zones: tuple[str, ...] = ()
    """Only these availability zones; empty for all that sell the type."""
    nodes: int = 1
    """Machines of one server."""
    replicas: int = Field(default=1, exclude_if=lambda count: count == 1)
    """Servers, each on machines of its own; absent for one."""
    min_replicas: int | None = Field(default=None, exclude_if=lambda count: count is None)
    """As few of them are kept where EC2 has no more; None for all or none."""

    usd_per_hour: float | None
    """All machines, at most, at the prices known when it was approved; None where no price is known."""
    price_source: str = ""
    """Where the price is from; empty where none is known."""
    max_usd_per_hour: float | None = None
    """All machines; nothing dearer is launched, and no spot machine runs on above it."""
    allow_unknown_price: bool = False
    """Whether a limit may be passed over where no price is known."""
    ttl_minutes: int
    """From the launch to the end, at most."""
    idle_minutes: int | None = None
    """Without a request until it ends itself; null for never."""

    port: int = 8000
    """Where the server listens on the box's own loopback."""
    cidr: str | None = None
    """Who may reach the port; None opens nothing."""
    subnet_ids: tuple[str, ...] = ()
    """Only these subnets; empty for those of the default VPC."""
    capacity_reservation_id: str | None = None
    """Of a block that was bought; null for none."""

    # What of the user's own is used in place of something of ours; never changed, never taken away. Empty for none.
    permissions_boundary: str = ""
    """The ARN of the policy that bounds the roles we make."""
    instance_profile: str = ""
    """The name or ARN of the instance profile of the machines."""
    scheduler_role: str = ""
    """The ARN of the role that the schedule ends them with."""
    security_group_ids: tuple[str, ...] = ()
    """The user's own; empty where one is made."""
    kms_key_id: str = ""
    """The key of the root volume: its id, alias or ARN."""

    ami: str | None = None
    """The user's own image; null for AWS's Deep Learning AMI."""
    volume_gib: int
    """Of the root volume, which is encrypted."""
    volume_mib_per_s: int
    """Throughput of that volume."""
    weights_bytes: int = 0
    """What each box fetches; 0 where the weights lie on its image."""
    engine_gib: float = 0.0
    """What the engine takes on its root volume."""
    user_data: str
    """What the box is told at its first boot; no secret is in it."""
    engine_unlocked: str = ""
    """What the box installs as the package index has it that day, for want of a lock; empty where nothing is."""
    read_parameters: tuple[str, ...] = ()
    """Names of SSM parameters, or ARNs of Secrets Manager secrets, the box may read: the names, never the values."""
    read_s3: tuple[str, ...] = ()
    """What of S3 the box may read: objects, and where it ends in / all that lies below."""
    expected_s3: tuple[StoredFolder, ...] = ()
    """What of that must be weights, a draft or adapters."""
    user_tags: dict[str, str] = {}
    """Tags of the user's own, beside ours."""

    @property
    def machines(self) -> int:
        """All that are rented."""
        return self.nodes * self.replicas

    @property
    def least(self) -> int:
        """As few machines are kept: all of one server, and as many replicas as will do."""
        return self.machines if self.min_replicas is None or self.nodes > 1 else self.min_replicas

    @property
    def expires_at(self) -> datetime:
        """When it ends by itself, as ordered; `extend` moves the tag, not the order."""
        return self.created_at + timedelta(minutes=self.ttl_minutes)

    @property
    def resource_name(self) -> str:
        """The name of every resource that has one."""
        return f"corral-{self.name}"

    @property
    def tags(self) -> dict[str, str]:
        """On every resource, in the call that creates it."""
        return self.user_tags | {
            "Name": self.resource_name,
            TAG: self.name,
            ORDER_TAG: self.order_id,
            EXPIRES_TAG: utc(self.expires_at),
            "corral:created-by": self.created_by,
            "corral:version": self.version,
        }


def utc(moment: datetime) -> str:
    """A moment as AWS and people write it: 2026-11-24T05:00:00Z"""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
