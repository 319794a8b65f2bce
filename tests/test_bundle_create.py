"""A bundle made: what is in it, and what an interrupted, a repeated and a refused create leave."""

import errno
import hashlib
import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
from bundling import PYTHON, SPLIT_BYTES, a_bundle, a_plan, a_source, an_engine, steps, tree

from deploy.bundle import media, sources
from deploy.bundle.create import create, opened
from deploy.bundle.filling import BEGUN, Filling
from deploy.bundle.manifest import Bundle, Stored, read
from deploy.bundle.packing import Packing
from deploy.bundle.verify import verify
from deploy.cli.main import run
from infra.beneath import Beneath
from infra.errors import DocumentError, HostError, UsageError
from serving.sizing.plan import Plan
from serving.vllm.engine import Engine
from serving.vllm.flashinfer_kernels import REMEDY
from serving.vllm.pack import pack_file


def test_the_bundle_holds_everything_and_its_manifest_says_so(tmp_path: Path) -> None:
    made = a_bundle(tmp_path)
    bundle, sha256, _ = read(made.folder)
    assert sha256 == made.manifest_sha256
    assert (bundle.name, bundle.vllm_version, bundle.architecture, bundle.python, bundle.min_driver) == (
        "model-bf16", "0.32.0+cpu", os.uname().machine, PYTHON, None
    )  # fmt: skip
    assert bundle.licences == ("LICENSE",)
    assert bundle.plan == Plan.read(made.folder / "plan.json") == Plan.read(tmp_path / "plan.json")
    there = tree(made.folder)
    assert {file.path: file.size_bytes for file in bundle.files} == {
        name: len(content) for name, content in there.items() if name != "manifest.json"
    }
    model = {name: content for name, content in tree(tmp_path / "model").items() if name != ".cache/lock"}
    parts = sorted(name for name in there if ".safetensors.part-" in name)
    assert [len(there[name]) for name in parts] == [SPLIT_BYTES, SPLIT_BYTES, 3105408 - 2 * SPLIT_BYTES]
    whole = {name: content for name, content in there.items() if name not in parts}
    whole["model/model-00001-of-00002.safetensors"] = b"".join(there[name] for name in parts)
    assert {name[6:]: content for name, content in whole.items() if name.startswith("model/")} == model
    with tarfile.open(made.folder / "engine.tar.part-0001") as tar:
        assert f"lib/python{PYTHON}/site-packages/vllm/entrypoints/cli/main.py" in tar.getnames()


def test_the_readme_has_the_commands_of_the_other_side(tmp_path: Path) -> None:
    text = (a_bundle(tmp_path).folder / "README.txt").read_text()
    assert "corral bundle install . --manifest-sha256 CHECKSUM\n" in text
    assert "corral serve ~/.corral/bundles/model-bf16/plan.json\n" in text
    assert f"The machine: Linux, {os.uname().machine}, Python {PYTHON}.\n" in text
    assert "it is not part of this bundle" in text


def test_the_same_again_writes_no_byte_and_gives_the_same_manifest(tmp_path: Path) -> None:
    first = a_bundle(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in (first.folder / "model").iterdir()}
    assert a_bundle(tmp_path) == first
    assert {path: path.stat().st_mtime_ns for path in (first.folder / "model").iterdir()} == before


def test_other_parts_than_before_leave_nothing_of_the_old_ones(tmp_path: Path) -> None:
    a_bundle(tmp_path)
    made = a_bundle(tmp_path, split_bytes=None)
    assert not any(".part-" in name for name in tree(made.folder))
    assert verify(made.folder, made.manifest_sha256, print).problems == ()


