"""A packed engine made an environment: how uv is asked, and what is said where it cannot be."""

import io
import sys
import tarfile
from pathlib import Path

import pytest

from infra.errors import HostError
from serving.vllm import unpack

OURS = "{}.{}".format(*sys.version_info)


def packed() -> io.BytesIO:
    """An archive of one package."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        made = tarfile.TarInfo("lib/here")
        tar.addfile(made)
    stream.seek(0)
    return stream


@pytest.fixture
def uv(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """What uv is asked; it makes a python that says what it was told, and runs."""
    asked: list[tuple[str, ...]] = []

    def run(arguments: tuple[str, ...], progress: object) -> str:
        asked.append(arguments)
        python = Path(arguments[-1]) / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.write_text('#!/bin/sh\nprintf \'%s\\n\' "$@" "$TMPDIR" "$HF_HOME" >> "${0%/*}/told"\n')
        python.chmod(0o755)
        return ""

    monkeypatch.setattr(unpack, "run_uv", run)
    return asked


@pytest.mark.parametrize(("python", "which"), [(OURS, sys.executable), ("3.99", "3.99")])
def test_the_environment_is_of_that_python_and_may_be_moved(
    tmp_path: Path, uv: list[tuple[str, ...]], python: str, which: str
) -> None:
    prefix = tmp_path / "engine"
    unpack.unpack(packed(), prefix, python, print)
    options = ("--quiet", "--offline", "--no-config", "--no-project", "--relocatable")
    assert uv == [("venv", *options, "--python", which, "--no-python-downloads", str(prefix))]
    assert (prefix / "lib" / "here").is_file()
    vllm = prefix / "bin" / "vllm"
    assert (vllm.read_text(), vllm.stat().st_mode & 0o777) == (unpack.LAUNCHER, 0o755)
    first, code, temporary, home = (prefix / "bin" / "told").read_text().splitlines()
    assert (first, code, home) == ("-c", "import vllm", f"{temporary}/huggingface")
    assert not Path(temporary).exists()


def test_a_machine_without_that_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpack, "run_uv", lambda *_: "no interpreter found")
    with pytest.raises(HostError) as caught:
        unpack.unpack(packed(), tmp_path / "engine", "3.99", print)
    assert caught.value.message == "The engine is packed for Python 3.99, and this machine has none."
    assert caught.value.hint == "Install python3.99, or pack an engine of this machine's Python."


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo one >&2; echo GLIBC_2.99 not found >&2; exit 1", "GLIBC_2.99 not found"),
        ("exit 1", "it said nothing"),
    ],
)
def test_an_engine_of_another_kind_of_system(tmp_path: Path, script: str, said: str) -> None:
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    with pytest.raises(HostError) as caught:
        unpack.prove(tmp_path)
    assert caught.value.message == f"The engine does not run on this machine: {said}"
    assert caught.value.hint == "It was packed on another kind of system: pack it on one like this."
