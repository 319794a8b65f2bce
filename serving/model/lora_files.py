"""The door to the folder of an adapter: its config, the header of its weights, and whether they hold any number."""

import hashlib
import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

from infra import bounded_json
from infra.argument import pasted
from infra.errors import DocumentError, UsageError
from infra.printable import one_line
from infra.record import read_bytes
from serving.model import fetching, lora, lora_suits
from serving.model.checkpoint import Contents, config_of, json_object
from serving.model.config import architecture_of
from serving.model.lora_config import RETRAIN
from serving.model.lora_shapes import Served
from serving.model.models import published
from serving.model.safetensors import LENGTH_BYTES, Tensor, header_length, parse
from serving.vllm.lora_modules import EXAMPLE, LoraModule
from serving.vllm.versions import rules

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
FILES = (CONFIG, WEIGHTS)
SHAPE = (
    "hidden_size",
    "layers",
    "attention_heads",
    "kv_heads",
    "head_dim",
    "expert_intermediate",
    "dense_intermediate",
    "experts",
    "vocab_size",
    "moe_layers",
)
"""What two copies of the same weights have in common."""
PICKLES = ("adapter_model.bin", "adapter_model.pt")
LARGEST_CONFIG_BYTES = 1024 * 1024
REPOSITORY = re.compile(r"([A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95})(?:@([0-9a-f]{40}))?", re.ASCII)
SNAPSHOT = re.compile(
    r".*/models--([A-Za-z0-9](?:(?!--)[\w.-]){0,95})--([A-Za-z0-9][\w.-]{0,95})/snapshots/([0-9a-f]{40})/?",
    re.ASCII,
)
"""A commit in the Hub's cache of this machine, or of another."""
# dtype -> bytes, and the bits of the exponent: all of them set is no number.
EXPONENTS = {"BF16": (2, 0x7F80), "F16": (2, 0x7C00), "F32": (4, 0x7F800000), "F64": (8, 0x7FF0000000000000)}
CHUNK_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Adapter:
    """What the files of an adapter hold."""

    config: dict[str, Any]
    tensors: tuple[Tensor, ...]
    config_sha256: str
    weights_sha256: str
    zero: frozenset[str]
    """The tensors that hold nothing but zeros."""
    broken: str
    """A tensor that holds what is no finite number; empty for none."""


def read(module: LoraModule, served: Served) -> LoraModule:
    """An adapter as it lies in its folder now, held to the model.

    Raises DocumentError for what is not there or not whole, UsageError for one that would not be applied to the model
    as it was trained.
    """
    folder = folder_of(module)
    found = contents(folder)
    check_base(module.name, found.config, served)
    rank, kinds = lora_suits.check(module.name, found.config, found.tensors, served)
    check_values(module.name, found, served)
    return module.model_copy(
        update={
            "path": str(folder),
            "rank": rank,
            "modules": kinds,
            "turned": turned(kinds, served),
            "base": one_line(base_of(found.config), 200),
            "config_sha256": found.config_sha256,
            "weights_sha256": found.weights_sha256,
        }
    )


def base_of(config: dict[str, Any]) -> str:
    """What it was trained for: a repository or a folder; empty where it does not say."""
    said = config.get("base_model_name_or_path")
    return said if isinstance(said, str) else ""


def check_base(name: str, config: dict[str, Any], served: Served) -> None:
    """Raise UsageError for an adapter of another model that corral knows, or that lies on this machine.

    A name that it does not know may be another copy of the same weights; the tensors tell then.
    """
    base = base_of(config)
    if listed := published(base):
        trained_for = listed[0].architecture
    elif base.startswith("/") and os.path.isfile(f"{base}/config.json"):
        trained_for = architecture_of(config_of(Path(base)), base)
    else:
        return
    ours, theirs = served.architecture.model_dump(), trained_for.model_dump()
    if any(ours[field] != theirs[field] for field in SHAPE):
        raise UsageError(
            f"The adapter {name} was trained for {one_line(base, 200)}, which is another model than {served.title}.",
            "Name an adapter of this model.",
        )


