"""PURE: how a checkpoint's weights are stored, as its config.json or ModelOpt's own file says, and what vLLM loads."""

from collections.abc import Iterable, Iterator
from typing import Any, Literal

from infra.data import shipped_table
from infra.errors import DocumentError
from infra.printable import one_line
from serving.vllm.versions import number, rules

MODELOPT_FILE = "hf_quant_config.json"
HINT = "Use a compressed-tensors checkpoint: corral size scout --precision int4"
# What speaks of parts that are not quantized, of the KV cache, or of the tool.
OF_NO_WEIGHTS = (
    "ignore", "ignored_layers", "exclude_modules", "modules_to_not_convert", "kv_cache_scheme", "kv_cache_quant_algo",
    "kv_cache_quant_config", "producer",
)  # fmt: skip
EIGHT_BITS = {("bits", 8), ("num_bits", 8), ("weight_bits", 8), ("load_in_8bit", True)}
FOUR_BITS = {("bits", 4), ("num_bits", 4), ("weight_bits", 4), ("w_bit", 4), ("load_in_4bit", True)}
KvCache = Literal["auto", "fp8"]


def table_of(config: dict[str, Any], name: str) -> dict[str, Any]:
    """A table of a config; empty where there is none, or something else."""
    table = config.get(name)
    return table if isinstance(table, dict) else {}


def stored_by(config: dict[str, Any]) -> dict[str, Any]:
    """The settings of the quantization, with its method; empty where the weights are as they were trained.

    As vLLM looks for them: in the config, in that of its text model, or under the older name.
    """
    text = table_of(config, "text_config")
    places = ((config, "quantization_config"), (config, "compression_config"), (text, "quantization_config"))
    settings = next(filter(None, (table_of(*place) for place in places)), {})
    if "quant_method" not in settings and is_mlx(settings or table_of(config, "quantization")):
        return {"quant_method": "mlx"}
    if "quant_method" not in settings and ("quant_algo" in settings or "quantization" in settings):
        return {"quant_method": "modelopt", **settings}
    return settings


def is_mlx(settings: dict[str, Any]) -> bool:
    """Whether MLX wrote it: bits and group_size, and no method."""
    return {"bits", "group_size"} <= settings.keys()


def with_modelopt(config: dict[str, Any], said: dict[str, Any]) -> dict[str, Any]:
    """The config with what ModelOpt's own file says, as vLLM joins them: config.json goes before it."""
    if stored_by(config) or not said:
        return config
    return config | {"quantization_config": {"quant_method": "modelopt", **said}}


def precision_of(config: dict[str, Any], version: str | None = None) -> str:
    """bf16, or what the quantization says the weights are. Raises DocumentError for what that vLLM cannot load."""
    settings = stored_by(config)
    if not settings:
        return "bf16"
    method = str(settings.get("quant_method") or "").lower()
    check_loaded(method, version)
    if method.startswith("modelopt"):
        algorithm = modelopt_setting(settings, "quant_algo")
        check_modelopt(str(algorithm or "").upper())
        if not algorithm:
            return "bf16"
    said = set(leaves(settings))
    words = [str(value).lower() for _, value in said]
    if any("nvfp4" in word or "mxfp4" in word for word in words):
        return "nvfp4"
    if said & EIGHT_BITS and not said & FOUR_BITS:
        return "fp8"
    four = bool(said & FOUR_BITS) or any(name in word for word in words for name in ("awq", "gptq", "int4"))
    return "int4" if four else "fp8"


def kv_cache_of(config: dict[str, Any], version: str | None = None) -> KvCache:
    """What that vLLM takes --kv-cache-dtype auto for, beyond the activations' own type."""
    settings = stored_by(config)
    method = str(settings.get("quant_method") or "").lower()
    if number(version or rules().version) < number(data()["kv_cache_from"]):
        return "auto"
    if method.replace("_", "-") == "compressed-tensors":
        return "fp8" if settings.get("kv_cache_scheme") is not None else "auto"
    if not method.startswith("modelopt"):
        return "auto"
    scheme = modelopt_setting(settings, "kv_cache_scheme") or modelopt_setting(
        settings, "kv_cache_quant_algo"
    )
    if isinstance(scheme, dict):
        fixed = scheme.get("dynamic") is False
        return "fp8" if fixed and (scheme.get("num_bits"), scheme.get("type")) == (8, "float") else "auto"
    return "fp8" if str(scheme).lower() == "fp8" else "auto"


def modelopt_setting(settings: dict[str, Any], name: str) -> Any:
    """A setting of ModelOpt's, which its own file has one table deeper."""
    return table_of(settings, "quantization").get(name) or settings.get(name)


def check_loaded(method: str, version: str | None = None) -> None:
    """Raise DocumentError for a way to store weights that a vLLM, the newest if none is named, cannot load."""
    table = data()
    if gone := table["gone"].get(method):
        if version is None or number(version) >= number(gone):
            raise DocumentError(
                f"The checkpoint is stored with {method}, which vLLM no longer loads (out of its tree by {gone}).",
                HINT,
            )
    elif method not in table["loaded"]:
        called = table["never"].get(method) or one_line(method, 40) or "a quantization without a name"
        raise DocumentError(f"The checkpoint is stored with {called}, which vLLM has no loader for.", HINT)


def check_modelopt(algorithm: str) -> None:
    """Raise DocumentError for an algorithm of ModelOpt that vLLM does not load."""
    if algorithm not in data()["modelopt"]:
        raise DocumentError(
            f"The checkpoint is stored with ModelOpt's {one_line(algorithm, 40)}, which vLLM has no loader for.",
            HINT,
        )


def check_files(names: Iterable[str]) -> None:
    """Raise DocumentError for the files of a format that is told by their ending, with no safetensors among them."""
    endings = {name.rpartition(".")[2].lower() for name in names}
    if "safetensors" not in endings:
        for ending, method in data()["ending"].items():
            if ending in endings:
                check_loaded(method)


def check_writer(metadata: object) -> None:
    """Raise DocumentError for safetensors of MLX, whose names and shapes are its own, by their metadata."""
    if isinstance(metadata, dict) and metadata.get("format") == "mlx":
        check_loaded("mlx")


def leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Each setting of nested tables and lists that speaks of weights, under the name it has in its own table."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key not in OF_NO_WEIGHTS:
                yield from leaves(inner, str(key))
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner, name)
    else:
        yield name, value


def data() -> dict[str, Any]:
    """What loaders.toml holds."""
    return shipped_table("serving.model", "loaders.toml")
