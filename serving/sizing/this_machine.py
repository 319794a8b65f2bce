"""This machine as the planner sees it: its GPUs by NVML, or none."""

from typing import NamedTuple

from infra import amd_gpus, catalog
from infra.errors import HostError
from infra.hardware import Machine
from infra.quantity import counted


def local_machine() -> Machine:
    """This machine as the planner sees it. Raises HostError when its GPUs are of different models or none of ours."""
    from infra.gpus import report
    from infra.local_facts import facts

    host, gpus = facts(), report().gpus
    ram_gib = host.memory_total_mib / 1024
    if not gpus:
        there = unasked()
        return Machine(
            name="local",
            kind="local",
            gpu=None,
            gpus_per_host=0,
            vcpus=host.cpu_count,
            ram_gib=ram_gib,
            note=f"{there.sentence} {there.hint}" if there else "",
        )
    if len({gpu.name for gpu in gpus}) > 1:
        raise HostError(
            f"This machine has GPUs of different models: {', '.join(gpu.name for gpu in gpus)}.",
            "Plan for one kind by name: --on 1xH100",
        )
    if any(gpu.mig_enabled for gpu in gpus):
        raise HostError(
            "MIG is on: these GPUs are cut into slices, and vLLM wants whole ones.",
            "Switch it off (sudo nvidia-smi -mig 0), or plan for whole ones by name: --on 1xH100",
        )
    gpu = [catalog.gpu_reported(each.name, each.memory_total_mib) for each in gpus][0]
    return Machine(
        name="local", kind="local", gpu=gpu, gpus_per_host=len(gpus), vcpus=host.cpu_count, ram_gib=ram_gib
    )


class Unasked(NamedTuple):
    """GPUs of this machine that corral cannot ask: what to say of them, what to do, and what --on calls them."""

    sentence: str
    hint: str
    name: str


def unasked() -> Unasked | None:
    """AMD's GPUs of this machine; None where there are none."""
    memories_gib = amd_gpus.memories_gib()
    if not memories_gib:
        return None
    count, gib = len(memories_gib), min(memories_gib)
    sentence = (
        f"This machine has {counted(count, 'GPU')} of AMD's with {gib:,.0f} GiB, which corral neither asks nor "
        "serves on."
    )
    least, most = catalog.nvml_memory()
    known = (gpu for gpu in catalog.gpus().values() if gpu.vendor == "amd")
    gpu = next((gpu for gpu in known if least <= gib * 1024 / gpu.memory_mib <= most), None)
    if gpu is None:
        return Unasked(sentence, catalog.DESCRIBE, "")
    name = f"{count}x{gpu.name}"
    return Unasked(sentence, f"Plan for them by name: --on {name}", name)
