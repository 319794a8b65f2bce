"""PURE: a comparison as text: the verdict first, then the figures, then everything they rest on."""

from collections.abc import Iterable, Sequence

from deploy.costs.comparison import Comparison
from deploy.costs.knobs import Assumption
from deploy.report import tables
from deploy.report.class_tables import class_tables
from deploy.report.decision import promise_table
from deploy.report.sections import FOUR_BITS, change_title, title
from deploy.report.tables import Table
from infra import columns
from infra.columns import wrapped

MORE = (
    "With --all: this machine at other utilisations, each host of the same model, how far each guess moves the answer, "
    "and every figure with its source."
)


def comparison_text(comparison: Comparison, is_whole: bool = True) -> str:
    """What `corral compare` prints: the answer with its warnings, or all of it."""
    own, hosted = tables.own_table(comparison), tables.hosted_table(comparison)
    blocks = (
        headline(comparison),
        loud(comparison),
        promised(comparison),
        table(tables.month_table(comparison.month)),
        table(tables.elsewhere_table(comparison)),
        change(comparison),
        four_bits(comparison),
        table(own if is_whole else None),
        table(tables.claude_table(comparison)),
        table(hosted if is_whole else None),
        *map(table, class_tables(comparison)),
        table(tables.hybrid_table(comparison)),
        *(
            (table(tables.swing_table(comparison)), assumptions(comparison))
            if is_whole
            else (wrapped(MORE, ""),)
        ),
    )
    return "\n\n".join(block for block in blocks if block)


def headline(comparison: Comparison) -> str:
    """What is compared, when, and the verdict."""
    return f"{title(comparison)}, {comparison.made_on}\n" + wrapped(comparison.verdict)


def loud(comparison: Comparison) -> str:
    """The warnings; a report must not be read without them."""
    return "\n".join(wrapped(text, "! ") for text in comparison.warnings)


def promised(comparison: Comparison) -> str:
    """What the plan promises of its traffic and its machines carry of it, a line each; its cells are long ones."""
    if comparison.carries is None:
        return ""
    found = promise_table(comparison.carries, comparison)
    said = [f"{what}: {figure}" + (f" [{whose}]" if whose else "") for what, figure, whose in found.rows[1:]]
    return "\n".join([found.title, *(wrapped(text, "- ") for text in said), wrapped(found.note)])


def change(comparison: Comparison) -> str:
    """What would turn the answer."""
    if not comparison.what_would_change_it:
        return ""
    return f"{change_title(comparison)}\n" + "\n".join(
        wrapped(text, "- ") for text in comparison.what_would_change_it
    )


def four_bits(comparison: Comparison) -> str:
    """What is known of the answers, where ours are of 4 bits."""
    found = comparison.four_bits
    if found is None:
        return ""
    return "\n".join([FOUR_BITS, wrapped(found.note), *(wrapped(f"[{source}]") for source in found.sources)])


def table(one: Table | None) -> str:
    """A table under its title, where there is one; its note below it."""
    if one is None:
        return ""
    return "\n".join(
        [
            one.title,
            columns.table(one.rows),
            *map(wrapped, one.note.splitlines()),
        ]
    )


def assumptions(comparison: Comparison) -> str:
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
