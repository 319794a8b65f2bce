"""The Claude side alone: the published rules to the cent, the warnings, and what is refused."""

import json
import tomllib
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
import refusals

from deploy.cli.main import run
from deploy.costs import claude_prices
from deploy.costs.claude_cost import claude_cost
from deploy.costs.claude_cost_options import Way
from deploy.costs.claude_prices import claude, newest, price_list
from deploy.costs.claude_request import Request
from deploy.costs.token_ratio import token_ratio
from infra.errors import UsageError

CASES = tomllib.loads((Path(__file__).parent / "data" / "claude_cost.toml").read_text())["case"]
DAY = date(2026, 11, 24)
ONE_EACH = Request(input_tokens=Decimal(1000), output_tokens=Decimal(1000))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["says"])
def test_the_published_rules(case: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["claude-cost", *case["ask"].split(), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert Decimal(str(found["usd"])) == Decimal(case["usd"])
    parts = [value for name, value in found["breakdown"].items() if name.endswith("_usd")]
    assert sum(Decimal(str(part)) for part in parts) == Decimal(case["usd"])


def test_the_whole_answer() -> None:
    cost = claude_cost(claude("haiku 5.5"), ONE_EACH, 1000, Way(), DAY)
    assert cost.model_dump(mode="json") == {
        "usd": 0.6,
        "model": "claude-haiku-5-5",
        "status": "live",
        "retires_on": None,
        "requests": 1000,
        "input_tokens": 1000,
        "output_tokens": 1000,
        "breakdown": {
            "input_usd": 0.1,
            "cache_read_usd": 0,
            "cache_write_5m_usd": 0,
            "cache_write_1h_usd": 0,
            "output_usd": 0.5,
            "usd_per_request": 0.0006,
            "multiplier": 1,
            "rates_usd_per_mtok": {
                "input": 0.1,
                "output": 0.5,
                "cache_read": 0.01,
                "cache_write_5m": 0.125,
                "cache_write_1h": 0.2,
            },
        },
        "cache_pays_after_reads": {"write_5m": 1, "write_1h": 2},
        "warnings": [],
        "prices_checked_on": "2026-11-23",
        "prices_source": "genai-prices 0.2.3 and litellm 1.109.1, which agree on every model both list",
        "token_ratio": token_ratio("newer", None, None).model_dump(mode="json"),
        "usd_of_llama_tokens": 0.9,
    }


def test_the_tokens_are_said_to_be_claudes_and_amounts_are_in_the_users_currency_too(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What compare asks for the same request of Llama 4's tokens: $0.0135."""
    asked = "--model sonnet-5.5 --input-tokens 2k --output-tokens 500 --requests 3M --currency EUR=0.92"
    assert run(["claude-cost", *asked.split()]) == 0
    assert capsys.readouterr().out.splitlines()[:-1] == [
        "$27,000.00 (24,840.00 EUR) for 3,000,000 requests to claude-sonnet-5-5 (live)",
        "  input                    $12,000.00 (11,040.00 EUR)",
        "  output                   $15,000.00 (13,800.00 EUR)",
        "  one request              $0.009 (0.00828 EUR)",
        "  The tokens are Claude's own, 1.5 (1.2 to 1.7) of which are one of Llama 4's.",
        "  Were they Llama 4's, it would be $40,500.00 (37,260.00 EUR).",
    ]


@pytest.mark.parametrize("name", ["claude-haiku-4-5", "claude-sonnet-5-5", "claude-fable-5-2"])
def test_a_cached_prefix_pays_after_one_read_or_two(name: str) -> None:
    """At reads of a tenth, a twentieth and a fortieth of the input price."""
    cost = claude_cost(claude(name), ONE_EACH, 1, Way(), DAY)
    assert cost.cache_pays_after_reads.model_dump() == {"write_5m": 1, "write_1h": 2}


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (
            "claude-3-5-sonnet",
            "RETIRED: Claude 3.5 Sonnet was retired on 2025-10-28; requests for it to the Claude API fail. "
            "Its successor is claude-sonnet-5-5.",
        ),
        (
            "claude-3-opus",
            "RETIRED: Claude 3 Opus was retired on 2026-01-05; requests for it to the Claude API fail. "
            "Its successor is claude-opus-5-5.",
        ),
        ("claude-sonnet-4-5", "Claude Sonnet 4.5 retires on 2026-11-30."),
        ("claude-mythos-5-2", "Claude Mythos 5.2 is only for admitted customers."),
    ],
)
def test_what_becomes_of_a_model_is_said(name: str, says: str) -> None:
    assert claude_cost(claude(name), ONE_EACH, 1, Way(), DAY).warnings == (says,)


def test_a_model_retires_on_its_day() -> None:
    model = claude("claude-sonnet-4-5")
    assert [model.status(date(2026, 11, day)) for day in (29, 30)] == ["live", "retired"]


def test_a_prompt_no_model_would_accept_is_priced_and_said() -> None:
    request = Request(input_tokens=Decimal(1_000_000), output_tokens=Decimal(1_000_000))
    (warning,) = claude_cost(claude("claude-haiku-4-5"), request, 1, Way(), DAY).warnings
    assert warning.startswith("One request of 2,000,000 tokens is more than the 200,000 of Claude Haiku 4.5")


def test_a_cache_too_small_to_be_kept_is_said() -> None:
    request = ONE_EACH.model_copy(update={"cache_read_fraction": Decimal("0.5")})
    assert claude_cost(claude("claude-haiku-5-5"), request, 1, Way(), DAY).warnings == (
        "Claude Haiku 5.5 caches prompts from 512 tokens on; 500 are not cached.",
    )


def test_an_old_table_says_so() -> None:
    (warning,) = claude_cost(claude("claude-sonnet-5-5"), ONE_EACH, 1, Way(), date(2027, 3, 1)).warnings
    assert warning.startswith("The price table is 98 days old: check it at https://platform.claude.com/")


@pytest.mark.parametrize(
    "name",
    [
        "claude-sonnet-4-5",
        "anthropic/claude-sonnet-4.5",
        "Claude Sonnet 4.5",
        "claude-sonnet-4-5-20250929",
        "sonnet-4.5",
        "claude-4.5-sonnet",
        "Claude 4.5 Sonnet",
        "claude-4-5-sonnet-latest",
    ],
)
def test_the_ways_people_write_a_model(name: str) -> None:
    assert claude(name).id == "claude-sonnet-4-5"


@pytest.mark.parametrize(
    ("name", "way", "day", "says"),
    [
        ("claude-3-haiku", Way(batch=True), DAY, "Claude 3 Haiku has no batch price."),
        ("claude-haiku-4-5", Way(us_only=True), DAY, "Claude Haiku 4.5 has no US-only inference."),
        ("claude-sonnet-5-5", Way(fast=True), DAY, "Claude Sonnet 5.5 has no fast mode."),
        (
            "claude-opus-4-8",
            Way(fast=True),
            date(2026, 11, 30),
            "Claude Opus 4.8 has no fast mode since 2026-11-30.",
        ),
        (
            "claude-opus-5-5",
            Way(fast=True, batch=True),
            DAY,
            "No price is published for fast mode in a batch.",
        ),
    ],
)
def test_what_has_no_published_price_is_refused(name: str, way: Way, day: date, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        claude_cost(claude(name), ONE_EACH, 1, way, day)
    assert caught.value.message == says


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ("--model claude-sonet-5-5", "corral has no price for a Claude model called 'claude-sonet-5-5'."),
        ("--input-tokens -1", "--input-tokens -1 is not between 0 and 1,000,000,000."),
        ("--requests 0", "--requests 0 is not between 1 and 1,000,000,000,000."),
        ("--cache-read-fraction nan", "--cache-read-fraction nan is no finite number."),
        ("--cache-read-fraction inf", "--cache-read-fraction inf is no finite number."),
        (
            "--cache-read-fraction 0.6 --cache-write-fraction 0.6",
            "The cached shares of the prompt add up to more than 1.",
        ),
    ],
)
def test_bad_input_is_one_sentence(
    changed: str,
    says: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
) -> None:
    usual = "--model claude-sonnet-5-5 --input-tokens 10 --output-tokens 10"
    words = ["claude-cost", *usual.split(), *changed.split()]
    assert run(words) == 2
    out, err = capsys.readouterr()
    assert (out, err.splitlines()[0]) == ("", f"error: {says}")
    refusals.hold(err, request, tmp_path, words)


