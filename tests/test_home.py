"""What is this user's alone: the home whatever the umask, and what is loaded or run."""

import ctypes
import grp
import os
import stat
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bundling import PYTHON, an_engine

from infra import figure, locks, ssh_client
from infra.errors import HostError, ServerError
from infra.home import home, is_private, make_folder, others_can_change
from infra.record import write_text_atomically
from serving.probe import compiled, results
from serving.probe.run_records import Ending
from serving.vllm import engine, server

SOMEBODY = 12345


@pytest.fixture(params=[0o000, 0o002, 0o022, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    """Each umask that people have."""
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def hold(path: Path) -> None:
    """Take and give back a lock."""
    with locks.held(path, HostError("busy", "wait")):
        pass


def written(path: Path) -> None:
    """Write the results of a run that had none."""
    results.Writer(path).close(Ending(duration_us=1, clients=[]))


FIRST: dict[str, Callable[[], object]] = {
    "a document": lambda: write_text_atomically(home() / "prod" / "deployment.json", "{}"),
    "a lock": lambda: hold(home() / "engine" / ".lock"),
    "results": lambda: written(home() / "prod" / "probe" / "results.jsonl"),
    "matplotlib's fonts": figure.cache_folder,
    "the compiled reader": lambda: compiled.library.__wrapped__(),
    "the engine": lambda: engine.check_disk(home()),
    "a folder": lambda: make_folder(home() / "prod" / "probe"),
}


def test_whatever_is_first_the_home_is_this_users_alone(
    umask: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, make in FIRST.items():
        place = tmp_path / name / "home"
        monkeypatch.setenv("CORRAL_HOME", str(place))
        make()
        modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (place, *place.rglob("*"))}
        folders = {mode for path, mode in modes.items() if path.is_dir()}
        assert folders <= {0o700}, name
        assert stat.S_IMODE(place.parent.stat().st_mode) == 0o755 & ~umask
        library = {mode for path, mode in modes.items() if path.suffix == ".so"}
        assert library == ({0o700} if "reader" in name else set()), name


def test_the_program_and_its_children_write_nothing_that_others_can_write(tmp_path: Path) -> None:
    code = (
        "import os, sys; os.umask(0)\n"
        "from deploy.cli import main, start\n"
        "main.run = lambda words: open(words[0], 'w').close() or os.system(f'touch {words[0]}2') or 0\n"
        "start.main()"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "x"], check=True)
    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("x", "x2")] == [0o644, 0o644]


def open_to_all(path: Path) -> None:
    """Let everybody write it."""
    path.chmod(0o777)


def anothers(path: Path) -> None:
    """Have it belong to somebody else."""
    os.chown(path, SOMEBODY, -1, follow_symlinks=False)


def of_a_shared_group(path: Path) -> None:
    """Let a group write it that somebody else is in."""
    os.chown(path, -1, SOMEBODY)
    path.chmod(0o775)


@pytest.fixture
def as_root() -> None:
    """Only root gives a file to somebody else."""
    if os.geteuid():
        pytest.skip("needs root: to have files of somebody else's")


@pytest.mark.usefixtures("as_root")
def test_a_compiled_reader_that_is_not_surely_ours_is_made_again_and_a_folder_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []

    def compile_to(path: Path) -> None:
        loaded.append("made")
        replaced(path)

    def load(path: str) -> None:
        loaded.append("loaded")
        raise compiled.NotCompiled("enough")

    monkeypatch.setattr(compiled, "compile_to", compile_to)
    monkeypatch.setattr(ctypes, "CDLL", load)
    assert asked() == "enough"
    assert asked() == "enough"
    (path,) = (home() / "cache" / "probe").iterdir()
    for spoil in (open_to_all, anothers, of_a_shared_group, linked_to_anothers):
        spoil(path)
        assert asked() == "enough"
        assert others_can_change(path, home()) == ""
    assert loaded == ["made", "loaded", "loaded", *["made", "loaded"] * 4]
    for folder in (path.parent, path.parent.parent, home()):
        for spoil, why in (
            (open_to_all, "may be written by others"),
            (anothers, f"belongs to user {SOMEBODY}"),
        ):
            spoil(folder)
            assert asked() == f"{folder} {why}"
            os.chown(folder, 0, 0)
            folder.chmod(0o700)
    assert len(loaded) == 11


def replaced(path: Path) -> None:
    """What compiling does, without a compiler."""
    make_folder(path.parent)
    path.unlink(missing_ok=True)
    path.touch(mode=0o700)


def linked_to_anothers(path: Path) -> None:
    """Have a link to somebody else's file there."""
    other = path.parents[3] / "evil.so"
    other.touch()
    anothers(other)
    path.unlink()
    path.symlink_to(other)


def raised(error: Exception) -> None:
    """Raise it, within an expression."""
    raise error


def asked() -> str:
    """Why there is no compiled reader."""
    with pytest.raises(compiled.NotCompiled) as caught:
        compiled.library.__wrapped__()
    return str(caught.value)


