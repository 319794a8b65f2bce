"""What the plots show: every line, mark, colour and word they are drawn with, held against what is kept."""

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import refusals
from test_compare import HAIKU, PLAN, PROBE, SONNET, compared

from deploy.cli.main import run
from deploy.report import plots
from infra import figure
from infra.errors import HostError
from serving.sizing import plan_plot
from serving.sizing.plan import Plan
from serving.sizing.size import answer_for
from serving.sizing.size_options import Options


class Drawn:
    """Stands for matplotlib's axes: notes what it is asked for, a line a call."""

    def __init__(self, lines: list[str], name: str = "") -> None:
        self._lines, self._name = lines, name

    def __getattr__(self, name: str) -> Any:
        if name in ("xaxis", "yaxis"):
            return Drawn(self._lines, f"{name}.")

        def call(*values: object, **named: object) -> None:
            words = [shown(value) for value in values]
            words += [f"{key}={shown(value)}" for key, value in named.items()]
            self._lines.append(f"{self._name}{name} {' '.join(words)}")

        return call


def shown(value: Any) -> str:
    """A value in few words: of many numbers the ends, how many there are, and what they come to."""
    if isinstance(value, float):
        return f"{value:.5g}"
    if isinstance(value, str | int | dict) or value is None or not isinstance(value, Iterable):
        return repr(value)
    each = [shown(one) for one in value]
    if len(each) <= 8:
        return f"[{', '.join(each)}]"
    return f"[{each[0]} .. {each[-1]}; {len(each)} come to {sum(map(float, value)):.5g}]"


def a_plan(model: str, precision: str, machine: str) -> Plan:
    return answer_for(model, precision, machine, Options())


BOTH = compared(claude_models=(SONNET, HAIKU))
PLOTS: dict[str, Callable[[Any], None]] = {
    "volume": plots.volume(BOTH),
    "utilisation": plots.utilisation(BOTH),
    "memory": plots.memory(PLAN),
    "memory of Scout": plots.memory(a_plan("scout", "bf16", "8xH100")),
    "throughput": plots.throughput(a_plan("scout", "int4", "g5.12xlarge")),
    "latency": plots.latency(PROBE),
    "memory bar": lambda axes: plan_plot.memory_bar(axes, a_plan("scout", "int4", "g5.12xlarge")),
    "sensitivity": plots.sensitivity(BOTH),
    "utilisation, a part asked again": plots.utilisation(
        compared(classes=("a=100%,750/250,escalation=40%",))
    ),
    "throughput curve": lambda axes: plan_plot.throughput_curve(axes, a_plan("maverick", "fp8", "8xH200")),
}


