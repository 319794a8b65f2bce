"""Session Manager's sessions: what a box says is told from what the plugin says, and nothing is left running."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import fake_aws_cli
import pytest

from infra import bounded_process
from infra.aws import session
from infra.aws.session import Answer, answer_in, command, enclosed, follow, run
from infra.errors import HostError

BOX = ("i-0123", "us-east-1")


@pytest.fixture(autouse=True)
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the fake `aws`, which is the one on the PATH."""
    tools = fake_aws_cli.installed(tmp_path)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_AWS_LOG", str(tmp_path / "aws.log"))
    monkeypatch.setenv("FAKE_UNIT", "inactive")
    return tools


def says(box: Path, script: str) -> None:
    """Put another `aws` in its place."""
    (box / "aws").write_text(f"#!/bin/sh\n{script}\n")


def test_the_plugin_whose_input_ends_gives_no_answer_and_no_error(box: Path) -> None:
    """What the real one does, and why ours stays open."""
    words = command(*BOX, "echo hello")
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    said = "\nStarting session with SessionId: ann-0123\nCannot perform start session: EOF\n"
    assert (done.returncode, done.stdout) == (0, said)


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ("echo hello", Answer(text="hello\n", exit_code=0)),
        ("printf 'no newline'", Answer(text="no newline", exit_code=0)),
        ("true", Answer(text="", exit_code=0)),
        ("echo first; echo second >&2; exit 3", Answer(text="first\nsecond\n", exit_code=3)),
        ("systemctl is-active corral-x.service", Answer(text="inactive\n", exit_code=3)),
        ('echo "it\'s $((1 + 1))"', Answer(text="it's 2\n", exit_code=0)),
        ("kill -9 $$", Answer(text="Killed\n", exit_code=137)),
        (r"printf 'no \377 text'", Answer(text="no \N{REPLACEMENT CHARACTER} text", exit_code=0)),
    ],
)
def test_an_answer_is_the_boxes_own_words_and_exit_code(words: str, answer: Answer) -> None:
    found = run(*BOX, words)
    assert found == answer


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("echo; echo Starting session; echo 'Cannot perform start session: EOF'", "Cannot perform start session: EOF"),
        ("echo 'An error occurred (TargetNotConnected): i-0123 is not connected.' >&2; exit 254",
         "An error occurred (TargetNotConnected): i-0123 is not connected"),
        ("echo 'The session ended.' >&2; echo '  ' >&2; echo >&2", "The session ended"),
        ("exit 0", "no reason given"),
    ],
)  # fmt: skip
def test_a_session_that_brings_no_answer_is_a_failure_whatever_it_ends_with(
    box: Path, script: str, why: str
) -> None:
    says(box, script)
    with pytest.raises(HostError) as caught:
        run(*BOX, "echo hello")
    assert caught.value.message == f"Session Manager does not reach i-0123: {why}."
    with pytest.raises(HostError) as caught:
        list(follow([BOX], "echo hello"))
    assert caught.value.message == f"Session Manager does not reach i-0123: {why}."


def test_a_session_that_ends_in_the_middle_is_a_failure(box: Path) -> None:
    """Its command had begun: half of an answer is none."""
    mark = "corral-0123456789abcdef"
    assert answer_in(f"\nStarting\n{mark}\nhalf of", mark) is None
    assert answer_in(f"\r\nStarting\r\n{mark}\r\nwhole\r\n\r\n{mark} 4\r\n\r\nExiting", mark) == Answer(
        text="whole\n", exit_code=4
    )
    assert enclosed("echo 1", mark).startswith(f"echo {mark}; sh -c 'echo 1' 2>&1; ")


def test_a_session_that_does_not_end_is_ended_with_its_children(
    box: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    says(box, f"sleep 600 & echo $! >{tmp_path}/plugin; wait")
    with pytest.raises(HostError, match="Session Manager on i-0123 did not answer"):
        run(*BOX, "echo hello", timeout_s=1)
    plugin = int((tmp_path / "plugin").read_text())
    assert not Path(f"/proc/{plugin}").exists() or "Z" in Path(f"/proc/{plugin}/stat").read_text().split()


@pytest.mark.parametrize("script", ["exec sleep 60", "echo Starting session; echo; exec sleep 60"])
def test_a_followed_session_that_does_not_begin_is_given_up(
    box: Path, script: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    says(box, script)
    monkeypatch.setattr(session, "COMMAND_TIMEOUT_S", 0.3)
    with pytest.raises(HostError) as caught:
        list(follow([BOX], "echo hello"))
    assert caught.value.message == "Session Manager on i-0123 did not answer."


def test_what_a_followed_session_complains_of_at_length_holds_it_up_no_more(box: Path) -> None:
    says(box, "head -c 1000000 /dev/zero >&2; echo Starting; exit 1")
    with pytest.raises(HostError) as caught:
        list(follow([BOX], "echo hello"))
    assert caught.value.message.startswith("Session Manager does not reach i-0123: ")


def test_a_plugin_that_will_not_end_is_ended_by_force(
    box: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    says(box, f"trap '' TERM; echo $$ >{tmp_path}/plugin; while :; do sleep 1; done")
    monkeypatch.setattr(bounded_process, "END_S", 0.1)
    with pytest.raises(HostError, match="Session Manager on i-0123 did not answer"):
        run(*BOX, "echo hello", timeout_s=1)
    assert not Path(f"/proc/{(tmp_path / 'plugin').read_text().strip()}").exists()


def test_lines_are_followed_as_they_come_from_each_box(tmp_path: Path) -> None:
    boxes = [("i-0", "us-east-1"), ("i-1", "us-west-2")]
    said = list(follow(boxes, r"echo $FAKE_TARGET; echo; printf 'l\377st'"))
    assert sorted(said) == [
        ("i-0", ""),
        ("i-0", "i-0"),
        ("i-0", "l\N{REPLACEMENT CHARACTER}st"),
        ("i-1", ""),
        ("i-1", "i-1"),
        ("i-1", "l\N{REPLACEMENT CHARACTER}st"),
    ]
    lines = follow(boxes[:1], "sudo journalctl --follow")
    assert next(lines) == ("i-0", "a line of the log")
    assert isinstance(lines, Iterator)
    lines.close()  # type: ignore[attr-defined]


def test_without_the_plugin_nothing_is_started(box: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (box / "session-manager-plugin").unlink()
    monkeypatch.setenv("PATH", str(box))
    with pytest.raises(HostError, match="Session Manager needs session-manager-plugin on this machine"):
        session.run(*BOX, "true")
