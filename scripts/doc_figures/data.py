"""What each figure of the documentation shows, asked of corral's own model; a figure keeps it in itself."""

import json
import re
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

from deploy.costs.compare import compare
from deploy.costs.compare_options import Question
from infra import egress_rules
from infra.catalog import machine
from scripts.fit_speed import predicted_tpot_s
from serving.model import roofline
from serving.model.bands import unfitted
from serving.model.kv import layout
from serving.model.measured import cells
from serving.model.models import model
from serving.model.roofline import Engine
from serving.model.throughput import Load
from serving.model.weights import Split
from serving.sizing.size import answer_for
from serving.sizing.size_options import Options
from serving.vllm.versions import rules

DAY = date(2026, 11, 30)
"""Whose prices of Claude count."""
ASKED = (
    ("bf16", "2xA100-80GB"),
    ("bf16", "4xA100-80GB"),
    ("bf16", "8xH100"),
    ("fp8", "2xH100"),
    ("int4", "1xH100"),
    ("int4", "g5.12xlarge"),
)
"""Scout, as people ask for it."""
LENGTHS = tuple(1024 << power for power in range(14))
AT_ONCE = (1, 2, 4, 8, 16, 32, 64)
STEPPED = ("fp8", "2xH100", "0.15.1")
"""Where most was measured by others: measured.toml's sim-to-real."""
PRICED = (("int4", "g5.12xlarge"), ("int4", "p5.4xlarge"))
GIB = 2**30
BENCH = Path(__file__).parents[1] / "bench_simulate"

Shown = dict[str, Any]


def memory() -> Shown:
    """GiB of one GPU by what takes them; `kv_cache` is what is left, negative where that is nothing."""
    bars = []
    for precision, on in ASKED:
        plan = answer_for("scout", precision, on, Options())
        terms = {term.name: round(term.gib, 2) for term in plan.terms}
        took = sum(gib for name, gib in terms.items() if name != "block_tables")
        bars.append(
            {
                "what": f"{precision}, {on}",
                "total": plan.memory.total_gib,
                "usable": round(plan.memory.usable_gib, 2),
                "weights": terms["weights"],
                "beside": round(took - terms["weights"], 2),
                "kv_cache": round(plan.memory.usable_gib - took, 2),
            }
        )
    return {"vllm": rules().version, "bars": bars}


def context() -> Shown:
    """GiB over all GPUs that one request of Scout reserves by its length, with the hybrid KV manager and without."""
    known = rules()
    a = model("scout").architecture
    with_it, without = (
        layout(a, known, Split(1), hybrid=hybrid, bytes_per_value=2, max_num_batched_tokens=8192)
        for hybrid in (True, False)
    )
    rows = [
        [
            length,
            *(
                round(each.blocks_per_request(length) * each.bytes_per_block / GIB, 3)
                for each in (with_it, without)
            ),
        ]
        for length in LENGTHS
    ]
    return {"vllm": known.version, "max_num_batched_tokens": 8192, "tokens, hybrid, all layers": rows}


def step() -> Shown:
    """Milliseconds of a decode step of Scout by what takes them; and of one token's weights at full bandwidth."""
    precision, on, version = STEPPED
    known, there = model("scout"), machine(on)
    assert there.gpu is not None
    engine = Engine(
        gpu=there.gpu,
        family=known.family,
        architecture=known.architecture,
        scheme=known.checkpoints[precision].scheme,
        split=Split(there.gpu_count),
        rules=rules(version),
        kv_bytes_per_value=2,
        max_num_batched_tokens=2048,
        host_gb_per_s=there.network_gb_per_s,
    )
    tokens = 1000
    layers = len(known.architecture.moe_layers)
    overhead = unfitted(engine, Load(tokens, tokens, 1)).overhead_s
    rows = []
    for batch in AT_ONCE:
        parts = {
            "experts": layers * roofline.moe_layer_s(engine, batch),
            "other weights": roofline.dense_s(engine, batch) + roofline.lm_head_s(engine, batch),
            "KV cache": roofline.kv_read_s(engine, batch, 1.5 * tokens),
            "GPUs joining": roofline.all_reduce_s(engine, batch),
            "engine": overhead + batch * roofline.request_s(engine),
        }
        touched = roofline.distinct_experts(known.architecture.experts, batch)
        rows.append(
            {"requests": batch, "experts touched": round(touched, 1)}
            | {name: round(1e3 * seconds, 2) for name, seconds in parts.items()}
        )
    least = roofline.least_step_s(engine.gpu, engine.architecture, engine.scheme, engine.split)
    return {"on": f"{precision}, {on}, vLLM {version}", "least ms": round(1e3 * least, 2), "steps": rows}


def measured() -> Shown:
    """Of each load that others measured: milliseconds a token as measured, and as the model says."""
    return {
        "cells": [
            {
                "what": f"{cell.model} {cell.precision}, {cell.on}, vLLM {cell.vllm}",
                "source": cell.source,
                "requests": cell.running,
                "measured": cell.tpot_ms,
                "modelled": round(1e3 * predicted_tpot_s(cell), 2),
            }
            for cell in cells()
        ]
    }


def cost() -> Shown:
    """Dollars of a million tokens, half in and half out, on machines kept up all month, and at Claude."""
    here, there = [], []
    for precision, on in PRICED:
        made = compare(answer_for("scout", precision, on, Options()), None, Question(), DAY)
        ours = made.self_hosted
        here.append(
            {
                "what": f"{precision}, {on}, ${float(ours.usd_per_hour):g} an hour",
                "usd a month": float(ours.usd_per_month),
                "mtok a month at most": round(float(ours.capacity_mtok_per_month)),
            }
        )
        there = [
            [
                side.name,
                *(
                    float(usd)
                    for usd in (side.usd_per_mtok_blended, side.usd_per_mtok_low, side.usd_per_mtok_high)
                ),
            ]
            for side in made.claude
        ]
    return {"day": str(DAY), "here": here, "claude, from, to": there}


def simulation() -> Shown:
    """Of each load that scripts/bench-simulate put on a real server: what was simulated over what was measured."""
    newest = max(BENCH.glob("figures-*.json"))
    found = json.loads(newest.read_text(encoding="utf-8"))
    rows = [
        {
            "tokens/s": round(load["tokens_per_s"]["measured"]),
            **{name: round(each["simulated"] / each["measured"], 3) for name, each in load.items()},
        }
        for load in found["loads"]
    ]
    return {"made": found["made"], "loads": rows}


def lock() -> Shown:
    """What becomes of a packet of the server's user, by the counter that it moves, and of those of other users."""
    said = egress_rules.rules("scout", has_peers=True, listens_outside=True)
    found = re.findall(r"counter name (\w+) (accept|drop|reject)", said)
    return {
        "counted": {
            name: sorted({what for each, what in found if each == name}) for name in egress_rules.COUNTERS
        },
        "of whom": re.findall(r"meta skuid \$server goto (\w+)", said),
    }


FIGURES: dict[str, Callable[[], Shown]] = {
    "memory": memory,
    "context": context,
    "step": step,
    "measured": measured,
    "cost": cost,
    "simulation": simulation,
    "lock": lock,
}
"""By the name of the file."""
