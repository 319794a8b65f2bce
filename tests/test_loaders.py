"""How weights are stored: what config.json or ModelOpt's own file says, and what a vLLM has no loader for."""

import json
from pathlib import Path
from typing import Any

import pytest
from test_checkpoint import TINY, checkpoint, shapes

from deploy.cli.main import run
from infra.errors import DocumentError
from serving.model.checkpoint import config_of, read
from serving.model.loaders import kv_cache_of, precision_of, with_modelopt
from serving.model.models import published
from serving.sizing.sized_model import from_table

BITS_4 = {"bits": 4, "group_size": 64}
FIXED_FP8 = {"dynamic": False, "num_bits": 8, "type": "float"}


def modelopt(algorithm: str | None, kv: str | None = None, **more: Any) -> dict[str, Any]:
    """hf_quant_config.json, as ModelOpt writes it."""
    said = {"quant_algo": algorithm, "kv_cache_quant_algo": kv, "exclude_modules": ["lm_head", "*.awq_gate"]}
    return {"producer": {"name": "modelopt", "version": "0.29.0"}, "quantization": said | more}


@pytest.mark.parametrize(
    ("said", "precision", "kv"),
    [
        (modelopt("FP8"), "fp8", "auto"),
        (modelopt("FP8", "FP8"), "fp8", "fp8"),
        (modelopt("NVFP4", "FP8", group_size=16), "nvfp4", "fp8"),
        (modelopt("nvfp4", "fp8"), "nvfp4", "fp8"),
        (modelopt("FP8", "NVFP4"), "fp8", "auto"),
        (modelopt("FP8_PB_WO"), "fp8", "auto"),
        (modelopt(None, "FP8"), "bf16", "fp8"),
        (modelopt("MIXED_PRECISION", quantized_layers={"a": {"quant_algo": "NVFP4"}}), "nvfp4", "auto"),
        ({}, "bf16", "auto"),
    ],
)
def test_a_folder_with_modelopts_own_file_is_what_that_says(
    said: dict[str, Any], precision: str, kv: str, tmp_path: Path
) -> None:
    folder = checkpoint(tmp_path / "tiny", TINY, shapes(TINY))
    (folder / "hf_quant_config.json").write_text(json.dumps(said))
    found = read(folder)
    assert (found.precision, found.kv_cache_dtype) == (precision, kv)


def test_what_config_json_says_goes_before_modelopts_file(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "tiny", TINY, shapes(TINY))
    own = TINY | {"quantization_config": {"quant_method": "fp8"}}
    (folder / "config.json").write_text(json.dumps(own))
    (folder / "hf_quant_config.json").write_text("not even JSON")
    assert config_of(folder) == own
    assert with_modelopt(own, modelopt("NVFP4")) == own


def test_a_file_of_modelopts_that_is_broken_is_one_sentence(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "tiny", TINY, shapes(TINY))
    (folder / "hf_quant_config.json").write_text("[")
    with pytest.raises(DocumentError, match=r"hf_quant_config.json is not a JSON object\."):
        read(folder)


@pytest.mark.parametrize(
    ("quantization", "version", "kv"),
    [
        ({"quant_method": "modelopt", "quant_algo": "FP8", "kv_cache_scheme": FIXED_FP8}, None, "fp8"),
        ({"quant_method": "modelopt_fp4", "quant_algo": "NVFP4", "kv_cache_quant_algo": "FP8"}, None, "fp8"),
        ({"quant_algo": "FP8", "kv_cache_scheme": FIXED_FP8, "producer": {"name": "modelopt"}}, None, "fp8"),
        ({"quant_method": "modelopt", "kv_cache_scheme": FIXED_FP8 | {"dynamic": True}}, None, "auto"),
        ({"quant_method": "modelopt", "kv_cache_scheme": {"num_bits": 4, "type": "float"}}, None, "auto"),
        ({"quant_method": "compressed-tensors", "kv_cache_scheme": FIXED_FP8}, None, "fp8"),
        ({"quant_method": "compressed-tensors", "kv_cache_scheme": None}, None, "auto"),
        ({"quant_method": "compressed-tensors"}, None, "auto"),
        ({"quant_method": "compressed-tensors", "kv_cache_scheme": FIXED_FP8}, "0.10.0", "auto"),
        ({"quant_method": "compressed-tensors", "kv_cache_scheme": FIXED_FP8}, "0.12.0", "fp8"),
        ({"quant_method": "fp8", "kv_cache_scheme": "static"}, None, "auto"),
    ],
)
def test_what_vllm_takes_auto_for(quantization: dict[str, Any], version: str | None, kv: str) -> None:
    assert kv_cache_of({"quantization_config": quantization}, version) == kv


