"""Numbers as people type them: each form of each flag, what is ambiguous or none, and the flags of every verb."""

import re
from decimal import Decimal
from typing import get_args

import pytest
import typer
from program import commands, records

from deploy.cli.main import app, run
from infra import asked, quantity
from infra.errors import UsageError
from infra.lifetime import minutes
from serving.probe.lengths import Lengths, parse
from serving.probe.probe_options import slo_of

D = Decimal


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("2k", "", D(2000)),
        ("2K", "", D(2000)),
        ("1M", "", D(10**6)),
        ("7.5G", "", D(7_500_000_000)),
        ("7.5B", "", D(7_500_000_000)),
        ("3e6", "", D(3_000_000)),
        ("3E+6", "", D(3_000_000)),
        ("3,000,000", "", D(3_000_000)),
        ("3_000_000", "", D(3_000_000)),
        ("1,234.5", "", D("1234.5")),
        (" 12 ", "", D(12)),
        (".5", "", D("0.5")),
        ("5.", "", D(5)),
        ("+5", "", D(5)),
        ("-2k", "", D(-2000)),
        ("0.1", "", D("0.1")),
        ("1k", "vllm", D(1000)),
        ("1K", "vllm", D(1024)),
        ("64m", "vllm", D(64_000_000)),
        ("64M", "vllm", D(64 << 20)),
        ("8G", "vllm", D(8 << 30)),
        ("8.5g", "vllm", D(8_500_000_000)),
        ("1.5GiB", "vllm", D(3 << 29)),
        ("8GB", "vllm", D(8 * 10**9)),
        ("1s", "s", D(1)),
        ("500ms", "s", D("0.5")),
        ("50 ms", "s", D("0.05")),
        ("250us", "s", D("0.00025")),
        ("5m", "s", D(300)),
        ("1.5 h", "s", D(5400)),
        ("2 days", "s", D(172_800)),
        ("1.5s", "ms", D(1500)),
        ("500 ms", "ms", D(500)),
        ("500", "ms", D(500)),
        ("$12.50", "usd", D("12.50")),
        ("$1,200", "usd", D(1200)),
        ("1.2m", "usd", D(1_200_000)),
        ("70%", "share", D("0.7")),
        ("0.7", "share", D("0.7")),
        ("2TB", "gb", D(2000)),
        ("500G", "gb", D(500)),
        ("1TiB", "gib", D(1024)),
    ],
)
def test_a_number_as_people_type_it(text: str, unit: quantity.Unit, value: Decimal) -> None:
    assert quantity.read(text, unit, whole=False) == value


@pytest.mark.parametrize(
    ("text", "unit", "why"),
    [
        *(
            (text, "", "is no number")
            for text in (
                "", "k", "1..5", "--5", "1,00", "0,500", "1,2345", "1,000_000", "1.000.000", "1e", "1e99999", "1 2",
                "5x", "5s", "70%", "$5", "0x10", "٣", "½", "1k k", "1kk", "1__0", "nan", "1\n2",
            )
        ),
        ("5m", "", "is ambiguous: m is a thousandth, a million or a minute"),
        ("1.5K", "vllm", "is ambiguous: to vLLM a capital letter is a power of 1,024, and takes no fraction"),
        ("150G", "gib", "is ambiguous: GB are fewer than GiB"),
        ("5M", "s", "is no number"),
        ("1e999", "", "is beyond any number that is meant here"),
        ("1e-999", "", "is beyond any number that is meant here"),
        ("9" * 41, "", "is beyond any number that is meant here"),
    ],
)  # fmt: skip
def test_what_is_no_number_or_means_two_things_is_refused(text: str, unit: quantity.Unit, why: str) -> None:
    with pytest.raises(ValueError, match="^is ") as caught:
        quantity.read(text, unit, whole=False)
    assert str(caught.value) == why


@pytest.mark.parametrize(("text", "unit"), [("1.5", ""), ("1.2345k", ""), ("1e-1", ""), ("0.5GiB", "gib")])
def test_a_part_is_not_taken_where_a_whole_is_wanted(text: str, unit: quantity.Unit) -> None:
    with pytest.raises(ValueError, match=r"^is no whole number$"):
        quantity.read(text, unit, whole=True)
    assert [quantity.read(whole, "", whole=True) for whole in ("1m", "2.5k")] == [D(10**6), D(2500)]


PARAMETERS = [each for command in commands(typer.main.get_command(app)) for each in command.params]
"""Of every verb, for which each was imported."""
NUMERIC = {
    f"{record.__name__}.{field}": (record, field)
    for record in records()
    for field, info in record.model_fields.items()
    if asked.number_kind(info)
}
"""Every field of every record of flags that is a number."""


FORMS: dict[quantity.Unit, tuple[tuple[str, str], ...]] = {
    "": (("2k", "2000"), ("3e6", "3000000"), ("3,000,000", "3000000"), ("1M", "1000000")),
    "vllm": (("2k", "2000"), ("2K", "2048"), ("1m", "1000000"), ("3,000", "3000")),
    "s": (("1s", "1"), ("500ms", "0.5"), ("50 ms", "0.05"), ("2min", "120")),
    "usd": (("$1,200.50", "1200.50"), ("250k", "250000")),
    "share": (("70%", "0.7"),),
    "gb": (("2TB", "2000"),),
    "gib": (("2TiB", "2048"),),
}


