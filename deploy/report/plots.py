"""PURE: the plots of a comparison, as SVG: money against volume and utilisation, memory, latency."""

from collections.abc import Callable
from itertools import cycle, product
from textwrap import wrap
from typing import TYPE_CHECKING

from markupsafe import Markup

from deploy.costs.comparison import ClaudeSide, Comparison, Swing
from infra.figure import HERE, INK, LEGEND, THERE, svg
from infra.money import count, percent
from serving.probe.report import ProbeReport, Summary
from serving.sizing.plan import Plan

if TYPE_CHECKING:
    from infra.figure import Axes

POINTS = 60
LINES = tuple(product(("-", "-."), THERE))
"""What tells the Claude models apart, ten of them: where the colours end the lines are dotted too."""
BUSY = 100.0


def every(plan: Plan, probe: ProbeReport | None, comparison: Comparison) -> dict[str, Markup]:
    """Each plot there is data for, by name."""
    made = {
        "volume": svg("volume", f"Dollars a month against volume. {comparison.verdict}", volume(comparison)),
        "utilisation": svg(
            "utilisation", "Dollars per million tokens against utilisation.", utilisation(comparison)
        ),
    }
    if moving(comparison):
        says = "The utilisation that break-even takes, at the ends of each doubtful figure's range."
        rows = len(moving(comparison))
        made["sensitivity"] = svg("sensitivity", says, sensitivity(comparison), height=0.8 + 0.45 * rows)
    if plan.memory.total_gib > 0:
        made["memory"] = svg("memory", f"Memory of {owner(plan)} by use, in GiB.", memory(plan), height=2.2)
    if plan.curve and plan.throughput is not None:
        says = "Predicted output tokens a second against requests at once."
        made["throughput"] = svg("throughput", says, throughput(plan), height=2.8)
    if probe is not None and latencies(probe):
        made["latency"] = svg("latency", "Latencies, p50 to p99, in seconds.", latency(probe), height=2.4)
    return made


def volume(comparison: Comparison) -> Callable[["Axes"], None]:
    """Dollars a month against millions of tokens a month, both logarithmic; the machine's line ends at its capacity."""

    def draw(axes: "Axes") -> None:
        own = comparison.self_hosted
        capacity = float(own.capacity_mtok_per_month * own.most_utilisation)
        month = float(own.usd_per_month)
        volumes = spaced(capacity / 1000, capacity * 2)
        for side, (style, colour) in zip(comparison.claude, cycle(LINES), strict=False):
            usd = float(side.spared(side.usd_per_mtok_blended))
            axes.plot(
                volumes,
                [usd * each for each in volumes],
                color=colour,
                linestyle=style,
                label=spared_there(side),
            )
            low, high = float(side.spared(side.usd_per_mtok_low)), float(side.spared(side.usd_per_mtok_high))
            axes.fill_between(
                volumes,
                [low * each for each in volumes],
                [high * each for each in volumes],
                color=colour,
                alpha=0.15,
                linewidth=0,
            )
            if side.break_even.feasible:
                axes.plot([float(side.break_even.mtok_per_month)], [month], "o", color=colour)
        axes.plot(
            [volumes[0], capacity],
            [month, month],
            color=HERE,
            linewidth=2.5,
            label="here, until it can serve no more",
        )
        axes.plot([capacity], [month], "|", color=HERE, markersize=16, markeredgewidth=2.5)
        axes.axvline(float(own.mtok_per_month), color=INK, linestyle="--", label=yours(comparison))
        axes.set(xscale="log", yscale="log", xlabel="million tokens a month", ylabel="USD a month")
        axes.xaxis.set_major_formatter("{x:,.10g}")
        axes.yaxis.set_major_formatter("${x:,.10g}")
        axes.legend(**LEGEND)

    return draw


def utilisation(comparison: Comparison) -> Callable[["Axes"], None]:
    """Dollars per million tokens against how busy the machine is; Claude's price does not care."""

    def draw(axes: "Axes") -> None:
        own = comparison.self_hosted
        full = float(own.usd_per_month / own.capacity_mtok_per_month)
        shares = spaced(0.02, 1)
        axes.plot(
            [100 * each for each in shares], [full / each for each in shares], color=HERE, linewidth=2.5
        )
        axes.plot(
            [100 * float(each.utilisation) for each in own.at],
            [float(each.usd_per_mtok_blended) for each in own.at],
            "o",
            color=HERE,
            label="here, by utilisation",
        )
        for side, (style, colour) in zip(comparison.claude, cycle(LINES), strict=False):
            usd = float(side.spared(side.usd_per_mtok_blended))
            axes.axhline(usd, color=colour, linestyle=style, label=spared_there(side))
            axes.axhspan(
                float(side.spared(side.usd_per_mtok_low)),
                float(side.spared(side.usd_per_mtok_high)),
                color=colour,
                alpha=0.15,
                linewidth=0,
            )
        axes.axvline(100 * float(own.utilisation), color=INK, linestyle="--", label=yours(comparison))
        axes.set(yscale="log", xlim=(0, 103), xlabel="utilisation, %", ylabel="USD per million tokens")
        axes.yaxis.set_major_formatter("${x:,.10g}")
        axes.legend(**LEGEND)

    return draw


def spared_there(side: ClaudeSide) -> str:
    """What a line of Claude's is: all that it asks, but for what is asked again there anyway."""
    return f"{side.name}, less what is asked again" if side.usd_per_mtok_asked_again else side.name


def yours(comparison: Comparison) -> str:
    """What the reader's volume is marked with."""
    own = comparison.self_hosted
    return f"compared at {count(own.mtok_per_month)} M ({percent(own.utilisation)})"


