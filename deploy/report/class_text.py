"""PURE: a traffic of several classes as tables: what stays, what is at Claude, and whose it is."""

from collections.abc import Sequence

from deploy.costs.class_bill import ByClass, ClassBill, Split
from deploy.costs.comparison import Comparison
from deploy.report.month_text import signed
from infra.columns import table
from infra.money import count, percent

Rows = list[tuple[str, ...]]
TITLE = "A month by class, USD; the machines' bill by the tokens that are answered here"
MONEY = ("machines", "at Claude", "together", "all at Claude", "saved")
VOLUME = ("requests", "M tokens")


def class_text(comparison: Comparison) -> str:
    """By class, and by team where there are some; empty without classes."""
    found = comparison.by_class
    if found is None:
        return ""
    blocks = [f"{TITLE}\n{table(class_rows(found))}"]
    if found.teams:
        blocks.append(f"The same by team\n{table(team_rows(found))}")
    return "\n\n".join(blocks)


def class_rows(found: ByClass) -> Rows:
    """A heading, a row a class, and all together."""
    rows: Rows = [("class", *VOLUME, "answered", *MONEY)]
    rows += [(each.name, *volume(each), where(each), *money(each)) for each in found.classes]
    return [*rows, ("all", *volume(found.total), "", *money(found.total))]


def team_rows(found: ByClass) -> Rows:
    """A heading, and a row a team."""
    rows: Rows = [("team", *VOLUME, *MONEY)]
    return rows + [(each.team or "none", *volume(each), *money(each)) for each in found.teams]


def where(bill: ClassBill) -> str:
    """Who answers."""
    if bill.at == "claude":
        return bill.claude
    again = f", {percent(bill.escalation)} again by {bill.claude}" if bill.escalation else ""
    return f"here{again}"


def volume(bill: Split) -> Sequence[str]:
    """How much there is of it."""
    return count(bill.requests_per_month), count(bill.mtok_per_month)


def money(bill: Split) -> Sequence[str]:
    """What it costs, here and there, and what doing it here saves."""
    usd = (bill.here_usd, bill.claude_usd, bill.usd_per_month, bill.all_claude_usd, bill.saving_usd_per_month)
    return tuple(signed(each) for each in usd)
