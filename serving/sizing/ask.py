"""What was asked: the options as typed, refused before anything is computed when no vLLM would take them."""

import re
from decimal import Decimal, InvalidOperation
from typing import Any

from pydantic import ValidationError

from infra import prices
from infra.errors import UsageError
from serving.sizing.fit import KV_BYTES, Options
from serving.sizing.subject import Subject

MOST = 1 << 50
LONGEST = 10_485_760
"""Tokens: Scout's context, the longest of any Llama 4."""
COUNTS = {
    **dict.fromkeys(("max_model_len", "input_tokens", "output_tokens", "max_num_batched_tokens"), LONGEST),
    **dict.fromkeys(("concurrency", "max_num_seqs"), 100_000),
    **dict.fromkeys(("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size"), 1024),
    "kv_cache_memory_bytes": MOST,
}
"""The options that must be positive whole numbers, and the most corral plans for."""
MULTIPLES = {
    "k": 10**3,
    "m": 10**6,
    "g": 10**9,
    "t": 10**12,
    "K": 2**10,
    "M": 2**20,
    "G": 2**30,
    "T": 2**40,
}
"""As vLLM reads them (human_readable_int of 0.32.0): small letters are decimal, capital ones binary."""
DTYPES = ("auto", "bfloat16", "float16", "half", "float32", "float")


def options_of(given: dict[str, Any]) -> Options:
    """Options from what was typed. Raises UsageError for a value that is no number."""
    try:
        return checked(Options(**{name: given[name] for name in Options.model_fields if name in given}))
    except ValidationError as error:
        name = str(error.errors()[0]["loc"][0])
        raise UsageError(f"{flag(name)} {given[name]} is not a number.", "See: corral size --help") from None


def checked(options: Options) -> Options:
    """The options, or UsageError for one that no vLLM would take."""
    for name, most in COUNTS.items():
        check_count(flag(name), getattr(options, name), most)
    check_region(options.region)
    utilization = options.gpu_memory_utilization
    if utilization is not None and not 0 < utilization <= 1:
        raise UsageError(
            f"--gpu-memory-utilization {utilization} is not in (0, 1].", "vLLM's default is 0.92."
        )
    if options.kv_cache_dtype not in KV_BYTES:
        raise UsageError(
            f"--kv-cache-dtype {options.kv_cache_dtype} is not one corral can plan for.",
            f"Use {', '.join(KV_BYTES)}.",
        )
    if options.dtype not in DTYPES:
        raise UsageError(
            f"--dtype {options.dtype} is not one corral can plan for.", f"Use {', '.join(DTYPES)}."
        )
    if (options.max_num_batched_tokens or MOST) < (options.max_num_seqs or 0):
        raise UsageError(
            f"--max-num-batched-tokens {options.max_num_batched_tokens} is less than --max-num-seqs "
            f"{options.max_num_seqs}: vLLM refuses that.",
            "Raise the first or lower the second.",
        )
    return options


def check_count(option: str, value: int | None, most: int) -> None:
    """Raise UsageError for a number below 1 or beyond the most."""
    if value is None or 1 <= value <= most:
        return
    if value < 1:
        raise UsageError(f"{option} {value} is not a positive number.", f"Use 1 to {most}.")
    raise UsageError(f"{option} {value} is more than corral can plan for.", f"Use 1 to {most}.")


def check_region(region: str | None) -> None:
    """Raise UsageError for a region that AWS does not have."""
    if region is not None and region not in prices.regions():
        from infra.aws.boto import checked_regions  # slow to import, and seldom needed

        checked_regions((region,))


def check_named(model_name: str) -> None:
    """Raise UsageError for a model without a name."""
    if not model_name.strip():
        raise UsageError("The model's name is empty.", "For example: corral size scout")


def bytes_typed(text: str | None) -> int | None:
    """A size as vLLM takes it: 67108864, 64M (2^20 each), 64m or 1.5g (10^6, 10^9). Raises UsageError."""
    if text is None:
        return None
    found = re.fullmatch(r"(-?\d{1,30})([kmgtKMGT]?)|(\d{1,30}\.\d{1,30})([kmgt])", text.strip(), re.ASCII)
    if not found:
        raise UsageError(
            f"--kv-cache-memory-bytes {text} is not a number of bytes.", "Write it as 8589934592, 8G or 8.5g."
        )
    whole, suffix, decimal, decimal_suffix = found.groups()
    return int(Decimal(whole or decimal) * MULTIPLES.get(suffix or decimal_suffix, 1))


def flag(name: str) -> str:
    """An option's name as it is typed."""
    return "--" + name.replace("_", "-")


def check_context(subject: Subject, options: Options) -> None:
    """Raise UsageError when a request or --max-model-len is beyond the model, or one beyond the other."""
    limit = subject.architecture.max_position_embeddings
    length = options.max_model_len or limit
    if length > limit:
        raise UsageError(
            f"--max-model-len {length:,} is beyond {subject.title}, which ends at {limit:,} tokens.",
            f"Use at most {limit}.",
        )
    if options.request_tokens > length:
        raise UsageError(
            f"A request of {options.input_tokens:,} + {options.output_tokens:,} tokens is longer than "
            f"{'--max-model-len' if options.max_model_len else 'the model'}, {length:,}.",
            "Raise --max-model-len, or plan for shorter requests with --input-tokens and --output-tokens.",
        )


def check_precision(precision: str | None, known: tuple[str, ...]) -> None:
    """Raise UsageError for a precision we do not know."""
    if precision is not None and precision not in known:
        raise UsageError(
            f"{precision!r} is not a precision corral knows.", f"Use --precision {'|'.join(known)}."
        )


def price_typed(text: str | None) -> Decimal | None:
    """A price as typed, exact. Raises UsageError when it is none."""
    if text is None:
        return None
    try:
        price = Decimal(text)
    except InvalidOperation:
        price = Decimal("nan")
    if not price.is_finite() or not 0 <= price <= MOST:
        raise UsageError(f"--usd-per-hour {text} is not a price.", "Write it as 12.50.")
    return price


def check_ranking(asked: dict[str, object]) -> None:
    """Raise UsageError for an option that needs one machine when every machine is ranked."""
    meaningless = [name for name, value in asked.items() if value]
    if meaningless:
        raise UsageError(f"{meaningless[0]} needs one machine.", "Name it: --on g5.12xlarge")
