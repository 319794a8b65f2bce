"""The month as a budget meeting asks for it: ours item by item, the same work elsewhere, and what that saves."""

from datetime import date
from typing import Literal

from deploy.costs.currency import Currency
from deploy.costs.monthly_bill import Hours
from deploy.costs.purchase_options import Purchase
from infra.money import Number, Usd
from infra.record import Record


class Volume(Record):
    """The work that is compared. A day is a calendar day, of which a month has 30.4."""

    mtok_per_month: Number
    """Input and output."""
    mtok_per_day: Number
    """Millions of tokens, input and output."""
    requests_per_month: Number
    """Of the average length."""
    requests_per_day: Number
    """Of the average length."""
    utilisation: Number
    """That volume as a share of what the machines could serve, 0 to 1."""


class Item(Record):
    """One line of our bill."""

    name: str
    """What is paid for."""
    usd_per_month: Usd
    """What it costs a month."""
    how: str
    """What it is made of."""


class Elsewhere(Record):
    """The same work, done by somebody else."""

    who: str
    """Who would do it, by the name for people."""
    via: str
    """Where it is bought."""
    model: str = ""
    """Of a Claude, the model, whoever sells it."""
    region: str = ""
    """Of a Claude on a platform, where it answers; empty on the Claude API and at a host."""
    kind: Literal["claude", "hosted"]
    """A Claude model, or the same model at a host."""
    status: str
    """Whether it can be asked."""
    usd_per_month: Usd
    """For the same work."""
    saving_usd_per_month: Usd
    """What doing it here saves; below 0, what that costs more."""
    saving_usd_per_year: Usd
    """What self-hosting saves against it; negative where it costs more."""
    payback_months: Number | None = None
    """Until what is bought has paid itself back; None where nothing is bought, or it never does."""
    checked_on: date
    """When its price was read."""
    source: str
    """Where its price was read."""


class Month(Record):
    """One month; amounts are in dollars, whatever currency they are shown in."""

    volume: Volume
    """The work of the month."""
    purchase: Purchase
    """How the machines are had."""
    hours: Hours
    """How many hours of the month are paid for, and why so many."""
    usd_per_month: Usd
    """All of our side."""
    usd_per_year: Usd
    """Twelve of these."""
    bought_usd: Usd
    """Paid ahead or once: all machines, the upfront part, the one-off costs."""
    items: tuple[Item, ...]
    """Those that are not 0."""
    elsewhere: tuple[Elsewhere, ...]
    """Each Claude as it was compared, those on other platforms, then the hosts that still sell the model, by price."""
    currency: Currency | None = None
    """What amounts are shown in; null for dollars."""
