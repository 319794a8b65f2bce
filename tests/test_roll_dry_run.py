"""`corral roll --dry-run`: what would be done to which replica first, with nothing changed."""

import json
from pathlib import Path

import pytest
import rack
from test_owned import deployment
from test_roll_halted import NAME, UPGRADE, Front, cut, front, starts

from deploy.cli.main import run
from deploy.releases import release, started_anew
from deploy.releases.release import Trial
from deploy.targets.deployment import folder, load
from infra.errors import ServerError

__all__ = ["front"]

OLD = release.id_of(deployment().model_copy(update={"name": NAME}), "1.0.0")


def kept(home: Path) -> dict[Path, bytes]:
    """Every file of the home."""
    return {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}


def foreseen(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, object]:
    """The JSON object of a dry run that changes nothing."""
    home, before = folder(NAME).parent, kept(folder(NAME).parent)
    capsys.readouterr()
    assert run(["roll", NAME, *words, "--dry-run", "--json"]) == 0, capsys.readouterr().err
    assert (kept(home), starts()) == (before, [0, 0])
    said: dict[str, object] = json.loads(capsys.readouterr().out)
    return said


def test_the_ill_one_would_come_first_and_nothing_is_touched(
    front: Front, capsys: pytest.CaptureFixture[str]
) -> None:
    rack.UNITS["gpu2"].now = "dead"  # type: ignore[attr-defined]
    said = foreseen(capsys)
    whole = ["drain", "wait", "restart", "canary", "ready"]
    assert said == {
        "name": NAME,
        "release": OLD,
        "previous": OLD,
        "changes": [],
        "wait_at_most_s": 60,
        "replicas": [
            {"name": name, "state": state, "detail": "1.0.0", "steps": whole, "meanwhile": "served by others"}
            for name, state in (("gpu2", "dead"), ("gpu1", "serving"))
        ],
    }
    assert front.drained == []
    assert run(["roll", NAME, "--dry-run"]) == 0
    each = "out of rotation, its requests end (at most 60 s), started anew, asked a canary, in rotation again"
    assert capsys.readouterr().out == (
        f"A roll would start {NAME} anew, which serves {OLD}, one replica after the other; nothing was changed.\n"
        f"1. gpu2, dead (1.0.0): {each}\n2. gpu1, serving: {each}\n"
    )


def test_of_another_release_it_says_how_that_differs_and_who_has_it_already(
    front: Front, capsys: pytest.CaptureFixture[str]
) -> None:
    told = foreseen(capsys, *UPGRADE)
    new = str(told["release"])
    assert (new != OLD, told["previous"], told["changes"]) == (True, OLD, ["vllm_version: 1.0.0 -> 2.0.0"])
    rack.UNITS["gpu1"].kept, front.out = new, {"gpu1"}
    assert foreseen(capsys, *UPGRADE)["replicas"] == [
        {"name": "gpu1", "state": "serving", "detail": "1.0.0", "steps": ["ready"], "meanwhile": None},
        {
            "name": "gpu2",
            "state": "serving",
            "detail": "1.0.0",
            "steps": ["drain", "wait", "upgrade", "canary", "probe", "ready"],
            "meanwhile": "served by others",
        },
    ]
    front.out = set()
    assert run(["roll", NAME, *UPGRADE, "--dry-run"]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        "changes: vllm_version: 1.0.0 -> 2.0.0",
        "1. gpu1, serving: left as it is",
        f"2. gpu2, serving: out of rotation, its requests end (at most 60 s), turned to {new}, "
        "asked a canary, measured, in rotation again",
    ]


def test_what_becomes_of_new_requests_is_said_of_each(
    front: Front, capsys: pytest.CaptureFixture[str]
) -> None:
    front.hosts = ("gpu1",)  # its gateway was started before gpu2 came
    assert run(["roll", NAME, "--dry-run"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.rpartition("; ")[2] for line in said[1:]] == [
        "no other server is well, so new requests wait in the gateway",
        "no gateway gives it its requests, so new ones are refused until it is back",
    ]


def test_what_a_roll_that_stopped_has_done_is_left(front: Front, capsys: pytest.CaptureFixture[str]) -> None:
    started_anew.note(NAME, ("gpu2",))
    assert run(["roll", NAME, "--dry-run"]) == 0
    assert capsys.readouterr().out.splitlines()[2] == "2. gpu2, serving: left as it is"


def test_it_is_refused_as_the_roll_is(
    front: Front, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rack, "require_whole", cut(ServerError("There is no vLLM here.", "Install it.")))
    for line in (["roll", NAME, "--dry-run"], ["roll", NAME]):
        if line[-1] == NAME:
            for unit in rack.UNITS.values():
                unit.end()
        assert run(line) == (2 if line[-1] == NAME else 7)
        both = capsys.readouterr().err
    assert both.startswith(f"error: {NAME} is stopped: there is nothing to roll.\n")
    assert run(["roll", NAME, "--dry-run"]) == 2
    assert capsys.readouterr().err == both


def test_of_a_trial_that_was_cut_short_it_says_that_a_roll_ends_it(
    front: Front, capsys: pytest.CaptureFixture[str]
) -> None:
    made = load(NAME)
    Trial(release="0123456789ab", begun_at=made.created_at).write(release.trial_file(NAME))
    assert run(["roll", NAME, "--dry-run"]) == 0
    said = "warning: Another release is on trial, or was when corral was killed: a roll ends that first\n"
    assert capsys.readouterr().err == said
    assert release.trial_file(NAME).exists()
