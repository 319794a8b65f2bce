"""The models as others sell them: dated offers, and whether they still stand."""

from datetime import date
from decimal import Decimal
from functools import cache
from typing import Literal

from infra.data import shipped_table
from infra.record import Record

OfferStatus = Literal["live", "listed", "ended"]


class OfferPrice(Record):
    """USD per million tokens."""

    input: Decimal
    output: Decimal


class Offer(Record):
    """One host. "live" rests on a notice or a date; "listed": a catalogue has it."""

    host: str
    status: OfferStatus
    ends_on: date | None = None
    checked_on: date | None = None
    """Where it was read on another day than the rest."""
    called_on: date | None = None
    """When somebody of us had an answer from it; None: nobody tried."""
    note: str = ""
    price: dict[str, OfferPrice]
    """Of each model it sells, by our name."""

    def status_on(self, day: date) -> OfferStatus:
        """An offer whose end has come is over, whatever was known when it was entered."""
        return "ended" if self.ends_on is not None and self.ends_on <= day else self.status


class Offers(Record):
    """All offers, and where and when they were read."""

    checked_on: date
    source: str
    offer: tuple[Offer, ...]


@cache
def offers() -> Offers:
    """Parse hosted_offers.toml once."""
    return Offers.model_validate(shipped_table("deploy.costs", "hosted_offers.toml"))
