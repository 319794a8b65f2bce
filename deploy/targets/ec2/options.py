"""What a user may ask of EC2: each wish with its flag, default, check and help, refused before AWS is asked."""

import ipaddress
from typing import Annotated, ClassVar, Self

from pydantic import Field, field_validator, model_validator

from deploy.targets.ec2.own_resource_options import Own
from deploy.targets.ec2.tags import tags_from
from deploy.targets.wishes import PlaceOptions
from infra.asked import Asked, Flag
from infra.aws import root_volume
from infra.aws.region import Region
from infra.errors import UsageError
from infra.lifetime import minutes
from infra.rented import Purchase

# By version: a private /16 holds a VPC (EC2's largest), and a site has a /48 (RFC 6177).
WIDEST = {4: 16, 6: 48}
STORED = r"^(s3://[a-z0-9][a-z0-9.-]{2,62}(/[\w.=/-]*)?|/[\w.=/-]+)$"
PARAMETER = r"^(/?[A-Za-z0-9_./-]{1,512}|arn:aws[\w-]*:secretsmanager:[\w:/+=.@-]+)$"


class BoxOptions(Asked):
    """What a machine on EC2 is told, whoever rents it: corral, or another tool by its export."""

    heading: ClassVar[str] = "The machine on EC2"

    regions: Annotated[tuple[Region, ...], Flag("--region")] = ()
    """ec2: try these regions in order, repeatable; terraform: its one region. [the plan's, else the profile's]"""
    ttl: str = "12h"
    """ec2, terraform: it ends itself after this, laptop open or closed: 90m, 8h, 2d."""
    weights: Annotated[str | None, Field(pattern=STORED, examples=["s3://bucket/scout/"])] = None
    """ec2, terraform: s3:// prefix of the checkpoint, or its folder on your AMI. [the model hub]"""
    hf_token_parameter: Annotated[str | None, Field(pattern=PARAMETER, examples=["/hf/token"])] = None
    """ec2, terraform: NAME of the SSM parameter, or ARN of the secret, with the token."""

    @field_validator("ttl")
    @classmethod
    def long_enough(cls, ttl: str) -> str:
        """A time limit. Raises UsageError."""
        minutes(ttl, "--ttl")
        return ttl

    @field_validator("hf_token_parameter", mode="before")
    @classmethod
    def no_token(cls, name: str | None) -> str | None:
        """The name of a secret. Raises UsageError where the secret itself was pasted, without repeating it."""
        if (name or "").startswith("hf_"):
            raise UsageError(
                "--hf-token-parameter was given a token; it takes the NAME of the parameter that holds it.",
                "Put it there (aws ssm put-parameter --type SecureString --name /hf/token --value file://token.txt), "
                "then: --hf-token-parameter /hf/token. Revoke the token if others can read your shell's history.",
            )
        return name


