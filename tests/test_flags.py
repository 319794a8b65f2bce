"""Records as flags: every kind of field, what is refused and how, and what the help shows."""

import ast
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import pytest
import typer
from program import commands, records
from pydantic import Field, model_validator

from deploy.cli import run as running
from deploy.cli.flags import Command, verb
from deploy.cli.main import app, run
from deploy.cli.verbs import VERBS
from deploy.export.export_options import TAKEN_BY
from deploy.export.formats import FORMATS
from deploy.targets.table import PLACES
from deploy.targets.wishes import Wishes
from infra.asked import Asked, Flag, either, flag_names, number
from infra.errors import UsageError

ROOT = Path(__file__).parent.parent


class Boat(Asked):
    """What is hired."""

    heading: ClassVar[str] = "The boat"

    length_m: Annotated[int, Flag(shows_limits=True), Field(ge=3, le=20_000, examples=[12])] = 8
    """From bow to stern."""
    draught_m: float | None = Field(None, gt=0, le=2.5)
    """How deep it lies."""
    harbours: Annotated[tuple[str, ...], Flag("--harbour"), Field(examples=["Kiel"])] = ()
    """Where to look, in order; repeatable. [all]"""
    berths: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Flag(shows_limits=True)] = ()
    """Of each cabin; repeatable."""
    name: Annotated[str | None, Field(pattern="^[A-Z][a-z]+$", examples=["Albatros"])] = None
    """Only this one."""
    rig: Literal["sloop", "ketch"] = "sloop"
    """Its sails."""
    usd_per_day: Annotated[Decimal | None, Flag(metavar="USD"), Field(gt=0, examples=["99.50"])] = None
    """What it may cost."""
    chart: Annotated[Path | None, Flag("--chart -c")] = None
    """A file."""
    motor: bool = False
    """With one."""
    crew: bool = True
    """With people who know it."""
    heated: bool | None = None
    """Warm."""
    colour: Annotated[str, Flag(hidden=True)] = "white"
    """Nobody asks."""
    lettering: Annotated[str, Flag(hidden=True)] = ""
    """What is painted on it."""

    @model_validator(mode="after")
    def rigged(self) -> Self:
        """A ketch is long."""
        if self.rig == "ketch" and self.length_m < 10:
            raise UsageError("A ketch is longer.", "Say --length-m 12")
        return self


class Trip(Asked):
    """Where it goes."""

    to: str
    """Its end."""


def corral(function: Any, arguments: Sequence[str]) -> int:
    program = typer.Typer(rich_markup_mode=None, add_completion=False)
    program.command("hire", cls=Command)(verb(function))
    return running.run(program, arguments)


def hired(arguments: Sequence[str]) -> tuple[int, list[tuple[Boat, bool]]]:
    """What a verb was called with."""
    calls = []

    def hire(
        boat: Boat, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False
    ) -> None:
        """Hire a boat."""
        calls.append((boat, yes))

    return corral(hire, arguments), calls


@pytest.mark.parametrize(
    ("typed", "asked"),
    [
        ("", {}),
        ("--length-m 12 --draught-m 1.5", {"length_m": 12, "draught_m": 1.5}),
        ("--harbour Kiel --harbour Bergen", {"harbours": ("Kiel", "Bergen")}),
        ("--berths 2 --berths 1", {"berths": (2, 1)}),
        ("--name Albatros --rig ketch --length-m 10", {"name": "Albatros", "rig": "ketch", "length_m": 10}),
        ("--usd-per-day 0.10", {"usd_per_day": Decimal("0.10")}),
        ("-c sea.txt", {"chart": Path("sea.txt")}),
        ("--chart sea.txt --colour red", {"chart": Path("sea.txt"), "colour": "red"}),
        ("--motor --no-crew --heated", {"motor": True, "crew": False, "heated": True}),
        ("--no-heated", {"heated": False}),
        ("--lettering=", {}),
    ],
)
def test_what_is_typed_is_the_record(typed: str, asked: dict[str, Any]) -> None:
    assert hired(typed.split()) == (0, [(Boat(**asked), False)])
    assert hired([*typed.split(), "-y"]) == (0, [(Boat(**asked), True)])


