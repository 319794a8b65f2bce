"""`corral simulate` against the real engine, in one paired run.

Server: vLLM's CPU build on the tiny model, at most 32 sequences and 2,048 tokens a step. Its EngineCore, with the
worker in the same process, has core 0 for itself; its API process and the client, corral's own probe, have core 1. Both
cores are kept awake by a loop that gives way to all else (SCHED_IDLE): a virtual core that sleeps is woken by its host,
when that comes to it.
Fit: the time of a step by running streams (the mean of the gaps at the client while all of them decode, in the middle
one of three looks: one that was disturbed does not decide, as with the loads' rounds) and by tokens
of a lone prompt (the engine's request_prefill_time histogram), what a prompt adds to a step of four streams (their
tokens that come later for it), the API process's CPU by requests, steps and tokens, and
what is left of the TTFT of a lone request: of its median, for one in three waits for something that is not the engine,
which made the mean 12 % longer than what half of the requests of a load waited (14.0 ms, 2026-11-30).
Loads, none of them fitted to: five below the knee, two near it, Poisson, in four rounds, the fit before and after each
round. A round is simulated with the middle of the two fits around it, for the pace of a rented core changes by minutes
(a step of four streams took 3.6 to 6.1 ms in five fits, 2026-11-30), and its steps are as late, one after another, as
those of as many streams were in the fits: in seconds, less what the next made good (table.late_of). What the steps of
nine of ten pairs of fits in a row do not differ by more than is the band of the steps, 5 % or more. The simulation is
given the arrivals that the probe really made. Times count from the sending, at the client.
Judged, each figure by its median over the rounds: below the knee all five within 15 % of what was measured; near it
the truth between a simulation of all steps as fast, and one as slow, as the band has them.
"""

import argparse
import json
import os
import platform
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from server import awake, serving
from table import (
    FIGURES,
    Fit,
    Part,
    Steps,
    api_of,
    band_of,
    measured_before,
    middle_figures,
    middle_of,
    simulated,
)

from serving.sizing.batching import Api, Room

FIRST = -15
"""The niceness of all of it: what else the machine does comes after it."""
ROOM = Room(max_num_seqs=32, max_num_batched_tokens=2048, kv_tokens=10**9)
# Share of what 256 in and 64 out may come to at most; lengths; whether it is below the knee.
LOADS = (
    (0.08, "256", "64", True),
    (0.18, "256", "64", True),
    (0.28, "256", "64", True),
    (0.10, "64-1024", "16-160", True),
    (0.38, "256", "64", True),
    (0.70, "256", "64", False),
    (0.86, "256", "64", False),
)
MOST_OFF = 0.15
LEAST_BAND = 1.05


def main() -> int:
    """Measure, simulate, compare; 1 where a figure is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a sixth of the time: shows only that it runs")
    parser.add_argument("--keep", type=Path, help="write all figures there, as JSON")
    parser.add_argument("--measured", type=Path, help="write there what was measured, after each round")
    parser.add_argument(
        "--again",
        type=Path,
        help="measure nothing: judge what --measured wrote, of a run that was cut short too",
    )
    asked = parser.parse_args()
    seconds, rounds, repeats = (6, 1, 2) if asked.quick else (10, 4, 5)
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, FIRST)
    began_with = os.getloadavg()[0]
    if asked.again:
        head, fits, parts = measured_before(asked.again.read_text(encoding="utf-8"))
    else:
        for fits, parts in measured(seconds, rounds, repeats):
            head = (
                f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {hardware()}, load average {began_with:.1f} before"
            )
            if asked.measured:
                asked.measured.write_text(json.dumps([head, fits, parts]) + "\n", encoding="utf-8")
    fit = middle_of(fits)
    steps, api = fit.steps, api_of(fit)
    band = max(LEAST_BAND, band_of(fits))
    around = [middle_of(pair) for pair in pairwise(fits)]
    rows = [compared(parts[which :: len(LOADS)], around, api, band) for which in range(len(LOADS))]
    judged = [judge(row, below) for row, (*_, below) in zip(rows, LOADS, strict=True)]
    print(report(head, steps, api, band, rows, judged))
    if asked.keep:
        kept = {"made": head, "decode_s": steps.decode_s, "prefill_s": steps.prefill_s, "api": api._asdict()}
        asked.keep.write_text(
            json.dumps(kept | {"band": band, "loads": rows}, indent=2) + "\n", encoding="utf-8"
        )
    return int(not all(judged))


def measured(seconds: int, rounds: int, repeats: int) -> Iterator[tuple[list[Fit], list[Part]]]:
    """The fits, and the parts of the loads in the order of LOADS, with each round those of the rounds before it."""
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as server, awake():
        server.fitted(1)  # what a shape costs when it comes for the first time is no step's
        fits, parts = [server.fitted(repeats)], list[Part]()
        full = most_per_s(fits[0].steps)
        for _ in range(rounds):
            for share, inputs, outputs, _ in LOADS:
                parts.append(server.load(share * full, inputs, outputs, seconds))
            fits.append(server.fitted(repeats))
            yield fits, parts


def most_per_s(steps: Steps) -> float:
    """Requests of 256 in and 64 out that full steps come to: LOADS' scale."""
    step_s = steps.time()
    return float(1 / (64 * step_s(32, 0) / 32 + step_s(32, 256) - step_s(32, 0)))


