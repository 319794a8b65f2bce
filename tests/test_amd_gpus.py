"""A machine with AMD's GPUs: it is said, and never planned for as though it had none."""

import json
from pathlib import Path

import pytest

from deploy.cli.main import run
from infra import amd_gpus, gpus
from infra.facts import GpuReport
from serving.model import tiny


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The kernel's list, with the processor alone."""
    folder = tmp_path / "nodes"
    monkeypatch.setattr(amd_gpus, "NODES", folder)
    monkeypatch.setattr(gpus, "report", lambda: GpuReport(problem="no driver"))
    add(folder, simds=0, vendor=0, banks=[(0, 512)])
    return folder


def add(folder: Path, simds: int, vendor: int, banks: list[tuple[int, float]]) -> None:
    """A node as amdkfd writes one: a processor has no SIMDs, and its memory is of heap type 0."""
    node = folder / str(len(list(folder.glob("*"))))
    for index, (heap, gib) in enumerate(banks):
        bank = node / "mem_banks" / str(index)
        bank.mkdir(parents=True)
        (bank / "properties").write_text(
            f"heap_type {heap}\nsize_in_bytes {round(gib * 2**30)}\nwidth 8192\n"
        )
    (node / "properties").write_text(f"cpu_cores_count 0\nsimd_count {simds}\nvendor_id {vendor}\n")


@pytest.mark.parametrize(
    ("count", "gib", "hint"),
    [
        (8, 192, "Plan for them by name: corral size scout --on 8xMI300X --concurrency 4"),
        (1, 256, "Plan for them by name: corral size scout --on 1xMI325X --concurrency 4"),
        (2, 48, "Describe another: --gpu 'name=L20,"),
    ],
)
def test_a_known_model_is_not_planned_for_the_processor_beside_them(
    count: int, gib: float, hint: str, nodes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(count):
        add(nodes, simds=1216, vendor=0x1002, banks=[(1, gib)])
    assert run(["size", "scout", "--on", "local", "--concurrency", "4", "--json"]) == 11
    error = json.loads(capsys.readouterr().out)["error"]
    many = "GPUs" if count > 1 else "GPU"
    assert error["message"] == (
        f"This machine has {count} {many} of AMD's with {gib} GiB, which corral neither asks nor serves on."
    )
    assert error["hint"].startswith(hint)


def test_a_folder_is_planned_for_the_processor_and_told_of_them(
    nodes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The demo's toy is."""
    add(nodes, simds=1216, vendor=0x1002, banks=[(1, 192)])
    tiny.make(tmp_path / "tiny")
    assert run(["size", str(tmp_path / "tiny"), "--on", "local", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["notes"] == [
        "This machine has 1 GPU of AMD's with 192 GiB, which corral neither asks nor serves on. "
        "Plan for them by name: --on 1xMI300X"
    ]


@pytest.mark.parametrize(
    ("simds", "vendor", "banks"),
    [(16, 0x1002, [(1, 0.5)]), (1216, 0x10DE, [(1, 192)]), (1216, 0x1002, [(0, 192)])],
    ids=["of the processor", "another maker's", "without memory"],
)
def test_what_could_not_serve_is_no_gpu(
    simds: int, vendor: int, banks: list[tuple[int, float]], nodes: Path
) -> None:
    add(nodes, simds=simds, vendor=vendor, banks=banks)
    (nodes / "9").mkdir()
    (nodes / "9" / "properties").write_bytes(b"\xff\xfe")
    assert amd_gpus.memories_gib() == ()
