"""What an audit comes to, of which only news are read: right after a crash, a cut line, and whatever logrotate does."""

import gzip
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.onhost import audit

MONTH = "2026-11"


class Log:
    """An audit, what is kept of its sum, and how many lines were read for it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.file, self.kept = folder / "gateway-audit.jsonl", folder / "audit.sums"
        self.written = self.counted = 0
        count = audit.count

        def counting(found: audit.Sums, line: bytes) -> None:
            self.counted += 1
            count(found, line)

        monkeypatch.setattr(audit, "count", counting)

    def line(self) -> str:
        """One request of one token, as no other is."""
        self.written += 1
        said = {"time": f"{MONTH}-30T10:00:00Z", "id": f"id-{self.written}", "key": "a-1", "output_tokens": 1}
        return f"{json.dumps(said)}\n"

    def write(self, lines: int = 1) -> None:
        """As HAProxy does: at the end of what is there."""
        with self.file.open("a") as file:
            file.write("".join(self.line() for _ in range(lines)))

    def tokens(self) -> int:
        """What it comes to."""
        found = audit.sums(self.file, self.kept)
        return found[MONTH]["a-1"]["output_tokens"] if found else 0

    def read(self) -> int:
        """So many lines were read for that."""
        before = self.counted
        self.tokens()
        return self.counted - before


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Log:
    return Log(tmp_path, monkeypatch)


def test_what_was_counted_is_not_read_again(log: Log) -> None:
    assert (log.tokens(), log.kept.exists()) == (0, False)
    log.write(1000)
    assert (log.read(), log.read(), log.tokens()) == (1000, 0, 1000)
    log.write(2)
    assert (log.read(), log.tokens()) == (2, 1002)
    assert log.kept.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in log.file.parent.iterdir()) == [log.kept.name, log.file.name]


def test_a_line_is_counted_once_it_is_whole_and_one_that_was_cut_never(log: Log) -> None:
    log.write(3)
    assert log.tokens() == 3
    line = log.line()
    with log.file.open("a") as file:
        file.write(line[:20])
    assert log.tokens() == 3
    with log.file.open("a") as file:
        file.write(line[20:])
    assert log.tokens() == 4
    with log.file.open("a") as file:  # a crash, and then the next one
        file.write(log.line()[:20])
    log.write(2)
    assert log.tokens() == 5
    log.kept.unlink()
    assert log.tokens() == 5


def test_what_a_crash_took_is_not_counted_and_what_comes_in_its_place_is(log: Log) -> None:
    log.write(10)
    assert log.tokens() == 10
    whole = log.file.read_bytes()
    log.file.write_bytes(b"".join(whole.splitlines(keepends=True)[:7]))
    log.write(5)  # beyond the place that was read to
    assert log.tokens() == 12
    log.file.write_bytes(b"".join(whole.splitlines(keepends=True)[:3]))
    assert log.tokens() == 3


def copied(log: Log) -> None:
    """copytruncate."""
    shutil.copy(log.file, f"{log.file}.1")
    log.file.write_bytes(b"")


def renamed(log: Log) -> None:
    log.file.rename(f"{log.file}.1")


def dated(log: Log) -> None:
    log.file.rename(f"{log.file}-20261130")


def packed(log: Log) -> None:
    with gzip.open(f"{log.file}.1.gz", "wb") as file:
        file.write(log.file.read_bytes())
    log.file.write_bytes(b"")


@pytest.mark.parametrize("rotated", [copied, renamed, dated, packed])
@pytest.mark.parametrize("is_kept", [True, False])
def test_what_was_rotated_away_stays_counted_and_what_was_not_counted_yet_is(
    rotated: "object", is_kept: bool, log: Log
) -> None:
    assert callable(rotated)
    log.write(5)
    if is_kept:
        assert log.tokens() == 5
    log.write(3)
    rotated(log)
    log.write(4)
    assert log.tokens() == 12
    assert log.read() == 0
    # Gone for good: what it came to is known.
    for path in old(log):
        path.unlink()
    log.write()
    assert log.tokens() == 13


def old(log: Log) -> Iterator[Path]:
    """What logrotate made."""
    return (path for path in sorted(log.file.parent.iterdir()) if path not in (log.file, log.kept))


def test_it_is_known_by_whatever_name_and_a_copy_is_counted_once(log: Log) -> None:
    log.write(5)
    renamed(log)
    assert log.tokens() == 5
    Path(f"{log.file}.1").rename(f"{log.file}.2")
    log.write(2)
    assert log.tokens() == 7
    with gzip.open(f"{log.file}.2.gz", "wb") as file:
        file.write(Path(f"{log.file}.2").read_bytes())
    assert log.tokens() == 7  # both are there, as while it is compressed
    Path(f"{log.file}.2").unlink()
    shutil.copy(log.file, f"{log.file}.bak")
    log.write()
    assert log.tokens() == 8


def test_one_that_is_compressed_just_now_is_no_obstacle(log: Log) -> None:
    log.write(5)
    whole = gzip.compress(log.file.read_bytes())
    Path(f"{log.file}.1.gz").write_bytes(whole[: len(whole) // 2])
    assert log.tokens() == 5


@pytest.mark.parametrize(
    "kept",
    [
        "", "[]", "{", '{"version": 2, "files": {}}', '{"version": 1, "files": []}',
        '{"version": 1, "files": {"a": [1, "", 0, {"2026-11": {"a-1": {"requests": "x"}}}]}}',
    ],
)  # fmt: skip
def test_what_is_kept_and_cannot_be_read_is_made_anew(kept: str, log: Log) -> None:
    log.write(5)
    log.kept.write_text(kept)
    assert (log.tokens(), log.read()) == (5, 0)


def test_where_nothing_can_be_kept_it_is_read_again(log: Log) -> None:
    log.write(5)
    log.kept.mkdir()
    assert (log.read(), log.read(), log.tokens()) == (5, 5, 5)
    assert sorted(log.file.parent.iterdir()) == [log.kept, log.file]
