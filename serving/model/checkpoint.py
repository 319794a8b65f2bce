"""The door to a checkpoint folder: config.json and the headers of its safetensors files; no weight is read."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra import bounded_json
from infra.argument import pasted
from infra.errors import DocumentError
from infra.record import read_bytes
from serving.model.config import architecture_of, dtype_of, family_of
from serving.model.families import Family
from serving.model.loaders import (
    MODELOPT_FILE,
    KvCache,
    check_files,
    kv_cache_of,
    precision_of,
    stored_by,
    table_of,
    with_modelopt,
)
from serving.model.models import Architecture
from serving.model.safetensors import LENGTH_BYTES, Tensor, header_length, parse
from serving.model.tensors import parts_of
from serving.model.weights import Part

INDEX = "model.safetensors.index.json"
MOST_SHARDS = 10_000
LARGEST_JSON_BYTES = 64 * 1024 * 1024
LONGEST_FILE_NAME = 255
CHECKPOINT_HINT = "A checkpoint folder has config.json and *.safetensors."


@dataclass(frozen=True, slots=True)
class Contents:
    """What a checkpoint holds, read from its own files."""

    where: str
    family: Family
    architecture: Architecture
    dtype: str
    precision: str
    kv_cache_dtype: KvCache
    """What vLLM takes `auto` for: the checkpoint may say that its KV cache is FP8."""
    nested_config: bool
    """The text model's settings are under `text_config`, as overrides of them must be."""
    weights: tuple[Part, ...]
    revision: str | None = None
    """The commit of a repository; a folder has none."""


def read(folder: Path, version: str | None = None) -> Contents:
    """Read a checkpoint folder for a vLLM, the newest if none is named.

    Raises DocumentError when it is incomplete, broken, of no family of ours, or stored as that vLLM cannot load.
    """
    if not folder.is_dir():
        raise DocumentError(
            f"There is no checkpoint folder at {folder}.",
            f"Check the path: ls {pasted(folder.parent)}",
        )
    check_files(path.name for path in folder.glob("*"))
    return contents(str(folder.absolute()), config_of(folder), tensors(folder), version=version)


def config_of(folder: Path) -> dict[str, Any]:
    """A folder's config.json, with what ModelOpt says in a file of its own. Raises DocumentError."""
    config = json_file(folder / "config.json")
    if stored_by(config) or not (folder / MODELOPT_FILE).exists():
        return config
    return with_modelopt(config, json_file(folder / MODELOPT_FILE))


def contents(
    where: str,
    config: dict[str, Any],
    tensors: Iterable[Tensor],
    revision: str | None = None,
    version: str | None = None,
) -> Contents:
    """Config and tensors as one value, for a vLLM of that version."""
    family = family_of(config, where)
    architecture = architecture_of(config, where)
    precision = precision_of(config, version)
    weights = parts_of(tensors, family)
    if beyond := [
        part.layer for part in weights if part.layer is not None and part.layer >= architecture.layers
    ]:
        raise DocumentError(
            f"{where} holds weights of layer {beyond[0]}, and its config.json has {architecture.layers} layers.",
            "Download both again.",
        )
    return Contents(
        where=where,
        family=family,
        architecture=architecture,
        dtype=dtype_of(config),
        precision=precision,
        kv_cache_dtype=kv_cache_of(config, version),
        nested_config=bool(table_of(config, "text_config")),
        weights=weights,
        revision=revision,
    )


def tensors(folder: Path) -> Iterable[Tensor]:
    """The tensors of every shard."""
    for path in shards(folder):
        try:
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                length = header_length(file.read(LENGTH_BYTES), size, str(path))
                header = file.read(length)
        except OSError as error:
            raise DocumentError(f"{path} cannot be read: {error.strerror}.", CHECKPOINT_HINT) from None
        yield from parse(header, size, str(path))


def shards(folder: Path) -> tuple[Path, ...]:
    """The safetensors files, and every one the index names must be there."""
    names: Iterable[str] = sorted(filter(is_shard_name, (path.name for path in folder.glob("*.safetensors"))))
    if (folder / INDEX).exists():
        names = shard_names(json_file(folder / INDEX), str(folder / INDEX))
    missing = [name for name in names if not (folder / name).is_file()]
    if missing or not names:
        what = f"{missing[0]} (and {len(missing) - 1} more)" if len(missing) > 1 else "".join(missing)
        raise DocumentError(
            f"{folder} lacks its weights: {what or 'no .safetensors file'}.",
            "Finish the download; `hf download` starts the missing files again.",
        )
    return tuple(folder / name for name in names)


def shard_names(index: dict[str, Any], where: str) -> tuple[str, ...]:
    """The files an index names. Raises DocumentError when it is no index, or names files elsewhere."""
    names = index.get("weight_map")
    if not isinstance(names, dict) or not all(map(is_shard_name, names.values())):
        raise DocumentError(f"{where} is not a safetensors index.", "Download it again.")
    files = set(names.values())
    if len(files) > MOST_SHARDS:
        raise DocumentError(
            f"{where} names {len(files):,} files, which no checkpoint of ours has.", "Download it again."
        )
    return tuple(sorted(files))


def is_shard_name(name: object) -> bool:
    """Whether a safetensors file of the folder can be called so: not hidden, and no option."""
    if not isinstance(name, str) or not name.isprintable() or "/" in name or name.startswith((".", "-")):
        return False
    return name.endswith(".safetensors") and len(name.encode()) <= LONGEST_FILE_NAME


def json_file(path: Path) -> dict[str, Any]:
    """A JSON object of the folder. Raises DocumentError when it is missing or something else."""
    return json_object(read_bytes(path, CHECKPOINT_HINT, LARGEST_JSON_BYTES), str(path))


def json_object(text: bytes, where: str) -> dict[str, Any]:
    """Parse a JSON object. Raises DocumentError when it is not one."""
    try:
        data = bounded_json.load(text, LARGEST_JSON_BYTES)
    except ValueError:
        data = None
    if not isinstance(data, dict):
        raise DocumentError(f"{where} is not a JSON object.", "Download it again.")
    return data
