"""What tests of the probe share: runs of this very process that come out the same on any machine, however busy."""

import math
from types import SimpleNamespace
from typing import Any

import pytest

from serving.probe import attack, validity
from serving.probe.report import Client, ProbeReport, Summary
from serving.probe.sweep_report import Point, Sweep


def on_any_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """No run is invalid because the machine is busy: when one is, test_probe_metrics.py says. Nor is memory tidied
    before a run: that of pytest is large.
    """
    for limit in ("BUSY_FRACTION", "LATE_S", "LATE_FRACTION"):
        monkeypatch.setattr(validity, limit, math.inf)
    nothing = dict.fromkeys(("collect", "freeze", "unfreeze", "disable", "enable"), lambda: None)
    monkeypatch.setattr(attack, "gc", SimpleNamespace(**nothing))


def latency(ms: float) -> Summary:
    """A distribution by its median; its p99 is ten times that."""
    return Summary(mean=0, p50=ms / 1e3, p90=0, p95=0, p99=ms / 100)


def a_report(tokens_per_s: float = 100.0, **changes: Any) -> ProbeReport:
    """A run of ten requests that all succeeded."""
    common: dict[str, Any] = {
        "url": "u", "model": "m", "started_at": "", "load": {}, "sent": 10, "succeeded": 10, "errors": {},
        "duration_s": 1.0, "input_tokens": 1, "output_tokens": 1, "output_tokens_per_s": tokens_per_s,
        "total_tokens_per_s": 1.0, "request_per_s": 2.5, "ttft_s": latency(100), "tpot_s": latency(10), "itl_s": None,
        "e2e_s": None, "goodput": {}, "client": Client(cpu_fraction=0.1, max_lag_s=0.0), "valid": True, "warnings": (),
    }  # fmt: skip
    return ProbeReport(**(common | changes))


def a_point(load: float = 8.0, **changes: Any) -> Point:
    """A step of a sweep that was run once and served."""
    common: dict[str, Any] = {
        "verdict": "served", "output_tokens_per_s": 100.0, "output_tokens_per_s_low": None,
        "output_tokens_per_s_high": None, "request_per_s": 1.0, "latencies_of": None,
        "ttft_p50_s": 0.1, "ttft_p99_s": 0.2, "tpot_p50_s": 0.01, "tpot_p99_s": 0.02,
        "attainment": None, "attainment_low": None, "attainment_high": None,
        "sent": 50, "failed": 0, "errors": {}, "valid": True, "invalid_because": (), "folder": "x", "folders": ("x",),
    }  # fmt: skip
    rate = changes.get("output_tokens_per_s", common["output_tokens_per_s"])
    return Point(load=load, **(common | {"output_tokens_per_s_by_run": (rate,)} | changes))


def a_sweep(*points: Point, **changes: Any) -> Sweep:
    """A sweep without limits that saturated at its first step."""
    common: dict[str, Any] = {
        "url": "u", "model": "m", "over": "concurrency", "slo": {}, "attainment": 0.95, "max_failed": 0.01,
        "answer": "saturated_at", "best": points[0].load if points else None, "reason": "r", "confirmed": True,
        "rule": "",
    }  # fmt: skip
    return Sweep(points=points, **(common | changes))