SITE = f"lib/python{PYTHON}/site-packages"
RUN = (
    "bin/vllm",
    "bin/python",
    "pyvenv.cfg",
    SITE,
    f"{SITE}/vllm",
    f"{SITE}/vllm/__init__.py",
    "bin",
    "lib",
    ".",
)


@pytest.mark.usefixtures("as_root")
def test_an_engine_others_can_write_is_not_run_wherever_it_was_found(tmp_path: Path) -> None:
    prefix = an_engine(tmp_path / "engine")
    (prefix / "bin" / "python").symlink_to(sys.executable)
    named = {"CORRAL_VLLM": str(prefix / "bin" / "vllm")}
    assert engine.find(home(), named).vllm == prefix / "bin" / "vllm"
    for name in RUN:
        path = prefix / name
        for spoil, why in (
            (anothers, f"belongs to user {SOMEBODY}"),
            (open_to_all, "may be written by others"),
        ):
            if path.is_symlink() and spoil is open_to_all:
                continue
            before = path.lstat()
            spoil(path)
            with pytest.raises(ServerError) as caught:
                engine.find(home(), named)
            assert caught.value.message == f"The vLLM at {prefix / 'bin' / 'vllm'} is not run: {path} {why}."
            os.chown(path, before.st_uid, before.st_gid, follow_symlinks=False)
            if not path.is_symlink():
                path.chmod(stat.S_IMODE(before.st_mode))
    assert engine.find(home(), {"PATH": str(prefix / "bin")}).origin == "PATH"
    (tmp_path / "vllm").symlink_to(prefix / "bin" / "vllm")
    assert engine.find(home(), {"PATH": str(tmp_path)}).vllm == tmp_path / "vllm"
    open_to_all(prefix / "pyvenv.cfg")
    with pytest.raises(ServerError, match=f"not run: {prefix / 'pyvenv.cfg'} may be written by others"):
        engine.find(home(), {"PATH": str(tmp_path)})
    (prefix / "pyvenv.cfg").chmod(0o644)
    open_to_all(prefix / "bin" / "vllm")
    with pytest.raises(ServerError, match="is not run"):
        engine.find(home(), {"PATH": str(prefix / "bin")})


@pytest.mark.usefixtures("as_root")
def test_an_engine_of_a_bundle_is_not_run_where_others_can_write_the_home(tmp_path: Path) -> None:
    place = an_engine(home() / "bundles" / "model-1" / "engine")
    (home() / "engine").mkdir()
    engine.bundled(home()).symlink_to(place)
    assert engine.find(home(), {}).origin == "from a bundle"
    for folder in (place.parent, home()):
        open_to_all(folder)
        with pytest.raises(ServerError, match=f"{folder} may be written by others"):
            engine.find(home(), {})
        folder.chmod(0o700)


def test_no_engine_is_put_where_others_could_change_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "make", lambda *given: pytest.fail("it was made"))
    home().mkdir()
    (home() / "website").mkdir()
    (home() / "website" / "index.html").touch()
    open_to_all(home())
    with pytest.raises(HostError) as caught:
        engine.install(home(), print)
    assert caught.value.message == f"No engine is put there: {home()} may be written by others."


def a_home(mode: int) -> None:
    """As an older corral left it: with a deployment, its lock, an engine, and what was kept."""
    for name in ("prod/deployment.json", "gone/ledger.jsonl", "held/.lock", "engine/.lock", "operator.json"):
        (home() / name).parent.mkdir(parents=True, exist_ok=True)
        (home() / name).write_text("{}")
    (home() / "new").mkdir()
    for folder in (home(), home() / "prod", home() / "engine"):
        folder.chmod(mode)


@pytest.mark.parametrize("mode", [0o777, 0o755, 0o775, 0o750, 0o701])
def test_a_home_that_was_open_to_others_is_closed_and_it_is_said_once(
    umask: int, mode: int, capsys: pytest.CaptureFixture[str]
) -> None:
    a_home(mode)
    write_text_atomically(home() / "prod" / "deployment.json", "{}")
    hold(home() / "engine" / ".lock")
    assert {stat.S_IMODE(path.stat().st_mode) for path in (home(), home() / "prod", home() / "engine")} == {
        0o700
    }
    said = f"{home()} was open to others (mode {mode:o}); it is closed to them now.\n"
    assert capsys.readouterr().err == said


def beside(name: str) -> Callable[[], None]:
    """Have something in the home that is not corral's."""

    def make() -> None:
        (home() / name).parent.mkdir(parents=True, exist_ok=True)
        (home() / name).touch()

    return make


SHARED: dict[str, Callable[[], object]] = {
    "somebody's file": beside("notes.txt"),
    "somebody's folder": beside("website/index.html"),
    "a dot file": beside(".bashrc"),
    "sticky, as /tmp": lambda: home().chmod(0o1777),
    "the user's own home": lambda: os.environ.update(HOME=str(home())),
}


