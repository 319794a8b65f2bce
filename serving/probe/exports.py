"""PURE: a run in the forms of other tools: one CSV line a request, and the result fields of `vllm bench serve`."""

import csv
import io
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import numpy

from serving.probe.apis import APIS
from serving.probe.metrics import Figures
from serving.probe.run_records import Ending, Result
from serving.probe.statistics import Floats

COLUMNS = (
    "index", "scheduled_s", "sent_s", "ttft_s", "e2e_s", "tpot_s", "input_tokens", "output_tokens", "chunks",
    "status", "error", "finish_reason", "process",
)  # fmt: skip


def csv_text(records: Iterable[Result | Ending]) -> str:
    """One line a request; latencies from the sending."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(csv_row(each) for each in records if isinstance(each, Result))
    return out.getvalue()


def csv_row(result: Result) -> list[Any]:
    """A request's values in the order of the columns; empty where there is none."""
    gaps, tokens = result.gaps_us, result.output_tokens or len(result.gaps_us)
    ttft = gaps[0] / 1e6 if gaps else ""
    tpot = sum(gaps[1:]) / 1e6 / (tokens - 1) if gaps and tokens > 1 else ""
    times = [result.scheduled_us / 1e6, result.sent_us / 1e6, ttft, sum(gaps) / 1e6 if gaps else "", tpot]
    counts = [result.input_tokens, result.output_tokens, len(gaps), result.status]
    return [result.index, *times, *counts, result.error, result.finish_reason, result.process]


def vllm_bench(figures: Figures) -> dict[str, Any]:
    """The fields of `vllm bench serve --save-result` (vLLM 0.32 and 0.33, benchmarks/serve.py), in its units.

    Latencies are from the sending, as there; lists of every request are left out, they are in results.jsonl.
    """
    run, report = figures.run, figures.report()
    load = run.load
    result: dict[str, Any] = {
        "date": datetime.fromisoformat(report.started_at).strftime("%Y%m%d-%H%M%S"),
        "endpoint_type": APIS[run.target.api].bench_name,
        "backend": APIS[run.target.api].bench_name,
        "label": "corral",
        "model_id": report.model,
        "tokenizer_id": report.model,
        "num_prompts": report.sent,
        "request_rate": "inf" if load.request_rate is None or load.shape == "ramp" else load.request_rate,
        "burstiness": "inf" if load.shape == "constant" else load.burstiness,
        "max_concurrency": load.concurrency,
        "duration": report.duration_s,
        "completed": report.succeeded,
        "failed": report.sent - report.succeeded,
        "total_input_tokens": report.input_tokens,
        "total_output_tokens": report.output_tokens,
        "request_throughput": report.request_per_s,
        "request_goodput": report.goodput.get("request_per_s"),
        "output_throughput": report.output_tokens_per_s,
        "total_token_throughput": report.total_tokens_per_s,
        "max_output_tokens_per_s": report.peak_output_tokens_per_s,
        "max_concurrent_requests": figures.most_in_flight(),
        "rtfx": 0.0,  # of speech only
    }
    if load.shape == "ramp":
        rates = {"ramp_up_start_rps": load.request_rate, "ramp_up_end_rps": load.end_request_rate}
        result |= {"ramp_up_strategy": "linear", **rates}
    latencies = {
        "ttft": figures.first - figures.began,
        "tpot": figures.tpot,
        "itl": figures.itl,
        "e2el": figures.last - figures.began,
    }
    for name, values in latencies.items():
        result |= spread_ms(name, values)
    return result


def spread_ms(name: str, values_s: Floats) -> dict[str, float]:
    """One latency's fields in milliseconds; zero for none, as vLLM does."""
    values = values_s * 1e3 if len(values_s) else numpy.zeros(1)
    p50, p90, p95, p99 = (float(each) for each in numpy.percentile(values, (50, 90, 95, 99)))
    return {
        f"mean_{name}_ms": float(values.mean()),
        f"median_{name}_ms": p50,
        f"std_{name}_ms": float(values.std()),
        f"p50_{name}_ms": p50,
        f"p90_{name}_ms": p90,
        f"p95_{name}_ms": p95,
        f"p99_{name}_ms": p99,
    }
