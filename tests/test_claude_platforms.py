"""Claude on Bedrock, Vertex and Foundry: the names people use there, the prices by region, what is sold when."""

import json
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
import refusals

from deploy.cli.main import run
from deploy.costs.claude_cost import claude_cost
from deploy.costs.claude_cost_options import Way
from deploy.costs.claude_names import Named, named
from deploy.costs.claude_platforms import sold
from deploy.costs.claude_prices import ClaudeModel, EarlierPrice, Rates, claude
from deploy.costs.claude_request import Request
from deploy.costs.claude_sold import Sold
from infra.errors import UsageError

DAY = date(2026, 11, 29)
USUAL = "--input-tokens 1000 --output-tokens 1000 --requests 1000"
ONE_EACH = Request(input_tokens=Decimal(1000), output_tokens=Decimal(1000))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("claude-sonnet-4-5", Named("claude-sonnet-4-5")),
        ("Sonnet 4.5", Named("sonnet 4.5")),
        ("claude-sonnet-4-5-20250929[1m]", Named("claude-sonnet-4-5-20250929")),
        ("anthropic/claude-sonnet-4.5", Named("anthropic/claude-sonnet-4.5")),
        ("us.anthropic.claude-opus-4-6-v1", Named("claude-opus-4-6", "bedrock", "us")),
        ("global.anthropic.claude-haiku-5-5", Named("claude-haiku-5-5", "bedrock", "global")),
        (
            "EU.anthropic.claude-sonnet-4-5-20250929-v1:0",
            Named("claude-sonnet-4-5-20250929", "bedrock", "eu"),
        ),
        (
            "us-gov.anthropic.claude-3-haiku-20240307-v1:0",
            Named("claude-3-haiku-20240307", "bedrock", "us-gov"),
        ),
        (
            "anthropic.claude-3-haiku-20240307-v1:0:48k",
            Named("claude-3-haiku-20240307", "bedrock", "in-region"),
        ),
        (
            "anthropic.claude-3-5-sonnet-20241022-v2:0",
            Named("claude-3-5-sonnet-20241022", "bedrock", "in-region"),
        ),
        (
            "bedrock/us-gov-west-1/anthropic.claude-opus-5",
            Named("claude-opus-5", "bedrock", "us-gov-west-1"),
        ),
        ("bedrock/converse/eu.anthropic.claude-opus-5", Named("claude-opus-5", "bedrock", "eu")),
        (
            "arn:aws:bedrock:eu-central-1:123456789012:inference-profile/eu.anthropic.claude-sonnet-5",
            Named("claude-sonnet-5", "bedrock", "eu"),
        ),
        (
            "arn:aws-us-gov:bedrock:us-gov-east-1::foundation-model/anthropic.claude-sonnet-4-5-20250929-v1:0",
            Named("claude-sonnet-4-5-20250929", "bedrock", "us-gov-east-1"),
        ),
        ("bedrock/eu/claude-opus-5", Named("claude-opus-5", "bedrock", "eu")),
        ("claude-haiku-4-5@20251001", Named("claude-haiku-4-5", "vertex")),
        ("claude-3-5-sonnet-v2@20241022", Named("claude-3-5-sonnet", "vertex")),
        ("vertex_ai/claude-sonnet-4-6@default", Named("claude-sonnet-4-6", "vertex")),
        ("vertex/eu/claude-opus-5-5", Named("claude-opus-5-5", "vertex", "eu")),
        (
            "projects/p-1/locations/europe-west1/publishers/anthropic/models/claude-opus-4-1@20250805",
            Named("claude-opus-4-1", "vertex", "europe-west1"),
        ),
        ("azure_ai/claude-opus-5", Named("claude-opus-5", "foundry")),
        ("foundry/us/claude-opus-5", Named("claude-opus-5", "foundry", "us")),
        ("bedrock/claude_platform/claude-opus-5", Named("claude-opus-5", "aws")),
        ("aws/us/claude-opus-5", Named("claude-opus-5", "aws", "us")),
    ],
)
def test_a_platforms_name_says_model_platform_and_region(text: str, says: Named) -> None:
    assert named(text) == says


