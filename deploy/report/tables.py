"""PURE: the tables of a comparison, each said once: the terminal, the page and the Markdown show the same ones."""

from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from typing import NamedTuple

from deploy.costs.comparison import BreakEven, ClaudeSide, Comparison, HostedSide, Hybrid, SelfHosted, Swing
from deploy.costs.knobs import Assumption
from deploy.costs.month import Elsewhere, Month, Volume
from deploy.costs.verdict import rough
from infra.money import count, dollars, percent
from infra.prices import OLD_AFTER_DAYS

Cells = tuple[str, ...]
GONE = ("retired", "cannot be asked")
"""The statuses of a Claude that answers no such request."""


class Table(NamedTuple):
    """Rows under a title; the first of them names the columns."""

    title: str
    rows: tuple[Cells, ...]
    marked: int | None = None
    """The row that the answer is about."""
    gone: frozenset[int] = frozenset()
    """The rows of what nobody can buy any more."""
    note: str = ""


def month_table(month: Month) -> Table:
    """Our bill, item by item, and in the user's currency too where one was named."""
    rows: list[Cells] = [("here, a month", *amounts(month, None), "")]
    rows += [(item.name, *amounts(month, item.usd_per_month), item.how) for item in month.items]
    total = len(rows)
    rows += [("all of it", *amounts(month, month.usd_per_month), f"{dollars(month.usd_per_year)} a year")]
    if month.bought_usd:
        rows += [("paid ahead or once", *amounts(month, month.bought_usd), "")]
    return Table(f"A month of {said_volume(month.volume)}", tuple(rows), total, note=one_request(month))


def one_request(month: Month) -> str:
    """What one request of the average length costs, here and at each Claude, its own tokens counted."""
    requests = month.volume.requests_per_month
    there: dict[str, Elsewhere] = {}
    for each in month.elsewhere:
        if each.kind == "claude" and each.status not in GONE:
            there.setdefault(each.model, each)
    said = [f"{amount(month, month.usd_per_month / requests)} here"]
    said += [f"{amount(month, each.usd_per_month / requests)} at {each.who}" for each in there.values()]
    return f"One request: {', '.join(said)}."


def amount(month: Month, usd: Decimal) -> str:
    """An amount in a sentence, in the other currency too where one was named."""
    other = month.currency
    return f"{dollars(usd)} ({other.said(usd)})" if other else dollars(usd)


def said_volume(volume: Volume) -> str:
    """The work in tokens and requests, a month and a day, and how busy the machine is with it."""
    tokens = f"{count(volume.mtok_per_month)} M tokens ({count(volume.mtok_per_day)} M a day)"
    requests = f"{count(volume.requests_per_month)} requests ({count(volume.requests_per_day)} a day)"
    return f"{tokens}, {requests}; {percent(volume.utilisation)} utilisation"


def elsewhere_table(comparison: Comparison) -> Table:
    """The same work at each other place."""
    month = comparison.month
    titles = ("elsewhere", "status", *amounts(month, None), "here saves a month", "and a year")
    bought = ("paid back in",) if month.bought_usd else ()
    rows: list[Cells] = [(*titles, *bought)]
    alike = alike_of(month.elsewhere)
    shown = tuple(each[0] for each in alike)
    for each in shown:
        saved = (signed(each.saving_usd_per_month), signed(each.saving_usd_per_year))
        back = (payback(each),) if month.bought_usd else ()
        rows.append((name(each), each.status, *amounts(month, each.usd_per_month), *saved, *back))
    against = [at for at, each in enumerate(shown, 1) if each.who == comparison.break_even.against]
    return Table(
        "The same work elsewhere",
        tuple(rows),
        against[0] if against else None,
        frozenset(at for at, each in enumerate(shown, 1) if each.status in GONE),
        "\n".join((*filter(None, [as_dear(alike)]), *sources(each for some in alike for each in some))),
    )