def turned(kinds: tuple[str, ...], served: Served) -> str:
    """How it is known that vLLM turns the rows of some of these modules and not the adapter's; empty where not."""
    of = lora.data()["turned"]
    return str(of.get(served.family.name, "")) if {*of["modules"]} & {*kinds} else ""


def unjudged(module: LoraModule) -> LoraModule:
    """An adapter as it lies in its folder now, held to nothing. Raises DocumentError."""
    found = contents(folder_of(module))
    return module.model_copy(
        update={"config_sha256": found.config_sha256, "weights_sha256": found.weights_sha256}
    )


def check_planned(modules: Sequence[LoraModule], contents: Contents) -> None:
    """Raise UsageError for an adapter that is another by now, or not of the model in a folder; DocumentError."""
    served = Served(contents.where, contents.family, contents.architecture, contents.nested_config, rules())
    for module in modules:
        if not module.path.startswith("/"):
            raise DocumentError(
                f"The plan names no full path of the adapter {module.name}: {one_line(module.path, 200)}.",
                f"Name it again: --lora {pasted(module)}",
            )
        check_same(module, read(module, served))


def check_same(planned: LoraModule, now: LoraModule) -> None:
    """Raise UsageError where a folder holds another adapter by now than the one that was planned for."""
    for file, before, after in (
        (CONFIG, planned.config_sha256, now.config_sha256),
        (WEIGHTS, planned.weights_sha256, now.weights_sha256),
    ):
        if before and before != after:
            raise UsageError(
                f"The adapter {planned.name} is not the one that was planned for: {planned.path}/{file} has changed.",
                f"If that is meant, name it again: --lora {pasted(planned)}",
            )


def folder_of(module: LoraModule) -> Path:
    """Where it lies on this machine: its folder, or the Hub's cache. Raises DocumentError."""
    path = os.path.expanduser(module.path)  # of what cannot be looked at these say no, and raise nothing
    if os.path.isdir(path):
        return Path(os.path.abspath(path))
    named = of_hub(module.path)
    if named is None or os.path.exists(path):
        raise DocumentError(
            f"There is no folder of the adapter {module.name} at {one_line(module.path, 300)}.",
            f"Name the folder that holds {CONFIG}, or OWNER/NAME of the Hub.",
        )
    repo, commit = named
    snapshot = cached(repo, commit)
    if snapshot is None:
        at = f" --revision {commit}" if commit else ""
        raise DocumentError(
            f"The adapter {module.name} is neither a folder nor in the Hub's cache: {one_line(module.path, 200)}.",
            f"Fetch it: corral fetch {repo}{at}",
        )
    return snapshot


def of_hub(path: str) -> tuple[str, str | None] | None:
    """The repository that a path names, and the commit where it says one; None for any other folder.

    So does a folder of the Hub's cache, wherever that was: a plan may come from another machine.
    """
    if found := SNAPSHOT.fullmatch(path):
        return f"{found[1]}/{found[2]}", found[3]
    named = REPOSITORY.fullmatch(path)
    return (named[1], named[2]) if named else None


def cached(repo: str, commit: str | None) -> Path | None:
    """Where the Hub's cache of this machine has it, at that commit or at the newest it has seen; None for nowhere."""
    commit = commit or fetching.cached_commit(repo, os.environ)
    snapshot = fetching.snapshot(repo, commit, os.environ) if commit else None
    return snapshot if snapshot and (snapshot / CONFIG).is_file() else None


def contents(folder: Path) -> Adapter:
    """What its two files hold. Raises DocumentError; nothing but these is read, and no pickle is loaded."""
    try:
        stamps = tuple(
            (status.st_ino, status.st_size, status.st_mtime_ns) for status in map(os.stat, paths(folder))
        )
    except OSError:
        raise missing(folder) from None
    return read_once(folder, stamps)