@pytest.mark.parametrize(
    ("typed", "said", "hint"),
    [
        ("--length-m 2", "--length-m 2 is not between 3 and 20,000.", "For example: --length-m 12"),
        ("--length-m 99999", "--length-m 99999 is not between 3 and 20,000.", "For example: --length-m 12"),
        ("--draught-m 0", "--draught-m 0 is not above 0 and at most 2.5.", ""),
        ("--draught-m nan", "--draught-m nan is no finite number.", ""),
        ("--berths 2 --berths 0", "--berths 0 is below 1.", ""),
        ("--name albatros", "--name 'albatros' cannot be right.", "It looks like Albatros"),
        ("--name=", "--name is empty.", "For example: --name Albatros"),
        ("--rig=", "--rig is empty.", "For example: --rig sloop"),
        ("--chart=", "--chart is empty.", "Give it a value, or leave it out."),
        ("--usd-per-day=", "--usd-per-day is empty.", "For example: --usd-per-day 99.50"),
        ("--harbour Kiel --harbour=", "--harbour is empty.", "For example: --harbour Kiel"),
        ("--rig dhow", "--rig 'dhow' is unknown.", "One of: sloop, ketch"),
        ("--usd-per-day much", "--usd-per-day much is no number.", "For example: --usd-per-day 99.50"),
        ("--usd-per-day -1", "--usd-per-day -1 is not above 0.", "For example: --usd-per-day 99.50"),
        ("--usd-per-day nan", "--usd-per-day nan is no finite number.", "For example: --usd-per-day 99.50"),
        ("--rig ketch", "A ketch is longer.", "Say --length-m 12"),
        ("--length-m x", "--length-m x is no whole number.", "For example: --length-m 12"),
        ("--berths 2 --berths x", "--berths x is no whole number.", "For example: 3000, 3k or 3e3"),
        (
            "--no-motor",
            "No such option: --no-motor (Possible options: --motor, --no-crew)",
            "See: hire --help",
        ),
    ],
)
def test_a_refusal_names_the_flag_and_calls_nothing(
    typed: str, said: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert hired(typed.split()) == (2, [])
    told = capsys.readouterr().err.replace("corral --help", "hire --help")
    assert told == f"error: {said}\n" + (f"hint: {hint}\n" if hint else "")


def test_with_json_a_refusal_is_an_object(capsys: pytest.CaptureFixture[str]) -> None:
    def hire(boat: Boat, as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
        """Hire a boat."""

    assert corral(hire, ["--length-m", "1", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"] == {
        "type": "UsageError",
        "message": "--length-m 1 is not between 3 and 20,000.",
        "hint": "For example: --length-m 12",
        "exit_code": 2,
    }


def test_a_field_without_a_default_must_be_given(capsys: pytest.CaptureFixture[str]) -> None:
    calls = []

    def hire(trip: Trip) -> None:
        """Hire a boat."""
        calls.append(trip)

    assert (corral(hire, []), calls) == (2, [])
    assert capsys.readouterr().err.splitlines()[0] == "error: Missing option '--to'."
    assert (corral(hire, ["--to", "Oslo"]), calls) == (0, [Trip(to="Oslo")])
    with pytest.raises(UsageError, match=r"--to is missing\.") as caught:
        Trip.of({})
    assert caught.value.hint == ""
    with pytest.raises(UsageError, match=r"--to is empty\."):
        Trip.of({"to": "  "})


def test_the_help_has_a_heading_a_record(capsys: pytest.CaptureFixture[str]) -> None:
    assert hired(["--help"]) == (0, [])
    assert capsys.readouterr().out == HELP


HELP = """\
Usage: corral [OPTIONS]

  Hire a boat.

The boat:
  --length-m <int>        From bow to stern. [3 to 20,000]  [default: 8]
  --draught-m <float>     How deep it lies.
  --harbour <list[str]>   Where to look, in order; repeatable. [all]
  --berths <list[int]>    Of each cabin; repeatable. [1 or more]
  --name <str>            Only this one.
  --rig <str>             Its sails.  [default: sloop]
  --usd-per-day USD       What it may cost.
  -c, --chart <path>      A file.
  --motor                 With one.
  --crew / --no-crew      With people who know it.  [default: crew]
  --heated / --no-heated  Warm.

Options:
  -y, --yes  Do not ask.
  --help     Show this message and exit.
"""


@pytest.mark.parametrize("name", VERBS)
def test_the_line_of_a_verb_fits_the_terminal(name: str) -> None:
    indent = 2 + max(map(len, VERBS)) + 2
    assert len(VERBS[name]) <= 78 - indent
    assert VERBS[name].endswith(".")


def test_no_verb_has_a_flag_twice() -> None:
    for command in commands(typer.main.get_command(app)):
        names = [name for each in command.params for name in (*each.opts, *each.secondary_opts)]
        assert len(names) == len(set(names)), command.name


class Yacht(Boat):
    """A boat with more."""

    heading: ClassVar[str] = "The yacht"

    decks: int = 2
    """Above each other."""


def test_a_record_that_extends_another_shows_its_own_first(capsys: pytest.CaptureFixture[str]) -> None:
    def hire(yacht: Yacht) -> None:
        """Hire a yacht."""

    assert corral(hire, ["--help"]) == 0
    shown = capsys.readouterr().out
    assert "The yacht:\n  --decks <int>  Above each other.  [default: 2]\n\nThe boat:\n" in shown


OTHERS = {
    "--input-tokens": "1",
    "--model": "haiku-5.5",
    "--output": "out",
    "--output-tokens": "1",
    "--plan": "plan.json",
    "--requests-per-s": "1",
    "--to": "compose",
}
"""What is said beside the flag that is empty, where a verb takes it: some verb needs it."""
MEAN_NOTHING = {"--extra-body": "nothing is laid over a request, as when it is not said"}
"""Flag that may be empty -> what that means."""


def named(group: Any, *words: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """All commands below a group, each with what is typed for it."""
    for word, command in group.commands.items():
        inner = named(command, *words, word) if hasattr(command, "commands") else [((*words, word), command)]
        yield from inner


def whose(verb: str, field: str) -> list[str]:
    """What makes a flag be taken: the place or the format that it is of."""
    if verb in ("doctor", "provision", "up"):
        places = [place for place, record in Wishes.records().items() if field in record.model_fields]
        return ["--target", places[0]] if places else []
    if verb == "export" and field in TAKEN_BY:
        return ["--to", next(name for name, form in FORMATS.items() if getattr(form, TAKEN_BY[field]))]
    return []


@pytest.mark.parametrize("verb", VERBS)
def test_a_flag_without_its_value_is_refused_by_its_name(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    program: Any = typer.main.get_command(app)
    for words, command in named(program):
        options = {
            max(each.opts, key=len): each for each in command.params if each.param_type_name == "option"
        }
        arguments = ["x" for each in command.params if each.param_type_name == "argument"]
        for flag, option in options.items():
            if words[0] != verb or option.is_flag or flag in MEAN_NOTHING:
                continue
            taken = whose(verb, option.name)
            others = [f"{name}={value}" for name, value in OTHERS.items() if name in options.keys() - {flag}]
            assert run([*words, *arguments, *others, *taken, f"{flag}="]) == 2, (words, flag)
            said = capsys.readouterr().err.splitlines()[0]
            assert said == f"error: {flag} is empty.", (words, said)


@pytest.mark.parametrize(
    ("verb", "words"),
    [
        ("fetch", "fetch --verify"),
        ("size", "size scout --on"),
        ("up", "up plan.json --host gpu-1 --name"),
        ("probe run", "probe --model"),
        ("egress verify", "egress verify x --bundle"),
        ("hosts show", "hosts show"),
    ],
)
@pytest.mark.parametrize("wish", ["--help", "-h"])
def test_a_help_is_shown_behind_a_flag_that_takes_a_value(
    verb: str, words: str, wish: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing there is called --help: what looked for it was a wrong question."""
    assert run([*verb.split(), "--help"]) == 0
    wished = capsys.readouterr()
    assert run([*words.split(), wish]) == 0
    assert capsys.readouterr() == wished


def test_what_stands_behind_two_hyphens_is_no_wish(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["up", "--dry-run", "--", "--help"]) == 2
    assert capsys.readouterr().err.startswith("error: '--help' is not a model corral knows.\n")


def test_what_is_no_verbs_own_is_refused_without_its_value_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--profile=", "version"]) == 2
    assert capsys.readouterr().err.startswith("error: --profile names no profile.\n")


@pytest.mark.parametrize(
    ("verb", "line"),
    [
        ("capacity-block list", "How many machines. [1 to 64]"),
        ("bundle create", "Split files larger than that into parts. [0.001 or more]"),
        ("export", "Equal servers, where the format has them. [1 to 1,000]"),
        ("serve", "Another port than the plan's. [1 to 65,535]"),
        ("size", "Only this one: bf16, fp8, int4 or nvfp4. [the best that fits]"),
        ("compare", "english, verse, python, c, json or chinese: sets the ratio."),
    ],
)
def test_a_help_says_what_may_be_said_where_the_check_knows_it(
    verb: str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*verb.split(), "--help"]) == 0
    assert line in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("verb", ["down", "extend"])
def test_what_is_asked_of_any_place_names_none(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([verb, "--help"]) == 0
    words = set(re.findall(r"\w+", capsys.readouterr().out.lower()))
    assert words & {*PLACES, "eventbridge"} == set()


def test_a_bound_as_a_person_writes_it() -> None:
    bounds = (999.5, 1000.0, -1000, 0.001, Decimal("0.30"))
    assert [number(each) for each in bounds] == ["999.5", "1,000", "-1,000", "0.001", "0.30"]


def test_choices_as_a_person_lists_them() -> None:
    assert [either(each) for each in (["a"], ["a", "b"], ("a", "b", "c"))] == ["a", "a or b", "a, b or c"]


def declared(path: Path) -> list[str]:
    """The flags that a file declares in typer's words, by name."""
    return [
        words[0] if (words := spoken(call)) else f"--{name.replace('_', '-')}"
        for node in ast.walk(ast.parse(path.read_text()))
        for name, annotation in annotated(node)
        for call in ast.walk(annotation)
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "typer.Option"
    ]


def annotated(node: ast.AST) -> list[tuple[str, ast.AST]]:
    """The parameter that a node is, or the alias that it assigns."""
    if isinstance(node, ast.arg) and node.annotation:
        return [(node.arg, node.annotation)]
    return [(ast.unparse(node.targets[0]), node.value)] if isinstance(node, ast.Assign) else []


def spoken(call: ast.Call) -> list[str]:
    """The names that a typer.Option is given."""
    return [
        word.value for word in call.args if isinstance(word, ast.Constant) and isinstance(word.value, str)
    ]


OF_ITS_OWN_REQUESTS = (
    "a number for `size` and `claude-cost`; a spread, with other defaults, of a load and of traffic"
)
OF_MEANINGS = {
    "--cache-read-fraction": "a share of a request's prompt, beside one of a comparison's",
    "--cache-write-fraction": "a share of a request's prompt, beside one of a comparison's",
    "--cache-write-1h-fraction": "a share of a request's prompt, beside one of a comparison's",
    "--class": "a part of the traffic that is planned for; of the requests that both sides are priced at",
    "--claude-model": "who LiteLLM falls back on; who is compared",
    "--concurrency": "what is planned for; the load of a probe",
    "--duration-s": "of a whole run; of a step of a sweep",
    "--endpoint": "the one of the demo; those behind a router",
    "--engine": "a folder here to pack, one for hosts, a file in S3, what a role may read; the next release's",
    "--hf-token-parameter": "the one that is used; those that a role may read",
    "--host": "an SSH destination; where a gateway listens",
    "--html": "the page of a probe; of a proof",
    "--input-tokens": OF_ITS_OWN_REQUESTS,
    "--instance-type": "those to try; those that a policy allows",
    "--model": "a checkpoint's folder, a served name, one of Claude's",
    "--on": "the one machine; those to choose from",
    "--output": "a plan, a report, a bundle, an export, a comparison, a probe's folder",
    "--output-tokens": OF_ITS_OWN_REQUESTS,
    "--peak-factor": "the busiest moment that is planned for; the shape of a day",
    "--port": "where an engine listens; its gateway",
    "--precision": "what a machine is to hold; which weights of a name are fetched",
    "--purchase": "how a machine is to be rented; how the one of a month is bought",
    "--region": "where to rent, ask, list, reap, push, buy; what a policy allows; whose price",
    "--replicas": "of an export; of a month's cost; of a simulation",
    "--requests-per-month": "of all traffic, instead of a rate; of the month that is compared, instead of its tokens",
    "--requests-per-s": "of all traffic, instead of tokens a month; of what comes, instead of rates or a trace",
    "--requests": "how many a probe sends; how many of a kind are paid",
    "--revision": "the commit of the next release; what is looked up and fetched",
    "--seed": "of a probe's prompts and times; of a simulation's",
    "--target": "where a plan goes, where a name is looked for; an address to try",
    "--to": "a format; an address in S3; a folder to fetch into",
    "--tpot": "what machines are chosen to keep; what is compared only as far as it is kept",
    "--ttft": "what machines are chosen to keep; what is compared only as far as it is kept",
    "--usd-per-hour": "what one machine of --on is ranked by; what those of a simulation cost",
    "--vllm-version": "whose rules a plan is made by; the next release's",
    "--requests-at-once": "of each key of a gateway; of one",
    "--requests-per-minute": "of each key of a gateway; of one",
    "--tokens-per-month": "of each key of a gateway; of one",
    "--weights": "where they are; what a role may read",
}
"""Flag of several declarations -> what it is to mean in each: another thing, with another help."""


SWITCHES = {
    "--offline",
    "--quiet",
    "--profile",
    "--gpu",
    "--version",
    "--yes",
    "--json",
    "--all",
    "--dry-run",
    "--now",
    "-f",
}
"""What is no field of a record: what corral itself takes, switches of many verbs, and the one of `logs`."""


def test_no_flag_is_declared_twice() -> None:
    """What several verbs take is one name of deploy.cli.flags, or a field of one record."""
    commands(typer.main.get_command(app))  # imports every verb with its records
    fields = [
        (flag_names(record, field), record.model_fields[field].description)
        for record in set(records())
        for field in vars(record).get("__annotations__", ())
        if field in record.model_fields
    ]
    assert [each for each, times in Counter(fields).items() if times > 1] == []
    options = [each for path in (ROOT / "deploy").rglob("*.py") for each in declared(path)]
    assert set(options) == SWITCHES
    said = Counter(names[0] for names, _ in fields) + Counter(options)
    assert {name for name, times in said.items() if times > 1} == set(OF_MEANINGS)


def test_an_option_never_vanishes_in_locals() -> None:
    """A type checker and an editor follow a name, and no dictionary of all of them."""
    files = [path for floor in ("deploy", "serving", "infra") for path in (ROOT / floor).rglob("*.py")]
    assert [path for path in files if "locals()" in path.read_text(encoding="utf-8")] == []
