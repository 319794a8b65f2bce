"""What vLLM would take half a minute to refuse, refused at once and by name."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest
from ports import free_port

from infra.errors import CorralError, DocumentError, HostError, UsageError
from serving.model import tiny
from serving.model.precheck import check
from serving.vllm.serve_options import ServeOptions


def options(folder: Path, **changed: Any) -> ServeOptions:
    """The options of a toy on a free port."""
    given: dict[str, Any] = {"model": str(folder), "served_model_name": "tiny", "port": free_port()}
    return ServeOptions(**(given | changed))


def test_a_good_one_gives_the_weights_bytes(tmp_path: Path) -> None:
    folder = tiny.make(tmp_path / "model", "multimodal")
    assert check(options(folder)) == sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def test_a_name_of_the_hub_is_left_to_vllm(tmp_path: Path) -> None:
    assert check(options(Path("meta-llama/anything"))) == 0


def cut(folder: Path) -> None:
    shard = folder / "model-00002-of-00002.safetensors"
    shard.write_bytes(shard.read_bytes()[:-100])


def empty(folder: Path) -> None:
    (folder / "model-00001-of-00002.safetensors").write_bytes(b"")


def missing(folder: Path) -> None:
    (folder / "model-00001-of-00002.safetensors").unlink()


def no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def bad_config(folder: Path) -> None:
    (folder / "config.json").write_text("{ nope")


def other_architecture(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps(config | {"architectures": ["Other"], "model_type": "other"})
    )


def no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


@pytest.mark.parametrize(
    "damage", [cut, empty, missing, no_config, bad_config, other_architecture, no_tokenizer]
)
def test_a_damaged_checkpoint_is_named(tmp_path: Path, damage: Any) -> None:
    folder = tiny.make(tmp_path / "model", "multimodal")
    damage(folder)
    with pytest.raises(DocumentError) as caught:
        check(options(folder))
    assert str(folder) in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("changed", "kind", "message", "hint"),
    [
        (
            {"tensor_parallel_size": 3},
            UsageError,
            "--tensor-parallel-size 3 does not divide the model's 4 attention heads.",
            "Use one of 1, 2, 4.",
        ),
        (
            {"max_model_len": 16385},
            UsageError,
            "--max-model-len 16,385 is beyond the model, which ends at 16,384 tokens.",
            "Use at most 16384.",
        ),
        (
            {"host": "203.0.113.1", "port": 8000},
            HostError,
            "Port 8000 of 203.0.113.1 cannot be listened on: Cannot assign requested address.",
            "See who has it: ss -ltnp 'sport = :8000'; or choose another: --port",
        ),
    ],
)
def test_options_the_model_or_the_machine_cannot_have(
    tmp_path: Path, changed: dict[str, Any], kind: type[CorralError], message: str, hint: str
) -> None:
    folder = tiny.make(tmp_path / "model")
    with pytest.raises(kind) as caught:
        check(options(folder, **changed))
    assert (caught.value.message, caught.value.hint) == (message, hint)


def test_options_at_the_models_limit_and_beyond_it_by_an_override(tmp_path: Path) -> None:
    folder = tiny.make(tmp_path / "model")
    whole = check(options(folder, max_model_len=16384, tensor_parallel_size=4))
    moved = {"max_position_embeddings": 99999}
    assert check(options(folder, max_model_len=99999, hf_overrides=moved)) == whole


def test_a_port_is_free_on_either_kind_of_address_or_somebody_has_it(tmp_path: Path) -> None:
    model = Path("meta-llama/anything")
    assert check(options(model, host="::1")) == 0
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        pytest.raises(HostError, match="Address already in use"),
    ):
        check(options(model, port=listener.getsockname()[1]))


def test_either_form_of_a_tokenizer_is_one(tmp_path: Path) -> None:
    folder = tiny.make(tmp_path / "model")
    (folder / "tokenizer.json").rename(folder / "tokenizer.model")
    assert check(options(folder)) > 0
    (folder / "tokenizer.model").unlink()
    with pytest.raises(DocumentError) as caught:
        check(options(folder))
    assert caught.value.message == f"{folder} has no tokenizer: neither tokenizer.json nor tokenizer.model."
    assert caught.value.hint == "Copy it there from where the checkpoint came from."
