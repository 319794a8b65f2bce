"""Bundles and folders that are not what they seem: nothing of a stranger's is touched, and verify and install agree."""

import json
import os
import shutil
import socket
import stat
import subprocess
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest
from bundling import PYTHON, a_bundle, a_source, steps, tree
from killed import killed_at
from tars import END, file, header, pax
from test_bundle_verify import flip, restate, with_tar

from deploy.bundle import filling
from deploy.bundle import install as installing
from deploy.bundle.create import bundle_of, create, finish, opened, packed, write
from deploy.bundle.destination import half_of, place_of, size_bytes
from deploy.bundle.filling import BEGUN, ELSEWHERE
from deploy.bundle.install import install
from deploy.bundle.manifest import read
from deploy.bundle.media import Meter
from deploy.bundle.packing import Packing
from deploy.bundle.sources import begun, checked_sources
from deploy.bundle.verify import verify
from deploy.cli.main import run
from deploy.targets.deployment import home
from infra.archive import problems, wrong
from infra.errors import DocumentError, HostError, UsageError
from serving.vllm import unpack
from serving.vllm.pack import OF_EACH_MACHINE, members_of

creating = import_module("deploy.bundle.create")


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One good bundle, beside what it was made of, for all tests of this file, which only change copies of it."""
    return a_bundle(tmp_path_factory.mktemp("good")).folder


@pytest.fixture
def root(good: Path, tmp_path: Path) -> Path:
    """A copy of all of it; the plan names the first."""
    return shutil.copytree(good.parent, tmp_path / "root", symlinks=True)


def stored(path: str, size: int = 1, part_of: str | None = None) -> dict[str, object]:
    """A file as a manifest lists it."""
    return {"path": path, "size_bytes": size, "sha256": "0" * 64, "part_of": part_of}


def listing(*files: dict[str, object]) -> Callable[[Path], None]:
    """Have the manifest list more files."""

    def spoil(folder: Path) -> None:
        listed = json.loads((folder / "manifest.json").read_bytes())["files"]
        restate(folder, files=[*listed, *files])

    return spoil


def stating(path: str, size: int) -> Callable[[Path], None]:
    """Have the manifest state another size of a file."""

    def spoil(folder: Path) -> None:
        listed = json.loads((folder / "manifest.json").read_bytes())["files"]
        restate(folder, files=[one | {"size_bytes": size} if one["path"] == path else one for one in listed])

    return spoil


def without(path: str) -> Callable[[Path], None]:
    """Have neither folder nor manifest hold a file."""

    def spoil(folder: Path) -> None:
        listed = json.loads((folder / "manifest.json").read_bytes())["files"]
        restate(folder, files=[one for one in listed if one["path"] != path])
        (folder / path).unlink()

    return spoil


def instead(path: str, make: Callable[[Path], object]) -> Callable[[Path], None]:
    """Have something else under a name."""

    def spoil(folder: Path) -> None:
        (folder / path).unlink()
        make(folder / path)

    return spoil


def a_socket(path: Path) -> None:
    """A socket."""
    with socket.socket(socket.AF_UNIX) as made:
        here = os.getcwd()
        os.chdir(path.parent)  # its path is too long otherwise
        made.bind(path.name)
        os.chdir(here)


def deep(folder: Path) -> None:
    """Make 1,100 folders, one in another."""
    here = os.open(folder, os.O_RDONLY)
    for _ in range(1100):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)


SPOILED: dict[str, tuple[Callable[[Path], object], str]] = {
    "a size of 400 digits": (listing(stored("x", 10**400)), "size_bytes"),
    "one file below another": (listing(stored("x"), stored("x/y")), "x/y would be written below a file"),
    "parts below parts": (
        listing(stored("p", part_of="model/q"), stored("r", part_of="model/q/s")),
        "model/q/s would be written below a file",
    ),
    "a part of what is there": (listing(stored("p", part_of="plan.json")), "a part of another file"),
    "a capital": (listing(stored("model/CONFIG.json")), "differs only in its letters"),
    "65 folders": (listing(stored("d/" * 64 + "x")), "is no path inside of the bundle"),
    "a name of 256 letters": (listing(stored("x" * 256)), "is not a bundle manifest"),
    "an escape in a name": (listing(stored("\x1b[2J")), r"'\x1b[2J' is no path inside of the bundle"),
    "what is being written": (listing(stored(".writing")), "is the manifest's own"),
    "an escape in a version": (lambda folder: restate(folder, vllm_version="\x1b]0;x\x07"), "on one line"),
    "a newline in an architecture": (lambda folder: restate(folder, architecture="x\nOK: whole"), "on one line"),
    "a newline in a licence": (lambda folder: restate(folder, licences=["x\nOK: whole"]), "on one line"),
    "an extra name of two lines": (
        lambda folder: (folder / "x\nOK: the bundle is whole").touch(),
        r"'x\nOK: the bundle is whole' is extra: the manifest does not know it",
    ),
    "an extra name that is no text": (
        lambda folder: (folder / "\udcff").touch(),
        r"'\udcff' is extra: the manifest does not know it",
    ),
    "folders without end": (deep, f"{'d/' * 64}d is extra: the manifest does not know it"),
    "a pipe for a file": (instead("README.txt", os.mkfifo), "README.txt is not a file but a link or a special"),
    "a socket for a file": (instead("README.txt", a_socket), "README.txt is not a file but a link or a special"),
    "a folder for a file": (instead("README.txt", Path.mkdir), "README.txt is missing"),
    "a link for a folder": (
        steps(
            lambda folder: (folder / "model").rename(folder.parent / "elsewhere"),
            lambda folder: (folder / "model").symlink_to(folder.parent / "elsewhere"),
        ),
        "model is extra: the manifest does not know it",
    ),
    "a pipe for the manifest": (instead("manifest.json", os.mkfifo), "its manifest.json cannot be read"),
    "a link for the manifest": (
        instead("manifest.json", lambda path: path.symlink_to("/dev/zero")),
        "its manifest.json cannot be read",
    ),
    "a folder for the manifest": (instead("manifest.json", Path.mkdir), "its manifest.json cannot be read"),
    "a link to nothing says it is not finished": (
        lambda folder: (folder / "unfinished").symlink_to("nowhere"),
        "is not finished",
    ),
    "a file with holes": (
        steps(lambda folder: os.truncate(folder / "README.txt", 2**43), stating("README.txt", 2**43)),
        "README.txt is larger than the disk it is on",
    ),
    "no config": (without("model/config.json"), "model/config.json is missing from the manifest"),
    "no engine": (without("engine.tar.part-0001"), "engine.tar is missing from the manifest"),
    "an engine without vLLM": (
        lambda folder: with_tar(folder, file(b"lib/x") + END),
        "engine.tar: it lacks lib/python",
    ),
    "an engine with an interpreter": (
        lambda folder: with_tar(folder, file(b"bin/python") + END),
        "engine.tar: its member 'bin/python' would be 'bin', which every machine makes itself",
    ),
    "an engine of thirty digits": (
        lambda folder: with_tar(folder, pax(b"35 size=" + b"9" * 26 + b"\n") + header() + END),
        "engine.tar: it is no whole tar: a size that no disk holds",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SPOILED)
def test_what_verify_names_install_refuses(
    name: str, good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil, sentence = SPOILED[name]
    folder = shutil.copytree(good, tmp_path / "bundle")
    spoil(folder)
    try:
        assert run(["bundle", "verify", str(folder)]) == 4
        said = capsys.readouterr()
        assert sentence in said.out + said.err
        assert "\nOK" not in said.out + said.err
        assert run(["bundle", "install", str(folder)]) == 4
        assert sentence in capsys.readouterr().err
        assert [path for path in tree(home()) if path != "engine/.lock"] == []
    finally:
        subprocess.run(["rm", "-r", folder], check=True)  # pytest cannot


def repository(place: Path) -> None:
    """Somebody's sources."""
    (place / ".git").mkdir()
    (place / ".git" / "HEAD").write_text("ref: refs/heads/main")
    (place / "app.js").write_text("precious")


