"""What `vllm serve` is told: options as a value, turned into argv and environment by pure functions."""

import hashlib
import json
from typing import Annotated, Any

from pydantic import Field

from infra.argument import Text, Value, Values, Word
from infra.record import Record
from serving.vllm import extra_args, lora_modules
from serving.vllm.lora_modules import MOST_ADAPTERS, LoraModule

# Given to every server, whatever the plan says. Each parses in vLLM 0.32 and 0.33.
SAFE_FLAGS = (
    # the docs page loads its scripts from a CDN into the operator's browser
    "--disable-fastapi-docs",
    "--disable-access-log-for-endpoints",
    "/health,/metrics,/ping",
    # responses would name the vLLM version and the parallelism
    "--fingerprint-mode",
    "none",
)
# An empty list of domains would allow them all; this one exists nowhere (RFC 6761).
NO_MEDIA_FROM_THE_NETWORK = ("--allowed-media-domains", "none.invalid")

# vLLM takes exactly "1" for its switches, and Ray exactly "0" or "1": "true" would do nothing.
QUIET = {
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_DO_NOT_TRACK": "1",
    "DO_NOT_TRACK": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    "DISABLE_SAFETENSORS_CONVERSION": "1",
    "VLLM_PLUGINS": "",
    "VLLM_MEDIA_URL_ALLOW_REDIRECTS": "0",
    "VLLM_MAX_N_SEQUENCES": "64",
}

# A server is given a folder: there is nothing that it has to ask the Hub. Of FlashInfer's kernels one that is not there
# fails at once, where behind a gap each would be asked for four times with waits of 35 to 70 s between (0.6.18, read).
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "FLASHINFER_NO_DOWNLOAD": "1"}

# What servers on one machine may share: what vLLM and FlashInfer (in .cache/flashinfer) compiled.
SHARED = ("VLLM_CACHE_ROOT", "FLASHINFER_WORKSPACE_BASE")

# How the processes of an engine on one host find each other. NCCL would take the first interface that is not loopback,
# and gloo the one of the host's name: addresses that the server's address filter denies, own ones too.
WITHIN_ONE_HOST = {"VLLM_HOST_IP": "127.0.0.1", "NCCL_SOCKET_IFNAME": "lo", "GLOO_SOCKET_IFNAME": "lo"}

# The user's own variables that a server must not inherit: secrets it has no use for, and switches that open it.
NOT_INHERITED = (
    "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
    "HF_TOKEN_PATH",
    "HF_HUB_CACHE",
    "HUGGINGFACE_HUB_CACHE",
    "VLLM_SERVER_DEV_MODE",
    "VLLM_ALLOW_INSECURE_SERIALIZATION",
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING",
    "VLLM_KEEP_ALIVE_ON_ENGINE_DEATH",
    "VLLM_DEBUG_LOG_API_SERVER_RESPONSE",
    "VLLM_ENABLE_RESPONSES_API_STORE",
    "VLLM_CPU_KVCACHE_SPACE",
    "PYTHONOPTIMIZE",
)


LOADED_NOWHERE = ("ngram", "[ngram]")
"""Methods that look tokens up in what was said already."""
LONGEST_TMPDIR = 107 - len("/01234567-89ab-cdef-0123-456789abcdef")


Count = Annotated[int, Field(ge=1, le=2**53)]
Ranks = Annotated[int, Field(ge=1, le=4096, strict=True)]
"""GPUs, stages, copies, hosts."""
Port = Annotated[int, Field(ge=1, le=65535, strict=True)]


