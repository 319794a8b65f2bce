"""Fit the speed model to what others measured, again; and see what a fit makes of a source that it was not given.

Six figures of serving/model/throughput.toml are fitted, by the least mean square of log(predicted / measured) TPOT
over the cells of serving/model/measured.toml. Prints each figure as fitted and as shipped, each cell, the coverage of
the bands, and what is made of cells that no fit was given; exit code 1 where a shipped figure is not what the fit says,
or a band covers less than it promises.
"""

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from math import exp, log
from statistics import median
from typing import Any
from unittest.mock import patch

from infra.columns import table
from serving.model import measured, roofline
from serving.model.bands import unfitted
from serving.model.measured import Cell, cells, family_of, stored_as
from serving.model.models import model
from serving.model.roofline import Engine
from serving.model.throughput import Load, Speed, speed
from serving.model.weights import Split
from serving.vllm.versions import rules

FITTED: dict[str, tuple[tuple[str, int | None, str], ...]] = {
    "weight_only.compute_fraction": (("weight_only", None, "compute_fraction"),),
    "weight_only.gparams_per_s": (("weight_only", None, "gparams_per_s"),),
    "older_hosts.factor": (("older_hosts", None, "factor"),),
    "step 0.8.3 overhead_ms": (("step", 0, "overhead_ms"),),
    "step 0.9.0 overhead_ms": (("step", 1, "overhead_ms"),),
    "step request_ms": (("step", 0, "request_ms"), ("step", 1, "request_ms")),
}
"""What is fitted, and where it stands in throughput.toml."""
START = dict(zip(FITTED, (0.8, 1500.0, 1.0, 5.0, 5.0, 0.02), strict=True))
"""Where a fit begins, and stays where no cell says otherwise: what one would assume."""

PROMISED = 0.9
"""The share of what is left out that a band must cover."""
AS_SHIPPED = 0.02
"""A shipped figure is rounded."""
NEAR = 1.3
"""A factor within which most should lie."""
MOST = 4096
"""Requests at once."""


def main() -> int:
    """Fit, print, judge."""
    shipped, fitted = current(), fit(cells())
    rows = [(name, f"{fitted[name]:.4g}", f"{shipped[name]:.4g}") for name in FITTED]
    print(table([("figure", "fitted", "shipped"), *rows]))
    inside, held = ratios(cells(), fitted), {name: left_out(key) for name, key in LEFT_OUT.items()}
    print()
    print(table([("cell", "running", "measured ms", "fitted to", *held), *lines(inside, held)]))
    print()
    print(
        table([("never given", "running", "measured ms", "TPOT", "requests/s at that TPOT"), *never_given()])
    )
    print()
    agrees = all(abs(log(fitted[name] / shipped[name])) < AS_SHIPPED for name in FITTED)
    for name, group in (("fitted to", cells()), ("never given", measured.held())):
        print(
            f"Cells {name}: {told(tpots(group))}; requests a second at the measured TPOT: {told(rates(group))}"
        )
    return 0 if all([agrees, *covered(held)]) else 1


def never_given() -> Iterator[tuple[str, ...]]:
    """One line a cell that no fit was given: predicted over measured, as shipped."""
    group = measured.held()
    for cell, tpot, rate in zip(group, tpots(group), rates(group), strict=True):
        yield name_of(cell), str(cell.running), f"{cell.tpot_ms:.2f}", f"x {tpot:.2f}", f"x {rate:.2f}"


def told(found: Collection[float]) -> str:
    """How far predictions lie from what was measured."""
    off = [exp(abs(log(ratio))) for ratio in found]
    within = sum(factor <= NEAR for factor in off)
    return f"median within {median(off):.2f}, {within} of {len(off)} within {NEAR}, all within {max(off):.2f}"


def tpots(group: Collection[Cell]) -> list[float]:
    """Predicted over measured TPOT of each cell, as shipped."""
    return [predicted_tpot_s(cell) * 1e3 / cell.tpot_ms for cell in group]


def rates(group: Collection[Cell]) -> list[float]:
    """Requests a second that are predicted at the measured TPOT, over those that were served, as shipped."""
    return [rate_at_tpot(cell) / cell.requests_per_s for cell in group]


def rate_at_tpot(cell: Cell) -> float:
    """What is predicted to be served by the most requests at once that are no slower than they were measured."""
    low, high = 1, MOST
    while low < high:
        middle = (low + high + 1) // 2
        is_kept = predicted(cell, middle).tpot_s * 1e3 <= cell.tpot_ms
        low, high = (middle, high) if is_kept else (low, middle - 1)
    return predicted(cell, low).output_tokens_per_s / cell.output_tokens


def covered(held: dict[str, dict[Cell, float]]) -> Iterator[bool]:
    """Say how much of what was left out each band covers; whether that is what it promises."""
    bands = roofline.data()["bands"]
    for (name, found), band in zip(held.items(), ("measured", "near", "none"), strict=True):
        factor = bands[band]["factor"]
        inside = sum(1 / factor <= ratio <= factor for ratio in found.values()) / len(found)
        print(f"A {name} left out: {inside:.0%} of {len(found)} cells within {factor}, the band {band!r}")
        yield inside >= PROMISED


