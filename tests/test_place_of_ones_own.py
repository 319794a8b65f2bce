"""A new place is one folder and one row in the table: a cloud of the test's own, from the command line."""

import ast
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import moon
import pytest

from deploy.cli.main import run
from deploy.cli.verbs import command_of
from deploy.targets import table
from deploy.targets.deployment import folder, load
from deploy.targets.ec2 import place as ec2
from deploy.targets.local import place as local
from deploy.targets.place import Place, Status
from deploy.targets.ssh import place as ssh
from deploy.targets.wishes import Wishes
from infra import errors
from infra.errors import UsageError
from serving.sizing.size import answer_for
from serving.sizing.size_options import Options

# What mypy sees: each of these modules is a place.
KNOWN: tuple[Place, ...] = (local, ec2, ssh, moon)

ROOT = Path(__file__).parent.parent

Corral = Callable[..., tuple[int, str, str]]


@pytest.fixture
def corral(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Corral]:
    """Run a command where the moon is a place, too: its exit code, and what it said."""
    monkeypatch.setitem(table.PLACES, "moon", table.Row("moon", "moon.MoonOptions"))
    monkeypatch.setattr(moon, "RENTED", {})
    command_of.cache_clear()

    def called(*words: str) -> tuple[int, str, str]:
        code = run(words)
        said = capsys.readouterr()
        return code, said.out, said.err

    yield called
    command_of.cache_clear()


@pytest.fixture
def asked(tmp_path: Path) -> tuple[str, ...]:
    """A plan for the moon."""
    answer_for("scout", "int4", "g5.12xlarge", Options()).write(tmp_path / "plan.json")
    return (str(tmp_path / "plan.json"), "--target", "moon", "--name", "eagle")


def test_only_the_table_and_the_places_name_a_place() -> None:
    files = {*(ROOT / "deploy").glob("*.py"), *(ROOT / "deploy/targets").glob("*.py")} - {
        Path(table.__file__)
    }
    named = [
        f"{path.name}:{node.lineno} names {node.value}"
        for path in sorted(files)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in table.PLACES
    ]
    assert named == []


SSH = ("infra.ssh", "infra.ssh_client", "infra.ssh_failures")


def test_what_goes_for_any_place_imports_nothing_of_one() -> None:
    files = (*(ROOT / "deploy").glob("*.py"), *(ROOT / "deploy/targets").glob("*.py"))
    of_one = ("infra.aws", *SSH, *(f"deploy.targets.{name}" for name in table.PLACES))
    imported = [
        f"{path.name} imports {name}"
        for path in sorted(files)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for name in imported_by(node)
        if f"{name}.".startswith(tuple(f"{each}." for each in of_one))
    ]
    assert imported == []


def imported_by(node: ast.AST) -> list[str]:
    """What a statement imports, in whichever of the forms there are, by its whole name."""
    if isinstance(node, ast.ImportFrom):
        return [f"{node.module}.{each.name}" for each in node.names]
    return [each.name for each in node.names] if isinstance(node, ast.Import) else []


def test_up_looks_makes_and_serves(corral: Corral, asked: tuple[str, ...]) -> None:
    code, out, err = corral("up", *asked, "--crater", "Copernicus", "--yes")
    assert (code, moon.RENTED) == (0, {"eagle": "Copernicus"})
    assert out.startswith("scout answers at http://tycho.example\n")
    assert err == "ok       crater: room in Copernicus\n"
    assert (load("eagle").target, load("eagle").region) == ("moon", "Copernicus")


def test_provision_says_where(corral: Corral, asked: tuple[str, ...]) -> None:
    code, out, _ = corral("provision", *asked, "--yes")
    assert (code, out) == (0, "eagle is provisioned on the moon, Tycho.\nNext: corral serve eagle\n")


def test_it_is_asked_for_first_what_it_costs(corral: Corral, asked: tuple[str, ...]) -> None:
    code, _, err = corral("up", *asked)
    assert (code, moon.RENTED, folder("eagle").exists()) == (2, {}, False)
    assert err.splitlines()[1:] == [
        "A lander in Tycho: 9.000 USD per hour",
        "error: Nobody is there to confirm the cost.",
        "hint: Say so beforehand: --yes",
    ]


def test_a_dry_run_asks_nobody(corral: Corral, asked: tuple[str, ...]) -> None:
    code, out, err = corral("provision", *asked, "--crater", "Copernicus", "--dry-run", "--json")
    assert (code, err, moon.RENTED) == (0, "", {})
    assert json.loads(out) == [{"operation": "Land", "name": "eagle", "crater": "Copernicus"}]


