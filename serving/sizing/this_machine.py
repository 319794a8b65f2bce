"""This machine as the planner sees it: its GPUs by NVML, or none."""

from infra import catalog
from infra.errors import HostError
from infra.hardware import Machine


def local_machine() -> Machine:
    """This machine as the planner sees it. Raises HostError when its GPUs are of different models or none of ours."""
    from infra.gpus import report
    from infra.local_facts import facts

    host, gpus = facts(), report().gpus
    ram_gib = host.memory_total_mib / 1024
    if not gpus:
        return Machine(
            name="local", kind="local", gpu=None, gpus_per_host=0, vcpus=host.cpu_count, ram_gib=ram_gib
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
