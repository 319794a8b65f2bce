"""The checks that judge a machine for a plan: every situation ends in the right named check."""

import json
from pathlib import Path
from typing import Any

import pytest
import refusals

from deploy.targets import preflight
from deploy.targets.place import Check
from infra import facts
from infra.errors import HostError
from serving.sizing.plan import Plan, PlanMachine

DATA = Path(__file__).parent / "data" / "hosts"
GPU_CASES = json.loads((DATA / "gpus.json").read_text())


def plan(gpu: str = "H100", gpu_count: int = 2) -> Plan:
    found = Plan.read(DATA / "plan.json")
    machine = found.machine.model_copy(update={"gpu": gpu, "gpu_count": gpu_count})
    return found.model_copy(update={"machine": machine})


def host(**changes: Any) -> facts.HostFacts:
    return facts.parse((DATA / "debian.txt").read_text()).model_copy(update=changes)


def judged(machine: facts.HostFacts, wanted: Plan, disk_gib: float = 60) -> dict[str, Check]:
    found = preflight.checks(machine, machine.gpu, wanted, disk_path="/opt/corral", disk_gib=disk_gib)
    return {check.name: check for check in found}


def failures(found: dict[str, Check]) -> list[str]:
    return [f"{check.name}: {check.found}" for check in found.values() if check.outcome == "failed"]


def mends(found: dict[str, Check]) -> str:
    """What is said of everything that is not well, on one line, and what to do about it on the next."""
    wrong = [check for check in found.values() if check.outcome != "ok"]
    return (
        "; ".join(f"{one.name}: {one.found}" for one in wrong) + "\n" + " | ".join(one.fix for one in wrong)
    )


@pytest.mark.parametrize("case", GPU_CASES, ids=lambda case: case["situation"])
def test_gpus(case: dict[str, Any], request: pytest.FixtureRequest, tmp_path: Path) -> None:
    machine = host(
        gpu=facts.gpu_report(case["gpus"], case["driver"]),
        nvidia_device=case["driver"] is not None,
        tools=frozenset(),
    )
    found = judged(machine, plan())
    assert failures(found) == case["failed"]
    refusals.hold(mends(found), request, tmp_path)


def test_a_gpu_that_fell_off_the_bus_is_a_warning_though_enough_are_left() -> None:
    rows = [*GPU_CASES[0]["gpus"], "Unable to determine the device handle for GPU2: GPU is lost."]
    report = facts.gpu_report(rows, "580.95.05", failed=True)
    check = judged(host(gpu=report), plan())["nvidia-smi"]
    assert (check.outcome, check.found) == ("warning", rows[-1])


def test_a_good_host_passes_every_check() -> None:
    assert [(check.name, check.outcome, check.found) for check in judged(host(), plan()).values()] == [
        ("system", "ok", "Debian GNU/Linux 12 (bookworm), Linux 6.1.0-40-amd64, x86_64"),
        ("gpu", "ok", "2x NVIDIA H100 80GB HBM3; the plan needs 2xH100"),
        ("driver", "ok", "NVIDIA 580.95.05"),
        ("fabric manager", "ok", "active"),
        ("link", "ok", "NVLink between the GPUs"),
        ("memory", "ok", "500.0 of 503.9 GiB RAM available"),
        ("disk", "ok", "100.0 GiB free at /opt/corral, 60.0 needed"),
        ("port", "ok", "8001 is free"),
    ]


def test_each_host_of_several_needs_its_share_of_the_gpus() -> None:
    two_hosts = plan().model_copy(
        update={"machine": PlanMachine(name="4xH100", gpu="H100", gpu_count=4, hosts=2)}
    )
    assert judged(host(), two_hosts)["gpu"].outcome == "ok"


