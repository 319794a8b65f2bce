"""A GPU is known by its whole name and the memory it reports; everything near it is refused."""

import pytest

from infra import catalog, gpus
from infra.errors import HostError
from infra.facts import GpuFacts, GpuReport
from serving.sizing.this_machine import local_machine

WHOLE = [
    ("Tesla T4", 15_360, "T4"),
    ("Tesla T4", 15_109, "T4"),
    ("NVIDIA A10G", 23_028, "A10G"),
    ("NVIDIA L4", 23_034, "L4"),
    ("NVIDIA L4", 24_570, "L4"),
    ("NVIDIA L40S", 46_068, "L40S"),
    ("NVIDIA RTX PRO 4500 Blackwell Server Edition", 32_623, "RTX-PRO-4500"),
    ("NVIDIA RTX PRO 6000 Blackwell Server Edition", 97_887, "RTX-PRO-6000"),
    ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", 97_887, "RTX-PRO-6000"),
    ("A100-SXM4-40GB", 40_536, "A100-40GB"),
    ("NVIDIA A100-SXM4-40GB", 40_960, "A100-40GB"),
    ("NVIDIA A100-PCIE-40GB", 40_960, "A100-40GB"),
    ("NVIDIA A100-SXM4-80GB", 81_920, "A100-80GB"),
    ("NVIDIA A100 80GB PCIe", 81_920, "A100-80GB"),
    ("NVIDIA H100 80GB HBM3", 81_559, "H100"),
    ("NVIDIA H100 NVL", 95_830, "H100-NVL"),
    ("NVIDIA H200", 143_771, "H200"),
    ("NVIDIA B200", 183_359, "B200"),
    ("NVIDIA B300 SXM6 AC", 275_040, "B300"),
]
OTHERS = [
    ("NVIDIA L40", 46_068),
    ("NVIDIA L400", 23_034),
    ("NVIDIA T400 4GB", 4_096),
    ("NVIDIA T4G", 15_360),
    ("NVIDIA GB200", 189_471),
    ("NVIDIA GB300", 284_208),
    ("NVIDIA GH200 480GB", 97_871),
    ("NVIDIA H100 PCIe", 81_559),
    ("NVIDIA H100 64GB HBM2", 65_247),
    ("NVIDIA H200 NVL", 143_771),
    ("NVIDIA H20", 97_871),
    ("NVIDIA A10", 23_028),
    ("NVIDIA A100X", 81_920),
    ("NVIDIA A800-SXM4-80GB", 81_920),
    ("NVIDIA A10G-24Q", 23_028),
    ("GRID A100D-80C", 81_920),
    ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", 4_864),
    ("NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition", 97_887),
    ("NVIDIA RTX A6000", 49_140),
    ("NVIDIA", 23_034),
    ("", 23_034),
    ("NVIDIA L4 ", None),
]
OF_ANOTHER_SIZE = [
    ("NVIDIA L4", 2_878),
    ("NVIDIA L4", 46_068),
    ("NVIDIA A100-SXM4-80GB", 40_960),
    ("NVIDIA A100-SXM4-40GB", 81_920),
    ("NVIDIA H100 80GB HBM3", 9_728),
    ("NVIDIA H200", 95_830),
    ("Tesla T4", 7_680),
    ("NVIDIA B200", None),
]


def facts(name: str, memory_mib: int | None, mig: bool = False) -> GpuFacts:
    return GpuFacts(
        index=0,
        name=name,
        uuid="GPU-a",
        memory_total_mib=memory_mib,
        memory_used_mib=0,
        compute_capability=9.0,
        mig_enabled=mig,
    )


@pytest.mark.parametrize(("name", "memory_mib", "known"), WHOLE)
def test_a_whole_gpu_is_known_as_any_driver_names_it(name: str, memory_mib: int, known: str) -> None:
    assert catalog.gpu_reported(name, memory_mib).name == known


def test_every_gpu_of_the_catalogue_can_be_recognised() -> None:
    assert {known for _, _, known in WHOLE} == set(catalog.gpus())


@pytest.mark.parametrize(("name", "memory_mib"), OTHERS + OF_ANOTHER_SIZE)
def test_a_name_or_a_memory_that_is_only_near_is_refused(name: str, memory_mib: int | None) -> None:
    with pytest.raises(HostError) as refused:
        catalog.gpu_reported(name, memory_mib)
    assert name in refused.value.message
    assert ("no memory" if memory_mib is None else f"{memory_mib:,} MiB") in refused.value.message


def test_the_sentence_says_what_was_reported_and_what_a_whole_one_has() -> None:
    with pytest.raises(HostError) as other:
        catalog.gpu_reported("NVIDIA L40", 46_068)
    assert other.value.message == "NVIDIA L40, which reports 46,068 MiB, is no whole GPU that corral knows."
    with pytest.raises(HostError) as part:
        catalog.gpu_reported("NVIDIA L4", 2_878)
    assert part.value.message == "NVIDIA L4 reports 2,878 MiB, and a whole L4 has 23,034 MiB."


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (
            [facts("NVIDIA L40", 46_068)],
            "NVIDIA L40, which reports 46,068 MiB, is no whole GPU that corral knows.",
        ),
        (
            [facts("NVIDIA B200", 183_359), facts("NVIDIA B200", 91_000)],
            "NVIDIA B200 reports 91,000 MiB, and a",
        ),
        (
            [facts("NVIDIA L4", 23_034), facts("NVIDIA L40S", 46_068)],
            "This machine has GPUs of different models",
        ),
        ([facts("NVIDIA A100-SXM4-40GB", 40_960, mig=True)], "MIG is on: these GPUs are cut into slices"),
    ],
)
def test_this_machine_is_planned_for_only_when_every_gpu_is_known(
    found: list[GpuFacts], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpus, "report", lambda: GpuReport(gpus=tuple(found)))
    with pytest.raises(HostError) as refused:
        local_machine()
    assert refused.value.message.startswith(said)


def test_this_machine_with_known_gpus_is_a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "report", lambda: GpuReport(gpus=(facts("NVIDIA H200", 143_771),) * 2))
    found = local_machine()
    assert (found.gpu_name, found.gpus_per_host, found.kind) == ("H200", 2, "local")
