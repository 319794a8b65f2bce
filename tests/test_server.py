"""The server's environment, address and key: whole values, and what must not be handed down."""

from pathlib import Path

import pytest

from infra.errors import HostError, ServerError
from serving import server
from serving.options import ServeOptions


def test_the_environment_is_the_users_without_secrets_and_switches_and_with_corrals_on_top(
    tmp_path: Path,
) -> None:
    inherited = {
        "PATH": "/bin",
        "HF_TOKEN": "hf_secret",
        "VLLM_SERVER_DEV_MODE": "1",
        "VLLM_NO_USAGE_STATS": "true",
        "VLLM_CPU_KVCACHE_SPACE": "",
        "PYTHONOPTIMIZE": "2",
    }
    assert server.process_environment(inherited, {"VLLM_NO_USAGE_STATS": "1"}, tmp_path) == {
        "PATH": "/bin",
        "VLLM_NO_USAGE_STATS": "1",
        "SPT_NOENV": "1",
        "PYTHONUNBUFFERED": "1",
        "CORRAL_SERVER": str(tmp_path),
    }


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("::1", "http://[::1]:8000"),
        ("::", "http://[::1]:8000"),
        ("llm.internal", "http://llm.internal:8000"),
    ],
)
def test_the_address_as_seen_from_this_machine(host: str, url: str) -> None:
    assert server.base_url(ServeOptions(model="/m", served_model_name="m", host=host)) == url


def test_a_key_is_made_once_and_an_empty_one_is_replaced(tmp_path: Path) -> None:
    key = server.api_key(tmp_path)
    assert len(key) >= 43 + len("sk-")
    assert server.api_key(tmp_path) == key
    server.key_file(tmp_path).write_text(" \n")
    assert server.api_key(tmp_path) not in ("", key)


def test_what_cannot_be_run_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="/nonexistent/vllm cannot be run: No such file or directory"):
        server.spawn(("/nonexistent/vllm",), {}, tmp_path / "log")


def test_a_temporary_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(HostError, match="belongs to somebody else"):
        server.make_private(tmp_path / "link")
    server.make_private(tmp_path / "ours")
    assert (tmp_path / "ours").stat().st_mode & 0o777 == 0o700
