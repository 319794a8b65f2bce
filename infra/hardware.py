"""The nouns of hardware: a GPU model, and a machine that carries some number of them."""

import math
from datetime import date
from typing import Literal

from infra.errors import UsageError
from infra.record import Record

Link = Literal["none", "pcie", "nvlink"]
Kind = Literal["ec2", "owned", "local"]
Vendor = Literal["nvidia", "amd"]

GIB = 2**30
LINKS: dict[Link, str] = {"none": "not at all", "pcie": "over PCIe", "nvlink": "over NVLink"}
PCIE_4_GB_PER_S, PCIE_5_GB_PER_S = 24.0, 48.0
"""One direction of 16 lanes, as catalog.toml has them."""
PCIE_5_FROM = 9.0
"""The compute capability of the first GPUs with PCIe 5.0."""


class Gpu(Record):
    """One GPU model. Peak rates are dense, as in the vendor's data sheet."""

    name: str
    family: str
    """The name people use for it, whatever its memory: A100-40GB and A100-80GB are both A100."""
    vendor: Vendor = "nvidia"
    aliases: tuple[str, ...] = ()
    nvml_names: tuple[str, ...] = ()
    """What NVML calls it, whole, without the vendor."""
    memory_mib: int
    """What nvidia-smi or EC2 DescribeInstanceTypes reports."""
    torch_gib: float
    """`torch.cuda.get_device_properties().total_memory`: what vLLM multiplies by gpu_memory_utilization."""
    torch_gib_error: float
    """Half the spread of the values seen, or of our guess where `torch_gib_source` says it is one."""
    torch_gib_source: str
    compute_capability: float
    memory_gb_per_s: float
    bf16_tflops: float
    fp8_tflops: float | None = None
    fp4_tflops: float | None = None
    link: Link
    """How the GPUs of one host usually reach each other."""
    link_gb_per_s: float
    """One direction of that link, per GPU."""
    bridge_gb_per_s: float | None = None
    """The same over an NVLink bridge, which joins two; None where there is none."""
    max_per_host: int = 8
    unified: bool = False
    """Its memory is the machine's own, and NVML reports none."""
    listed: bool = True
    """Whether it is among every machine that is ranked; any other is planned for when it is named."""
    source: str
    checked_on: date


class Machine(Record):
    """One or more equal hosts with equal GPUs: an EC2 type, a shape that somebody owns, or this machine."""

    name: str
    kind: Kind
    gpu: Gpu | None
    """None for a machine without a GPU, on which vLLM's CPU backend runs."""
    gpus_per_host: int
    hosts: int = 1
    vcpus: int | None = None
    ram_gib: float | None = None
    nvme_gb: int | None = None
    network_gbps: float | None = None
    instance_type: str | None = None
    note: str = ""

    @property
    def gpu_count(self) -> int:
        """All GPUs of all hosts."""
        return self.gpus_per_host * self.hosts

    @property
    def gpu_name(self) -> str:
        """The GPU's name, or `cpu`."""
        return self.gpu.name if self.gpu else "cpu"

    @property
    def network_gb_per_s(self) -> float:
        """Gigabytes per second between hosts; 12.5 (100 Gbit/s) where nobody said."""
        return (self.network_gbps or 100) / 8


def linked(machine: Machine, link: Link | None) -> Machine:
    """A machine of the user's whose GPUs reach each other so. Raises UsageError where they cannot.

    PCIe is taken at what 16 lanes of the GPU's generation carry.
    """
    machine = bridged(machine)
    gpu = machine.gpu
    if link is None or gpu is None or link == gpu.link:
        return machine
    if machine.kind == "ec2":
        raise UsageError(
            f"How the GPUs of {machine.name} reach each other is known: {LINKS[gpu.link]}.",
            "Leave out --gpu-link.",
        )
    if gpu.link == "none":
        raise UsageError(f"{gpu.name} is alone in its machine.", "Leave out --gpu-link.")
    if link == "pcie":
        return with_link(machine, gpu, link, pcie_gb_per_s(gpu))
    if gpu.bridge_gb_per_s is None:
        raise UsageError(f"{gpu.name} has no NVLink that corral knows.", "Leave out --gpu-link.")
    if machine.gpus_per_host > 2:
        raise UsageError(
            f"NVLink bridges join two {gpu.name}; of {machine.gpus_per_host} in a host the others talk over PCIe.",
            f"Leave out --gpu-link, or plan for two: --on 2x{gpu.name} --gpu-link nvlink",
        )
    return with_link(machine, gpu, link, gpu.bridge_gb_per_s)


def bridged(machine: Machine) -> Machine:
    """The machine, over PCIe where its GPUs usually have NVLink by bridges, and are more than a bridge joins."""
    gpu = machine.gpu
    if gpu is None or gpu.link != "nvlink" or gpu.bridge_gb_per_s is None or machine.gpus_per_host <= 2:
        return machine
    return with_link(machine, gpu, "pcie", pcie_gb_per_s(gpu))


def pcie_gb_per_s(gpu: Gpu) -> float:
    """One direction of 16 lanes of its generation."""
    return PCIE_5_GB_PER_S if gpu.compute_capability >= PCIE_5_FROM else PCIE_4_GB_PER_S


def with_link(machine: Machine, gpu: Gpu, link: Link, gb_per_s: float) -> Machine:
    """The machine with its GPUs joined so."""
    joined = gpu.model_copy(update={"link": link, "link_gb_per_s": gb_per_s})
    return machine.model_copy(update={"gpu": joined})


def owned(gpu: Gpu, count: int) -> Machine:
    """The shape COUNTxGPU somebody owns; more GPUs than one host holds become several equal hosts."""
    hosts = math.ceil(count / gpu.max_per_host)
    return bridged(
        Machine(name=f"{count}x{gpu.name}", kind="owned", gpu=gpu, gpus_per_host=count // hosts, hosts=hosts)
    )