def paths(folder: Path) -> tuple[Path, ...]:
    """The files that a server reads."""
    return tuple(folder / name for name in FILES)


def missing(folder: Path) -> DocumentError:
    """What to say of a folder without one of the two."""
    lacking = next((path.name for path in paths(folder) if not path.exists()), CONFIG)
    pickles = [name for name in PICKLES if (folder / name).exists()]
    if lacking == WEIGHTS and pickles:
        return DocumentError(
            f"{folder} has its weights as a pickle, {pickles[0]}, which could run code when it is read.",
            f"Save it again as {WEIGHTS}: save_pretrained(..., safe_serialization=True)",
        )
    return DocumentError(f"{folder} has no {lacking}: it is no adapter that vLLM reads.", EXAMPLE)


@lru_cache(maxsize=64)
def read_once(folder: Path, stamps: tuple[tuple[int, ...], ...]) -> Adapter:
    """The same, as long as the files are those: a search asks for many machines, and the checks at a start again."""
    text = read_bytes(folder / CONFIG, RETRAIN, LARGEST_CONFIG_BYTES)
    config = json_object(text, str(folder / CONFIG))
    path = folder / WEIGHTS
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise missing(folder)
            tensors, digest, zero, broken = weights(file, status.st_size, str(path))
    except OSError as error:
        raise DocumentError(
            f"{path} cannot be read: {error.strerror}.", f"Look at it: ls -l {pasted(folder)}"
        ) from None
    return Adapter(config, tensors, hashlib.sha256(text).hexdigest(), digest, frozenset(zero), broken)


def weights(file: BinaryIO, size: int, where: str) -> tuple[tuple[Tensor, ...], str, set[str], str]:
    """The tensors of a file, its SHA-256, those that are all zeros, and one that is not finite, in one reading."""
    digest = hashlib.sha256()
    begun = file.read(LENGTH_BYTES)
    header = file.read(header_length(begun, size, where))
    digest.update(begun)
    digest.update(header)
    tensors = parse(header, size, where)
    rows = bounded_json.load(header)
    zero, broken = set[str](), ""
    for tensor in sorted(tensors, key=lambda each: rows[each.name]["data_offsets"]):
        is_zero, is_finite = values(file, tensor, digest)
        if is_zero:
            zero.add(tensor.name)
        if not is_finite:
            broken = broken or tensor.name
    return tensors, digest.hexdigest(), zero, broken


def values(file: BinaryIO, tensor: Tensor, digest: Any) -> tuple[bool, bool]:
    """Whether the next bytes, which are a tensor's, are all zeros, and whether they are finite numbers."""
    import numpy

    width, exponent = EXPONENTS.get(tensor.dtype, (1, 0))
    kind = numpy.dtype(f"<u{width}")
    is_zero, is_finite, left = True, True, tensor.bytes
    while left:
        chunk = file.read(min(left, CHUNK_BYTES))
        if not chunk:
            break
        digest.update(chunk)
        left -= len(chunk)
        bits = numpy.frombuffer(chunk[: len(chunk) // width * width], kind)
        # All but the sign: a negative zero is one.
        is_zero = is_zero and not (bits << 1 if exponent else bits).any()
        is_finite = is_finite and not (exponent and ((bits & exponent) == exponent).any())
    return is_zero, bool(is_finite)


def check_values(name: str, found: Adapter, served: Served) -> None:
    """Raise UsageError for an adapter that adds nothing anywhere, or what is no number."""
    if found.broken:
        raise UsageError(
            f"The adapter {name} holds what is no number (infinite, or NaN) in {one_line(found.broken, 200)}.",
            "Its training went astray: name an earlier state of it.",
        )
    halves = lora_suits.halves_of(name, found.tensors, served)
    if all(found.zero & {part.name for part in parts.values()} for parts in halves.values()):
        raise UsageError(
            f"The adapter {name} changes nothing: all that it adds is zero, as before any training.",
            "Name the folder of a state that was trained.",
        )
