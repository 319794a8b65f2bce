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
    requests_per_month: Number
    requests_per_day: Number
    utilisation: Number


class Item(Record):
    """One line of our bill."""

    name: str
    usd_per_month: Usd
    how: str
    """What it is made of."""


class Elsewhere(Record):
    """The same work, done by somebody else."""

    who: str
    via: str
    """Where it is bought."""
    model: str = ""
    """Of a Claude, the model, whoever sells it."""
    kind: Literal["claude", "hosted"]
    status: str
    usd_per_month: Usd
    saving_usd_per_month: Usd
    """What doing it here saves; below 0, what that costs more."""
    saving_usd_per_year: Usd
    payback_months: Number | None = None
    """Until what is bought has paid itself back; None where nothing is bought, or it never does."""
    checked_on: date
    source: str


class Month(Record):
    """One month; amounts are in dollars, whatever currency they are shown in."""

    volume: Volume
    purchase: Purchase
    hours: Hours
    usd_per_month: Usd
    usd_per_year: Usd
    bought_usd: Usd
    """Paid ahead or once: all machines, the upfront part, the one-off costs."""
    items: tuple[Item, ...]
    """Those that are not 0."""
    elsewhere: tuple[Elsewhere, ...]
    """Each Claude as it was compared, those on other platforms, then the hosts that still sell the model, by price."""
    currency: Currency | None = None
