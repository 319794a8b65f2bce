"""vLLM's argv and environment: whole values, and what is never passed on."""

import subprocess
from pathlib import Path

import pytest

from infra.errors import UsageError
from serving.options import ServeOptions, argv, environment

SCOUT = ServeOptions(
    model="/models/scout with a space",
    served_model_name="scout",
    tensor_parallel_size=4,
    max_model_len=131072,
    gpu_memory_utilization=0.95,
    kv_cache_dtype="fp8",
    language_model_only=True,
    hf_overrides={"text_config": {"max_position_embeddings": 131072}},
    extra_args=("--async-scheduling",),
)
TINY = ServeOptions(model="/models/tiny", served_model_name="tiny", limit_mm_per_prompt={"image": 5})


def test_argv_is_the_plan_then_the_safe_settings_then_the_extra_ones() -> None:
    assert argv(SCOUT) == (
        "serve", "/models/scout with a space",
        "--served-model-name", "scout", "--host", "127.0.0.1", "--port", "8000",
        "--tensor-parallel-size", "4", "--max-model-len", "131072", "--gpu-memory-utilization", "0.95",
        "--kv-cache-dtype", "fp8", "--language-model-only",
        "--hf-overrides", '{"text_config": {"max_position_embeddings": 131072}}', "--shutdown-timeout", "60",
        "--disable-fastapi-docs", "--disable-access-log-for-endpoints", "/health,/metrics,/ping",
        "--fingerprint-mode", "none", "--async-scheduling",
    )  # fmt: skip


def test_a_model_with_images_may_not_fetch_them_from_the_network() -> None:
    arguments = argv(TINY)
    assert arguments[arguments.index("--allowed-media-domains") + 1] == "none.invalid"
    assert arguments[arguments.index("--limit-mm-per-prompt") + 1] == '{"image": 5}'


@pytest.mark.parametrize(
    "argument", ["--api-key", "--api-key=sk-1", "--api_key=sk-1", "--trust-remote-code", "--host"]
)
def test_what_would_undo_a_promise_is_refused(argument: str) -> None:
    with pytest.raises(UsageError) as caught:
        argv(TINY.model_copy(update={"extra_args": (argument,)}))
    assert caught.value.message.startswith(
        f"{argument.split('=')[0].replace('_', '-')} is not passed on to vLLM: "
    )
    assert "sk-1" not in caught.value.message


def test_environment_is_offline_and_inside_the_home() -> None:
    given = environment(TINY, "/home/of/it", 900)
    inside = {name for name, value in given.items() if value.startswith("/home/of/it/")}
    assert {name: value for name, value in given.items() if name not in inside} == {
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_DO_NOT_TRACK": "1",
        "DO_NOT_TRACK": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_UPDATE_CHECK": "1",
        "DISABLE_SAFETENSORS_CONVERSION": "1",
        "VLLM_PLUGINS": "",
        "VLLM_HOST_IP": "127.0.0.1",
        "VLLM_MEDIA_URL_ALLOW_REDIRECTS": "0",
        "VLLM_MAX_N_SEQUENCES": "64",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "VLLM_ENGINE_READY_TIMEOUT_S": "900",
    }
    assert inside == {
        "HF_HOME", "VLLM_CACHE_ROOT", "VLLM_CONFIG_ROOT", "XDG_CACHE_HOME", "XDG_CONFIG_HOME",
        "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "NUMBA_CACHE_DIR", "MPLCONFIGDIR", "TMPDIR",
    }  # fmt: skip


def test_a_long_home_has_its_sockets_below_tmp_as_their_paths_must_be_short() -> None:
    assert environment(TINY, "/" + "x" * 65, 900)["TMPDIR"] == "/" + "x" * 65 + "/tmp"
    assert environment(TINY, "/" + "x" * 66, 900)["TMPDIR"] == "/tmp/corral-cb021d8f4c439a8a"


@pytest.mark.engine
def test_the_engines_own_parser_takes_every_flag_we_give(engine: Path) -> None:
    code = (
        "import sys\n"
        "from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args\n"
        "from vllm.utils.argparse_utils import FlexibleArgumentParser\n"
        "parsed = make_arg_parser(FlexibleArgumentParser()).parse_args(sys.argv[2:])\n"
        "validate_parsed_serve_args(parsed)\n"
        "print(parsed.model_tag, parsed.max_model_len, parsed.hf_overrides, parsed.language_model_only)\n"
    )
    command = [str(engine.parent / "python"), "-c", code, *argv(SCOUT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1:] == [
        "/models/scout with a space 131072 {'text_config': {'max_position_embeddings': 131072}} True"
    ], done.stderr
