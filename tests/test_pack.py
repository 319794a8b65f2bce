"""An engine packed here and unpacked over an environment of the host's own."""

import errno
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import NoReturn

import pytest

from infra.beneath import Beneath
from infra.errors import HostError, ServerError, UsageError
from serving.vllm import pack
from serving.vllm.engine import Engine


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    """An environment whose packages, data and scripts are a few bytes each."""
    prefix = tmp_path / "an engine"
    site = prefix / "lib" / "python3.11" / "site-packages"
    (site / "vllm").mkdir(parents=True)
    (site / "vllm" / "__init__.py").write_text("version = 'x'\n")
    (prefix / "lib" / "libiomp5.so").write_text("data of a wheel\n")
    (prefix / "lib64").symlink_to("lib")
    (prefix / "bin").mkdir()
    (prefix / "bin" / "vllm").write_text("#!/absolute/path/python\n")
    (prefix / "pyvenv.cfg").write_text("home = /absolute/path\n")
    return Engine(vllm=prefix / "bin" / "vllm", version="0.32.0+cpu", origin="CORRAL_VLLM")


def test_what_holds_paths_of_this_machine_stays_here_and_so_does_what_is_no_engines(
    engine: Engine, tmp_path: Path
) -> None:
    prefix = engine.vllm.parent.parent
    for name in (
        ".env",
        "id_rsa",
        "secrets.txt",
        ".git/config",
        ".ssh/id_rsa",
        "--checkpoint-action=exec=x/y",
    ):
        (prefix / name).parent.mkdir(exist_ok=True)
        (prefix / name).write_text("CANARY")
    packed = pack.pack_file(engine, tmp_path / "engine.tar")
    assert (packed.version, packed.python) == ("0.32.0+cpu", "3.11")
    with tarfile.open(packed.path) as tar:
        assert sorted(tar.getnames()) == [
            "lib",
            "lib/libiomp5.so",
            "lib/python3.11",
            "lib/python3.11/site-packages",
            "lib/python3.11/site-packages/vllm",
            "lib/python3.11/site-packages/vllm/__init__.py",
            "lib64",
        ]


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the packed engine is for Python 3.11")
def test_a_fresh_environment_of_the_host_imports_it(engine: Engine, tmp_path: Path) -> None:
    packed = pack.pack_file(engine, tmp_path / "engine.tar")
    there = tmp_path / "there"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", there], check=True)
    subprocess.run(["tar", "-x", "--file", packed.path, "--directory", there], check=True)
    code = "import vllm; print(vllm.version)"
    done = subprocess.run([there / "bin" / "python", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "x\n"


def test_a_vllm_outside_of_an_environment_cannot_be_packed(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="is not in a virtual environment"):
        pack.prefix_of(tmp_path / "bin" / "vllm")


def test_a_folder_that_cannot_be_written_is_one_sentence_and_leaves_nothing(
    engine: Engine, tmp_path: Path
) -> None:
    with pytest.raises(HostError, match="cannot be written: No such file or directory"):
        pack.pack_file(engine, tmp_path / "nowhere" / "engine.tar")


def test_the_file_is_written_through_no_link_and_what_a_killed_pack_left_is_replaced(
    engine: Engine, tmp_path: Path
) -> None:
    """In /tmp, say, where somebody else may have a link of that name."""
    (tmp_path / "precious").write_text("x")
    (tmp_path / ".engine.tar.half").symlink_to("precious")
    (tmp_path / "engine.tar").symlink_to("precious")
    packed = pack.pack_file(engine, tmp_path / "engine.tar")
    assert (tmp_path / "precious").read_text() == "x"
    assert tarfile.is_tarfile(packed.path)
    assert not packed.path.is_symlink()
    assert not (tmp_path / ".engine.tar.half").exists()


def test_two_packs_of_one_file_do_not_mix(engine: Engine, tmp_path: Path) -> None:
    """While another writes, and after it was killed, or ended just then."""
    whole = pack.pack_file(engine, tmp_path / "engine.tar").path.read_bytes()
    with Beneath(tmp_path) as below, below.new(".engine.tar.half") as other:
        other.write(b"half")
        other.flush()
        with pytest.raises(UsageError) as caught:
            pack.pack_file(engine, tmp_path / "engine.tar")
        assert caught.value.message == f"Another corral engine pack writes {tmp_path / 'engine.tar'}."
        assert (tmp_path / ".engine.tar.half").read_bytes() == b"half"
        assert (tmp_path / "engine.tar").read_bytes() == whole
    assert pack.pack_file(engine, tmp_path / "engine.tar").path.read_bytes() == whole
    assert sorted(path.name for path in tmp_path.iterdir()) == ["an engine", "engine.tar"]


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_the_modes_do_not_hang_on_the_umask(umask: int, engine: Engine, tmp_path: Path) -> None:
    """A host's server is another user, who must be able to read what only its owner can read here."""
    prefix = engine.vllm.parent.parent
    (prefix / "lib" / "tool").touch()
    for path, mode in (
        (prefix / "lib" / "tool", 0o777),
        (prefix / "lib", 0o777),
        (prefix / "lib" / "libiomp5.so", 0o666),
    ):
        path.chmod(mode & ~umask)
    packed = pack.pack_file(engine, tmp_path / "engine.tar")
    with tarfile.open(packed.path) as tar:
        modes = {name: tar.getmember(name).mode for name in ("lib", "lib/tool", "lib/libiomp5.so")}
    assert modes == {"lib": 0o755, "lib/tool": 0o755, "lib/libiomp5.so": 0o644}


def test_an_engine_that_cannot_be_looked_at_is_no_fault_of_the_file(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = engine.vllm.parent.parent

    def gone(*_: object, **__: object) -> NoReturn:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    for module, name, why in (
        (Path, "iterdir", "Stale file handle"),
        (subprocess, "run", "tar cannot be started: Stale file handle"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, gone)
            with pytest.raises(ServerError) as caught:
                pack.pack_file(engine, tmp_path / "engine.tar")
        assert caught.value.message == f"The engine at {prefix} cannot be packed: {why}."
        assert not (tmp_path / "engine.tar").exists()


def test_a_reader_that_leaves_is_told_apart_from_a_tar_that_fails(engine: Engine) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb") as pipe, pytest.raises(BrokenPipeError):
        pack.pack(engine.vllm.parent.parent, pipe)


CHANGED = "tar: lib/libiomp5.so: file changed as we read it"


@pytest.mark.parametrize(
    ("tar", "why"),
    [
        ("kill -KILL $$", "tar ended with -9"),
        ("kill -TERM $$", "tar ended with -15"),
        ("exit 1", "tar ended with 1"),
        (f"echo '{CHANGED}' >&2; kill -KILL $$", "tar ended with -9"),
        (f"echo '{CHANGED}' >&2; exit 2", "tar ended with 2"),
        (
            f"echo '{CHANGED}' >&2; echo 'tar: lib: Input/output error' >&2; exit 1",
            "tar: lib: Input/output error",
        ),
    ],
)
def test_a_tar_that_was_cut_short_is_no_archive_whatever_it_says(
    tar: str, why: str, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = tmp_path / "tools" / "tar"
    cut.parent.mkdir()
    cut.write_text(f"#!/bin/sh\nprintf 'the first bytes'\n{tar}\n")
    cut.chmod(0o755)
    monkeypatch.setenv("PATH", f"{cut.parent}:{os.environ['PATH']}")
    prefix = engine.vllm.parent.parent
    with pytest.raises(ServerError) as caught:
        pack.pack_file(engine, tmp_path / "engine.tar")
    assert caught.value.message == f"The engine at {prefix} cannot be packed: {why}."
    assert sorted(path.name for path in tmp_path.iterdir()) == ["an engine", "tools"]

    # Links to an engine's files may come and go meanwhile: that archive is whole.
    cut.write_text(f"#!/bin/sh\nprintf 'all bytes'\necho '{CHANGED}' >&2\nexit 1\n")
    packed = pack.pack_file(engine, tmp_path / "engine.tar")
    assert packed.path.read_bytes() == b"all bytes" + pack.last_word()


def test_what_is_packed_is_told(engine: Engine, tmp_path: Path) -> None:
    for name in ("python3.9", "python3.12", "python3.13t", "python3.14.bak"):
        (engine.vllm.parent.parent / "lib" / name).mkdir()
    packed = pack.pack_file(engine, tmp_path / "engine.tar")
    size = (tmp_path / "engine.tar").stat().st_size
    assert packed == pack.Packed(
        path=tmp_path / "engine.tar", version="0.32.0+cpu", python="3.12", gib=size / 2**30
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["an engine", "engine.tar"]


def test_what_is_no_engine_is_said_with_what_to_name(tmp_path: Path) -> None:
    with pytest.raises(ServerError) as caught:
        pack.prefix_of(tmp_path / "bin" / "vllm")
    vllm = tmp_path / "bin" / "vllm"
    assert caught.value.message == f"{vllm} is not in a virtual environment, so it cannot be packed."
    assert caught.value.hint == "Name one that is: CORRAL_VLLM=/path/to/venv/bin/vllm"
    with pytest.raises(ServerError) as caught:
        pack.python_of(tmp_path)
    assert caught.value.message == f"{tmp_path} holds no Python packages."
    assert caught.value.hint == "Install the engine again: corral engine install"
