"""PURE: the month of a comparison as text: ours item by item, the same work elsewhere, what that saves."""

from collections.abc import Iterable
from decimal import Decimal

from deploy.costs.month import Elsewhere, Month, Volume
from infra.columns import table
from infra.money import count, dollars, percent


def month_text(month: Month) -> str:
    """The month, as it stands after the verdict."""
    return f"The month: {said_volume(month.volume)}\n{ours(month)}\n{theirs(month)}"


def said_volume(volume: Volume) -> str:
    """The work in tokens and requests, a month and a day, and how busy the machine is with it."""
    tokens = f"{count(volume.mtok_per_month)} M tokens ({count(volume.mtok_per_day)} M a day)"
    requests = f"{count(volume.requests_per_month)} requests ({count(volume.requests_per_day)} a day)"
    return f"{tokens}, {requests}; {percent(volume.utilisation)} utilisation"


def ours(month: Month) -> str:
    """Our bill, item by item, and in the user's currency too where one was named."""
    rows = [("here, a month", *amounts(month, None), "")]
    rows += [(item.name, *amounts(month, item.usd_per_month), item.how) for item in month.items]
    rows += [("all of it", *amounts(month, month.usd_per_month), f"{dollars(month.usd_per_year)} a year")]
    if month.bought_usd:
        rows += [("paid ahead or once", *amounts(month, month.bought_usd), "")]
    return table(rows)


def theirs(month: Month) -> str:
    """The same work at each other place."""
    titles = ("elsewhere", "status", *amounts(month, None), "here saves a month", "and a year")
    bought = ("paid back in",) if month.bought_usd else ()
    rows: list[tuple[str, ...]] = [(*titles, *bought)]
    shown = shown_of(month.elsewhere)
    for each in shown:
        saved = (signed(each.saving_usd_per_month), signed(each.saving_usd_per_year))
        back = (payback(each),) if month.bought_usd else ()
        rows.append((name(each), each.status, *amounts(month, each.usd_per_month), *saved, *back))
    return table(rows) + "".join(f"\n  {line}" for line in sources(shown))


def shown_of(elsewhere: tuple[Elsewhere, ...]) -> tuple[Elsewhere, ...]:
    """Each Claude, the hosts that are known to sell the model, and the cheapest that only a catalogue has.

    Of the places that ask the same for the same model the first alone.
    """
    listed = [each for each in elsewhere if each.status == "listed"]
    first: dict[tuple[str, Decimal], Elsewhere] = {}
    for each in elsewhere:
        if each.status != "listed" or each is listed[0]:
            first.setdefault((each.model or each.who, each.usd_per_month), each)
    return tuple(first.values())


def name(each: Elsewhere) -> str:
    """Who, and where that is not said by it."""
    if each.kind == "hosted":
        return f"the same model, {each.who}"
    return each.who if each.via in each.who else f"{each.who}, {each.via}"


def amounts(month: Month, usd: Decimal | None) -> tuple[str, ...]:
    """An amount in dollars and in the other currency; None: what stands above them."""
    other = month.currency
    if usd is None:
        return ("USD", *((f"{other.name} at {other.per_usd.normalize():f}",) if other else ()))
    return (dollars(usd), *((other.said(usd),) if other else ()))


def signed(usd: Decimal) -> str:
    """Dollars that may be below 0."""
    return f"-{dollars(-usd)}" if usd < 0 else dollars(usd)


def payback(each: Elsewhere) -> str:
    """The months until what is bought has paid itself back."""
    return "never" if each.payback_months is None else f"{count(each.payback_months)} months"


def sources(elsewhere: Iterable[Elsewhere]) -> Iterable[str]:
    """Who says what the others ask, once each."""
    read = dict.fromkeys((each.source, each.checked_on) for each in elsewhere)
    return (f"read {checked_on}: {source}" for source, checked_on in read)