@pytest.mark.parametrize("name", PLOTS)
def test_a_plot_shows_what_is_kept(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    lines: list[str] = []
    PLOTS[name](Drawn(lines))
    refusals.hold("\n".join(lines), request, tmp_path)


LONG = compared(
    claude_models=(
        "vertex/us-east5/claude-haiku-4-5",
        "eu.anthropic.claude-opus-5-5",
        "azure/us/claude-sonnet-4-6",
        "us-gov.anthropic.claude-opus-5",
        "claude-haiku-5-5",
        SONNET,
    ),
    classes=("a=100%,750/250,escalation=40%",),
)


@pytest.mark.parametrize("draw", [plots.volume(LONG), plots.utilisation(LONG)])
def test_long_names_stay_within_the_figure_and_leave_room_for_the_plot(
    draw: Callable[[Any], None],
) -> None:
    with figure.figure(figure.WIDTH_IN, 3.5, figure.SETTINGS) as made:
        axes = made.add_subplot()
        draw(axes)
        figure.fit_legend(axes, made)
        made.draw_without_rendering()
        legend = axes.get_legend()
        assert legend is not None
        names, inside = legend.get_window_extent(), axes.get_window_extent()
        longest = max(len(line) for text in legend.get_texts() for line in text.get_text().split("\n"))
    assert longest <= 25
    assert "asked again" in plots.every(PLAN, PROBE, LONG)["volume"]
    assert "5.5, less what is" not in plots.every(PLAN, PROBE, LONG)["volume"]  # svg breaks them too
    assert (names.x0 >= 0, names.x1 <= made.bbox.width, names.y1 <= made.bbox.height) == (True, True, True)
    assert (inside.width > 0.7 * made.bbox.width, inside.height > 0.5 * 72 * 3.5) == (True, True)


def test_only_what_there_is_data_for_is_drawn() -> None:
    both, bare = (
        ["volume", "utilisation", "sensitivity"],
        PLAN.model_copy(update={"curve": (), "throughput": None}),
    )
    assert list(plots.every(PLAN, PROBE, BOTH)) == [*both, "memory", "throughput", "latency"]
    assert list(plots.every(PLAN, None, BOTH)) == [*both, "memory", "throughput"]
    assert list(plots.every(bare, PROBE, BOTH)) == [*both, "memory", "latency"]


def test_points_are_at_equal_ratios_with_both_ends() -> None:
    found = plots.spaced(2.0, 32.0)
    ratios = {round(after / before, 9) for before, after in zip(found, found[1:], strict=False)}
    assert (len(found), found[0], round(found[-1], 9), len(ratios)) == (60, 2.0, 32.0, 1)


def test_without_matplotlib_a_page_says_so_and_a_plot_is_refused_with_the_way_to_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    way = f"{sys.executable} -m uv pip install --python {sys.executable} matplotlib"
    assert figure.svg("x", "Dollars & tokens.", lambda axes: None) == (
        f'<p class="note">Dollars &amp; tokens. It is not drawn: matplotlib is not installed ({way}).</p>'
    )
    plan = a_plan("scout", "int4", "g5.12xlarge")
    with pytest.raises(HostError) as caught:
        plan_plot.draw(plan, tmp_path / "plan.png")
    assert (caught.value.hint, list(tmp_path.iterdir())) == (f"Install it: {way}", [])


@pytest.mark.parametrize(
    "words",
    [
        ["size", "scout", "--on", "g5.12xlarge", "--precision", "int4"],
        ["capacity", "scout", "--on", "g5.12xlarge", "--requests-per-s", "1"],
    ],
    ids=lambda words: words[0],
)
def test_a_plot_that_cannot_be_is_refused_before_a_plan_is_made_or_written(
    words: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = tmp_path / "plan.json"
    assert run([*words, "-o", str(plan), "--plot", "p.pdf"]) == 2
    assert capsys.readouterr() == (
        "", "error: p.pdf is neither a .png nor a .svg file.\nhint: Name one: --plot scout.svg\n"
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert run([*words, "-o", str(plan), "--plot", str(tmp_path / "p.svg")]) == 11
    way = f"{sys.executable} -m uv pip install --python {sys.executable} matplotlib"
    assert capsys.readouterr() == (
        "", f"error: Plots are drawn by matplotlib, which is not installed.\nhint: Install it: {way}\n"
    )  # fmt: skip
    assert not plan.exists()


def test_each_plot_has_its_words_and_room_for_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[str, str, float | None]] = []

    def svg(name: str, says: str, draw: object, height: float | None = None) -> str:
        made.append((name, says, height))
        return ""

    monkeypatch.setattr(plots, "svg", svg)
    monkeypatch.setattr(plots, "moving", lambda _: ["a", "b", "c"])
    monkeypatch.setattr(plots, "sensitivity", lambda _: None)
    plots.every(PLAN, PROBE, BOTH)
    assert made == [
        ("volume", f"Dollars a month against volume. {BOTH.verdict}", None),
        ("utilisation", "Dollars per million tokens against utilisation.", None),
        (
            "sensitivity",
            "The utilisation that break-even takes, at the ends of each doubtful figure's range.",
            pytest.approx(0.8 + 0.45 * 3),
        ),
        ("memory", f"Memory of {plots.owner(PLAN)} by use, in GiB.", 2.2),
        ("throughput", "Predicted output tokens a second against requests at once.", 2.8),
        ("latency", "Latencies, p50 to p99, in seconds.", 2.4),
    ]
