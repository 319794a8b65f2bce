"""A plan as a picture: memory of one GPU, and throughput against concurrency."""

from pathlib import Path
from typing import TYPE_CHECKING

from infra.errors import HostError, UsageError
from infra.figure import figure, require
from infra.output import refuse_unlike
from serving.sizing.plan import Plan
from serving.sizing.plan_text import NAMES, budgeted

if TYPE_CHECKING:
    from infra.figure import Axes, Figure

FORMATS = {".png": (b"\x89PNG",), ".svg": (b"<?xml", b"<svg")}
"""Ending of a name -> how such a file begins."""
COLOURS = ("#33658a", "#86bbd8", "#758e4f", "#f6ae2d", "#f26419", "#9c6644")
KV_COLOUR = "#d9d9d9"


def check(path: Path) -> None:
    """That a picture can be drawn there, asked before there is a plan: else it would be made for no answer.

    Raises UsageError for another kind of file than PNG and SVG, and where one of another lies there; HostError where
    matplotlib is not installed.
    """
    if path.suffix.lower() not in FORMATS:
        raise UsageError(f"{path} is neither a .png nor a .svg file.", "Name one: --plot scout.svg")
    refuse_unlike(path, FORMATS[path.suffix.lower()], "picture of that kind")
    require()


def draw(plan: Plan, path: Path) -> None:
    """Draw the plan into a file of the kind its name ends in. Raises HostError for one that cannot be written."""
    try:
        with figure(11, 4.2) as empty:
            drawn(plan, empty).savefig(path, dpi=150)
    except OSError as error:
        raise HostError(
            f"{path} cannot be written: {error.strerror or error}.", "Check that folder."
        ) from None


def drawn(plan: Plan, made: "Figure") -> "Figure":
    """Both pictures side by side; only the first where no speed is predicted."""
    made.suptitle(
        f"{plan.model} {plan.precision} on {plan.machine.name}, vLLM {plan.vllm_version}: {plan.verdict}"
    )
    left, right = made.subplots(1, 2, width_ratios=(1, 2))
    memory_bar(left, plan)
    if plan.curve:
        throughput_curve(right, plan)
    else:
        right.set_axis_off()
    return made


def memory_bar(axes: "Axes", plan: Plan) -> None:
    """One GPU's memory from the bottom up, with the budget and the card's end as lines."""
    inside, after = (
        [(NAMES[term.name], term.gib) for term in terms if term.name in NAMES] for terms in budgeted(plan)
    )
    kv, error = plan.memory.kv_cache_gib, plan.memory.kv_cache_less_gib
    cache = [(f"KV cache {kv:.2f} (+-{error:.1f})", kv, KV_COLOUR)] if kv else []
    coloured = [
        (f"{name} {gib:.2f}", gib, colour)
        for (name, gib), colour in zip([*inside, *after], COLOURS, strict=False)
    ]
    bottom = 0.0
    for label, gib, colour in [*coloured[: len(inside)], *cache, *coloured[len(inside) :]]:
        axes.bar(0, gib, bottom=bottom, color=colour, label=label)
        bottom += gib
    axes.axhline(plan.memory.usable_gib, color="black", linestyle="--", linewidth=1)
    axes.axhline(plan.memory.total_gib, color="black", linewidth=1)
    axes.set_xlim(-0.6, 0.6)
    axes.set_xticks([])
    axes.set_ylabel("GiB per GPU (dashed: budget)")
    axes.legend(fontsize="x-small", loc="upper center", bbox_to_anchor=(0.5, -0.02), frameon=False)


def throughput_curve(axes: "Axes", plan: Plan) -> None:
    """Output tokens a second against concurrency, with its band, the plan's own point and the saturation."""
    assert plan.throughput is not None
    at = [point.concurrency for point in plan.curve]
    rate = [point.output_tokens_per_s for point in plan.curve]
    band = plan.throughput.band
    axes.plot(at, rate, color=COLOURS[0], marker=".", label="output tokens/s")
    axes.fill_between(at, [r / band for r in rate], [r * band for r in rate], color=COLOURS[1], alpha=0.4)
    here = plan.throughput
    axes.plot(
        here.concurrency,
        here.output_tokens_per_s,
        "o",
        color=COLOURS[4],
        label=f"{here.concurrency} requests",
    )
    if plan.saturation_concurrency:
        axes.axvline(plan.saturation_concurrency, color="grey", linestyle=":", label="saturation")
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:.0f}")
    axes.set_xlabel(
        f"requests at once ({plan.workload.input_tokens:,} in, {plan.workload.output_tokens:,} out)"
    )
    axes.set_ylabel(f"tokens/s (band: factor {band:g})")
    axes.legend(fontsize="small")
    axes.set_title(here.basis, fontsize="x-small")
