"""Following a log: whole lines, once each, whatever happens to the file."""

import os
from pathlib import Path

from serving.vllm.log_reader import Tail


def test_whole_lines_once_across_parts_rotation_and_truncation(tmp_path: Path) -> None:
    path = tmp_path / "log"
    tail = Tail(path)
    assert list(tail.lines()) == []
    path.write_text("one\ntwo\nthr")
    assert list(tail.lines()) == ["one", "two"]
    with path.open("a") as file:
        file.write("ee\n")
    assert list(tail.lines()) == ["three"]
    assert list(tail.lines()) == []
    os.replace(path, tmp_path / "log.old")
    path.write_text("after the rotation\n")
    assert list(tail.lines()) == ["after the rotation"]
    path.write_text("cut\n")
    assert list(tail.lines()) == ["cut"]


def test_bytes_that_are_no_text_and_a_progress_bar(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"\xff\xfe\nbar 0%\rbar 100%\n")
    assert list(Tail(path).lines()) == ["\ufffd\ufffd", "bar 100%"]
