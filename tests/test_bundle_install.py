"""A bundle installed: whole or not at all, and served with no network."""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from bundling import PYTHON, a_bundle, a_plan, an_engine, steps, tree
from test_bundle_verify import evil_tar, flip, restate, with_tar

from deploy.bundle import install as installing
from deploy.bundle.install import Moved, install, text
from deploy.bundle.installed import keep_sums
from deploy.bundle.manifest import read
from deploy.cli.main import run
from deploy.targets.deployment import home, make
from deploy.targets.local import cached_weights
from deploy.targets.ssh import bringing
from deploy.targets.ssh.host_setup import brought
from infra.errors import DocumentError, HostError
from infra.fetch import checksums
from infra.fetch.checksums import Kept
from serving.sizing.plan import Plan
from serving.vllm import engine
from serving.vllm.engine import Engine

FOLDERS = ("model", "draft", "adapters/tuned")
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
    there = tree(made.folder / "model")
    noted = checksums.read(made.folder / "model/.corral/manifest.json")
    del there[".corral/manifest.json"]
    assert there == source
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in source.items()}
    assert noted is not None
    assert {name: kept.sha256 for name, kept in noted.files.items()} == sums
    assert (noted.bundle, noted.repository, noted.commit) == (read(good).sha256, "", "")
    assert (made.was_there, made.moved) == (False, ())
    assert [path.name for path in made.engine.glob("bin/activate*")]
    assert str(made.folder.parent / f".{made.folder.name}.half") not in str(tree(made.engine / "bin"))


def test_again_it_is_there_and_a_newer_one_takes_its_place(good: Path, tmp_path: Path) -> None:
    first = install(good, None, print)
    inode = first.folder.stat().st_ino
    assert install(good, None, print) == first.model_copy(update={"was_there": True})
    assert first.folder.stat().st_ino == inode
    (tmp_path / "newer").mkdir()
    an_engine(tmp_path / "newer" / "engine", "0.32.1+cpu")
    a_plan(tmp_path / "newer")
    second = install(a_bundle(tmp_path / "newer").folder, None, print)
    assert (second.plan, second.engine) == (first.plan, first.engine)
    assert engine.find(home(), {}).version == "0.32.1+cpu"
    assert first.plan.resolve().parent == second.folder
    assert first.folder.is_dir()
    bundles = home() / "bundles"
    assert second.moved == (
        Moved(link=bundles / "model-bf16", led_to=first.folder),
        Moved(link=home() / "engine/bundled", led_to=first.folder / "engine"),
    )
    lines = text(second).splitlines()
    assert lines[1:3] == [
        f"before, {each.link} led to {each.led_to}; back: ln -sfn {each.led_to} {each.link}"
        for each in second.moved
    ]
    for line in lines[1:3]:
        subprocess.run(["sh", "-c", line.partition("; back: ")[2]], check=True)
    assert engine.find(home(), {}).version == "0.32.0+cpu"
    assert first.plan.resolve().parent == first.folder
    shutil.rmtree(first.folder)
    third = install(tmp_path / "newer/bundle", None, print)
    assert (third.was_there, third.moved) == (True, second.moved)
    assert text(third).splitlines()[1:4] == [
        "it was there already: its weights were read again and are the bundle's, its engine was not read",
        *(f"before, {each.link} led to {each.led_to}" for each in second.moved),
    ]


def write(name: str, content: bytes) -> Callable[[Path], object]:
    """What writes that into a file of what is installed."""
    return lambda place: (place / name).write_bytes(content)