class Ec2Options(PlaceOptions, BoxOptions, Own):
    """The options of `corral provision --target ec2`."""

    heading: ClassVar[str] = "EC2"

    zones: Annotated[
        tuple[Annotated[str, Field(pattern=r"^[a-z]{2}(-[a-z]+)+-\d[a-z]$")], ...],
        Flag("--zone"),
        Field(examples=["us-east-1a"]),
    ] = ()
    """ec2: only these availability zones; repeatable. [all]"""
    instance_types: Annotated[tuple[str, ...], Flag("--instance-type")] = ()
    """ec2: other types with the same GPUs to try; repeatable. [the plan's]"""
    purchases: Annotated[tuple[Purchase, ...], Flag("--purchase")] = ("on-demand",)
    """ec2: on-demand, spot or capacity-block, in order; repeatable. [on-demand]"""
    idle: str = "1h"
    """ec2: it ends itself when nobody asks for so long; or `never`."""
    cidr: str | None = None
    """ec2: the one network that may reach the port, by plain HTTP. [none: Session Manager]"""
    open_to_the_world: bool = False
    """ec2: allow a --cidr wider than /16, or /48 of IPv6."""
    subnet_ids: Annotated[
        tuple[Annotated[str, Field(pattern=r"^subnet-[0-9a-f]{8,17}$")], ...],
        Flag("--subnet-id"),
        Field(examples=["subnet-0123456789abcdef0"]),
    ] = ()
    """ec2: only these subnets; repeatable. [default VPC]"""
    replicas: Annotated[int | None, Flag(shows_limits=True), Field(ge=1, le=64)] = None
    """ec2: so many machines, each with a server of its own. [as many as the plan counts on, else 1]"""
    min_replicas: Annotated[int | None, Flag(shows_limits=True), Field(ge=1, le=64)] = None
    """ec2: keep as few as this where a region has no more. [all or none]"""
    capacity_reservation_id: Annotated[
        str | None, Field(pattern=r"^cr-[0-9a-f]{8,17}$", examples=["cr-0123456789abcdef0"])
    ] = None
    """ec2: a reservation or capacity block you own."""
    ami: Annotated[str | None, Field(pattern=r"^ami-[0-9a-f]{8,17}$", examples=["ami-0123456789abcdef0"])] = (
        None
    )
    """ec2: the image. [newest Deep Learning base image]"""
    # From the size of the image to gp3's limits: 64 TiB, 125 to 2,000 MiB/s (botocore 1.44.5).
    volume_gib: Annotated[int, Field(ge=75, le=65536)] = root_volume.GIB
    """ec2: size of the encrypted gp3 root volume."""
    volume_mib_per_s: Annotated[int, Field(ge=125, le=2000)] = root_volume.MIB_PER_S
    """ec2: throughput of that volume."""
    engine: Annotated[str | None, Field(pattern=STORED, examples=["s3://bucket/engine.tar"])] = None
    """ec2: a packed engine at s3:// or on your AMI."""
    tags: Annotated[tuple[str, ...], Flag("--tag", metavar="KEY=VALUE")] = ()
    """ec2: a tag of yours on everything that is made; repeatable."""
    max_usd_per_hour: Annotated[float | None, Field(gt=0, examples=[10])] = None
    """ec2: refuse anything dearer, all machines together."""
    allow_unknown_price: bool = False
    """ec2: go on where no price is known."""
    keep: bool = False
    """ec2: leave a failed launch for looking at; it still costs."""

    @field_validator("idle")
    @classmethod
    def idle_enough(cls, idle: str) -> str:
        """A time limit, or `never`. Raises UsageError."""
        if idle != "never":
            minutes(idle, "--idle")
        return idle

    @field_validator("tags")
    @classmethod
    def of_the_user(cls, tags: tuple[str, ...]) -> tuple[str, ...]:
        """KEY=VALUE, each, that AWS takes. Raises UsageError."""
        tags_from(tags)
        return tags

    @model_validator(mode="after")
    def for_ones_own_network(self) -> Self:
        """One network; one wider than a company's own only when that is said in so many words. Raises UsageError."""
        if self.cidr is None:
            return self
        try:
            network = ipaddress.ip_network(self.cidr)
        except ValueError as error:
            raise UsageError(
                f"--cidr {self.cidr} is no network: {error}.", "For example: --cidr 203.0.113.7/32"
            ) from None
        if network.prefixlen < WIDEST[network.version] and not self.open_to_the_world:
            raise UsageError(
                f"--cidr {self.cidr} is wider than /{WIDEST[network.version]}: it would let strangers in.",
                "Name your own network, or leave it out and use Session Manager; else add --open-to-the-world.",
            )
        return self

    @model_validator(mode="after")
    def bought_before(self) -> Self:
        """A capacity block is a reservation that was bought before. Raises UsageError."""
        if "capacity-block" in self.purchases and not self.capacity_reservation_id:
            raise UsageError(
                "A capacity block is bought before it is used.",
                "See what is on offer: corral capacity-block list p5.48xlarge; then --capacity-reservation-id",
            )
        if self.capacity_reservation_id and "spot" in self.purchases:
            raise UsageError("A reservation cannot be used by spot instances.", "Leave out --purchase spot.")
        return self


def idle_minutes(options: Ec2Options) -> int | None:
    """The idle limit in minutes; None for `never`."""
    return None if options.idle == "never" else minutes(options.idle, "--idle")


def checked_zones(zones: tuple[str, ...], regions: tuple[str, ...]) -> None:
    """Raise UsageError for a zone of a region that is not tried."""
    for zone in zones:
        if zone[:-1] not in regions:
            raise UsageError(
                f"The zone {zone} is in none of the regions that are tried: {', '.join(regions)}.",
                f"Name its region too: --region {zone[:-1]}",
            )
