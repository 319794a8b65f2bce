"""The manifest of what was fetched: what is written is read back, and what was changed by hand is refused."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from infra.errors import DocumentError, HostError
from infra.fetch import checksums
from infra.fetch.checksums import Kept, Manifest

FILE = Kept(7, "ab" * 32, "cd" * 20, 5)
MANIFEST = Manifest(
    "some/model", "c" * 40, {"b": FILE, "a": FILE._replace(etag="ef" * 32)}, "2026-11-30T00:00:00Z"
)
ROW = {"size": 7, "sha256": "ab" * 32, "etag": "cd" * 20, "mtime_ns": 5}
BODY: dict[str, Any] = {
    "document": "fetched-weights",
    "schema_version": 1,
    "repository": "some/model",
    "commit": "c" * 40,
    "fetched_at": "2026-11-30T00:00:00Z",
    "files": {"a": ROW | {"etag": "ef" * 32}, "b": ROW},
}


def summed(body: dict[str, Any]) -> dict[str, Any]:
    """With its last line."""
    return body | {"sha256": hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()}


def test_a_manifest_is_its_words_and_their_sum(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    assert MANIFEST.text() == json.dumps(summed(BODY), indent=2) + "\n"
    assert checksums.read(path) is None
    assert checksums.read(path / "below") is None
    path.write_text(MANIFEST.text())
    assert checksums.read(path) == MANIFEST
    listed = MANIFEST._replace(others={"z": 1, "y": 2})
    checksums.write(path, listed)
    assert checksums.read(path) == listed
    assert list(json.loads(path.read_text())["others"]) == ["y", "z"]
    assert (path.stat().st_mode & 0o777, os.listdir(tmp_path)) == (0o644, ["manifest.json"])


def test_when_it_was_fetched_is_the_time_where_nobody_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.gmtime", lambda: (2026, 11, 30, 1, 2, 3, 0, 334, 0))
    assert json.loads(MANIFEST._replace(fetched_at="").text())["fetched_at"] == "2026-11-30T01:02:03Z"


@pytest.mark.parametrize(
    "body",
    [
        BODY,
        summed(BODY) | {"commit": "d" * 40},
        summed(BODY | {"document": "another"}),
        summed(BODY | {"schema_version": 2}),
        summed(BODY | {"files": {"../a": ROW}}),
        summed(BODY | {"files": {"a": ROW | {"sha256": "ab"}}}),
        summed(BODY | {"files": {"a": ROW | {"etag": "AB" * 20}}}),
        summed(BODY | {"files": {"a": ROW | {"size": "7"}}}),
        summed(BODY | {"files": {"a": ROW | {"mtime_ns": None}}}),
        summed(BODY | {"files": {"a": ROW | {"more": 1}}}),
        summed(BODY | {"files": [ROW]}),
        summed(BODY | {"others": {"../a": 1}}),
        summed(BODY | {"others": {"a": "1"}}),
        summed(BODY | {"others": ["a"]}),
        summed({name: value for name, value in BODY.items() if name != "commit"}),
        [BODY],
        None,
    ],
)
def test_what_is_no_manifest_of_ours(body: Any, tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(body))
    with pytest.raises(DocumentError) as error:
        checksums.read(path)
    assert (error.value.message, error.value.hint) == (
        f"{path} was changed since corral wrote it, or is no manifest of this version.",
        "Remove it and fetch again: what is right is not fetched twice.",
    )


def test_a_place_that_cannot_be_read_or_written_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    path.mkdir()
    with pytest.raises(DocumentError) as unread:
        checksums.read(path)
    with pytest.raises(HostError) as unwritten:
        checksums.write(path, MANIFEST)
    assert [(each.value.message, each.value.hint) for each in (unread, unwritten)] == [
        (f"{path} cannot be read: Is a directory.", "Check its owner: ls -l"),
        (f"{path} cannot be written: Is a directory.", "Look at that disk: df -h, ls -ld"),
    ]
    assert os.listdir(tmp_path) == ["manifest.json"]


def test_a_file_is_untouched_by_its_size_and_time_and_is_no_link(tmp_path: Path) -> None:
    path = tmp_path / "f"
    assert not FILE.is_untouched(path)
    path.write_bytes(b"weights")
    os.utime(path, ns=(5, 5))
    (tmp_path / "link").symlink_to("f")
    assert [FILE.is_untouched(path), FILE.is_untouched(tmp_path / "link")] == [True, False]
    assert not FILE._replace(size=8).is_untouched(path)
    os.utime(path, ns=(6, 6))
    assert not FILE.is_untouched(path)
