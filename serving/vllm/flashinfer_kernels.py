"""FlashInfer's kernels in an engine: what of them a server would have to download or compile when it starts.

vLLM's packages pin FlashInfer without its ready-made kernels, which are distributions of the same version:
flashinfer-cubin and flashinfer-jit-cache. As vllm/utils/flashinfer.py of vLLM 0.32.0 and flashinfer/jit of FlashInfer
0.6.18 and 0.7.2 have it (read 2026-11-30, never run on a GPU here), vLLM takes FlashInfer where there is a
flashinfer-cubin, of whatever version, or nvcc and ninja; else it does without. FlashInfer takes kernels of its own
version alone, has others compiled by nvcc, and downloads the rest, which FLASHINFER_NO_DOWNLOAD makes a RuntimeError.
"""

from pathlib import Path

from infra.catalog import gpus

WARNS_FROM = 9.0
"""The compute capability from which vLLM itself warns where they lack: Hopper."""
REMEDY = "bring both: in its environment, where there is internet, bin/vllm download-kernels"


def lacking(prefix: Path, gpu: str | None) -> str:
    """What an engine's environment lacks of them for a GPU, what comes of it, and the remedy; "" for nothing.

    A GPU that nobody named may be any.
    """
    flashinfer = version_in(prefix, "flashinfer_python")
    cubin, cache = (
        version_in(prefix, f"flashinfer_{name}").partition("+")[0] for name in ("cubin", "jit_cache")
    )
    if not flashinfer or (cubin == cache == flashinfer) or not (cubin or cache or is_warned_of(gpu)):
        return ""
    beside = f"flashinfer-cubin {cubin or '-'}, flashinfer-jit-cache {cache or '-'}"
    has = f"the engine has FlashInfer {flashinfer}, {beside}"
    if cubin:
        return (
            f"{has}: vLLM takes FlashInfer then, which compiles what is not of its version and ends the start where "
            f"that cannot be, as without nvcc; {REMEDY}"
        )
    return (
        f"{has}: where nvcc and ninja are, vLLM has it compile kernels at the start, and one that would be downloaded "
        f"ends the start; elsewhere vLLM does without FlashInfer; {REMEDY}"
    )


def is_warned_of(gpu: str | None) -> bool:
    """Whether vLLM warns where they lack for that GPU."""
    known = gpus().get(gpu) if gpu else None
    return known is None or (known.vendor == "nvidia" and known.compute_capability >= WARNS_FROM)


def version_in(prefix: Path, distribution: str) -> str:
    """The version of a distribution in an environment; "" where it is not there."""
    records = sorted(prefix.glob(f"lib/python3*/site-packages/{distribution}-*.dist-info"))
    return records[0].name.removesuffix(".dist-info").split("-")[1] if records else ""
