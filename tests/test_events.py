"""The history of a deployment: appended by anybody, bounded, and nothing that can stop what it tells of."""

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
import stubbed
from stubbed import Patience

from deploy import what_happened
from deploy.cli.main import run
from deploy.targets.deployment import Deployment, folder
from deploy.targets.local import place as local
from infra.onhost import history
from infra.onhost.judge import Policy
from serving.sizing.plan import Plan
from serving.vllm import events
from serving.vllm.events import Event

AT = datetime(2026, 11, 29, 17, 0, tzinfo=UTC)


def at(second: int, event: str, cause: str = "") -> Event:
    return Event(at=AT.replace(second=second), event=event, cause=cause)


def test_what_is_appended_is_read_back_in_order(tmp_path: Path) -> None:
    path = str(events.file(tmp_path))
    history.append(path, "started", "vLLM 0.33.0\nwith\x1b[2J scout", AT.timestamp())
    history.append(path, "gave up", "x" * 900, AT.timestamp() + 5.9)
    assert events.read(tmp_path) == (
        at(0, "started", "vLLM 0.33.0 with\N{REPLACEMENT CHARACTER}[2J scout"),
        at(5, "gave up", "x" * 500),
    )
    assert Path(path).stat().st_mode & 0o777 == 0o600


def test_what_is_no_line_of_it_is_passed_over(tmp_path: Path) -> None:
    events.file(tmp_path).write_bytes(
        b'\xff\n[]\n{"at": "soon", "event": "ready"}\n{"at": "2026-11-29T17:00:01Z", "event": "rea'
    )
    history.append(str(events.file(tmp_path)), "stopped", now_s=AT.timestamp())
    assert events.read(tmp_path) == (at(0, "stopped"),)


def test_it_loses_its_older_half_and_no_half_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MOST_BYTES", 2000)
    path, sizes = events.file(tmp_path), []
    for second in range(60):
        history.append(str(path), "ready", f"number {second}", AT.timestamp() + second)
        sizes.append(path.stat().st_size)
    kept = events.read(tmp_path)
    assert kept == tuple(at(second, "ready", f"number {second}") for second in range(60 - len(kept), 60))
    assert len(kept) >= 10
    assert max(sizes) <= 2000
    assert os.listdir(tmp_path) == [history.FILE]


def test_a_full_disk_a_missing_folder_and_a_link_lose_the_line_alone(tmp_path: Path) -> None:
    history.append(str(tmp_path / "no" / "history"), "started")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    history.append(str(tmp_path / "link"), "started")
    assert not (tmp_path / "elsewhere").exists()
    assert events.read(tmp_path / "no") == ()


def test_two_places_are_told_in_one_order_and_each_in_its_own_whatever_was_done_to_its_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = (at(10, "started"), at(40, "ready"), at(20, "died"), at(30, "started"))
    here = (at(5, "asked"), at(35, "stopped"))
    place = SimpleNamespace(history=lambda deployment: there)
    monkeypatch.setattr(what_happened, "place_of", lambda deployment: place)
    monkeypatch.setattr(what_happened, "folder", lambda name: tmp_path)
    monkeypatch.setattr(events, "read", lambda folder: here)
    told = what_happened.history_of(SimpleNamespace(name="scout"))  # type: ignore[arg-type]
    assert [event for event in told if event in there] == list(there)
    assert [event.event for event in told] == ["asked", "started", "stopped", "ready", "died", "started"]


def test_it_is_told_line_by_line_or_as_json() -> None:
    happened = (at(0, "started", "vLLM 0.33.0"), at(7, "ready"))
    assert events.listed(happened, as_json=False) == (
        "2026-11-29 17:00:00 UTC  started      vLLM 0.33.0\n2026-11-29 17:00:07 UTC  ready"
    )
    assert json.loads(events.listed(happened, as_json=True))[1] == {
        "at": "2026-11-29T17:00:07Z",
        "event": "ready",
        "cause": "",
    }
    assert events.listed((), as_json=False) == "Nothing is on record."


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return stubbed.a_plan(tmp_path_factory.mktemp("plan"))


