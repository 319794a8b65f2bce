"""PURE: what Prometheus records and alerts of a deployment; its queries are those of the dashboard, too."""

from datetime import datetime
from typing import Any

from deploy.export.rendering import Ask
from infra.xids import broken_xids, xids
from serving.sizing.traffic import HOURS_PER_MONTH

ENDS_SOON_S = 7200
FEWEST_REQUESTS = 20
"""Of fewer in five minutes no percentile says anything."""
HARMLESS = sorted(number for number, (_, action) in xids().items() if action == "ignore")


def job(ask: Ask, of: str = "") -> str:
    """Prometheus' name of what is scraped; of the servers that of their Service in a cluster."""
    return ask.resource_name + (f"-{of}" if of else "")


def queries(ask: Ask) -> dict[str, str]:
    """Recorded name -> its query: over all servers of the deployment, of the last five minutes."""
    here = f'job="{job(ask)}"'
    hits, asked = (f"sum(rate(vllm:prefix_cache_{each}_total{{{here}}}[5m]))" for each in ("hits", "queries"))
    found = {
        **quantiles("ttft_seconds", "vllm:time_to_first_token_seconds", here),
        **quantiles("tpot_seconds", "vllm:request_time_per_output_token_seconds", here),
        **quantiles("e2e_seconds", "vllm:e2e_request_latency_seconds", here),
        **quantiles("queue_seconds", "vllm:request_queue_time_seconds", here),
        "corral:output_tokens:rate5m": f"sum(rate(vllm:generation_tokens_total{{{here}}}[5m]))",
        "corral:input_tokens:rate5m": f"sum(rate(vllm:prompt_tokens_total{{{here}}}[5m]))",
        "corral:requests:rate5m": (
            f"sum by (finished_reason) (rate(vllm:request_success_total{{{here}}}[5m]))"
        ),
        "corral:requests_running": f"sum by (instance) (vllm:num_requests_running{{{here}}})",
        "corral:requests_waiting": f"sum by (instance) (vllm:num_requests_waiting{{{here}}})",
        "corral:kv_cache_used:ratio": f"max by (instance) (vllm:kv_cache_usage_perc{{{here}}})",
        "corral:preemptions:rate5m": (f"sum by (instance) (rate(vllm:num_preemptions_total{{{here}}}[5m]))"),
        "corral:prefix_cache_hits:ratio": f"{hits} / ({asked} > 0)",
        "corral:servers_up": f"sum(up{{{here}}})",
        "corral:servers": f"count(up{{{here}}})",
    }
    if ask.plan.price:
        dollars = float(ask.plan.price.usd_per_hour)
        found["corral:usd_per_hour"] = f"{dollars:g} * count(max_over_time(up{{{here}}}[1h]))"
        found["corral:usd_per_mtok_output"] = (
            f"{found['corral:usd_per_hour']} / (sum(rate(vllm:generation_tokens_total{{{here}}}[1h])) * 0.0036 > 0)"
        )
    return found


def quantiles(name: str, metric: str, here: str) -> dict[str, str]:
    """The median and what one request in twenty exceeds; between two buckets of vLLM's histogram a straight line."""
    return {
        f"corral:{name}:p{of_100}": (
            f"histogram_quantile({of_100 / 100:g}, sum by (le) (rate({metric}_bucket{{{here}}}[5m])))"
        )
        for of_100 in (50, 95)
    }


def alert(name: str, query: str, after: str, severity: str, summary: str, what_next: str) -> dict[str, Any]:
    """One alert; `after` is how long it must be so."""
    return {
        "alert": name,
        "expr": query,
        "for": after,
        "labels": {"severity": severity},
        "annotations": {"summary": summary, "description": what_next},
    }


