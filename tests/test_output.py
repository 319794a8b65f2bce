"""What a line names to be written is written over nothing of another kind, and refused before anything is done."""

from collections.abc import Callable
from pathlib import Path

import pytest
from bundling import an_engine

from deploy.cli.main import run
from deploy.costs.comparison import Comparison
from infra.egress_proof import Egress
from infra.errors import UsageError
from infra.output import refuse_another, write_form
from serving.sizing import plan_plot
from serving.sizing.plan import Plan
from serving.vllm.engine import Engine
from serving.vllm.pack import pack_file

MINE = "What I wrote last night.\n"
PAGE = "<!doctype html>\n<title>probe</title>\n"
Writes = Callable[[Path], object]
WRITERS: dict[str, tuple[str, Writes]] = {
    "plan of corral's": ("plan.json", lambda path: refuse_another(path, Plan)),
    "egress report of corral's": ("egress.json", lambda path: refuse_another(path, Egress)),
    "page": ("page.html", lambda path: write_form(path, PAGE, "page")),
    "picture of that kind": ("scout.svg", plan_plot.check),
    "packed engine": (
        "engine.tar",
        lambda path: pack_file(
            Engine(vllm=path.parent / "env/bin/vllm", version="0.33.0", origin="PATH"), path
        ),
    ),
}
"""What is no such file -> a name for it, and what writes it or begins to."""


@pytest.mark.parametrize("what", WRITERS)
def test_a_file_of_another_kind_is_left_as_it_is(what: str, tmp_path: Path) -> None:
    name, write = WRITERS[what]
    path = tmp_path / name
    path.write_text(MINE)
    with pytest.raises(UsageError) as caught:
        write(path)
    assert (caught.value.message, caught.value.hint) == (
        f"{path} is there and is no {what}.",
        f"Name another file, or remove that one: rm {path}",
    )
    assert path.read_text() == MINE


@pytest.mark.parametrize("what", [what for what in WRITERS if what != "packed engine"])
def test_where_there_is_no_folder_none_is_made(what: str, tmp_path: Path) -> None:
    """`-o /nonexist/plan.json` made the folder."""
    name, write = WRITERS[what]
    path = tmp_path / "slip" / "of" / name
    with pytest.raises(UsageError) as caught:
        write(path)
    assert (caught.value.message, caught.value.hint) == (
        f"{path} cannot be written: there is no folder {path.parent}.",
        f"Name another place, or make that folder first: mkdir -p {path.parent}",
    )
    assert not (tmp_path / "slip").exists()


@pytest.mark.parametrize("verb", ["size scout --on g5.12xlarge", "capacity scout --requests-per-s 2"])
@pytest.mark.parametrize("option", ["-o slip/plan.json", "--plot slip/plan.svg"])
def test_a_verb_makes_no_folder_for_one_file(
    verb: str,
    option: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run([*verb.split(), *option.split()]) == 2
    name = option.split()[1]
    assert capsys.readouterr().err == (
        f"error: {name} cannot be written: there is no folder slip.\n"
        "hint: Name another place, or make that folder first: mkdir -p slip\n"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("what", WRITERS)
def test_an_empty_one_is_written(what: str, tmp_path: Path) -> None:
    an_engine(tmp_path / "env")
    name, write = WRITERS[what]
    (tmp_path / name).touch()
    write(tmp_path / name)


@pytest.mark.parametrize("verb", ["size scout --on g5.12xlarge", "capacity scout --requests-per-s 2"])
def test_a_plan_is_written_over_a_plan_alone(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    notes, plan = tmp_path / "x.md", tmp_path / "plan.json"
    notes.write_text(MINE)
    words = [*verb.split(), "--precision", "int4", "-o"]
    assert run([*words, "x.md"]) == 2
    assert capsys.readouterr() == (
        "",
        "error: x.md is there and is no plan of corral's.\n"
        "hint: Name another file, or remove that one: rm x.md\n",
    )
    assert notes.read_text() == MINE
    plan.write_text('{"document": "plan", "schema_version": 99}')
    assert run([*words, "plan.json"]) == 0
    assert Plan.read(plan).precision == "int4"
    assert run([*words, "/dev/stdout"]) == 0


def test_what_is_there_is_known_by_what_it_says_that_it_is(tmp_path: Path) -> None:
    plan, page = tmp_path / "plan.json", tmp_path / "page"
    plan.write_text('{"document": "plan"}')
    refuse_another(plan, Plan)
    with pytest.raises(UsageError):
        refuse_another(plan, Comparison)
    for leads_to in ("nowhere", "plan.json"):
        link = tmp_path / f"link to {leads_to}"
        link.symlink_to(leads_to)
        refuse_another(link, Comparison)  # the link is replaced, and what it leads to is left
    write_form(page, PAGE, "page")
    write_form(page, f"{PAGE}<p>again", "page")
    assert page.read_text() == f"{PAGE}<p>again"
    with pytest.raises(UsageError):
        write_form(page, "time,tokens\n", "table")
    (tmp_path / "link.svg").symlink_to("plan.json")
    with pytest.raises(UsageError):
        plan_plot.check(tmp_path / "link.svg")
    (tmp_path / "scout.svg").write_text("<?xml version='1.0'?>\n<svg/>")
    plan_plot.check(tmp_path / "scout.svg")