@pytest.mark.parametrize(
    ("config", "precision"),
    [
        ({"text_config": {"quantization_config": {"quant_method": "awq"}}}, "int4"),
        ({"compression_config": {"quant_method": "compressed-tensors", "weights": {"num_bits": 4}}}, "int4"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 8}}, "fp8"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "int4"),
        ({"quantization_config": {"quant_method": "auto-round", "bits": 4}}, "int4"),
        ({"quantization_config": {"quant_method": "quark", "weight": {"dtype": "int4"}}}, "int4"),
        ({"quantization_config": {"quant_method": "mxfp4"}}, "nvfp4"),
        ({"quantization_config": {"quant_algo": "FP8", "producer": {"name": "nvfp4 or awq"}}}, "fp8"),
        ({"quantization_config": {"quant_method": "fp8", "ignored_layers": ["awq_nvfp4"]}}, "fp8"),
        ({"quantization_config": {"quant_method": "fp8", "kv_cache_scheme": {"num_bits": 4}}}, "fp8"),
        ({"quantization_config": {"quant_method": "modelopt", "quant_algo": "NVFP4"}}, "nvfp4"),
    ],
)
def test_how_weights_are_stored_wherever_it_is_said(config: dict[str, Any], precision: str) -> None:
    assert precision_of(config) == precision


@pytest.mark.parametrize(
    ("config", "called"),
    [
        ({"quantization": BITS_4}, "MLX"),
        ({"quantization": BITS_4 | {"mode": "affine"}, "quantization_config": BITS_4}, "MLX"),
        ({"quantization_config": {"bits": 8, "group_size": 32}}, "MLX"),
        *(
            ({"quantization_config": {"quant_method": method, "bits": 4}}, called)
            for method, called in (
                ("exl2", "EXL2 (ExLlamaV2)"), ("exl3", "EXL3 (ExLlamaV3)"), ("quip", "quip"), ("vptq", "vptq"),
                ("higgs", "higgs"), ("spqr", "spqr"), ("quanto", "quanto"), ("eetq", "eetq"), ("bitnet", "bitnet"),
                ("", "a quantization without a name"), ("\x1b[2J", "\N{REPLACEMENT CHARACTER}[2j"),
            )
        ),
        ({"quantization_config": {"quant_method": "modelopt", "quant_algo": "W4A8_AWQ"}}, "ModelOpt's W4A8_AWQ"),
        ({"quantization_config": {"quant_method": "modelopt", "quant_algo": "INT8_SQ"}}, "ModelOpt's INT8_SQ"),
        (with_modelopt({}, modelopt("W4A16_AWQ")), "ModelOpt's W4A16_AWQ"),
    ],
)  # fmt: skip
def test_what_no_vllm_loads_is_refused_by_its_name(config: dict[str, Any], called: str) -> None:
    with pytest.raises(DocumentError) as refused:
        precision_of(config)
    assert refused.value.message == f"The checkpoint is stored with {called}, which vLLM has no loader for."


@pytest.mark.parametrize(
    ("method", "last", "gone"),
    [
        ("bitsandbytes", "0.24.0", "0.28.0"),
        ("gguf", "0.23.0", "0.24.0"),
        ("aqlm", "0.10.0", "0.11.2"),
        ("hqq", "0.13.0", "0.14.0"),
        ("deepspeedfp", "0.14.0", "0.33.0"),
        ("bitblas", "0.14.0", "0.33.0"),
    ],
)
def test_what_a_vllm_no_longer_loads_an_older_one_did(method: str, last: str, gone: str) -> None:
    config = {"quantization_config": {"quant_method": method, "load_in_4bit": True}}
    assert precision_of(config, last) == "int4"
    for version in (gone, None):
        with pytest.raises(DocumentError) as refused:
            precision_of(config, version)
        assert refused.value.message == (
            f"The checkpoint is stored with {method}, which vLLM no longer loads (out of its tree by {gone})."
        )


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["scout-Q4_K_M.gguf"], "stored with gguf, which vLLM no longer loads (out of its tree by 0.24.0)."),
        (["weights.00.npz"], "stored with MLX, which vLLM has no loader for."),
        (["consolidated.00.pth"], "stored with Meta's own consolidated.*.pth, which vLLM has no loader for."),
        (["rank0.engine"], "stored with TensorRT-LLM, as an engine, which vLLM has no loader for."),
        (["model.onnx", "model.onnx_data"], "stored with ONNX, which vLLM has no loader for."),
    ],
)
def test_a_folder_of_another_format_is_refused_by_its_name_even_without_a_config(
    names: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in names:
        (tmp_path / name).write_bytes(b"GGUF")
    assert run(["size", str(tmp_path), "--on", "8xH100"]) == 4
    assert capsys.readouterr().err.splitlines()[0] == f"error: The checkpoint is {said}"


def test_safetensors_of_mlx_are_refused_though_their_config_says_nothing(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "tiny", TINY, shapes(TINY))
    path = folder / "model.safetensors"
    text = path.read_bytes()
    length = int.from_bytes(text[:8], "little")
    rows = {"__metadata__": {"format": "mlx"}} | json.loads(text[8 : 8 + length])
    header = json.dumps(rows).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + text[8 + length :])
    with pytest.raises(DocumentError, match="is stored with MLX, which vLLM has no loader for"):
        read(folder)


