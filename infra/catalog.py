"""The catalogue: every GPU and EC2 type we know, and the reading of what a user calls a machine."""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cache
from typing import Any

from infra.data import shipped_table
from infra.errors import HostError, UsageError
from infra.hardware import Gpu, Link, Machine, owned
from infra.own_gpus import EXAMPLE, own_gpus, plain

MAX_GPUS = 64
VENDOR = re.compile(r"^(nvidia\s+)?(tesla\s+)?", re.IGNORECASE)
DESCRIBE = f"Describe another: --gpu '{EXAMPLE}'"
COUNTED = re.compile(r"\s*([0-9]{1,4})\s*[xX×*]\s*(\S.*)")


def machine(name: str) -> Machine:
    """Read `g5.12xlarge`, `2xA100-80GB`, `2xp5.48xlarge` or `8xH100`. Raises UsageError for anything else."""
    types = ec2_types()
    if name in types:
        return types[name]
    if counted := COUNTED.fullmatch(name):
        return several(name, int(counted[1]), counted[2].strip())
    raise unknown(name, name)


def canonical(name: str) -> str:
    """The catalogue's own name of a machine, however it was spelled; of none that it knows the name as it is."""
    with suppress(UsageError):
        return machine(name).name
    return name


def gpus() -> dict[str, Gpu]:
    """Every GPU of the catalogue, and each that the user describes, by its name."""
    shipped = loaded()[0]
    return shipped | own_gpus({plain(alias): gpu.name for alias, gpu in named(shipped)})


def listed_gpus() -> tuple[Gpu, ...]:
    """Those that are ranked where no machine is named."""
    return tuple(gpu for gpu in gpus().values() if gpu.listed)


def ec2_types() -> dict[str, Machine]:
    """Every EC2 type of the catalogue by its name."""
    return dict(loaded()[1])


def ec2_types_with(family: str) -> tuple[Machine, ...]:
    """The EC2 types whose GPU is of that family, smallest count first."""
    machines = [machine for machine in loaded()[1].values() if machine.gpu and machine.gpu.family == family]
    return tuple(sorted(machines, key=lambda machine: machine.gpu_count))


def gpu_called(name: str) -> Gpu | None:
    """Find a GPU by its name or an alias, in any case and with spaces or hyphens."""
    wanted = plain(name)
    return next((gpu for alias, gpu in named(gpus()) if plain(alias) == wanted), None)


def gpu_reported(name: str, memory_mib: int | None) -> Gpu:
    """The GPU that NVML or nvidia-smi reports: known by its whole name, and by a memory that agrees with it.

    Raises HostError for any other: a name that only contains a known one, a slice, a part of a card.
    """
    gpu = gpu_of_nvml(name)
    reported = "no memory" if memory_mib is None else f"{memory_mib:,} MiB"
    if gpu is None:
        raise HostError(
            f"{name}, which reports {reported}, is no whole GPU that corral knows.",
            f"{DESCRIBE}; with nvml_names, in gpus.toml of corral's home, it is known here too.",
        )
    if gpu.unified and memory_mib is None:
        return gpu
    least, most = nvml_memory()
    if memory_mib is None or not least * gpu.memory_mib <= memory_mib <= most * gpu.memory_mib:
        raise HostError(
            f"{name} reports {reported}, and a whole {gpu.name} has {gpu.memory_mib:,} MiB.",
            "Look for a slice (MIG, vGPU), or a container that was given a part of it: nvidia-smi -L",
        )
    return gpu


def check_nvidia(gpu: str) -> None:
    """Raise UsageError for a GPU, by its name, that corral plans for and neither prepares nor serves."""
    known = gpus().get(gpu)
    if known and known.vendor != "nvidia":
        raise UsageError(
            f"{gpu} is AMD's: corral plans for it, and prepares, serves and exports for NVIDIA's alone (driver, CUDA, "
            "NVIDIA's container runtime).",
            "Start it by hand in vLLM's ROCm image, with what the plan's serve says: corral size ... --json",
        )


def several(name: str, count: int, what: str) -> Machine:
    """COUNTxGPU or COUNTxEC2TYPE as a machine."""
    types, gpu = ec2_types(), gpu_called(what)
    if not 1 <= count <= MAX_GPUS:
        raise UsageError(
            f"{name}: {count} is not a number of machines to plan for.", f"Use 1 to {MAX_GPUS}: 8xH100"
        )
    if what in types:
        several_hosts = {"name": f"{count}x{what}", "hosts": count}
        return types[what].model_copy(update=several_hosts) if count > 1 else types[what]
    if gpu is None:
        raise unknown(name, what, count)
    if count > gpu.max_per_host and count % gpu.max_per_host:
        raise UsageError(
            f"{name}: {count} GPUs do not make equal hosts of {gpu.max_per_host}.",
            f"Use a multiple of {gpu.max_per_host}: {2 * gpu.max_per_host}x{gpu.name}",
        )
    return owned(gpu, count)


