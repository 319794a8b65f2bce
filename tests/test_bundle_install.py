"""A bundle installed: whole or not at all, and served with no network."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from bundling import PYTHON, a_bundle, a_plan, an_engine, steps, tree
from test_bundle_verify import evil_tar, flip, restate, with_tar

from deploy.bundle import install as installing
from deploy.bundle.install import install
from deploy.bundle.manifest import read
from deploy.cli.main import run
from deploy.targets.deployment import home, make
from deploy.targets.ssh.host_setup import brought
from infra.errors import DocumentError, HostError
from serving.sizing.plan import Plan
from serving.vllm import engine
from serving.vllm.engine import Engine

WEIGHTS = "model/model-00001-of-00002.safetensors.part-0002"


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One good bundle for all tests of this file, which only change copies of it."""
    return a_bundle(tmp_path_factory.mktemp("good")).folder


@pytest.fixture
def folder(good: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return shutil.copytree(good, tmp_path / "bundle")


def test_engine_and_model_are_where_serve_finds_them(good: Path) -> None:
    made = install(good, None, print)
    assert engine.find(home(), {}) == Engine(
        vllm=home() / "engine" / "bundled" / "bin" / "vllm", version="0.32.0+cpu", origin="from a bundle"
    )
    plan = Plan.read(made.plan)
    original = Plan.read(good / "plan.json")
    assert plan.serve.model == str(made.folder / "model")
    assert plan.model_copy(update={"serve": original.serve}) == original
    source = tree(good.parent / "model")
    del source[".cache/lock"]
    assert tree(made.folder / "model") == source
    assert [path.name for path in made.engine.glob("bin/activate*")]
    assert str(made.folder.parent / f".{made.folder.name}.half") not in str(tree(made.engine / "bin"))


def test_again_it_is_there_and_a_newer_one_takes_its_place(good: Path, tmp_path: Path) -> None:
    first = install(good, None, print)
    inode = first.folder.stat().st_ino
    assert install(good, None, print) == first
    assert first.folder.stat().st_ino == inode
    (tmp_path / "newer").mkdir()
    an_engine(tmp_path / "newer" / "engine", "0.32.1+cpu")
    a_plan(tmp_path / "newer")
    second = install(a_bundle(tmp_path / "newer").folder, None, print)
    assert (second.plan, second.engine) == (first.plan, first.engine)
    assert engine.find(home(), {}).version == "0.32.1+cpu"
    assert first.plan.resolve().parent == second.folder
    assert first.folder.is_dir()


BAD: dict[str, tuple[Callable[[Path], object], int, str]] = {
    "changed": (lambda folder: flip(folder / WEIGHTS), 4, f"{WEIGHTS} is changed: its sha256 is another."),
    "two things": (
        steps(lambda folder: flip(folder / WEIGHTS), lambda folder: (folder / "README.txt").unlink()),
        4, f"{WEIGHTS} is changed: its sha256 is another (and 1 more).",
    ),
    "unsafe": (lambda folder: with_tar(folder, evil_tar("/etc/x")), 4, "would be written outside"),
    "another architecture": (lambda folder: restate(folder, architecture="sparc64"), 11, "it is for sparc64"),
    "another Python": (lambda folder: restate(folder, python="3.99"), 11, "has no python3.99"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_bundle_is_one_sentence_and_leaves_nothing(
    name: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil, exit_code, sentence = BAD[name]
    spoil(folder)
    assert run(["bundle", "install", str(folder)]) == exit_code
    assert sentence in capsys.readouterr().err
    assert left() == []


def left() -> list[str]:
    """What an install has left in the home, but for the lock's empty file."""
    return [path for path in tree(home()) if path != "engine/.lock"]


def test_another_checksum_than_was_told_is_refused(good: Path) -> None:
    with pytest.raises(
        DocumentError, match="This is not the bundle you were told of: manifest.json is another"
    ):
        install(good, "0" * 64, print)
    assert left() == []


def test_a_file_that_changes_after_it_was_verified_is_met(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installing, "require_whole", lambda *given: flip(folder / WEIGHTS))
    with pytest.raises(DocumentError, match=f"{WEIGHTS} is not what was packed"):
        install(folder, None, print)
    assert left() == []


def test_an_unsafe_engine_is_met_again_while_it_is_unpacked(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_tar(folder, evil_tar("../evil"))
    monkeypatch.setattr(installing, "require_whole", lambda *given: None)
    with pytest.raises(DocumentError, match="'../evil' would be written outside of the folder"):
        install(folder, None, print)
    assert left() == []


def test_an_engine_that_does_not_run_here_is_said(good: Path, tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    prefix = an_engine(tmp_path / "x" / "engine")
    (package,) = prefix.glob("lib/python3*/site-packages/vllm/__init__.py")
    package.write_text("raise ImportError('GLIBC_2.99 not found')\n")
    a_plan(tmp_path / "x")
    with pytest.raises(HostError, match="does not run on this machine: ImportError: GLIBC_2.99 not found"):
        install(a_bundle(tmp_path / "x").folder, None, print)
    assert left() == []


def test_an_interrupted_install_leaves_nothing_and_a_killed_ones_rest_is_taken_away(
    good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*given: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(installing, "copy", interrupted)
        assert run(["bundle", "install", str(good)]) == 130
    assert left() == []
    sha256 = read(good).sha256
    rest = home() / "bundles" / f".model-bf16-{sha256[:12]}.half"
    rest.mkdir()
    (rest / "half").write_text("of an install that was killed")
    made = install(good, None, print)
    assert sorted(path.name for path in made.folder.iterdir()) == ["engine", "model", "plan.json"]
    assert not rest.exists()


def test_a_full_home_is_said_before_anything_is_read(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=2**20))
    monkeypatch.setattr(installing, "require_whole", lambda *given: pytest.fail("it was read"))
    with pytest.raises(HostError, match=r"The bundle needs 0\.0 GiB more in .*, which has 0\.0 GiB free"):
        install(good, None, print)
    assert left() == []


def test_an_ssh_host_is_brought_the_installed_engine_and_model(good: Path) -> None:
    made = install(good, None, print)
    deployment = make(Plan.read(made.plan), "ssh").model_copy(update={"engine": str(made.engine)})
    bring = brought(deployment)
    assert (bring.engine, bring.python, bring.version) == (made.folder / "engine", PYTHON, "0.32.0+cpu")
    assert bring.model == made.folder / "model"


def test_with_no_network_at_all_it_is_installed_and_serves(good: Path, without_network: list[str]) -> None:
    corral = f"{sys.executable} -c 'from deploy.cli.start import main; main()'"
    script = (
        f"{corral} bundle install {good} && {corral} serve {home()}/bundles/model-bf16/plan.json --json; "
        f"echo $? >&2; {corral} stop model-bf16 >&2"
    )
    root = Path(__file__).parent.parent
    done = subprocess.run(
        [*without_network, "sh", "-c", script], capture_output=True, text=True, check=True, cwd=root
    )
    serving = json.loads(done.stdout[done.stdout.index("{") :])
    assert serving["base_url"] == "http://127.0.0.1:8000"
    assert f"({home()}/engine/bundled/bin/vllm)" in done.stderr
