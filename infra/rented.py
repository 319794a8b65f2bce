"""A machine that is rented under a deployment's name, as its cloud shows it."""

from datetime import datetime
from typing import Literal

from infra.record import Record

Purchase = Literal["on-demand", "spot", "capacity-block"]


class Rented(Record):
    """One machine of a deployment. Its id, type, region and zone are the cloud's own words."""

    instance_id: str
    deployment: str
    region: str
    zone: str
    instance_type: str
    purchase: Purchase
    state: str
    launched_at: datetime
    """Its last start."""
    ended_at: datetime | None = None
    """When it was ended, or stopped."""
    billed_before_s: float = 0.0
    billed_until_start: datetime | None = None
    """The start up to whose end that was billed; None for a machine that was never stopped."""
    expires_at: datetime | None = None
    end_reason: str = ""
    """The cloud's code for why it ended, such as EC2's Server.SpotInstanceTermination."""
    public_name: str = ""
    private_address: str = ""
    launch_index: int = 0
    """Its place among those of the same launch."""