def unknown(name: str, what: str, count: int | None = None) -> UsageError:
    """Why there is no such machine, and what it may be called; never another GPU than the one that was named."""
    if meant := ambiguous().get(plain(what)):
        choices = tuple(f"{count or 8}x{gpu}" for gpu in meant)
        return UsageError(f"{name} is ambiguous: {' or '.join(choices)}?", f"Say which: --on {choices[0]}")
    if gpu := gpu_called(what):
        return UsageError(f"{name} is a GPU, and not how many.", f"For example: 1x{gpu.name} or 8x{gpu.name}")
    if why := not_planned_for(what):
        return UsageError(f"{name} is not planned for: {why}.", known_machines())
    return UsageError(f"{name!r} is not a machine corral knows.{did_you_mean(name)}", known_machines())


def meant(name: str) -> tuple[str, ...]:
    """The shapes that a name may stand for, where it is ambiguous or lacks a count; empty for any other."""
    counted = COUNTED.fullmatch(name)
    count, what = (counted[1], counted[2].strip()) if counted else ("1", name)
    gpu = gpu_called(what)
    return tuple(f"{count}x{each}" for each in ambiguous().get(plain(what), (gpu.name,) if gpu else ()))


def did_you_mean(name: str) -> str:
    """EC2 types of the very family, or the count put before the GPU: nothing that has another GPU."""
    from difflib import get_close_matches

    family = name.partition(".")[0]
    types = [each for each in loaded()[1] if each.partition(".")[0] == family]
    near = get_close_matches(name, types, n=3, cutoff=0.6) if "." in name else undotted(name)
    turned = re.fullmatch(r"(\S.*?)\s*[xX×*]\s*([0-9]{1,4})", name)
    if turned and (gpu := gpu_called(turned[1])):
        near = [f"{turned[2]}x{gpu.name}"]
    return f" Did you mean {' or '.join(near)}?" if near else ""


def undotted(name: str) -> list[str]:
    """The EC2 type that was typed without its dot."""
    return [each for each in loaded()[1] if each.replace(".", "") == name]


def known_machines() -> str:
    """What a machine may be called; never a GPU that is near to the one that was named."""
    return (
        "Use an EC2 type (g5.12xlarge), COUNTxGPU (2xH100) or local; each by name: corral size scout --all; --gpu adds "
        "one."
    )


def not_planned_for(what: str) -> str | None:
    """Why an EC2 type or an accelerator is deliberately not in the catalogue; None where nothing is known of it."""
    if why := refused_families().get(what.partition(".")[0].lower()):
        return why
    table = shipped_table("infra", "catalog.toml")["accelerators"]
    return next((str(why) for names, why in table.items() if re.fullmatch(names, plain(what))), None)


@cache
def ambiguous() -> dict[str, tuple[str, ...]]:
    """Plain names that people give to several GPUs."""
    table = shipped_table("infra", "catalog.toml")["ambiguous"]
    return {plain(name): tuple(gpus) for name, gpus in table.items()}


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


def named(models: Mapping[str, Gpu]) -> Iterator[tuple[str, Gpu]]:
    """Every way to write a GPU's name."""
    for gpu in models.values():
        for alias in (gpu.name, *gpu.aliases):
            yield alias, gpu


def usual_link(gpu: Gpu) -> Link:
    """How GPUs of its kind usually reach the others of their host."""
    usual = loaded()[0].get(gpu.name) or gpus().get(gpu.name)  # those of the user are read anew each time
    return usual.link if usual else gpu.link


def is_relinked(gpu: Gpu) -> bool:
    """Whether a GPU reaches the others of its host in another way than its kind usually does."""
    return usual_link(gpu) != gpu.link


def gpu_of_nvml(name: str) -> Gpu | None:
    """The GPU that NVML calls so."""
    return next((gpu for gpu in gpus().values() if bare(name) in map(bare, gpu.nvml_names)), None)


@cache
def nvml_memory() -> tuple[float, float]:
    """The least and the most of a GPU's memory_mib that NVML may report of a whole one."""
    table = shipped_table("infra", "catalog.toml")["nvml"]
    return table["least_memory"], table["most_memory"]


def bare(name: str) -> str:
    """NVML's name without the vendor, in lower case; nothing else is taken from it."""
    return VENDOR.sub("", name.strip()).lower()
