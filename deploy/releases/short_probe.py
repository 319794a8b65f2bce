"""A short probe of a release, and whether it is much slower than the one before it."""

import tempfile
from pathlib import Path

from deploy.releases.release import Figures
from infra.errors import ServerError
from infra.say import progress
from serving.probe.apis import APIS
from serving.probe.lengths import Lengths
from serving.probe.run import LATE, run
from serving.probe.spec import Load, Target, Workload
from serving.vllm import health, in_line
from serving.vllm.endpoint import Endpoint

REQUESTS, AT_ONCE = 16, 4
INPUT_TOKENS, OUTPUT_TOKENS = 256, 64
PART_OF_THE_CONTEXT = 4
"""A model of a short context is asked for less: prompt and answer are a quarter of it at most, each."""


def measured(endpoint: Endpoint, max_model_len: int | None) -> Figures | None:
    """Put a short load on it: always the same one, so that two releases can be held against each other.

    None where the server makes tokens for others meanwhile: beside their load figures say nothing, and a request that
    came too late stood in line. Raises EndpointError or AuthError where it cannot be asked.
    """
    most = max(1, (max_model_len or INPUT_TOKENS * PART_OF_THE_CONTEXT) // PART_OF_THE_CONTEXT)
    output = min(OUTPUT_TOKENS, most)
    target = Target(
        base_url=endpoint.base_url, model=endpoint.served_model_name, api_key_file=endpoint.api_key_file
    )
    load = Load(shape="concurrency", requests=REQUESTS, concurrency=AT_ONCE, warmup_requests=AT_ONCE)
    workload = Workload(input_tokens=Lengths(low=min(INPUT_TOKENS, most)), output_tokens=Lengths(low=output))
    before = health.reading(endpoint)
    with tempfile.TemporaryDirectory(prefix="corral-upgrade-") as kept:
        try:
            report = in_line.answer(
                endpoint,
                lambda: run(target, load, workload, Path(kept) / "probe"),
                APIS[target.api].trial_tokens,
            )
        except in_line.Behind:
            return None
    late = sum(report.errors.get(kind, 0) for kind in LATE)
    failed = REQUESTS - report.succeeded
    if health.generated(before, health.reading(endpoint)) > (REQUESTS + AT_ONCE + 1) * output:
        failed = sum(report.errors.values()) - late
        if not failed:
            return None
    return Figures(
        output_tokens_per_s=report.output_tokens_per_s,
        ttft_p50_s=report.ttft_s.p50 if report.ttft_s else None,
        requests=REQUESTS,
        failed=failed,
    )


def require_as_good(figures: Figures | None, before: Figures | None, slower_at_most: float) -> None:
    """Raise ServerError where requests fail, or it is slower than the last release by more than that share."""
    if figures is None:
        progress("upgrade: it serves others meanwhile, so its speed says nothing, and is not compared")
        return
    if figures.failed:
        raise ServerError(
            f"Of the short probe's {figures.requests} requests {figures.failed} failed.", "Look at its log."
        )
    if before is None:
        return
    least = before.output_tokens_per_s * (1 - slower_at_most)
    if figures.output_tokens_per_s < least:
        raise ServerError(
            f"The short probe makes {figures.output_tokens_per_s:,.1f} tokens a second, where the release before "
            f"makes {before.output_tokens_per_s:,.1f}: more than {slower_at_most:.0%} slower.",
            "Take it all the same by a larger bound: --slower-at-most 50%",
        )