@pytest.mark.parametrize(
    ("ask", "usd", "model"),
    [
        ("--model eu.anthropic.claude-sonnet-5-5", "13.2", "bedrock/eu/claude-sonnet-5-5"),
        ("--model global.anthropic.claude-sonnet-5-5", "12", "bedrock/global/claude-sonnet-5-5"),
        ("--model anthropic.claude-sonnet-5-5", "13.2", "bedrock/in-region/claude-sonnet-5-5"),
        (
            "--model us-gov.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "21.6",
            "bedrock/us-gov/claude-sonnet-4-5",
        ),
        ("--model us.anthropic.claude-opus-4-1-20250805-v1:0", "90", "bedrock/us/claude-opus-4-1"),
        ("--model claude-haiku-4-5@20251001", "6", "vertex/global/claude-haiku-4-5"),
        ("--model claude-haiku-4-5@20251001 --claude-region eu", "6.6", "vertex/eu/claude-haiku-4-5"),
        (
            "--model sonnet-5.5 --claude-platform bedrock --claude-region eu-central-1",
            "13.2",
            "bedrock/eu-central-1/claude-sonnet-5-5",
        ),
        (
            "--model opus-5.5 --claude-platform vertex --claude-region us-east5",
            "26.4",
            "vertex/us-east5/claude-opus-5-5",
        ),
        (
            "--model opus-5.5 --claude-platform foundry --claude-region US",
            "26.4",
            "foundry/us/claude-opus-5-5",
        ),
        ("--model haiku-4.5 --claude-platform foundry", "6", "foundry/global/claude-haiku-4-5"),
        ("--model opus-5.5 --claude-platform api", "24", "claude-opus-5-5"),
        ("--model opus-5.5 --claude-platform aws", "24", "aws/global/claude-opus-5-5"),
        ("--model aws/claude-sonnet-5-5 --batch", "6", "aws/global/claude-sonnet-5-5"),
        ("--model aws/claude-sonnet-5-5 --claude-region us", "13.2", "aws/us/claude-sonnet-5-5"),
        # Fast mode is twice the 8 and 40, of which a region makes 1.1 times as much.
        ("--model vertex/eu/claude-fable-5-2 --fast", "105.6", "vertex/eu/claude-fable-5-2"),
        ("--model mythos-5.1", "60", "claude-mythos-5-1"),
        ("--model mythos-5 --batch", "30", "claude-mythos-5"),
        ("--model us.anthropic.claude-mythos-5", "66", "bedrock/us/claude-mythos-5"),
        # The step of Haiku 5.5 is in a region's price too.
        (
            "--model eu.anthropic.claude-haiku-5-5 --input-tokens 200000 --output-tokens 0",
            "110",
            "bedrock/eu/claude-haiku-5-5",
        ),
        # A longer context is a preview on Vertex alone, at a step of its own: 300,000 x 6.
        (
            "--model claude-sonnet-4-5@20250929 --input-tokens 300000 --output-tokens 0",
            "1800",
            "vertex/global/claude-sonnet-4-5",
        ),
    ],
)
def test_what_a_region_costs(
    ask: str, usd: str, model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1795953600")  # 2026-11-29, noon
    assert run(["claude-cost", *USUAL.split(), *ask.split(), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (Decimal(str(found["usd"])), found["model"], found["warnings"][1:]) == (Decimal(usd), model, [])


def test_the_id_of_a_sold_model_is_a_name_of_it() -> None:
    for name in ("eu.anthropic.claude-opus-5-5", "claude-haiku-4-5@20251001", "foundry/us/claude-opus-5"):
        once = sold(name, Sold(), DAY)
        assert sold(once.id, Sold(), DAY) == once


def test_where_it_is_sold_a_model_lives_by_that_platforms_calendar() -> None:
    """Opus 4.1 is retired on the API and on Foundry, which Anthropic runs; on Bedrock it is sold until 2027."""

    def status(name: str, day: date) -> str:
        return sold(name, Sold(), day).status(day)

    names = (
        "claude-opus-4-1",
        "foundry/claude-opus-4-1",
        "us.anthropic.claude-opus-4-1",
        "claude-opus-4-1@20250805",
    )
    assert [status(name, DAY) for name in names] == ["retired", "retired", "live", "live"]
    assert [status("us.anthropic.claude-opus-4-1", date(2027, 1, day)) for day in (7, 8)] == [
        "live",
        "retired",
    ]
    assert [
        status("eu.anthropic.claude-sonnet-4-20250514-v1:0", date(2026, 10, day)) for day in (13, 14)
    ] == [
        "live",
        "retired",
    ]
    # What the API ends tomorrow is not ended elsewhere: their own pages say when.
    assert [
        status(name, date(2026, 12, 1)) for name in ("claude-sonnet-4-5", "eu.anthropic.claude-sonnet-4-5")
    ] == [
        "retired",
        "live",
    ]
    assert status("bedrock/claude-mythos-5-2", DAY) == "limited"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (
            "claude-opus-4-1",
            "RETIRED: Claude Opus 4.1 was retired on 2026-08-05; requests for it to the Claude API fail. Still sold: "
            "Amazon Bedrock until 2027-01-08, Google Vertex AI. Its successor is claude-opus-5-5.",
        ),
        (
            "us.anthropic.claude-opus-4-1",
            "Claude Opus 4.1 (Amazon Bedrock, us) retires on 2027-01-08. Claude Opus 4.1 (Amazon Bedrock, us) is on "
            "extended access since 2026-10-08: for those who used it before, at a price that may be higher than this "
            "one.",
        ),
        (
            "bedrock/claude-sonnet-4",
            "RETIRED: Claude Sonnet 4 (Amazon Bedrock, global) was retired on 2026-10-14; requests for it to Amazon "
            "Bedrock fail. Its successor is claude-sonnet-5-5.",
        ),
    ],
)
def test_what_becomes_of_a_model_is_said_by_platform(name: str, says: str) -> None:
    assert claude_cost(sold(name, Sold(), DAY), ONE_EACH, 1, Way(), DAY).warnings == (says,)


@pytest.mark.parametrize(
    "changed",
    [
        "--model eu.anthropic.claude-sonnet-5-5 --claude-platform vertex",
        "--model eu.anthropic.claude-sonnet-5-5 --claude-region us",
        "--model eu.anthropic.claude-sonnet-9",
        "--model eu.anthropic.claude-fable-5-1",
        "--claude-platform bedrock --claude-region mars",
        "--claude-platform azure",
        "--claude-region eu",
        "--model haiku-4.5 --claude-platform foundry --claude-region us",
        "--model eu.anthropic.claude-sonnet-5-5 --us-only",
        "--claude-platform foundry --batch",
        "--model us.anthropic.claude-opus-4-1 --cache-write-1h-fraction 0.5",
        "--model vertex/claude-3-7-sonnet",
        "--model vertex/claude-mythos-5",
        "--model eu.anthropic.claude-mythos-5-1",
        "--model vertex/europe-west1/claude-fable-5-2 --fast",
        "--model vertex/claude-opus-5-5 --fast",
        "--claude-platform aws --claude-region us-west-2",
        "--model aws/us/claude-haiku-4-5",
        "--model aws/claude-opus-5-5 --fast",
        "--claude-platform aws --us-only",
        "--model mythos",
        "--at soon",
        "--at 2026-02-30",
        "--model haiku-5.5 --at 2026-10-06",
        "--at=",
    ],
)
def test_bad_input_is_one_sentence(
    changed: str, tmp_path: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    usual = "--model claude-sonnet-5-5 --input-tokens 10 --output-tokens 10"
    words = ["claude-cost", *usual.split(), *changed.split()]
    assert run(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    refusals.hold(err, request, tmp_path, words)


@pytest.mark.parametrize(
    ("ask", "usd"),
    [
        # The premium on long prompts ended on 2026-03-13: 300,000 x 6 + 1,000 x 22.50, then 300,000 x 3 + 1,000 x 15.
        ("claude-sonnet-4-6 --at 2026-03-12", "1.8225"),
        ("claude-sonnet-4-6 --at 2026-03-13", "0.915"),
        ("claude-opus-4-6 --at 2026-03-12", "3.0375"),
        ("claude-opus-4-6 --at 2026-03-13", "1.525"),
        ("claude-sonnet-4-5 --at 2026-04-29", "1.8225"),
        ("bedrock/eu/claude-sonnet-4-6 --at 2026-03-13", "1.0065"),
    ],
)
def test_prices_as_they_stood(ask: str, usd: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = f"claude-cost --input-tokens 300000 --output-tokens 1000 --json --model {ask}"
    assert run(command.split()) == 0
    found = json.loads(capsys.readouterr().out)
    says = f"Claude's prices are those of {ask[-10:]}, as --at says."
    assert (Decimal(str(found["usd"])), found["warnings"]) == (Decimal(usd), [says])


def test_what_will_hold_is_not_known_and_said() -> None:
    way, day = Way(at=date(2026, 12, 25)), date(2026, 12, 25)
    says = "No prices of 2026-12-25 were read: these are those of 2026-11-23."
    assert claude_cost(sold("claude-sonnet-5-5", way, day), ONE_EACH, 1, way, day).warnings == (says,)


def test_an_introductory_price_ends_and_what_follows_is_not_made_up() -> None:
    """No model has one today: Sonnet 5's was announced to end, and did not."""
    first = Rates(**dict.fromkeys(Rates.model_fields, Decimal(1)))
    second = Rates(**dict.fromkeys(Rates.model_fields, Decimal(2)))
    rows = {
        "since": date(2026, 1, 1),
        "price": second,
        "earlier": (EarlierPrice(until=date(2026, 2, 1), price=first),),
        "price_ends_on": date(2026, 3, 1),
    }
    model: ClaudeModel = claude("claude-sonnet-5").model_copy(update=rows)
    days = (date(2026, 1, 31), date(2026, 2, 1), date(2026, 2, 28))
    assert [model.as_of(day).price.input for day in days] == [1, 2, 2]
    for day in (date(2025, 12, 31), date(2026, 3, 1)):
        with pytest.raises(UsageError):
            model.as_of(day)


@pytest.mark.parametrize(
    ("name", "cached", "usd"),
    [
        # 2,000 tokens of a million prompts, 90 % read: Haiku 4.5 keeps nothing below 4,096, and bills 2,000 x 1.
        ("claude-haiku-4-5", "0.9", "2000"),
        ("claude-haiku-5-5", "0.9", "38"),
        # Opus 4.7 keeps 2,048 tokens on the API and 4,096 on Bedrock: 2,000 are too few for both.
        ("claude-opus-4-7", "1", "10000"),
        ("claude-opus-4-8", "1", "1000"),
    ],
)
def test_a_prefix_too_short_to_be_kept_is_billed_in_full(name: str, cached: str, usd: str) -> None:
    request = Request(
        input_tokens=Decimal(2000), output_tokens=Decimal(0), cache_read_fraction=Decimal(cached)
    )
    assert claude_cost(claude(name), request, 1_000_000, Way(), DAY).usd == Decimal(usd)


def test_the_least_prefix_is_the_platforms() -> None:
    request = Request(input_tokens=Decimal(3000), output_tokens=Decimal(0), cache_read_fraction=Decimal(1))
    names = ("claude-opus-4-7", "global.anthropic.claude-opus-4-7")
    costs = [claude_cost(sold(name, Sold(), DAY), request, 1000, Way(), DAY) for name in names]
    assert [cost.usd for cost in costs] == [Decimal("1.5"), Decimal(15)]


def test_what_nobody_verified_is_said() -> None:
    request = Request(input_tokens=Decimal(3000), output_tokens=Decimal(0), cache_read_fraction=Decimal(1))
    assert claude_cost(claude("claude-fable-5-2"), request, 1, Way(), DAY).warnings == (
        "From how many tokens on Claude Fable 5.2 caches a prompt is not verified; 512 is taken.",
    )
