"""PURE: what a vLLM server's log says of its memory, and of what it was started with. From 0.8.3 to 0.33."""

import re
from collections.abc import Iterable
from typing import NamedTuple

from infra.argument import pasted
from infra.errors import DocumentError
from infra.printable import one_line
from infra.record import Record

LONGEST_LINE = 65_536
"""That of the engine's configuration has some 4,000 letters; what is longer is no line of vLLM's."""
COLOUR = re.compile("\x1b\\[[0-9;]*m")
FIGURE = r"(-?[0-9]{1,6}(?:\.[0-9]{1,9})?)"
ENGINE = re.compile(r"Initializing an? (V\d )?LLM engine \(v([\w.+-]{1,80})\) with config: ")
# The logo came with 0.16; corral's own servers and older ones say it in words.
SERVER = re.compile(r"vLLM (?:API )?server version [\w.+-]|█ ▀▄▀ █\s+version [\w.+-]")
ARGUMENTS = re.compile(r"non-default args: \{|\bargs: Namespace\(")
# "GB" until 0.8.2, of the same 2**30 bytes; " memory" since 0.12; a line of the first rank alone, or one of each.
LOADED = re.compile(rf"Model loading took {FIGURE} Gi?B(?: memory)? and ")
AVAILABLE = re.compile(rf"Available KV cache memory: {FIGURE} GiB")
TOKENS = re.compile(r"\b(GPU|CPU|XPU) KV cache size: ([0-9,]{1,15}) tokens")
GRAPHS = re.compile(rf"Graph capturing finished in [0-9.]+ secs?, took {FIGURE} GiB")
BATCHED = re.compile(r"Chunked prefill is enabled with max_num_batched_tokens=([0-9]{1,9})\b")
POSITIONS = re.compile(r"max_position_embeddings['\"]?: ([0-9]{1,9})\b")
SERVED = re.compile(r"'?served_model_name'?[=:] ?\[([^\]]*)\]")
BESIDES = (
    "kv_cache_memory_bytes",
    "enable_lora",
    "speculative_config",
    "speculative_model",
    "cpu_offload_gb",
)
NO_IMAGES = re.compile(r"['\"]image['\"]: 0\b")


class Start(NamedTuple):
    """The line of the log that a server begins with."""

    number: int
    """From 1."""
    line: str


class ServerLog(Record):
    """One start of a server: GiB of the fullest GPU, and what memory depends on; None where it was left to vLLM."""

    vllm_version: str
    models: tuple[str, ...]
    """What it loaded and what clients ask for."""
    device: str
    tensor: int
    pipeline: int
    data: int
    loading_gib: float | None
    """Weights and rotary table."""
    kv_cache_gib: float | None
    """None before 0.9.2, which says the tokens alone."""
    kv_cache_tokens: int
    graphs_gib: float | None
    max_model_len: int
    max_num_seqs: int | None
    max_num_batched_tokens: int | None
    gpu_memory_utilization: float | None
    kv_cache_dtype: str
    besides: str
    """An option by which memory holds what is told of nowhere, or nothing is profiled; "" for none."""
    enforce_eager: bool
    text_only: bool
    is_hybrid: bool
    max_position_embeddings: int | None


def read(text: str, where: str) -> ServerLog:
    """The start that a log holds. Raises DocumentError for none, for several, and for one that is cut."""
    lines = [COLOUR.sub("", line[:LONGEST_LINE]) for line in text.split("\n")]
    if "\0" in text or not any(
        pattern.search(line) for pattern in (SERVER, ENGINE, LOADED) for line in lines
    ):
        raise DocumentError(
            f"{where} is no log of a vLLM server.",
            "Give what `vllm serve` printed, or `corral logs` of one of ours, kept in a file.",
        )
    engines = [each for line in lines if (each := ENGINE.search(line))]
    given = next((line for line in lines if ARGUMENTS.search(line)), "")
    if not engines or not given:
        raise cut(
            where, "does not hold the server's first lines", "its arguments and its engine's configuration"
        )
    if (engines[0][1] or "V1 ") != "V1 ":
        raise DocumentError(
            f"{where} is of vLLM's {engines[0][1]}engine, which counts memory otherwise.",
            "Start it with VLLM_USE_V1=1.",
        )
    refuse_several(lines, where, data_of(given))
    return of_one(lines, engines[0], given, where)


