"""`corral upgrade` on this machine: two engines, a server that is really ended and started, corral killed between."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import stubbed
from stubbed import Patience, members

from deploy.cli.main import run
from deploy.launch import launch
from deploy.releases import release, short_probe
from deploy.releases.release import Figures
from deploy.targets.deployment import Deployment, folder, load
from deploy.targets.local import engines, starting
from deploy.targets.local import place as local
from deploy.targets.place import Offer
from infra import gpus
from infra.errors import ServerError, UsageError
from infra.facts import GpuFacts, GpuReport
from serving.sizing.plan import Plan
from serving.vllm import engine, events, server
from serving.vllm.endpoint import Endpoint


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return stubbed.a_plan(tmp_path_factory.mktemp("plan"))


def an_engine(place: Path, version: str, how: str = "") -> Path:
    """An environment whose vLLM is the stub, of that version, with that misbehaviour of its own."""
    (place / f"lib/python3.11/site-packages/vllm-{version}.dist-info").mkdir(parents=True)
    (place / "bin").mkdir()
    vllm = place / "bin" / "vllm"
    misbehave = f"import os\nos.environ['STUB'] = {how!r}\n"
    vllm.write_text(f"#!{sys.executable}\n{misbehave}{stubbed.STUB.read_text()}")
    vllm.chmod(0o755)
    return place


@pytest.fixture
def deployment(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployment]:
    """Served by the engine that is found; its figures are not measured here."""
    made = stubbed.a_deployment(plan, tmp_path, monkeypatch)
    monkeypatch.setenv("CORRAL_VLLM", str(an_engine(tmp_path / "old", "0.32.0") / "bin" / "vllm"))
    Patience(made, monkeypatch)

    def measured(endpoint: Endpoint, max_model_len: int | None) -> Figures:
        return Figures(output_tokens_per_s=100.0, requests=16, failed=0)

    monkeypatch.setattr(short_probe, "measured", measured)
    launch(made)
    yield made
    stubbed.kill(made)


def running(deployment: Deployment) -> tuple[Path, int]:
    """Which vLLM serves, and how many of it there are."""
    record = server.load(folder(deployment.name))
    assert record is not None
    leaders = [pid for pid in server.workers(folder(deployment.name))]
    return record.vllm.parent.parent, len(leaders)


def test_an_upgrade_here_and_back(
    deployment: Deployment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, key = deployment.name, (folder(deployment.name) / "api-key").read_text()
    new = an_engine(tmp_path / "new", "0.33.0")
    assert run(["upgrade", name, "--engine", str(new)]) == 0, capsys.readouterr().err
    assert running(deployment) == (new, 1)
    assert (load(name).engine, (folder(name) / "api-key").read_text()) == (str(new / "bin" / "vllm"), key)
    assert run(["upgrade", name, "--engine", str(an_engine(tmp_path / "bad", "0.33.1", "dies"))]) == 7
    assert "serves again.\n" in capsys.readouterr().err
    assert running(deployment) == (new, 1)
    assert run(["upgrade", name, "--rollback"]) == 0, capsys.readouterr().err
    assert running(deployment) == (tmp_path / "old", 1)
    assert run(["down", name]) == 0
    assert not folder(name).exists()


@pytest.mark.parametrize("moment", ["while it starts", "after it is accepted"])
def test_killed_in_the_middle_the_accepted_one_starts(
    moment: str,
    deployment: Deployment,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    new, name = an_engine(tmp_path / "new", "0.33.0"), deployment.name

    def die(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if child == 0:
        place, what = {
            "while it starts": (starting, "wait"),
            "after it is accepted": (local, "keep"),
        }[moment]
        setattr(place, what, die)
        run(["upgrade", name, "--engine", str(new)])
        os._exit(0)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    assert (running(deployment), release.trial_file(name).exists()) == ((new, 1), True)
    is_accepted = moment == "after it is accepted"
    assert ("cut short" in local_status(name, capsys)) is not is_accepted
    launch(load(name))
    assert running(deployment) == (new if is_accepted else tmp_path / "old", 1)
    assert (release.trial_file(name).exists(), local.status(load(name)).state) == (False, "serving")
    assert ("rolled back" in [each.event for each in events.read(folder(name))]) is not is_accepted


def local_status(name: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What `corral status` says."""
    capsys.readouterr()
    run(["status", name])
    return capsys.readouterr().out


