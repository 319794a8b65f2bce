"""PURE: extra arguments of `vllm serve` as vLLM's own parser takes them, and those that corral does not pass on.

The parser (FlexibleArgumentParser over argparse; vLLM 0.22.0 to 0.33.0, read 2026-11-28) takes an option with
underscores, by any beginning that is no other's, with `=`, and with a part of its JSON after a dot:
`--profiler_conf.torch_dir=/x`.
"""

import re
from collections.abc import Iterator
from functools import cache

from infra import bounded_json
from infra.data import shipped_table
from infra.errors import UsageError
from infra.record import Record

PLANS = "the plan's own field says it"
ACROSS_HOSTS = "corral says it where a plan has several hosts"
OTHER_PORT = "it opens a second, unguarded port"
NOT_TCP = "corral asks the server over plain TCP on its own port"
PROMPTS = "it writes prompts or answers into the log"
CODE = "it runs code that corral does not know"
CALLERS = "it lets callers choose what the server runs or reads"

# By the name vLLM keeps the value under, whatever the option is called: what would undo what corral promises, or hide
# the server from it.
REFUSED = {
    "api_key": "an argument is visible to every user of the machine; corral keeps the key in a file of its own",
    "hf_token": "an argument is visible to every user of the machine",
    "config": "a file of options could say what is refused here",
    "help": "it starts no server",
    "trust_remote_code": "it runs code that came with the weights",
    "middleware": CODE,
    "worker_cls": CODE,
    "worker_extension_cls": CODE,
    "scheduler_cls": CODE,
    "logits_processors": CODE,
    "io_processor_plugin": CODE,
    "reasoning_parser_plugin": CODE,
    "tool_parser_plugin": CODE,
    "model_class_overrides": CODE,
    "profiler_config": "it lets callers write files",
    "allowed_local_media_path": "it lets callers read files of the machine",
    "allowed_media_domains": "corral says it: an empty list would let the server fetch from anywhere",
    "trust_request_chat_template": CALLERS,
    "trust_request_mm_kwargs": CALLERS,
    "enable_prompt_embeds": CALLERS,
    "enable_mm_embeds": CALLERS,
    "enable_tokenizer_info_endpoint": "it opens a path that tells callers how the server was configured",
    "tool_server": "it lets the server call out",
    "otlp_traces_endpoint": "it lets the server call out",
    "grpc": NOT_TCP,
    "grpc_port": OTHER_PORT,
    "kv_events_config": OTHER_PORT,
    "weight_transfer_config": OTHER_PORT,
    "data_parallel_supervisor_port": OTHER_PORT,
    "uds": NOT_TCP,
    "ssl_keyfile": NOT_TCP,
    "ssl_certfile": NOT_TCP,
    "ssl_ca_certs": NOT_TCP,
    "ssl_cert_reqs": NOT_TCP,
    "ssl_ciphers": NOT_TCP,
    "enable_ssl_refresh": NOT_TCP,
    "root_path": "corral asks the server at the root",
    "enable_log_requests": PROMPTS,
    "enable_log_outputs": PROMPTS,
    "enable_log_deltas": PROMPTS,
    "log_config_file": "it sends the log where corral does not read it",
    "logging_config": "it sends the log where corral does not read it",
    "disable_log_stats": "corral tells a hang by these counters",
    "disable_fastapi_docs": "corral says it: the page loads its scripts from elsewhere",
    "disable_access_log_for_endpoints": "corral says it",
    "fingerprint_mode": "corral says it: answers would name the version and the parallelism",
    "fingerprint_value": "corral says it: answers would name the version and the parallelism",
    "headless": ACROSS_HOSTS,
    "nnodes": ACROSS_HOSTS,
    "node_rank": ACROSS_HOSTS,
    "master_addr": ACROSS_HOSTS,
    "master_port": ACROSS_HOSTS,
    "data_parallel_address": ACROSS_HOSTS,
    "data_parallel_rank": ACROSS_HOSTS,
    "data_parallel_start_rank": ACROSS_HOSTS,
    "data_parallel_rpc_port": ACROSS_HOSTS,
    "data_parallel_size_local": ACROSS_HOSTS,
    "data_parallel_external_lb": ACROSS_HOSTS,
    "data_parallel_hybrid_lb": ACROSS_HOSTS,
    "data_parallel_multi_port_external_lb": ACROSS_HOSTS,
}
# A format that reads Python pickles runs what is in them; "npcache" and "tensorizer" may.
LOAD_FORMATS = ("auto", "safetensors", "fastsafetensors", "runai_streamer", "sharded_state", "dummy")
UNSAFE_FORMAT = f"it may run code that came with the weights; only {', '.join(LOAD_FORMATS)} are"

