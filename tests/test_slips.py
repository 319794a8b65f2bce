"""Slips of the finger and names of elsewhere: what is meant is told, and what is right beside them is taken."""

import shlex
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from deploy.cli.main import run
from deploy.costs.compare_options import Question
from deploy.costs.doubts import many_people
from deploy.costs.knobs import KnobOptions, table
from infra.aws.boto import CITIES, checked_regions, known_regions
from infra.catalog import meant
from infra.errors import DocumentError, HostError, UsageError
from infra.record import write_text_atomically
from serving.sizing.capacity import Capacity
from serving.sizing.plan import Plan
from serving.sizing.size_options import PrecisionOptions
from serving.sizing.traffic_options import LatencyOptions


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        ("int8", "Of 8 bits there is fp8: --precision fp8"),
        ("w8a16", "Of 8 bits there is fp8: --precision fp8"),
        ("8bit", "Of 8 bits there is fp8: --precision fp8"),
        ("4-bit", "Of 4 bits there are two: --precision int4 (w4a16) and --precision nvfp4"),
        ("FP16", "Of 16 bits there is bf16: --precision bf16"),
        ("int2", "One of: bf16, fp8, int4, nvfp4"),
        ("q48", "One of: bf16, fp8, int4, nvfp4"),
    ],
)
def test_a_number_of_bits_is_told_which_precisions_have_them(typed: str, hint: str) -> None:
    with pytest.raises(UsageError) as refused:
        PrecisionOptions.of({"precision": typed})
    assert (str(refused.value), refused.value.hint) == (f"--precision {typed!r} is unknown.", hint)


@pytest.mark.parametrize("typed", ["bf16", "FP8", "int4", "NVFP4"])
def test_a_precision_is_taken_in_any_case(typed: str) -> None:
    assert PrecisionOptions.of({"precision": typed}).precision == typed.lower()


@pytest.mark.parametrize(
    ("typed", "sentence", "hint"),
    [
        (
            {"ttft": "1000"},
            "--ttft 1000 is 1,000 seconds, longer than anybody waits.",
            "Did you mean --ttft 1000ms?",
        ),
        ({"tpot": "50"}, "--tpot 50 is 50 seconds, longer than anybody waits.", "Did you mean --tpot 50ms?"),
        (
            {"ttft": "1e9"},
            "--ttft 1e+09 is 1,000,000,000 seconds, longer than anybody waits.",
            "For example: --ttft 500ms",
        ),
    ],
)
def test_milliseconds_typed_as_seconds_are_asked_about(
    typed: dict[str, str], sentence: str, hint: str
) -> None:
    with pytest.raises(UsageError) as refused:
        LatencyOptions.of(typed)
    assert (str(refused.value), refused.value.hint) == (sentence, hint)


def test_what_a_long_prompt_takes_may_be_promised() -> None:
    found = LatencyOptions.of({"ttft": "10min", "tpot": "10"})
    assert (found.ttft, found.tpot) == (600, 10)


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        ("eu-frankfurt-1", "Did you mean eu-central-1?"),
        ("Ireland", "Did you mean eu-west-1?"),
        ("us-ashburn-1", "Did you mean us-east-1?"),
        ("us-est-1", "Did you mean us-west-1 or us-east-1 or us-west-2?"),
    ],
)
def test_a_region_of_another_cloud_is_told_by_its_place(typed: str, hint: str) -> None:
    with pytest.raises(UsageError) as refused:
        checked_regions((typed,))
    assert refused.value.hint == hint


def test_every_place_has_a_region_of_aws() -> None:
    assert set(CITIES.values()) <= set(known_regions())


@pytest.mark.parametrize(
    ("typed", "shapes"),
    [
        ("8xA100", ("8xA100-40GB", "8xA100-80GB")),
        ("H200", ("1xH200",)),
        ("8xH200", ("8xH200",)),
        ("toaster", ()),
    ],
)
def test_the_shapes_that_a_name_may_stand_for(typed: str, shapes: tuple[str, ...]) -> None:
    assert meant(typed) == shapes