def alerts(ask: Ask) -> list[dict[str, Any]]:
    """Each with what to do; those of a promise, a budget, an end, GPUs or a gateway where there are any."""
    name, here = ask.name, f'job="{job(ask)}"'
    look = f"corral status {name}; corral logs {name}"
    stands = " and ".join(
        f"sum by (instance) (rate(vllm:{each}_tokens_total{{{here}}}[2m])) == 0"
        for each in ("generation", "prompt")
    )
    made = [
        alert(
            "CorralServerNotAnswering",
            f"up{{{here}}} == 0",
            "1m",
            "critical",
            f"{{{{ $labels.instance }}}} of {name} does not answer.",
            look,
        ),
        alert(
            "CorralNoServers",  # what a cluster's discovery no longer finds is not down: it is not there
            f"absent(up{{{here}}})",
            "5m",
            "critical",
            f"Prometheus has no server of {name} to scrape.",
            look,
        ),
        alert(
            "CorralServerHangs",
            f"(sum by (instance) (vllm:num_requests_running{{{here}}}) > 0) and {stands}",
            "5m",
            "critical",
            f"{{{{ $labels.instance }}}} of {name} has requests and has made no token for five minutes.",
            look,
        ),
        alert(
            "CorralServerRestarts",
            f"changes(process_start_time_seconds{{{here}}}[1h]) > 2",
            "0m",
            "warning",
            f"{{{{ $labels.instance }}}} of {name} was started three times within an hour.",
            look,
        ),
        alert(
            "CorralQueue",
            f"min_over_time(corral:requests_waiting{{deployment=\"{name}\"}}[5m]) > 0",
            "1m",
            "warning",
            f"At {{{{ $labels.instance }}}} of {name} requests have waited for five minutes without a pause.",
            "More comes than it serves: another replica, or fewer requests at once.",
        ),
        alert(
            "CorralKvCacheFull",
            f"min_over_time(corral:kv_cache_used:ratio{{deployment=\"{name}\"}}[5m]) > 0.95",
            "1m",
            "warning",
            f"The KV cache of {{{{ $labels.instance }}}} of {name} has been full for five minutes.",
            "Requests wait or are computed again: shorter contexts, fewer at once, or another replica.",
        ),
    ]  # fmt: skip
    return [*made, *promised(ask), *paid(ask), *ending(ask), *gpu_faults(ask), *gateway(ask)]


def promised(ask: Ask) -> list[dict[str, Any]]:
    """Where one request in twenty waits longer for its first token than was promised, of enough of them."""
    if ask.ttft_s is None:
        return []
    enough = (
        f'sum(increase(vllm:time_to_first_token_seconds_count{{job="{job(ask)}"}}[5m])) >= {FEWEST_REQUESTS}'
    )
    late = f'corral:ttft_seconds:p95{{deployment="{ask.name}"}} > {ask.ttft_s:g}'
    return [
        alert(
            "CorralTtftPromiseBroken",
            f"{late} and on () {enough}",
            "5m",
            "critical",
            f"One request in twenty to {ask.name} waits {{{{ $value | humanizeDuration }}}} or more for its first "
            f"token; {ask.ttft_s:g} s are promised.",
            f"corral simulate {ask.name} says how many replicas keep it.",
        )
    ]  # fmt: skip


def paid(ask: Ask) -> list[dict[str, Any]]:
    """Where it costs more than it may: at the present rate, or over the last 30 days."""
    if ask.budget_usd_per_month is None or not ask.plan.price:
        return []
    most, own = ask.budget_usd_per_month, f'corral:usd_per_hour{{deployment="{ask.name}"}}'
    return [
        alert(
            "CorralMonthWillExceedBudget",
            f"{own} * {HOURS_PER_MONTH} > {most:g}",
            "1h",
            "warning",
            f"A month of {ask.name} costs {{{{ $value | humanize }}}} USD at this rate; {most:g} are the budget.",
            f"corral down {ask.name} ends it; fewer replicas cost less.",
        ),
        alert(
            "CorralBudgetOfMonthSpent",
            f"sum_over_time({own}[30d:1h]) > {most:g}",
            "0m",
            "critical",
            f"{ask.name} has cost {{{{ $value | humanize }}}} USD in 30 days; {most:g} are the budget of a month.",
            f"corral down {ask.name} ends it.",
        ),
    ]


