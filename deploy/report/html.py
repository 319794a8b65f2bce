"""A comparison as one HTML file: nothing is fetched, readable on a phone and on paper, in light and in dark."""

import re
from functools import cache

import jinja2
from markupsafe import Markup

from deploy.costs.comparison import Comparison
from deploy.costs.knobs import PLACEHOLDER
from deploy.report import plots
from deploy.report.links import linked
from deploy.report.sections import first_page, sections, title
from deploy.report.tables import Table
from infra.data import shipped_text
from infra.money import dollars, percent
from serving.probe.report import ProbeReport
from serving.sizing.plan import Plan


def render(plan: Plan, probe: ProbeReport | None, comparison: Comparison) -> str:
    """The whole page."""
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            title=title(comparison),
            comparison=comparison,
            currency=comparison.month.currency,
            against=[side for side in comparison.claude if side.name == comparison.break_even.against],
            first_page=first_page(comparison),
            sections=sections(plan, probe, comparison),
            style=Markup(resource("report.css")),
            plots=plots.every(plan, probe, comparison),
            placeholder=PLACEHOLDER,
        )
    )


@cache
def environment() -> jinja2.Environment:
    """Jinja with the names of this package; a missing value is an error, and all text is escaped."""
    made = jinja2.Environment(
        loader=jinja2.FunctionLoader(resource),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(dollars=dollars, percent=percent, linked=linked, side=side)
    return made


def resource(name: str) -> str:
    """A file beside this one."""
    return shipped_text("deploy.report", name)


FIGURE = re.compile(r"(?:-?\$?-?[\d,.]+%?(?: \S+)?(?: \(\S+\))?|\d{4}-\d\d-\d\d|-|never|no volume|)")
"""What stands in a column of figures."""


def side(table: Table, column: int) -> Markup:
    """The class of a column's cells: figures stand to the right, so that their places line up."""
    cells = [row[column] for row in table.rows[1:]]
    return Markup(' class="number"') if any(cells) and all(map(FIGURE.fullmatch, cells)) else Markup()