def alike_of(elsewhere: tuple[Elsewhere, ...]) -> tuple[tuple[Elsewhere, ...], ...]:
    """Each Claude, the hosts that are known to sell the model, and the cheapest that only a catalogue has.

    Of the places that ask the same for the same model, and sell it or no more, the first is shown, the others with it.
    """
    listed = [each for each in elsewhere if each.status == "listed"]
    found: dict[tuple[str, Decimal, bool], list[Elsewhere]] = {}
    for each in elsewhere:
        if each.status != "listed" or each is listed[0]:
            is_gone = each.status in GONE
            found.setdefault((each.model or each.who, each.usd_per_month, is_gone), []).append(each)
    return tuple(map(tuple, found.values()))


def as_dear(alike: Iterable[tuple[Elsewhere, ...]]) -> str:
    """The places that ask for a model what one does that is shown; empty where there are none."""
    names: dict[str, str] = {}
    said: dict[str, dict[str, list[str]]] = {}
    for first, *others in alike:
        if first.kind == "claude" and first.status not in GONE:
            who = names.setdefault(first.model, first.who)
            said.setdefault(place(first), {}).setdefault(", ".join(map(place, others)), []).append(who)
    return " ".join(
        (f"Of {', '.join(models)} as" if len(each) > 1 else "As") + f" much as {where}: {others}."
        for where, each in said.items()
        for others, models in each.items()
        if others
    )


def place(each: Elsewhere) -> str:
    """Where a Claude is sold, and where it answers."""
    return f"{each.via} ({each.region})" if each.region else each.via


def name(each: Elsewhere) -> str:
    """Who, and where that is not said by it."""
    if each.kind == "hosted":
        return f"the same model, {each.who}"
    return each.who if each.via in each.who else f"{each.who}, {each.via}"


def amounts(month: Month, usd: Decimal | None) -> Cells:
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
    """Who says what the others ask, once each, and of which places."""
    read: dict[tuple[str, date], dict[str, None]] = {}
    for each in elsewhere:
        where = each.via if each.kind == "claude" else "the same model elsewhere"
        read.setdefault((each.source, each.checked_on), {})[where] = None
    return (f"{', '.join(who)}: read {checked_on}: {source}" for (source, checked_on), who in read.items())


def own_table(comparison: Comparison) -> Table:
    """$/M tokens at several utilisations, never at one alone: of all tokens, as Claude's stand below."""
    own = comparison.self_hosted
    rows: list[Cells] = [("utilisation", "M tokens/month", "$/M blended", "")]
    chosen = None
    for at, each in enumerate(own.at, 1):
        yours = ""
        if each.utilisation == own.utilisation:
            chosen, yours = at, "<- compared with Claude"
        blended = dollars(each.usd_per_mtok_blended)
        rows.append((percent(each.utilisation), count(each.mtok_per_month), blended, each.note or yours))
    kept = f"{dollars(own.usd_per_hour)}/h, {dollars(own.usd_per_month)} a month kept up"
    most = own.capacity_mtok_per_month * own.most_utilisation
    title = f"Here: {kept}; at most {count(most)} M tokens a month"
    return Table(title, tuple(rows), chosen)


def claude_table(comparison: Comparison) -> Table:
    """Each Claude model on the same texts."""
    sides = comparison.claude
    against = [at for at, side in enumerate(sides, 1) if side.name == comparison.break_even.against]
    names = (
        "Claude",
        "status",
        "$/M blended",
        "(range)",
        "its own tokens",
        "break-even at",
        "answer",
        "likely",
    )
    return Table(
        "Claude, per million Llama 4 tokens of the same text",
        (names, *(claude_row(side, comparison.self_hosted) for side in sides)),
        against[0] if against else None,
        frozenset(at for at, side in enumerate(sides, 1) if not side.is_to_be_had),
    )


def claude_row(side: ClaudeSide, own: SelfHosted) -> Cells:
    """One Claude model."""
    even = side.break_even
    return (
        side.name,
        side.status,
        dollars(side.usd_per_mtok_blended),
        f"{dollars(side.usd_per_mtok_low)} to {dollars(side.usd_per_mtok_high)}",
        dollars(side.usd_per_mtok_list_blended),
        f"{never(even, own)}{count(even.mtok_per_month)} M/month, {percent(even.required_utilisation)}"
        if side.answer != "cannot be asked"
        else "-",
        side.answer,
        rough(side.probability) if side.answer != "cannot be asked" else "-",
    )


