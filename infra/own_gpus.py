"""GPUs that the user describes: by --gpu, and in gpus.toml of the home, whose rows are as those of catalog.toml."""

import os
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from infra import data, day, home
from infra.argument import Value
from infra.asked import Asked, Flag
from infra.errors import DocumentError, UsageError
from infra.hardware import Gpu, Link, Vendor
from infra.printable import one_line
from infra.record import read_bytes

VARIABLE = "CORRAL_GPUS"
"""What --gpu said, a line each, for whoever asks the catalogue."""
FILE = "gpus.toml"
OWN = "yours"
"""The source of such a row."""
EXAMPLE = "name=L20,memory_gib=48,memory_gb_per_s=864,bf16_tflops=119,compute_capability=8.9,link=pcie"
HINT = f"For example: --gpu '{EXAMPLE}'"
MOST_BYTES = 1024 * 1024
MOST_BITS = 128
# What torch sees of a card's nominal memory: 0.915 (L4, of which ECC takes a part) to 0.993 (H100) of those in logs.
SEEN, SEEN_ERROR = 0.96, 0.045
KNOWN_ERROR_GIB = 0.1
USUAL_LINK_GB_PER_S: Mapping[Link, float] = {"pcie": 24.0, "nvlink": 300.0, "none": 12.5}
LINKS: Mapping[str, Link] = {
    "pcie": "pcie",
    "nvlink": "nvlink",
    "xgmi": "nvlink",
    "infinity-fabric": "nvlink",
    "none": "none",
}
"""AMD's is planned with as NVLink is, at its own speed."""

Speed = Annotated[float | None, Field(gt=0, le=1_000_000)]


class Described(Asked):
    """A GPU as its owner describes it; what is left out is estimated, or taken as usual."""

    joint: ClassVar[str] = "="

    name: Annotated[
        Value, Flag("name"), Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,39}$", examples=["L20"])
    ]
    """What it is called after COUNTx."""
    memory_gib: Annotated[float | None, Flag("memory_gib"), Field(ge=1, le=4096, examples=[48])] = None
    """Its nominal memory."""
    memory_mib: Annotated[int | None, Flag("memory_mib"), Field(ge=1024, le=4 << 20, examples=[49140])] = None
    """Instead: what nvidia-smi reports."""
    torch_gib: Annotated[float | None, Flag("torch_gib"), Field(ge=0.5, le=4096, examples=[47.4])] = None
    """total_memory as torch sees it, in an out-of-memory message say. [estimated]"""
    memory_gb_per_s: Annotated[float, Flag("memory_gb_per_s"), Field(ge=1, le=1_000_000, examples=[864])]
    """Peak bandwidth of its memory."""
    bf16_tflops: Annotated[float, Flag("bf16_tflops"), Field(ge=1, le=1_000_000, examples=[119])]
    """Dense peak of its tensor cores."""
    fp8_tflops: Annotated[Speed, Flag("fp8_tflops"), Field(examples=[239])] = None
    """The same for FP8. [none]"""
    fp4_tflops: Annotated[Speed, Flag("fp4_tflops"), Field(examples=[1000])] = None
    """The same for FP4. [none]"""
    compute_capability: Annotated[float, Flag("compute_capability"), Field(ge=3, le=20, examples=[8.9])]
    """CUDA's, which says what vLLM's kernels can do there."""
    link: Annotated[Literal["pcie", "nvlink", "xgmi", "infinity-fabric", "none"], Flag("link")] = "pcie"
    """How the GPUs of a host reach each other."""
    link_gb_per_s: Annotated[Speed, Flag("link_gb_per_s"), Field(examples=[24])] = None
    """One direction of that, a GPU. [24 over PCIe, 300 over NVLink]"""
    max_per_host: Annotated[int, Flag("max_per_host"), Field(ge=1, le=64)] = 8
    """GPUs of one host."""
    family: Annotated[Value, Flag("family")] = ""
    """The name people use for it, whatever its memory. [its name]"""
    aliases: Annotated[tuple[Value, ...], Flag("aliases")] = ()
    """Other ways to write it."""
    nvml_names: Annotated[tuple[Value, ...], Flag("nvml_names")] = ()
    """What nvidia-smi calls it, so that `local` and hosts are known."""
    vendor: Annotated[Vendor, Flag("vendor")] = "nvidia"
    """Whose: nvidia or amd."""


def own_gpus(known: Mapping[str, str]) -> dict[str, Gpu]:
    """The user's GPUs by name; `known` are the plain names of others, which they cannot have.

    Raises UsageError or DocumentError for a description that cannot be meant.
    """
    found: dict[str, Gpu] = {}
    for where, typed in (*of_the_home(), *of_the_command()):
        gpu = described(where, typed)
        if other := known.get(plain(gpu.name)):
            raise UsageError(
                f"{where}: corral knows {other} itself.", "Call yours otherwise: name=my-" + gpu.name
            )
        found[gpu.name] = gpu
    return found