def test_where_no_server_is_started_anew_none_is_rolled(corral: Corral, asked: tuple[str, ...]) -> None:
    assert corral("up", *asked, "--yes")[0] == 0
    for more in ((), ("--dry-run",)):
        assert corral("roll", "eagle", *more)[::2] == (
            2,
            "error: eagle is on moon, where servers are not rolled.\n"
            "hint: End its server and start it: corral stop eagle; corral serve eagle\n",
        )


def test_its_flags_come_with_it(corral: Corral, asked: tuple[str, ...]) -> None:
    plan, *_ = asked
    assert (
        "Moon:\n  --crater <str>  moon: where the machine stands.  [default: Tycho]\n"
        in corral("up", "--help")[1]
    )
    assert corral("up", *asked, "--crater", "tycho")[::2] == (
        2,
        "error: --crater 'tycho' cannot be right.\nhint: It looks like Copernicus\n",
    )
    assert corral("up", plan, "--crater", "Copernicus")[::2] == (
        2,
        "error: The target ec2 takes no options of Moon.\nhint: Add --target moon, or leave them out.\n",
    )
    # Whose it is comes before whether it holds.
    for foreign in (("--ttl", "8h"), ("--ttl", "soon"), ("--cidr", "10.0.0.0/8")):
        assert corral("up", *asked, *foreign)[::2] == (
            2,
            "error: The target moon takes no options of EC2.\nhint: Add --target ec2, or leave them out.\n",
        )


def test_ctrl_c_says_what_is_still_rented(
    corral: Corral, asked: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(moon, "wait", interrupted)
    code, _, err = corral("up", *asked, "--yes")
    assert (code, moon.RENTED) == (errors.Interrupted.exit_code, {"eagle": "Tycho"})
    assert err.splitlines()[1:] == [
        "error: Interrupted: eagle is still rented at 9.000 USD per hour.",
        "hint: Go on: corral serve eagle; take it away: corral down eagle",
    ]


def test_what_runs_there_is_seen_and_taken_away(corral: Corral, asked: tuple[str, ...]) -> None:
    assert corral("up", *asked, "--yes")[0] == 0
    code, out, _ = corral("status", "eagle", "--json")
    assert (code, Status.model_validate_json(out).state) == (0, "serving")
    assert corral("status")[1] == "eagle (moon): serving: the moon, Tycho\n"
    assert corral("logs", "eagle")[1] == "The Eagle has landed.\n"
    assert corral("down", "eagle")[:2] == (0, "landers  0\nNothing of eagle is left.\n")
    assert (moon.RENTED, folder("eagle").exists()) == ({}, False)


def test_what_another_machine_made_is_taken_away(corral: Corral, asked: tuple[str, ...]) -> None:
    assert corral("up", *asked, "--yes")[0] == 0
    (folder("eagle") / "deployment.json").unlink()
    code, _, err = corral("down", "eagle")
    assert (code, err.endswith(" Made on the moon? corral down eagle --target moon\n")) == (4, True)
    assert corral("down", "eagle", "--target", "moon")[0] == 0
    assert moon.RENTED == {}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("extend", "eagle", "8h"), "eagle has no time limit to move: nothing there ends by itself."),
        (("egress", "eagle"), "Egress is proved on these targets: local, ssh; eagle is on moon."),
        (("serve", "eagle", "--supervise"), "Only a server of this machine is supervised here."),
        (("serve", "eagle", "--unit"), "Only a server of this machine becomes a unit of yours."),
    ],
)
def test_what_it_cannot_is_refused(
    words: tuple[str, ...], said: str, corral: Corral, asked: tuple[str, ...]
) -> None:
    assert corral("up", *asked, "--yes")[0] == 0
    code, _, err = corral(*words)
    assert (code, err.splitlines()[0]) == (2, f"error: {said}")


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (
            {"hosts": ("gpu-1",), "engine": "vllm-env"},
            "--host names a machine of yours, and this would be on local.",
        ),
        ({"engine": "s3://bucket/engine.tar"}, "The target local takes no options of EC2."),
        ({"engine": "s3://bucket/engine.tar", "ttl": "8h"}, "The target local takes no options of EC2."),
    ],
)
def test_whoever_takes_the_most_of_what_was_typed_is_meant(typed: dict[str, Any], said: str) -> None:
    by_place = {
        place: {field: value for field, value in typed.items() if field in record.model_fields}
        for place, record in Wishes.records().items()
    }
    with pytest.raises(UsageError) as error:
        Wishes(by_place).of("local")
    assert error.value.message == said
