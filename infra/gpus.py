"""The door to NVML: the GPUs of this machine, or the driver's own reason why they cannot be asked."""

from collections.abc import Callable
from typing import Any

from infra import processes
from infra.facts import GpuFacts, GpuReport

MIB = 2**20

# NVML's terse words, in words that say what to look at.
PROBLEMS = {
    "NVMLError_LibraryNotFound": "there is no NVIDIA driver library (libnvidia-ml.so.1) on this machine",
    "NVMLError_DriverNotLoaded": "the NVIDIA driver is installed but not loaded; look at: sudo modprobe nvidia",
    "NVMLError_LibRmVersionMismatch": "the NVIDIA driver was upgraded under the running kernel module "
    "(Driver/library version mismatch); reboot this machine",
    "NVMLError_NoPermission": "this user may not use /dev/nvidiactl",
    "NVMLError_GpuIsLost": "a GPU has fallen off the bus; the machine needs a power cycle",
}


def report() -> GpuReport:
    """Ask NVML for the driver and every GPU. Never raises: a machine without a driver is a report with a problem."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return GpuReport(problem=_problem(error))
    try:
        count = pynvml.nvmlDeviceGetCount()
        gpus = tuple(_gpu(pynvml, index) for index in range(count))
        return GpuReport(driver_version=pynvml.nvmlSystemGetDriverVersion(), gpus=gpus)
    except pynvml.NVMLError as error:
        return GpuReport(problem=_problem(error))
    finally:
        pynvml.nvmlShutdown()


def meter() -> tuple[Callable[[], tuple[float, float]] | None, str]:
    """What says the power in watts and the memory in use in MiB of all GPUs, or None and why; to ask again and again.

    A GPU that does not say its power (some virtual ones) counts as 0 W.
    """
    import pynvml

    try:
        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError as error:
        return None, _problem(error)
    if not handles:
        return None, "NVML tells of no GPU on this machine"

    def reading() -> tuple[float, float]:
        power_mw = sum(_or_none(pynvml, pynvml.nvmlDeviceGetPowerUsage, each) or 0 for each in handles)
        memory = [_or_none(pynvml, pynvml.nvmlDeviceGetMemoryInfo, each) for each in handles]
        return power_mw / 1000, sum(each.used for each in memory if each) / MIB

    return reading, ""


def _problem(error: Exception) -> str:
    return PROBLEMS.get(type(error).__name__, str(error))


def _gpu(nvml: Any, index: int) -> GpuFacts:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    memory = _or_none(nvml, nvml.nvmlDeviceGetMemoryInfo, handle)
    capability = _or_none(nvml, nvml.nvmlDeviceGetCudaComputeCapability, handle)
    mig = _or_none(nvml, nvml.nvmlDeviceGetMigMode, handle)
    ecc = _or_none(nvml, nvml.nvmlDeviceGetEccMode, handle)
    return GpuFacts(
        index=index,
        name=nvml.nvmlDeviceGetName(handle),
        uuid=nvml.nvmlDeviceGetUUID(handle),
        memory_total_mib=memory.total // MIB if memory else None,
        memory_used_mib=memory.used // MIB if memory else None,
        compute_capability=float(f"{capability[0]}.{capability[1]}") if capability else None,
        mig_enabled=bool(mig and mig[0]),
        ecc_enabled=bool(ecc[0]) if ecc else None,
        pci_bus_id=nvml.nvmlDeviceGetPciInfo(handle).busId,
    )


def _or_none(nvml: Any, ask: Any, handle: Any) -> Any:
    """Not every GPU answers every question (MIG, ECC, memory of an integrated one)."""
    try:
        return ask(handle)
    except nvml.NVMLError:
        return None


def users(indexes: tuple[int, ...]) -> tuple[str, ...]:
    """The programs that hold memory of these GPUs, by name and number; never raises, and says what NVML tells."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return ()
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in indexes]
        running = [
            each.pid
            for handle in handles
            for each in _or_none(pynvml, pynvml.nvmlDeviceGetComputeRunningProcesses, handle) or ()
        ]
    except pynvml.NVMLError:
        return ()
    finally:
        pynvml.nvmlShutdown()
    return tuple(f"{processes.name(pid) or 'a program'} (pid {pid})" for pid in sorted(set(running)))
