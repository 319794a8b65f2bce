"""Draw each figure of the documentation into docs/figures, its data in it; with --check say which are out of date.

A figure is out of date when the model says now what it does not show: its data stands in its <metadata>, and
how a version of matplotlib draws does not count.
"""

import json
import re
import sys
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.figure import Settings, figure, plain_numbers
from scripts.doc_figures.data import FIGURES, Shown

if TYPE_CHECKING:
    from infra.figure import Axes

FOLDER = Path("docs/figures")
KEPT = re.compile(r"<metadata>(.*?)</metadata>", re.DOTALL)
SETTINGS: Settings = {
    "svg.fonttype": "none",
    "svg.hashsalt": "corral",
    "font.size": 10,
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 9,
}
BLUE, SKY, GREEN, AMBER, ORANGE, GREY = "#33658a", "#86bbd8", "#758e4f", "#f6ae2d", "#d1495b", "#d9d9d9"
ABOVE: dict[str, Any] = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0)}


def main(arguments: list[str]) -> int:
    """Draw all; with --check return 1 where one is missing or shows something else than the model says."""
    if "--check" in arguments:
        stale = [name for name in FIGURES if kept(name) != FIGURES[name]()]
        print("\n".join(f"{FOLDER / name}.svg is out of date: scripts/doc-figures" for name in stale))
        return int(bool(stale))
    FOLDER.mkdir(exist_ok=True)
    for name in FIGURES:
        (FOLDER / f"{name}.svg").write_text(drawn(name, FIGURES[name]()), encoding="utf-8")
    return 0


def kept(name: str) -> Shown | None:
    """What the figure of that name shows; None where there is none."""
    path = FOLDER / f"{name}.svg"
    found = KEPT.search(path.read_text(encoding="utf-8")) if path.exists() else None
    return json.loads(found[1].replace("&lt;", "<").replace("&amp;", "&")) if found else None


def drawn(name: str, shown: Shown) -> str:
    """The SVG, on white: a page may be dark."""
    with figure(5.8, 3.9, SETTINGS) as made:
        DRAWN[name](made.add_subplot(), shown)
        file = StringIO()
        made.savefig(file, format="svg", facecolor="white", metadata={"Date": None, "Creator": None})
    text = re.sub(r"<metadata>.*?</metadata>", "", file.getvalue(), flags=re.DOTALL)
    data = json.dumps(shown, ensure_ascii=False).replace("&", "&amp;").replace("<", "&lt;")
    text = re.sub(r"(<svg[^>]*>)", lambda start: f"{start[1]}\n <metadata>{data}</metadata>", text, count=1)
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


def memory(axes: "Axes", shown: Shown) -> None:
    """A bar for each machine, and a line across it where vLLM's budget ends."""
    for place, bar in enumerate(reversed(shown["bars"])):
        left = 0.0
        for key, colour, label in (
            ("weights", BLUE, "weights"),
            ("beside", AMBER, "activations, CUDA, NCCL, graphs"),
            ("kv_cache", SKY, "KV cache"),
        ):
            gib = max(0.0, bar[key])
            axes.barh(place, gib, left=left, color=colour, label=label if place == 0 else None)
            left += gib
        axes.plot(
            [bar["usable"]] * 2, [place - 0.45, place + 0.45], color="black", linestyle="--", linewidth=1.5
        )
        lacks = bar["kv_cache"] < 0
        says = (
            f"does not fit by {-bar['kv_cache']:.1f} GiB"
            if lacks
            else f"{bar['kv_cache']:.1f} GiB for the KV cache"
        )
        axes.annotate(
            says,
            (max(left, bar["usable"]), place),
            (6, 0),
            textcoords="offset points",
            va="center",
            color=ORANGE if lacks else "black",
            fontsize=9,
        )
    axes.set_yticks(range(len(shown["bars"])), [bar["what"] for bar in reversed(shown["bars"])])
    axes.set(xlim=(0, 165), xlabel=f"GiB of one GPU (dashed: what vLLM {shown['vllm']} may use)")
    axes.legend(ncols=3, **ABOVE)


