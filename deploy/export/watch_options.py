"""What may be asked of an export that watches servers."""

from datetime import UTC, datetime
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from deploy.export.router_options import checked_url
from infra.asked import Asked, Flag
from infra.errors import UsageError


def moment(text: str) -> str:
    """A time in UTC. Raises UsageError for what is none, or does not say where it is that time."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise UsageError(
            f"--ends-at {text!r} is no time with its zone.",
            "Write it as corral status tells it: --ends-at 2026-12-24T18:00:00Z",
        )
    return f"{found.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


Page = Annotated[str, AfterValidator(checked_url)]


class WatchOptions(Asked):
    """What is promised and paid, and what else is looked at."""

    heading: ClassVar[str] = "Watching"

    ttft: Annotated[float | None, Field(gt=0, le=3600, examples=[2])] = None
    """prometheus: promised seconds to the first token; alert where one request in twenty waits longer."""
    budget_usd_per_month: Annotated[float | None, Field(gt=0, le=1e9, examples=[20000])] = None
    """prometheus: alert where a month (730 hours) costs more at the present rate, or the last 30 days did."""
    ends_at: Annotated[str | None, AfterValidator(moment), Field(examples=["2026-12-24T18:00:00Z"])] = None
    """prometheus: the machine ends itself then; alert two hours before."""
    gpu_metrics: Annotated[
        tuple[Page, ...], Flag("--gpu-metrics"), Field(examples=["http://10.0.0.5:9400"])
    ] = ()
    """prometheus: a DCGM exporter, for GPU faults; repeatable."""
    gateway_metrics: Annotated[
        tuple[Page, ...], Flag("--gateway-metrics"), Field(examples=["http://10.0.0.5:8405"])
    ] = ()
    """prometheus: HAProxy's own page, where it stands before the servers; repeatable."""
