"""What the tests of renting share: an order, an AWS with a simulated clock, `up` and `down`."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fake_aws import Clock, FakeAws

from infra.aws import account_preflight, renting
from infra.aws.api import Aws, Transport
from infra.aws.failover import Launched
from infra.aws.ledger import Ledger
from infra.aws.order import Order
from infra.aws.renting import told
from infra.aws.teardown import Remains

START = datetime.fromtimestamp(1_790_000_000, UTC)


def an_order(**changes: Any) -> Order:
    """An order for one g5.12xlarge."""
    return Order.model_validate(
        {
            "name": "t1",
            "order_id": "0123456789abcdef",
            "created_by": "ann@desk",
            "created_at": START,
            "version": "0.1.0",
            "regions": ("us-east-1",),
            "instance_types": ("g5.12xlarge",),
            "usd_per_hour": 5.672,
            "ttl_minutes": 480,
            "volume_gib": 150,
            "volume_mib_per_s": 500,
            "user_data": "#cloud-config\n",
        }
        | changes
    )


def door(transport: Transport, clock: Clock, folder: Path) -> Aws:
    """AWS as corral sees it, in no real time."""
    return Aws(transport, Ledger(folder / "ledger.jsonl"), sleep=clock.sleep, clock=clock)


@told
def up(aws: Aws, order: Order, keep: bool = False) -> Launched:
    """Look, then rent."""
    found = account_preflight.checked(account_preflight.survey(aws, order), order)
    return renting.rent(aws, order, found, keep)


@told
def down(aws: Aws, name: str = "t1", regions: tuple[str, ...] = ("us-east-1",)) -> Remains:
    """Take everything away."""
    return renting.take_away(aws, name, regions, ("us-east-1",))


def fresh() -> tuple[FakeAws, Clock]:
    """An account with nothing in it."""
    clock = Clock()
    return FakeAws(clock), clock
