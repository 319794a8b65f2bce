"""PURE: what keeping a machine up costs a month, what it can serve, and what a million tokens therefore costs.

The comparison is by reservation: the bill of everything kept up, over the tokens really served. Utilisation never
lowers a bill, but for the power that a machine of one's own draws less of when idle; it only spreads it over fewer
tokens (llm-d, inference cost proposal, pull request 1646).
"""

from decimal import Decimal

from deploy.costs.egress_steps import egress_usd
from deploy.costs.knobs import Knobs
from infra.data import shipped_table
from infra.money import MTOK, Number, Usd, rounded
from infra.record import Record

SECONDS_PER_HOUR = 3600
MINUTES_PER_HOUR = 60
MONTHS_PER_YEAR = 12
LONGEST_MONTH_HOURS = Decimal(744)


class Hours(Record):
    """The hours of a month of each machine."""

    asked: Number
    """Those in which it is to serve."""
    serving: Number
    """Without those in which it starts again after an interruption."""
    up: Number
    """With those in which it starts before it is to serve."""
    billed: Number
    """A commitment bills all of its own."""


class Bill(Record):
    """One month, item by item, in USD."""

    rent_usd: Usd
    """Machines by the hour."""
    upfront_usd: Usd = Decimal(0)
    """What was paid ahead of a term, spread over its months."""
    hardware_usd: Usd
    """What was bought, spread over its life, less what it then fetches."""
    interest_usd: Usd = Decimal(0)
    """On what was bought."""
    insurance_usd: Usd = Decimal(0)
    """Of what was bought."""
    power_usd: Usd
    """At the plug, the cooling with it."""
    hosting_usd: Usd
    """A place in a data centre."""
    storage_usd: Usd
    """Volumes."""
    address_usd: Usd = Decimal(0)
    """Public IPv4 addresses, while their machines are up."""
    egress_usd: Usd
    """Traffic out, by its steps."""
    other_usd: Usd
    """What the user named beside."""
    people_usd: Usd
    """Somebody's time."""
    one_off_usd: Usd = Decimal(0)
    """What was paid once, spread over its months."""

    @property
    def total_usd(self) -> Decimal:
        """All of it."""
        return sum((getattr(self, name) for name in Bill.model_fields), Decimal(0))

    @property
    def per_machine_usd(self) -> Decimal:
        """The part that grows with every further machine."""
        bought = self.upfront_usd + self.hardware_usd + self.interest_usd + self.insurance_usd
        return (
            self.rent_usd + bought + self.power_usd + self.hosting_usd + self.storage_usd + self.address_usd
        )

    @property
    def of_what_is_bought_usd(self) -> Decimal:
        """What was paid ahead and is only spread over the months, with its interest."""
        return self.upfront_usd + self.hardware_usd + self.interest_usd + self.one_off_usd


def bill(
    knobs: Knobs,
    usd_per_hour: Decimal,
    capex_usd: Decimal = Decimal(0),
    on_demand_usd_per_hour: Decimal = Decimal(0),
) -> Bill:
    """A month of `replicas` equal machines, rented by the hour or bought for `capex_usd` each.

    Those that no savings plan is of, where it is of a part of them, are paid for on demand while they are up.
    """
    machines, hours, committed = knobs.replicas, hours_of(knobs), committed_machines(knobs)
    upfront = knobs.upfront_usd / knobs.term_months
    hardware = written_off(capex_usd, knobs)
    return Bill(
        rent_usd=committed * usd_per_hour * hours.billed
        + (machines - committed) * on_demand_usd_per_hour * hours.up,
        upfront_usd=committed * upfront,
        hardware_usd=machines * hardware,
        interest_usd=committed * interest_usd(capex_usd, knobs),
        insurance_usd=machines * capex_usd * knobs.insurance_fraction / MONTHS_PER_YEAR,
        power_usd=machines * power_kw(knobs) * knobs.pue * hours.up * knobs.usd_per_kwh,
        hosting_usd=machines * knobs.hosting_usd_per_month,
        storage_usd=machines * knobs.storage_gb * knobs.usd_per_storage_gb_month,
        address_usd=machines * knobs.public_addresses * address_usd_per_hour() * hours.up,
        egress_usd=out_usd(knobs),
        other_usd=knobs.other_usd_per_month,
        people_usd=knobs.ops_fte * knobs.usd_per_fte_year / MONTHS_PER_YEAR,
        one_off_usd=knobs.one_off_usd / knobs.one_off_months,
    )