def test_the_kv_cache_of_a_checkpoint_is_planned_and_can_be_overruled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = checkpoint(tmp_path / "tiny", TINY, shapes(TINY))
    (folder / "hf_quant_config.json").write_text(json.dumps(modelopt("FP8", "FP8")))
    plans = []
    for more in ([], ["--kv-cache-dtype", "fp8"], ["--kv-cache-dtype", "bfloat16"]):
        assert run(["size", str(folder), "--on", "1xH100", "--json", *more]) == 0
        plans.append(json.loads(capsys.readouterr().out))
    said, asked, kept = plans
    assert (said["kv"], said["serve"]["kv_cache_dtype"]) == (asked["kv"], "fp8")
    assert kept["kv"]["bytes_per_block"] == 2 * said["kv"]["bytes_per_block"]
    assert (
        "The checkpoint says that its KV cache is FP8, for which vLLM takes --kv-cache-dtype auto: --kv-cache-dtype "
        "bfloat16 keeps 16 bits, and holds half as much."
    ) in said["notes"]


@pytest.mark.parametrize(
    ("repo", "gib", "precision"),
    [
        ("nvidia/Llama-4-Scout-17B-16E-Instruct-NVFP4", 60.86, "nvfp4"),
        ("nvidia/Llama-4-Scout-17B-16E-Instruct-FP4", 60.86, "nvfp4"),
        ("nvidia/Llama-4-Scout-17B-16E-Instruct-FP8", 103.92, "fp8"),
        ("nvidia/Llama-4-Maverick-17B-128E-Instruct-FP8", 376.76, "fp8"),
        ("nvidia/Llama-4-Maverick-17B-128E-Instruct-NVFP4", 214.33, "nvfp4"),
        ("RedHatAI/Llama-4-Scout-17B-16E-Instruct-FP8-dynamic", 106.77, "fp8"),
        ("RedHatAI/Llama-4-Scout-17B-16E-Instruct-quantized.w4a16", 60.42, "int4"),
        ("RedHatAI/Llama-4-Scout-17B-16E-Instruct-NVFP4", 64.90, "nvfp4"),
        ("RedHatAI/Llama-4-Maverick-17B-128E-Instruct-FP8", 388.13, "fp8"),
        ("RedHatAI/Llama-4-Maverick-17B-128E-Instruct", 748.01, "bf16"),
        ("meta-llama/Llama-4-Scout-17B-16E-Instruct", 202.36, "bf16"),
    ],
)
def test_a_repository_of_the_table_has_its_size(repo: str, gib: float, precision: str) -> None:
    listed = from_table(repo, "--offline")
    assert listed is not None
    assert published(repo) is not None
    assert listed.weights_bytes / 2**30 == pytest.approx(gib, abs=0.01)
    assert (listed.repo, listed.precision, listed.name) == (repo, precision, repo.rpartition("/")[2])


def test_offline_a_repository_of_the_table_is_planned_from_it_and_no_other_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CORRAL_OFFLINE", "1")
    repo = "nvidia/Llama-4-Scout-17B-16E-Instruct-NVFP4"
    assert run(["size", repo, "--on", "1xRTX-PRO-6000", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["serve"]["model"], plan["precision"], plan["weights_bytes"]) == (repo, "nvfp4", 65344924672)
    assert plan["notes"][0] == (
        "The Hub was not asked (--offline): sizes are those of corral's own table, 60.86 GiB as loaded on an RTX PRO "
        "6000 (loftllc.dev); headers not read."
    )
    assert run(["size", repo, "--on", "1xRTX-PRO-6000", "--precision", "fp8"]) == 2
    assert capsys.readouterr().err.startswith(f"error: {repo} is stored in nvfp4, not fp8.")
    assert run(["size", "someone/Llama-4-Scout", "--on", "1xRTX-PRO-6000"]) == 2
    assert capsys.readouterr().err.startswith(
        "error: This would ask the model hub about someone/Llama-4-Scout"
    )