def ending(ask: Ask) -> list[dict[str, Any]]:
    """Before the machine ends itself."""
    if ask.ends_at is None:
        return []
    ends = int(datetime.fromisoformat(ask.ends_at).timestamp())
    return [
        alert(
            "CorralEndsSoon",
            f"(vector({ends}) - time() < {ENDS_SOON_S}) > 0",
            "0m",
            "warning",
            f"{ask.name} ends itself at {ask.ends_at}.",
            f"corral extend {ask.name} gives it more time; export again then.",
        )
    ]


def gpu_faults(ask: Ask) -> list[dict[str, Any]]:
    """What no start of a server mends is critical; the numbers are NVIDIA's (infra/xids.toml)."""
    if not ask.gpu_metrics:
        return []
    gpus = f'job="{job(ask, "gpus")}"'
    broken = " or ".join(f"DCGM_FI_DEV_XID_ERRORS{{{gpus}}} == {number}" for number in broken_xids())
    other = " and ".join(
        f"DCGM_FI_DEV_XID_ERRORS{{{gpus}}} != {number}" for number in (0, *HARMLESS, *broken_xids())
    )
    told = f"GPU {{{{ $labels.gpu }}}} of {{{{ $labels.instance }}}} ({ask.name})"
    return [
        alert(
            "CorralGpuBroken",
            f"{broken} or DCGM_FI_DEV_ROW_REMAP_FAILURE{{{gpus}}} > 0",
            "0m",
            "critical",
            f"{told} is broken.",
            "No start of the server mends it: corral status says what does, a reset or a reboot.",
        ),
        alert(
            "CorralGpuFault",
            other,
            "0m",
            "warning",
            f"{told} told an error: Xid {{{{ $value }}}}.",
            f"corral status {ask.name} says what it asks for. DCGM tells the last Xid until it is started anew.",
        ),
    ]


def gateway(ask: Ask) -> list[dict[str, Any]]:
    """What HAProxy tells, before the servers."""
    if not ask.gateway_metrics:
        return []
    here = f'job="{job(ask, "gateway")}"'
    total = f'sum(rate(haproxy_frontend_http_responses_total{{{here},proxy="gateway"}}[5m]))'
    failed = f'sum(rate(haproxy_frontend_http_responses_total{{{here},proxy="gateway",code="5xx"}}[5m]))'
    return [
        alert(
            "CorralGatewayNotAnswering",
            f"up{{{here}}} == 0",
            "1m",
            "critical",
            f"The gateway at {{{{ $labels.instance }}}} of {ask.name} does not answer.",
            "Its clients reach no server, whatever the servers do.",
        ),
        alert(
            "CorralGatewayServerDown",
            f"haproxy_server_status{{{here},proxy=\"engines\",state=\"DOWN\"}} == 1",
            "1m",
            "warning",
            f"The gateway of {ask.name} sends {{{{ $labels.server }}}} nothing: its checks fail.",
            f"corral status {ask.name}",
        ),
        alert(
            "CorralGatewayFails",
            f"{failed} / ({total} > 0) > 0.01",
            "5m",
            "critical",
            f"The gateway of {ask.name} answers {{{{ $value | humanizePercentage }}}} of requests with 5xx.",
            f"corral status {ask.name}",
        ),
    ]  # fmt: skip


def rules(ask: Ask) -> dict[str, Any]:
    """The file of rules; each series and each alert carries the deployment's name."""
    named = {"deployment": ask.name}
    recorded = [{"record": name, "expr": query, "labels": named} for name, query in queries(ask).items()]
    told = [each | {"labels": each["labels"] | named} for each in alerts(ask)]
    return {
        "groups": [
            {"name": f"{ask.resource_name}-records", "rules": recorded},
            {"name": f"{ask.resource_name}-alerts", "rules": told},
        ]
    }
