"""A deployment of this machine as a unit of this user's systemd: what its file says, and a life under a stand-in."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import stubbed
from stubbed import members

from deploy.cli.main import run
from deploy.targets.deployment import Deployment, folder
from deploy.targets.local import place as local
from deploy.targets.local import user_unit
from infra import user_systemd
from serving.sizing.plan import Plan
from serving.vllm import events, server

FAKE = Path(__file__).with_name("fake_user_systemd.py")


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return stubbed.a_plan(tmp_path_factory.mktemp("plan"))


@pytest.fixture
def deployment(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployment]:
    """A tiny model's deployment whose vLLM is the stub, where this user has a systemd."""
    made = stubbed.a_deployment(plan, tmp_path, monkeypatch)
    for name in ("systemctl", "loginctl"):
        path = tmp_path / "tools" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(FAKE.read_text().replace("/usr/bin/env python3", sys.executable, 1))
        path.chmod(0o755)
    (tmp_path / "units").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'tools'}:{os.environ['PATH']}")
    monkeypatch.setenv("UNITS", str(tmp_path / "units"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config $HOME 100%"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent))
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr(user_unit, "LOOK_EVERY_S", 0.05)
    made.write(folder(made.name) / "deployment.json")
    yield made
    with suppress(OSError, ValueError):
        os.kill(int((tmp_path / "units" / user_unit.unit(made.name)).read_text()), signal.SIGKILL)
    stubbed.kill(made)


def test_a_server_is_served_by_a_unit_stopped_with_it_and_taken_away(
    deployment: Deployment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, unit = deployment.name, user_systemd.file(user_unit.unit(deployment.name))
    assert run(["serve", name, "--unit", "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["served_model_name"] == "tiny"
    assert "sudo loginctl enable-linger" in said.err
    assert "hf_secret" not in unit.read_text()
    wanted = unit.parent / "default.target.wants" / unit.name
    assert (unit.stat().st_mode & 0o777, wanted.is_symlink(), len(members(deployment)) > 0) == (
        0o600, True, True,
    )  # fmt: skip
    (first,) = [server.load(folder(name))]
    stubbed.until(lambda: events.read(folder(name))[-1].event == "ready")
    assert run(["serve", name, "--unit"]) == 0  # it runs: nothing changes
    assert server.load(folder(name)) == first
    unit_pid = tmp_path / "units" / unit.name
    os.kill(int(unit_pid.read_text()), signal.SIGKILL)
    local.keep(deployment)  # as an upgrade does
    assert user_systemd.state(unit.name) == "active"
    assert run(["stop", name]) == 0
    assert (members(deployment), wanted.is_symlink()) == ((), False)
    capsys.readouterr()
    assert run(["status", name, "--history", "--json"]) == 0
    happened = [each["event"] for each in json.loads(capsys.readouterr().out)]
    assert happened == ["asked", "started", "ready", "asked", "stopped"]
    assert run(["down", name]) == 0
    assert not unit.exists()
    assert (tmp_path / "units" / "asked").read_text().splitlines()[-1].startswith("systemctl --user")


def test_where_the_user_has_no_systemd_nothing_is_written(
    deployment: Deployment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "units" / "no-bus").touch()
    assert run(["serve", deployment.name, "--unit"]) == 11
    said = capsys.readouterr().err.splitlines()
    assert said[-2].endswith("here: Failed to connect to bus: No medium found.")
    assert f"corral serve {deployment.name} --supervise" in said[-1]
    assert not user_systemd.folder().exists()
    assert run(["serve", deployment.name, "--unit", "--supervise"]) == 2


def test_a_unit_is_taken_away_where_no_systemd_answers(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    unit = user_systemd.file(user_unit.unit(deployment.name))
    wanted = unit.parent / "default.target.wants" / unit.name
    wanted.parent.mkdir(parents=True)
    unit.write_text(user_unit.text(deployment, os.environ))
    wanted.symlink_to(unit)
    monkeypatch.setenv("PATH", "/nowhere")
    assert run(["down", deployment.name]) == 0
    assert (unit.exists(), wanted.is_symlink()) == (False, False)


def test_a_unit_that_systemd_does_not_stop_is_not_started_at_boot_all_the_same(
    deployment: Deployment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unit = user_systemd.file(user_unit.unit(deployment.name))
    wanted = unit.parent / "default.target.wants" / unit.name
    wanted.parent.mkdir(parents=True)
    unit.write_text(user_unit.text(deployment, os.environ))
    wanted.symlink_to(unit)
    (tmp_path / "units" / "no-bus").touch()
    assert run(["stop", deployment.name]) == 0
    assert (unit.exists(), wanted.is_symlink()) == (True, False)
    assert (
        f"unit: systemd did not stop {unit.name}: Failed to connect to bus: No medium found"
        in capsys.readouterr().err
    )


def test_systemd_itself_reads_the_file(deployment: Deployment, tmp_path: Path, need: Any) -> None:
    if not shutil.which("systemd-analyze"):
        need("systemd-analyze", "systemd is not installed")
    unit = tmp_path / user_unit.unit(deployment.name)
    unit.write_text(user_unit.text(deployment, os.environ))
    verify = ["systemd-analyze", "verify", "--man=no", str(unit)]
    done = subprocess.run(verify, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