def compared(
    parts: Sequence[Part], around: Sequence[Fit], api: Api, band: float
) -> dict[str, dict[str, float]]:
    """Each figure of a load, the median of its rounds: measured, simulated, and at both ends of the band."""
    truth = middle_figures(parts)
    middle, fast, slow = (
        middle_figures(
            [
                simulated(part.requests, fit, ROOM, api, slower)
                for part, fit in zip(parts, around, strict=True)
            ]
        )
        for slower in (1.0, 1 / band, band)
    )
    return {
        name: {
            "measured": truth[name],
            "simulated": middle[name],
            "low": min(middle[name], fast[name], slow[name]),
            "high": max(middle[name], fast[name], slow[name]),
        }
        for name in FIGURES
    }


def judge(row: dict[str, dict[str, float]], below: bool) -> bool:
    """Below the knee within MOST_OFF, near it within the interval; of tokens/s within MOST_OFF anywhere."""
    return all(
        abs(off(each)) <= MOST_OFF
        if below or name == "tokens_per_s"
        else each["low"] <= each["measured"] <= each["high"]
        for name, each in row.items()
    )


def off(figure: dict[str, float]) -> float:
    """How far the simulation is off."""
    return figure["simulated"] / figure["measured"] - 1


def report(head: str, steps: Steps, api: Api, band: float, rows: list[Any], judged: list[bool]) -> str:
    """All of it as Markdown."""
    lines = [head, "", "| running | " + " | ".join(map(str, steps.decode_s)) + " |"]
    lines += ["|---" * (len(steps.decode_s) + 1) + "|"]
    lines += ["| step ms | " + " | ".join(f"{1e3 * each:.2f}" for each in steps.decode_s.values()) + " |", ""]
    lines += [
        "| prompt | " + " | ".join(map(str, steps.prefill_s)) + " |",
        "|---" * (len(steps.prefill_s) + 1) + "|",
    ]
    lines += [
        "| step ms | " + " | ".join(f"{1e3 * each:.2f}" for each in steps.prefill_s.values()) + " |",
        "",
    ]
    lines += [
        f"API process: {1e3 * api.request_s:.2f} ms a request, {1e3 * api.step_s:.2f} a step, "
        f"{1e3 * api.token_s:.3f} a token; beside it {1e3 * api.beside_s:.2f}. Band of the steps: {band:.3f}.",
        "",
        "| load | " + " | ".join(FIGURES) + " | |",
        "|---" * (len(FIGURES) + 2) + "|",
    ]
    for (share, inputs, outputs, below), row, good in zip(LOADS, rows, judged, strict=True):
        cells = [
            f"{each['measured']:.1f} / {each['simulated']:.1f} ({each['low']:.1f} to {each['high']:.1f}) "
            f"{off(each):+.0%}"
            for each in row.values()
        ]
        name = f"{share:.0%} of full, {inputs}/{outputs}{'' if below else ', near the knee'}"
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {'ok' if good else 'MISSED'} |")
    return "\n".join(
        [*lines, "", "Each: measured / simulated (with all steps as fast and as slow as the band) error."]
    )


def hardware() -> str:
    """What it ran on."""
    model = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.M)
    return f"{model[1] if model else platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}"


if __name__ == "__main__":
    began = time.monotonic()
    code = main()
    print(f"\n{time.monotonic() - began:.0f} s")
    sys.exit(code)
