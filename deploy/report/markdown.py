"""PURE: a report as Markdown, for a ticket or a repository: what the page says, without its plots."""

import re

from deploy.costs.comparison import Comparison
from deploy.report.sections import Section, first_page, sections, title
from deploy.report.tables import Table
from infra.printable import printable, sentence
from serving.probe.report import ProbeReport
from serving.sizing.plan import Plan

ANYWHERE = r"[\\`*|~]|(?<!\w)_|_(?!\w)|\[(?=[^\]]*\][(\[:])|<(?=[A-Za-z/!?])|&(?=#?\w+;)"
"""Signs where they mean something: no bracket that is not of a link, no `_` within a word."""
AT_THE_START = (
    r"^[-+>](?=\s|$)|^>|^#(?=#{0,5}(?:\s|$))|^[-=_](?=[-=_\s]*$)|^\d{1,9}(?=[.)](?:\s|$))|^\[(?=[ xX]\])"
)
"""What begins a list, a heading, a rule or a quotation."""
MEANS_SOMETHING = re.compile(f"{ANYWHERE}|{AT_THE_START}")
IN_A_CELL = re.compile(ANYWHERE)


def markdown(plan: Plan, probe: ProbeReport | None, comparison: Comparison) -> str:
    """The whole report."""
    head = (
        f"# {plain(title(comparison))}",
        f"corral, {comparison.made_on}. Prices are list prices, no bill.",
        f"**{plain(comparison.verdict)}**",
        *(f"> {plain(text)}" for text in comparison.warnings),
    )
    every = (*first_page(comparison), *sections(plan, probe, comparison))
    blocks = (*head, *(block for each in every for block in blocks_of(each)))
    return printable("\n\n".join(blocks)) + "\n"


def blocks_of(section: Section) -> tuple[str, ...]:
    """Heading, paragraphs, a list, tables, notes; nothing of what is only a plot."""
    if not (section.paragraphs or section.points or section.tables or section.notes):
        return ()
    points = "\n".join(f"- {plain(text)}" for text in section.points)
    return (
        f"## {plain(section.heading)}",
        *map(plain, section.paragraphs),
        *((points,) if points else ()),
        *(block for each in section.tables for block in table(each, section.heading)),
        *map(plain, section.notes),
    )


def table(one: Table, heading: str) -> tuple[str, ...]:
    """Its title, where that is not the heading, its rows, its note; the row that the answer is about is bold."""
    names, *rows = one.rows
    lines = [line(names), line(["---"] * len(names))]
    for at, row in enumerate(rows, 1):
        bold = "**" if at == one.marked else ""
        lines.append(line([f"{bold}{in_cell(cell)}{bold}" if cell else "" for cell in row]))
    note = [plain(each) for each in one.note.splitlines()]
    title = () if one.title == heading else (plain(one.title),)
    return (*title, "\n".join(lines), *note)


def line(cells: list[str] | tuple[str, ...]) -> str:
    """One row."""
    return f"| {' | '.join(cells)} |"


def plain(text: str) -> str:
    """Text that Markdown takes as it stands, on one line."""
    return MEANS_SOMETHING.sub(lambda found: escaped(found[0]), sentence(text))


def in_cell(text: str) -> str:
    """The same in a table, where nothing else begins."""
    return IN_A_CELL.sub(lambda found: escaped(found[0]), sentence(text))


def escaped(text: str) -> str:
    """A sign, or a number that would begin a list, so that it stands for itself."""
    return f"{text}\\" if text.isdigit() else f"\\{text}"
