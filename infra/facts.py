"""What a host is: the script that reads it (the same here and over SSH), and the record of what it said."""

import re
from collections.abc import Iterator
from typing import Literal

from infra.data import shipped_text
from infra.errors import HostError
from infra.record import Record

Privilege = Literal["root", "sudo", "none"]

GPU_FIELDS = 10
# Of nvidia-smi; what a host says in their place may be anything.
NUMBER, CAPABILITY = re.compile("[0-9]{1,12}"), re.compile("[0-9]{1,3}([.][0-9]{1,3})?")


class GpuFacts(Record):
    """One GPU as NVML or nvidia-smi reports it. None where the GPU answers N/A."""

    index: int
    """As the driver numbers them, from 0."""
    name: str
    """As the driver calls it."""
    uuid: str
    """The driver's own; it stays over boots."""
    memory_total_mib: int | None
    """As the driver reports it; null where it does not."""
    memory_used_mib: int | None
    """By whatever runs now; null where it is not reported."""
    compute_capability: float | None
    """As CUDA numbers it: 9.0; null where it is not reported."""
    mig_enabled: bool = False
    """Whether it is cut into parts."""
    ecc_enabled: bool | None = None
    """Whether its memory corrects errors; null where it is not reported."""
    pci_bus_id: str = ""
    """Where it sits."""


class GpuReport(Record):
    """The GPUs of a host. `problem` is the driver's own sentence when it could not be asked."""

    driver_version: str | None = None
    """Null without a driver."""
    gpus: tuple[GpuFacts, ...] = ()
    """In the driver's order; empty for none."""
    problem: str = ""
    """Empty where the driver answered, or there is none."""


class HostFacts(Record):
    """A host at one moment. Everything a preflight check judges; reading it changes nothing."""

    hostname: str
    """As the host calls itself."""
    architecture: str
    """As `uname -m` says."""
    kernel: str
    """Its release."""
    os: str
    """As /etc/os-release names it."""
    boot_id: str
    """Of this run of the kernel."""
    clock_s: float
    """The host's own idea of the time, in seconds since 1970."""
    cpu_count: int
    """Processors that programs may use."""
    cpu_flags: frozenset[str] = frozenset()
    """As /proc/cpuinfo lists them."""
    numa_nodes: int = 1
    """How many."""
    memory_total_mib: int
    """RAM."""
    memory_available_mib: int
    """RAM that programs could have now."""
    shm_mib: int = 0
    """Size of /dev/shm."""
    disk_free_mib: dict[str, int] = {}
    """Mount point -> what a program may still write there."""
    ports_in_use: frozenset[int] = frozenset()
    """On which somebody listens."""
    interfaces: dict[str, str] = {}
    """Address -> the network interface that has it."""
    privilege: Privilege
    """How root can be had by whoever asks."""
    systemd: int | None = None
    """The version of the running systemd; None when something else is PID 1."""
    python: str | None = None
    """Version of python3; null where there is none."""
    landlock: int = 0
    """The version of the kernel's Landlock; 0 where it has none, or it is off."""
    tools: frozenset[str] = frozenset()
    """Programs that corral asks for and that are there."""
    nvidia_device: bool = False
    """/dev/nvidiactl exists: a driver is loaded, whatever nvidia-smi says."""
    nvswitch: bool = False
    """Whether the GPUs have switches between them."""
    fabric_manager: str = ""
    """What systemd says of NVIDIA's; empty where it is not installed."""
    topology: tuple[str, ...] = ()
    """The lines of `nvidia-smi topo -m`."""
    gpu: GpuReport = GpuReport()
    """Its GPUs."""

    def disk_free_at(self, path: str) -> int:
        """MiB free on the file system that holds that path (0 when no mount is known)."""
        return self.disk_free_mib.get(self.mount_of(path), 0)

    def mount_of(self, path: str) -> str:
        """The mount point of the file system that holds that path; empty when none is known."""
        mounts = [
            mount for mount in self.disk_free_mib if path == mount or path.startswith(mount.rstrip("/") + "/")
        ]
        return max(mounts, key=len, default="")


def script() -> str:
    """The POSIX shell script that prints the facts."""
    return shipped_text("infra.onhost", "facts.sh")


