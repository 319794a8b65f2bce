"""Claude's prices on other platforms: the same as genai-prices and litellm have for the names used there.

What litellm has is a copy of its rows (tests/data/litellm_prices.json), for the package cannot be had by itself.
"""

import contextlib
import json
import re
from datetime import UTC, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from genai_prices import Usage, calc_price

from deploy.costs.claude_names import named
from deploy.costs.claude_platforms import platforms, sold
from deploy.costs.claude_prices import ClaudeModel, Rates, price_list
from deploy.costs.claude_sold import Sold
from infra.errors import UsageError

MODELS = list(price_list().models.values())
DAY = price_list().checked_on
NOON = datetime.combine(DAY, time(12), UTC)
SHORT, LONG = 1000, 150_000
# Sold to admitted customers, whose prices genai-prices leaves out; litellm's rows hold them.
NOT_GENAI = ("claude-mythos-5", "claude-mythos-5-1")
PROFILES = ("global", "us", "eu", "au", "jp", "in", "apac")


def ours(
    name: str, tokens: int, kinds: tuple[str, ...], region: str | None = None
) -> dict[str, Decimal] | None:
    """The rates we have, by kind of token; None where we refuse, or where it is sold no more."""
    try:
        model = sold(name, Sold(claude_region=region), DAY)
    except UsageError:
        return None
    if model.status(DAY) == "retired":
        return None
    rates = model.rates(Decimal(tokens))
    return {kind: getattr(rates, kind) for kind in kinds if kind != "cache_write_1h" or model.cache_1h}


def theirs(name: str, provider: str, tokens: int, kinds: tuple[str, ...]) -> dict[str, Decimal] | None:
    """The rates genai-prices has, found by pricing one request a kind of token; None where it knows no such name."""
    marks = {
        "input": {},
        "output": {"output_tokens": 1},
        "cache_read": {"cache_read_tokens": 1},
        "cache_write_5m": {"cache_write_tokens": 1, "cache_write_5m_tokens": 1},
        "cache_write_1h": {"cache_write_tokens": 1, "cache_write_1h_tokens": 1},
    }

    def usd(usage: Usage) -> Decimal:
        return calc_price(usage, name, provider_id=provider, genai_request_timestamp=NOON).total_price

    try:
        prompt = usd(Usage(input_tokens=tokens))
    except LookupError:
        return None
    found = {
        kind: usd(Usage(input_tokens=tokens, **{mark: tokens for mark in marks[kind]}))
        - (prompt if kind == "output" else 0)
        for kind in kinds
    }
    return {kind: value * 1_000_000 / tokens for kind, value in found.items()}


@pytest.mark.parametrize(
    "model", [model for model in MODELS if model.id not in NOT_GENAI], ids=lambda model: model.id
)
def test_every_price_on_bedrock_is_the_one_genai_prices_has(model: ClaudeModel) -> None:
    row = platforms()["bedrock"].model.get(model.id)
    for profile in PROFILES:
        name = f"{profile}.anthropic.{row and row.called or model.id}"
        for tokens in (SHORT, LONG):
            mine = ours(name, tokens, tuple(Rates.model_fields))
            found = theirs(name, "aws", tokens, tuple(mine or Rates.model_fields))
            if (mine is not None and found is not None) or (row and row.zones):
                assert (profile, mine) == (profile, found)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.id)
def test_every_price_on_vertex_is_the_one_genai_prices_has(model: ClaudeModel) -> None:
    for tokens in (SHORT, LONG, 250_000):
        mine = ours(f"vertex/{model.id}", tokens, tuple(Rates.model_fields))
        found = theirs(model.id, "google", tokens, tuple(mine or ()))
        if mine is not None and found is not None:
            assert {kind: rate for kind, rate in found.items() if kind in mine} == mine


def litellm() -> dict[str, dict[str, Any]]:
    """litellm's rows, by its name for a model."""
    path = Path(__file__).parent.parent / "data" / "litellm_prices.json"
    rows: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["rows"]
    return rows


# Where litellm is wrong: bare names of Bedrock at the global rate (its issue 42679), the price at which Vertex began to
# sell 3.5 Haiku, a batch of Opus 5.5 at Opus 5's; and what the AWS price list does not have (genai-prices).
NOT_LITELLM = re.compile(r"anthropic\..*|vertex_ai/claude-3-5-haiku.*|eu\.anthropic\.claude-fable-5-1")


def sold_by_us() -> list[str]:
    """Its names that are ours too."""
    names = []
    for name in litellm():
        with contextlib.suppress(UsageError):
            sold(name, Sold(), DAY)
            names.append(name)
    return names


@pytest.mark.parametrize("name", [name for name in sold_by_us() if not NOT_LITELLM.fullmatch(name)])
def test_every_price_litellm_has_is_ours(name: str) -> None:
    row, model = litellm()[name], sold(name, Sold(), DAY)
    kinds = [
        kind for kind in Rates.model_fields if kind in row and (kind != "cache_write_1h" or model.cache_1h)
    ]
    assert {kind: getattr(model.price, kind) for kind in kinds} == {
        kind: Decimal(row[kind]) for kind in kinds
    }
    if "batch" in row and model.batch and "vertex_ai/claude-opus-5-5" not in name:
        assert model.price.input / 2 == Decimal(row["batch"]["input"])
    if model.platform == "api":
        assert model.min_cache_tokens == row["prompt_cache_min_tokens"]


@pytest.mark.parametrize("platform", ["bedrock", "vertex"])
def test_a_model_that_is_sold_there_is_called_what_litellm_calls_it(platform: str) -> None:
    """With its version, where it has one; without Bedrock's region before it."""
    theirs: dict[str, set[str]] = {}
    ours_too = sold_by_us()
    for name in litellm():
        said = named(name)
        if said.platform == platform and name in ours_too:
            model = sold(name, Sold(), DAY)
            if model.status(DAY) != "retired":
                called = re.split(r"anthropic\.|vertex_ai/", name)[-1].removesuffix("@default")
                theirs.setdefault(model.id.rpartition("/")[2], set()).add(called)
    rows = platforms()[platform].model
    mine = {each: rows[each].called if each in rows else None for each in theirs}
    assert {each: name or each for each, name in mine.items()} == {
        each: max(names, key=lambda name: (len(name), name)) for each, names in theirs.items()
    }