# vLLM takes a dotted name of Python for a class of the caller's, and imports it; so it does in these options' JSON, but
# for what stands under such a key: names of operators and of folders (vLLM 0.32.0's CompilationConfig).
NAME_A_CLASS: dict[str, tuple[str, ...]] = {
    "speculative_config": ("revision",),
    "spec_method": (),
    "spec_model": (),
    "compilation_config": ("splitting_ops", "custom_ops", "cache_dir", "debug_dump_path"),
    "distributed_executor_backend": (),
    "ec_manager_config": (),
}
# And in the JSON of any option a module or a file by its key: kv_connector_module_path, reasoning_parser_plugin.
NAMES_A_MODULE = re.compile(
    r"\w*module_path|\w+_plugin|\w+_cls|logits_processors|middleware|trust_remote_code"
    # Of torch.compile: a compiler to run, and folders whose Python is imported (torch 2.13's _inductor/config.py).
    r"|(\w+\.)?(\w*cxx|cutlass_dir|ck_dir)"
)
# And under these keys a class, where the value is dotted (vLLM 0.32.0's tiers of a KV cache).
NAMES_A_CLASS = ("policy",)
PYTHON_CLASS = re.compile(r"custom_class|[^\W\d]\w*(\.[^\W\d]\w*)+")

NUMBER = re.compile(r"-\d+|-\d*\.\d+")


class Given(Record):
    """One extra argument that begins with a hyphen: as it was typed, and the options the parser may take it for."""

    typed: str
    options: tuple[str, ...]
    """By the names that vLLM keeps values under; one, unless the beginning is not unique; none when unknown."""
    value: str | None = None


def refuse(extra_args: tuple[str, ...], plans: tuple[str, ...]) -> None:
    """Raise UsageError for an argument that corral does not pass on; `plans` are the fields that a plan says itself."""
    reasons = {name: PLANS for name in plans} | REFUSED
    for given in read(extra_args):
        for name in given.options:
            reason = reasons.get(name)
            if name == "load_format" and given.value not in LOAD_FORMATS:
                reason = UNSAFE_FORMAT
            if name in NAME_A_CLASS and names_a_class(given, NAME_A_CLASS[name]):
                reason = CODE
            reason = reason or (CODE if names_a_module(given) else None)
            if reason:
                option = spelled(given, name)
                raise UsageError(
                    f"{option} is not passed on to vLLM: {reason}.", "Leave it out of extra_args."
                )


def refuse_code(speculative_config: str) -> None:
    """Raise UsageError for a plan whose drafts are made by code of its own."""
    option = "--speculative-config"
    given = Given(typed=option, options=("speculative_config",), value=speculative_config)
    if names_a_class(given, NAME_A_CLASS["speculative_config"]):
        raise UsageError(
            f"speculative_config is not passed on to vLLM: {CODE}.", "Plan for drafts of another method."
        )


def names_a_class(given: Given, harmless: tuple[str, ...]) -> bool:
    """Whether a value, or one in its JSON however deep, names a class for vLLM to import; not under a harmless key."""
    said = in_its_place(given)
    if isinstance(said, dict):
        said = {key: value for key, value in said.items() if key.replace("-", "_") not in harmless}
    return any(PYTHON_CLASS.fullmatch(each.strip()) for each in strings(said))


def names_a_module(given: Given) -> bool:
    """Whether an argument's JSON path, or a key in its JSON however deep, is one that vLLM imports from."""
    return any(
        NAMES_A_MODULE.fullmatch(key.replace("-", "_"))
        or (key in NAMES_A_CLASS and any(PYTHON_CLASS.fullmatch(each.strip()) for each in strings(value)))
        for key, value in fields(in_its_place(given))
    )