@pytest.mark.parametrize("name", sorted(NUMERIC))
def test_every_number_of_every_record_is_taken_as_people_type_it(name: str) -> None:
    record, field = NUMERIC[name]
    info = record.model_fields[field]
    whole = int in (asked.number_kind(info), asked.flag(info).kind)
    unit = asked.flag(info).unit or quantity.unit_of(field, not whole and asked.is_share(info))
    for form, plain in FORMS[unit]:
        assert asked.read(record, field, form) == asked.read(record, field, plain)
        kind = asked.number_kind(info)
        assert asked.read(record, field, form) == (kind and kind(plain))
    with pytest.raises(UsageError) as caught:
        asked.read(record, field, "--5")
    assert caught.value.message.endswith(f"--5 is no {'whole ' if whole else ''}number.")
    assert caught.value.hint


CONTEXTS = ("context", "max_model_len")
"""What fields of a server's longest request are called."""


def test_a_context_means_the_same_to_every_verb_and_traffic_is_decimal() -> None:
    """1M was 1,048,576 tokens to size and 1,000,000 to capacity."""
    fields = {each for each in NUMERIC.values() if each[1] in CONTEXTS}
    assert {field for _, field in fields} == set(CONTEXTS)
    forms = {"1M": 1 << 20, "1m": 10**6, "128K": 1 << 17, "128k": 128_000, "131072": 1 << 17}
    for record, field in fields:
        assert {form: asked.read(record, field, form) for form in forms} == forms, (record, field)
        said = record.model_fields[field].description or ""
        assert "as vLLM reads it: 128k is 128,000, 128K 131,072" in said, (record, field)
    traffic = [each for each in NUMERIC.values() if each[1] in ("input_tokens", "output_tokens")]
    assert traffic
    for record, field in traffic:
        assert {form: asked.read(record, field, form) for form in ("1M", "2K", "2k")} == {
            "1M": 10**6, "2K": 2000, "2k": 2000,
        }  # fmt: skip
    assert parse("2K", "--x") == parse("2k", "--x") == Lengths(low=2000)


def test_no_verb_reads_a_number_past_its_record() -> None:
    assert {each.bare_type for each in PARAMETERS}.isdisjoint({int, float, Decimal})


@pytest.mark.parametrize(
    ("arguments", "said", "hint"),
    [
        (["size", "scout", "--max-model-len", "1.5K"], "--max-model-len 1.5K is ambiguous: to vLLM a capital letter is "
         "a power of 1,024, and takes no fraction.", "For example: --max-model-len 32768"),
        (["size", "scout", "--concurrency", "1.5"], "--concurrency 1.5 is no whole number.",
         "For example: --concurrency 16"),
        (["capacity", "scout", "--requests-per-s", "500m"], "--requests-per-s 500m is ambiguous: m is a thousandth, "
         "a million or a minute.", "For example: --requests-per-s 5"),
        (["capacity", "scout", "--requests-per-s", "5", "--ttft", "0ms"], "--ttft 0 is not above 0 and at most "
         "1,000,000,000,000,000.", "For example: --ttft 2"),
        (["claude-cost", "--model", "haiku-5.5", "--input-tokens", "2G", "--output-tokens", "1"],
         "--input-tokens 2000000000 is not between 0 and 1,000,000,000.", "For example: --input-tokens 1000"),
    ],
)  # fmt: skip
def test_a_refusal_names_the_flag_and_an_example(
    arguments: list[str], said: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    assert capsys.readouterr().err == f"error: {said}\nhint: {hint}\n"


def test_a_line_of_numbers_as_people_write_them_is_the_same_question(
    capsys: pytest.CaptureFixture[str],
) -> None:
    answers = []
    for tokens, length, requests in (("2000", "131072", "1000000"), ("2k", "128K", "1M")):
        cost = ["claude-cost", "--model", "haiku-5.5", "--input-tokens", tokens, "--output-tokens", "1"]
        assert run([*cost, "--requests", requests, "--json"]) == 0
        size = ["size", "scout", "--precision", "fp8", "--on", "2xH100", "--input-tokens", tokens]
        assert run([*size, "--max-model-len", length, "--json"]) == 0
        answers.append(capsys.readouterr().out)
    assert answers[0] == answers[1]


def test_lengths_times_and_limits_take_the_same_forms() -> None:
    assert parse("500-2k", "--x") == Lengths(form="uniform", low=500, high=2000)
    assert parse("1k~300", "--x") == Lengths(form="normal", low=1000, high=300)
    assert parse("1,500", "--x") == Lengths(low=1500)
    assert slo_of(("ttft:1.5s", "tpot:50 ms", "e2el:10000")) == slo_of(("ttft:1500", "tpot:50", "e2el:10000"))
    assert [minutes(text, "--ttl") for text in ("90m", "1.5h", "90 min", "2 days")] == [90, 90, 90, 2880]


@pytest.mark.parametrize("text", ["90", "8", "h", "1e9h", "5m", "31d", "100s", "1000s", "٩h", "", "8h8h"])
def test_a_time_limit_without_its_unit_or_out_of_bounds_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no time limit between 10 minutes and 30 days"):
        minutes(text, "--ttl")


def test_every_unit_has_suffixes_and_examples_that_are_taken() -> None:
    assert (*quantity.EXAMPLES,) == (*quantity.SUFFIXES,) == get_args(quantity.Unit)
    for unit, said in quantity.EXAMPLES.items():
        for example in re.split(r", (?![0-9]{3}\b)| or ", re.sub(r" \(.*?\)", "", said)):
            quantity.read(example, unit, whole=unit == "vllm")
