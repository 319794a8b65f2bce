"""A deployment's name is enough: `compare`, `report`, `calibrate` and `export` find its plan and its newest probe."""

import json
from pathlib import Path
from typing import Any

import pytest
from test_compare import DATA, HAIKU, PLAN, PROBE

from deploy.cli.main import run
from deploy.cli.probe import note_newest
from deploy.newest import link, newest
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
    assert newest("probes", "scout") == tmp_path / "friday"
    assert sorted(path.name for path in link("probes", "scout").parent.iterdir()) == ["scout"]
    found, err = compared(capsys, "scout")
    assert (
        found == compared(capsys, "--plan", str(DATA / "plan.json"), "--probe", str(tmp_path / "friday"))[0]
    )
    assert f"measured: {tmp_path / 'friday'}\n" in err
    for path in (tmp_path / "friday").iterdir():
        path.unlink()
    (tmp_path / "friday").rmdir()
    assert newest("probes", "scout") is None


def test_what_is_taken_away_leaves_no_probe_to_the_next_of_its_name(tmp_path: Path) -> None:
    PROBE.write(tmp_path / "monday" / "probe.json")
    note_newest("scout", tmp_path / "monday")
    assert newest("probes", "scout") == tmp_path / "monday"
    assert run(["down", "scout"]) == 0
    assert newest("probes", "scout") is None
    assert (tmp_path / "monday" / "probe.json").is_file()


