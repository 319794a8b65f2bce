"""vLLM's argv and environment: whole values, and what is never passed on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from infra.errors import UsageError
from serving.vllm.engine import recipe
from serving.vllm.serve_options import NOT_INHERITED, ServeOptions, across_nodes, argv, environment, flag

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


def test_what_is_vllms_default_is_left_out() -> None:
    assert argv(ServeOptions(model="m", served_model_name="m")) == (
        "serve", "m", "--served-model-name", "m", "--host", "127.0.0.1", "--port", "8000",
        "--shutdown-timeout", "60", "--allowed-media-domains", "none.invalid", "--disable-fastapi-docs",
        "--disable-access-log-for-endpoints", "/health,/metrics,/ping", "--fingerprint-mode", "none",
    )  # fmt: skip


def test_what_a_plan_does_not_say_is_left_to_vllm() -> None:
    assert ServeOptions(model="m", served_model_name="m").model_dump() == {
        "model": "m", "served_model_name": "m", "host": "127.0.0.1", "port": 8000, "tensor_parallel_size": 1,
        "revision": None,
        "pipeline_parallel_size": 1, "data_parallel_size": 1, "enable_expert_parallel": False, "max_model_len": None,
        "max_num_seqs": None, "max_num_batched_tokens": None, "gpu_memory_utilization": None, "kv_cache_dtype": "auto",
        "kv_cache_memory_bytes": None, "disable_hybrid_kv_cache_manager": False, "dtype": "auto", "quantization": None,
        "enforce_eager": False, "language_model_only": False, "limit_mm_per_prompt": None, "hf_overrides": None,
        "generation_config": None, "chat_template": None, "shutdown_timeout": 60, "extra_args": (),
    }  # fmt: skip


def test_a_switch_that_is_off_is_said_as_vllm_says_it() -> None:
    assert flag("enforce_eager", False) == ("--no-enforce-eager",)


def test_every_node_is_told_of_the_others_and_one_has_the_api() -> None:
    first = ("--nnodes", "2", "--node-rank", "0", "--master-addr", "10.0.0.5")
    assert across_nodes(2, "0", "10.0.0.5", headless=False) == first
    assert across_nodes(2, "0", "10.0.0.5", headless=True) == (*first, "--headless")


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"port": 0}, "port"),
        ({"port": 65536}, "port"),
        ({"tensor_parallel_size": 0}, "tensor_parallel_size"),
        ({"gpu_memory_utilization": 0.0}, "gpu_memory_utilization"),
        ({"gpu_memory_utilization": 1.01}, "gpu_memory_utilization"),
        ({"shutdown_timeout": -1}, "shutdown_timeout"),
    ],
)
def test_a_number_that_vllm_would_refuse_is_none_of_a_plan(changed: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ServeOptions(**({"model": "m", "served_model_name": "m"} | changed))
    assert [error["loc"] for error in caught.value.errors()] == [(field,)]


def test_the_ends_of_what_is_allowed_are_allowed() -> None:
    ends: dict[str, Any] = {"tensor_parallel_size": 1, "gpu_memory_utilization": 1.0, "shutdown_timeout": 0}
    for port in (1, 65535):
        assert ServeOptions(model="m", served_model_name="m", port=port, **ends).port == port


def test_what_would_undo_a_promise_is_refused_and_so_is_what_the_plan_says() -> None:
    for argument, reason in (
        (
            "--api_ke=sk-1",
            "an argument is visible to every user of the machine; corral keeps the key in a file of its",
        ),
        ("--port=1", "the plan's own field says it"),
        ("--max-model-l", "the plan's own field says it"),
    ):
        with pytest.raises(UsageError) as caught:
            argv(TINY.model_copy(update={"extra_args": ("--fine", argument)}))
        assert f"is not passed on to vLLM: {reason}" in caught.value.message
        assert "sk-1" not in caught.value.message


def test_environment_is_offline_and_inside_the_home() -> None:
    given = environment("/home/of/it", 900)
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
        "NCCL_SOCKET_IFNAME": "lo",
        "GLOO_SOCKET_IFNAME": "lo",
        "VLLM_MEDIA_URL_ALLOW_REDIRECTS": "0",
        "VLLM_MAX_N_SEQUENCES": "64",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "FLASHINFER_NO_DOWNLOAD": "1",
        "VLLM_ENGINE_READY_TIMEOUT_S": "900",
    }
    assert {name: given[name].removeprefix("/home/of/it/") for name in inside} == {
        "HF_HOME": "huggingface",
        "VLLM_CACHE_ROOT": "vllm",
        "VLLM_CONFIG_ROOT": "vllm-config",
        "FLASHINFER_WORKSPACE_BASE": "vllm",
        "XDG_CACHE_HOME": "xdg-cache",
        "XDG_CONFIG_HOME": "xdg-config",
        "TORCHINDUCTOR_CACHE_DIR": "inductor",
        "TRITON_CACHE_DIR": "triton",
        "NUMBA_CACHE_DIR": "numba",
        "MPLCONFIGDIR": "matplotlib",
        "TMPDIR": "tmp",
    }


def test_what_a_server_does_not_inherit() -> None:
    """Secrets that it has no use for, and switches that open it or change what was planned."""
    assert set(NOT_INHERITED) == {
        "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE",
        "VLLM_SERVER_DEV_MODE", "VLLM_ALLOW_INSECURE_SERIALIZATION", "VLLM_ALLOW_RUNTIME_LORA_UPDATING",
        "VLLM_KEEP_ALIVE_ON_ENGINE_DEATH", "VLLM_DEBUG_LOG_API_SERVER_RESPONSE",
        "VLLM_ENABLE_RESPONSES_API_STORE", "VLLM_CPU_KVCACHE_SPACE", "PYTHONOPTIMIZE",
    }  # fmt: skip


def test_servers_may_share_what_vllm_keeps_of_a_model() -> None:
    alone, shared = (
        environment("/home/of/it", 900),
        environment("/home/of/it", 900, "/home/cache"),
    )
    assert shared == alone | {
        "VLLM_CACHE_ROOT": "/home/cache/vllm",
        "FLASHINFER_WORKSPACE_BASE": "/home/cache/vllm",
    }


def test_no_server_asks_the_hub() -> None:
    given = environment("/home/of/it", 900)
    assert (given["HF_HUB_OFFLINE"], given["TRANSFORMERS_OFFLINE"]) == ("1", "1")


def test_a_long_home_has_its_sockets_below_tmp_as_their_paths_must_be_short() -> None:
    assert environment("/" + "x" * 65, 900)["TMPDIR"] == "/" + "x" * 65 + "/tmp"
    assert environment("/" + "x" * 66, 900)["TMPDIR"] == "/tmp/corral-cb021d8f4c439a8a"


@pytest.mark.engine
def test_the_engines_own_parser_takes_every_flag_we_give_and_has_those_on_record(
    engine_parser: Callable[[list[str]], Any],
) -> None:
    parsed = engine_parser([*argv(SCOUT)[1:]])
    assert {name: parsed[name] for name in ("model_tag", "max_model_len", "hf_overrides")} == {
        "model_tag": "/models/scout with a space",
        "max_model_len": 131072,
        "hf_overrides": {"text_config": {"max_position_embeddings": 131072}},
    }
    assert parsed["language_model_only"] is True
    flags = sorted(f"{name} {kind}" for name, kind in engine_parser([]).items())
    record = Path(__file__).parent / f"data/vllm-{recipe().version}-serve-flags.txt"
    assert flags == record.read_text().splitlines()