def noted(text: str) -> Callable[[Path], object]:
    """Have an `unfinished` with that text."""
    return lambda place: (place / "unfinished").write_text(text)


def made_over(change: Callable[[Path], object]) -> Callable[[Path], None]:
    """Have the bundle that was made there, and then a change."""

    def spoil(place: Path) -> None:
        place.rmdir()
        shutil.copytree(place.parent / "bundle", place)
        change(place)

    return spoil


def linked(path: str) -> Callable[[Path], None]:
    """Have the bundle's file elsewhere, and a link to it."""

    def spoil(place: Path) -> None:
        (place / path).rename(place.parent / "precious")
        (place / path).symlink_to(place.parent / "precious")

    return made_over(spoil)


NO_BUNDLE = "holds something that is no bundle"
CHANGED = "was not written by corral bundle create, or changed since"
LINK = "is a link or a special file, or has another name too"
STRANGERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "sources": (repository, NO_BUNDLE),
    "sources with a manifest": (
        steps(repository, lambda place: (place / "manifest.json").write_text('{"name": "shop"}')), NO_BUNDLE
    ),
    "sources with a plan for a manifest": (
        steps(repository, lambda place: shutil.copy(place.parent / "plan.json", place / "manifest.json")), NO_BUNDLE
    ),
    "sources with an unfinished": (steps(repository, noted("my novel")), NO_BUNDLE),
    "an unfinished alone": (noted("my novel"), NO_BUNDLE),
    "sources with an empty unfinished": (steps(repository, noted("")), CHANGED),
    "sources where a create was begun": (steps(repository, noted(BEGUN)), CHANGED),
    "an unfinished that tells too much": (steps(repository, noted(BEGUN + "app.js\n")), NO_BUNDLE),
    "an unfinished that is a link": (
        steps(
            lambda place: (place.parent / "precious").write_text(BEGUN),
            lambda place: (place / "unfinished").symlink_to("../precious"),
        ),
        NO_BUNDLE,
    ),
    "an unfinished with another name": (
        steps(
            lambda place: (place.parent / "precious").write_text(BEGUN),
            lambda place: os.link(place.parent / "precious", place / "unfinished"),
        ),
        LINK,
    ),
    "what is being written, elsewhere": (
        steps(noted(BEGUN), lambda place: (place / ".writing").symlink_to("../plan.json")), LINK
    ),
    "a bundle with notes": (made_over(lambda place: (place / "notes.txt").write_text("precious")), CHANGED),
    "a bundle with sources": (made_over(repository), CHANGED),
    "a bundle with a link": (made_over(lambda place: (place / "home").symlink_to("..")), LINK),
    "a bundle with a pipe": (made_over(lambda place: os.mkfifo(place / "pipe")), LINK),
    "a bundle with a file of two lines": (made_over(lambda place: (place / "a\nb").touch()), CHANGED),
    "a bundle with a changed plan": (made_over(lambda place: (place / "plan.json").write_text("mine")), CHANGED),
    "a bundle with one other letter": (made_over(lambda place: flip(place / "README.txt")), CHANGED),
    "a bundle with a changed manifest": (made_over(lambda place: flip(place / "manifest.json")), NO_BUNDLE),
    "a bundle whose plan is a link": (linked("plan.json"), LINK),
    "a bundle whose weights are a link": (linked("model/model-00001-of-00002.safetensors.part-0001"), LINK),
    "a bundle whose manifest is a link": (linked("manifest.json"), NO_BUNDLE),
    "a bundle whose model is a link": (linked("model"), LINK),
    "a bundle whose plan has another name": (
        made_over(lambda place: os.link(place / "plan.json", place.parent / "precious")), LINK
    ),
    "a bundle with a folder for a file": (
        made_over(steps(lambda place: (place / "plan.json").unlink(), lambda place: (place / "plan.json").mkdir(),
                        lambda place: (place / "plan.json" / "mine").touch())), CHANGED
    ),
}  # fmt: skip