def refuse_several(lines: list[str], where: str, data: int) -> None:
    """Raise DocumentError for a log of more than one start, with how to cut it. Each copy of a model says its own."""
    starts = [Start(number, line) for number, line in enumerate(lines, 1) if SERVER.search(line)]
    engines = [Start(number, line) for number, line in enumerate(lines, 1) if ENGINE.search(line)]
    last = starts[-1] if len(starts) > 1 else engines[-1] if len(engines) > data else None
    if last:
        raise DocumentError(
            f"{where} holds more than one start of a server.",
            f"Give one of them, such as the last: tail -n +{last.number} {pasted(where)} > one.log",
        )


def of_one(lines: list[str], engine: re.Match[str], given: str, where: str) -> ServerLog:
    """The one start. Raises DocumentError where it is cut before its KV cache."""
    config = engine.string[engine.end() :]
    tokens = next((each for line in lines if (each := TOKENS.search(line))), None)
    loading, available, graphs = (figures(pattern, lines) for pattern in (LOADED, AVAILABLE, GRAPHS))
    if not available and not tokens:
        raise cut(where, "ends before the server has sized its KV cache", "the line on its KV cache")
    device = tokens[1] if tokens else "GPU"
    if not loading and device == "GPU":
        raise cut(where, "does not say what the model takes", 'the line "Model loading took"')
    batched = next((each[1] for line in lines if (each := BATCHED.search(line))), None)
    return ServerLog(
        vllm_version=engine[2],
        models=tuple(
            filter(None, (setting(config, "model"), setting(given, "model"), *served(given, config)))
        ),
        device=device,
        tensor=whole(config, "tensor_parallel_size") or 1,
        pipeline=whole(config, "pipeline_parallel_size") or 1,
        data=data_of(given),
        loading_gib=max(loading, default=None),
        kv_cache_gib=min(available, default=None),
        kv_cache_tokens=int(tokens[2].replace(",", "") or 0) if tokens else 0,
        graphs_gib=max(0.0, *graphs) if graphs else None,  # where the GPU shares the RAM it may be below 0
        max_model_len=whole(config, "max_seq_len") or whole(given, "max_model_len") or 0,
        max_num_seqs=whole(given, "max_num_seqs"),
        max_num_batched_tokens=int(batched) if batched else whole(given, "max_num_batched_tokens"),
        gpu_memory_utilization=share(setting(given, "gpu_memory_utilization")),
        kv_cache_dtype=setting(config, "kv_cache_dtype") or "auto",
        besides=next((name for name in BESIDES if setting(given, name) not in ("", "False", "0", "0.0")), ""),
        enforce_eager=setting(config, "enforce_eager") == "True",
        text_only=setting(given, "language_model_only") == "True" or NO_IMAGES.search(given) is not None,
        is_hybrid=setting(given, "disable_hybrid_kv_cache_manager") != "True",
        max_position_embeddings=int(found[1]) if (found := POSITIONS.search(given)) else None,
    )


def figures(pattern: re.Pattern[str], lines: Iterable[str]) -> list[float]:
    """What each line of that kind says, of whichever rank."""
    return [float(each[1]) for line in lines if (each := pattern.search(line))]


def setting(line: str, name: str) -> str:
    """A setting as a line says it: NAME=VALUE, or 'NAME': VALUE; "" where it does not, or says None."""
    found = re.search(rf"(?:(?<![\w']){name}=|'{name}': )(?:'([^']*)'|([^,)}}\s]+))", line)
    value = (found[1] or found[2] or "") if found else ""
    return "" if value == "None" else value


def served(given: str, config: str) -> list[str]:
    """The names that clients may ask for: a list where several were given."""
    listed = SERVED.search(given)
    names = re.findall(r"'([^']*)'", listed[1]) if listed else []
    return [*names, setting(config, "served_model_name")]


def whole(line: str, name: str) -> int | None:
    """A setting that is a whole number; None where it is not said."""
    value = setting(line, name)
    return int(value) if re.fullmatch("[0-9]{1,15}", value) else None


def share(value: str) -> float | None:
    """A share of one; None where it is not said."""
    return float(value) if re.fullmatch(r"[01]|[01]?\.[0-9]{1,6}", value) else None


def data_of(given: str) -> int:
    """Copies of the model."""
    return whole(given, "data_parallel_size") or 1


def cut(where: str, what: str, missing: str) -> DocumentError:
    """The error for a log that lacks a part."""
    return DocumentError(
        f"{one_line(where, 200)} {what}.",
        f'Give all of it, from the start to "Application startup complete": it lacks {missing}.',
    )
