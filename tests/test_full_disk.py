"""Ending a server, looking at it and reading its log where nothing can be written: on disks that are really full or
read-only, in a mount namespace of their own; and for hosts and rented machines with a disk that refuses every write."""

import errno
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NoReturn

import pytest
import stubbed
from bad_disk import CLOSED, FULL, Disk
from renting import fresh
from stubbed import Patience, members

from deploy.cli.main import run
from deploy.targets.deployment import Deployment, folder, home
from deploy.targets.ec2 import documents
from deploy.targets.local import place as local
from infra.aws import session
from infra.aws.api import Aws
from infra.errors import HostError
from serving.sizing.plan import Plan

CORRAL = f"{sys.executable} -c 'from deploy.cli.start import main; main()'"
SCRIPT = """
mount -t tmpfs -o size=9g,mode=700 none "$CORRAL_HOME" || exit 99
corral() { echo "== $*"; %(corral)s "$@" 2>&1; echo "rc $?"; }
corral serve plan.json --name t >/dev/null
mount -o remount,size=2m "$CORRAL_HOME" || exit 96
pid=$(sed -n 's/.*"pid": \\([0-9]*\\),.*/\\1/p' "$CORRAL_HOME/t/server.json")
%(spoil)s
echo x > "$CORRAL_HOME/t/one-more" && [ -s "$CORRAL_HOME/t/one-more" ] && exit 98
corral status t
corral logs t
corral stop t
readlink "/proc/$pid/exe" >/dev/null && { kill -9 "$pid"; exit 97; }
corral status t
corral down t
exit 0
"""
FILL = "dd if=/dev/zero of=$CORRAL_HOME/fill bs=4k 2>/dev/null; dd if=/dev/zero of=$CORRAL_HOME/t/last bs=1 2>/dev/null"
CLOSE = "mount --bind $CORRAL_HOME $CORRAL_HOME; mount -o remount,bind,ro $CORRAL_HOME"


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return stubbed.a_plan(tmp_path_factory.mktemp("plan"))


@pytest.fixture
def deployment(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployment]:
    """A tiny model's deployment whose vLLM is the stub; whatever the test leaves running is ended."""
    made = stubbed.a_deployment(plan, tmp_path, monkeypatch)
    Patience(made, monkeypatch)
    yield made
    stubbed.kill(made)


@pytest.fixture
def on_a_real_disk(
    deployment: Deployment, tmp_path: Path, need: Callable[[str, str], NoReturn]
) -> Callable[[str], dict[str, tuple[int, str]]]:
    """Serve on a small disk of its own, spoil it, then look, stop and take away: by command, what each said."""

    def play(spoil: str) -> dict[str, tuple[int, str]]:
        deployment.plan.write(tmp_path / "plan.json")
        # Too long for a socket's path wherever the tests run, so the server's TMPDIR is never on the small disk.
        home = tmp_path / ("small" + 70 * "-")
        home.mkdir()
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-c", SCRIPT % {"corral": CORRAL, "spoil": spoil}],
            cwd=tmp_path,
            env=os.environ | {"CORRAL_HOME": str(home), "PYTHONPATH": str(Path(__file__).parent.parent)},
            capture_output=True,
            text=True,
            check=False,
        )
        if os.getuid() or done.returncode in (1, 99):
            need("fleet", "only root mounts a small disk")
        assert done.returncode == 0, (done.stdout, done.stderr)
        said = re.findall(r"^== (\w+) .*\n((?:.*\n)*?)rc (\d+)$", done.stdout, re.MULTILINE)
        return {
            f"{number} {verb}": (int(code), plain(text, home))
            for number, (verb, text, code) in enumerate(said)
        }

    return play


def plain(text: str, home: Path) -> str:
    """What was said, without the folder, the port and the time."""
    text = re.sub(r"(?<=127.0.0.1:)\d+", "PORT", text.replace(str(home), "HOME"))
    return re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "NOW", text)


Play = Callable[[str], dict[str, tuple[int, str]]]
SERVING = (
    "t (local): serving at http://127.0.0.1:PORT: it answered a completion\n"
    "Next: corral probe t --concurrency 16 --requests 200 --input-tokens 1000 --output-tokens 1000\n"
)
STOPPED = "t (local): stopped: since NOW UTC\nNext: corral serve t\n"
LOADED = "(Worker pid=1) INFO 11-24 02:40:39 [default_loader.py:501] Loading weights took 0.02 seconds\n"
ASKED = "stop: asking the server to end, for up to 1 s while requests finish\n"


def test_a_server_on_a_full_disk_is_seen_stopped_and_taken_away(on_a_real_disk: Play) -> None:
    assert on_a_real_disk(FILL) == {
        "0 status": (0, SERVING),
        "1 logs": (0, LOADED),
        "2 stop": (0, ASKED + STOPPED),
        "3 status": (0, STOPPED),
        "4 down": (0, "processes  0\nfiles      0\nNothing of t is left.\n"),
    }


