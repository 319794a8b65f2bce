"""A Mac as the client: what its Python lacks is not on the way from a command to a host or a rented machine."""

import ast
import json
import os
import selectors
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from box_tools import start
from fake_box import ABSOLUTE, Box

from deploy import up_request
from deploy.cli.main import run
from infra import processes, ssh_client
from serving.sizing.size_options import WhichMachine

ROOT = Path(__file__).parent.parent
DATA = Path(__file__).parent / "data"

# What Python's own documentation says is for Linux (and not macOS), of the modules that corral uses.
LACKING = {
    "os": {
        *(
            "memfd_create",
            "MFD_CLOEXEC",
            "MFD_ALLOW_SEALING",
            "sched_getaffinity",
            "sched_setaffinity",
            "pidfd_open",
        ),
        *("listxattr", "getxattr", "setxattr", "removexattr", "eventfd", "posix_fadvise", "posix_fallocate"),
        *(
            "copy_file_range",
            "splice",
            "getrandom",
            "unshare",
            "setns",
            "getresuid",
            "O_PATH",
            "O_TMPFILE",
            "O_DIRECT",
        ),
    },
    "select": {"epoll", "EPOLLIN", "EPOLLET"},
    "fcntl": {"F_ADD_SEALS", "F_SEAL_GROW", "F_SETPIPE_SZ", "F_GETPIPE_SZ", "F_OFD_SETLK"},
    "time": {"CLOCK_BOOTTIME"},
    "signal": {"SIGRTMIN", "SIGPWR", "sigtimedwait", "sigwaitinfo", "pidfd_send_signal"},
    "socket": {
        "SO_PEERCRED",
        "SOCK_CLOEXEC",
        "SOCK_NONBLOCK",
        "AF_NETLINK",
        "TCP_USER_TIMEOUT",
        "SO_BINDTODEVICE",
    },
    "resource": {"prlimit"},
}
USED = {
    ("infra/home.py", "listxattr"): "and where there is none, the mode says it",
    ("infra/processes.py", "CLOCK_BOOTTIME"): "the age of a server of this machine",
    ("infra/ssh_client.py", "memfd_create"): "else a file on the disk",
    ("infra/ssh_client.py", "MFD_CLOEXEC"): "of it",
    ("infra/ssh_client.py", "MFD_ALLOW_SEALING"): "of it",
    ("infra/ssh_client.py", "F_ADD_SEALS"): "of it",
    ("infra/ssh_client.py", "F_SEAL_GROW"): "of it",
    ("serving/probe/reader.py", "epoll"): "of the compiled reader, which is for Linux; else Python reads",
    (
        "deploy/gateway/admin_socket.py",
        "O_PATH",
    ): "the gateway of this machine, whose HAProxy is Linux's here",
    ("deploy/supervise.py", "CLOCK_BOOTTIME"): "the supervision of a server of this machine",
}


def client_files() -> Iterator[Path]:
    """All but what runs on hosts."""
    for floor in ("infra", "serving", "deploy"):
        yield from (path for path in sorted((ROOT / floor).rglob("*.py")) if path.parent.name != "onhost")


def test_what_a_mac_lacks_is_used_where_it_is_known_to_be() -> None:
    used = {
        (path.relative_to(ROOT).as_posix(), node.attr)
        for path in client_files()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
        if node.attr in LACKING.get(node.value.id, ())
    }
    assert used == set(USED)


IMPORT = """
import importlib, sys
for module, names in LACKING.items():
    found = importlib.import_module(module)
    for name in names:
        if hasattr(found, name):
            delattr(found, name)
for name in MODULES:
    importlib.import_module(name)
print(len(MODULES))
"""


def test_every_module_of_a_client_is_read_without_it() -> None:
    """In an interpreter of its own; sys.platform stays, by which the libraries below choose what they load."""
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in client_files()
        if path.name != "__main__.py"
    ]
    program = f"LACKING = {LACKING!r}\nMODULES = {modules!r}\n{IMPORT}"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == (f"{len(modules)}\n", "")


@pytest.fixture
def mac(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """This machine without what a Mac lacks, /proc among it."""
    for module, names in LACKING.items():
        for name in names:
            monkeypatch.delattr(f"{module}.{name}", raising=False)
    # As these modules find out when they are read.
    monkeypatch.setattr("tempfile._O_TMPFILE_WORKS", False)
    monkeypatch.setattr("selectors.DefaultSelector", selectors.SelectSelector)
    monkeypatch.setattr(processes, "PROC", tmp_path / "no-proc")
    monkeypatch.setattr(sys, "platform", "darwin")


@pytest.mark.usefixtures("mac")
def test_a_process_is_known_by_the_second_it_was_started_in() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        try:
            born = processes.birth(process.pid)
            assert born is not None
            assert processes.is_alive(born)
            assert not processes.is_alive(born.model_copy(update={"start_ticks": born.start_ticks - 1}))
        finally:
            process.kill()
        process.wait()
        assert not processes.is_alive(born)


@pytest.mark.usefixtures("mac")
def test_a_model_goes_where_machines_are_rented(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(up_request, "local_machine", lambda: pytest.fail("a Mac was asked for its GPUs"))
    assert up_request.place_of("scout", WhichMachine()) == "ec2"


@pytest.mark.usefixtures("mac")
def test_a_sockets_path_is_short_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", "/var/folders/zz/zyxvpxvq6csfxvn_n0000000000000/T")
    monkeypatch.setattr(ssh_client, "is_private", lambda folder: True)
    longest = ssh_client.sockets() / f"65535-{40 * 'f'}.{16 * 'x'}"
    assert len(str(longest)) <= 103


@pytest.mark.usefixtures("mac")
def test_a_host_is_asked_over_ssh(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    box = Box(tmp_path / "box", [])
    (box.folder / "facts").write_text((DATA / "hosts/debian.txt").read_text())
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "ssh").write_text(f'#!/bin/sh\nexec {start("fake_ssh")} "$@"\n')
    (tools / "ssh").chmod(0o755)
    monkeypatch.setattr(ssh_client, "sockets", lambda: tmp_path)
    given = {
        "PATH": f"{tools}:{os.environ['PATH']}",
        "REAL_SSH": str(shutil.which("ssh")),
        "BOX": str(box.folder),
    }
    for name, value in {**given, "ABSOLUTE": ABSOLUTE.pattern}.items():
        monkeypatch.setenv(name, value)
    assert run(["hosts", "show", "gpu-1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["hosts"][0]["facts"]["hostname"] == "gpu-1"
