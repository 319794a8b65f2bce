"""The facts of a host: the script runs on this machine, and its output becomes a record whatever else is printed."""

import os
from pathlib import Path

import pytest

from infra import facts, local_facts
from infra.errors import HostError

DATA = Path(__file__).parent / "data" / "hosts"


def test_everything_the_script_says_is_in_the_record() -> None:
    assert facts.parse((DATA / "debian.txt").read_text()) == facts.HostFacts(
        hostname="gpu-1",
        architecture="x86_64",
        kernel="6.1.0-40-amd64",
        os="Debian GNU/Linux 12 (bookworm)",
        boot_id="3e2f9c1c-0a6e-4c8e-9d5e-2f6b7f1f8a11",
        clock_s=1795486910,
        cpu_count=64,
        cpu_flags=frozenset({"fpu", "sse4_2", "avx", "avx2", "avx512f"}),
        numa_nodes=2,
        memory_total_mib=516000,
        memory_available_mib=512000,
        shm_mib=258000,
        disk_free_mib={"/": 102400, "/opt/my models": 3686400},
        ports_in_use=frozenset({22, 8000}),
        interfaces={"10.0.0.5": "eno1", "fe80::5": "eno1"},
        privilege="sudo",
        systemd=252,
        python="3.11",
        landlock=7,
        tools=frozenset({"python3-venv", "tar", "gcc", "python3-dev", "nft", "nvidia-smi"}),
        nvidia_device=True,
        nvswitch=True,
        fabric_manager="active",
        topology=(
            "GPU0    GPU1    CPU Affinity",
            "GPU0     X      NV18    0-31",
            "GPU1    NV18     X      0-31",
        ),
        gpu=facts.GpuReport(
            driver_version="580.95.05",
            gpus=(
                facts.GpuFacts(
                    index=0,
                    name="NVIDIA H100 80GB HBM3",
                    uuid="GPU-a",
                    memory_total_mib=81559,
                    memory_used_mib=1,
                    compute_capability=9.0,
                    ecc_enabled=True,
                    pci_bus_id="00000000:18:00.0",
                ),
                facts.GpuFacts(
                    index=1,
                    name="NVIDIA H100 80GB HBM3",
                    uuid="GPU-b",
                    memory_total_mib=81559,
                    memory_used_mib=1,
                    compute_capability=9.0,
                    pci_bus_id="00000000:2A:00.0",
                ),
            ),
        ),
    )


def test_of_what_a_bare_host_does_not_say_there_is_the_least() -> None:
    """Without NUMA its kernel lists no node, and is one all the same."""
    said = "clock_s 5.5\ncpu_count 2\nmemory_total_kib 2048\nmemory_available_kib 1023\nnuma_nodes 0\nsystemd\nshm_kib "
    assert facts.parse(said) == facts.HostFacts(
        hostname="",
        architecture="",
        kernel="",
        os="unknown",
        boot_id="",
        clock_s=5.5,
        cpu_count=2,
        cpu_flags=frozenset(),
        numa_nodes=1,
        memory_total_mib=2,
        memory_available_mib=0,
        shm_mib=0,
        disk_free_mib={},
        ports_in_use=frozenset(),
        interfaces={},
        privilege="none",
        systemd=None,
        python=None,
        landlock=0,
        tools=frozenset(),
        nvidia_device=False,
        nvswitch=False,
        fabric_manager="",
        topology=(),
        gpu=facts.GpuReport(),
    )
    for line in said.splitlines()[:4]:
        with pytest.raises(HostError, match="What the host says about itself cannot be read"):
            facts.parse(said.replace(line, ""))


@pytest.mark.parametrize(
    ("path", "free_mib"),
    [("/home/a", 102400), ("/opt/my models/scout", 3686400), ("/opt/my modelsX", 102400), ("/", 102400)],
)
def test_the_disk_is_the_one_the_path_lies_on(path: str, free_mib: int) -> None:
    assert facts.parse((DATA / "debian.txt").read_text()).disk_free_at(path) == free_mib


