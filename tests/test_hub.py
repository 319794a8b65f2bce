"""A Hub repository sized from its headers, and every way the Hub refuses. A fake Hub on loopback answers."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

from infra.errors import AuthError, DocumentError, EndpointError, UsageError
from serving.model import hub as door
from serving.model import tiny
from serving.model.hub_token import Token
from serving.sizing.size import stored

REPO = "someone/Tiny-Llama-4"
WRONG = Token("hf_revoked_CANARY", "HF_TOKEN")


def fake_hub() -> Any:
    spec = spec_from_file_location("fake_hub", Path(__file__).parent / "data" / "fake_hub.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GRANTED, STRANGER = fake_hub().GRANTED, fake_hub().STRANGER


def as_at_first(server: Any, mood: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A Hub with no fault that nobody asked yet, and a user with an empty cache and a token that asks it."""
    server.faults, server.mood, server.asked, server.bytes_sent = {}, mood, [], 0
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_TOKEN", GRANTED)
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    return server


def fake_hub_class() -> Any:
    return fake_hub().FakeHub


@pytest.fixture
def hub(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Any]:
    folder = tiny.make(tmp_path / "tiny", "multimodal")
    with fake_hub_class()(REPO, folder, getattr(request, "param", "well")) as server:
        yield server
        server.shutdown()


