"""PURE: what a user may ask of a probe, checked and put into its records. Every complaint is a UsageError."""

import math
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson

from infra.errors import UsageError
from serving.probe import lengths
from serving.probe.apis import APIS, ApiName
from serving.probe.prompts import read, trace
from serving.probe.server_words import one_line
from serving.probe.spec import Load, Slo, Steps, Target, Workload

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
    if model is not None and not model.strip():
        raise UsageError("--model is empty.", "Leave it out to take the first model the server lists.")
    return Target(
        base_url=base_url,
        api=path_api or known_api(api),
        model=model,
        api_key_file=api_key_file,
        api_key_variable=api_key_variable,
        ca_file=ca_file,
    )


def split_url(url: str) -> tuple[str, ApiName | None]:
    """The base without /v1, and the API when the URL names its path."""
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if (
        not valid
        or any(not 33 <= ord(letter) < 127 for letter in url)
        or not can_be_a_host(parts.hostname or "")
    ):
        raise UsageError(
            f"{one_line(repr(url), 200)} is not the URL of a server.",
            "Say, for example, http://127.0.0.1:8000",
        )
    if parts.username or parts.password:
        raise UsageError("A URL must not hold a password.", "Use --api-key-file FILE.")
    if parts.query or parts.fragment:
        raise UsageError(
            "A URL is an address alone here: what follows a ? or # goes nowhere.",
            f"Say {parts._replace(query='', fragment='').geturl()}",
        )
    path = parts.path.rstrip("/")
    named = next((api for api in APIS.values() if path.endswith(api.path)), None)
    path = path.removesuffix(named.path if named else "/v1")
    return f"{parts.scheme}://{parts.netloc}{path}", named.name if named else None


def can_be_a_host(name: str) -> bool:
    """Whether a resolver takes it: no part of it is empty or too long."""
    try:
        return bool(name.encode("idna"))
    except UnicodeError:
        return False


def known_api(name: str) -> ApiName:
    """One of those there are."""
    for known in APIS:
        if name == known:
            return known
    raise UsageError(f"There is no API {name!r}.", f"One of: {', '.join(APIS)}")


def load_of(
    concurrency: int | None = None,
    request_rate: float | None = None,
    requests: int | None = None,
    duration_s: float | None = None,
    burstiness: float = 1.0,
    end_request_rate: float | None = None,
    replay: tuple[float, ...] = (),
    **rest: Any,
) -> Load:
    """Which load: a closed loop, or an open one when a rate or a trace is given."""
    kinds = {"--concurrency": concurrency, "--request-rate": request_rate, "--replay": replay or None}
    given = [name for name, value in kinds.items() if value is not None]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} are different kinds of load.", "Give one of them.")
    if request_rate is None and (end_request_rate is not None or burstiness != 1):
        raise UsageError(
            "--end-request-rate and --burstiness belong to a rate.", "Say the rate: --request-rate 5"
        )
    if end_request_rate is not None and (burstiness != 1 or request_rate == math.inf):
        raise UsageError(
            "A rate that moves starts at a finite one and is evenly spaced.",
            "Leave --burstiness out, or --end-request-rate.",
        )
    if request_rate == math.inf and (burstiness != 1 or duration_s is not None):
        raise UsageError(
            "With --request-rate inf all requests are sent at once: there is no time and no burstiness.",
            "Say how many instead: --requests 128",
        )
    check_load(concurrency, request_rate, requests, duration_s, burstiness, end_request_rate, rest)
    if requests is None and duration_s is None and not replay:
        requests = max(DEFAULT_REQUESTS, 4 * (concurrency or 0))
    common = {"requests": requests, "duration_s": duration_s, **rest}
    if replay:
        return Load(shape="replay", trace=replay, **common)
    if request_rate is None:
        return closed_loop(concurrency or DEFAULT_CONCURRENCY, common)
    return open_loop(request_rate, burstiness, end_request_rate, common)


def closed_loop(concurrency: int, common: dict[str, Any]) -> Load:
    """So many at a time."""
    slots = min(concurrency, common["requests"] or concurrency)
    if common.get("processes", 1) > slots:
        raise UsageError(
            f"{common['processes']} processes cannot share {slots} requests at a time.",
            "Use fewer: --processes",
        )
    return Load(shape="concurrency", concurrency=concurrency, **common)


def open_loop(rate: float, burstiness: float, end_rate: float | None, common: dict[str, Any]) -> Load:
    """So many a second, whatever the server does."""
    if rate == math.inf:
        return Load(shape="burst", **(common | {"requests": common["requests"] or DEFAULT_REQUESTS}))
    if end_rate is not None:
        if common["duration_s"] is None:
            raise UsageError("A rate that moves needs a time to move in.", "Say how long: --duration-s 60")
        return Load(shape="ramp", request_rate=rate, end_request_rate=end_rate, **common)
    if burstiness == math.inf:
        return Load(shape="constant", request_rate=rate, **common)
    if burstiness == 1:
        return Load(shape="poisson", request_rate=rate, **common)
    return Load(shape="gamma", request_rate=rate, burstiness=burstiness, **common)