def parse(output: str) -> HostFacts:
    """Turn the script's output into a record. Raises HostError when it is not one; strange lines are ignored."""
    said: dict[str, list[str]] = {}
    for line in output.splitlines():
        key, _, value = line.partition(" ")
        said.setdefault(key, []).append(value.strip())
    try:
        return _facts(said)
    except (KeyError, ValueError, IndexError) as error:
        raise HostError(
            f"What the host says about itself cannot be read ({error}).",
            "It must be Linux with a POSIX shell, awk and /proc; look at it: uname -a",
        ) from None


def _facts(said: dict[str, list[str]]) -> HostFacts:
    def first(key: str, default: str = "") -> str:
        return said.get(key, [default])[0] or default

    return HostFacts(
        hostname=first("hostname"),
        architecture=first("architecture"),
        kernel=first("kernel"),
        os=first("os", "unknown"),
        boot_id=first("boot_id"),
        clock_s=float(said["clock_s"][0]),
        cpu_count=int(said["cpu_count"][0]),
        cpu_flags=frozenset(first("cpu_flags").split()),
        numa_nodes=max(1, int(first("numa_nodes", "1"))),
        memory_total_mib=int(said["memory_total_kib"][0]) // 1024,
        memory_available_mib=int(said["memory_available_kib"][0]) // 1024,
        shm_mib=int(first("shm_kib", "0")) // 1024,
        disk_free_mib=dict(_disks(said.get("disk_free_kib", []))),
        ports_in_use=frozenset(int(local.rpartition(":")[2], 16) for local in said.get("listening", [])),
        interfaces={address: name for name, address in _pairs(said.get("address", []))},
        privilege=_privilege(first("privilege")),
        systemd=whole(first("systemd")),
        python=first("python") or None,
        landlock=whole(first("landlock")) or 0,
        tools=frozenset(said.get("tool", [])),
        nvidia_device="nvidia_device" in said,
        nvswitch="nvswitch" in said,
        fabric_manager=first("fabric_manager"),
        topology=tuple(said.get("topology", [])),
        gpu=gpu_report(said.get("gpu", []), first("driver_version") or None, "nvidia_smi_failed" in said),
    )


def _privilege(word: str) -> Privilege:
    return "root" if word == "root" else "sudo" if word == "sudo" else "none"


def _pairs(lines: list[str]) -> Iterator[tuple[str, str]]:
    for line in lines:
        first, _, second = line.partition(" ")
        yield first, second


def _disks(lines: list[str]) -> Iterator[tuple[str, int]]:
    for free_kib, mount in _pairs(lines):
        yield mount, int(free_kib) // 1024


def gpu_report(lines: list[str], driver_version: str | None = None, failed: bool = False) -> GpuReport:
    """Read the rows of `nvidia-smi --query-gpu=... --format=csv,noheader,nounits`; other lines are its complaint.

    Of one that failed (a GPU fell off the bus) the rows are those of the GPUs that are left.
    """
    rows = {line: [cell.strip() for cell in line.split(",")] for line in lines}
    gpus = [row for row in rows.values() if len(row) == GPU_FIELDS and whole(row[0]) is not None]
    others = " ".join(line.strip() for line, row in rows.items() if line.strip() and row not in gpus)
    complaint = (others or "nvidia-smi failed without a word") if failed else "" if gpus else others
    return GpuReport(
        driver_version=driver_version or (gpus[0][5] if gpus else None),
        gpus=tuple(map(_gpu, gpus)),
        problem=complaint,
    )


def _gpu(row: list[str]) -> GpuFacts:
    index, name, uuid, total, used, _, capability, mig, ecc, bus = row
    return GpuFacts(
        index=int(index),
        name=name,
        uuid=uuid,
        memory_total_mib=whole(total),
        memory_used_mib=whole(used),
        compute_capability=float(capability) if CAPABILITY.fullmatch(capability) else None,
        mig_enabled=mig == "Enabled",
        ecc_enabled={"Enabled": True, "Disabled": False}.get(ecc),
        pci_bus_id=bus,
    )


def whole(text: str) -> int | None:
    """A number as a host says it; None for a cell that says [N/A], or anything else."""
    return int(text) if NUMBER.fullmatch(text) else None
