"""The one door to matplotlib: a figure drawn with the page's own colours and fonts, as an SVG to put into the page."""

import math
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

from infra.argument import pasted
from infra.errors import HostError
from infra.home import home, is_private, make_folder

if TYPE_CHECKING:
    from matplotlib.axes import Axes as Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure as Figure
    from matplotlib.typing import RcKeyType

# Drawn in colours nobody else uses, then replaced: so a plot follows the page from light to dark.
INK, FAINT, HERE = "#010203", "#040506", "#070809"
THERE = ("#0a0b0c", "#0d0e0f", "#101112", "#131415", "#161718")
VARIABLES = {INK: "var(--ink)", FAINT: "var(--faint)", HERE: "var(--here)"} | {
    colour: f"var(--there-{number})" for number, colour in enumerate(THERE)
}
# A phone shows it at its own size, a desk at one and a half times that; the text must suit both.
WIDTH_IN = 5.4
MOST_LABELS = 14
"""On an axis of that width."""
LEGEND: "dict[str, Any]" = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0), "ncols": 2}
LONGEST_NAME = 25
"""Letters of a name in a legend, of which two stand side by side."""
USUAL_ROWS, ROW_IN = 4, 0.17
"""Rows of a legend that a figure has room for, and what each further one takes."""
Settings = dict["RcKeyType", Any]
SETTINGS: Settings = {
    "svg.fonttype": "none",
    "svg.hashsalt": "corral",
    "font.size": 10,
    "font.family": "sans-serif",
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": f"cycler(color={[HERE, *THERE]})",
    "grid.color": FAINT,
    "grid.alpha": 0.35,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
}


def svg(name: str, says: str, draw: Callable[["Axes"], None], height: float = 3.5) -> Markup:
    """Draw one plot. `says` is what it shows, for those who cannot see it; `name` keeps its ids apart from others'.

    Without matplotlib, which is an extra, a page says so in its place.
    """
    if way := way_to_it():
        return Markup('<p class="note">{} It is not drawn: matplotlib is not installed ({}).</p>').format(
            says, way
        )
    with figure(WIDTH_IN, height, SETTINGS) as made:
        axes = made.add_subplot()
        draw(axes)
        fit_legend(axes, made)
        file = StringIO()
        made.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return Markup(for_page(file.getvalue(), name, says))


@contextmanager
def figure(width_in: float, height_in: float, settings: "Settings | None" = None) -> Iterator["Figure"]:
    """An empty figure, to draw and save while the settings hold. Raises HostError where matplotlib is not installed."""
    require()
    with matplotlib_at_home():
        from matplotlib import rc_context
        from matplotlib.figure import Figure

        with rc_context(settings):
            yield Figure(figsize=(width_in, height_in), layout="constrained")


def fit_legend(axes: "Axes", figure: "Figure") -> None:
    """Break names that are longer than half of the width, and make the figure as much higher as they then take."""
    legend = axes.get_legend()
    if legend is None:
        return
    lines = []
    for text in legend.get_texts():
        broken = wrap(text.get_text(), LONGEST_NAME)
        text.set_text("\n".join(broken))
        lines.append(len(broken))
    first = math.ceil(len(lines) / LEGEND["ncols"])
    further = max(sum(lines[:first]), sum(lines[first:])) - USUAL_ROWS
    figure.set_figheight(figure.get_figheight() + ROW_IN * max(0, further))


def require() -> None:
    """Raise HostError where matplotlib is not installed."""
    if way := way_to_it():
        raise HostError("Plots are drawn by matplotlib, which is not installed.", f"Install it: {way}")


def way_to_it() -> str:
    """The command that installs matplotlib where corral is; empty where it is there."""
    if find_spec("matplotlib"):
        return ""
    python = pasted(sys.executable)
    return f"{python} -m uv pip install --python {python} matplotlib"


def ticks_at(axis: "Axis", values: list[float], label: Callable[[float], str]) -> None:
    """A mark at each of those positive values of a logarithmic axis, with its label where there is room for it."""
    from matplotlib.ticker import NullLocator

    known = sorted(set(values))
    room = math.log(known[-1] / known[0]) / MOST_LABELS
    labels, last = [], -math.inf
    for value in known:
        fits = math.log(value) - last >= room
        labels.append(label(value) if fits else "")
        last = math.log(value) if fits else last
    axis.set_minor_locator(NullLocator())
    axis.set_ticks(known, labels)


def plain_numbers(axis: "Axis") -> None:
    """Numbers on a logarithmic axis as a person writes them: 1, 20, 500."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(lambda value, _: f"{value:,g}")
    axis.set_minor_formatter(NullFormatter())


@contextmanager
def matplotlib_at_home() -> Iterator[None]:
    """Matplotlib keeps a list of fonts; without this it would keep it outside of $CORRAL_HOME."""
    if "MPLCONFIGDIR" in os.environ:
        yield
        return
    os.environ["MPLCONFIGDIR"] = cache_folder()
    try:
        yield
    finally:
        del os.environ["MPLCONFIGDIR"]


def cache_folder() -> str:
    """$CORRAL_HOME/cache/matplotlib, or a temporary folder of this user's where that cannot be made.

    Where there is none either, matplotlib finds one itself.
    """
    folder = home() / "cache" / "matplotlib"
    with suppress(OSError):
        make_folder(folder)
        return str(folder)
    folder = Path(tempfile.gettempdir()) / f"corral-matplotlib-{os.getuid()}"
    with suppress(OSError):
        if is_private(folder):
            return str(folder)
    return os.devnull


def for_page(text: str, name: str, says: str) -> str:
    """Matplotlib's file as a part of a page: no prologue, no fixed size, ids of its own, the page's colours."""
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(id="|url\(#|href="#)', rf"\1{name}-", text)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, variable)
    return text.replace("<svg", f'<svg role="img" aria-label="{escape(says)}"', 1)