def lines(inside: dict[Cell, float], held: dict[str, dict[Cell, float]]) -> Iterator[tuple[str, ...]]:
    """One line a cell: predicted over measured, where it was fitted to and where it was left out."""
    for cell in cells():
        out = (f"x {found[cell]:.2f}" if cell in found else "-" for found in held.values())
        yield name_of(cell), str(cell.running), f"{cell.tpot_ms:.2f}", f"x {inside[cell]:.2f}", *out


def name_of(cell: Cell) -> str:
    """What was measured, where and by whom."""
    return f"{cell.source} {cell.model} {cell.precision} {cell.on} vLLM {cell.vllm}"


def left_out(key: Callable[[Cell], Hashable]) -> dict[Cell, float]:
    """Predicted over measured of each cell, by a fit without those that are like it."""
    found: dict[Cell, float] = {}
    for group in dict.fromkeys(map(key, cells())):
        if group is not None:
            others = fit(tuple(cell for cell in cells() if key(cell) != group))
            found |= ratios((cell for cell in cells() if key(cell) == group), others)
    return found


def source_of(cell: Cell) -> Hashable:
    """Its source; None for one that is all there is of a GPU: without it nothing of that GPU is measured."""
    elsewhere = {family_of(other) for other in cells() if other.source != cell.source}
    return cell.source if family_of(cell) in elsewhere else None


def stored_on(cell: Cell) -> Hashable:
    """Its GPU and how the weights are stored; None for what is all there is of a GPU."""
    elsewhere = {family_of(other) for other in cells() if stored_as(other) != stored_as(cell)}
    return (family_of(cell), stored_as(cell)) if family_of(cell) in elsewhere else None


LEFT_OUT: dict[str, Callable[[Cell], Hashable]] = {
    "source": source_of,
    "way to store the weights on a GPU": stored_on,
    "GPU": family_of,
}


def fit(given: tuple[Cell, ...]) -> dict[str, float]:
    """The values of least loss: one after the other up and down by a factor, which gets smaller (pattern search).

    A value that moves no cell stays where it starts.
    """
    values, best, step = dict(START), loss(given, START), 0.2
    while step > 0.002:
        moved = False
        for name in FITTED:
            for factor in (exp(step), exp(-step)):
                tried = values | {name: values[name] * factor}
                if (now := loss(given, tried)) < best - 1e-12:
                    values, best, moved = tried, now, True
                    break
        step = step if moved else step / 2
    return values


def loss(given: tuple[Cell, ...], values: dict[str, float]) -> float:
    """The mean square of log(predicted / measured)."""
    return sum(log(ratio) ** 2 for ratio in ratios(given, values).values()) / len(given)


def ratios(given: Iterable[Cell], values: dict[str, float]) -> dict[Cell, float]:
    """Predicted over measured TPOT of each cell."""
    with put(values):
        return {cell: predicted_tpot_s(cell) * 1e3 / cell.tpot_ms for cell in given}


def predicted_tpot_s(cell: Cell) -> float:
    """The model's TPOT at a cell's load."""
    return predicted(cell, cell.running).tpot_s


def predicted(cell: Cell, running: int) -> Speed:
    """The model's speed of a cell's server and requests, so many at once."""
    load, engine = Load(cell.input_tokens, cell.output_tokens, running), engine_of(cell)
    return speed(engine, load, running, unfitted(engine, load))


def engine_of(cell: Cell) -> Engine:
    """The server of a cell."""
    known, machine = model(cell.model), cell.machine
    assert machine.gpu is not None
    return Engine(
        gpu=machine.gpu,
        family=known.family,
        architecture=known.architecture,
        scheme=known.checkpoints[cell.precision].scheme,
        split=Split(machine.gpu_count),
        rules=rules(cell.vllm),
        kv_bytes_per_value=2,
        max_num_batched_tokens=cell.max_num_batched_tokens,
        host_gb_per_s=machine.network_gb_per_s,
    )


def current() -> dict[str, float]:
    """The figures as they are shipped."""
    shipped = roofline.data()
    return {name: float(at(shipped, *places[0][:2])[places[0][2]]) for name, places in FITTED.items()}


@contextmanager
def put(values: dict[str, float]) -> Iterator[None]:
    """The model with these figures."""
    changed = deepcopy(roofline.data())
    for name, places in FITTED.items():
        for section, index, key in places:
            at(changed, section, index)[key] = values[name]
    with patch.object(roofline, "data", lambda: changed):
        yield


def at(data: dict[str, Any], section: str, index: int | None) -> dict[str, Any]:
    """One table of throughput.toml."""
    found: dict[str, Any] = data[section] if index is None else data[section][index]
    return found


if __name__ == "__main__":
    raise SystemExit(main())
