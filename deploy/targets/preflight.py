"""PURE: can this plan run on that host? Facts and a plan in, named checks with a mend out."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from deploy.targets.place import Check
from infra import catalog
from infra.data import shipped_table
from infra.errors import HostError
from infra.facts import GpuFacts, GpuReport, HostFacts, whole
from infra.hardware import Gpu
from infra.onhost import confine
from infra.quantity import counted
from serving.sizing.plan import Plan
from serving.sizing.plan_again import size_again
from serving.vllm.serve_options import ServeOptions

# Two GPUs of one model differ by less than this in the memory they report; another model by more.
SAME_MEMORY = 0.97
BUSY_FRACTION = 0.05
EQUAL = "Tensor parallelism needs equal GPUs; use one kind."


class Room(NamedTuple):
    """What is to be written below a path."""

    path: str
    gib: float


def checks(
    facts: HostFacts,
    gpu: GpuReport,
    plan: Plan,
    *,
    disk_path: str,
    disk_gib: float,
    weights: Room | None = None,
) -> tuple[Check, ...]:
    """Judge one machine for one plan; `disk_gib` is what is to be written below `disk_path`.

    `weights` is what is fetched besides, and where to: most often to the same file system, which must hold both.
    """
    hardware = _gpu_checks(facts, gpu, plan) if plan.machine.gpu_count else _cpu_checks(facts, gpu, plan)
    return (
        _system(facts),
        *hardware,
        _memory(facts, plan),
        *_disks(facts, Room(disk_path, disk_gib), weights),
        _port(facts, plan.serve.port),
    )


def machine_checks(facts: HostFacts, gpu: GpuReport, *, disk_path: str, disk_gib: float) -> tuple[Check, ...]:
    """Judge one machine for no plan yet: what every plan for real models would meet there."""
    hardware = (_present(gpu.gpus), *_gpus_well(facts, gpu, None)) if gpu.gpus else (_no_gpu(facts, gpu),)
    return (
        _system(facts),
        *hardware,
        *([_link(facts)] if len(gpu.gpus) > 1 and facts.topology else []),
        _disk(facts, disk_path, disk_gib),
        _port(facts, ServeOptions.model_fields["port"].default),
    )


def owned_host_checks(
    facts: HostFacts, our_clock_s: float, archive_python: str | None = None
) -> tuple[Check, ...]:
    """What an owned host needs beyond the hardware: systemd, root, Python, tar, the right time.

    `archive_python` is the Python version of a packed engine, which must be the host's own.
    """
    return (
        _privilege(facts),
        _systemd(facts),
        _python(facts, archive_python),
        _lock(facts),
        # The host tells whole seconds, cut off.
        _clock(facts.clock_s + 0.5 - our_clock_s),
    )


def require(checks: tuple[Check, ...], where: str) -> None:
    """Raise HostError with the first failed check and its mend; warnings pass."""
    failed = [check for check in checks if check.outcome == "failed"]
    if failed:
        others = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
        raise HostError(f"{where} is not ready: {failed[0].name}: {failed[0].found}{others}.", failed[0].fix)


def unused(gpu: GpuReport) -> GpuReport:
    """The GPUs as they would be if nobody used their memory, for a server that takes the place of the one that does."""
    free = (each.model_copy(update={"memory_used_mib": None}) for each in gpu.gpus)
    return gpu.model_copy(update={"gpus": tuple(free)})


def gpus_per_host(plan: Plan) -> int:
    """How many GPUs each of the plan's hosts must have; 0 for the CPU engine."""
    return plan.machine.gpu_count // plan.machine.hosts


def figures() -> dict[str, dict[str, Any]]:
    """The shipped minimums with their sources."""
    return shipped_table("deploy.targets", "preflight.toml")


def _ok(name: str, found: str) -> Check:
    return Check(name=name, outcome="ok", found=found)


def _warning(name: str, found: str, fix: str) -> Check:
    return Check(name=name, outcome="warning", found=found, fix=fix)


def _failed(name: str, found: str, fix: str) -> Check:
    return Check(name=name, outcome="failed", found=found, fix=fix)


def _system(facts: HostFacts) -> Check:
    system = f"{facts.os}, Linux {facts.kernel}, {facts.architecture}"
    if facts.architecture in ("x86_64", "aarch64"):
        return _ok("system", system)
    return _failed("system", system, "vLLM has wheels for x86_64 and aarch64 only.")