@pytest.mark.parametrize("output", ["", "uname: not found", "clock_s soon\ncpu_count 1\n"])
def test_what_is_no_host_is_one_sentence(output: str) -> None:
    with pytest.raises(HostError, match="What the host says about itself cannot be read"):
        facts.parse(output)


def test_this_machine_can_be_read() -> None:
    here = local_facts.facts()
    assert here.hostname == os.uname().nodename
    assert here.cpu_count == os.cpu_count()
    assert here.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert 0 < here.memory_available_mib <= here.memory_total_mib
    assert here.privilege == "root" if os.geteuid() == 0 else here.privilege in ("sudo", "none")


def test_a_listening_port_is_seen() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        assert server.getsockname()[1] in local_facts.facts().ports_in_use


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program of that name, which the test writes."""
    path = tmp_path / "nvidia-smi"
    path.touch(mode=0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return path


ROW = "0, NVIDIA L4, GPU-a, 23034, 1, 580.95.05, 8.9, [N/A], Enabled, 00:1E"
LOST = "Unable to determine the device handle for GPU1: 0000:00:1F.0: GPU is lost."


@pytest.mark.parametrize(
    ("does", "gpus", "problem"),
    [
        (f"echo '{ROW}'", ["NVIDIA L4"], ""),
        (f"echo '{ROW}'; echo '{LOST}'; exit 15", ["NVIDIA L4"], LOST),
        (f"echo '{ROW}'; kill -KILL $$", ["NVIDIA L4"], "nvidia-smi failed without a word"),
        ("echo 'No devices were found'; exit 6", [], "No devices were found"),
    ],
)
def test_an_nvidia_smi_that_fails_is_no_whole_list_of_gpus(
    does: str, gpus: list[str], problem: str, nvidia_smi: Path
) -> None:
    nvidia_smi.write_text(f'#!/bin/sh\n[ "$1" != topo ] || exit 0\n{does}\n')
    found = local_facts.facts().gpu
    assert ([gpu.name for gpu in found.gpus], found.problem) == (gpus, problem)


def test_facts_that_break_off_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        local_facts, "script", lambda: f"{facts.script().partition('have ip')[0]}\nkill -KILL $$\n"
    )
    with pytest.raises(HostError, match="This machine's facts cannot be read: the shell ended with -9"):
        local_facts.facts()


def test_the_drivers_version_is_the_hosts_or_that_of_its_first_gpu() -> None:
    rows = [f"{n}, NVIDIA L4, GPU-{n}, 23034, 1, 580.95.0{n}, 8.9, [N/A], Enabled, 00:1E" for n in (5, 6)]
    found = [facts.gpu_report(rows, version).driver_version for version in (None, "590.1")]
    assert (found, facts.gpu_report([]).driver_version) == (["580.95.05", "590.1"], None)


def test_each_cell_of_a_gpus_row_and_what_it_does_not_say() -> None:
    rows = [
        "1, NVIDIA A, GPU-1, 23034, 7, 580.1, 8.9, Enabled, Disabled, 00:1E",
        "2, NVIDIA B, GPU-2, [N/A], , 580.2, [N/A], Disabled, [N/A], ",
    ]
    one = {"index": 1, "name": "NVIDIA A", "uuid": "GPU-1", "memory_total_mib": 23034, "memory_used_mib": 7}
    two = {"index": 2, "name": "NVIDIA B", "uuid": "GPU-2", "memory_total_mib": None, "memory_used_mib": None}
    assert [gpu.model_dump() for gpu in facts.gpu_report(rows).gpus] == [
        one | {"compute_capability": 8.9, "mig_enabled": True, "ecc_enabled": False, "pci_bus_id": "00:1E"},
        two | {"compute_capability": None, "mig_enabled": False, "ecc_enabled": None, "pci_bus_id": ""},
    ]


@pytest.mark.parametrize(
    ("word", "privilege"), [("root", "root"), ("sudo", "sudo"), ("su", "none"), ("", "none")]
)
def test_what_the_user_may_do(word: str, privilege: str) -> None:
    assert facts._privilege(word) == privilege
