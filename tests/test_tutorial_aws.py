"""The afternoon of docs/tutorials/aws-afternoon.md, as it is written there, against moto: each line goes through."""

import io
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from test_ec2_wire import aws, corral, server, session_manager  # noqa: F401

if TYPE_CHECKING:
    from moto_aws import MotoAws

PAGE = Path(__file__).parent.parent / "docs/tutorials/aws-afternoon.md"
ELSEWHERE = ("size", "probe")
"""What scripts/readme runs, and what the stand-in for the box has no tokens for."""


class Typed(io.StringIO):
    """Somebody at a terminal."""

    def isatty(self) -> bool:
        return True


def test_the_session_of_the_page_rents_serves_compares_and_leaves_nothing(
    aws: "MotoAws",  # noqa: F811
    session_manager: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FAKE_MODEL", "llama-4-scout")
    lines = [
        shlex.split(line)[1:]
        for line in re.findall(r"^\$ (corral .*)$", PAGE.read_text().replace("\\\n", " "), re.M)
    ]
    lines = [words for words in lines if words[0] not in ELSEWHERE]
    assert [words[0] for words in lines] == [
        *("fetch", "doctor", "up", "up", "status", "compare", "extend", "down", "reap"),
    ]
    running = []
    for words in lines:
        monkeypatch.setattr("sys.stdin", Typed("y\n"))
        done = corral(*words)
        assert done.returncode == 0, (words, done.stderr)
        running.append(len(aws.instances()))
    assert running == [0, 0, 0, 1, 1, 1, 1, 0, 0]