def sensitivity(comparison: Comparison) -> Callable[["Axes"], None]:
    """A bar from end to end of each figure's range, the widest on top; the dot is what it was taken at."""
    swings = sorted(moving(comparison), key=lambda swing: max(ends(swing)) - min(ends(swing)))

    def draw(axes: "Axes") -> None:
        for place, swing in enumerate(swings):
            low, high = ends(swing)
            axes.plot([low, high], [place, place], color=HERE, linewidth=7, alpha=0.4, solid_capstyle="butt")
            for at, value in ((low, swing.low), (high, swing.high)):
                side, align = (-4, "right") if at == min(low, high) else (4, "left")
                axes.annotate(
                    value,
                    (at, place),
                    (side, 0),
                    textcoords="offset points",
                    ha=align,
                    va="center",
                    fontsize=8.5,
                )
            axes.plot([100 * float(swing.required_utilisation_base)], [place], "o", color=HERE)
        if any(min(ends(swing)) <= BUSY <= max(ends(swing)) for swing in swings):
            axes.axvline(BUSY, color=INK, linestyle=":", label="fully busy")
        used = 100 * float(comparison.self_hosted.utilisation)
        axes.axvline(used, color=INK, linestyle="--", label=yours(comparison))
        names = ["\n".join(wrap(swing.what, 22)) for swing in swings]
        axes.set(
            yticks=range(len(swings)),
            yticklabels=names,
            ylim=(-0.6, len(swings) - 0.4),
            xlabel="utilisation that break-even takes, %",
        )
        axes.margins(x=0.15)
        axes.legend(**LEGEND)

    return draw


def moving(comparison: Comparison) -> list[Swing]:
    """The figures whose range moves the answer at all."""
    return [swing for swing in comparison.sensitivity if len(set(ends(swing))) > 1]


def ends(swing: Swing) -> tuple[float, float]:
    """The utilisation in percent that break-even takes at the low and the high end of a figure."""
    return 100 * float(swing.required_utilisation_low), 100 * float(swing.required_utilisation_high)


def owner(plan: Plan) -> str:
    """Whose memory the plan counts."""
    return "one GPU" if plan.machine.gpu_count else "the machine"


def memory(plan: Plan) -> Callable[["Axes"], None]:
    """One bar: what each use takes, and where the budget ends."""
    of = plan.memory
    parts = (
        ("weights", of.weights_gib),
        ("KV cache", of.kv_cache_gib),
        ("activations", of.activation_gib),
        ("CUDA, NCCL", of.non_torch_gib),
        ("CUDA graphs", of.cuda_graphs_gib),
        ("rotary and block tables", of.rope_table_gib + of.block_tables_gib),
    )

    def draw(axes: "Axes") -> None:
        left = 0.0
        for (name, gib), colour in zip(parts, (HERE, *THERE), strict=True):
            if gib > 0:
                axes.barh([0], [gib], left=left, color=colour, label=f"{name} {gib:.1f}")
                left += gib
        for gib, style in ((of.usable_gib, "--"), (of.total_gib, "-")):
            axes.axvline(gib, color=INK, linestyle=style)
        axes.set(yticks=[], xlabel=f"GiB of {owner(plan)}; dashed: the budget; solid: all there is")
        axes.legend(**LEGEND)

    return draw


def throughput(plan: Plan) -> Callable[["Axes"], None]:
    """The prediction against concurrency with its band, and where it saturates."""

    def draw(axes: "Axes") -> None:
        band = plan.throughput.band if plan.throughput else 1.0
        at = [point.concurrency for point in plan.curve]
        rate = [point.output_tokens_per_s for point in plan.curve]
        axes.plot(at, rate, color=HERE, linewidth=2, label="predicted")
        low, high = [each / band for each in rate], [each * band for each in rate]
        axes.fill_between(at, low, high, color=HERE, alpha=0.15, linewidth=0)
        if plan.saturation_concurrency:
            axes.axvline(plan.saturation_concurrency, color=INK, linestyle=":", label="saturation")
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:.0f}")
        axes.set(xlabel="requests at once", ylabel="output tokens/s")
        axes.legend(**LEGEND)

    return draw


def latencies(probe: ProbeReport) -> list[tuple[str, Summary]]:
    """What the probe measured of time, the longest last."""
    named = (("ITL", probe.itl_s), ("TPOT", probe.tpot_s), ("TTFT", probe.ttft_s), ("E2E", probe.e2e_s))
    return [(name, summary) for name, summary in named if summary is not None and summary.p50 > 0]


def latency(probe: ProbeReport) -> Callable[["Axes"], None]:
    """From p50 to p99 of each latency, p90 and p95 between."""

    def draw(axes: "Axes") -> None:
        rows = latencies(probe)
        for place, (_, summary) in enumerate(rows):
            axes.plot([summary.p50, summary.p99], [place, place], color=HERE, linewidth=2)
            axes.plot([summary.p90, summary.p95], [place, place], "|", color=HERE, markersize=12)
            axes.plot([summary.p50], [place], "o", color=HERE)
            axes.plot([summary.p99], [place], ">", color=HERE)
        axes.set(
            xscale="log",
            yticks=range(len(rows)),
            yticklabels=[name for name, _ in rows],
            ylim=(-0.6, len(rows) - 0.4),
            xlabel="seconds; dot: p50, ticks: p90 and p95, arrow: p99",
        )
        axes.xaxis.set_major_formatter("{x:g}")

    return draw


def spaced(low: float, high: float) -> list[float]:
    """Points at equal ratios, both ends included."""
    return [low * (high / low) ** (step / (POINTS - 1)) for step in range(POINTS)]
