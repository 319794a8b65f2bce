"""PURE: what a user may ask of a probe, checked and put into its records. Every complaint is a UsageError."""

import math
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from infra.errors import UsageError
from serving.probe import lengths
from serving.probe.api import PATHS, Api
from serving.probe.spec import Load, Slo, Target, Workload

MOST_CONCURRENCY = 100_000
MOST_RATE = 1_000_000.0
MOST_REQUESTS = 100_000_000
LONGEST_S = 30 * 86400.0
DEFAULT_REQUESTS = 128
DEFAULT_CONCURRENCY = 8


def target_of(
    url: str,
    api: str = "completions",
    model: str | None = None,
    api_key_file: Path | None = None,
    api_key_variable: str | None = None,
    ca_file: Path | None = None,
) -> Target:
    """At whom."""
    base_url, path_api = split_url(url)
    return Target(
        base_url=base_url,
        api=path_api or known_api(api),
        model=model,
        api_key_file=api_key_file,
        api_key_variable=api_key_variable,
        ca_file=ca_file,
    )


def split_url(url: str) -> tuple[str, Api | None]:
    """The base without /v1, and the API when the URL names its path."""
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid or url != url.strip() or any(ord(letter) < 33 for letter in url):
        raise UsageError(f"{url!r} is not the URL of a server.", "Say, for example, http://127.0.0.1:8000")
    if parts.username or parts.password:
        raise UsageError("A URL must not hold a password.", "Use --api-key-file FILE.")
    path = parts.path.rstrip("/")
    named = next((api for api, end in PATHS.items() if path.endswith(end)), None)
    path = path.removesuffix(PATHS[named]) if named else path.removesuffix("/v1")
    return f"{parts.scheme}://{parts.netloc}{path}", named


def known_api(api: str) -> Api:
    """One of the three."""
    for known in PATHS:
        if api == known:
            return known
    raise UsageError(f"There is no API {api!r}.", f"One of: {', '.join(PATHS)}")


def load_of(
    concurrency: int | None = None,
    request_rate: float | None = None,
    requests: int | None = None,
    duration_s: float | None = None,
    **rest: Any,
) -> Load:
    """Which load: a closed loop, or an open one when a rate is given."""
    if concurrency is not None and request_rate is not None:
        raise UsageError("--concurrency and --request-rate are two kinds of load.", "Give one of them.")
    if concurrency is not None:
        within("--concurrency", concurrency, 1, MOST_CONCURRENCY)
    if requests is not None:
        within("--requests", requests, 1, MOST_REQUESTS)
    if duration_s is not None:
        within("--duration-s", duration_s, 0.1, LONGEST_S)
    for name, most in (("timeout_s", 86400.0), ("stall_timeout_s", 86400.0)):
        within("--" + name.replace("_", "-"), rest.get(name, 1.0), 0.05, most)
    if requests is None and duration_s is None:
        requests = DEFAULT_REQUESTS
    common = {"requests": requests, "duration_s": duration_s, **rest}
    if request_rate is None:
        return Load(shape="concurrency", concurrency=concurrency or DEFAULT_CONCURRENCY, **common)
    if request_rate == math.inf:
        return Load(shape="burst", **common)
    within("--request-rate", request_rate, 1e-6, MOST_RATE)
    return Load(shape="poisson", request_rate=request_rate, **common)


def workload_of(input_tokens: str = "512", output_tokens: str = "128", **rest: Any) -> Workload:
    """Which requests."""
    return Workload(
        input_tokens=lengths.parse(input_tokens, "--input-tokens"),
        output_tokens=lengths.parse(output_tokens, "--output-tokens"),
        **rest,
    )


def slo_of(goodput: list[str]) -> Slo:
    """The limits, in vLLM's form: ttft:500 tpot:50 itl:200 e2el:10000, in milliseconds."""
    limits: dict[str, float] = {}
    for each in goodput:
        name, colon, value = each.partition(":")
        field = {"ttft": "ttft_s", "tpot": "tpot_s", "itl": "itl_s", "e2el": "e2e_s", "e2e": "e2e_s"}.get(
            name
        )
        try:
            limit_ms = float(value)
        except ValueError:
            limit_ms = math.nan
        if field is None or not colon or not 0 < limit_ms < 1e9:
            raise UsageError(
                f"--goodput {each!r} is not a limit.", "Say, in milliseconds: --goodput ttft:500"
            )
        limits[field] = limit_ms / 1000
    return Slo(**limits)


def within(option: str, value: float, low: float, high: float) -> None:
    """Raises UsageError for what is not a number in the range."""
    if not low <= value <= high:  # NaN is in no range
        raise UsageError(f"{option} {value} is out of range.", f"It can be {low:,g} to {high:,g}.")
