"""A machine's GPUs: how many, and how they reach each other, whatever the catalogue has."""

from datetime import date
from typing import Any

import pytest

from infra import hardware
from infra.errors import UsageError
from infra.hardware import Gpu, Machine, linked, owned


def gpu(**changes: Any) -> Gpu:
    """A card with NVLink by a bridge."""
    given: dict[str, Any] = {
        "name": "G",
        "family": "G",
        "memory_mib": 1024,
        "torch_gib": 0.9,
        "torch_gib_error": 0.1,
        "torch_gib_source": "a guess",
        "compute_capability": 8.6,
        "memory_gb_per_s": 100.0,
        "bf16_tflops": 10.0,
        "link": "nvlink",
        "link_gb_per_s": 56.0,
        "bridge_gb_per_s": 56.0,
        "source": "none",
        "checked_on": date(2026, 11, 30),
    }
    return Gpu.model_validate(given | changes)


def joined(machine: Machine) -> tuple[str, float]:
    assert machine.gpu is not None
    return machine.gpu.link, machine.gpu.link_gb_per_s


def test_more_than_one_host_holds_become_equal_hosts() -> None:
    machine = owned(gpu(max_per_host=4), 12)
    assert (machine.name, machine.kind, machine.gpus_per_host, machine.hosts, machine.gpu_count) == (
        "12xG",
        "owned",
        4,
        3,
        12,
    )
    assert machine.gpu_name == "G"
    assert Machine(name="c", kind="local", gpu=None, gpus_per_host=0).gpu_name == "cpu"


@pytest.mark.parametrize(("gbps", "gb_per_s"), [(None, 12.5), (0.0, 12.5), (400.0, 50.0)])
def test_what_hosts_reach_each_other_with(gbps: float | None, gb_per_s: float) -> None:
    machine = Machine(name="m", kind="owned", gpu=None, gpus_per_host=1, network_gbps=gbps)
    assert machine.network_gb_per_s == gb_per_s


@pytest.mark.parametrize(
    ("count", "changes", "how"),
    [
        (2, {}, ("nvlink", 56.0)),
        (3, {}, ("pcie", 24.0)),
        (3, {"compute_capability": 9.0}, ("pcie", 48.0)),
        (3, {"compute_capability": 8.9}, ("pcie", 24.0)),
        (3, {"bridge_gb_per_s": None, "link_gb_per_s": 300.0}, ("nvlink", 300.0)),
        (3, {"link": "pcie", "link_gb_per_s": 20.0}, ("pcie", 20.0)),
    ],
)
def test_a_bridge_joins_two(count: int, changes: dict[str, Any], how: tuple[str, float]) -> None:
    assert joined(owned(gpu(**changes), count)) == how


@pytest.mark.parametrize(
    ("count", "changes", "link", "how"),
    [
        (2, {}, None, ("nvlink", 56.0)),
        (2, {}, "nvlink", ("nvlink", 56.0)),
        (2, {}, "pcie", ("pcie", 24.0)),
        (2, {"link": "pcie", "link_gb_per_s": 20.0}, "nvlink", ("nvlink", 56.0)),
        (2, {"link": "pcie", "link_gb_per_s": 20.0}, "pcie", ("pcie", 20.0)),
    ],
)
def test_gpus_are_joined_as_the_user_says(
    count: int, changes: dict[str, Any], link: Any, how: tuple[str, float]
) -> None:
    assert joined(linked(owned(gpu(**changes), count), link)) == how


OUT = "Leave out --gpu-link."


@pytest.mark.parametrize(
    ("count", "changes", "kind", "link", "message", "hint"),
    [
        (2, {}, "ec2", "pcie", "How the GPUs of 2xG reach each other is known: over NVLink.", OUT),
        (1, {"link": "none"}, "owned", "pcie", "G is alone in its machine.", OUT),
        (2, {"link": "pcie", "bridge_gb_per_s": None}, "owned", "nvlink", "G has no NVLink that corral knows.", OUT),
        (4, {}, "owned", "nvlink",
         "NVLink bridges join two G; of 4 in a host the others talk over PCIe.",
         "Leave out --gpu-link, or plan for two: --on 2xG --gpu-link nvlink"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant(
    count: int, changes: dict[str, Any], kind: Any, link: Any, message: str, hint: str
) -> None:
    machine = owned(gpu(**changes), count).model_copy(update={"kind": kind})
    with pytest.raises(UsageError) as error:
        linked(machine, link)
    assert (error.value.message, error.value.hint) == (message, hint)


def test_a_machine_without_a_gpu_is_as_it_is() -> None:
    machine = Machine(name="c", kind="local", gpu=None, gpus_per_host=0)
    assert linked(machine, "pcie") is machine
    assert {*hardware.LINKS} == {"none", "pcie", "nvlink"}