def never(even: BreakEven, own: SelfHosted) -> str:
    """Before a volume that machines could serve, were their plan's peak not to be carried."""
    is_by_promise = not even.feasible and own.most_utilisation < 1
    return f"never with its peak, of at most {percent(own.most_utilisation)}: " if is_by_promise else ""


def hosted_table(comparison: Comparison) -> Table | None:
    """The same model at other hosts."""
    hosts = comparison.hosted
    if not hosts:
        return None
    names = ("host", "status", "$/M blended", "$/month", "ends", "price read", "called", "note")
    return Table(
        f"{comparison.model} as others serve it, at the same mix",
        (names, *map(hosted_row, hosts)),
        gone=frozenset(at for at, each in enumerate(hosts, 1) if each.status == "ended"),
    )


def hosted_row(each: HostedSide) -> Cells:
    """One host."""
    return (
        each.host,
        each.status,
        dollars(each.usd_per_mtok_blended),
        dollars(each.usd_per_month),
        str(each.ends_on or "-"),
        str(each.checked_on),
        str(each.called_on or "never"),
        "; ".join(filter(None, (age(each), each.note))),
    )


def age(host: HostedSide) -> str:
    """How old its price is, where that is too old."""
    return f"price {host.days_old} days old" if host.days_old > OLD_AFTER_DAYS else ""


def hybrid_table(comparison: Comparison) -> Table | None:
    """The split between the fleet and Claude."""
    if not comparison.hybrid:
        return None
    first = comparison.hybrid[0]
    title = (
        f"Hybrid: {percent(first.reaches_claude)} of {count(first.mtok_per_month)} M tokens a month at Claude, "
        "the rest here; USD a month"
    )
    names = ("Claude", "all there", "hybrid", "both cost the same at", "without a machine")
    return Table(title, (names, *map(hybrid_row, comparison.hybrid)))


def hybrid_row(each: Hybrid) -> Cells:
    """The split with one Claude."""
    return (each.claude, dollars(each.all_claude_usd), dollars(each.hybrid_usd), tie(each), rival(each))


def rival(mixed: Hybrid) -> str:
    """A cheap Claude in the fleet's place."""
    if mixed.bulk_claude_usd is None:
        return ""
    return f"{dollars(mixed.bulk_claude_usd)}, {mixed.bulk_claude} for the rest"


def tie(mixed: Hybrid) -> str:
    """The volume at which the hybrid costs what Claude alone would."""
    if mixed.tie_mtok_per_month is None:
        return "no volume"
    return f"{count(mixed.tie_mtok_per_month)} M/month" + (
        "" if mixed.feasible else ", more than it can serve"
    )


def swing_table(comparison: Comparison) -> Table:
    """How far each doubtful figure moves the answer."""
    return Table(
        f"Sensitivity, against {comparison.break_even.against}",
        (
            ("utilisation that break-even takes, if", "low", "base", "high"),
            *map(swing_row, comparison.sensitivity),
        ),
    )


def swing_row(each: Swing) -> Cells:
    """One figure at the ends of its range."""
    cells = (
        (each.low, each.required_utilisation_low),
        (each.base, each.required_utilisation_base),
        (each.high, each.required_utilisation_high),
    )
    return (each.what, *(f"{percent(needed)} ({value})" for value, needed in cells))


def grounds_table(comparison: Comparison) -> Table:
    """What was measured, what modelled, what is a list price, what the user said and what nobody did."""
    named: dict[str, list[str]] = {}
    for each in comparison.assumptions:
        named.setdefault(each.whose, []).append(each.name.replace("_", " "))
    rows = tuple((whose, ", ".join(names)) for whose, names in named.items())
    return Table("What was measured and what was not", (("whose", "figures"), *rows))


def assumption_table(comparison: Comparison) -> Table:
    """Every figure, whose it is and where it is from."""
    rows = tuple(
        (f"{each.name.replace('_', ' ')}: {each.means}", each.value, each.whose, origin(each))
        for each in comparison.assumptions
    )
    return Table("Everything it rests on", (("assumption", "value", "whose", "source"), *rows))


def origin(each: Assumption) -> str:
    """Where a figure is from, and when that was read."""
    return f"{each.source}; checked {each.checked_on}" if each.checked_on else each.source
