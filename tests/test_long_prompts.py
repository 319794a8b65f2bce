"""Long prompts at Claude: the price that begins above a step is named, and what it takes none of is asked of nobody."""

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from deploy.cli.main import run
from deploy.costs.claude_cost import claude_cost, cost_text
from deploy.costs.claude_cost_options import Way
from deploy.costs.claude_prices import Tier, claude
from deploy.costs.claude_request import Request, over_context
from deploy.costs.compare import compare
from deploy.costs.compare_options import Question
from deploy.costs.comparison import ClaudeSide, Comparison
from deploy.report.comparison_text import comparison_text
from deploy.report.markdown import markdown
from deploy.report.tables import claude_table, elsewhere_table
from infra.money import dollars
from serving.sizing.plan import Plan
from serving.sizing.size import answer_for
from serving.sizing.size_options import Options

DAY = date(2026, 11, 30)
HAIKU = Tier(
    above_prompt_tokens=100_000,
    share_of_requests=Decimal(1),
    usd_per_mtok_input=Decimal("0.50"),
    usd_per_mtok_output=Decimal("2.50"),
    usual_usd_per_mtok_input=Decimal("0.10"),
    usual_usd_per_mtok_output=Decimal("0.50"),
)
"""Of Haiku 5.5, as claude_prices.toml has it."""
RATES = "$0.50 in and $2.50 out a million tokens in place of $0.10 in and $0.50 out"


def planned(input_tokens: int) -> Plan:
    """Scout in fp8 on eight A100s of 40 GB, two such requests at once."""
    asked = {"max_model_len": 1 << 20, "input_tokens": input_tokens, "output_tokens": 500, "concurrency": 2}
    return answer_for("scout", "fp8", "8xA100-40GB", Options.model_validate(asked))


@pytest.fixture(scope="module")
def million() -> Plan:
    return planned(1_000_000)


def compared(plan: Plan, *models: str, **question: Any) -> Comparison:
    asked = {"claude_models": models, "price_per_hour": Decimal("4.50")} | question
    return compare(plan, None, Question.model_validate(asked), DAY)


def side(found: Comparison, name: str) -> ClaudeSide:
    return next(each for each in found.claude if each.name == name)


# The price of long prompts


@pytest.mark.parametrize(("prompt", "tier"), [(100_000, None), (100_001, HAIKU)])
def test_the_tier_is_named_where_a_prompt_is_above_its_step(prompt: int, tier: Tier | None) -> None:
    request = Request(input_tokens=Decimal(prompt), output_tokens=Decimal(500))
    cost = claude_cost(claude("haiku-5.5"), request, 1, Way(), DAY)
    assert cost.breakdown.tier == tier
    assert ("tier" in cost.breakdown.model_dump(mode="json")) == bool(tier)
    said, all_of_it = cost_text(cost, is_whole=False), cost_text(cost)
    assert (f"  Its prompt is above 100,000 tokens: {RATES}." in said) == bool(tier)
    assert ("  A million tokens, of a request above 100,000 prompt tokens:" in all_of_it) == bool(tier)


def test_a_model_of_one_price_has_no_tier() -> None:
    request = Request(input_tokens=Decimal(900_000), output_tokens=Decimal(500))
    assert claude_cost(claude("sonnet-5.5"), request, 1, Way(), DAY).breakdown.tier is None
    assert claude("haiku-5.5").tier(Decimal(0)) is None


def test_a_comparison_names_the_tier_and_how_many_requests_are_in_it() -> None:
    """Of 90,000 tokens each is above the step at 1.5 to a token, and below it at 1."""
    plan = planned(90_000)
    above = compared(plan, "haiku-5.5", "sonnet-5.5", token_ratio=Decimal("1.5"))
    below = compared(plan, "haiku-5.5", token_ratio=Decimal(1))
    assert [each.tier for each in (*above.claude, *below.claude)] == [HAIKU, None, None]
    warned = (
        "Claude Haiku 5.5 has a higher price above 100,000 prompt tokens, and the requests are above it: "
        + RATES
        + "."
    )
    assert (warned in above.warnings, [text for text in below.warnings if "higher price" in text]) == (
        True,
        [],
    )
    (listed,) = (each for each in above.assumptions if each.name == "claude_price_tier")
    assert (listed.value, listed.whose, str(listed.checked_on)) == (RATES, "list price", "2026-11-23")
    assert listed.means == (
        "Claude Haiku 5.5 above 100,000 prompt tokens, as 100% of the requests are; before any multiplier"
    )
    assert not [each for each in below.assumptions if each.name == "claude_price_tier"]
    of_classes = compared(
        plan,
        "haiku-5.5",
        token_ratio=Decimal(1),
        classes=("short=75%,2k/300", "long=25%,150k/300"),
    )
    assert [text.partition(": ")[0] for text in of_classes.warnings if "higher price" in text] == [
        "Claude Haiku 5.5 has a higher price above 100,000 prompt tokens, and 25% of the requests are above it"
    ]