def context(axes: "Axes", shown: Shown) -> None:
    """Both lines over the length of a request."""
    rows = shown["tokens, hybrid, all layers"]
    lengths = [row[0] for row in rows]
    axes.plot(
        lengths, [row[2] for row in rows], color=ORANGE, marker=".", label="whole context in all 48 layers"
    )
    axes.plot(
        lengths,
        [row[1] for row in rows],
        color=BLUE,
        marker=".",
        label="12 global layers whole, 36 by chunks (hybrid)",
    )
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="tokens of one request",
        ylabel="GiB of KV cache, all GPUs together",
    )
    axes.set_xticks([1024, 8192, 65536, 524288, 4194304], ["1K", "8K", "64K", "512K", "4M"])
    axes.minorticks_off()
    plain_numbers(axes.yaxis)
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left")


def step(axes: "Axes", shown: Shown) -> None:
    """A bar of milliseconds for each number of requests; the tokens a second above it."""
    rows = shown["steps"]
    parts = [name for name in rows[0] if name not in ("requests", "experts touched")]
    bottoms = [0.0] * len(rows)
    for name, colour in zip(parts, (BLUE, SKY, GREEN, AMBER, GREY), strict=True):
        heights = [row[name] for row in rows]
        axes.bar(range(len(rows)), heights, bottom=bottoms, color=colour, label=name)
        bottoms = [bottom + height for bottom, height in zip(bottoms, heights, strict=True)]
    for place, (row, height) in enumerate(zip(rows, bottoms, strict=True)):
        rate = 1000 * row["requests"] / height
        axes.annotate(
            f"{row['experts touched']:.0f} experts\n{rate:,.0f} tok/s", (place, height), (0, 3),
            textcoords="offset points", ha="center", fontsize=8,
        )  # fmt: skip
    axes.axhline(
        shown["least ms"],
        color="black",
        linestyle="--",
        linewidth=1,
        label="one token's weights, full bandwidth",
    )
    axes.set_xticks(range(len(rows)), [str(row["requests"]) for row in rows])
    axes.set(
        xlabel=f"requests that decode at once: {shown['on']}",
        ylabel="ms of one decode step",
        ylim=(0, 1.2 * max(bottoms)),
    )
    axes.legend(loc="upper left", fontsize=8.5)


def measured(axes: "Axes", shown: Shown) -> None:
    """A point for each load: measured to the right, modelled upward; between the lines they differ by a tenth."""
    sources = list(dict.fromkeys(cell["source"] for cell in shown["cells"]))
    for source, colour, marker in zip(sources, (BLUE, ORANGE, GREEN, AMBER), "osD^", strict=True):
        of_it = [cell for cell in shown["cells"] if cell["source"] == source]
        axes.plot(
            [cell["measured"] for cell in of_it],
            [cell["modelled"] for cell in of_it],
            marker,
            color=colour,
            label=source,
            alpha=0.8,
        )
    ends = (7.0, 110.0)
    axes.plot(ends, ends, color="black", linewidth=1)
    for factor in (1.1, 1 / 1.1):
        axes.plot(ends, [each * factor for each in ends], color="grey", linestyle=":", linewidth=1)
    axes.set(
        xscale="log", yscale="log", xlabel="ms a token, measured by others", ylabel="ms a token, modelled"
    )
    plain_numbers(axes.xaxis)
    plain_numbers(axes.yaxis)
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left", title="dotted: 10 % off")


