"""NVML through a driver of our own making: what it answers becomes the report, what it refuses becomes None."""

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from infra import gpus
from infra.facts import GpuFacts, GpuReport


class NVMLError(Exception):
    pass


def refuse(*_: Any) -> Any:
    raise NVMLError("Not Supported")


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A pynvml with one H100; a test bends what it needs."""
    module: Any = ModuleType("pynvml")
    module.NVMLError = NVMLError
    module.closed = False
    module.nvmlInit = lambda: None
    module.nvmlShutdown = lambda: setattr(module, "closed", True)
    module.nvmlDeviceGetCount = lambda: 1
    module.nvmlSystemGetDriverVersion = lambda: "580.95.05"
    module.nvmlDeviceGetHandleByIndex = lambda index: index
    module.nvmlDeviceGetMemoryInfo = lambda _: SimpleNamespace(total=81559 * 2**20 + 5, used=2**20 + 5)
    module.nvmlDeviceGetCudaComputeCapability = lambda _: (9, 0)
    module.nvmlDeviceGetMigMode = lambda _: (1, 1)
    module.nvmlDeviceGetEccMode = lambda _: (1, 1)
    module.nvmlDeviceGetName = lambda _: "NVIDIA H100 80GB HBM3"
    module.nvmlDeviceGetUUID = lambda _: "GPU-a"
    module.nvmlDeviceGetPciInfo = lambda _: SimpleNamespace(busId="00000000:18:00.0")
    monkeypatch.setitem(sys.modules, "pynvml", module)
    return module


def test_a_gpu_is_reported_whole(nvml: Any) -> None:
    h100 = GpuFacts(
        index=0,
        name="NVIDIA H100 80GB HBM3",
        uuid="GPU-a",
        memory_total_mib=81559,
        memory_used_mib=1,
        compute_capability=9.0,
        mig_enabled=True,
        ecc_enabled=True,
        pci_bus_id="00000000:18:00.0",
    )
    assert gpus.report() == GpuReport(driver_version="580.95.05", gpus=(h100,))
    assert nvml.closed


def test_what_a_gpu_does_not_answer_is_unknown_not_an_error(nvml: Any) -> None:
    for question in ("MemoryInfo", "CudaComputeCapability", "MigMode", "EccMode"):
        setattr(nvml, f"nvmlDeviceGet{question}", refuse)
    (gpu,) = gpus.report().gpus
    unknown = (gpu.memory_total_mib, gpu.memory_used_mib, gpu.compute_capability, gpu.ecc_enabled)
    assert unknown == (None, None, None, None)
    assert not gpu.mig_enabled


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        ("LibraryNotFound", "there is no NVIDIA driver library (libnvidia-ml.so.1) on this machine"),
        ("DriverNotLoaded", "the NVIDIA driver is installed but not loaded; look at: sudo modprobe nvidia"),
        (
            "LibRmVersionMismatch",
            "the NVIDIA driver was upgraded under the running kernel module (Driver/library version mismatch); reboot"
            " this machine",
        ),
        ("NoPermission", "this user may not use /dev/nvidiactl"),
        ("GpuIsLost", "a GPU has fallen off the bus; the machine needs a power cycle"),
        ("Unheard", "in NVML's words"),
    ],
)
def test_a_driver_that_cannot_be_asked_says_what_to_look_at(nvml: Any, error: str, problem: str) -> None:
    def refused() -> None:
        raise type(f"NVMLError_{error}", (NVMLError,), {})("in NVML's words")

    nvml.nvmlInit = refused
    assert gpus.report() == GpuReport(problem=problem)
    assert not nvml.closed


def test_a_gpu_lost_between_two_questions_is_a_problem_not_a_traceback(nvml: Any) -> None:
    nvml.nvmlDeviceGetName = refuse
    assert gpus.report() == GpuReport(problem="Not Supported")
    assert nvml.closed


def test_every_gpu_has_its_number_and_what_it_lacks_is_no(nvml: Any) -> None:
    nvml.nvmlDeviceGetCount = lambda: 2
    nvml.nvmlDeviceGetUUID = lambda handle: f"GPU-{handle}"
    nvml.nvmlDeviceGetCudaComputeCapability = lambda _: (8, 6)
    nvml.nvmlDeviceGetMigMode = lambda _: (0, 1)
    nvml.nvmlDeviceGetEccMode = lambda _: (0, 1)
    found = [
        (gpu.index, gpu.uuid, gpu.compute_capability, gpu.mig_enabled, gpu.ecc_enabled)
        for gpu in gpus.report().gpus
    ]
    assert found == [(0, "GPU-0", 8.6, False, False), (1, "GPU-1", 8.6, False, False)]


def test_who_holds_memory_of_a_gpu_is_named(nvml: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    held = {0: [SimpleNamespace(pid=7), SimpleNamespace(pid=9)], 1: [SimpleNamespace(pid=7)]}
    nvml.nvmlDeviceGetComputeRunningProcesses = held.__getitem__
    monkeypatch.setattr("infra.processes.name", lambda pid: {7: "python"}.get(pid, ""))
    assert gpus.users((0, 1)) == ("python (pid 7)", "a program (pid 9)")
    nvml.nvmlDeviceGetComputeRunningProcesses = refuse
    assert gpus.users((0,)) == ()
    nvml.nvmlInit = refuse
    assert gpus.users((0,)) == ()
