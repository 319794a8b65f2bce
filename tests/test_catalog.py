"""A GPU is known by its whole name and the memory it reports; everything near it is refused."""

import math

import pytest

from infra import catalog, gpus
from infra.errors import HostError, UsageError
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
    ("NVIDIA A100-PCIE-40GB", 40_960, "A100-PCIE-40GB"),
    ("NVIDIA A100-SXM4-80GB", 81_920, "A100-80GB"),
    ("NVIDIA A100 80GB PCIe", 81_920, "A100-PCIE-80GB"),
    ("NVIDIA H100 80GB HBM3", 81_559, "H100"),
    ("NVIDIA H100 NVL", 95_830, "H100-NVL"),
    ("NVIDIA H200", 143_771, "H200"),
    ("NVIDIA B200", 183_359, "B200"),
    ("NVIDIA B300 SXM6 AC", 275_040, "B300"),
    ("NVIDIA A10", 23_028, "A10"),
    ("NVIDIA A40", 46_068, "A40"),
    ("NVIDIA RTX A6000", 49_140, "RTX-A6000"),
    ("NVIDIA RTX A6000", 46_068, "RTX-A6000"),
    ("NVIDIA RTX 6000 Ada Generation", 49_140, "RTX-6000-Ada"),
    ("NVIDIA L40", 46_068, "L40"),
    ("NVIDIA GeForce RTX 3090", 24_576, "RTX-3090"),
    ("NVIDIA GeForce RTX 4090", 24_564, "RTX-4090"),
    ("NVIDIA GeForce RTX 5090", 32_607, "RTX-5090"),
    ("NVIDIA H100 PCIe", 81_559, "H100-PCIE"),
    ("NVIDIA H20", 97_871, "H20"),
    ("NVIDIA H20-3e", 143_771, "H20-141GB"),
    ("NVIDIA GH200 480GB", 97_871, "GH200-96GB"),
    ("NVIDIA GH200 144G HBM3e", 146_831, "GH200-144GB"),
    ("NVIDIA GB10", None, "GB10"),
]
OTHERS = [
    ("NVIDIA L400", 23_034),
    ("NVIDIA T400 4GB", 4_096),
    ("NVIDIA T4G", 15_360),
    ("NVIDIA GB200", 189_471),
    ("NVIDIA GB300", 284_208),
    ("NVIDIA H100 64GB HBM2", 65_247),
    ("NVIDIA H200 NVL", 143_771),
    ("NVIDIA A100X", 81_920),
    ("NVIDIA A800-SXM4-80GB", 81_920),
    ("NVIDIA A10G-24Q", 23_028),
    ("GRID A100D-80C", 81_920),
    ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", 4_864),
    ("NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition", 97_887),
    ("NVIDIA L20", 49_140),
    ("NVIDIA GeForce RTX 4090 D", 24_564),
    ("NVIDIA GeForce RTX 4090 Laptop GPU", 16_376),
    ("NVIDIA RTX A600", 49_140),
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
def test_a_whole_gpu_is_known_as_any_driver_names_it(name: str, memory_mib: int | None, known: str) -> None:
    assert catalog.gpu_reported(name, memory_mib).name == known


def test_every_gpu_of_the_catalogue_can_be_recognised() -> None:
    nvidia = {name for name, gpu in catalog.gpus().items() if gpu.vendor == "nvidia"}
    assert {known for _, _, known in WHOLE} == nvidia


@pytest.mark.parametrize(("name", "memory_mib"), OTHERS + OF_ANOTHER_SIZE)
def test_a_name_or_a_memory_that_is_only_near_is_refused(name: str, memory_mib: int | None) -> None:
    with pytest.raises(HostError) as refused:
        catalog.gpu_reported(name, memory_mib)
    assert name in refused.value.message
    assert ("no memory" if memory_mib is None else f"{memory_mib:,} MiB") in refused.value.message


def test_the_sentence_says_what_was_reported_and_what_a_whole_one_has() -> None:
    with pytest.raises(HostError) as other:
        catalog.gpu_reported("NVIDIA L20", 46_068)
    assert other.value.message == "NVIDIA L20, which reports 46,068 MiB, is no whole GPU that corral knows."
    with pytest.raises(HostError) as part:
        catalog.gpu_reported("NVIDIA L4", 2_878)
    assert part.value.message == "NVIDIA L4 reports 2,878 MiB, and a whole L4 has 23,034 MiB."


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (
            [facts("NVIDIA L20", 46_068)],
            "NVIDIA L20, which reports 46,068 MiB, is no whole GPU that corral knows.",
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


KNOWN = {
    "8xH100": "8xH100",
    "8XH100": "8xH100",
    "8 x H100": "8xH100",
    "8×h100": "8xH100",
    "2x nvidia rtx a6000": "2xRTX-A6000",
    "2xA6000": "2xRTX-A6000",
    "4x4090": "4xRTX-4090",
    "4xGeForce RTX 4090": "4xRTX-4090",
    "8xMI300X": "8xMI300X",
    "8xAMD Instinct MI325X": "8xMI325X",
    "1xDGX Spark": "1xGB10",
    "16xH20": "16xH20",
    "2xp5.48xlarge": "2xp5.48xlarge",
    "2x p5.48xlarge": "2xp5.48xlarge",
}


@pytest.mark.parametrize("typed", KNOWN)
def test_a_machine_is_known_however_it_is_written(typed: str) -> None:
    assert catalog.machine(typed).name == KNOWN[typed]


AMBIGUOUS = {
    "8xA100": "8xA100 is ambiguous: 8xA100-40GB or 8xA100-80GB?",
    "a100": "a100 is ambiguous: 8xA100-40GB or 8xA100-80GB?",
    "2xA100 PCIe": "2xA100 PCIe is ambiguous: 2xA100-PCIE-40GB or 2xA100-PCIE-80GB?",
    "1xGH200": "1xGH200 is ambiguous: 1xGH200-96GB or 1xGH200-144GB?",
    "2xRTX 6000": "2xRTX 6000 is ambiguous: 2xRTX-6000-Ada or 2xRTX-PRO-6000?",
    "H100": "H100 is a GPU, and not how many.",
    "4090": "4090 is a GPU, and not how many.",
}


@pytest.mark.parametrize("typed", AMBIGUOUS)
def test_what_may_be_several_machines_is_asked_back(typed: str) -> None:
    with pytest.raises(UsageError) as asked:
        catalog.machine(typed)
    assert asked.value.message == AMBIGUOUS[typed]
    catalog.machine(asked.value.hint.split()[-1])


NOT_PLANNED = (
    "8xGaudi3", "gaudi2", "dl1.24xlarge", "8xTPU", "tpu-v5e-8", "v5e", "4xv6e", "trillium", "inf2.48xlarge",
    "16xTrainium2", "trn2.48xlarge", "8xAscend 910B", "8x910C", "1xM3 Ultra", "M4Max", "Apple M2", "2xArc B60",
    "8xMax1550", "8xV100", "8xTesla V100-SXM2-32GB", "4xRTX 2080 Ti", "2xTITAN RTX", "p3.16xlarge", "g4ad.xlarge",
)  # fmt: skip


@pytest.mark.parametrize("typed", NOT_PLANNED)
def test_an_accelerator_that_is_not_planned_for_is_refused_with_the_reason(typed: str) -> None:
    with pytest.raises(UsageError, match="is not planned for: ") as refused:
        catalog.machine(typed)
    assert "Did you mean" not in refused.value.message


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        *((f"8x{name}", "") for name in (
            "H2", "H2O", "H201", "L20", "L400", "A16", "A30", "A60", "A4000", "5080", "4080", "RTX-PRO-5000", "MI300",
            "MI300A", "MI250X", "B30", "B20", "GB200", "H800", "A800", "H100-64GB", "RTX 409", "T40",
        )),
        ("g4.12xlarge", ""), ("p4.24xlarge", ""), ("g55.12xlarge", ""), ("p5e.24xlarg", "p5e.48xlarge"),
        ("g5.12xlarg", "g5.12xlarge or g5.24xlarge or g5.xlarge"), ("H100x8", "8xH100"), ("MI300X x 8", "8xMI300X"),
        ("g7e2xlarge", "g7e.2xlarge"), ("toaster", ""), ("", ""), ("8x", ""), ("x8", ""), ("8xlocal", ""),
    ],
)  # fmt: skip
def test_a_near_miss_is_never_offered_as_another_gpu(typed: str, meant: str) -> None:
    with pytest.raises(UsageError) as unknown:
        catalog.machine(typed)
    said = f"{typed!r} is not a machine corral knows." + (f" Did you mean {meant}?" if meant else "")
    assert unknown.value.message == said
    assert unknown.value.hint == CALLED