def test_its_comparison_is_kept_and_its_page_made_by_the_name(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A newer probe is not compared yet; where a folder is named, the comparison is there."""
    assert run(["report", "scout"]) == 4
    none = "error: scout was not compared by its name.\nhint: Compare it: corral compare scout\n"
    assert capsys.readouterr() == ("", none)
    PROBE.write(tmp_path / "monday" / "probe.json")
    note_newest("scout", tmp_path / "monday")
    found, _ = compared(capsys, "scout")
    kept = newest("comparisons", "scout")
    assert kept is not None
    assert sorted(path.name for path in kept.iterdir()) == ["comparison.json", "plan.json", "probe.json"]
    assert run(["report", "scout", "--json"]) == 0
    out, err = capsys.readouterr()
    assert (json.loads(out), err) == (found, f"report written to {kept / 'report.html'}\n")
    note_newest("scout", tmp_path / "monday")
    assert (run(["report", "scout"]), capsys.readouterr().err) == (4, none)
    compared(capsys, "scout", "--output", str(tmp_path / "here"))
    assert run(["report", "scout"]) == 0
    assert capsys.readouterr().err == f"report written to {tmp_path / 'here' / 'report.html'}\n"


def test_where_the_home_takes_no_file_the_answer_is_told_all_the_same(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    found, _ = compared(capsys, "scout")
    folder = link("comparisons", "scout").parent
    folder.rename(tmp_path / "moved")
    folder.write_text("a file where the folder should be")
    again, err = compared(capsys, "scout")
    assert again == found
    assert err.splitlines()[-1].startswith(f"warning: Not kept for `corral report scout`: {folder}/")
    assert run(["compare", "scout", *GIVEN, "--output", str(folder / "x")]) == 11


def test_calibrate_takes_its_plan_and_its_newest_probe(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(["calibrate", "scout"]) == 4
    assert capsys.readouterr().err.splitlines() == [
        "error: scout was not probed by its name.", "hint: Probe it: corral probe scout",
    ]  # fmt: skip
    probe = tmp_path / "monday" / "probe.json"
    PROBE.write(probe)
    note_newest("scout", probe.parent)
    assert run(["calibrate", "scout"]) == 0
    by_name = capsys.readouterr()
    assert run(["calibrate", str(probe), "--plan", str(DATA / "plan.json")]) == 0
    assert capsys.readouterr() == by_name
    assert run(["calibrate", "scout", "--plan", str(DATA / "plan.json")]) == 2
    assert capsys.readouterr().err == "error: scout has a plan of its own.\nhint: Leave out --plan.\n"


def test_export_takes_its_plan(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["export", "scout", "--to", "compose", "--name", "a"]) == 0
    by_name = capsys.readouterr()
    assert run(["export", str(DATA / "plan.json"), "--to", "compose", "--name", "a"]) == 0
    assert capsys.readouterr() == by_name
    assert run(["export", "nobody", "--to", "compose"]) == 4
    assert "error: There is no deployment called 'nobody' in" in capsys.readouterr().err


def test_a_name_that_is_a_file_or_a_model_too_is_told_apart(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("scout").mkdir()
    said = "scout is the deployment of that name; what lies here is called ./scout\n"
    for words in (
        ["export", "scout", "--to", "compose"],
        ["report", "scout"],
        ["serve", "scout", "--dry-run"],
    ):
        run(words)
        assert capsys.readouterr().err.startswith(said)
    dry = ["--on", "g5.12xlarge", "--precision", "int4", "--dry-run"]
    assert run(["up", "scout", *dry]) == 0
    assert capsys.readouterr().err.splitlines()[0] == (
        "scout is the model here; the deployment of that name: corral serve scout"
    )
    make(PLAN, "local", "mine").write(folder("mine") / "deployment.json")
    assert run(["up", "mine", *dry]) == 2
    assert capsys.readouterr().err == (
        "error: A plan says already which machine it is for, and for which workload.\nhint: Leave out --precision int4 "
        "--on g5.12xlarge, or name a model: corral up scout --precision int4 --on g5.12xlarge\n"
    )


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


SIMULATED = ("--requests-per-s", "1", "--replicas", "1", "--hours", "0.1", "--json")


@pytest.mark.parametrize(
    "words",
    [
        ("simulate", "{}", *SIMULATED),
        ("provision", "{}", "--dry-run", "--json"),
        ("up", "{}", "--dry-run", "--json"),
        ("up", "{}", "--dry-run", "--name", "next"),
        ("serve", "{}", "--dry-run", "--json"),
        ("export", "{}", "--to", "compose", "--name", "mine"),
        ("bundle", "create", "{}", "-o", "there"),
        ("fetch", "{}", "--offline"),
        ("upgrade", "other", "{}"),
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_a_name_is_as_good_as_its_plan(
    words: tuple[str, ...],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever a verb says to the plan's file it says to the name."""
    monkeypatch.chdir(tmp_path)
    PLAN.write(tmp_path / "plan.json")
    for name in ("mine", "other"):
        make(PLAN, "local", name).write(folder(name) / "deployment.json")
    # Of a plan for EC2 this has to be said, and of a deployment that is here has not.
    here = ("--target", "local") if words[0] in ("provision", "up") else ()
    is_new = words[0] in ("provision", "up", "serve") and "--name" not in words
    by_file = [
        word.replace("{}", "plan.json") for word in (*words, *(("--name", "mine") if is_new else ()), *here)
    ]
    said = [
        (run(by_file), capsys.readouterr()),
        (run([word.replace("{}", "mine") for word in words]), capsys.readouterr()),
    ]
    assert said[0] == said[1]
    assert "does not expect" not in said[0][1].err


def test_what_only_something_new_takes_is_refused_for_a_deployment(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make(PLAN, "local", "mine").write(folder("mine") / "deployment.json")
    make(PLAN, "ec2", "cloud").write(folder("cloud") / "deployment.json")
    for words, said in (
        (["up", "mine", "--target", "ec2"], "mine is a deployment on local already."),
        (["provision", "mine", "--lora", "a=./b"], "mine has adapters of its own."),
        (["up", "cloud"], "cloud is a deployment already, and rented."),
        (["simulate", "mine", "--on", "8xH100", *SIMULATED], "'mine' is not a model corral knows."),
        (["doctor", "mine", "--ttl", "5h"], "mine is a deployment, which is looked at as it is."),
    ):
        assert run([*words, "--dry-run"] if words[0] in ("up", "provision") else words) == 2, words
        assert capsys.readouterr().err.splitlines()[-2] == f"error: {said}"
    monkeypatch.setenv("CORRAL_TARGET", "ec2")  # kept for what is new
    assert run(["up", "mine", "--dry-run"]) == 0


def test_a_fleet_is_made_ready_again_where_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bank = make(PLAN, "ssh", "bank").model_copy(update={"hosts": ("ops@gpu-1", "ops@gpu-2")})
    bank.write(folder("bank") / "deployment.json")
    monkeypatch.setenv("CORRAL_HOST", "ops@another")
    assert run(["up", "bank", "--dry-run", "--json"]) == 0
    assert [each["host"] for each in json.loads(capsys.readouterr().out)] == ["ops@gpu-1", "ops@gpu-2"]


def test_a_probe_is_shown_and_compared_by_name(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(["probe", "report", "scout"]) == 4
    none = "error: scout was not probed by its name.\nhint: Probe it: corral probe scout\n"
    assert capsys.readouterr().err == none
    results, another = tmp_path / "monday", tmp_path / "tuesday"
    results.mkdir()
    note_newest("scout", results)
    for verb, missing in ((["report"], results), (["diff", str(another)], another)):
        by_file = (run(["probe", *verb, str(results)]), capsys.readouterr())
        assert by_file == (run(["probe", *verb, "scout"]), capsys.readouterr())
        assert by_file[1].err.startswith(f"error: There are no probe results at {missing}")
    assert run(["probe", "diff", str(results), "scout"]) == 2
    assert capsys.readouterr().err.startswith(f"error: {results} is named twice")