def hours_of(knobs: Knobs) -> Hours:
    """How long each machine serves, is up and is paid for: it is started earlier, and paid for from then on."""
    startup = knobs.startup_minutes / MINUTES_PER_HOUR
    up = min(LONGEST_MONTH_HOURS, knobs.hours_per_month + knobs.starts_per_month * startup)
    return Hours(
        asked=rounded(knobs.hours_per_month),
        serving=rounded(knobs.hours_per_month - knobs.interruptions_per_month * startup),
        up=rounded(up),
        billed=rounded(max(up, knobs.committed_hours)),
    )


def address_usd_per_hour() -> Decimal:
    """Of a public IPv4 address, by the table that `corral up` counts one by."""
    return Decimal(shipped_table("infra.aws", "stopped_costs.toml")["address"]["usd_per_hour"])


def serving_machines(knobs: Knobs) -> Decimal:
    """Those that count as capacity."""
    return knobs.replicas - knobs.spares


def committed_machines(knobs: Knobs) -> Decimal:
    """Those that are bought in the way that is named: all, or those that a savings plan is of."""
    return knobs.replicas if knobs.committed_machines is None else knobs.committed_machines


def written_off(capex_usd: Decimal, knobs: Knobs) -> Decimal:
    """An owned machine's price, less what it brings at the end, spread evenly over its life: USD a month."""
    return capex_usd * (1 - knobs.residual_fraction) / (knobs.life_years * MONTHS_PER_YEAR)


def interest_usd(capex_usd: Decimal, knobs: Knobs) -> Decimal:
    """What equal yearly payments, over its life or the term of what is upfront, are beyond the price: USD a month."""
    term_years = knobs.term_months / MONTHS_PER_YEAR
    each = (
        (capex_usd, knobs.residual_fraction, knobs.life_years),
        (knobs.upfront_usd, Decimal(0), term_years),
    )
    return (
        sum(
            (yearly_interest(usd, residual, years, knobs.interest_rate) for usd, residual, years in each),
            Decimal(0),
        )
        / MONTHS_PER_YEAR
    )


def yearly_interest(usd: Decimal, residual: Decimal, years: Decimal, rate: Decimal) -> Decimal:
    """The capital recovery factor's payment, less what is written off evenly: USD a year."""
    if not usd or not rate:
        return Decimal(0)
    grown = (1 + rate) ** years
    payment = usd * (grown - residual) * rate / (grown - 1)
    return payment - usd * (1 - residual) / years


def power_kw(knobs: Knobs) -> Decimal:
    """What one machine draws on average while on: as under load while it is busy, idle for the rest, as a spare is."""
    idle = knobs.power_kw if knobs.idle_power_kw is None else knobs.idle_power_kw
    busy = knobs.utilisation * serving_machines(knobs) / knobs.replicas
    return idle + (knobs.power_kw - idle) * busy


def out_usd(knobs: Knobs) -> Decimal:
    """Data out to the internet: at the user's price for each GB, else in AWS's steps."""
    rate = knobs.usd_per_egress_gb
    return egress_usd(knobs.egress_gb) if rate is None else knobs.egress_gb * rate


def capacity_mtok(tokens_per_s: Decimal, knobs: Knobs) -> Decimal:
    """Millions of tokens a month at most, at that speed of each machine that is no spare."""
    return tokens_per_s * machine_seconds(knobs) / MTOK


def machine_seconds(knobs: Knobs) -> Decimal:
    """The seconds a month that all machines together serve."""
    return serving_machines(knobs) * hours_of(knobs).serving * SECONDS_PER_HOUR


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
