"""A comparison as one HTML file: nothing is fetched, readable on a phone and on paper, in light and in dark."""

from functools import cache

import jinja2
from markupsafe import Markup

from deploy.costs.comparison import Comparison
from deploy.costs.knobs import PLACEHOLDER
from deploy.costs.verdict import rough
from deploy.report import plots
from deploy.report.comparison_text import change_title, tie
from infra.data import shipped_text
from infra.money import count, dollars, percent
from serving.probe.report import ProbeReport
from serving.sizing.plan import Plan


def render(plan: Plan, probe: ProbeReport | None, comparison: Comparison) -> str:
    """The whole page."""
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            plan=plan,
            probe=probe,
            comparison=comparison,
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
    made.filters.update(
        dollars=dollars, percent=percent, count=count, tie=tie, change_title=change_title, rough=rough
    )
    return made


def resource(name: str) -> str:
    """A file beside this one."""
    return shipped_text("deploy.report", name)
