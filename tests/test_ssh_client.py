"""How the OpenSSH client is called and begun, and what is said where this machine has none."""

import os
import subprocess
from pathlib import Path

import pytest

from infra import ssh_client
from infra.errors import HostError
from infra.home import home


@pytest.mark.parametrize(("config", "begins"), [(None, ["ssh"]), ("/c/x y", ["ssh", "-F", "/c/x y"])])
def test_the_settings_that_every_use_shares(
    config: str | None, begins: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CORRAL_SSH_CONFIG", raising=False)
    if config:
        monkeypatch.setenv("CORRAL_SSH_CONFIG", config)
    settings = (
        "BatchMode=yes",
        "StrictHostKeyChecking=yes",
        "ConnectTimeout=15",
        "ServerAliveInterval=15",
        "ServerAliveCountMax=4",
        "ForwardAgent=no",
        "ForwardX11=no",
        "ClearAllForwardings=no",
        "ControlPath=/s/%C",
    )
    given = [word for setting in settings for word in ("-o", setting)]
    assert ssh_client.client(Path("/s/%C")) == [*begins, *given]


@pytest.mark.parametrize(
    ("error", "message", "hint"),
    [
        (FileNotFoundError(2, "No such file or directory"), "There is no ssh on this machine.",
         "Install OpenSSH's client: apt-get install openssh-client"),
        (PermissionError(13, "Permission denied"), "ssh cannot be started on this machine: Permission denied.",
         "Try it by hand: ssh -V"),
        (OSError(8, "Exec format error"), "ssh cannot be started on this machine: Exec format error.",
         "Try it by hand: ssh -V"),
    ],
)  # fmt: skip
def test_a_machine_without_one_that_runs(
    error: OSError, message: str, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def popen(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(subprocess, "Popen", popen)
    for begun in (ssh_client.version, lambda: ssh_client.answered(["ssh"], b"", 1.0)):
        with pytest.raises(HostError) as caught:
            begun()
        assert (caught.value.message, caught.value.hint) == (message, hint)


@pytest.mark.parametrize(
    ("private", "folder"), [((True, True, True), 0), ((False, True, True), 1), ((False, False, True), 2)]
)
def test_sockets_lie_in_memory_or_in_the_home_where_the_first_folder_is_somebody_elses(
    private: tuple[bool, ...], folder: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "t"))
    name = f"corral-ssh-{os.getuid()}"
    places = [tmp_path / "t" / name, Path("/dev/shm") / name, home() / "ssh"]
    asked: list[Path] = []

    def is_private(place: Path) -> bool:
        asked.append(place)
        return dict(zip(places, private, strict=True))[place]

    monkeypatch.setattr(ssh_client, "is_private", is_private)
    assert (ssh_client.sockets(), asked) == (places[folder], places[: folder + 1])


def test_where_no_folder_is_ours_alone_it_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    def is_private(_: Path) -> bool:
        raise OSError(28, "No space left on device")

    monkeypatch.delenv("TMPDIR", raising=False)
    monkeypatch.setattr(ssh_client, "is_private", is_private)
    with pytest.raises(HostError) as error:
        ssh_client.sockets()
    assert (error.value.message, error.value.hint) == (
        f"/tmp/corral-ssh-{os.getuid()} belongs to somebody else, or cannot be made.",
        "Set TMPDIR to a folder of yours, and a short one.",
    )


def test_a_file_in_memory_with_a_bound_takes_no_more() -> None:
    with ssh_client.scratch(8) as file:
        assert file.read() == bytes(8)
        with pytest.raises(PermissionError):
            os.write(file.fileno(), b"x")
    with ssh_client.scratch() as file:
        file.write(b"as much as it takes")
        file.seek(0)
        assert file.read() == b"as much as it takes"


def test_without_files_in_memory_it_is_one_on_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create")
    with ssh_client.scratch(8) as file:
        assert (file.read(), os.readlink(f"/proc/self/fd/{file.fileno()}")[:7] != "/memfd:") == (b"", True)