def test_the_names_of_the_third_generation_are_taken_either_way() -> None:
    assert {claude(name).id for name in ("claude-3-5-sonnet", "Sonnet 3.5", "3.5 sonnet")} == {
        "claude-3-5-sonnet"
    }
    assert {claude(name).id for name in ("claude-3-haiku", "haiku 3", "claude-haiku-3")} == {"claude-3-haiku"}


def test_an_unknown_model_names_the_near_ones() -> None:
    with pytest.raises(UsageError) as caught:
        claude("claude-sonet-5-5")
    assert caught.value.hint.startswith("Near it: claude-sonnet-5-5")


def test_the_near_names_begin_with_models_that_are_alive() -> None:
    with pytest.raises(UsageError) as caught:
        claude("sonnet 9")
    assert caught.value.hint.startswith("Near it: claude-sonnet-5")


@pytest.mark.parametrize(
    ("name", "day", "id_"),
    [
        ("haiku", DAY, "claude-haiku-5-5"),
        ("Claude Sonnet", DAY, "claude-sonnet-5-5"),
        ("opus-latest", DAY, "claude-opus-5-5"),
        ("mythos", DAY, None),  # none is sold to anybody
        ("gpt", DAY, None),
    ],
)
def test_a_name_without_a_version_is_the_newest_live_one(name: str, day: date, id_: str | None) -> None:
    assert newest(name) == id_
    if id_:
        assert claude(name).id == id_


def test_the_newest_is_the_newest_by_its_version_of_those_that_are_live(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = price_list().models
    ten = rows["claude-opus-5"].model_copy(update={"id": "claude-opus-5-10"})
    over = rows["claude-opus-5"].model_copy(update={"id": "claude-opus-7", "retires_on": DAY})
    listed = price_list().model_copy(update={"models": rows | {ten.id: ten, over.id: over}})
    monkeypatch.setattr(claude_prices, "price_list", lambda: listed)
    assert newest("opus") == "claude-opus-5-10"


@pytest.mark.parametrize(
    ("name", "id_"),
    [("haiku", "claude-haiku-5-5"), ("bedrock/claude-haiku", "bedrock/global/claude-haiku-5-5")],
)
def test_which_one_was_meant_is_told(name: str, id_: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["claude-cost", "--model", name, "--input-tokens", "10", "--output-tokens", "10"]) == 0
    out, err = capsys.readouterr()
    assert err == f"{name}: Claude Haiku 5.5, the newest of that name that is live; another by its version\n"
    assert f"for 1 request to {id_} (live)" in out
