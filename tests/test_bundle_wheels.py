"""corral's own wheels in a bundle: made for the engine's Python, and installed by what the manifest knows of them."""

import hashlib
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from importlib.metadata import version as version_of
from pathlib import Path
from types import SimpleNamespace

import pytest
from bundling import a_plan, a_source, an_engine

from deploy.bundle import wheels
from deploy.bundle.create import create
from deploy.bundle.packing import Packing
from infra import offline
from infra.errors import HostError, UsageError


def test_wheels_are_made_by_pip_for_the_engines_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As uv has it run, and with pip's own settings."""
    asked = []

    def run_uv(words: tuple[str, ...], progress: Callable[[str], None]) -> str:
        asked.append(words)
        return ""

    monkeypatch.setattr(wheels, "run_uv", run_uv)
    monkeypatch.setattr(wheels, "source", lambda: Path("corral"))
    said: list[str] = []
    wheels.make(Path("engine/bin/python"), tmp_path, said.append)
    words = (
        "tool run --quiet --no-config --python engine/bin/python pip wheel --quiet --retries 1 --wheel-dir"
    )
    assert asked == [(*words.split(), str(tmp_path), "corral")]
    assert said == ["bundle: fetching corral's own wheels"]


def test_wheels_are_not_asked_of_an_index_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(offline.VARIABLE, "1")
    said: list[str] = []
    with pytest.raises(UsageError) as error:
        wheels.make(Path("python"), tmp_path, said.append)
    assert error.value.message == (
        "This would ask a package index for corral's own wheels (leave them out: --without-corral), "
        "and --offline forbids it."
    )
    assert said == []


@pytest.mark.parametrize(
    "said",
    [None, '{"url": "file:///nowhere/corral"}', '{"url": "file:///nowhere/corral-1-py3-none-any.whl"}'],
)
def test_a_corral_whose_folder_is_gone_cannot_be_bundled(
    said: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wheels, "distribution", lambda name: SimpleNamespace(read_text=lambda file: said))
    with pytest.raises(HostError) as error:
        wheels.source()
    assert (error.value.message, error.value.hint) == (
        "This corral was not installed from a folder or a wheel that is still there.",
        wheels.WITHOUT,
    )


@pytest.mark.parametrize("of", ["a folder", "corral-0.1.0-py3-none-any.whl"])
def test_a_corral_is_taken_from_where_it_was_installed_from(
    of: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "a folder").mkdir()
    (tmp_path / "a folder" / "pyproject.toml").touch()
    (tmp_path / "corral-0.1.0-py3-none-any.whl").touch()
    url = json.dumps({"url": (tmp_path / of).as_uri()})
    monkeypatch.setattr(wheels, "distribution", lambda name: SimpleNamespace(read_text=lambda file: url))
    assert wheels.source() == tmp_path / of


def a_wheel(folder: Path, name: str, version: str, needs: str = "") -> Path:
    """A wheel with nothing but its name in it, and what it depends on."""
    path, about = folder / f"{name}-{version}-py3-none-any.whl", f"{name}-{version}.dist-info"
    required = f"Requires-Dist: {needs}\n" if needs else ""
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(
            f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{required}"
        )
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/RECORD", f"{about}/METADATA,,\n{about}/WHEEL,,\n{about}/RECORD,,\n")
    return path


def lines_of_step(text: str, number: int) -> list[str]:
    """The commands of a step of README.txt."""
    return [
        line.strip()
        for line in text.split(f"\n{number}. ")[1].split("\n\n3. ")[0].splitlines()
        if line[:5] == " " * 5
    ]


def test_corral_is_installed_behind_the_gap_from_the_wheels_that_the_manifest_knows_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the commands of README.txt, before anything of the bundle was run."""

    def run_uv(words: tuple[str, ...], progress: Callable[[str], None]) -> str:
        folder = Path(words[words.index("--wheel-dir") + 1])
        a_wheel(folder, "corral", version_of("corral"), "its-needs>=1")
        a_wheel(folder, "its_needs", "1.0+cpu")
        return ""

    monkeypatch.setattr(wheels, "run_uv", run_uv)
    monkeypatch.setattr(wheels, "source", lambda: Path("corral"))
    an_engine(tmp_path / "engine")
    a_plan(tmp_path)
    packing = Packing(output=tmp_path / "bundle", engine=tmp_path / "engine")
    folder = create(a_source(tmp_path), packing, print).folder
    listed, _, install = lines_of_step((folder / "README.txt").read_text(), 2)
    target = tmp_path / "installed"
    pip = install.replace("~/corral/bin/pip", f"{sys.executable} -m pip -q --disable-pip-version-check")

    def done(line: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(["sh", "-c", line], cwd=folder, capture_output=True, text=True, check=False)

    a_wheel(folder / "wheels", "its_needs", "2.0")  # newer, and nobody's
    sha256 = hashlib.sha256((folder / "wheels/requirements.txt").read_bytes()).hexdigest()
    assert done(listed).stdout == f"{sha256}\n"
    assert done(f"{pip} --target {target}").returncode == 0
    assert {path.name for path in target.glob("*.dist-info")} == {
        f"corral-{version_of('corral')}.dist-info",
        "its_needs-1.0+cpu.dist-info",
    }
    a_wheel(folder / "wheels", "its_needs", "1.0+cpu", "more")
    refused = done(f"{pip} --target {tmp_path / 'other'}")
    assert refused.returncode == 1
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in refused.stderr
    with (folder / "wheels/requirements.txt").open("a") as file:
        file.write("another==1\n")
    assert done(listed).stdout == ""
