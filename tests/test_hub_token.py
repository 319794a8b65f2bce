"""Where the Hub's token is found, and that it is never shown."""

from pathlib import Path

import pytest

from infra.errors import UsageError
from serving.model import hub_token
from serving.model.hub_token import Token

ONE, TWO, THREE = "hf_one_CANARY", "hf_two_CANARY", "hf_three_CANARY"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A user who has run `hf auth login`."""
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "token").write_text(f"{ONE}\n")
    (tmp_path / "elsewhere").write_text(TWO)
    (tmp_path / "file").write_text(f"  {THREE}\n")
    return tmp_path


def test_the_file_named_wins_then_the_environment_then_the_login(home: Path) -> None:
    login = {"HF_HOME": str(home / "hf")}
    file, elsewhere = str(home / "file"), str(home / "elsewhere")
    assert hub_token.find(login) == Token(ONE, f"{home}/hf/token")
    assert hub_token.find({"XDG_CACHE_HOME": str(home)}) is None
    (home / "huggingface").symlink_to(home / "hf")
    assert hub_token.find({"XDG_CACHE_HOME": str(home)}) == Token(ONE, f"{home}/huggingface/token")
    assert hub_token.find(login | {"HF_TOKEN_PATH": elsewhere}) == Token(TWO, elsewhere)
    assert hub_token.find(login | {"HUGGING_FACE_HUB_TOKEN": TWO}) == Token(TWO, "HUGGING_FACE_HUB_TOKEN")
    both = login | {"HF_TOKEN": f"{TWO}\n", "HUGGING_FACE_HUB_TOKEN": ONE}
    assert hub_token.find(both) == Token(TWO, "HF_TOKEN")
    assert hub_token.find(both, file) == Token(THREE, file)
    assert hub_token.find({"HF_HOME": str(home), "HF_TOKEN": " "}) is None
    (home / "hf" / "token").write_text("\n")
    assert hub_token.find(login) is None


@pytest.mark.parametrize(
    "text", ["two words", "hf_a\nhf_b", "hf_tökén_CANARY", "short", "x" * 600, "-----BEGIN KEY-----"]
)
def test_what_is_no_token_is_refused_and_not_repeated(text: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text(text)
    for environ, file, place in (({"HF_TOKEN": text}, "", "HF_TOKEN"), ({}, str(path), str(path))):
        with pytest.raises(UsageError) as caught:
            hub_token.find(environ, file)
        assert caught.value.message == f"{place} holds no token of the Hugging Face Hub."
        assert text not in caught.value.hint


def test_a_file_that_was_named_must_be_there_and_hold_text(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        hub_token.find({}, str(tmp_path / "none"))
    assert (
        caught.value.message == f"--hf-token-file {tmp_path}/none cannot be read: No such file or directory."
    )
    (tmp_path / "image").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(UsageError, match="holds no token"):
        hub_token.find({}, str(tmp_path / "image"))
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        hub_token.find({}, str(tmp_path))


def test_a_token_prints_as_its_place() -> None:
    assert repr(Token(ONE, "HF_TOKEN")) == "Token(place='HF_TOKEN')"
    assert ONE not in f"{Token(ONE, 'HF_TOKEN')}"


def test_the_hubs_own_cache_is_found_as_its_library_does() -> None:
    assert hub_token.cache({}) == Path("~/.cache/huggingface/hub").expanduser()
    assert hub_token.cache({"XDG_CACHE_HOME": "/c"}) == Path("/c/huggingface/hub")
    assert hub_token.cache({"HF_HOME": "/h", "XDG_CACHE_HOME": "/c"}) == Path("/h/hub")
    assert hub_token.cache({"HF_HUB_CACHE": "/e", "HF_HOME": "/h"}) == Path("/e")
    assert hub_token.cache({"HUGGINGFACE_HUB_CACHE": "/o", "HF_HOME": "/h"}) == Path("/o")