def test_a_server_that_died_on_a_full_disk_says_that_it_is_full(on_a_real_disk: Play) -> None:
    dead = (
        "t (local): dead: its log gives no reason; its last line: Loading weights took 0.02 seconds; "
        "HOME/t takes nothing more: No space left on device; make room there (df -h HOME/t)\nNext: corral logs t\n"
    )
    found = on_a_real_disk(f"{FILL}; kill -9 -$pid")
    assert (found["0 status"], found["4 down"][0]) == ((7, dead), 0)


def test_a_server_on_a_read_only_disk_is_seen_and_ended_and_what_cannot_be_removed_is_named(
    on_a_real_disk: Play,
) -> None:
    closed = "Read-only file system"
    unnoted = (
        f"stop: it has ended, which could not be noted: HOME/t/server.json cannot be written: {closed}.\n"
    )
    ended = (
        "t (local): unknown: it has ended; HOME/t cannot be written, so nobody noted how; "
        "its log gives no reason; its last line: Loading weights took 0.02 seconds\n"
        "Next: corral status --history t\n"
    )
    found = on_a_real_disk(CLOSE)
    code, said = found.pop("4 down")
    assert found == {
        "0 status": (0, SERVING),
        "1 logs": (0, LOADED),
        "2 stop": (0, ASKED + unnoted + ended),
        "3 status": (7, ended),
    }
    names = ("server.json", "api-key", "history.jsonl", "vllm.log", ".lock")
    files = [f"left: file HOME/t/{name}: {closed}" for name in names]
    assert (code, said.splitlines()[1:-2]) == (10, ["processes  0", "files      5", *files])


@pytest.mark.parametrize(
    ("number", "calls"), [(errno.ENOSPC, FULL), (errno.EROFS, CLOSED), (errno.EACCES, CLOSED)]
)
def test_a_rented_machine_is_seen_and_taken_away_where_nothing_can_be_written(
    number: int,
    calls: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tunnels: None,
) -> None:
    aws, clock = fresh()
    monkeypatch.setattr(documents, "Boto", lambda: aws)
    monkeypatch.setattr(documents, "Aws", partial(Aws, sleep=clock.sleep, clock=clock))
    plan = str(tmp_path / "plan.json")
    assert run(["size", "scout", "--precision", "int4", "--on", "g5.12xlarge", "-o", plan]) == 0
    assert run(["provision", plan, "--target", "ec2", "--name", "t1", "--yes"]) == 0
    (folder("t1") / ".lock").unlink()
    clock.sleep(600)
    monkeypatch.setattr(session, "require_plugin", lambda: None)
    monkeypatch.setattr(session, "forward", lambda *asked: ["sleep", "600"])
    answer = session.Answer(text="VLLM_API_KEY=sk-1\n", exit_code=0)
    monkeypatch.setattr(session, "run", lambda *asked: answer)
    capsys.readouterr()
    with monkeypatch.context() as patch:
        disk = Disk(home(), number, calls).patched(patch)
        assert run(["status", "t1", "--json"]) == 0
        assert "tunnel.json cannot be written" in json.loads(capsys.readouterr().out)["detail"]
        assert run(["logs", "t1"]) == 0
        assert capsys.readouterr().out == "VLLM_API_KEY=sk-1\n"
        assert run(["stop", "t1", "--json"]) == 0
        said, told = capsys.readouterr()
        assert (json.loads(said)["state"], "stop: going on without a lock: " in told) == ("stopped", True)
        code = run(["down", "t1", "--json"])
    said, told = capsys.readouterr()
    found = json.loads(said)
    assert aws.live() == []
    assert set(found["counts"].values()) == {0}
    assert "down: going on without a lock: " in told
    kept = ["order.json", "deployment.json"] if "unlink" in calls else []
    assert found["left"] == [f"file {folder('t1') / name}: {os.strerror(number)}" for name in kept]
    assert code == (10 if kept else 0)
    assert "open" in disk.asked  # the ledger


def test_nothing_is_rented_where_nothing_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    aws, _ = fresh()
    monkeypatch.setattr(documents, "Boto", lambda: aws)
    plan = str(tmp_path / "plan.json")
    assert run(["size", "scout", "--precision", "int4", "--on", "g5.12xlarge", "-o", plan]) == 0
    Disk(home(), errno.EROFS, CLOSED).patched(monkeypatch)
    assert run(["provision", plan, "--target", "ec2", "--name", "t1", "--yes"]) == 11
    assert "cannot be written: Read-only file system." in capsys.readouterr().err
    assert aws.calls == []


def test_a_start_on_a_full_disk_is_one_sentence_and_leaves_no_process(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each write of a start is refused in turn, with all that follow."""
    refused, at = True, 0
    while refused:
        at += 1
        with monkeypatch.context() as patch:
            disk = Disk(home(), errno.ENOSPC, FULL, at).patched(patch)
            try:
                local.serve(deployment)
            except (HostError, OSError):
                assert members(deployment) == (), at
            refused = len(disk.asked) >= at
    assert at > 4
    assert local.status(deployment).state == "serving"
