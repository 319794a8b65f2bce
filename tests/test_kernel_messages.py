"""This machine's kernel log is read from its journal; what cannot be read is not taken for silence."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from infra import kernel_messages

AT_10_S = datetime.fromtimestamp(10, UTC)
JOURNAL = """\
1.000000 box kernel: Linux version 6.1
9.999999 box kernel: before
10.000000 box kernel: NVRM: Xid (PCI:0000:01:00): 79, GPU has fallen off the bus.
11.5 box kernel: Out of memory: Killed process 7 (VLLM::Worker_TP)
"""


@pytest.fixture
def journalctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program of that name, whose text a test writes."""
    program = tmp_path / "journalctl"
    program.touch(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return program


@pytest.mark.parametrize(
    ("said", "status", "found"),
    [
        (
            JOURNAL,
            0,
            "NVRM: Xid (PCI:0000:01:00): 79, GPU has fallen off the bus.\n"
            "Out of memory: Killed process 7 (VLLM::Worker_TP)",
        ),
        ("1.000000 box kernel: Linux version 6.1\n", 0, ""),
        ("", 0, None),
        ("No journal files were opened due to insufficient permissions.\n", 0, None),
        (JOURNAL, 1, None),
    ],
)
def test_what_the_kernel_said_since(journalctl: Path, said: str, status: int, found: str | None) -> None:
    journalctl.write_text(f"#!/bin/sh\ncat <<'END'\n{said}END\nexit {status}\n")
    assert kernel_messages.since(AT_10_S) == found


def test_a_machine_without_a_journal_tells_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert kernel_messages.since(AT_10_S) is None
