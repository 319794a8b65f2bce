"""What a user may ask of EC2, checked before anything is asked of AWS."""

import ipaddress
import re

from deploy.targets.ec2.own import check_own
from deploy.targets.ec2.tags import tags_from
from infra.aws.order import Purchase
from infra.errors import UsageError
from infra.record import Record

SHORTEST_MINUTES = 10
LONGEST_MINUTES = 30 * 24 * 60
UNITS = {"m": 1, "h": 60, "d": 24 * 60}

# By version: a private /16 holds a VPC (EC2's largest), and a site has a /48 (RFC 6177).
WIDEST = {4: 16, 6: 48}
STORED = r"s3://[a-z0-9][a-z0-9.-]{2,62}(/[\w.=/-]*)?|/[\w.=/-]+"
PARAMETER = r"(/?[\w./-]{1,512}|arn:aws[\w-]*:secretsmanager:[\w:/+=.@-]+)"


class Ec2Options(Record):
    """The options of `corral provision --target ec2`."""

    regions: tuple[str, ...] = ()
    zones: tuple[str, ...] = ()
    instance_types: tuple[str, ...] = ()
    purchases: tuple[Purchase, ...] = ("on-demand",)
    ttl: str = "12h"
    idle: str = "1h"
    """How long nobody may ask anything; `never` to turn it off."""
    cidr: str | None = None
    open_to_the_world: bool = False
    subnet_ids: tuple[str, ...] = ()
    capacity_reservation_id: str | None = None
    permissions_boundary: str | None = None
    instance_profile: str | None = None
    scheduler_role: str | None = None
    security_group_ids: tuple[str, ...] = ()
    kms_key_id: str | None = None
    ami: str | None = None
    volume_gib: int = 150
    volume_mib_per_s: int = 500
    weights: str | None = None
    engine: str | None = None
    hf_token_parameter: str | None = None
    tags: tuple[str, ...] = ()
    """KEY=VALUE, each."""
    max_usd_per_hour: float | None = None
    allow_unknown_price: bool = False


def checked(options: Ec2Options) -> Ec2Options:
    """Return the options, or raise UsageError for the first that cannot be meant."""
    from infra.aws.ec2 import checked_regions

    checked_regions(options.regions)
    minutes(options.ttl, "--ttl")
    idle_minutes(options)
    checked_cidr(options)
    matching(options.subnet_ids, r"subnet-[0-9a-f]{8,17}", "--subnet-id", "subnet-0123456789abcdef0")
    matching(options.zones, r"[a-z]{2}(-[a-z]+)+-\d[a-z]", "--zone", "us-east-1a")
    matching(given(options.ami), r"ami-[0-9a-f]{8,17}", "--ami", "ami-0123456789abcdef0")
    reservation = given(options.capacity_reservation_id)
    matching(reservation, r"cr-[0-9a-f]{8,17}", "--capacity-reservation-id", "cr-0123456789abcdef0")
    matching(given(options.weights), STORED, "--weights", "s3://bucket/scout/")
    matching(given(options.engine), STORED, "--engine", "s3://bucket/engine.tar")
    checked_token_parameter(options)
    check_own(options)
    checked_volume(options)
    tags_from(options.tags)
    return checked_purchase(options)


def minutes(text: str, flag: str) -> int:
    """Read 90m, 8h or 2d. Raises UsageError below ten minutes and above thirty days."""
    found = re.fullmatch(r"([0-9]{1,6})([mhd])", text)
    value = int(found[1]) * UNITS[found[2]] if found else 0
    if not SHORTEST_MINUTES <= value <= LONGEST_MINUTES:
        raise UsageError(
            f"{flag} {text} is no time limit between 10 minutes and 30 days.", f"For example: {flag} 8h"
        )
    return value


def idle_minutes(options: Ec2Options) -> int | None:
    """The idle limit in minutes; None for `never`."""
    return None if options.idle == "never" else minutes(options.idle, "--idle")


def checked_cidr(options: Ec2Options) -> None:
    """One network; one wider than a company's own only when that is said in so many words."""
    if options.cidr is None:
        return
    try:
        network = ipaddress.ip_network(options.cidr)
    except ValueError as error:
        raise UsageError(
            f"--cidr {options.cidr} is no network: {error}.", "For example: --cidr 203.0.113.7/32"
        ) from None
    if network.prefixlen < WIDEST[network.version] and not options.open_to_the_world:
        raise UsageError(
            f"--cidr {options.cidr} is wider than /{WIDEST[network.version]}: it would let strangers in.",
            "Name your own network, or leave it out and use Session Manager; else add --open-to-the-world.",
        )


def given(value: str | None) -> tuple[str, ...]:
    """The value, if there is one; an empty one was given too, and is to be refused."""
    return () if value is None else (value,)


def checked_token_parameter(options: Ec2Options) -> None:
    """The name of a secret. Raises UsageError where the secret itself was pasted, without repeating it."""
    if (options.hf_token_parameter or "").startswith("hf_"):
        raise UsageError(
            "--hf-token-parameter was given a token; it takes the NAME of the parameter that holds it.",
            "Put it there (aws ssm put-parameter --type SecureString --name /hf/token --value file://FILE), then: "
            "--hf-token-parameter /hf/token. Revoke the token if others can read your shell's history.",
        )
    matching(given(options.hf_token_parameter), PARAMETER, "--hf-token-parameter", "/hf/token")


def checked_zones(zones: tuple[str, ...], regions: tuple[str, ...]) -> None:
    """Raise UsageError for a zone of a region that is not tried."""
    for zone in zones:
        if zone[:-1] not in regions:
            raise UsageError(
                f"The zone {zone} is in none of the regions that are tried: {', '.join(regions)}.",
                "Name its region too: --region REGION",
            )


def matching(values: tuple[str, ...], pattern: str, flag: str, example: str) -> None:
    """Raise UsageError for a value that AWS could not know."""
    for value in values:
        if not re.fullmatch(pattern, value):
            raise UsageError(f"{flag} {value!r} cannot be right.", f"It looks like {example}")


def checked_volume(options: Ec2Options) -> None:
    """gp3 limits: 64 TiB, 125 to 2,000 MiB/s (botocore 1.44.5)."""
    if not 75 <= options.volume_gib <= 65536:
        raise UsageError(
            f"--volume-gib {options.volume_gib} is not between 75 (the image) and 65536.",
            "Try --volume-gib 150",
        )
    if not 125 <= options.volume_mib_per_s <= 2000:
        raise UsageError(
            f"--volume-mib-per-s {options.volume_mib_per_s} is not between 125 and 2000.",
            "Try --volume-mib-per-s 500",
        )


def checked_purchase(options: Ec2Options) -> Ec2Options:
    """A capacity block is a reservation that was bought before."""
    if "capacity-block" in options.purchases and not options.capacity_reservation_id:
        raise UsageError(
            "A capacity block is bought before it is used.",
            "See what is on offer: corral capacity-block list TYPE; then --capacity-reservation-id cr-...",
        )
    if options.capacity_reservation_id and "spot" in options.purchases:
        raise UsageError("A reservation cannot be used by spot instances.", "Leave out --purchase spot.")
    return options
