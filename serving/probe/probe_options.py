"""What load and which requests may be asked of a probe: each option once; and the records it becomes."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, WrapValidator, field_validator, model_validator

from infra import bounded_json, quantity
from infra.asked import Asked, Flag, number
from infra.errors import UsageError
from serving.probe.apis import APIS, ApiName
from serving.probe.lengths import MOST_TOKENS, AskedLengths, Lengths
from serving.probe.prompts import read, trace
from serving.probe.spec import Load, Shape, Slo, Workload

MOST_CONCURRENCY = 100_000
MOST_RATE = 1_000_000.0
LEAST_RATE = 1e-6
LONGEST_S = 30 * 86400.0
MOST_SEED = 2**63 - 1
MOST_PROCESSES = 256
DEFAULT_REQUESTS = 128
DEFAULT_CONCURRENCY = 8
USUAL_LENGTHS = (512, 128)
"""Tokens of a prompt and of an answer, where neither the line nor a plan says them."""


def or_endless(value: Any, checked: Callable[[Any], Any]) -> Any:
    """Infinity has a meaning of its own, and no bounds."""
    return value if value == math.inf else checked(value)


Rate = Annotated[float, Field(ge=LEAST_RATE, le=MOST_RATE), WrapValidator(or_endless)]
Evenness = Annotated[float, Field(ge=1e-3, le=1e6), WrapValidator(or_endless)]
RequestTime = Annotated[float, Field(ge=0.05, le=86400.0)]


class JudgementOptions(Asked):
    """What a run, or its report, is judged by."""

    heading: ClassVar[str] = "How it is judged"

    max_failed: Annotated[float, Field(ge=0, le=1, examples=[0.01])] = 0.01
    """The share of requests that may fail; above it a run ends with exit code 8, and a step is no answer."""


class RepeatableOptions(JudgementOptions):
    """What a run has, and each step of a sweep."""

    heading: ClassVar[str] = "How it is measured"

    seed: Annotated[int, Field(ge=-(2**63), le=MOST_SEED)] = 0
    """Makes prompts and schedule repeatable."""
    timeout_s: RequestTime = 600.0
    """For one request."""
    processes: Annotated[int, Field(ge=1, le=MOST_PROCESSES)] = 1
    """Processes that share the load."""
    output: Path | None = None
    """Folder for the results."""


class LoadOptions(RepeatableOptions):
    """Which load: a closed loop, or an open one when a rate or a trace is given."""

    heading: ClassVar[str] = "The load"

    concurrency: Annotated[int | None, Field(ge=1, le=MOST_CONCURRENCY, examples=[8])] = None
    """Closed loop: this many requests at any time. [of a NAME its plan's for each server, else 8]"""
    request_rate: Annotated[Rate | None, Field(examples=[5])] = None
    """Open loop: this many a second; inf: all at once."""
    burstiness: Evenness = 1.0
    """1: Poisson; below: bursts; above: more even; inf: constant."""
    end_request_rate: Annotated[float | None, Field(ge=LEAST_RATE, le=MOST_RATE, examples=[50])] = None
    """Move the rate to this one in --duration-s, evenly spaced."""
    replay: Path | None = None
    """Open loop: a trace, JSON lines as --prompts, each with time_s or timestamp (in ms)."""
    requests: Annotated[int | None, Field(ge=1, le=100_000_000, examples=[128])] = None
    """How many requests."""
    duration_s: Annotated[float | None, Field(ge=0.1, le=LONGEST_S, examples=[60])] = None
    """Send for this long."""
    warmup_requests: Annotated[int, Field(ge=0, le=100_000)] = 0
    """Sent before the clock starts."""
    stall_timeout_s: RequestTime = 120.0
    """For one request, without a byte; for all together 66 s, or 0.55 of it."""
    kernel_stamps: bool = True
    """Take receive times from the kernel, where it has them."""
    compiled_reader: bool = True
    """Read by a small C program, compiled at its first use, where cc is."""
    new_connections: Annotated[bool, Flag("--new-connections")] = False
    """A new connection for each request."""

    @model_validator(mode="after")
    def of_one_kind(self) -> Self:
        """One kind of load, and what belongs to it. Raises UsageError."""
        kinds = {
            "--concurrency": self.concurrency,
            "--request-rate": self.request_rate,
            "--replay": self.replay,
        }
        given = [name for name, value in kinds.items() if value is not None]
        if len(given) > 1:
            raise UsageError(
                f"{' and '.join(given)} are different kinds of load.",
                f"Leave out {' and '.join(given[1:])}.",
            )
        if self.request_rate is None and (self.end_request_rate is not None or self.burstiness != 1):
            raise UsageError(
                "--end-request-rate and --burstiness belong to a rate.", "Say the rate: --request-rate 5"
            )
        if self.end_request_rate is not None:
            self.check_moving()
        if self.request_rate == math.inf and (self.burstiness != 1 or self.duration_s is not None):
            raise UsageError(
                "With --request-rate inf all requests are sent at once: there is no time and no burstiness.",
                "Say how many instead: --requests 128",
            )
        return self

    def check_moving(self) -> None:
        """Raise UsageError for a rate that cannot move."""
        if self.burstiness != 1 or self.request_rate == math.inf:
            raise UsageError(
                "A rate that moves starts at a finite one and is evenly spaced.",
                "Leave --burstiness out, or --end-request-rate.",
            )
        if self.duration_s is None:
            raise UsageError("A rate that moves needs a time to move in.", "Say how long: --duration-s 60")


class WorkloadOptions(Asked):
    """Which requests."""

    heading: ClassVar[str] = "The requests"

    input_tokens: Annotated[AskedLengths | None, Field(examples=[512])] = None
    """N, or A-B (uniform), or MEAN~SD (normal). [of a NAME its plan's, else 512]"""
    output_tokens: Annotated[AskedLengths | None, Field(examples=[128])] = None
    """As --input-tokens. [of a NAME its plan's, else 128]"""
    prefix_tokens: Annotated[int, Field(ge=0, le=MOST_TOKENS)] = 0
    """Tokens that all prompts share at their start."""
    prompts: Path | None = None
    """Your own: JSON lines with prompt, messages (chat) or input_tokens; output_tokens. Or a ShareGPT file."""
    hash_block_tokens: Annotated[int, Field(ge=1, le=65536)] = 512
    """Of each block that a trace names in hash_ids."""
    tokenizer: Path | None = None
    """The model's tokenizer.json, or its folder, to count by where the server does not count."""
    turns: Annotated[int, Field(ge=1, le=1000)] = 1
    """Of each conversation; chat only."""
    images: Annotated[int, Field(ge=0, le=100)] = 0
    """In each request; chat only."""
    image_size: str = "512x512"
    """WIDTHxHEIGHT"""
    ignore_eos: bool | None = None
    """Answer to the full length. Default: where it is vLLM."""
    extra_body: str = ""
    """JSON laid over every request's body; null removes a field."""

    @field_validator("image_size")
    @classmethod
    def of_pixels(cls, size: str) -> str:
        """A size. Raises UsageError."""
        size_of(size)
        return size

    @field_validator("extra_body")
    @classmethod
    def of_json(cls, body: str) -> str:
        """A JSON object that asks for one answer a request. Raises UsageError."""
        asked = json_object("--extra-body", body)
        if not asked.get("stream", True):
            raise UsageError(
                "--extra-body turns streaming off, and nothing tells then when a token came.",
                "Leave stream out of it.",
            )
        for name in ("n", "best_of"):
            if asked.get(name, 1) not in (1, None):
                raise UsageError(
                    f"--extra-body asks for several answers a request ({name}): their tokens cannot be told apart"
                    " in time.",
                    f"Leave {name} out, and send more requests at once: --concurrency.",
                )
        return body


class RunWorkloadOptions(WorkloadOptions):
    """Which requests, of one run."""

    per_chunk_usage: Annotated[bool, Flag("--per-chunk-usage/--no-per-chunk-usage")] = False
    """Let vLLM say the tokens of every chunk."""


class SloOptions(Asked):
    """What a request must meet to count as good."""

    heading: ClassVar[str] = "The limits"

    goodput: tuple[str, ...] = ()
    """A limit in ms: ttft:500, tpot:50, itl: (the worst gap), e2el:, or with its unit: 2s; repeatable."""

    @field_validator("goodput")
    @classmethod
    def each_known(cls, goodput: tuple[str, ...]) -> tuple[str, ...]:
        """Limits. Raises UsageError."""
        slo_of(goodput)
        return goodput


class FormOptions(Asked):
    """The other forms of a report."""

    html: Path | None = None
    """Also write a page with plots."""
    csv: Path | None = None
    """Also write one line a request."""
    vllm_bench: Path | None = None
    """Also write vllm bench serve's result fields."""


def load_of(asked: LoadOptions, times_s: tuple[float, ...] = ()) -> Load:
    """The load, replaying what was sent at those times where there are any. Raises UsageError."""
    requests, shape = asked.requests, shape_of(asked, times_s)
    if requests is None and asked.duration_s is None and not times_s:
        requests = max(DEFAULT_REQUESTS, 4 * (asked.concurrency or 0))
    concurrency = asked.concurrency or DEFAULT_CONCURRENCY if shape == "concurrency" else None
    if concurrency and asked.processes > (slots := min(concurrency, requests or concurrency)):
        raise UsageError(
            f"{asked.processes} processes cannot share {slots} requests at a time.",
            "Use fewer: --processes",
        )
    return Load(
        shape=shape,
        requests=requests,
        duration_s=asked.duration_s,
        concurrency=concurrency,
        request_rate=asked.request_rate if shape != "burst" else None,
        end_request_rate=asked.end_request_rate,
        burstiness=asked.burstiness if shape == "gamma" else 1.0,
        trace=times_s,
        seed=asked.seed,
        warmup_requests=asked.warmup_requests,
        timeout_s=asked.timeout_s,
        stall_timeout_s=asked.stall_timeout_s,
        processes=asked.processes,
        kernel_stamps=asked.kernel_stamps,
        compiled_reader=asked.compiled_reader,
        new_connections=asked.new_connections,
    )


def shape_of(asked: LoadOptions, times_s: tuple[float, ...]) -> Shape:
    """A closed loop of so many at a time, or requests by a schedule, whatever the server does."""
    if times_s:
        return "replay"
    if asked.request_rate is None:
        return "concurrency"
    if asked.request_rate == math.inf:
        return "burst"
    if asked.end_request_rate is not None:
        return "ramp"
    if asked.burstiness == math.inf:
        return "constant"
    return "poisson" if asked.burstiness == 1 else "gamma"


def workload_of(
    asked: WorkloadOptions,
    api: ApiName = "completions",
    seed: int = 0,
    replay: Path | None = None,
    lengths: tuple[int, int] = USUAL_LENGTHS,
) -> Workload:
    """Which requests: the user's own, those of a trace, or synthetic ones; of those lengths where none were typed.

    Raises UsageError.
    """
    prompt, answer = lengths
    input_tokens = asked.input_tokens or Lengths(low=prompt)
    file = asked.prompts or replay
    if file is not None and (asked.prefix_tokens or asked.turns > 1 or asked.images):
        raise UsageError(
            "--prefix-tokens, --turns and --images make synthetic prompts; yours are sent as they are.",
            "Leave those out, or --prompts and --replay.",
        )
    if APIS[api].one_text and (asked.turns > 1 or asked.images):
        raise UsageError("Turns and images are for a chat.", "Add --api chat.")
    if asked.images and not APIS[api].takes_images:
        raise UsageError("Synthetic images are in OpenAI's form only.", "Use --api chat.")
    if asked.prefix_tokens and asked.prefix_tokens >= input_tokens.smallest:
        raise UsageError(
            f"A shared prefix of {asked.prefix_tokens} tokens leaves nothing of {input_tokens} for the rest.",
            "Ask for longer inputs.",
        )
    return Workload(
        input_tokens=input_tokens,
        output_tokens=asked.output_tokens or Lengths(low=answer),
        prefix_tokens=asked.prefix_tokens,
        turns=asked.turns,
        images=asked.images,
        image_size=size_of(asked.image_size),
        prompts_file=file,
        hash_block_tokens=asked.hash_block_tokens,
        tokenizer=asked.tokenizer,
        seed=seed,
        ignore_eos=asked.ignore_eos,
        per_chunk_usage=isinstance(asked, RunWorkloadOptions) and asked.per_chunk_usage,
        extra_body=json_object("--extra-body", asked.extra_body),
    )


def json_object(option: str, text: str) -> dict[str, object]:
    """The JSON object in an option; an empty one for none."""
    try:
        value = bounded_json.load((text or "{}").encode(errors="replace"))
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise UsageError(
            f"{option} is no JSON object: {text!r}.", f"""Say, e.g., {option} '{{"top_p": 0.9}}'"""
        )
    return value


def size_of(text: str) -> tuple[int, int]:
    """WIDTHxHEIGHT in pixels."""
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    if not match:
        raise UsageError(f"--image-size {text!r} is no size.", "Say WIDTHxHEIGHT: --image-size 512x512")
    width, height = int(match[1]), int(match[2])
    within("--image-size", min(width, height), 1, 16384)
    within("--image-size", max(width, height), 1, 16384)
    return width, height


def slo_of(goodput: tuple[str, ...]) -> Slo:
    """The limits, in vLLM's form: ttft:500 tpot:50 itl:200 e2el:10000, in milliseconds."""
    limits: dict[str, float] = {}
    for each in goodput:
        name, colon, value = each.partition(":")
        field = {"ttft": "ttft_s", "tpot": "tpot_s", "itl": "itl_s", "e2el": "e2e_s", "e2e": "e2e_s"}.get(
            name
        )
        try:
            limit_ms = float(quantity.read(value, "ms", whole=False))
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
        raise UsageError(
            f"{option} {value:g} is not between {number(low)} and {number(high)}.",
            f"For example: {option} {low:g}",
        )


def trace_of(path: Path | None) -> tuple[float, ...]:
    """The send times of a trace; none without one."""
    return trace(read(path), path) if path is not None else ()
