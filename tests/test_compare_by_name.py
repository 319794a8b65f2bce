"""`corral compare NAME`: the plan of a deployment, and the newest probe that was made of it by its name."""

import json
from pathlib import Path
from typing import Any

import pytest
from test_compare import DATA, HAIKU, PLAN, PROBE

from deploy import newest_probe
from deploy.cli.main import run
from deploy.cli.probe import note_newest
from deploy.targets.deployment import folder, make

GIVEN = ("--claude-model", HAIKU, "--token-ratio", "1", "--json")


@pytest.fixture(autouse=True)
def deployment() -> None:
    make(PLAN, "local", "scout").write(folder("scout") / "deployment.json")


def compared(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[dict[str, Any], str]:
    capsys.readouterr()
    assert run(["compare", *words, *GIVEN]) == 0
    said = capsys.readouterr()
    return json.loads(said.out), said.err


def test_without_a_probe_it_is_what_the_plan_predicts(capsys: pytest.CaptureFixture[str]) -> None:
    found, err = compared(capsys, "scout")
    assert found == compared(capsys, "--plan", str(DATA / "plan.json"))[0]
    assert "scout was not probed by its name: this is what its plan predicts. corral probe scout\n" in err


def test_the_newest_probe_by_its_name_is_taken(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for name in ("monday", "friday"):
        PROBE.write(tmp_path / name / "probe.json")
        note_newest("scout", tmp_path / name)
    note_newest("http://127.0.0.1:8000", tmp_path)
    note_newest("other", tmp_path)
    assert newest_probe.newest("scout") == tmp_path / "friday"
    assert sorted(path.name for path in newest_probe.link("scout").parent.iterdir()) == ["scout"]
    found, err = compared(capsys, "scout")
    assert (
        found == compared(capsys, "--plan", str(DATA / "plan.json"), "--probe", str(tmp_path / "friday"))[0]
    )
    assert f"measured: {tmp_path / 'friday'}\n" in err
    for path in (tmp_path / "friday").iterdir():
        path.unlink()
    (tmp_path / "friday").rmdir()
    assert newest_probe.newest("scout") is None


def test_what_is_taken_away_leaves_no_probe_to_the_next_of_its_name(tmp_path: Path) -> None:
    PROBE.write(tmp_path / "monday" / "probe.json")
    note_newest("scout", tmp_path / "monday")
    assert newest_probe.newest("scout") == tmp_path / "monday"
    assert run(["down", "scout"]) == 0
    assert newest_probe.newest("scout") is None
    assert (tmp_path / "monday" / "probe.json").is_file()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["scout", "--plan", "plan.json"],
            "error: scout has a plan of its own.\n"
            "hint: Leave out --plan, or the name: corral compare --plan plan.json\n",
        ),
        (
            ["plan.json"],
            "error: plan.json is a file, and no deployment.\nhint: corral compare --plan plan.json\n",
        ),
        (["scout", "--claims"], "error: --claims compares nothing.\nhint: corral compare --claims\n"),
        (
            [],
            "error: --plan is missing.\nhint: corral size scout --precision int4 --on g5.12xlarge -o plan.json\n",
        ),
    ],
    ids=["two-plans", "a-file", "claims", "neither"],
)
def test_it_is_one_of_a_name_a_plan_and_the_claims(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["compare", *words]) == 2
    assert capsys.readouterr().err == said
