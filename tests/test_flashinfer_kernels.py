"""FlashInfer's ready-made kernels in an engine: what lacks of them is said before it is brought where none comes."""

from pathlib import Path

import pytest
from bundling import PYTHON, an_engine

from serving.vllm.diagnosis import explain
from serving.vllm.flashinfer_kernels import REMEDY, lacking
from serving.vllm.serve_options import environment

VERSION = "0.7.2.post1"
CUBIN, CACHE = f"flashinfer_cubin-{VERSION}", f"flashinfer_jit_cache-{VERSION}+cu130"
TAKEN = (
    "vLLM takes FlashInfer then, which compiles what is not of its version and ends the start where that cannot be, as "
    f"without nvcc; {REMEDY}"
)
COMPILED = (
    "where nvcc and ninja are, vLLM has it compile kernels at the start, and one that would be downloaded ends the "
    f"start; elsewhere vLLM does without FlashInfer; {REMEDY}"
)


def an_engine_with(tmp_path: Path, *distributions: str) -> Path:
    """An environment that has FlashInfer, and these beside it."""
    prefix = an_engine(tmp_path / "engine")
    for name in (f"flashinfer_python-{VERSION}", *distributions):
        (prefix / "lib" / f"python{PYTHON}" / "site-packages" / f"{name}.dist-info").mkdir()
    return prefix


@pytest.mark.parametrize(
    ("beside", "has", "comes"),
    [
        ((CUBIN, CACHE), "", ""),
        ((), "flashinfer-cubin -, flashinfer-jit-cache -", COMPILED),
        ((CACHE,), f"flashinfer-cubin -, flashinfer-jit-cache {VERSION}", COMPILED),
        ((CUBIN,), f"flashinfer-cubin {VERSION}, flashinfer-jit-cache -", TAKEN),
        (
            ("flashinfer_cubin-0.6.13", CACHE),
            f"flashinfer-cubin 0.6.13, flashinfer-jit-cache {VERSION}",
            TAKEN,
        ),
        (
            (CUBIN, "flashinfer_jit_cache-0.7.2+cu130"),
            f"flashinfer-cubin {VERSION}, flashinfer-jit-cache 0.7.2",
            TAKEN,
        ),
    ],
)
def test_kernels_are_there_where_both_are_of_flashinfers_version(
    beside: tuple[str, ...], has: str, comes: str, tmp_path: Path
) -> None:
    said = f"the engine has FlashInfer {VERSION}, {has}: {comes}" if has else ""
    assert lacking(an_engine_with(tmp_path, *beside), "H100") == said


@pytest.mark.parametrize(
    ("gpu", "is_said"),
    [("A100-80GB", False), ("L40S", False), ("H100", True), ("B200", True), ("MI300X", False), (None, True)],
)
def test_that_there_are_none_is_said_for_the_gpus_of_which_vllm_says_it(
    gpu: str | None, is_said: bool, tmp_path: Path
) -> None:
    """Some that are not of its version are wrong for any."""
    assert bool(lacking(an_engine_with(tmp_path), gpu)) == is_said
    assert lacking(an_engine(tmp_path / "without"), gpu) == ""
    (tmp_path / "other").mkdir()
    assert lacking(an_engine_with(tmp_path / "other", "flashinfer_cubin-0.6.13"), gpu) != ""


def test_a_server_downloads_no_kernel_and_keeps_what_it_compiles_in_its_own_folders() -> None:
    given = environment("/home/of/it", 900)
    assert (given["FLASHINFER_NO_DOWNLOAD"], given["FLASHINFER_WORKSPACE_BASE"]) == ("1", "/home/of/it/vllm")
    assert environment("/home/of/it", 900, "/cache")["FLASHINFER_WORKSPACE_BASE"] == "/cache/vllm"


@pytest.mark.parametrize(
    ("log", "cause"),
    [
        # As FlashInfer 0.7.2.post1's own loader said it on 2026-11-30, without a GPU.
        (
            "RuntimeError: Artifact not found locally: a/b/checksums.txt (looked at /x/cubins/a/b/checksums.txt). "
            "FLASHINFER_NO_DOWNLOAD is set — refusing to download. This means flashinfer-cubin is missing this file.",
            "FlashInfer would download a/b/checksums.txt, and no server of corral's downloads kernels",
        ),
        (
            "RuntimeError: flashinfer-cubin version (0.6.13) does not match flashinfer version (0.6.16.post3). Please "
            "install the same version of both packages.",
            "the engine has flashinfer-cubin 0.6.13 and FlashInfer 0.6.16.post3, which does not start beside it",
        ),
    ],
)
def test_a_start_that_ends_for_its_kernels_is_explained(log: str, cause: str) -> None:
    before = "(EngineCore pid=7) ERROR 11-30 02:40:39 [core.py:1] "
    found = explain(f"{before}{log}\n")
    assert (found.cause, found.next.rpartition(", ")[2]) == (cause, REMEDY.rpartition(", ")[2])