DAMAGED: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "a byte": (
        lambda place: flip(place / "model/model-00001-of-00002.safetensors"),
        "model/model-00001-of-00002.safetensors is changed: its sha256 is another",
        "model-00001-of-00002.safetensors is changed: its sha256 is another",
    ),
    "cut off": (
        write("model/LICENSE", b"Llama 4"),
        "model/LICENSE is changed: its sha256 is another",
        "LICENSE is cut off: 7 of 26 bytes",
    ),
    "too long": (
        write("model/LICENSE", b"Llama 4 Community License\n and more"),
        "model/LICENSE is too long",
        "LICENSE is too long: 35 of 26 bytes",
    ),
    "gone": (
        lambda place: (place / "model/config.json").unlink(),
        "model/config.json is missing",
        "config.json is missing",
    ),
    "one more": (write("model/code.py", b"1"), "model/code.py is extra", "code.py is extra"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_what_is_installed_is_held_against_the_bundle_with_it_and_without(
    name: str, good: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the bundle itself, where it is installed again, and by the sums that were kept of it, where it is not here."""
    made = install(good, None, print)
    place, model, sha256 = made.folder, made.folder / "model", read(good).sha256
    capsys.readouterr()
    assert run(["fetch", "--verify", str(model)]) == 0
    files = read(good).bundle.files
    count = len(tree(good.parent / "model")) - 1
    size_gib = sum(file.size_bytes for file in files if file.path.startswith("model/")) / 2**30
    assert capsys.readouterr().out == (
        f"{model} is as it was brought by the bundle whose manifest is {sha256}: {count} files, {size_gib:.2f} GiB, "
        "every checksum right\n"
    )
    spoil, by_bundle, by_sums = DAMAGED[name]
    spoil(place)
    assert run(["bundle", "install", str(good)]) == 4
    assert capsys.readouterr().err.splitlines()[-2:] == [
        f"error: What is installed in {place} is not the bundle's any more: {by_bundle}.",
        f"hint: Take it away, and install it again: rm -r {place}; corral bundle install {good}",
    ]
    assert run(["fetch", "--verify", str(model)]) == 4
    said = capsys.readouterr()
    assert (said.out, said.err.splitlines()) == (
        f"{by_sums}\n",
        [
            f"error: {model} must not be served: 1 problem(s).",
            "hint: Remove what is extra. For the rest remove the folder that the bundle was installed into, and "
            "install it again.",
        ],
    )
    if name != "one more":
        with pytest.raises(DocumentError, match=r"these are not the weights that were brought\."):
            cached_weights.make_sure_of(model, None)


def test_a_host_is_sent_what_the_bundle_brought_or_nothing(
    good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sums that were kept are those that each file must have, before any goes."""
    made = install(good, None, print)
    deployment = make(Plan.read(made.plan), "ssh").model_copy(
        update={"hosts": ("gpu-1",), "engine": str(made.engine)}
    )
    known: dict[str, str] = {}

    def copied(host: object, local: Path, names: object, there: str, sums: dict[str, str]) -> None:
        known.update(sums)
        raise KeyboardInterrupt

    monkeypatch.setattr(bringing, "copy_files", copied)
    host: Any = SimpleNamespace(
        destination="gpu-1", write=lambda files: None, run=lambda *given, **more: None
    )
    with pytest.raises(KeyboardInterrupt):
        bringing.prepare(deployment, brought(deployment), host)
    model = made.folder / "model"
    assert known == {
        name: hashlib.sha256((model / name).read_bytes()).hexdigest()
        for name in brought(deployment).model_files
    }


def test_each_folder_that_is_served_has_sums_of_its_own(tmp_path: Path) -> None:
    names = [
        "model/config.json",
        "draft/a.safetensors",
        "adapters/tuned/adapter_config.json",
        "chat_template.jinja",
    ]
    kept = {name: Kept(1, "0" * 64, "0" * 64, 1) for name in [*names, "model/.corral/manifest.json"]}
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    keep_sums(tmp_path, kept, "1" * 64)
    folders = {folder: checksums.read(tmp_path / folder / ".corral/manifest.json") for folder in FOLDERS}
    assert {folder: [*noted.files] for folder, noted in folders.items() if noted} == {
        "model": ["config.json"], "draft": ["a.safetensors"], "adapters/tuned": ["adapter_config.json"]
    }  # fmt: skip
    assert not (tmp_path / ".corral").exists()


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