class ServeOptions(Record):
    """The options of one `vllm serve`, under vLLM's own names. None leaves vLLM's default."""

    model: Value
    """A Hugging Face repository or a local checkpoint folder."""
    revision: str | None = Field(default=None, pattern="^[0-9a-f]{40}$")
    """The commit of the repository, in full: a branch moves. None for a folder, or until the Hub was asked."""
    served_model_name: Value
    """What a request names as its model."""
    host: Value = "127.0.0.1"
    """The address that it listens on."""
    port: Port = 8000
    """That it listens on."""
    tensor_parallel_size: Ranks = 1
    """GPUs that share each layer."""
    pipeline_parallel_size: Ranks = 1
    """Stages of layers."""
    data_parallel_size: Ranks = 1
    """Engines beside each other."""
    enable_expert_parallel: bool = False
    """Whether experts are spread over the engines instead of split."""
    max_model_len: Count | None = None
    """Tokens of the longest request."""
    max_num_seqs: Count | None = None
    """Requests that run at once."""
    max_num_batched_tokens: Count | None = None
    """Tokens of one step."""
    gpu_memory_utilization: float | None = Field(default=None, gt=0, le=1)
    """Share of a GPU's memory, 0 to 1."""
    kv_cache_dtype: Value = "auto"
    """As vLLM names it; auto for the model's own."""
    kv_cache_memory_bytes: Count | None = None
    """Of each GPU, in place of what would be left."""
    disable_hybrid_kv_cache_manager: bool = False
    """Every layer then keeps the whole context."""
    dtype: Value = "auto"
    """Of activations; auto for the model's own."""
    quantization: Value | None = None
    """As vLLM names it; null for what the checkpoint says."""
    enforce_eager: bool = False
    """Without CUDA graphs."""
    language_model_only: bool = False
    """It takes no images then."""
    limit_mm_per_prompt: dict[str, int] | None = None
    """Kind of input -> how many of a request."""
    hf_overrides: dict[str, object] | None = None
    """Overrides of the checkpoint's config.json; carries the position override that frees the rotary table."""
    generation_config: Value | None = None
    """Whose sampling defaults hold: auto for the checkpoint's, vllm for none."""
    chat_template: Text | None = None
    """A file, or the template itself."""
    shutdown_timeout: int = Field(default=60, ge=0)
    """Seconds that a request may take to end when the server is stopped."""
    speculative_config: Values | None = Field(default=None, exclude_if=lambda said: said is None)
    """How tokens are proposed; absent where none are."""
    lora_modules: tuple[LoraModule, ...] = Field(
        default=(), max_length=MOST_ADAPTERS, exclude_if=lambda modules: not modules
    )
    """The adapters beside it; absent where there are none."""
    extra_args: tuple[Word, ...] = Field(default=(), max_length=1000)
    """Further words of the command line, as they are."""

    @property
    def adapters(self) -> tuple[str, ...]:
        """What clients ask for, beside the served name."""
        return tuple(module.name for module in self.lora_modules)

    @property
    def draft(self) -> str | None:
        """The folder or repository of the draft; None where nothing is loaded beside the model."""
        said = self.speculative_config or {}
        return str(said["model"]) if said.get("method") not in LOADED_NOWHERE and "model" in said else None

    @property
    def draft_revision(self) -> str | None:
        """The commit of its repository, where one is known."""
        said = (self.speculative_config or {}).get("revision")
        return str(said) if said and self.draft else None

    def with_draft(self, place: str) -> "ServeOptions":
        """The same with the draft lying there."""
        if self.draft is None:
            return self
        kept = {name: value for name, value in (self.speculative_config or {}).items() if name != "revision"}
        return self.model_copy(update={"speculative_config": kept | {"model": place}})


def argv(options: ServeOptions) -> tuple[str, ...]:
    """The arguments of the `vllm` executable: what the plan says, then corral's safe settings, then `extra_args`.

    Raises UsageError for an extra argument that would undo them, and for adapters of one name.
    """
    refuse_unsafe(options)
    lora_modules.check_names(options.lora_modules, options.served_model_name)
    media = () if options.language_model_only else NO_MEDIA_FROM_THE_NETWORK
    return ("serve", options.model, *flags(options), *media, *SAFE_FLAGS, *options.extra_args)