@pytest.mark.parametrize("size", [0, 1, 999, 1000, 1001, 2000])
def test_parts_of_every_length_are_the_file_again(size: int, tmp_path: Path) -> None:
    content = os.urandom(size)
    (tmp_path / "whole").write_bytes(content)
    meter = media.Meter("", 0, print)
    (tmp_path / "to").mkdir()
    with (tmp_path / "whole").open("rb") as stream:
        parts = tuple(media.store(stream, begun(tmp_path / "to"), "f", 1000, meter))
    assert [part.size_bytes for part in parts] == ([1000] * (size // 1000) + [size % 1000])[: len(parts)]
    with media.joined(tmp_path / "to", parts, meter) as stream:
        assert stream.read() == content


@pytest.mark.parametrize("there", [b"", b"abcdef", b"abXdef", b"abcdefgh", b"abc"])
def test_whatever_was_there_becomes_what_is_wanted(there: bytes, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(there)
    filling = begun(
        tmp_path, Stored(path="f", size_bytes=len(there), sha256=hashlib.sha256(there).hexdigest())
    )
    stored = media.store_one(io.BytesIO(b"abcdef"), filling, "f", 1000, media.Meter("", 0, print))
    assert tree(tmp_path).keys() == {"f", "unfinished"}
    assert (tmp_path / "f").read_bytes() == b"abcdef"
    assert stored == Stored(path="f", size_bytes=6, sha256=hashlib.sha256(b"abcdef").hexdigest())


@pytest.mark.parametrize("half", [b"", b"abc", b"abX", b"abcdef", b"abcdefgh"])
@pytest.mark.parametrize("line", ["", "corral bundle cre", BEGUN, BEGUN + '{"path":"f","size_by'])
def test_what_was_half_written_is_written_on(half: bytes, line: str, tmp_path: Path) -> None:
    """A file, and a line of what was written, cut anywhere."""
    (tmp_path / "unfinished").write_text(line)
    (tmp_path / ".writing").write_bytes(half)
    with opened(tmp_path) as filling:
        filling.begin()
        stored = media.store_one(io.BytesIO(b"abcdef"), filling, "f", 1000, media.Meter("", 0, print))
    assert tree(tmp_path) == {
        "f": b"abcdef",
        "unfinished": f"{BEGUN}{stored.model_dump_json()}\n".encode(),
    }
    with opened(tmp_path) as filling:
        assert filling.ours == {"f": {(6, stored.sha256)}}


def begun(folder: Path, *written: Stored) -> Filling:
    """A folder that is being filled, where that was written before."""
    lines = [f"{file.model_dump_json()}\n" for file in written]
    (folder / "unfinished").write_text(BEGUN + "".join(lines))
    return Filling(Beneath(folder))


def test_a_create_that_was_killed_is_no_bundle_and_goes_on(tmp_path: Path) -> None:
    """Killed for real, while it copies a checkpoint that is slow to read."""
    an_engine(tmp_path / "engine")
    a_plan(tmp_path)
    weights = tmp_path / "model" / "model-00002-of-00002.safetensors"
    content = weights.read_bytes()
    code = (
        "import time; from deploy.bundle import media; from deploy.cli.start import main\n"
        "one = media.store_one\n"
        "def slow(stream, folder, name, *rest):\n"
        f"    if '{weights.name}' in name: print('there', flush=True); time.sleep(600)\n"
        "    return one(stream, folder, name, *rest)\n"
        "media.store_one = slow; main()"
    )
    arguments = ["bundle", "create", str(tmp_path / "plan.json"), "-o", str(tmp_path / "bundle")]
    arguments += ["--engine", str(tmp_path / "engine"), "--without-corral"]
    environ = os.environ | {"TMPDIR": str(tmp_path)}  # a killed one leaves its temporary folder
    for number, exit_code in ((signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)):
        with subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environ,
        ) as create:
            try:
                assert create.stdout is not None
                assert create.stdout.readline() == b"there\n"
                create.send_signal(number)
                assert create.wait() == exit_code
            finally:
                create.kill()
        with pytest.raises(DocumentError, match="is not finished"):
            verify(tmp_path / "bundle", None, print)
    assert run(arguments) == 0
    assert (tmp_path / "bundle" / "model" / weights.name).read_bytes() == content
    assert verify(tmp_path / "bundle", None, print).problems == ()


REFUSALS: dict[str, tuple[Callable[[Path], object], int, str]] = {
    "something else is there": (
        steps(
            lambda root: (root / "bundle").mkdir(), lambda root: (root / "bundle" / "thesis.tex").touch()
        ),
        2, "holds something that is no bundle",
    ),
    "a file is there": (lambda root: (root / "bundle").write_text("x"), 2, "is not a folder"),
    "no model": (lambda root: shutil.rmtree(root / "model"), 2, "is not a folder of this machine"),
    "a shard is missing": (
        lambda root: (root / "model" / "model-00002-of-00002.safetensors").unlink(),
        4, "lacks its weights: model-00002-of-00002.safetensors",
    ),
    "no tokenizer": (lambda root: (root / "model" / "tokenizer.json").unlink(), 4, "has no tokenizer"),
    "no plan": (lambda root: (root / "plan.json").unlink(), 4, "There is no plan at"),
    "no engine": (lambda root: shutil.rmtree(root / "engine" / "bin"), 2, "is no environment with vLLM"),
    "a CUDA engine for a plan without GPUs": (
        steps(
            lambda root: shutil.rmtree(root / "engine"), lambda root: an_engine(root / "engine", "0.32.0")
        ),
        2, "is a CUDA build, and the plan's machine (local) has no GPU",
    ),
    "an engine with a way past the key": (
        steps(
            lambda root: shutil.rmtree(root / "engine"), lambda root: an_engine(root / "engine", "0.21.0+cpu")
        ),
        2, "CVE-2026-48746",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
def test_what_cannot_be_packed_is_one_sentence_and_writes_nothing(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil, exit_code, sentence = REFUSALS[name]
    an_engine(tmp_path / "engine")
    a_plan(tmp_path)
    spoil(tmp_path)
    before = tree(tmp_path)
    arguments = ["bundle", "create", str(tmp_path / "plan.json"), "-o", str(tmp_path / "bundle")]
    assert run([*arguments, "--engine", str(tmp_path / "engine")]) == exit_code
    assert sentence in capsys.readouterr().err
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    ("is_there", "said"),
    [
        (False, "error: There is no vLLM on this machine."),
        (True, "is a CPU build, and the plan's machine (1xH100) has GPUs."),
    ],
)
def test_who_packs_for_gpus_is_not_told_to_install_the_build_without(
    is_there: bool,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    plan = str(tmp_path / "plan.json")
    assert run(["size", "scout", "--precision", "int4", "--on", "1xH100", "-o", plan]) == 0
    monkeypatch.setenv("PATH", "")
    if is_there:
        monkeypatch.setenv("CORRAL_VLLM", str(an_engine(tmp_path / "engine") / "bin" / "vllm"))
    capsys.readouterr()
    assert run(["bundle", "create", plan, "-o", str(tmp_path / "bundle")]) == (2 if is_there else 7)
    error, hint = capsys.readouterr().err.splitlines()[-2:]
    assert (said in error, hint) == (
        True,
        "hint: Make one, no GPU is needed for it: python3 -m venv vllm-env && vllm-env/bin/pip install "
        "vllm==0.33.0, and name it: --engine vllm-env",
    )
    assert run(["bundle", "create", plan, "-o", str(tmp_path / "bundle"), "--engine", str(tmp_path)]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == hint


def test_what_only_the_other_side_would_notice_is_a_warning(tmp_path: Path) -> None:
    prefix = an_engine(tmp_path / "engine")
    a_plan(tmp_path)
    (tmp_path / "model" / "LICENSE").unlink()
    for name in ("vllm-0.32.1+cpu", "flashinfer_python-0.7.2", "flashinfer_cubin-0.6.13"):
        (prefix / "lib" / f"python{PYTHON}" / "site-packages" / f"{name}.dist-info").mkdir()
    shutil.rmtree(prefix / "lib" / f"python{PYTHON}" / "site-packages" / "vllm-0.32.0+cpu.dist-info")
    said: list[str] = []
    a_bundle(tmp_path, said=said)
    assert [line for line in said if line.startswith("warning")] == [
        "warning: vLLM 0.32.1+cpu has published security advisories; serve with 0.33.0 or newer "
        "(advisories of 2026-11-23).",
        "warning: the plan counts with vLLM 0.32.0, the engine is 0.32.1+cpu",
        "warning: no licence file lies with the model; Llama 4's licence asks for a copy of it: put its text there "
        "as LICENSE",
        "warning: the engine has FlashInfer 0.7.2, flashinfer-cubin 0.6.13, flashinfer-jit-cache -: vLLM takes "
        "FlashInfer then, which compiles what is not of its version and ends the start where that cannot be, as "
        f"without nvcc; {REMEDY}",
    ]


def test_too_small_a_disk_is_said_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=2**20))
    with pytest.raises(HostError, match="which has 0.0 GiB free"):
        a_bundle(tmp_path)
    assert not (tmp_path / "bundle").exists()


@pytest.fixture
def small_disk(tmp_path: Path, need: Callable[[str, str], NoReturn]) -> Iterator[Path]:
    """A disk of two MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(place)]
    if os.getuid() or subprocess.run(command, check=False).returncode:
        need("fleet", "only root mounts a small disk")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_disk_that_fills_up_is_one_sentence_and_what_is_there_goes_on_elsewhere(
    small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("deploy.bundle.create.require_space", lambda *given: None)
        (tmp_path / "bundle").symlink_to(small_disk)
        with pytest.raises(HostError, match=f"The bundle cannot be written: .*: {os.strerror(errno.ENOSPC)}"):
            a_bundle(tmp_path)
    with pytest.raises(DocumentError, match="is not finished"):
        read(small_disk)
    (tmp_path / "bundle").unlink()
    shutil.copytree(small_disk, tmp_path / "bundle")
    assert verify(a_bundle(tmp_path).folder, None, print).problems == ()


def test_an_engine_that_does_not_fit_into_its_file_is_no_fault_of_the_engine(
    small_disk: Path, tmp_path: Path
) -> None:
    prefix, file = an_engine(tmp_path / "engine"), small_disk / "engine.tar"
    (prefix / "lib" / "large.so").write_bytes(os.urandom(3 * 2**20))
    with pytest.raises(HostError) as caught:
        pack_file(Engine(vllm=prefix / "bin" / "vllm", version="0.32.0+cpu", origin="CORRAL_VLLM"), file)
    assert caught.value.message == f"{file} cannot be written: {os.strerror(errno.ENOSPC)}."
    assert list(small_disk.iterdir()) == []


def test_a_model_that_cannot_be_read_is_no_fault_of_the_medium(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fails behind the header, which was read before."""
    real, shard = Path.open, tmp_path / "model" / "model-00001-of-00002.safetensors"

    class Failing(io.FileIO):
        def read(self, size: int | None = -1) -> bytes:
            if size == SPLIT_BYTES:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return super().read(size)

    def opened(self: Path, *given: Any, **options: Any) -> Any:
        return Failing(self) if self == shard and given == ("rb",) else real(self, *given, **options)

    monkeypatch.setattr(Path, "open", opened)
    with pytest.raises(HostError) as caught:
        a_bundle(tmp_path)
    assert caught.value.message == f"{shard} cannot be read on this machine: Input/output error."
    with pytest.raises(DocumentError, match="is not finished"):
        read(tmp_path / "bundle")


def test_a_disk_that_is_read_only_is_one_sentence(small_disk: Path, tmp_path: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro,size=99m", small_disk], check=True)
    (tmp_path / "bundle").symlink_to(small_disk)
    with pytest.raises(HostError, match=f"The bundle cannot be written: .*: {os.strerror(errno.EROFS)}"):
        a_bundle(tmp_path)


def test_an_index_out_of_reach_is_one_sentence_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The real uv, offline and with an empty cache."""
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    (an_engine(tmp_path / "engine") / "bin" / "python").symlink_to(sys.executable)
    a_plan(tmp_path)
    arguments = ["bundle", "create", str(tmp_path / "plan.json"), "-o", str(tmp_path / "bundle")]
    assert run([*arguments, "--engine", str(tmp_path / "engine")]) == 11
    said = capsys.readouterr().err
    assert "error: corral's own wheels cannot be had here: " in said
    assert "hint: Leave it out (--without-corral)" in said
    assert not (tmp_path / "bundle").exists()


def test_the_manifest_reads_back_equal(tmp_path: Path) -> None:
    folder = a_bundle(tmp_path).folder
    assert Bundle.parse(read(folder).bundle.model_dump_json(), "here") == read(folder).bundle


def occupied(root: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    (root / "bundle").mkdir()
    (root / "bundle/letters").write_text("mine")
    return {}


def full(root: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=3 * 2**30))
    return {}


def read_only(root: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != root)
    return {}


def beneath_a_file(root: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    return {"output": root / "plan.json/bundle"}


def in_the_engine(root: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    return {"output": root / "engine/bundle"}


def shredded(root: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    return {"split_gib": 0.001}


def without_a_template(root: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    plan = Plan.read(root / "plan.json")
    serve = plan.serve.model_copy(update={"chat_template": str(root / "none.jinja")})
    plan.model_copy(update={"serve": serve}).write(root / "plan.json")
    return {}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (occupied, "holds something that is no bundle."),
        (
            full,
            "The bundle needs 4.0 GiB more in",
        ),  # the model twice: in the Hub's cache, which is on that disk, too
        (read_only, "The bundle cannot be written:"),
        (beneath_a_file, "plan.json: Not a directory."),
        (in_the_engine, "lies in what is to be packed."),
        (shredded, "The bundle would be cut into"),
        (without_a_template, "The plan's chat template is not here:"),
    ],
)
def test_what_stands_against_a_bundle_is_told_before_its_model_is_fetched(
    given: Callable[[Path, pytest.MonkeyPatch], dict[str, Any]],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fetched(*_: object) -> NoReturn:
        raise AssertionError("it was fetched")

    monkeypatch.setattr(sources, "fetched", fetched)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    an_engine(tmp_path / "engine")
    a_plan(tmp_path)
    plan = Plan.read(tmp_path / "plan.json")
    serve = plan.serve.model_copy(update={"model": "someone/Tiny"})
    size = 200 * 2**30 if given is shredded else 2**31
    plan.model_copy(update={"serve": serve, "weights_bytes": size}).write(tmp_path / "plan.json")
    said: dict[str, Any] = {
        "output": tmp_path / "bundle",
        "engine": tmp_path / "engine",
        "without_corral": True,
    }
    packing = Packing(**(said | given(tmp_path, monkeypatch)))
    before = tree(tmp_path)
    with pytest.raises((UsageError, HostError)) as caught:
        create(a_source(tmp_path), packing, lambda text: None)
    assert words in caught.value.message
    assert tree(tmp_path) == before
