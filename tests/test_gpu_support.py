"""What a precision needs of a GPU, and what is said about the pair."""

import pytest

from infra.catalog import gpus
from serving.model import gpu_support
from serving.model.models import model

FP8 = (
    "FP8 weights are used weight-only (Marlin W8A16) on compute capability {}: the memory is saved, but there is no "
    "FP8 arithmetic."
)
NVFP4 = (
    "NVFP4 weights are used weight-only (Marlin) on compute capability {}: the memory is saved, but there is no FP4 "
    "arithmetic."
)
KV = (
    "--kv-cache-dtype fp8 on compute capability {} goes through FlashInfer, which has an open Llama 4 crash (vllm "
    "#49980): leave it at auto, or test it."
)
FOUR_BITS, A100 = (
    "No 4-bit Llama 4 is in vLLM's own tests (CI covers Scout BF16 and FP8): compare its answers before you rely on"
    " it.",
    "A100 is taken as an SXM board with NVLink; PCIe cards are slower, and vLLM's memory beside the model less"
    " certain.",
)
ROCM = (
    "AMD's GPUs run vLLM's ROCm build, which corral neither installs nor starts. Memory beside the model, attention "
    "kernels (Triton or AITER) and speed are planned as on NVIDIA's: never verified there."
)
ROCM_INT4 = (
    "vLLM's chart of quantization by hardware (0.14.0) has no AMD GPU for AWQ, GPTQ or Marlin: 4-bit weights there "
    "were never verified."
)
ECC = "With ECC on, the card has 46,068 MiB: 3 GiB less than planned."
GB10 = (
    "GB10's memory is the machine's too, and what the system uses is not vLLM's: a published start of Scout in 4 bits "
    "took --gpu-memory-utilization 0.78. Its host is arm64."
)


@pytest.mark.parametrize(
    ("gpu", "precision", "kv_cache_dtype", "owned", "said"),
    [
        ("H100", "bf16", "auto", True, ()),
        ("H100", "fp8", "fp8_e4m3", False, ()),
        ("A10G", "fp8", "auto", False, (FP8.format(8.6),)),
        ("L4", "fp8", "auto", False, ()),
        ("B200", "nvfp4", "fp8", False, (KV.format(10.0), FOUR_BITS)),
        ("H100", "nvfp4", "auto", False, (NVFP4.format(9.0), FOUR_BITS)),
        ("A100-80GB", "int4", "fp8", True, (KV.format(8.0), FOUR_BITS, A100)),
        ("A100-80GB", "int4", "auto", False, (FOUR_BITS,)),
        ("MI300X", "bf16", "auto", True, (ROCM,)),
        ("MI325X", "fp8", "fp8", True, (ROCM,)),
        ("MI300X", "int4", "auto", True, (FOUR_BITS, ROCM, ROCM_INT4)),
        ("RTX-A6000", "bf16", "auto", True, (ECC,)),
        ("GB10", "nvfp4", "auto", True, (FOUR_BITS, GB10)),
    ],
)
def test_what_is_known_of_a_gpu_and_a_precision(
    gpu: str, precision: str, kv_cache_dtype: str, owned: bool, said: tuple[str, ...]
) -> None:
    assert gpu_support.notes(gpus()[gpu], model("scout").family, precision, kv_cache_dtype, owned) == said


def test_a_gpu_without_bf16_runs_no_precision() -> None:
    turing = gpus()["A10G"].model_copy(update={"name": "T4", "compute_capability": 7.5})
    assert gpu_support.refusal(turing, "fp8") == (
        "fp8 needs compute capability 8.0 or newer; T4 has 7.5, without BF16 arithmetic."
    )
    assert gpu_support.refusal(gpus()["A100-80GB"], "fp8") is None
    assert gpu_support.refusal(gpus()["MI300X"], "nvfp4") == (
        "MI300X cannot run nvfp4: its NVFP4 kernels, Marlin's among them, are NVIDIA's alone."
    )
    assert gpu_support.refusal(gpus()["MI300X"], "fp8") is None
