"""PURE: what keeping a machine up costs a month, what it can serve, and what a million tokens therefore costs.

The comparison is by reservation: the bill of everything kept up, over the tokens really served. Utilisation never
lowers a bill; it only spreads it over fewer tokens (llm-d, inference cost proposal, pull request 1646).
"""

from decimal import Decimal

from deploy.costs.knobs import Knobs
from infra.money import MTOK, Usd
from infra.record import Record

SECONDS_PER_HOUR = 3600
MONTHS_PER_YEAR = 12


class Bill(Record):
    """One month, item by item, in USD."""

    rent_usd: Usd
    hardware_usd: Usd
    power_usd: Usd
    hosting_usd: Usd
    storage_usd: Usd
    egress_usd: Usd
    other_usd: Usd
    people_usd: Usd

    @property
    def total_usd(self) -> Decimal:
        """All of it."""
        return sum((getattr(self, name) for name in Bill.model_fields), Decimal(0))

    @property
    def per_machine_usd(self) -> Decimal:
        """The part that grows with every further machine."""
        return self.rent_usd + self.hardware_usd + self.power_usd + self.hosting_usd + self.storage_usd


def bill(knobs: Knobs, usd_per_hour: Decimal, capex_usd: Decimal = Decimal(0)) -> Bill:
    """A month of `replicas` equal machines, rented by the hour or bought for `capex_usd` each."""
    machines = knobs.replicas
    hosting = knobs.hosting_usd_per_month if capex_usd else Decimal(0)
    return Bill(
        rent_usd=machines * usd_per_hour * knobs.hours_per_month,
        hardware_usd=machines * written_off(capex_usd, knobs),
        power_usd=machines * knobs.power_kw * knobs.pue * knobs.hours_per_month * knobs.usd_per_kwh,
        hosting_usd=machines * hosting,
        storage_usd=machines * knobs.storage_gb * knobs.usd_per_storage_gb_month,
        egress_usd=knobs.egress_gb * knobs.usd_per_egress_gb,
        other_usd=knobs.other_usd_per_month,
        people_usd=knobs.ops_fte * knobs.usd_per_fte_year / MONTHS_PER_YEAR,
    )


def written_off(capex_usd: Decimal, knobs: Knobs) -> Decimal:
    """An owned machine's price, less what it brings at the end, spread evenly over its life: USD a month."""
    return capex_usd * (1 - knobs.residual_fraction) / (knobs.life_years * MONTHS_PER_YEAR)


def capacity_mtok(tokens_per_s: Decimal, knobs: Knobs) -> Decimal:
    """Millions of tokens a month at most, at that speed of each machine."""
    return knobs.replicas * tokens_per_s * SECONDS_PER_HOUR * knobs.hours_per_month / MTOK


def usd_per_mtok(monthly_usd: Decimal, mtok: Decimal) -> Decimal:
    """Reservation cost: the month's bill over the tokens served in it."""
    return monthly_usd / mtok


def usage_usd_per_mtok(usd_per_hour: Decimal, tokens_per_s: Decimal) -> Decimal:
    """Usage cost: what a million tokens would cost on a machine that never idles. A lower bound, no forecast."""
    return usd_per_hour / (tokens_per_s * SECONDS_PER_HOUR) * MTOK


def hybrid_usd(monthly_usd: Decimal, all_claude_usd: Decimal, share: Decimal) -> Decimal:
    """The fleet as it stands, and `share` of the tokens at Claude's price."""
    return monthly_usd + share * all_claude_usd


def cascade_share(claude_share: Decimal, escalation: Decimal) -> Decimal:
    """The share that reaches Claude when a part of what the fleet answered first is asked again there."""
    return claude_share + (1 - claude_share) * escalation
