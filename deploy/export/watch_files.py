"""Prometheus: what to scrape, what to record and when to alert; and a dashboard for Grafana."""

from typing import Any
from urllib.parse import urlsplit

from deploy.export.grafana import dashboard
from deploy.export.litellm import endpoints
from deploy.export.rendering import Ask, Export
from deploy.export.watch_rules import job, rules
from infra.host import HostFile
from infra.yaml_text import dumped

OF_DCGM = "What DCGM's exporter tells is named as in its default counters (2026-08); not tried."
RULES = "rules.yml"
EVERY = "15s"


def render(ask: Ask) -> Export:
    """prometheus.yml with its rules, and dashboard.json. vLLM tells its metrics without a key, so there is none."""
    scraped = {"": endpoints(ask), "gpus": ask.gpu_metrics, "gateway": ask.gateway_metrics}
    config = {
        "global": {"scrape_interval": EVERY, "evaluation_interval": EVERY},
        "rule_files": [RULES],
        "scrape_configs": [scrape(job(ask, of), urls) for of, urls in scraped.items() if urls],
    }
    return Export(
        format="prometheus",
        files=(
            HostFile(path="prometheus.yml", content=dumped(config)),
            HostFile(path=RULES, content=dumped(rules(ask))),
            HostFile(path="dashboard.json", content=dashboard(ask) + "\n"),
        ),
        notes=(
            "Each alert is tested with promtool 2.42, each query of the dashboard with a page of vLLM 0.32.0 in "
            "Prometheus 2.42; no Grafana was had.",
            *([OF_DCGM] if ask.gpu_metrics else []),
            *left_out(ask),
            "A server of corral's listens on its host's loopback: Prometheus runs there, or comes through corral "
            "connect. In a cluster monitor.yaml of --to kubernetes scrapes it, under the name that the rules ask for.",
            "Who is told of an alert is for your Alertmanager: name it under `alerting`.",
            "Next: promtool check config prometheus.yml && prometheus --config.file=prometheus.yml "
            "--web.listen-address=127.0.0.1:9090 --storage.tsdb.retention.time=35d; in Grafana import dashboard.json",
        ),
    )  # fmt: skip


def scrape(name: str, urls: tuple[str, ...]) -> dict[str, Any]:
    """One job; the addresses may differ in scheme and folder."""
    return {"job_name": name, "static_configs": [target(url) for url in urls]}


def target(url: str) -> dict[str, Any]:
    """One address as Prometheus is told it."""
    parts = urlsplit(url)
    path = {"__metrics_path__": f"{parts.path}/metrics"} if parts.path else {}
    scheme = {"__scheme__": parts.scheme} if parts.scheme != "http" else {}
    labels = {**scheme, **path}
    return {"targets": [parts.netloc], **({"labels": labels} if labels else {})}


def left_out(ask: Ask) -> tuple[str, ...]:
    """What is not alerted of, and what would bring it, as one note."""
    priced = ask.plan.price is not None
    lacks = {
        "--ttft (a promise that is broken)": ask.ttft_s is None,
        "--budget-usd-per-month": priced and ask.budget_usd_per_month is None,
        "--ends-at (the end of a rented machine)": ask.ends_at is None,
        "--gpu-metrics (faults of GPUs)": not ask.gpu_metrics,
        "--gateway-metrics": not ask.gateway_metrics,
    }
    missing = [flag for flag, is_so in lacks.items() if is_so]
    unpriced = () if priced else ("The plan has no price: nothing is told of costs.",)
    return (*([f"Not alerted of without {', '.join(missing)}."] if missing else []), *unpriced)