def _cpu_checks(facts: HostFacts, gpu: GpuReport, plan: Plan) -> Iterator[Check]:
    if gpu.gpus:
        present = f"{_inventory(gpu.gpus)} present, and not used by this plan"
        on = _shape(len(gpu.gpus), gpu.gpus[0], plan)
        yield _warning("gpu", present, f"Plan for them: {size_again(plan, on)}")
    else:
        yield _ok(
            "gpu", "none; the CPU engine runs the tiny model here (real Llama 4 needs EC2 or an SSH host)"
        )
    if facts.architecture != "x86_64" or "avx2" in facts.cpu_flags:
        yield _ok("cpu", counted(facts.cpu_count, "core"))
    else:
        yield _failed("cpu", "no AVX2", "The CPU build of vLLM needs AVX2: use a CPU of 2013 or later.")
    lacking = {"g++", "python3-dev"} - facts.tools
    if plan.serve.tensor_parallel_size > 1 and lacking:
        fix = "vLLM's CPU build compiles C++ for tensor parallelism: apt-get install g++ python3-dev"
        yield _failed("compiler", f"{' and '.join(sorted(lacking))} missing", fix)
    if "libnuma" not in facts.tools:
        fix = "vLLM's CPU build loads it: apt-get install libnuma1 (numactl-libs on Fedora)"
        yield _failed("libnuma", "libnuma.so.1 is missing", fix)


def _gpu_checks(facts: HostFacts, gpu: GpuReport, plan: Plan) -> Iterator[Check]:
    if not gpu.gpus:
        yield _no_gpu(facts, gpu)
        return
    yield _count(gpu.gpus, plan)
    yield from _gpus_well(facts, gpu, plan)
    if plan.parallel.tensor > 1 and facts.topology:
        yield _link(facts)


def _gpus_well(facts: HostFacts, gpu: GpuReport, plan: Plan | None) -> Iterator[Check]:
    """Whether what is there works; for a plan, the GPUs that it takes."""
    if gpu.problem:
        fix = "A GPU that is lost or broken can stop CUDA on all of them; look at it: nvidia-smi, dmesg"
        yield _warning("nvidia-smi", gpu.problem, fix)
    yield _driver(gpu.driver_version)
    for each in gpu.gpus[: gpus_per_host(plan) if plan else None]:
        if problem := _gpu_problem(each, plan):
            yield _failed(f"gpu {each.index}", *problem)
    lacking = {"gcc", "python3-dev"} - facts.tools
    if lacking:
        fix = "Triton compiles when vLLM starts (not verified without): apt-get install gcc python3-dev"
        yield _warning("compiler", f"{' and '.join(sorted(lacking))} missing", fix)
    if facts.nvswitch:
        yield _fabric_manager(facts)


def _no_gpu(facts: HostFacts, gpu: GpuReport) -> Check:
    if gpu.problem and (facts.nvidia_device or "nvidia-smi" in facts.tools):
        return _failed(
            "gpu", gpu.problem, "Mend the NVIDIA driver first; corral never changes it. See: nvidia-smi"
        )
    return _failed(
        "gpu",
        gpu.problem or "no NVIDIA GPU found",
        "A machine without a GPU can run the CPU engine with the tiny model (corral demo), or point at GPUs "
        "elsewhere: corral provision plan.json --target ec2, or --target ssh --host gpu-1",
    )


def _present(gpus: tuple[GpuFacts, ...]) -> Check:
    """What is there, which is one kind that the catalogue knows."""
    if len({gpu.name for gpu in gpus}) > 1:
        return _failed("gpu", f"{_inventory(gpus)}; they are mixed", EQUAL)
    try:
        _known(gpus[0])
    except HostError as error:
        return _failed("gpu", f"{_inventory(gpus)}. {error.message.rstrip('.')}", error.hint)
    return _ok("gpu", _inventory(gpus))


