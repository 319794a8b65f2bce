"""The key of an endpoint, from a file or the environment."""

from pathlib import Path

import pytest

from infra.errors import AuthError, CorralError, DocumentError
from serving.vllm.api_key import key_in, key_of


def key_from(monkeypatch: pytest.MonkeyPatch, text: str) -> str | None:
    monkeypatch.setenv("KEY", text)
    return key_of(None, "KEY")


def test_a_key_is_one_printable_word(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert [key_from(monkeypatch, text) for text in (" k\n", "", "  ")] == ["k", None, None]
    assert key_of(None, None) is None
    assert key_of(None, "NOT_THERE") is None
    (tmp_path / "key").write_text("from the file\n".replace(" ", "-"))
    assert key_of(tmp_path / "key", "KEY") == key_in(tmp_path / "key") == "from-the-file"
    for text in ("a b", "é", "a\x7fb", "a\nb"):
        with pytest.raises(AuthError) as caught:
            key_from(monkeypatch, text)
        assert caught.value.message == "The API key holds characters a header cannot carry."
        assert caught.value.hint == "The key is one line of printable ASCII."
    (tmp_path / "key").write_text("a b\n")
    with pytest.raises(AuthError):
        key_in(tmp_path / "key")


@pytest.mark.parametrize(
    ("content", "kind", "message", "hint"),
    [
        (b"\n \n", AuthError, "The API key file {} is empty.", "Put the key into it, on one line."),
        (
            b"x" * 16385,
            AuthError,
            "The API key file {} is too large to be one.",
            "Put the key into it, on one line.",
        ),
        (
            b"\xff",
            DocumentError,
            "The API key file {} cannot be read: 'utf-8' codec can't decode byte 0xff in position 0: invalid start"
            " byte.",
            "Check the path and its owner.",
        ),
    ],
)
def test_a_key_file_that_is_none(
    tmp_path: Path, content: bytes, kind: type[CorralError], message: str, hint: str
) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    with pytest.raises(kind) as caught:
        key_in(path)
    assert (caught.value.message, caught.value.hint) == (message.format(path), hint)
    path.write_bytes(b"x" * 16384)
    assert len(key_in(path)) == 16384
