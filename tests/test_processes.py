"""Whose a process is: by session, by marker, by birth; never by its number alone."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

import pytest

from infra import processes

Sleeper = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def sleeper() -> Iterator[Sleeper]:
    """Start processes that sleep; all are ended with the test."""
    started: list[subprocess.Popen[bytes]] = []

    def start(marker: str = "X=1", *, session: bool = True) -> "subprocess.Popen[bytes]":
        name, _, value = marker.partition("=")
        environment = {**os.environ, name: value}
        started.append(subprocess.Popen(["sleep", "600"], env=environment, start_new_session=session))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_members_are_of_the_session_or_carry_the_marker(sleeper: Sleeper) -> None:
    leader, marked, other = sleeper(), sleeper("CORRAL_SERVER=/a"), sleeper("CORRAL_SERVER=/ab")
    assert processes.members(leader.pid, "CORRAL_SERVER=/a") == (leader.pid, marked.pid)
    assert processes.members(None, "CORRAL_SERVER=/ab") == (other.pid,)


def test_a_zombie_is_dead_and_is_reaped_with_its_exit_code(sleeper: Sleeper) -> None:
    process = sleeper()
    born = processes.birth(process.pid)
    assert born is not None
    assert processes.is_alive(born)
    processes.send([process.pid], signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not processes.is_alive(born)
    assert processes.members(process.pid, "X=none") == ()
    assert processes.reap(process.pid) == -signal.SIGKILL
    assert processes.reap(process.pid) is None
    processes.send([process.pid], signal.SIGKILL)  # gone already: no error


# A thread that is not the first ends with the process or as it likes; the first may end before it.
FIRST_THREAD_ENDS = """
import ctypes, platform, sys, threading
other = threading.Thread(target=sys.stdin.read)
other.start()
print(flush=True)
ctypes.CDLL(None).syscall({"x86_64": 60, "aarch64": 93}[platform.machine()], 0)
"""


def test_a_zombie_of_which_a_thread_goes_on_is_not_dead_yet() -> None:
    """Nor has it given back its memory."""
    command = [sys.executable, "-S", "-c", FIRST_THREAD_ENDS]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as ending:
        assert ending.stdout is not None
        ending.stdout.readline()
        while (fields := processes.stat(ending.pid)) and fields[processes.STATE] != "Z":
            time.sleep(0.01)
        born = processes.birth(ending.pid)
        assert born is not None
        assert processes.is_alive(born)
        assert processes.members(ending.pid, "X=none") == (ending.pid,)
        ending.kill()
        os.waitid(os.P_PID, ending.pid, os.WEXITED | os.WNOWAIT)
        assert not processes.is_alive(born)
        assert processes.members(ending.pid, "X=none") == ()


@pytest.mark.parametrize("state", ["X", "Z", "R"])
def test_what_is_reaped_while_it_is_read_is_nobodys(
    state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Linux 6.18 told of one: no parent, no session."""
    monkeypatch.setattr(processes, "PROC", tmp_path)
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "stat").write_text(f"7 (race) {state} 0 -1 -1 0 -1 4227148 17 {'0 ' * 40}\n")
    assert processes.birth(7) is None
    assert processes.members(None, "X=none") == processes.members(-1, "X=none") == ()


def test_another_start_or_boot_is_another_process(sleeper: Sleeper) -> None:
    born = processes.birth(sleeper().pid)
    assert born is not None
    assert not processes.is_alive(born.model_copy(update={"start_ticks": born.start_ticks + 1}))
    assert not processes.is_alive(born.model_copy(update={"boot_id": "another"}))


def test_a_process_that_calls_itself_what_is_no_text_is_one_like_any_other() -> None:
    words = "printf '\\377' >/proc/$$/comm; echo; read -r _"
    with subprocess.Popen(["sh", "-c", words], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as shell:
        assert shell.stdout is not None
        shell.stdout.readline()
        assert (processes.PROC / str(shell.pid) / "comm").read_bytes() == b"\xff\n"
        born = processes.birth(shell.pid)
        assert born is not None
        assert processes.is_alive(born)


def test_shared_memory_of_a_process_is_found_by_its_inode() -> None:
    block = SharedMemory(create=True, size=64)
    try:
        assert Path("/dev/shm") / block.name in processes.shared_memory([os.getpid()])
        with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
            assert processes.shared_memory([child.pid]) == ()
            child.communicate(b"\n")
    finally:
        block.close()
        block.unlink()