def test_a_server_of_this_machine_from_its_start_to_its_end(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    deployment = stubbed.a_deployment(plan, tmp_path, monkeypatch)
    Patience(deployment, monkeypatch)
    monkeypatch.setattr(local, "preflight", lambda deployment: ())
    name = deployment.name
    deployment.write(folder(name) / "deployment.json")
    assert run(["status", "--history"]) == 2
    assert run(["status", name, "--history"]) == 0
    assert capsys.readouterr().out == "Nothing is on record.\n"
    local.serve(deployment)
    local.stop(deployment)
    local.stop(deployment)
    monkeypatch.setenv("STUB", "dies")
    assert run(["serve", name]) == 7
    assert run(["status", name]) == 7
    said = capsys.readouterr().out
    assert "dead: The server did not start: a GPU ran out of memory" in said
    assert run(["status", name, "--history", "--json"]) == 0
    happened = json.loads(capsys.readouterr().out)
    assert [each["event"] for each in happened] == ["started", "ready", "stopped", "started", "died"]
    assert happened[-1]["cause"].startswith("The server did not start: a GPU ran out of memory")
    local.stop(deployment)
    assert local.status(deployment).state == "stopped"
    assert local.down(deployment).left == ()
    assert not events.file(folder(name)).exists()


def test_a_deployment_that_was_given_up_is_told_of_so_after_a_reboot(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment: Deployment = stubbed.a_deployment(plan, tmp_path, monkeypatch)
    Patience(deployment, monkeypatch)
    monkeypatch.setattr(local, "preflight", lambda deployment: ())
    monkeypatch.setenv("STUB", "dies")
    deployment.write(folder(deployment.name) / "deployment.json")
    assert run(["serve", deployment.name]) == 7
    events.note(folder(deployment.name), "gave up", "3 starts; the last: it died")
    monkeypatch.setattr("infra.processes.boot_id", lambda: "another")
    found = local.status(deployment)
    assert (found.state, found.detail) == (
        "dead",
        f"gave up after 3 starts; the last: it died; corral status {deployment.name} --history",
    )


def lived(*told: tuple[str, float]) -> tuple[Event, ...]:
    """A history: what happened, and how many seconds after what came before."""
    found, now = [], AT
    for event, after_s in told:
        now += timedelta(seconds=after_s)
        found.append(Event(at=now, event=event))
    return tuple(found)


LOAD, LIFE = (("started", 0), ("died", 900)), (("started", 0), ("ready", 900), ("ended", 3599))
LONG = (("started", 0), ("ready", 900), ("died", 3600))


@pytest.mark.parametrize(
    ("told", "ends"),
    [
        ((), (0, 0)),
        ((*LOAD, *LIFE, *LOAD), (2, 3)),
        ((*LOAD, ("stopped", 60), *LOAD), (2, 2)),
        ((*LOAD, ("asked", 60), *LOAD), (1, 1)),
        ((*LOAD, *LONG), (0, 1)),
        ((*LOAD, *LONG, *LOAD), (1, 2)),
        ((("started", 0), ("ready", 900), ("upgraded", 1), ("died", 9)), (0, 1)),
        ((("started", 0), ("ready", 900), ("stopped", 1), ("died", 9)), (1, 1)),
        ((*LOAD, ("rolled back", 1)), (0, 0)),
        ((*LOAD, ("started", 0), ("ready", 900), ("stopped", 3599), *LOAD), (2, 2)),
        ((*LOAD, ("started", 0), ("ready", 900), ("stopped", 3600), *LOAD), (1, 1)),
    ],
)
def test_a_history_says_how_often_it_has_ended(
    told: tuple[tuple[str, float], ...], ends: tuple[int, int]
) -> None:
    assert events.ends(lived(*told), Policy()) == ends


@pytest.mark.parametrize("end", [local.stop, local.let_go])
def test_an_end_that_nobody_watched_is_on_record_before_whoever_stops_it(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: Callable[[Deployment], None]
) -> None:
    deployment = stubbed.a_deployment(plan, tmp_path, monkeypatch)
    Patience(deployment, monkeypatch)
    monkeypatch.setattr(local, "preflight", lambda deployment: ())
    local.serve(deployment)
    stubbed.kill(deployment)
    stubbed.until(lambda: not stubbed.members(deployment))
    end(deployment)
    end(deployment)
    happened = [(each.event, each.cause) for each in events.read(folder(deployment.name))]
    assert happened[2:] == [("died", happened[2][1]), *[("stopped", "")] * (end is local.stop)]
    assert happened[2][1].startswith("its log gives no reason; its last line: Loading weights took 0.02 s")


@pytest.mark.parametrize(
    ("boot", "cause"),
    [
        ("", "its log gives no reason; its last line: Loading weights took 0.02 seconds"),
        ("another", "this machine was started anew while it ran"),
    ],
)
def test_an_end_that_nobody_watched_is_on_record_before_the_next_start(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, boot: str, cause: str
) -> None:
    deployment = stubbed.a_deployment(plan, tmp_path, monkeypatch)
    Patience(deployment, monkeypatch)
    monkeypatch.setattr(local, "preflight", lambda deployment: ())
    local.serve(deployment)
    stubbed.kill(deployment)
    stubbed.until(lambda: not stubbed.members(deployment))
    if boot:
        monkeypatch.setattr("infra.processes.boot_id", lambda: boot)
    try:
        local.serve(deployment)
    finally:
        stubbed.kill(deployment)
    happened = [(each.event, each.cause) for each in events.read(folder(deployment.name))]
    assert [event for event, _ in happened] == ["started", "ready", "died", "started", "ready"]
    assert happened[2][1].startswith(cause)
