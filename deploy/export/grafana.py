"""PURE: a dashboard of Grafana for one deployment, of the queries that Prometheus records."""

import json
from typing import Any

from deploy.export.rendering import Ask
from deploy.export.watch_rules import job, queries

SOURCE = {"type": "prometheus", "uid": "${datasource}"}
WIDTH, HEIGHT = 12, 8
"""Two panels a row of Grafana's 24 columns."""

PANELS: tuple[tuple[str, str, dict[str, str]], ...] = (
    (
        "Time to first token",
        "s",
        {"median": "corral:ttft_seconds:p50", "95 of 100 below": "corral:ttft_seconds:p95"},
    ),
    (
        "Time per output token",
        "s",
        {"median": "corral:tpot_seconds:p50", "95 of 100 below": "corral:tpot_seconds:p95"},
    ),
    (
        "Whole requests",
        "s",
        {"median": "corral:e2e_seconds:p50", "95 of 100 below": "corral:e2e_seconds:p95"},
    ),
    ("Time in the queue", "s", {"95 of 100 below": "corral:queue_seconds:p95"}),
    (
        "Tokens a second",
        "short",
        {"written": "corral:output_tokens:rate5m", "read": "corral:input_tokens:rate5m"},
    ),
    ("Requests ended a second", "reqps", {"{{finished_reason}}": "corral:requests:rate5m"}),
    (
        "Requests at once",
        "short",
        {
            "running, {{instance}}": "corral:requests_running",
            "waiting, {{instance}}": "corral:requests_waiting",
        },
    ),
    ("KV cache in use", "percentunit", {"{{instance}}": "corral:kv_cache_used:ratio"}),
    ("Preemptions a second", "short", {"{{instance}}": "corral:preemptions:rate5m"}),
    ("Prefix cache hits", "percentunit", {"of tokens asked for": "corral:prefix_cache_hits:ratio"}),
    ("Servers", "short", {"answering": "corral:servers_up", "scraped": "corral:servers"}),
    ("Cost", "currencyUSD", {"an hour": "corral:usd_per_hour"}),
    ("Cost a million output tokens", "currencyUSD", {"of the last hour": "corral:usd_per_mtok_output"}),
)


def dashboard(ask: Ask) -> str:
    """JSON to import; which Prometheus it asks is chosen there. What the plan has no price for is left out."""
    known = queries(ask)
    shown = [panel for panel in PANELS if set(panel[2].values()) <= set(known)]
    further = further_panels(ask)
    panels = [
        panel(number, title, unit, {legend: known.get(query, query) for legend, query in lines.items()})
        for number, (title, unit, lines) in enumerate((*shown, *further))
    ]
    source = {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}
    return json.dumps(
        {
            "uid": ask.resource_name[:40],
            "title": f"corral: {ask.name}",
            "tags": ["corral", "vllm"],
            "schemaVersion": 39,
            "editable": True,
            "refresh": "30s",
            "time": {"from": "now-3h", "to": "now"},
            "templating": {"list": [source]},
            "panels": panels,
        },
        indent=1,
    )


def further_panels(ask: Ask) -> list[tuple[str, str, dict[str, str]]]:
    """Of GPUs and of the gateway, where they are scraped."""
    gpus, gateway = f'job="{job(ask, "gpus")}"', f'job="{job(ask, "gateway")}"'
    of_gpus: list[tuple[str, str, dict[str, str]]] = [
        ("GPU power", "watt", {"{{instance}} {{gpu}}": f"DCGM_FI_DEV_POWER_USAGE{{{gpus}}}"}),
        ("GPU memory", "mbytes", {"{{instance}} {{gpu}}": f"DCGM_FI_DEV_FB_USED{{{gpus}}}"}),
        ("Last Xid", "short", {"{{instance}} {{gpu}}": f"DCGM_FI_DEV_XID_ERRORS{{{gpus}}}"}),
    ]
    rates = f'sum by (code) (rate(haproxy_frontend_http_responses_total{{{gateway},proxy="gateway"}}[5m]))'
    of_gateway: list[tuple[str, str, dict[str, str]]] = [
        ("Gateway: answers a second", "reqps", {"{{code}}": rates}),
        (
            "Gateway: requests in its queue",
            "short",
            {"waiting": f'sum(haproxy_backend_current_queue{{{gateway},proxy="engines"}})'},
        ),
    ]
    return [*(of_gpus if ask.gpu_metrics else []), *(of_gateway if ask.gateway_metrics else [])]


def panel(number: int, title: str, unit: str, lines: dict[str, str]) -> dict[str, Any]:
    """One graph, a line a query."""
    targets = [
        {"refId": chr(ord("A") + index), "datasource": SOURCE, "expr": query, "legendFormat": legend}
        for index, (legend, query) in enumerate(lines.items())
    ]
    row, column = divmod(number, 2)
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": title,
        "datasource": SOURCE,
        "gridPos": {"x": column * WIDTH, "y": row * HEIGHT, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "targets": targets,
    }