def size(
    endpoint: str, home: Path, *arguments: str, timeout_s: float = 60
) -> subprocess.CompletedProcess[str]:
    """Run the program by itself: the Hub's library reads its settings once, when it is imported."""
    code = f"from serving.model import hub; hub.TIMEOUT_S = {timeout_s}; from deploy.cli.start import main; main()"
    kept = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    return subprocess.run(
        [sys.executable, "-c", code, "size", REPO, "--on", "1xH100", *arguments],
        env=kept | {"HF_ENDPOINT": endpoint, "HF_HOME": str(home / "hf")},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_repository_is_sized_from_its_headers_without_a_download(hub: Any, tmp_path: Path) -> None:
    done = size(hub.url, tmp_path, "--json")
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    shards = sum(path.stat().st_size for path in hub.folder.glob("*.safetensors"))
    assert plan["serve"]["model"] == REPO
    assert shards * 0.9 < plan["weights_bytes"] < shards


def test_the_plan_carries_the_commit_that_was_read(hub: Any, tmp_path: Path) -> None:
    plan = json.loads(size(hub.url, tmp_path, "--json").stdout)
    assert plan["serve"]["revision"] == hub.commit
    asked = [path for _, path, _ in hub.asked if "/resolve/" in path]
    assert asked
    assert all(f"/resolve/{hub.commit}/" in path for path in asked)


@pytest.fixture
def client(hub: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Corral's own process asks this Hub."""
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    return hub


def test_a_repository_is_described_by_its_commit_its_licence_and_what_is_fetched(client: Any) -> None:
    (client.folder / "pytorch_model.bin").write_bytes(b"pickle" * 1000)
    (client.folder / "original").mkdir()
    (client.folder / "original" / "params.json").write_text("{}")
    fetched = [path for path in client.folder.iterdir() if path.is_file() and path.suffix != ".bin"]
    described = door.describe(REPO, None, None)
    assert described == door.Repository(
        repo=REPO,
        revision=client.commit,
        gated=False,
        licence="llama4",
        fetched_bytes=sum(path.stat().st_size for path in fetched),
    )
    assert door.describe(REPO, client.commit, None) == described
    with pytest.raises(DocumentError, match="There is no repository"):
        door.describe("someone/Other", None, None)
    with pytest.raises(DocumentError, match="has no commit"):
        door.describe(REPO, "f" * 40, None)


@pytest.mark.parametrize("hub", ["gated"], indirect=True)
def test_a_gated_repository_is_described_to_everybody_and_open_to_who_was_let_in(client: Any) -> None:
    granted, stranger = Token(GRANTED, "here"), Token(STRANGER, "here")
    for token in (None, granted, stranger):
        assert door.describe(REPO, None, token).gated
    door.check_access(REPO, granted)
    for token in (None, stranger):
        with pytest.raises(AuthError) as caught:
            door.check_access(REPO, token)
        assert caught.value.message.startswith(f"{REPO} is gated: its licence must be accepted by")


@pytest.mark.parametrize("hub", ["well", "gated"], indirect=True)
def test_a_token_the_hub_does_not_know_is_told_as_that(client: Any) -> None:
    for ask in (lambda: door.describe(REPO, None, WRONG), lambda: door.check_access(REPO, WRONG)):
        with pytest.raises(AuthError) as caught:
            ask()
        assert caught.value.message == "The Hugging Face Hub does not know the token it was given."
        assert WRONG.value not in caught.value.hint


def test_offline_the_hub_is_not_asked(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORRAL_OFFLINE", "1")
    with pytest.raises(UsageError, match="This would ask the model hub"):
        door.describe(REPO, None, None)
    assert client.asked == []


def test_modelopts_own_file_is_read_where_there_is_one(hub: Any, tmp_path: Path) -> None:
    said = {
        "producer": {"name": "modelopt"},
        "quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8"},
    }
    (hub.folder / "hf_quant_config.json").write_text(json.dumps(said))
    plan = json.loads(size(hub.url, tmp_path, "--json").stdout)
    assert (plan["precision"], plan["serve"]["kv_cache_dtype"]) == ("fp8", "fp8")


def test_a_repository_of_gguf_alone_is_refused_by_its_name(client: Any) -> None:
    for path in (*client.folder.glob("*.safetensors"), client.folder / "config.json"):
        path.unlink()
    (client.folder / "scout-Q4_K_M.gguf").write_bytes(b"GGUF")
    with pytest.raises(DocumentError, match="stored with gguf, which vLLM no longer loads"):
        door.read(REPO)


@pytest.mark.parametrize("hub", ["broken"], indirect=True)
def test_without_the_hub_a_repository_of_the_table_is_sized_from_it(client: Any) -> None:
    listed = stored("RedHatAI/Llama-4-Scout-17B-16E-Instruct-FP8-dynamic", None)
    assert (listed.precision, listed.weights_bytes) == ("fp8", 114642119680)
    assert listed.from_table.startswith("The Hub cannot be asked about RedHatAI/")
    with pytest.raises(EndpointError):
        stored(REPO, None)


def test_only_headers_travel(tmp_path: Path) -> None:
    folder = tiny.make(tmp_path / "tiny", "multimodal")
    for shard in folder.glob("*.safetensors"):
        with shard.open("r+b") as file:
            file.truncate(shard.stat().st_size + 50_000_000)
    with fake_hub_class()(REPO, folder) as server:
        assert size(server.url, tmp_path).returncode == 0
        assert server.bytes_sent < 1_000_000
        server.shutdown()


@pytest.mark.parametrize(
    ("hub", "timeout_s", "code", "message"),
    [
        ("gated", 60, 5, f"{REPO} is gated: its licence must be accepted by"),
        ("missing", 60, 4, f"There is no repository '{REPO}' on the Hub"),
        ("broken", 60, 8, f"The Hub cannot be asked about {REPO}: Server error '503 "),
        ("silent", 0.2, 8, f"The Hub cannot be asked about {REPO}: timed out."),
    ],
    indirect=["hub"],
)
def test_a_refusal_is_one_sentence(
    hub: Any, timeout_s: float, code: int, message: str, tmp_path: Path
) -> None:
    done = size(hub.url, tmp_path, timeout_s=timeout_s)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith(f"error: {message}")
    assert "Traceback" not in done.stderr


def test_no_hub_offers_the_table(tmp_path: Path) -> None:
    done = size("http://127.0.0.1:9", tmp_path)
    assert done.returncode == 8
    assert "; corral's own table needs no network: corral size scout" in done.stderr


def test_a_header_that_lies_is_refused(hub: Any, tmp_path: Path) -> None:
    shard = sorted(hub.folder.glob("*.safetensors"))[0]
    with shard.open("r+b") as file:
        file.write((2**60).to_bytes(8, "little"))
    done = size(hub.url, tmp_path)
    assert done.returncode == 4
    assert f"A safetensors header of {REPO} cannot be read." in done.stderr