# What is longer than Claude takes


def test_what_no_claude_takes_is_compared_with_none(million: Plan) -> None:
    """1,000,500 tokens of Llama 4 are 1,500,750 of Haiku's, which takes 1,000,000."""
    found = compared(million, "haiku-5.5")
    haiku = side(found, "Claude Haiku 5.5")
    assert (haiku.answer, found.answer, haiku.is_to_be_had) == ("cannot be asked", "cannot be asked", False)
    here = found.self_hosted.usd_per_mtok_blended
    assert found.verdict.startswith(
        "Cannot be asked of Claude Haiku 5.5: a request is 1,500,750 of its tokens, and it takes 1,000,000. At 30% "
        f"utilisation a million tokens costs {dollars(here)} here; by its prices so many tokens would be $0.7515 "
        "there. Capacity: "
    )
    assert found.what_would_change_it[0] == "Requests that it takes: shorter ones."
    assert claude_table(found).rows[1][5:] == ("-", "cannot be asked", "-")
    table = elsewhere_table(found)
    at_claude = [row[1] for row in table.rows if "Claude" in row[0]]
    assert (set(at_claude), 1 in table.gone) == ({"cannot be asked"}, True)
    assert f"One request: {dollars(here * Decimal('1.0005'))} here." in comparison_text(found)
    assert (
        "| the same work at Claude Haiku 5.5 | cannot be asked: its requests are longer than it takes |"
        in markdown(million, None, found)
    )


def test_what_the_range_of_ratios_leaves_open_is_said_and_a_ratio_settles_it() -> None:
    """700,500 tokens are 1,050,750 at 1.5, and 840,600 at 1.2."""
    plan = planned(700_000)
    assert (
        "a request is 1,050,750 of its tokens, and it takes 1,000,000 (at 1.2 to one of Llama 4's it would take it)."
        in compared(plan, "haiku-5.5").verdict
    )
    settled = compared(plan, "haiku-5.5", token_ratio=Decimal("1.4"))
    assert (settled.answer != "cannot be asked", settled.claude[0].is_to_be_had) == (True, True)


def test_the_answer_is_against_the_cheapest_that_takes_it() -> None:
    """Haiku 4.5 takes 200,000 tokens and is cheaper than Sonnet 5.5, which takes them."""
    plan = planned(199_500)
    found = compared(plan, "claude-haiku-4-5", "sonnet-5.5", token_ratio=Decimal("1.1"))
    haiku, sonnet = side(found, "Claude Haiku 4.5"), side(found, "Claude Sonnet 5.5")
    assert haiku.usd_per_mtok_blended < sonnet.usd_per_mtok_blended
    assert (haiku.answer, found.break_even.against) == ("cannot be asked", "Claude Sonnet 5.5")
    assert not [text for text in found.what_would_change_it if "Haiku 4.5 (above" in text]


def test_of_some_requests_that_are_too_long_their_share_is_said() -> None:
    plan = planned(90_000)
    classes = ("chat=75%,2k/300", "law=25%,190k/300")
    found = compared(plan, "claude-haiku-4-5", token_ratio=Decimal("1.1"), classes=classes)
    assert found.answer != "cannot be asked"
    assert (
        "25% of the requests, the longest of 209,330 tokens, are more than the 200,000 of Claude Haiku 4.5: the figure "
        "is the price of so many tokens, not of requests it would accept." in found.warnings
    )
    request = Request(input_tokens=Decimal(200_000), output_tokens=Decimal(0))
    assert over_context(claude("claude-haiku-4-5"), request, Decimal("0.5")) == ""


def test_a_class_that_its_own_claude_does_not_take_settles_the_answer_of_all() -> None:
    plan = planned(90_000)
    classes = (
        "chat=75%,2k/300,claude=sonnet-5.5",
        "law=25%,190k/300,claude=claude-haiku-4-5",
    )
    found = compared(plan, "sonnet-5.5", token_ratio=Decimal("1.1"), classes=classes)
    assert (found.answer, found.verdict.partition(". ")[0]) == (
        "cannot be asked",
        "Cannot be asked of each class's own Claude: a request of law is longer than Claude Haiku 4.5 takes",
    )


# Where a price was read


def test_each_source_says_of_which_places_it_is(million: Plan) -> None:
    notes = elsewhere_table(compared(million, "haiku-5.5")).note.splitlines()
    read = [line for line in notes if ": read 2026-" in line]
    assert [line.partition(": read ")[0] for line in read] == [
        "the Claude API",
        "Amazon Bedrock",
        "Google Vertex AI",
        "the same model elsewhere",
    ]


def test_the_page_to_sign_is_written_by_the_commands_that_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    made = "capacity scout --precision fp8 --requests-per-month 3M --have 8xA100-40GB=1@4.50 -o plan.json"
    assert run(made.split()) == 0
    assert run(["compare", "--plan", "plan.json", "-o", "report"]) == 0
    capsys.readouterr()
    assert "Signed" in (tmp_path / "report" / "report.md").read_text()
