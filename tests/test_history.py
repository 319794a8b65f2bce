"""The lines of what happened to a deployment: written whole, moved once, and never longer than they may be."""

import json
import os
from pathlib import Path

import pytest

from infra.onhost import history


def test_a_line_is_one_whatever_its_cause(tmp_path: Path) -> None:
    path = str(tmp_path / "h")
    assert history.append(path, "died", " exit\n\tcode  9 ", 0.0)
    assert history.append(path, "gave up", "x" * 501, 1_000_000_000.0)
    lines = [json.loads(line) for line in Path(path).read_text().splitlines()]
    assert lines == [
        {"at": "1970-01-01T00:00:00Z", "event": "died", "cause": "exit code 9"},
        {"at": "2001-09-09T01:46:40Z", "event": "gave up", "cause": "x" * 500},
    ]
    assert os.stat(path).st_mode & 0o777 == 0o600


def test_after_a_line_that_was_cut_short_the_next_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "h"
    for text, after in (
        ("", '{"b": 1}\n'),
        ('{"a": 1}\n', '{"a": 1}\n{"b": 1}\n'),
        ('{"a', '{"a\n{"b": 1}\n'),
    ):
        path.write_text(text)
        assert history.add(str(path), '{"b": 1}\n')
        assert path.read_text() == after


def test_no_link_is_followed_and_no_folder_is_made(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    assert not history.append(str(tmp_path / "link"), "died")
    assert not history.append(str(tmp_path / "none" / "h"), "died")
    assert os.listdir(tmp_path) == ["link"]


def test_a_disk_that_takes_half_a_line_has_not_taken_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda handle, text: write(handle, text[:-1]))
    assert not history.append(str(tmp_path / "h"), "died")


A, B, C = (f'{{"n": "{name}"}}\n' for name in "abc")


@pytest.mark.parametrize(
    ("kept", "waiting", "after"),
    [
        ("", [A, B], [A, B]),
        (A, [B, C], [A, B, C]),
        (A + B, [B, C], [A, B, C]),
        (A + B, [A, B, C], [A, B, C]),
        (A + B + C, [A, B], [A, B, C, A, B]),
        (A + B[:-3], [B, C], [A, B[:-3] + "\n", B, C]),
        ("nonsense\n" + A, [A, B], ["nonsense\n", A, B]),
        (A, [], [A]),
        (A + A, [A], [A, A]),
    ],
)
def test_lines_that_waited_are_told_once(
    kept: str, waiting: list[str], after: list[str], tmp_path: Path
) -> None:
    (tmp_path / "kept").write_text(kept)
    (tmp_path / "waiting").write_text("".join(waiting))
    assert history.moved(str(tmp_path / "waiting"), str(tmp_path / "kept"))
    assert (tmp_path / "kept").read_text() == "".join(after)
    assert os.listdir(tmp_path) == ["kept"]


def test_what_the_disk_does_not_take_waits_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "waiting").write_text(A + B + C)
    taken: list[str] = []

    def add(_: str, line: str) -> bool:
        taken.append(line)
        return len(taken) < 2

    monkeypatch.setattr(history, "add", add)
    assert not history.moved(str(tmp_path / "waiting"), str(tmp_path / "kept"))
    assert (taken, (tmp_path / "waiting").read_text()) == ([A, B], B + C)
    assert history.moved(str(tmp_path / "none"), str(tmp_path / "kept"))


def test_of_a_history_that_grew_too_long_the_newer_half_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "MOST_BYTES", 40)
    path = tmp_path / "h"
    path.write_text(f"{A * 3}1234\n")
    assert path.stat().st_size == 38
    path.write_text(f"{A * 3}123456\n")
    history.shorten(str(path))
    assert path.read_text() == f"{A * 3}123456\n"  # of forty bytes
    path.write_text(f"{A * 3}1234567\n")
    history.shorten(str(path))
    assert path.read_text() == f"{A}1234567\n"
    assert os.listdir(tmp_path) == ["h"]