def cost(axes: "Axes", shown: Shown) -> None:
    """Ours falls as it is used more; Claude's does not care. A band is what the count of tokens leaves open."""
    shares = [each / 100 for each in range(3, 101)]
    for row, colour in zip(shown["here"], (BLUE, GREEN), strict=True):
        full = row["usd a month"] / row["mtok a month at most"]
        axes.plot(
            [100 * each for each in shares],
            [full / each for each in shares],
            color=colour,
            linewidth=2.5,
            label=row["what"],
        )
    for (name, usd, low, high), colour in zip(
        shown["claude, from, to"], (AMBER, ORANGE, "#6a4c93"), strict=True
    ):
        axes.axhspan(low, high, color=colour, alpha=0.2, linewidth=0)
        axes.axhline(usd, color=colour)
        axes.annotate(name, (101, usd), va="center", fontsize=9, color=colour, annotation_clip=False)
    axes.set(
        yscale="log",
        xlim=(0, 100),
        xlabel="% of what the machine could serve in the month",
        ylabel="USD per million tokens",
    )
    plain_numbers(axes.yaxis)
    axes.yaxis.set_major_formatter("${x:,.10g}")
    axes.grid(alpha=0.3)
    axes.legend(
        title=f"Scout, one machine kept up; prices as known on {shown['day']}",
        title_fontsize=9,
        **ABOVE,
        ncols=2,
    )


def simulation(axes: "Axes", shown: Shown) -> None:
    """A column for each load, a point for each figure; on the line it was right, below it too kind."""
    loads = shown["loads"]
    named = {
        "ttft_p50_ms": ("TTFT p50", "o", BLUE),
        "ttft_p95_ms": ("TTFT p95", "D", SKY),
        "tpot_p50_ms": ("TPOT p50", "s", ORANGE),
        "tpot_p95_ms": ("TPOT p95", "^", AMBER),
        "tokens_per_s": ("tokens/s", "_", "black"),
    }
    for name, (label, marker, colour) in named.items():
        axes.plot(
            range(len(loads)), [load[name] for load in loads], marker, color=colour, label=label, markersize=9
        )
    axes.axhline(1, color="black", linewidth=1)
    axes.set_xticks(range(len(loads)), [f"{load['tokens/s']:,}" for load in loads])
    axes.set(xlabel="a load each, by the tokens/s that were measured", ylabel="simulated over measured")
    axes.set_ylim(0.6, 1.4)
    axes.grid(alpha=0.3)
    axes.legend(ncols=5, **ABOVE)


WAYS = {
    "loopback": "itself, by TCP over loopback",
    "replies": "answers to who connected to it",
    "peers": "hosts of its own deployment",
    "dropped": "everything else: the internet, names,\nUDP, neighbours on loopback",
}


def lock(axes: "Axes", shown: Shown) -> None:
    """The server to the left, each way out of it to the right, open or shut, with the counter that it moves."""
    axes.set_axis_off()
    axes.set(xlim=(0, 10.5), ylim=(-1, 10))
    box: dict[str, Any] = {"boxstyle": "round,pad=0.6", "linewidth": 1.2}
    axes.text(
        1.5,
        5,
        "vLLM\nas a user\nof its own",
        ha="center",
        va="center",
        bbox=box | {"facecolor": SKY, "edgecolor": BLUE},
    )
    for place, (counter, says) in enumerate(WAYS.items()):
        height = 9 - 2.6 * place
        is_open = shown["counted"][counter] == ["accept"]
        colour = GREEN if is_open else ORANGE
        style: dict[str, Any] = {"arrowstyle": "-|>" if is_open else "-[", "color": colour, "linewidth": 2}
        axes.annotate("", (5.0 if is_open else 4.3, height), (2.6, 5), arrowprops=style)
        axes.text(5.2, height, says, va="center", fontsize=9.5)
        word = "accepted" if is_open else "refused"
        axes.text(
            5.2,
            height - 0.85 - 0.4 * says.count("\n"),
            f"{word}, counted as {counter}",
            va="center",
            fontsize=8.5,
            color=colour,
        )
    axes.text(5, -1.2, "nftables, in the kernel, by the user of each packet", ha="center", fontsize=9)


DRAWN = {
    "memory": memory,
    "context": context,
    "step": step,
    "measured": measured,
    "cost": cost,
    "simulation": simulation,
    "lock": lock,
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
