"""PURE: a traffic of several classes as tables: what stays, what is at Claude, and whose it is."""

from deploy.costs.class_bill import ByClass, ClassBill, Split
from deploy.costs.comparison import Comparison
from deploy.report.tables import Cells, Table, signed
from infra.money import count, percent

MONEY = ("machines", "at Claude", "together", "all at Claude", "saved")
VOLUME = ("requests", "M tokens")


def class_tables(comparison: Comparison) -> tuple[Table, ...]:
    """By class, and by team where there are some; none without classes."""
    found = comparison.by_class
    if found is None:
        return ()
    teams = (Table("The same by team", team_rows(found)),) if found.teams else ()
    title = "A month by class, USD; the machines' bill by the tokens that are answered here"
    return (Table(title, class_rows(found), marked=len(found.classes) + 1), *teams)


def class_rows(found: ByClass) -> tuple[Cells, ...]:
    """A heading, a row a class, and all together."""
    each_class = ((each.name, *volume(each), where(each), *money(each)) for each in found.classes)
    total = ("all", *volume(found.total), "", *money(found.total))
    return (("class", *VOLUME, "answered", *MONEY), *each_class, total)


def team_rows(found: ByClass) -> tuple[Cells, ...]:
    """A heading, and a row a team."""
    each_team = ((each.team or "none", *volume(each), *money(each)) for each in found.teams)
    return (("team", *VOLUME, *MONEY), *each_team)


def where(bill: ClassBill) -> str:
    """Who answers."""
    if bill.at == "claude":
        return bill.claude
    again = f", {percent(bill.escalation)} again by {bill.claude}" if bill.escalation else ""
    return f"here{again}"


def volume(bill: Split) -> Cells:
    """How much there is of it."""
    return count(bill.requests_per_month), count(bill.mtok_per_month)


def money(bill: Split) -> Cells:
    """What it costs, here and there, and what doing it here saves."""
    usd = (bill.here_usd, bill.claude_usd, bill.usd_per_month, bill.all_claude_usd, bill.saving_usd_per_month)
    return tuple(signed(each) for each in usd)