def _count(gpus: tuple[GpuFacts, ...], plan: Plan) -> Check:
    need = gpus_per_host(plan)
    inventory = f"{_inventory(gpus)}; the plan needs {need}x{plan.machine.gpu}"
    if len(gpus) < need:
        return _failed(
            "gpu",
            inventory,
            f"Plan for this machine: {size_again(plan, _shape(len(gpus), gpus[0], plan))}",
        )
    if len({gpu.name for gpu in gpus}) > 1:
        return _failed("gpu", f"{inventory}; they are mixed", EQUAL)
    return _model(gpus[0], plan, inventory)


def _model(gpu: GpuFacts, plan: Plan, inventory: str) -> Check:
    """A plan holds for one model of GPU: another has other memory, another speed, other kernels."""
    try:
        there = _known(gpu)
    except HostError as error:
        return _failed("gpu", f"{inventory}. {error.message.rstrip('.')}", error.hint)
    if there == catalog.gpu_called(plan.machine.gpu):
        return _ok("gpu", inventory)
    on = f"{gpus_per_host(plan)}x{there.name}"
    return _failed("gpu", inventory, f"Plan for what is there: {size_again(plan, on)}")


def _known(gpu: GpuFacts) -> Gpu:
    """The catalogue's row. A driver that does not say the memory (N/A) is taken at the name's word."""
    named = catalog.gpu_of_nvml(gpu.name)
    if named and gpu.memory_total_mib is None:
        return named
    return catalog.gpu_reported(gpu.name, gpu.memory_total_mib)


def _shape(count: int, gpu: GpuFacts, plan: Plan) -> str:
    """What --on calls so many GPUs that are there; the plan's kind where the catalogue does not know them."""
    try:
        return f"{count}x{_known(gpu).name}"
    except HostError:
        return f"{count}x{plan.machine.gpu}" if plan.machine.gpu_count else plan.machine.name


def _inventory(gpus: tuple[GpuFacts, ...]) -> str:
    names = [gpu.name for gpu in gpus]
    return ", ".join(f"{names.count(name)}x {name}" for name in sorted(set(names)))


def _driver(version: str | None) -> Check:
    figure = figures()["cuda_driver"]
    note = "" if figure["verified"] else ", a minimum not verified with NVIDIA"
    major = whole((version or "").split(".")[0]) or 0
    if major >= figure["minimum"]:
        return _ok("driver", f"NVIDIA {version}")
    return _failed(
        "driver",
        f"NVIDIA {version or 'unknown'}; this vLLM is built for CUDA 13, driver >= {figure['minimum']}{note}",
        "Upgrade the driver (corral never does), or on a datacentre GPU use CUDA forward compatibility: "
        "VLLM_ENABLE_CUDA_COMPATIBILITY=1",
    )


def _gpu_problem(gpu: GpuFacts, plan: Plan | None) -> tuple[str, str] | None:
    minimum = figures()["compute_capability"]["minimum"]
    total, used = gpu.memory_total_mib, gpu.memory_used_mib
    if gpu.mig_enabled:
        return "MIG is on", f"Switch it off: sudo nvidia-smi -i {gpu.index} -mig 0"
    if gpu.compute_capability is not None and gpu.compute_capability < minimum:
        return f"compute capability {gpu.compute_capability}", f"vLLM needs {minimum} or newer."
    if plan and total is not None and total / 1024 < plan.memory.total_gib * SAME_MEMORY:
        size = f"{total / 1024:.1f} GiB; the plan counts on {plan.memory.total_gib:.1f}"
        return (
            size,
            f"Plan for the GPU that is there: {size_again(plan, _shape(gpus_per_host(plan), gpu, plan))}",
        )
    if total and used and used > total * BUSY_FRACTION:
        return f"{used} MiB are in use by another program", "See which: nvidia-smi; stop it first."
    return None


def _fabric_manager(facts: HostFacts) -> Check:
    if facts.fabric_manager == "active":
        return _ok("fabric manager", "active")
    state = f"{facts.fabric_manager or 'not running'}, on a machine with NVSwitch (CUDA error 802 follows)"
    return _failed("fabric manager", state, "Start it: sudo systemctl enable --now nvidia-fabricmanager")


def _link(facts: HostFacts) -> Check:
    if any("NV" in line.split("GPU0", 1)[-1] for line in facts.topology if line.startswith("GPU")):
        return _ok("link", "NVLink between the GPUs")
    return _warning("link", "PCIe only", "Tensor parallelism is slower over PCIe; measure with corral probe.")