@pytest.mark.parametrize("name", SHARED)
def test_what_is_more_than_corrals_home_keeps_its_mode(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", os.environ["HOME"])
    a_home(0o755)
    SHARED[name]()
    before = stat.S_IMODE(home().stat().st_mode)
    for _ in range(2):
        write_text_atomically(home() / "prod" / "deployment.json", "{}")
    modes = [
        stat.S_IMODE(path.stat().st_mode)
        for path in (home(), home() / "prod", home() / "prod/deployment.json")
    ]
    assert modes == [before, 0o700, 0o600]
    assert capsys.readouterr().err == (
        f"warning: {home()} is open to others (mode {before:o}) and holds more than corral's own, so it is left so. "
        "Set CORRAL_HOME to a folder for corral alone.\n"
    )


@pytest.mark.usefixtures("as_root")
@pytest.mark.parametrize("mode", [0o777, 0o700])
def test_anothers_home_is_not_written(mode: int) -> None:
    a_home(mode)
    anothers(home())
    before = sorted(home().rglob("*"))
    with pytest.raises(HostError) as caught:
        write_text_atomically(home() / "more" / "deployment.json", "{}")
    assert caught.value.message == (
        f"{home() / 'more' / 'deployment.json'} cannot be written: {home()} belongs to user {SOMEBODY}."
    )
    assert sorted(home().rglob("*")) == before
    told: list[str] = []
    with locks.held(home() / "more" / ".lock", HostError("busy"), told.append):
        pass  # what ends a thing goes on
    assert told == [f"{home() / 'more'} cannot be written: {home()} belongs to user {SOMEBODY}."]


def test_who_can_write_by_a_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A group of this user's alone is nobody else; a folder such as /tmp is no way to what lies in it."""
    path = tmp_path / "x"
    path.touch()
    path.chmod(0o664)
    assert others_can_change(path, tmp_path) == ""
    monkeypatch.setattr(grp, "getgrgid", lambda gid: grp_of("somebody"))
    assert others_can_change(path, tmp_path) == f"{path} may be written by others"
    path.chmod(0o644)
    tmp_path.chmod(0o1777)
    assert others_can_change(path, tmp_path) == ""
    tmp_path.chmod(0o777)
    assert others_can_change(path, tmp_path) == f"{tmp_path} may be written by others"
    monkeypatch.setattr(grp, "getgrgid", lambda gid: raised(KeyError(gid)))
    tmp_path.chmod(0o770)
    assert others_can_change(path, tmp_path) == f"{tmp_path} may be written by others"


def test_who_can_write_by_a_list_of_the_disks(tmp_path: Path) -> None:
    """The mode's bits are then the most that any of the list may."""
    path = tmp_path / "x"
    path.touch()
    entries = ((1, 6, -1), (2, 6, SOMEBODY), (4, 4, -1), (16, 6, -1), (32, 4, -1))
    packed = b"".join(struct.pack("<HHi", *entry) for entry in entries)
    try:
        os.setxattr(path, "system.posix_acl_access", struct.pack("<I", 2) + packed)
    except OSError:
        pytest.skip("needs a disk with access lists")
    assert others_can_change(path, tmp_path) == f"{path} may be written by others"


def grp_of(*members: str) -> grp.struct_group:
    """A group with members."""
    return grp.struct_group(("x", "x", 1, list(members)))


def theirs(path: Path) -> None:
    """Have a folder of somebody else's there."""
    path.mkdir(mode=0o700)
    anothers(path)


def wide(path: Path) -> None:
    """Have a folder there that others can enter."""
    path.mkdir()
    path.chmod(0o755)


TAKEN: dict[str, Callable[[Path], object]] = {
    "a link to a folder of ours": lambda path: path.symlink_to(private(path.parent / "ours")),
    "a link to nothing": lambda path: path.symlink_to("nowhere"),
    "a file": Path.touch,
    "a folder of somebody else's": theirs,
    "a folder that others can enter": wide,
}


def private(path: Path) -> Path:
    """A folder of ours."""
    path.mkdir(mode=0o700)
    return path


@pytest.mark.usefixtures("as_root")
@pytest.mark.parametrize("name", TAKEN)
def test_where_ssh_has_its_sockets_is_ours_or_another_place(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    place = tmp_path / f"corral-ssh-{os.getuid()}"
    TAKEN[name](place)
    folder = ssh_client.sockets()
    assert folder == Path("/dev/shm") / place.name
    assert is_private(folder)
    monkeypatch.setattr(
        ssh_client, "is_private", lambda folder: folder.parent == home() and is_private(folder)
    )
    assert ssh_client.sockets() == home() / "ssh"
    monkeypatch.setattr(ssh_client, "is_private", lambda folder: False)
    with pytest.raises(HostError) as caught:
        ssh_client.sockets()
    assert caught.value.message == f"{place} belongs to somebody else, or cannot be made."


def test_the_sockets_are_private_whatever_the_umask(
    umask: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert ssh_client.sockets() == tmp_path / f"corral-ssh-{os.getuid()}"
    assert stat.S_IMODE(ssh_client.sockets().stat().st_mode) == 0o700


def test_a_servers_key_and_folder_are_private_whatever_the_umask(umask: int, tmp_path: Path) -> None:
    key = server.api_key(tmp_path)
    assert key.startswith("sk-")
    assert stat.S_IMODE(server.key_file(tmp_path).stat().st_mode) == 0o600
