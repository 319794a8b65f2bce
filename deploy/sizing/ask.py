"""What was asked: the options as typed, refused before anything is computed when no vLLM would take them."""

from decimal import Decimal, InvalidOperation
from typing import Any

from pydantic import ValidationError

from deploy.sizing.fit import KV_BYTES, Options
from deploy.sizing.subject import Subject
from infra.errors import UsageError
from serving.vllm_versions import rules

COUNTS = (
    *("max_model_len", "max_num_seqs", "max_num_batched_tokens", "kv_cache_memory_bytes"),
    *("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size"),
    *("input_tokens", "output_tokens", "concurrency"),
)
"""The options that must be positive whole numbers."""
MOST = 1 << 50
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
    for name in COUNTS:
        value = getattr(options, name)
        if value is not None and not 1 <= value <= MOST:
            raise UsageError(
                f"{flag(name)} {value} is not a positive number corral can plan for.", "Use 1 or more."
            )
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
    rules(options.vllm_version)
    return options


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
