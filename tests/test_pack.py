"""An engine packed here and unpacked over an environment of the host's own."""

import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from infra.errors import HostError, ServerError
from serving import pack
from serving.engine import Engine


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


def test_what_holds_paths_of_this_machine_stays_here(engine: Engine, tmp_path: Path) -> None:
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


def test_a_reader_that_leaves_is_not_the_packers_failure(engine: Engine) -> None:
    reader = subprocess.Popen(["true"], stdin=subprocess.PIPE)
    reader.wait()
    assert reader.stdin is not None
    pack.pack(engine.vllm.parent.parent, reader.stdin)
    reader.stdin.close()