def in_its_place(given: Given) -> object:
    """What a value says as JSON, below the path that its option has: `-cc.a.b+` adds to the list there."""
    said = as_json(given.value or "")
    for key in reversed(given.typed.partition("=")[0].split(".")[1:]):
        said = {key.rstrip("+"): said}
    return said


def as_json(text: str) -> object:
    """What a value says as JSON; the text itself where it is none."""
    try:
        return bounded_json.load(text.encode())
    except ValueError:
        return text


def strings(found: object) -> Iterator[str]:
    """Every text among the values."""
    if isinstance(found, str):
        yield found
    elif isinstance(found, dict | list):
        for each in found.values() if isinstance(found, dict) else found:
            yield from strings(each)


def fields(found: object) -> Iterator[tuple[str, object]]:
    """Every key of every object, with what stands under it."""
    if isinstance(found, dict):
        yield from found.items()
    if isinstance(found, dict | list):
        for each in found.values() if isinstance(found, dict) else found:
            yield from fields(each)


def spelled(given: Given, name: str) -> str:
    """The option's own name, and how it was typed where that is another. Never a value, which may be a secret."""
    option, typed = f"--{name.replace('_', '-')}", given.typed.partition("=")[0]
    return option if typed == option else f"{option} (as {typed!r})"


def refuse_unknown(extra_args: tuple[str, ...], version: tuple[int, ...]) -> None:
    """Raise UsageError for an option that a vLLM of that version does not have, by its parser's record.

    Between two versions on record, what either of them has is taken. Of a newer one nothing is known.
    """
    kept = records()
    if not version or version > max(kept):
        return
    before = max((known for known in kept if known <= version), default=min(kept))
    after = min(known for known in kept if known >= version)
    for given in read(extra_args, kept[before] | kept[after]):
        if not given.options:
            said = ".".join(map(str, version))
            raise UsageError(
                f"vLLM {said} has no option {given.typed.partition('=')[0]!r}.",
                f"Leave it out of extra_args, or see what there is: vllm serve --help=all (of {said})",
            )


def read(extra_args: tuple[str, ...], known: dict[str, str] | None = None) -> Iterator[Given]:
    """The arguments that are options; without `known`, by the options of every version on record together."""
    known = every() if known is None else known
    for place, word in enumerate(extra_args):
        if word == "--":
            raise UsageError(
                "-- is not passed on to vLLM: no option follows it.", "Leave it out of extra_args."
            )
        if is_option(word):
            name, equals, value = word.partition("=")
            following = extra_args[place + 1] if place + 1 < len(extra_args) else None
            options = tuple(dict.fromkeys(known[option] for option in matching(plain(name), known)))
            yield Given(typed=word, options=options, value=value if equals else following)


def is_option(word: str) -> bool:
    """Whether argparse takes a word for an option: no number does, and no text with a space that is none."""
    return (
        word.startswith("-")
        and len(word) > 1
        and not NUMBER.fullmatch(word)
        and " " not in word.partition("=")[0]
    )


def plain(name: str) -> str:
    """An option's name without its JSON path, with hyphens."""
    if not name.startswith("--"):
        return name
    return name.partition(".")[0].replace("_", "-")


def matching(name: str, known: dict[str, str]) -> tuple[str, ...]:
    """The options that a name may be: the one that is called so, else all that begin so.

    A short one may have its value attached: `-q8`, `-O3`.
    """
    name = name.partition(".")[0]
    if name in known:
        return (name,)
    if name.startswith("-O"):
        return ("--optimization-level",) if "--optimization-level" in known else ()
    begun = tuple(option for option in known if option.startswith(name))
    if not name.startswith("--") and name[:2] in known:
        return (*begun, name[:2])
    return begun


@cache
def records() -> dict[tuple[int, ...], dict[str, str]]:
    """By version, every option of its parser and the name the value is kept under."""
    table = shipped_table("serving.vllm", "flags.toml")
    options: dict[str, str] = {}
    by_version = {}
    for row in table["version"]:
        options = {option: name for option, name in options.items() if option not in row["gone"]} | row["new"]
        by_version[tuple(map(int, row["version"].split(".")))] = options
    return by_version


@cache
def every() -> dict[str, str]:
    """Every option of any version on record."""
    return {option: name for options in records().values() for option, name in options.items()}
