"""A server's output into files of bounded size: beginning and end are kept, a full disk costs lines and no more."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest
from stubbed import until

from serving.vllm import log_reader, log_writer
from serving.vllm.log_writer import PARTS, Log


def sizes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in sorted(folder.iterdir())}


def lines(first: int, last: int) -> bytes:
    """Lines of ten bytes."""
    return b"".join(b"line %4d\n" % number for number in range(first, last))


def test_the_beginning_stays_and_of_the_rest_the_end(tmp_path: Path) -> None:
    log = Log(str(tmp_path / "log"), beginning=100, part=200)
    for first in range(0, 1000, 7):
        log.take(lines(first, min(first + 7, 1000)))
    assert sizes(tmp_path) == {"log": 100, "log.9700": 200, "log.9900": 100}
    assert log_reader.text(tmp_path / "log").encode() == (
        lines(0, 10) + b"corral: 9,600 bytes of this log are left out here\n" + lines(970, 1000)
    )


def test_a_line_is_whole_unless_it_is_longer_than_a_file(tmp_path: Path) -> None:
    log = Log(str(tmp_path / "log"), beginning=25, part=30)
    log.take(lines(0, 4))
    assert sizes(tmp_path) == {"log": 20, "log.20": 20}
    log.take(b"x" * 100 + b"\n")
    assert sizes(tmp_path) == {"log": 20, "log.100": 30, "log.130": 11}


def test_whatever_comes_the_files_are_bounded(tmp_path: Path) -> None:
    log = Log(str(tmp_path / "log"), beginning=1000, part=2000)
    for size in (1, 999, 1001, 3, 65536, 17, 4096):
        for end in (b"", b"\n"):
            log.take(b"y" * size + end)
            found = sizes(tmp_path)
            assert found["log"] <= 1000
            assert len(found) <= 1 + PARTS
            assert max(found.values()) <= 2000


def test_a_followed_log_is_read_once_across_its_parts_and_says_what_it_missed(tmp_path: Path) -> None:
    log, tail = Log(str(tmp_path / "log"), beginning=100, part=200), log_reader.Tail(tmp_path / "log")
    heard = []
    for first in range(0, 300, 3):
        log.take(lines(first, first + 3))
        heard += list(tail.lines())
    assert heard == lines(0, 300).decode().splitlines()
    log.take(lines(300, 400))
    heard = list(tail.lines())
    assert heard[0].endswith("bytes of this log are left out here")
    assert heard[1:] == lines(400 - len(heard) + 1, 400).decode().splitlines()
    late = list(log_reader.Tail(tmp_path / "log").lines())
    assert late == log_reader.text(tmp_path / "log").splitlines()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
def test_what_the_disk_does_not_take_is_counted_and_the_rest_goes_on(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Log(str(tmp_path / "log"), beginning=1000, part=2000)
    log.take(lines(0, 3))

    def refused(*given: object) -> NoReturn:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", refused)
        patch.setattr(os, "open", refused)
        log.take(lines(3, 150))  # also where a file ends
        log.take(lines(150, 200))
    log.take(lines(200, 202))
    said = log_reader.text(tmp_path / "log")
    assert said.encode().startswith(lines(0, 3))
    note = f"\ncorral: 1970 bytes of this log could not be written: {os.strerror(number)}\n"
    assert said.endswith(note + lines(200, 202).decode())


def test_a_write_that_takes_half_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log(str(tmp_path / "log"))
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:3]))
    log.take(lines(0, 5))
    assert (tmp_path / "log").read_bytes() == lines(0, 5)


def started(path: Path) -> tuple[int, int]:
    """The writer as a process, and the end of its pipe; returned from once it has begun."""
    theirs, ours = os.pipe()
    command = [sys.executable, "-I", "-S", log_writer.__file__, str(path)]
    code = subprocess.run(command, stdin=theirs, check=False).returncode
    os.close(theirs)
    return code, ours


def test_the_process_hears_no_signal_and_ends_with_the_last_of_its_writers(tmp_path: Path) -> None:
    code, pipe = started(tmp_path / "log")
    assert code == 0
    (pid,) = [
        int(each) for each in os.listdir("/proc") if each.isdigit() and argument(int(each), tmp_path / "log")
    ]
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(pid, number)
    data = lines(0, 1_000_000)
    for first in range(0, len(data), 1 << 16):
        os.write(pipe, data[first : first + (1 << 16)])
    os.close(pipe)
    until(lambda: not argument(pid, tmp_path / "log"))
    found = sizes(tmp_path)
    assert log_writer.BEGINNING_BYTES - 20 < found["log"] <= log_writer.BEGINNING_BYTES
    assert sum(found.values()) <= log_writer.BEGINNING_BYTES + PARTS * log_writer.PART_BYTES
    said = log_reader.text(tmp_path / "log").encode()
    assert (said[:10], said[-10:]) == (lines(0, 1), data[-10:])


def argument(pid: int, path: Path) -> bool:
    """Whether a living process was started with that argument."""
    try:
        return str(path).encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False


def test_a_place_that_takes_no_file_is_told_at_once(tmp_path: Path) -> None:
    code, pipe = started(tmp_path / "no-folder" / "log")
    os.close(pipe)
    assert code == 1


def test_a_server_outlives_a_full_disk_and_its_log_goes_on_when_there_is_room(
    tmp_path: Path, need: Callable[[str, str], NoReturn]
) -> None:
    """On a disk that is really full, in a mount namespace of its own."""
    script = """
mount -t tmpfs -o size=512k none disk || exit 99
mkfifo pipe
"$PYTHON" -I -S "$WRITER" disk/log < pipe &
exec 3> pipe
wait
echo first >&3
until grep -q first disk/log; do :; done
dd if=/dev/zero of=disk/fill bs=4k 2>/dev/null
head -c 900000 /dev/zero | tr '\\0' 'x' >&3; echo >&3
rm disk/fill
until grep -q last disk/log; do echo last >&3; done
exec 3>&-
cat disk/log*
"""
    (tmp_path / "disk").mkdir()
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script],
        cwd=tmp_path,
        env=os.environ | {"PYTHON": sys.executable, "WRITER": log_writer.__file__},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if os.getuid() or done.returncode in (1, 99):
        need("fleet", "only root mounts a small disk")
    found = done.stdout.splitlines()
    assert (found[0], found[-1]) == ("first", "last"), done
    (note,) = [line for line in found if line.startswith("corral: ")]
    assert note.endswith(" bytes of this log could not be written: No space left on device")