def check_load(
    concurrency: int | None,
    request_rate: float | None,
    requests: int | None,
    duration_s: float | None,
    burstiness: float,
    end_request_rate: float | None,
    rest: dict[str, Any],
) -> None:
    """Raises UsageError for a number out of range."""
    rate = 1.0 if request_rate == math.inf else request_rate
    limits = (
        ("--concurrency", concurrency, 1, MOST_CONCURRENCY),
        ("--requests", requests, 1, MOST_REQUESTS),
        ("--duration-s", duration_s, 0.1, LONGEST_S),
        ("--request-rate", rate, 1e-6, MOST_RATE),
        ("--end-request-rate", end_request_rate, 1e-6, MOST_RATE),
        ("--burstiness", 1.0 if burstiness == math.inf else burstiness, 1e-3, 1e6),
        ("--timeout-s", rest.get("timeout_s"), 0.05, 86400.0),
        ("--stall-timeout-s", rest.get("stall_timeout_s"), 0.05, 86400.0),
        ("--warmup-requests", rest.get("warmup_requests"), 0, 100_000),
        ("--processes", rest.get("processes"), 1, 256),
    )
    for option, value, low, high in limits:
        if value is not None:
            within(option, value, low, high)


def workload_of(
    input_tokens: str = "512",
    output_tokens: str = "128",
    api: ApiName = "completions",
    extra_body: str = "",
    image_size: str = "",
    **rest: Any,
) -> Workload:
    """Which requests."""
    within("--seed", rest.get("seed", 0), -(2**63), 2**63 - 1)
    inputs = lengths.parse(input_tokens, "--input-tokens")
    prefix, turns, images = rest.get("prefix_tokens", 0), rest.get("turns", 1), rest.get("images", 0)
    within("--turns", turns, 1, 1000)
    within("--images", images, 0, 100)
    within("--prefix-tokens", prefix, 0, lengths.MOST_TOKENS)
    if prefix and prefix >= inputs.smallest:
        raise UsageError(
            f"A shared prefix of {prefix} tokens leaves nothing of {inputs} for the rest.",
            "Ask for longer inputs.",
        )
    if rest.get("prompts_file") is not None and (prefix or turns > 1 or images):
        raise UsageError(
            "--prefix-tokens, --turns and --images make synthetic prompts; yours are sent as they are.",
            "Leave those out, or --prompts and --replay.",
        )
    if APIS[api].one_text and (turns > 1 or images):
        raise UsageError("Turns and images are for a chat.", "Add --api chat.")
    if images and not APIS[api].takes_images:
        raise UsageError("Synthetic images are in OpenAI's form only.", "Use --api chat.")
    return Workload(
        input_tokens=inputs,
        output_tokens=lengths.parse(output_tokens, "--output-tokens"),
        extra_body=json_object("--extra-body", extra_body),
        image_size=size_of(image_size),
        **rest,
    )


def json_object(option: str, text: str) -> dict[str, object]:
    """The JSON object in an option; an empty one for none."""
    try:
        value = orjson.loads(text or "{}")
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise UsageError(
            f"{option} is no JSON object: {text!r}.", f"""Say, e.g., {option} '{{"top_p": 0.9}}'"""
        )
    return value


def size_of(text: str) -> tuple[int, int]:
    """WIDTHxHEIGHT in pixels."""
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text or "512x512")
    if not match:
        raise UsageError(f"--image-size {text!r} is no size.", "Say WIDTHxHEIGHT: --image-size 512x512")
    width, height = int(match[1]), int(match[2])
    within("--image-size", min(width, height), 1, 16384)
    within("--image-size", max(width, height), 1, 16384)
    return width, height


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
        if field in limits:
            raise UsageError(f"--goodput has two limits for {name}.", "Give one of them.")
        limits[field] = limit_ms / 1000
    return Slo(**limits)


def within(option: str, value: float, low: float, high: float) -> None:
    """Raises UsageError for what is not a number in the range."""
    if not low <= value <= high:  # NaN is in no range
        raise UsageError(f"{option} {value} is out of range.", f"It can be {number(low)} to {number(high)}.")


def number(value: float) -> str:
    """A limit as a person writes it."""
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:g}"


def trace_of(path: Path | None) -> tuple[float, ...]:
    """The send times of a trace; none without one."""
    return trace(read(path), path) if path is not None else ()


def one_of(option: str, value: str, *choices: str) -> str:
    """The value when it is one of the choices."""
    if value not in choices:
        raise UsageError(f"{option} {value!r} is unknown.", f"One of: {', '.join(choices)}")
    return value


def steps_of(
    over: str,
    start: float,
    limit: float,
    attainment: float,
    duration_s: float,
    timeout_s: float,
    processes: int,
    seed: int,
) -> Steps:
    """The sweep's steps, in range."""
    closed = one_of("--over", over, "concurrency", "rate") == "concurrency"
    most = MOST_CONCURRENCY if closed else MOST_RATE
    within("--start", start, 1.0 if closed else 1e-6, most)
    within("--limit", limit, start, most)
    for option, value in (("--start", start), ("--limit", limit)):
        if closed and value != int(value):
            raise UsageError(f"{option} {value} is no whole number of requests.", f"Say {option} {value:.0f}")
    within("--attainment", attainment, 0.01, 1.0)
    within("--duration-s", duration_s, 0.5, LONGEST_S)
    within("--timeout-s", timeout_s, 0.05, 86400.0)
    within("--processes", processes, 1, min(256.0, start if closed else 256.0))
    return Steps(
        over=over,
        start=start,
        limit=limit,
        attainment=attainment,
        duration_s=duration_s,
        timeout_s=timeout_s,
        processes=processes,
        seed=seed,
    )