def _memory(facts: HostFacts, plan: Plan) -> Check:
    available_gib = facts.memory_available_mib / 1024
    available = f"{available_gib:.1f} of {facts.memory_total_mib / 1024:.1f} GiB RAM available"
    if plan.machine.gpu_count:
        return _ok("memory", available)
    need_gib = plan.memory.weights_gib + plan.memory.kv_cache_gib + figures()["cpu_server_gib"]["value"]
    if available_gib >= need_gib:
        return _ok("memory", available)
    return _failed(
        "memory", f"{available}; the server needs {need_gib:.1f} GiB", "Stop something, or plan smaller."
    )


def _disks(facts: HostFacts, own: Room, weights: Room | None) -> tuple[Check, ...]:
    """One check a file system."""
    if weights is None or not weights.gib:
        return (_disk(facts, *own),)
    if facts.mount_of(own.path) == facts.mount_of(weights.path):
        return (_disk(facts, weights.path, own.gib + weights.gib),)
    return (_disk(facts, *own), _disk(facts, *weights))


def _disk(facts: HostFacts, path: str, need_gib: float) -> Check:
    free_gib = facts.disk_free_at(path) / 1024
    free = f"{free_gib:.1f} GiB free at {path}, {need_gib:.1f} needed"
    if free_gib >= need_gib:
        return _ok("disk", free)
    return _failed("disk", free, "Make room, or mount a larger disk there: df -h")


def _port(facts: HostFacts, port: int) -> Check:
    if port in facts.ports_in_use:
        return _failed(
            "port", f"{port} is in use", f"See by what: ss -ltnp 'sport = :{port}'; or give another: --port"
        )
    return _ok("port", f"{port} is free")


def _privilege(facts: HostFacts) -> Check:
    if facts.privilege == "none":
        return _failed(
            "privilege", "not root, and sudo asks for a password", "Give this user sudo without one."
        )
    return _ok("privilege", facts.privilege)


def _systemd(facts: HostFacts) -> Check:
    if facts.systemd is None:
        return _failed(
            "systemd", "not running", "corral's server is a systemd unit; use a host with systemd."
        )
    return _ok("systemd", str(facts.systemd))


def _python(facts: HostFacts, archive_python: str | None) -> Check:
    low, high = figures()["python"]["minimum"], figures()["python"]["maximum"]
    version = f"Python {facts.python or 'missing'}"
    if facts.python is None or not _version(low) <= _version(facts.python) <= _version(high):
        return _failed("python", version, f"vLLM needs {low} to {high}: install python3 with venv")
    if archive_python and facts.python != archive_python:
        fix = f"Pack the engine on a machine with Python {facts.python}, or install python{archive_python} there."
        return _failed("python", f"{version}; the engine was packed for {archive_python}", fix)
    if not archive_python and "python3-venv" not in facts.tools:
        return _failed(
            "python", f"{version} without venv", "On Debian and Ubuntu: apt-get install python3-venv"
        )
    return _ok("python", version)


def _lock(facts: HostFacts) -> Check:
    if "nft" not in facts.tools:
        fix = "apt-get install nftables (or dnf): without its egress lock the server does not start."
        return _failed("egress lock", "nft is missing", fix)
    if facts.landlock < confine.SCOPES_SINCE:
        fix = "Boot Linux 6.12 or newer with Landlock among its security modules (lsm=)."
        found = "nftables; abstract sockets of the host's programs stay open to the server"
        return _warning("egress lock", found, fix)
    return _ok("egress lock", "nftables, Landlock")


def _version(text: str) -> tuple[int, ...]:
    """Its numbers; none, which is below every version, for what is no version."""
    parts = [whole(part) for part in text.split(".")]
    return () if None in parts else tuple(part for part in parts if part is not None)


def _clock(skew_s: float) -> Check:
    limits = figures()["clock_skew_s"]
    skew = f"{skew_s:+.1f} s against this machine"
    if abs(skew_s) > limits["failed"]:
        return _failed("clock", skew, "Set it: timedatectl set-ntp true. TLS and AWS refuse such a clock.")
    if abs(skew_s) > limits["warning"]:
        return _warning("clock", skew, "Set it: timedatectl set-ntp true")
    return _ok("clock", skew)