@pytest.mark.parametrize(
    ("changes", "failure"),
    [
        (
            {"architecture": "riscv64"},
            "system: Debian GNU/Linux 12 (bookworm), Linux 6.1.0-40-amd64, riscv64",
        ),
        ({"disk_free_mib": {"/": 30 * 1024}}, "disk: 30.0 GiB free at /opt/corral, 60.0 needed"),
        ({"ports_in_use": frozenset({22, 8001})}, "port: 8001 is in use"),
        (
            {"fabric_manager": "inactive"},
            "fabric manager: inactive, on a machine with NVSwitch (CUDA error 802 follows)",
        ),
    ],
)
def test_one_thing_wrong(
    changes: dict[str, Any], failure: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    found = judged(host(**changes), plan())
    assert failures(found) == [failure]
    refusals.hold(mends(found), request, tmp_path)


def test_gpus_over_pcie_are_a_warning() -> None:
    topology = ("GPU0 GPU1 CPU Affinity", "GPU0  X  PHB  0-31", "GPU1 PHB  X  0-31")
    assert judged(host(topology=topology), plan())["link"].outcome == "warning"


def test_a_machine_without_a_gpu_is_told_what_it_can_do() -> None:
    bare = host(gpu=facts.GpuReport(), nvidia_device=False, tools=frozenset())
    check = judged(bare, plan())["gpu"]
    assert check.outcome == "failed"
    assert "CPU engine with the tiny model" in check.fix
    assert "--target ec2" in check.fix
    assert "--target ssh" in check.fix


def test_the_cpu_engine_wants_avx2_libnuma_and_memory(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    bare = host(gpu=facts.GpuReport(), nvidia_device=False, tools=frozenset({"libnuma"}))
    assert failures(judged(bare, plan("cpu", 0))) == []
    poor = bare.model_copy(
        update={"cpu_flags": frozenset({"sse"}), "tools": frozenset(), "memory_available_mib": 9 * 1024}
    )
    assert failures(judged(poor, plan("cpu", 0))) == [
        "cpu: no AVX2",
        "libnuma: libnuma.so.1 is missing",
        "memory: 9.0 of 503.9 GiB RAM available; the server needs 10.0 GiB",
    ]
    refusals.hold(mends(judged(poor, plan("cpu", 0))), request, tmp_path)


def test_what_is_compiled_at_the_start_needs_a_compiler() -> None:
    assert judged(host(tools=frozenset()), plan())["compiler"].outcome == "warning"
    two = plan("cpu", 0)
    two = two.model_copy(update={"serve": two.serve.model_copy(update={"tensor_parallel_size": 2})})
    bare = host(gpu=facts.GpuReport(), nvidia_device=False, tools=frozenset({"libnuma"}))
    assert failures(judged(bare, two)) == ["compiler: g++ and python3-dev missing"]


@pytest.mark.parametrize(
    ("changes", "archive_python", "failed"),
    [
        ({}, None, []),
        ({}, "3.11", []),
        ({"tools": frozenset({"nft"})}, "3.11", []),
        ({"tools": frozenset({"nft"})}, None, ["python: Python 3.11 without venv"]),
        ({"tools": frozenset({"python3-venv"})}, None, ["egress lock: nft is missing"]),
        ({"python": "3.12"}, "3.11", ["python: Python 3.12; the engine was packed for 3.11"]),
        ({"python": "3.9"}, None, ["python: Python 3.9"]),
        ({"python": None}, None, ["python: Python missing"]),
        ({"privilege": "none"}, None, ["privilege: not root, and sudo asks for a password"]),
        ({"systemd": None}, None, ["systemd: not running"]),
        ({"clock_s": 1795486910.0 - 301.5}, None, ["clock: -301.0 s against this machine"]),
    ],
)
def test_what_an_owned_host_needs(
    changes: dict[str, Any],
    archive_python: str | None,
    failed: list[str],
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    checks = preflight.owned_host_checks(host(**changes), 1795486910.0, archive_python)
    found = {check.name: check for check in checks}
    assert failures(found) == failed
    refusals.hold(mends(found), request, tmp_path)


def test_a_small_clock_skew_is_reported_as_a_warning() -> None:
    clock = preflight.owned_host_checks(host(), 1795486900.0)[-1]
    assert (clock.outcome, clock.found) == ("warning", "+10.5 s against this machine")


def test_a_host_without_nft_gets_no_server() -> None:
    bare = host(tools=frozenset({"python3-venv"}))
    found = {check.name: check for check in preflight.owned_host_checks(bare, 1795486910.0)}
    assert found["egress lock"] == Check(
        name="egress lock",
        outcome="failed",
        found="nft is missing",
        fix="apt-get install nftables (or dnf): without its egress lock the server does not start.",
    )


@pytest.mark.parametrize(
    ("landlock", "outcome", "found", "fix"),
    [
        (7, "ok", "nftables, Landlock", ""),
        (6, "ok", "nftables, Landlock", ""),
        (
            5,
            "warning",
            "nftables; abstract sockets of the host's programs stay open to the server",
            "Boot Linux 6.12 or newer with Landlock among its security modules (lsm=).",
        ),
    ],
)
def test_a_host_whose_linux_cannot_hold_all_is_warned_of(
    landlock: int, outcome: Any, found: str, fix: str
) -> None:
    checks = preflight.owned_host_checks(host(landlock=landlock), 1795486910.0)
    (check,) = [check for check in checks if check.name == "egress lock"]
    assert check == Check(name="egress lock", outcome=outcome, found=found, fix=fix)


def test_a_failed_check_stops_with_its_mend() -> None:
    found = preflight.owned_host_checks(host(systemd=None, privilege="none"), 1795486910.0)
    with pytest.raises(HostError) as error:
        preflight.require(found, "gpu-1")
    assert error.value.message == (
        "gpu-1 is not ready: privilege: not root, and sudo asks for a password (and 1 more)."
    )
    assert error.value.hint == "Give this user sudo without one."


def test_warnings_do_not_stop() -> None:
    preflight.require((Check(name="clock", outcome="warning", found="+10 s", fix="Set it."),), "gpu-1")


def test_every_figure_says_where_it_is_from_and_whether_it_was_verified() -> None:
    for figure in preflight.figures().values():
        assert figure["value_source"]
        assert figure["checked_on"].isoformat() <= "2026-11-24"
        assert isinstance(figure["verified"], bool)