def test_what_ends_a_server_ends_one_on_trial(
    deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release.Trial(release="0" * 12, begun_at=deployment.created_at).write(release.trial_file(deployment.name))
    assert run(["stop", deployment.name]) == 0
    assert members(deployment) == ()
    assert run(["down", deployment.name]) == 0
    assert not folder(deployment.name).exists()


def test_which_engine_is_meant(
    deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = folder(deployment.name).parent
    found = an_engine(tmp_path / "path", "0.31.0")
    monkeypatch.setenv("PATH", f"{found / 'bin'}:{os.environ['PATH']}")
    half = an_engine(home / "engine" / "0.30.0-gpu", "0.30.0")
    whole = an_engine(home / "engine" / "0.29.0-gpu", "0.29.0")
    (whole / engine.STAMP).touch()
    assert engines.chosen(deployment, "0.31.0", None).vllm == found / "bin" / "vllm"
    assert engines.chosen(deployment, "v0.32.0", None).vllm == tmp_path / "old" / "bin" / "vllm"
    assert engines.chosen(deployment, "0.29.0", None).vllm == whole / "bin" / "vllm"
    assert engines.chosen(deployment, None, str(found)).vllm == found / "bin" / "vllm"
    with pytest.raises(UsageError, match=r"There is no vLLM 0\.30\.0 on this machine"):
        engines.chosen(deployment, "0.30.0", None)  # half an install
    with pytest.raises(UsageError, match=r"is vLLM 0\.31\.0, not 0\.33\.0"):
        engines.chosen(deployment, "0.33.0", str(found))
    with pytest.raises(UsageError, match="is no engine"):
        engines.chosen(deployment, None, str(tmp_path / "nothing"))
    (half / "bin" / "vllm").unlink()
    gone = deployment.model_copy(update={"engine": str(half / "bin" / "vllm")})
    assert local.missing(gone) == f"its engine {half / 'bin' / 'vllm'}"
    with pytest.raises(ServerError, match="release is not there any more"):
        engines.engine_of(gone)


def test_the_memory_of_gpus_that_its_own_server_has_keeps_no_release_from_coming(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = GpuFacts(
        index=0, name="NVIDIA H100 80GB HBM3", uuid="a", memory_total_mib=81559, memory_used_mib=75000,
        compute_capability=9.0,
    )  # fmt: skip
    monkeypatch.setattr(gpus, "report", lambda: GpuReport(driver_version="580.95.05", gpus=(held,)))
    machine = deployment.plan.machine.model_copy(update={"gpu_count": 1, "gpu": "H100"})
    wanted = deployment.model_copy(update={"plan": deployment.plan.model_copy(update={"machine": machine})})
    offered: list[Offer] = []

    class Enough(Exception):
        """It was offered."""

    def approve(offer: Offer) -> None:
        offered.append(offer)
        raise Enough

    def gpu_checks() -> list[tuple[str, str]]:
        with pytest.raises(Enough):
            local.bring(wanted, (), approve)
        return [(check.name, check.outcome) for check in offered.pop().checks if check.name.startswith("gpu")]

    assert gpu_checks() == [("gpu", "ok")]
    local.stop(deployment)
    assert gpu_checks() == [("gpu", "ok"), ("gpu 0", "failed")]


def test_an_engine_for_gpus_is_installed_beside_the_others(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """uv is not run: what it would be asked, and that half an install is made again."""
    asked: list[tuple[str, ...]] = []

    def run_uv(arguments: tuple[str, ...], _: object) -> str:
        asked.append(arguments)
        if arguments[0] == "pip":
            an_engine(home / "engine" / "0.33.0-gpu", "0.33.0")
        return ""

    home = folder(deployment.name).parent
    monkeypatch.setattr(engine, "run_uv", run_uv)
    monkeypatch.setattr(engine, "check_disk", lambda *_: None)
    machine = deployment.plan.machine.model_copy(update={"gpu_count": 1})
    plan = deployment.plan.model_copy(update={"machine": machine, "vllm_version": "0.33.0"})
    wanted = local.with_engine(deployment.model_copy(update={"plan": plan}), "0.33.0", None)
    (home / "engine" / "0.33.0-gpu").mkdir(parents=True)
    for _ in range(2):  # the second time it is there
        there = engines.install(wanted)
        assert (there.vllm, there.version) == (home / "engine/0.33.0-gpu/bin/vllm", "0.33.0")
    assert [words[0] for words in asked] == ["venv", "pip"]
    assert asked[1][-1] == "vllm==0.33.0"


def test_a_roll_here_starts_the_server_anew_or_with_the_next_engine(
    deployment: Deployment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As where there are several replicas; nobody who supervises it takes its end for a wish."""
    name, before = deployment.name, server.workers(folder(deployment.name))
    alone = f"No gateway gives {name} its requests: it finishes those it has, and refuses others until it is back.\n"
    assert run(["roll", name]) == 0, capsys.readouterr().err
    assert alone in capsys.readouterr().err
    assert running(deployment) == (tmp_path / "old", 1)
    assert server.workers(folder(name)) != before
    assert (load(name).release, release.trial_file(name).exists()) == ("", False)
    new = an_engine(tmp_path / "new", "0.33.0")
    assert run(["roll", name, "--engine", str(new)]) == 0, capsys.readouterr().err
    assert (running(deployment), load(name).release != "") == ((new, 1), True)