def test_no_refusal_of_a_knob_proposes_nothing() -> None:
    """--power-kw 5000 was told "For example: --power-kw 0"."""
    for name, knob in table().items():
        with pytest.raises(UsageError) as refused:
            KnobOptions.of({name: str(knob.most * 1000 + 1)})
        flag, _, shown = refused.value.hint.removeprefix("For example: ").partition(" ")
        assert flag == f"--{name.replace('_', '-')}"
        assert 0 < Decimal(shown) <= knob.most, name
        assert knob.least <= Decimal(shown)


def test_a_share_that_cannot_be_of_percent_keeps_its_example() -> None:
    """A thousandth to one: 0.05 percent is less, 25 percent is meant."""
    for typed, hint in (
        ("25", "Did you mean --utilisation 25%?"),
        ("1.1", "For example: --utilisation 0.30"),
    ):
        with pytest.raises(UsageError) as refused:
            KnobOptions.of({"utilisation": typed})
        assert refused.value.hint == hint


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("doctor scout --plan own.json", "corral doctor own.json"),
        ("doctor scout --plan=own.json", "corral doctor own.json"),
        ("simulate --plan 'my plan.json' --requests-per-s 1", "corral simulate 'my plan.json'"),
        ("up --plan", "corral up plan.json"),
    ],
)
def test_a_plan_named_by_an_option_is_told_where_it_stands(
    line: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(shlex.split(line)) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("error: No such option: --plan")
    assert said[1:] == [f"hint: The plan stands in the model's place: {hint}"]


def test_where_no_plan_is_an_argument_the_help_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["size", "scout", "--plan", "own.json"]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == "hint: See: corral size --help"


@pytest.mark.parametrize(
    ("people", "machines", "planned", "is_asked_about"),
    [
        ("25", None, None, True),
        ("5", "1", None, True),
        ("5", "5", None, False),
        ("5", None, 5, False),
        ("6", None, 5, True),
        ("4.9", None, None, False),
        ("0.25", None, None, False),
        ("250", "2", None, False),
    ],
)
def test_many_people_for_few_machines_are_asked_about(
    people: str, machines: str | None, planned: int | None, is_asked_about: bool
) -> None:
    plan: Any = SimpleNamespace(carried=SimpleNamespace(count=planned) if planned else None)
    said = many_people(plan, Question.of({"ops_fte": people} | ({"replicas": machines} if machines else {})))
    shown = Decimal(people).normalize()
    assert said == (
        f"PEOPLE: --ops-fte {shown:f} counts that many whole jobs, all year. If percent of one job were meant: "
        f"--ops-fte {shown:f}%"
        if is_asked_about
        else ""
    )


def test_people_are_a_share_of_a_job() -> None:
    assert KnobOptions.of({"ops_fte": "25%"}).ops_fte == Decimal("0.25")
    assert KnobOptions.of({"ops_fte": "2"}).ops_fte == 2


def test_a_document_of_another_kind_is_named_with_the_one_that_is_wanted(tmp_path: Path) -> None:
    """But not what only says so of itself, in words that no kind has."""
    plan = Path(__file__).parent / "data" / "compare" / "plan.json"
    with pytest.raises(DocumentError) as refused:
        Capacity.read(plan)
    assert (str(refused.value), refused.value.hint) == (
        f"{plan} is not a capacity plan this version can read: it is a document of another kind (plan).",
        "Name a capacity plan in its place.",
    )
    path = tmp_path / "odd.json"
    path.write_text('{"document": "a plan\\nof mine"}', encoding="utf-8")
    with pytest.raises(DocumentError, match="is not a plan this version can read"):
        Plan.read(path)


def test_a_folder_in_the_place_of_a_file_is_told_as_that(tmp_path: Path) -> None:
    with pytest.raises(HostError) as refused:
        write_text_atomically(tmp_path, "text")
    assert (str(refused.value), refused.value.hint) == (
        f"{tmp_path} is a folder, and a file is to be written there.",
        f"Name a file in it: {tmp_path}/FILE",
    )
    (tmp_path / "plan.json").write_text("{}", encoding="utf-8")
    with pytest.raises(HostError) as refused:
        write_text_atomically(tmp_path / "plan.json" / "x.json", "text")
    assert (str(refused.value), refused.value.hint) == (
        f"{tmp_path}/plan.json/x.json cannot be written: what should be its folder is a file.",
        f"Name another place: ls -ld {tmp_path}/plan.json",
    )