# Hints, whole: where each leads is tried above.

CALLED = (
    "Use an EC2 type (g5.12xlarge), COUNTxGPU (2xH100) or local; each by name: corral size scout --all; --gpu adds "
    "one."
)
DESCRIBE = (
    "Describe another: --gpu 'name=L20,memory_gib=48,memory_gb_per_s=864,bf16_tflops=119,compute_capability=8.9,"
    "link=pcie'"
)


@pytest.mark.parametrize("typed", ["toaster", "8xTPU"])
def test_what_a_machine_may_be_called_is_told_shortly(typed: str) -> None:
    with pytest.raises(UsageError) as refused:
        catalog.machine(typed)
    assert refused.value.hint == CALLED


@pytest.mark.parametrize(
    ("typed", "message", "hint"),
    [
        ("0xH100", "0xH100: 0 is not a number of machines to plan for.", "Use 1 to 64: 8xH100"),
        ("65xH100", "65xH100: 65 is not a number of machines to plan for.", "Use 1 to 64: 8xH100"),
        (
            "9999xtoaster",
            "9999xtoaster: 9999 is not a number of machines to plan for.",
            "Use 1 to 64: 8xH100",
        ),
        ("9xH100", "9xH100: 9 GPUs do not make equal hosts of 8.", "Use a multiple of 8: 16xH100"),
        ("H100", "H100 is a GPU, and not how many.", "For example: 1xH100 or 8xH100"),
        ("2xA100", "2xA100 is ambiguous: 2xA100-40GB or 2xA100-80GB?", "Say which: --on 2xA100-40GB"),
        ("A100", "A100 is ambiguous: 8xA100-40GB or 8xA100-80GB?", "Say which: --on 8xA100-40GB"),
    ],
)
def test_what_is_typed_wrongly_has_a_hint_of_its_own(typed: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as refused:
        catalog.machine(typed)
    assert (refused.value.message, refused.value.hint) == (message, hint)


@pytest.mark.parametrize("count", [1, 64])
def test_the_fewest_and_the_most_that_are_planned_for(count: int) -> None:
    assert catalog.machine(f"{count}xH100").gpu_count == count
    assert catalog.machine(f"{count}xg5.12xlarge").hosts == count


def test_what_is_reported_and_not_known_has_a_hint() -> None:
    for name, memory_mib, hint in (
        (
            "NVIDIA L20",
            46_068,
            f"{DESCRIBE}; with nvml_names, in gpus.toml of corral's home, it is known here too.",
        ),
        (
            "NVIDIA L4",
            2_878,
            "Look for a slice (MIG, vGPU), or a container that was given a part of it: nvidia-smi -L",
        ),
    ):
        with pytest.raises(HostError) as refused:
            catalog.gpu_reported(name, memory_mib)
        assert refused.value.hint == hint


def test_amds_are_served_by_hand() -> None:
    catalog.check_nvidia("H100")
    catalog.check_nvidia("of nobody")
    with pytest.raises(UsageError) as refused:
        catalog.check_nvidia("MI300X")
    assert refused.value.hint == (
        "Start it by hand in vLLM's ROCm image, with what the plan's serve says: corral size ... --json"
    )


def test_the_least_and_the_most_memory_of_a_whole_gpu() -> None:
    l4 = catalog.gpus()["L4"]
    least, most = catalog.nvml_memory()
    assert 0.9 < least < 1 < most < 1.2
    for memory_mib in (math.ceil(least * l4.memory_mib), math.floor(most * l4.memory_mib)):
        assert catalog.gpu_reported("NVIDIA L4", memory_mib).name == "L4"
    for memory_mib in (math.ceil(least * l4.memory_mib) - 1, math.floor(most * l4.memory_mib) + 1):
        with pytest.raises(HostError):
            catalog.gpu_reported("NVIDIA L4", memory_mib)