def of_the_command() -> Iterator[tuple[str, dict[str, Any]]]:
    """Each --gpu, with what it is called in a sentence. Raises UsageError for what is no list of KEY=VALUE."""
    for text in filter(None, os.environ.get(VARIABLE, "").splitlines()):
        pairs = [each.partition("=") for each in text.split(",")]
        names = [key.strip() for key, _, _ in pairs]
        if not all(sign and value.strip() for _, sign, value in pairs) or len(set(names)) < len(names):
            raise UsageError(f"--gpu {one_line(text, 200)!r} is no list of KEY=VALUE, each once.", HINT)
        yield "--gpu", {name: value.strip() for name, (_, _, value) in zip(names, pairs, strict=True)}


def of_the_home() -> Iterator[tuple[str, dict[str, Any]]]:
    """Each [gpu.NAME] of gpus.toml in the home. Raises DocumentError for a file that is something else."""
    path = home.home() / FILE
    if not path.exists():
        return
    try:
        rows = data.table_of(read_bytes(path, HINT, MOST_BYTES).decode())["gpu"]
        tables = {str(name): dict(row) for name, row in rows.items()}
    except KeyError:
        raise DocumentError(f"{path} describes no GPU.", "Begin each with its name: [gpu.L20]") from None
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise DocumentError(
            f"{path} is not TOML with tables [gpu.NAME]: {one_line(str(error), 200)}.", "Mend that line."
        ) from None
    for name, row in tables.items():
        yield f"{path}, [gpu.{one_line(name, 40)}]", {"name": name} | row


def described(where: str, typed: dict[str, Any]) -> Gpu:
    """The GPU of a description. Raises UsageError, under the field's name, for what does not hold."""
    if unknown := [name for name in typed if name not in Described.model_fields]:
        fields = ", ".join(Described.model_fields)
        raise UsageError(f"{where}: {one_line(unknown[0], 40)!r} is unknown.", f"One of: {fields}")
    try:
        return gpu_of(Described.of({name: as_typed(name, value) for name, value in typed.items()}))
    except UsageError as error:
        raise UsageError(f"{where}: {error.message}", error.hint or HINT) from None


def as_typed(field: str, value: Any) -> Any:
    """A value as the record takes it: a number of a TOML as text, checked as a typed one is; one word for a list.

    Raises UsageError for a number of more digits than are meant: Python spells none of thousands.
    """
    if isinstance(value, int) and value.bit_length() > MOST_BITS:
        raise UsageError(f"{field} is beyond any number that is meant here.", HINT)
    if isinstance(value, int | float):
        return str(value)
    return (value,) if isinstance(value, str) and Described.model_fields[field].default == () else value


def gpu_of(asked: Described) -> Gpu:
    """The same as a row of the catalogue. Raises UsageError for what cannot hold together."""
    if (asked.memory_gib is None) == (asked.memory_mib is None):
        raise UsageError("Its memory is said by memory_gib or by memory_mib, one of them.", HINT)
    if asked.link == "none" and asked.max_per_host != 1:
        raise UsageError(
            "GPUs without a link are alone in their hosts.", "Add max_per_host=1, or say link=pcie"
        )
    memory_gib = asked.memory_gib or (asked.memory_mib or 0) / 1024
    seen_gib, error_gib = memory_gib * SEEN, memory_gib * SEEN_ERROR
    if asked.torch_gib is not None:
        if not 0.8 <= asked.torch_gib / memory_gib <= 1.01:
            raise UsageError(
                f"torch_gib {asked.torch_gib:g} is not what torch sees of {memory_gib:g} GiB.",
                "Leave it out.",
            )
        seen_gib, error_gib = asked.torch_gib, KNOWN_ERROR_GIB
    link = LINKS[asked.link]
    return Gpu(
        name=asked.name,
        family=asked.family or asked.name,
        vendor=asked.vendor,
        aliases=asked.aliases,
        nvml_names=asked.nvml_names,
        memory_mib=round(memory_gib * 1024),
        torch_gib=seen_gib,
        torch_gib_error=error_gib,
        torch_gib_source="yours"
        if asked.torch_gib is not None
        else "estimated: 91.5 to 100.5 % of the nominal size",
        compute_capability=asked.compute_capability,
        memory_gb_per_s=asked.memory_gb_per_s,
        bf16_tflops=asked.bf16_tflops,
        fp8_tflops=asked.fp8_tflops,
        fp4_tflops=asked.fp4_tflops,
        link=link,
        link_gb_per_s=asked.link_gb_per_s or USUAL_LINK_GB_PER_S[link],
        max_per_host=asked.max_per_host,
        source=OWN,
        checked_on=day.today(),
    )


@lru_cache(maxsize=4096)
def plain(name: str) -> str:
    """A name without case, spaces, hyphens and the vendor."""
    return re.sub(r"[\s_-]|nvidia|^amd", "", name.lower())
