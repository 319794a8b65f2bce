"""A machine that is rented under a deployment's name, as its cloud shows it."""

from datetime import datetime
from typing import Literal

from infra.record import Record

Purchase = Literal["on-demand", "spot", "capacity-block"]


class Rented(Record):
    """One machine of a deployment. Its id, type, region and zone are the cloud's own words."""

    instance_id: str
    """EC2's own."""
    deployment: str
    """Its name, by the machine's tag."""
    region: str
    """Where it is."""
    zone: str
    """Where in the region."""
    instance_type: str
    """The EC2 type."""
    purchase: Purchase
    """How it is paid."""
    state: str
    """As EC2 says: pending, running, stopped, terminated."""
    launched_at: datetime
    """Its last start."""
    ended_at: datetime | None = None
    """When it was ended, or stopped."""
    billed_before_s: float = 0.0
    """Seconds that it had run before its last start."""
    billed_until_start: datetime | None = None
    """The start up to whose end that was billed; None for a machine that was never stopped."""
    expires_at: datetime | None = None
    """When it ends itself (UTC); null where its tag says none."""
    end_reason: str = ""
    """The cloud's code for why it ended, such as EC2's Server.SpotInstanceTermination."""
    public_name: str = ""
    """Empty where it has none."""
    private_address: str = ""
    """Within its network; empty where it has none."""
    launch_index: int = 0
    """Its place among those of the same launch."""