def test_a_strangers_folder_is_refused_and_stays_as_it_is(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By a create in other parts, so that each file that could be written or taken away would be."""
    told, wanted = {}, {}
    place = root / "place"
    arguments = ["bundle", "create", str(root / "plan.json"), "-o", str(place), "--without-corral"]
    for name, (make, sentence) in STRANGERS.items():
        place.mkdir()
        make(place)
        before = shape(root)
        code = run(
            [*arguments, "--engine", str(root / "engine"), "--model", str(root / "model"), "--split-gib", "1"]
        )
        error = capsys.readouterr().err.splitlines()[-2:]
        told[name] = (code, sentence in error[0], error[1], shape(root) == before)
        wanted[name] = (2, True, told[name][2], True)
        assert ELSEWHERE in error[1]
        shutil.rmtree(place)
        subprocess.run(["rm", "-rf", root / "precious"], check=True)
    assert told == wanted


def shape(folder: Path) -> dict[str, object]:
    """Everything below a folder: what each is, and its bytes or where it leads."""
    paths = (Path(here, name) for here, folders, files in os.walk(folder) for name in (*folders, *files))
    return {
        str(path.relative_to(folder)): (path.lstat().st_mode, path.lstat().st_ino, path.lstat().st_mtime_ns)
        for path in paths
    }


def test_only_what_the_earlier_manifest_lists_is_taken_away(root: Path) -> None:
    """Parts of another size, a model with a file less and a file that grew; an empty folder of somebody's stays."""
    (root / "bundle" / "mine").mkdir()
    (root / "model" / "LICENSE").unlink()
    config = json.loads((root / "model" / "config.json").read_text())
    (root / "model" / "config.json").write_text(json.dumps(config | {"more": "x" * 1000}))
    made = create(a_source(root), packing(root, root / "bundle"), print)
    assert verify(made.folder, made.manifest_sha256, print).problems == ()
    there = tree(made.folder)
    assert there.keys() == {file.path for file in read(made.folder).bundle.files} | {"manifest.json"}
    assert not any(".part-" in name or "LICENSE" in name for name in there)
    assert there["model/config.json"] == (root / "model" / "config.json").read_bytes()
    assert (root / "bundle" / "mine").is_dir()


def test_a_large_file_that_changed_is_met_before_it_is_touched(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not read beforehand; then only what is about to be replaced is."""
    monkeypatch.setattr(filling, "SMALL_BYTES", 2**20)
    weights = root / "bundle" / "model" / "model-00001-of-00002.safetensors.part-0001"
    flip(weights)
    before = weights.read_bytes()
    with pytest.raises(UsageError) as caught:
        a_bundle(root)
    assert CHANGED in caught.value.message
    assert weights.read_bytes() == before
    weights.unlink()
    assert verify(a_bundle(root).folder, None, print).problems == ()


def test_the_output_may_not_lie_in_what_is_packed(root: Path) -> None:
    for folder in ("model", "engine"):
        with pytest.raises(UsageError, match="lies in what is to be packed"):
            create(a_source(root), packing(root, root / folder / "out"), print)
        assert not (root / folder / "out").exists()


def packing(root: Path, output: Path) -> Packing:
    """Engine and model of that folder."""
    return Packing(output=output, engine=root / "engine", model=root / "model", without_corral=True)


def test_a_folder_that_another_create_fills_is_refused(root: Path) -> None:
    """One that is there, and one that both make."""
    (root / "new").mkdir()
    for place in (root / "bundle", root / "new"):
        with opened(place):
            before = shape(place)
            with pytest.raises(UsageError) as caught:
                create(a_source(root), packing(root, place), print)
            assert shape(place) == before
        assert caught.value.message == f"Another corral bundle create is at work in {place}."
        create(a_source(root), packing(root, place), print)
        assert verify(place, None, print).problems == ()


def deep_in(folder: Path) -> None:
    """Have 64 folders in it."""
    (folder / Path(*"d" * 64)).mkdir(parents=True)


def twice_linked(folder: Path) -> None:
    """A link that has two names."""
    (folder / "a").symlink_to("vllm")
    os.link(folder / "a", folder / "b", follow_symlinks=False)


ENGINES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a capital": (
        lambda site: (site / "VLLM").mkdir(),
        "vllm/' differs only in its letters from '{site}/VLLM",
    ),
    "an accent in two ways": (
        steps(lambda site: (site / "\u00e9.py").touch(), lambda site: (site / "e\u0301.py").touch()),
        "differs only in its letters from",
    ),
    "a link to a place": (
        lambda site: (site / "x").symlink_to("/etc/passwd"),
        "'{site}/x' is a link to '/etc/passwd', outside of the folder",
    ),
    "a link out of it": (
        lambda site: (site / "x").symlink_to("../../../../x"),
        "'{site}/x' is a link to '../../../../x', outside of the folder",
    ),
    "a top that is a link out": (
        lambda site: (site.parents[2] / "share").symlink_to("/usr/share"),
        "'share' is a link to '/usr/share', outside of the folder",
    ),
    "a link with two names": (twice_linked, "outside of the folder or a link itself"),
    "a pipe": (lambda site: os.mkfifo(site / "x"), "'{site}/x' is a device or another special file"),
    "an escape in a name": (lambda site: (site / "\x1b[2J").touch(), "has a name that cannot be printed"),
    "a name that is no text": (lambda site: (site / "\udcff").touch(), "has a name that cannot be printed"),
    "64 folders": (deep_in, "has a name that is too long or too deep"),
    "no vLLM": (lambda site: (site / "vllm" / "__init__.py").unlink(), "it lacks {site}/vllm/__init__.py"),
    "vLLM as a link": (
        steps(
            lambda site: (site / "vllm" / "__init__.py").unlink(),
            lambda site: (site / "vllm" / "__init__.py").symlink_to("entrypoints"),
        ),
        "it lacks {site}/vllm/__init__.py",
    ),
}


def test_an_engine_that_verify_would_refuse_is_not_packed(root: Path) -> None:
    """Known by its names before a byte is written, and judged as its tar would be."""
    site = Path("lib", f"python{PYTHON}", "site-packages")
    needed = str(site / "vllm" / "__init__.py")
    told, as_tar = {}, {}
    for name, (spoil, sentence) in ENGINES.items():
        engine = shutil.copytree(root / "engine", root / "spoiled", symlinks=True)
        spoil(engine / site)
        with pytest.raises(UsageError) as caught:
            create(
                a_source(root),
                packing(root, root / "out").model_copy(update={"engine": engine}),
                print,
            )
        said = list(wrong(members_of(engine), OF_EACH_MACHINE, [needed]))
        told[name] = (sentence.format(site=site) in caught.value.message, said[0] in caught.value.message)
        with packed(engine) as stream:
            as_tar[name] = len(list(problems(stream, OF_EACH_MACHINE, [needed]))) == len(said)
        shutil.rmtree(engine)
    assert told == dict.fromkeys(ENGINES, (True, True))
    assert as_tar == dict.fromkeys(ENGINES, True)
    assert not (root / "out").exists()


def test_what_tar_would_leave_out_or_write_as_a_hard_link_is_packed(root: Path) -> None:
    site = root / "engine" / "lib" / f"python{PYTHON}" / "site-packages"
    a_socket(site / "socket")
    os.link(site / "vllm" / "__init__.py", site / "again.py")
    made = create(a_source(root), packing(root, root / "out"), print)
    assert verify(made.folder, None, print).problems == ()


def test_more_parts_than_a_manifest_lists_are_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(creating, "MOST_PARTS", 2)
    ask = packing(root, root / "out").model_copy(update={"split_gib": 0.001})
    with pytest.raises(UsageError, match="would be cut into .* parts, and 2 is the most") as caught:
        create(a_source(root), ask, print)
    assert not (root / "out").exists()
    larger = float(caught.value.hint.removeprefix("Cut it into larger ones: --split-gib "))
    create(a_source(root), ask.model_copy(update={"split_gib": larger}), print)


@pytest.mark.parametrize(
    "name", ["a\nb", "\x1b[2J", "a" * 250, "CONFIG.json", "\udcff", "id_rsa", "sub/x.json"]
)
def test_what_is_no_checkpoints_own_is_not_packed_however_it_is_called(name: str, root: Path) -> None:
    before = tree(root / "model")
    (root / "model" / name).parent.mkdir(exist_ok=True)
    (root / "model" / name).touch()
    create(a_source(root), packing(root, root / "out"), print)
    assert tree(root / "out/model") == {key: value for key, value in before.items() if key != ".cache/lock"}


@pytest.mark.parametrize("name", ["a" * 240 + ".safetensors", "Model-00001-of-00002.safetensors"])
def test_a_model_no_bundle_can_name_is_one_sentence(name: str, root: Path) -> None:
    model = root / "model"
    (model / name).write_bytes(
        (2).to_bytes(8, "little") + b"{}"
    )  # of no weights: it is the plan's model all the same
    index = json.loads((model / "model.safetensors.index.json").read_text())
    index["weight_map"]["again"] = name
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UsageError, match="The model cannot be packed: ") as caught:
        create(a_source(root), packing(root, root / "out"), print)
    assert caught.value.message.isprintable()
    assert not (root / "out").exists()


def test_a_create_killed_at_every_change_of_the_disk_goes_on_and_is_no_bundle_until_then(root: Path) -> None:
    """Over an older bundle in other parts, of which some files are to go."""
    (root / "model" / "LICENSE").write_text("another")
    place = root / "bundle"
    found = begun(a_source(root), root / "engine", root / "model", print)
    sources = checked_sources(found, root / "model", print)

    def work() -> None:
        with opened(place) as filled:
            filled.begin()
            files = tuple(write(filled, sources, root / "empty", 2**20, Meter("", 0, print)))
            finish(filled, bundle_of(sources, files), packing(root, place))

    (root / "empty").mkdir()
    before = read(place)
    work_of_each = []
    change = 1
    while killed_at(change, work):
        try:
            is_old = read(place) == before
        except DocumentError:
            is_old = False
        work_of_each.append(is_old)
        change += 1
    assert work_of_each[:2] == [True, False]
    assert not any(work_of_each[1:-1])
    assert verify(place, None, print).problems == ()
    shutil.copytree(place, root / "resumed")
    shutil.rmtree(place)
    place.mkdir()
    work()
    assert tree(place) == tree(root / "resumed")


def test_an_install_killed_at_every_change_of_the_disk_is_not_there_or_whole(
    good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an engine and two files, known to be whole; the environment is made at once, and not asked whether it runs."""
    small = shutil.copytree(good, tmp_path / "small")
    kept = ("engine.tar.part-0001", "model/config.json", "model/tokenizer.json")
    for one in read(good).bundle.files:
        if one.path not in kept:
            without(one.path)(small)

    def environment(arguments: tuple[str, ...], progress: object) -> str:
        (Path(arguments[-1]) / "bin").mkdir(parents=True)
        return ""

    monkeypatch.setattr(installing, "require_whole", lambda *given: None)
    monkeypatch.setattr(unpack, "run_uv", environment)
    monkeypatch.setattr(unpack, "prove", lambda prefix: None)
    seen, change = [], 1
    while killed_at(change, lambda: install(small, None, print)):
        there = {path.name for path in (home() / "bundles").glob("[!.]*")}
        whole = [tree(path) for path in (home() / "bundles").glob("model-bf16-*")]
        seen.append((len(there), [len(files) for files in whole]))
        change += 1
    made = install(small, None, print)
    count = len(tree(made.folder))
    assert change > 30
    assert {(number, tuple(files)) for number, files in seen} <= {(0, ()), (1, (count,)), (2, (count,))}
    assert made.plan.is_file()
    assert (made.engine / "bin" / "vllm").is_file()
    assert not list((home() / "bundles").glob(".*.half/*"))


NAMES: tuple[tuple[str, Callable[[Path], None]], ...] = (
    ("bundles/model-bf16", Path.mkdir),
    ("bundles/model-bf16", Path.touch),
    ("engine/bundled", Path.mkdir),
    ("engine/bundled", Path.touch),
    ("bundles/model-bf16-{sha256:.12}", Path.touch),
    ("bundles/model-bf16-{sha256:.12}", lambda path: path.symlink_to("/")),
)


@pytest.mark.parametrize(("path", "kind"), NAMES)
def test_what_has_the_name_of_what_is_installed_stays(
    path: str, kind: Callable[[Path], None], good: Path
) -> None:
    name = path.format(sha256=read(good).sha256)
    (home() / name).parent.mkdir(parents=True)
    kind(home() / name)
    wanted = f"{home() / name} is there and was not made by corral"
    assert refused_alike(good) == wanted
    assert {str(one.relative_to(home())) for one in home().rglob("*")} == {name, name.partition("/")[0]}


def refused_alike(folder: Path) -> str:
    """What of this machine verify names and install refuses in the same words."""
    (problem,) = verify(folder, None, print).problems
    with pytest.raises(HostError) as caught:
        install(folder, None, print)
    assert caught.value.message == problem
    return problem.removesuffix(".")


def open_to_all(path: Path) -> None:
    """A home that others can write, and in which somebody has more than corral's."""
    path.mkdir()
    (path / "notes.txt").touch()
    path.chmod(0o777)


NO_HOMES: dict[str, tuple[Callable[[Path], object], str]] = {
    "others can write it": (open_to_all, "No engine is put there: {home} may be written by others"),
    "a file": (Path.touch, "The bundle cannot be installed: {home}: Not a directory"),
    "a folder of it is a file": (
        steps(Path.mkdir, lambda path: (path / "bundles").touch()),
        "The bundle cannot be installed: {home}/bundles: Not a directory",
    ),
    "where engines are is a file": (
        steps(Path.mkdir, lambda path: (path / "engine").touch()),
        "The bundle cannot be installed: {home}/engine: Not a directory",
    ),
}


@pytest.mark.parametrize("name", NO_HOMES)
def test_a_home_that_takes_no_bundle_is_named_and_refused(name: str, good: Path) -> None:
    make, sentence = NO_HOMES[name]
    make(home())
    before = shape(home())
    assert refused_alike(good) == sentence.format(home=home())
    assert shape(home()) == before


@pytest.mark.parametrize(
    ("number", "why"), [(0, "Permission denied"), (os.ST_RDONLY, "Read-only file system")]
)
def test_a_home_this_user_cannot_write_is_named_and_refused(
    number: int, why: str, good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked of the folder it would be made in; root may write anywhere, so what the disk says is said here."""
    monkeypatch.setattr(os, "access", lambda path, mode: path != home().parent)
    monkeypatch.setattr(
        os,
        "statvfs",
        lambda path: SimpleNamespace(f_flag=number, f_blocks=2**30, f_bavail=2**30, f_bfree=0, f_frsize=1),
    )
    assert refused_alike(good) == f"The bundle cannot be installed: {home().parent}: {why}"
    assert not home().exists()


def test_a_lack_of_room_is_named_and_refused_and_what_a_killed_install_left_is_room(
    good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, sha256, _ = read(good)
    need = size_bytes(bundle)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=need - 1))
    assert refused_alike(good) == (
        f"The bundle needs {need / 2**30:.1f} GiB more in {home().parent}, which has {(need - 1) / 2**30:.1f} GiB free"
    )
    assert not home().exists()
    half = half_of(place_of(bundle, sha256))
    half.mkdir(parents=True)
    (half / "x").write_text("x")
    assert verify(good, None, print).problems == ()
    install(good, None, print)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=0))
    assert verify(good, None, print).problems == ()  # it is installed


def test_half_an_install_that_is_a_link_is_not_followed(good: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "x").touch()
    (home() / "bundles").mkdir(parents=True)
    (home() / "bundles" / f".model-bf16-{read(good).sha256[:12]}.half").symlink_to(tmp_path / "precious")
    install(good, None, print)
    assert [path.name for path in (tmp_path / "precious").iterdir()] == ["x"]


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_modes_do_not_hang_on_the_umask(umask: int, root: Path) -> None:
    before = os.umask(umask)
    try:
        shutil.rmtree(root / "bundle")
        made = install(a_bundle(root).folder, None, print)
    finally:
        os.umask(before)
    modes = {stat.S_IMODE(path.lstat().st_mode) for path in (root / "bundle").rglob("*") if path.is_file()}
    assert modes == {0o644}
    modes = {stat.S_IMODE(path.lstat().st_mode) for path in made.folder.rglob("*") if not path.is_symlink()}
    assert modes <= {0o755, 0o644, 0o600}