def refuse_unsafe(options: ServeOptions) -> None:
    """Raise UsageError for an extra argument that would undo what corral promises or the plan says."""
    if options.speculative_config is not None:
        extra_args.refuse_code(json.dumps(options.speculative_config))
    unsaid = {"extra_args"} | ({"speculative_config"} if options.speculative_config is None else set())
    fields = tuple(name for name in ServeOptions.model_fields if name not in unsaid)
    extra_args.refuse(options.extra_args, fields)


def flags(options: ServeOptions) -> tuple[str, ...]:
    """The plan's own flags; a value that is vLLM's default is left out, except where the default is unsafe."""
    spoken = {"served_model_name", "host", "port", "shutdown_timeout"}
    given: list[str] = []
    for name, field in ServeOptions.model_fields.items():
        value = getattr(options, name)
        if name not in ("model", "extra_args", "lora_modules") and (name in spoken or value != field.default):
            given += flag(name, value)
    return (*given, *lora_modules.words(options.lora_modules, options.served_model_name))


def flag(name: str, value: Any) -> tuple[str, ...]:
    """One option in vLLM's spelling: a switch, a JSON object, or a plain value."""
    spelled = "--" + name.replace("_", "-")
    if isinstance(value, bool):
        return (spelled,) if value else ("--no-" + name.replace("_", "-"),)
    return (spelled, json.dumps(value, sort_keys=True) if isinstance(value, dict) else str(value))


def across_nodes(count: int, rank: str, master: str, headless: bool) -> tuple[str, ...]:
    """vLLM's own way over several nodes (no Ray): all get the same options and these; only the first has an API."""
    where = ("--nnodes", str(count), "--node-rank", rank, "--master-addr", master)
    return (*where, "--headless") if headless else where


def environment(home: str, load_budget_s: int, cache: str = "") -> dict[str, str]:
    """The environment of the server, on top of PATH and the like: nothing leaves the machine, all files in `home`.

    But for vLLM's own cache where servers share one: what it found out of a model's code, and what it compiled.
    It is that of an engine on one host; where it spans several, each says its own in place of WITHIN_ONE_HOST.
    `load_budget_s` is how long loading may take; vLLM's own default of 600 s is too short for a big checkpoint.
    """
    return (
        QUIET
        | WITHIN_ONE_HOST
        | OFFLINE
        | folders(home)
        | ({name: f"{cache}/vllm" for name in SHARED} if cache else {})
        | {"VLLM_ENGINE_READY_TIMEOUT_S": str(load_budget_s)}
    )


def folders(home: str) -> dict[str, str]:
    """Where everything vLLM, transformers and torch write goes: under `home`, not into the user's own folders."""
    places = {
        "HF_HOME": f"{home}/huggingface",
        "VLLM_CACHE_ROOT": f"{home}/vllm",
        "VLLM_CONFIG_ROOT": f"{home}/vllm-config",
        "FLASHINFER_WORKSPACE_BASE": f"{home}/vllm",
        "XDG_CACHE_HOME": f"{home}/xdg-cache",
        "XDG_CONFIG_HOME": f"{home}/xdg-config",
        "TORCHINDUCTOR_CACHE_DIR": f"{home}/inductor",
        "TRITON_CACHE_DIR": f"{home}/triton",
        "NUMBA_CACHE_DIR": f"{home}/numba",
        "MPLCONFIGDIR": f"{home}/matplotlib",
    }
    return places | {"TMPDIR": temporary_folder(home)}


def temporary_folder(home: str) -> str:
    """Where sockets and other short-lived files go: in `home`, or below /tmp where its path is too long for a socket.

    The kernel allows a socket's path 107 bytes, and vLLM's processes talk through sockets in TMPDIR.
    """
    inside = f"{home}/tmp"
    if len(inside.encode()) <= LONGEST_TMPDIR:
        return inside
    return f"/tmp/corral-{hashlib.sha256(home.encode()).hexdigest()[:16]}"
