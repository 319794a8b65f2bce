"""PURE: a comparison as text: the verdict first, then the figures, then everything they rest on."""

from collections.abc import Iterable, Sequence

from deploy.costs.comparison import ClaudeSide, Comparison, HostedSide, Hybrid
from deploy.costs.knobs import Assumption
from deploy.costs.verdict import rough
from deploy.report.class_text import class_text
from deploy.report.month_text import month_text
from infra.columns import table, wrapped
from infra.money import count, dollars, percent
from infra.prices import OLD_AFTER_DAYS


def comparison_text(comparison: Comparison) -> str:
    """What `corral compare` prints."""
    blocks = (
        loud(comparison),
        headline(comparison),
        month_text(comparison.month),
        change(comparison),
        own_table(comparison),
        claude_table(comparison),
        hosted_table(comparison),
        class_text(comparison),
        hybrid_table(comparison),
        swing_table(comparison),
        assumption_table(comparison),
    )
    return "\n\n".join(block for block in blocks if block)


def headline(comparison: Comparison) -> str:
    """What is compared, when, and the verdict."""
    what = f"{comparison.model} {comparison.precision} on {comparison.machine}"
    return f"{what} against the Claude API, {comparison.made_on}\n" + wrapped(comparison.verdict)


def loud(comparison: Comparison) -> str:
    """The warnings; a report must not be read without them."""
    return "\n".join(wrapped(text, "! ") for text in comparison.warnings)


def change(comparison: Comparison) -> str:
    """What would turn the answer."""
    if not comparison.what_would_change_it:
        return ""
    return f"{change_title(comparison)}\n" + "\n".join(
        wrapped(text, "- ") for text in comparison.what_would_change_it
    )


def change_title(comparison: Comparison) -> str:
    """What stands above that: where the answer is a yes, it is only more of the same."""
    return "Beside that" if comparison.answer == "cheaper" else "What would change it"


def own_table(comparison: Comparison) -> str:
    """$/M tokens at several utilisations, never at one alone: of all tokens, as Claude's stand below."""
    own = comparison.self_hosted
    rows = [("utilisation", "M tokens/month", "$/M blended", "")]
    for each in own.at:
        yours = "<- compared with Claude" if each.utilisation == own.utilisation else ""
        rows.append(
            (
                percent(each.utilisation),
                count(each.mtok_per_month),
                dollars(each.usd_per_mtok_blended),
                each.note or yours,
            )
        )
    kept = f"{dollars(own.usd_per_hour)}/h, {dollars(own.usd_per_month)} a month kept up"
    return f"Here: {kept}; at most {count(own.capacity_mtok_per_month)} M tokens a month\n" + table(rows)


def claude_table(comparison: Comparison) -> str:
    """Each Claude model on the same texts."""
    rows: list[tuple[str, ...]] = [
        ("Claude", "status", "$/M blended", "(range)", "its own tokens", "break-even at", "answer", "likely")
    ]
    rows += [claude_row(side) for side in comparison.claude]
    return "Claude, per million Llama 4 tokens of the same text\n" + table(rows)


def claude_row(side: ClaudeSide) -> tuple[str, ...]:
    """One Claude model."""
    even = side.break_even
    return (
        side.name,
        side.status,
        dollars(side.usd_per_mtok_blended),
        f"{dollars(side.usd_per_mtok_low)} to {dollars(side.usd_per_mtok_high)}",
        dollars(side.usd_per_mtok_list_blended),
        f"{count(even.mtok_per_month)} M/month, {percent(even.required_utilisation)}",
        side.answer,
        rough(side.probability),
    )


def hosted_table(comparison: Comparison) -> str:
    """The same model at other hosts."""
    if not comparison.hosted:
        return ""
    rows = [("host", "status", "$/M blended", "$/month", "ends", "price read", "called", "note")]
    rows += [
        (
            each.host,
            each.status,
            dollars(each.usd_per_mtok_blended),
            dollars(each.usd_per_month),
            str(each.ends_on or "-"),
            read_on(each),
            str(each.called_on or "never"),
            each.note,
        )
        for each in comparison.hosted
    ]
    return f"{comparison.model} as others serve it, at the same mix\n" + table(rows)


def read_on(host: HostedSide) -> str:
    """When its price was read, and its age where that is too long ago."""
    old = f", {host.days_old} days old" if host.days_old > OLD_AFTER_DAYS else ""
    return f"{host.checked_on}{old}"


def hybrid_table(comparison: Comparison) -> str:
    """The split between the fleet and Claude."""
    if not comparison.hybrid:
        return ""
    first = comparison.hybrid[0]
    title = (
        f"Hybrid: {percent(first.reaches_claude)} of {count(first.mtok_per_month)} M tokens a month at Claude, "
        "the rest here; USD a month"
    )
    rows = [("Claude", "all there", "hybrid", "both cost the same at", "without a machine")]
    rows += [
        (each.claude, dollars(each.all_claude_usd), dollars(each.hybrid_usd), tie(each), rival(each))
        for each in comparison.hybrid
    ]
    return title + "\n" + table(rows)


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


def swing_table(comparison: Comparison) -> str:
    """How far each doubtful figure moves the answer."""
    rows: list[tuple[str, ...]] = [("utilisation that break-even takes, if", "low", "base", "high")]
    for each in comparison.sensitivity:
        cells = (
            (each.low, each.required_utilisation_low),
            (each.base, each.required_utilisation_base),
            (each.high, each.required_utilisation_high),
        )
        rows.append((each.what, *(f"{percent(needed)} ({value})" for value, needed in cells)))
    return f"Sensitivity, against {comparison.break_even.against}\n" + table(rows)


def assumption_table(comparison: Comparison) -> str:
    """Every figure, whose it is and where it is from."""
    return "Assumptions\n" + "\n".join(lines(comparison.assumptions))


def lines(assumptions: Iterable[Assumption]) -> Sequence[str]:
    """One paragraph an assumption."""
    return [
        wrapped(
            f"{each.name} = {each.value}: {each.means} [{each.whose}; {each.source}"
            + (f"; checked {each.checked_on}]" if each.checked_on else "]"),
            "- ",
        )
        for each in assumptions
    ]
