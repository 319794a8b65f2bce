"""Capacity Blocks as the user meets them: a list, a typed price, a reservation."""

import json
import re
import sys
from typing import Annotated, ClassVar

from pydantic import Field, field_validator

from deploy.targets.deployment import home
from infra import catalog, quantity
from infra.asked import Asked, Flag
from infra.aws import capacity_blocks
from infra.aws.api import Aws
from infra.aws.boto import Boto
from infra.aws.capacity_blocks import Offering, checked_hours
from infra.aws.ledger import Ledger
from infra.aws.region import Region
from infra.aws.renting import told
from infra.errors import CapacityError, UsageError
from infra.prices import DEFAULT_REGION
from infra.say import is_somebody_there, notice, progress


class BlockOptions(Asked):
    """Which blocks."""

    heading: ClassVar[str] = "The block"

    region: Region = DEFAULT_REGION
    """The region."""
    count: Annotated[int, Flag(shows_limits=True), Field(ge=1, le=64)] = 1
    """How many machines."""
    days: int = 1
    """1 to 14, or whole weeks up to 182."""

    @field_validator("days")
    @classmethod
    def sold(cls, days: int) -> int:
        """A length that is sold. Raises UsageError."""
        checked_hours(days)
        return days


class BuyOptions(BlockOptions):
    """Which block is bought, and for how much."""

    yes_i_pay: Annotated[
        str | None,
        Flag(metavar="USD"),
        Field(pattern=r"^\$?[0-9]{1,9}(,[0-9]{3})*(\.[0-9]{1,2})?$", examples=["998.40"]),
    ] = None
    """The exact price, typed beforehand."""


class Bought(Offering):
    """A block that was bought, and the reservation to launch into."""

    capacity_reservation_id: str
    """What --capacity-reservation-id takes."""


@told
def offered(instance_type: str, asked: BlockOptions) -> tuple[Offering, ...]:
    """What is on offer. Raises UsageError for a type that EC2 does not sell."""
    if catalog.machine(instance_type).name not in catalog.ec2_types():
        raise UsageError(f"{instance_type} is not an EC2 type.", "For example: p5.48xlarge")
    hours = checked_hours(asked.days)
    return capacity_blocks.offerings(
        Aws(Boto(), say=progress), asked.region, instance_type, asked.count, hours
    )


def checked_offering(offering_id: str) -> str:
    """Return the id, or raise UsageError for one that AWS could not know."""
    if not re.fullmatch(r"cb-[0-9a-f]{8,17}", offering_id):
        raise UsageError(
            f"The offering {offering_id!r} cannot be right.", "It looks like cb-0123456789abcdef0"
        )
    return offering_id


def chosen(offerings: tuple[Offering, ...], offering_id: str, instance_type: str) -> Offering:
    """The offering of that id among those of a type. Raises CapacityError when it is no longer on offer."""
    for offering in offerings:
        if offering.offering_id == offering_id:
            return offering
    raise CapacityError(
        f"{offering_id} is not on offer (now).", f"See what is: corral capacity-block list {instance_type}"
    )


def confirm(block: Offering, typed: str | None) -> None:
    """Have the exact price typed. Raises UsageError for any other; --yes elsewhere never buys a block."""
    notice(f"{words(block)}\nIt is paid whole, now, and cannot be given back.")
    if typed is None:
        if not is_somebody_there():
            raise UsageError(
                "Nobody is there to type the price.", f"Type it beforehand: --yes-i-pay {block.usd}"
            )
        print("Type the price in USD to buy it: ", end="", file=sys.stderr, flush=True)
        typed = sys.stdin.readline().strip()
    try:
        right = quantity.read(typed, "usd", whole=False) == block.usd
    except ValueError:
        right = False
    if not right:
        raise UsageError(f"{typed!r} is not its price; nothing was bought.", f"Its price: {block.usd}")


@told
def buy(block: Offering) -> str:
    """Buy it, written down before and after."""
    return capacity_blocks.purchase(
        Aws(Boto(), Ledger(home() / "capacity-blocks.jsonl"), say=progress), block
    )


def listed(offerings: tuple[Offering, ...], as_json: bool) -> str:
    """The offerings, a line each."""
    if as_json:
        return json.dumps([offering.model_dump(mode="json") for offering in offerings], indent=2)
    return (
        "\n".join(f"{offering.offering_id}  {words(offering)}" for offering in offerings)
        or "Nothing is on offer there."
    )


def words(offering: Offering) -> str:
    """One offering in words."""
    return (
        f"{offering.instance_count}x {offering.instance_type} in {offering.zone}, {offering.starts_at:%Y-%m-%d %H:%M} "
        f"to {offering.ends_at:%Y-%m-%d %H:%M} UTC: {offering.usd} USD ({offering.usd_per_hour:.2f} an hour)"
    )


def bought(block: Offering, reservation: str, as_json: bool) -> str:
    """What was bought, and the next step."""
    if as_json:
        return Bought(capacity_reservation_id=reservation, **block.model_dump()).model_dump_json(indent=2)
    return (
        f"Bought: {reservation}, paid until {block.ends_at:%Y-%m-%d %H:%M} UTC.\nFrom {block.starts_at:%Y-%m-%d %H:%M} "
        f"on: corral up plan.json --target ec2 --purchase capacity-block --zone {block.zone} "
        f"--capacity-reservation-id {reservation}"
    )
