"""The catalogue: every GPU and EC2 type we know, and the reading of what a user calls a machine."""

import re
from functools import cache
from typing import Any

from infra.data import shipped_table
from infra.errors import HostError, UsageError
from infra.hardware import Gpu, Machine, owned

MAX_GPUS = 64
VENDOR = re.compile(r"^(nvidia\s+)?(tesla\s+)?", re.IGNORECASE)


def machine(name: str) -> Machine:
    """Read `g5.12xlarge`, `2xA100-80GB`, `2xp5.48xlarge` or `8xH100`. Raises UsageError for anything else."""
    types = ec2_types()
    if name in types:
        return types[name]
    count, _, what = name.partition("x")
    if re.fullmatch(r"[0-9]{1,4}", count) and what:
        return several(name, int(count), what)
    raise unknown(name)


def gpus() -> dict[str, Gpu]:
    """Every GPU of the catalogue by its name."""
    return dict(loaded()[0])


def ec2_types() -> dict[str, Machine]:
    """Every EC2 type of the catalogue by its name."""
    return dict(loaded()[1])


def ec2_types_with(family: str) -> tuple[Machine, ...]:
    """The EC2 types whose GPU is of that family, smallest count first."""
    machines = [machine for machine in loaded()[1].values() if machine.gpu and machine.gpu.family == family]
    return tuple(sorted(machines, key=lambda machine: machine.gpu_count))


def gpu_called(name: str) -> Gpu | None:
    """Find a GPU by its name or an alias, in any case and with spaces or hyphens."""
    return by_alias().get(plain(name))


def gpu_reported(name: str, memory_mib: int | None) -> Gpu:
    """The GPU that NVML or nvidia-smi reports: known by its whole name, and by a memory that agrees with it.

    Raises HostError for any other: a name that only contains a known one, a slice, a part of a card.
    """
    gpu = by_nvml_name().get(bare(name))
    reported = "no memory" if memory_mib is None else f"{memory_mib:,} MiB"
    if gpu is None:
        raise HostError(
            f"{name}, which reports {reported}, is no whole GPU that corral knows.",
            f"Plan for one of about its memory and speed by name (--on 1xL40S). GPUs: {', '.join(gpus())}.",
        )
    least, most = nvml_memory()
    if memory_mib is None or not least * gpu.memory_mib <= memory_mib <= most * gpu.memory_mib:
        raise HostError(
            f"{name} reports {reported}, and a whole {gpu.name} has {gpu.memory_mib:,} MiB.",
            "Look for a slice (MIG, vGPU), or a container that was given a part of it: nvidia-smi -L",
        )
    return gpu


def several(name: str, count: int, what: str) -> Machine:
    """COUNTxGPU or COUNTxEC2TYPE as a machine."""
    types, gpu = loaded()[1], gpu_called(what)
    if not 1 <= count <= MAX_GPUS:
        raise UsageError(
            f"{name}: {count} is not a number of machines to plan for.", f"Use 1 to {MAX_GPUS}: 8xH100"
        )
    if what in types:
        return types[what].model_copy(update={"name": name, "hosts": count})
    if gpu is None:
        raise unknown(name)
    if count > gpu.max_per_host and count % gpu.max_per_host:
        raise UsageError(
            f"{name}: {count} GPUs do not make equal hosts of {gpu.max_per_host}.",
            f"Use a multiple of {gpu.max_per_host}: {2 * gpu.max_per_host}x{gpu.name}",
        )
    return owned(gpu, count)


def unknown(name: str) -> UsageError:
    """Say what a machine may be called, with the nearest names."""
    from difflib import get_close_matches

    known = [*loaded()[1], *(f"8x{gpu}" for gpu in loaded()[0])]
    near = get_close_matches(name, known, n=3, cutoff=0.6)
    meant = f" Did you mean {' or '.join(near)}?" if near else ""
    why = refused_families().get(name.partition(".")[0])
    said = f"{name} is not planned for: {why}." if why else f"{name!r} is not a machine corral knows."
    return UsageError(
        f"{said}{meant}",
        f"Use an EC2 type (g5.12xlarge), COUNTxGPU (2xA100-80GB) or local; GPUs: {', '.join(loaded()[0])}.",
    )


@cache
def loaded() -> tuple[dict[str, Gpu], dict[str, Machine]]:
    """The shipped GPUs and EC2 types."""
    return parse(shipped_table("infra", "catalog.toml"))


def refused_families() -> dict[str, str]:
    """EC2 families that are not planned for, and why."""
    return dict(shipped_table("infra", "catalog.toml")["refused"])


def parse(table: dict[str, Any]) -> tuple[dict[str, Gpu], dict[str, Machine]]:
    """The GPUs and EC2 types of a table like catalog.toml."""
    common = {"source": table["gpu_source"], "checked_on": table["checked_on"]}
    gpu_models = {name: Gpu(name=name, **(common | row)) for name, row in table["gpu"].items()}
    return gpu_models, {name: ec2_type(name, row, gpu_models) for name, row in table["ec2"].items()}


def ec2_type(name: str, row: dict[str, Any], gpu_models: dict[str, Gpu]) -> Machine:
    """One row of the EC2 table as a machine."""
    rest = {key: value for key, value in row.items() if key not in ("gpu", "gpus")}
    return Machine(
        name=name,
        kind="ec2",
        instance_type=name,
        gpu=gpu_models[row["gpu"]],
        gpus_per_host=row["gpus"],
        **rest,
    )


@cache
def by_alias() -> dict[str, Gpu]:
    """Every way to write a GPU's name."""
    return {plain(alias): gpu for gpu in loaded()[0].values() for alias in (gpu.name, *gpu.aliases)}


@cache
def by_nvml_name() -> dict[str, Gpu]:
    """Every GPU by the names NVML has for it."""
    return {bare(name): gpu for gpu in loaded()[0].values() for name in gpu.nvml_names}


@cache
def nvml_memory() -> tuple[float, float]:
    """The least and the most of a GPU's memory_mib that NVML may report of a whole one."""
    table = shipped_table("infra", "catalog.toml")["nvml"]
    return table["least_memory"], table["most_memory"]


def bare(name: str) -> str:
    """NVML's name without the vendor, in lower case; nothing else is taken from it."""
    return VENDOR.sub("", name.strip()).lower()


def plain(name: str) -> str:
    """A name without case, spaces, hyphens and the vendor."""
    return re.sub(r"[\s_-]|nvidia", "", name.lower())
