"""`corral upgrade` on an owned host that is a folder: brought beside, tried for one boot, kept, or taken back."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from fake_box import Box, setup
from test_owned_line import Corral
from test_owned_line import box as box
from test_owned_line import corral as corral
from test_owned_line import plan as plan
from test_owned_line import provisioned as provisioned

from deploy.cli.main import run
from deploy.releases import canary, release, short_probe
from deploy.releases.release import Figures
from deploy.targets.deployment import load
from deploy.what_happened import history_of
from infra.host_files import host_files
from serving.vllm import events
from serving.vllm.endpoint import Endpoint

UNIT, JUDGE = "corral-scout.service", "corral-scout.judge.service"
KEPT, TRIAL = Path("etc/systemd/system"), Path("run/systemd/system.control")
OTHERS = "/opt/corral/.releases/scout"


@pytest.fixture
def serving(provisioned: Box, corral: Corral, monkeypatch: pytest.MonkeyPatch) -> Box:
    """The host with its server; how fast that is, is not measured."""

    def measured(endpoint: Endpoint, max_model_len: int | None) -> Figures:
        return Figures(output_tokens_per_s=100.0, requests=16, failed=0)

    monkeypatch.setattr(short_probe, "measured", measured)
    assert corral("serve", "scout")[0] == 0
    return provisioned


@pytest.fixture
def engine(tmp_path: Path) -> str:
    """The next engine, here."""
    prefix = tmp_path / "next"
    (prefix / "lib/python3.11/site-packages/vllm-0.33.1.dist-info").mkdir(parents=True)
    (prefix / "lib/vllm").mkdir()
    (prefix / "pyvenv.cfg").touch()
    return str(prefix)


def engine_of(box: Box, place: Path) -> str:
    """Whose engine the server's unit of that place runs: a release's id, "first", or "" where there is no such unit."""
    path = box.folder / place / UNIT
    if not path.exists():
        return ""
    words = next(line for line in path.read_text().splitlines() if line.startswith("ExecStart="))
    begun = words.partition('"')[2].partition("/engine/")[0]
    return "first" if begun == "/opt/corral/scout" else begun.rpartition("/")[2]


def runs(box: Box) -> str:
    """The same of the server that runs."""
    pid = int((box.folder / f"{UNIT}.pid").read_text())
    words = Path(f"/proc/{pid}/cmdline").read_text() + Path(f"/proc/{pid}/environ").read_text()
    model = next(word for word in words.split("\0") if word.endswith("/model"))
    return "first" if "/.releases/" not in model else Path(model).parent.name


def test_the_next_options_are_tried_for_one_boot_then_kept_and_the_way_back(
    serving: Box, corral: Corral, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine is the same: its files are there under a second name, and take no room twice."""
    key, deployed = serving.path("/opt/corral/scout/secrets.env").read_text(), load("scout").plan
    seen: list[tuple[str, str, str]] = []

    def answer(*_: Any) -> canary.Answer:
        seen.append((runs(serving), engine_of(serving, KEPT), engine_of(serving, TRIAL)))
        return canary.Answer(text="a", tokens=("a",))

    monkeypatch.setattr(canary, "asked", answer)
    serve = deployed.serve.model_copy(update={"max_num_seqs": 7})
    deployed.model_copy(update={"serve": serve}).write(tmp_path / "plan2.json")
    code, _, said = corral("upgrade", "scout", str(tmp_path / "plan2.json"), "--yes")
    assert code == 0, said
    new = load("scout").release
    assert seen == [("first", "first", ""), (new, "first", new)]  # a boot meanwhile would start the first
    assert (runs(serving), engine_of(serving, KEPT), engine_of(serving, TRIAL)) == (new, new, "")
    marks = [serving.path(f"{place}/engine/.complete") for place in ("/opt/corral/scout", f"{OTHERS}/{new}")]
    assert len({mark.stat().st_ino for mark in marks}) == 1
    assert serving.path("/opt/corral/scout/secrets.env").read_text() == key
    assert f'"release": "{new}"' in serving.path("/opt/corral/scout/record.json").read_text()

    marks[0].rename(tmp_path / "mark")
    before = release.before("scout", new).id
    # Its host keeps what became of it, in one order with what happens to the server there.
    (happened,) = events.parsed(serving.path("/opt/corral/scout/history.jsonl").read_bytes())
    plan = load("scout").plan
    assert (happened.event, happened.cause) == (
        "upgraded",
        f"from {before} to {new}, vLLM {plan.vllm_version}",
    )
    assert history_of(load("scout")) == (happened,)
    code, _, said = corral("upgrade", "scout", "--rollback")
    assert (code, said.splitlines()[0]) == (
        2,
        f"error: The release before this one, {before}, is not there any more: its engine "
        f"{serving.folder}/opt/corral/scout/engine on gpu-1.",
    )
    (tmp_path / "mark").rename(marks[0])
    code, _, said = corral("upgrade", "scout", "--rollback")
    assert code == 0, said
    assert (runs(serving), engine_of(serving, KEPT), engine_of(serving, TRIAL)) == ("first", "first", "")
    assert corral("down", "scout")[0] == 0
    assert list((serving.folder / "opt").rglob("*scout*")) == []
    assert [path.name for path in (serving.folder / "run").rglob("*scout*")] == ["corral-scout.lock"]


def test_killed_in_the_middle_of_another_engine_the_accepted_one_starts(
    serving: Box, corral: Corral, engine: str
) -> None:
    def die(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if child == 0:
        canary.require_sense = die  # type: ignore[assignment]
        run(["upgrade", "scout", "--engine", engine, "--yes"])
        os._exit(0)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    tried = release.trial("scout")
    assert tried is not None
    assert (runs(serving), engine_of(serving, KEPT)) == (tried.release, "first")
    code, _, said = corral("serve", "scout")
    assert code == 0, said
    assert (runs(serving), engine_of(serving, KEPT), engine_of(serving, TRIAL)) == ("first", "first", "")
    assert not release.trial_file("scout").exists()


def test_what_prepares_a_release_is_all_there() -> None:
    """Every script and module of its own folder that its preparation comes to, and the unit that it puts in place."""
    files = host_files(setup(rented=False, ttl_minutes=None, idle_minutes=None, release="0123456789ab"))
    own = f"{OTHERS}/0123456789ab"
    first = host_files(setup(rented=False, ttl_minutes=None, idle_minutes=None))
    library = {file.path.removeprefix("/opt/corral/scout/") for file in first if "/lib/" in file.path}
    assert library
    names = {file.path.removeprefix(f"{own}/") for file in files}
    assert names == {
        "setup.env", "server.env", "bin/prepare", "bin/phase", "bin/owned", "bin/idle", "gpus",
        f"units/{UNIT}", f"units/{JUDGE}", *library,
    }  # fmt: skip
    texts = {file.path.removeprefix(f"{own}/"): file.content for file in files}
    assert "API_KEY=none\n" in texts["setup.env"]  # there is one already, and it stays
    unit = texts[f"units/{UNIT}"]
    assert f"ConditionPathExists={own}/engine/.complete\n" in unit
    assert f"EnvironmentFile={own}/server.env\n" in unit
    assert "ExecStartPre=+/opt/corral/scout/bin/lock on scout\n" in unit
    assert texts[f"units/{JUDGE}"] == next(file.content for file in first if file.path.endswith(JUDGE))
