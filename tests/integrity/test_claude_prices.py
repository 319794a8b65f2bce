"""The shipped price tables: sane in themselves, and the same as genai-prices has for the day they were checked."""

from datetime import UTC, datetime, time, timedelta
from decimal import Decimal

import pytest
from genai_prices import Usage, calc_price

from deploy.costs.claude_prices import ClaudeModel, Rates, claude, price_list
from deploy.costs.hosted_offers import Offer, offers
from deploy.costs.knobs import table as knobs
from deploy.costs.token_ratio import RANGE
from deploy.costs.token_ratio import table as ratios
from serving.model.models import models

# genai-prices leaves out those of its own that are for admitted customers alone; litellm's rows hold their prices.
NOT_GENAI = ("claude-mythos-5", "claude-mythos-5-1")
MODELS = [model for model in price_list().models.values() if model.id not in NOT_GENAI]
SHORT, LONG = 1000, 150_000
# Where their name for a model differs from the API's.
THEIR_NAMES = {
    "claude-opus-4": "claude-opus-4-0",
    "claude-sonnet-4": "claude-sonnet-4-0",
    "claude-3-7-sonnet": "claude-3-7-sonnet-latest",
    "claude-3-5-haiku": "claude-3-5-haiku-latest",
    "claude-3-opus": "claude-3-opus-latest",
}
WHEN = datetime.combine(price_list().checked_on, time(12), UTC)
KINDS: dict[str, dict[str, int]] = {
    "input": {},
    "cache_read": {"cache_read_tokens": 1},
    "cache_write_5m": {"cache_write_tokens": 1, "cache_write_5m_tokens": 1},
    "cache_write_1h": {"cache_write_tokens": 1, "cache_write_1h_tokens": 1},
}


def theirs(
    model: ClaudeModel, tokens: int, context: dict[str, str] | None = None, when: datetime = WHEN
) -> Rates:
    """USD per million tokens as genai-prices has it, found by pricing one request a kind of token."""
    rates = {}
    for kind, marks in KINDS.items():
        usage = Usage(input_tokens=tokens, **{name: tokens for name in marks})
        rates[kind] = priced(model, usage, context, when) * 1_000_000 / tokens
    prompt = priced(model, Usage(input_tokens=tokens), context, when)
    both = priced(model, Usage(input_tokens=tokens, output_tokens=tokens), context, when)
    return Rates(output=(both - prompt) * 1_000_000 / tokens, **rates)


def priced(model: ClaudeModel, usage: Usage, context: dict[str, str] | None, when: datetime) -> Decimal:
    """One request's price on a day."""
    return calc_price(
        usage,
        THEIR_NAMES.get(model.id, model.id),
        provider_id="anthropic",
        genai_request_timestamp=when,
        price_context=context,
    ).total_price


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.id)
def test_every_price_is_the_one_genai_prices_has(model: ClaudeModel) -> None:
    assert model.rates(Decimal(SHORT)).model_dump() == theirs(model, SHORT).model_dump()
    if model.context_tokens > LONG and model.status(price_list().checked_on) != "retired":
        long = {name: getattr(model.rates(Decimal(LONG)), name) for name in Rates.model_fields}
        assert long == theirs(model, LONG).model_dump()


# A cache read of Sonnet 5.5 cost twice as much until 2026-10-07, which genai-prices leaves out.
CHANGED = [model for model in MODELS if model.earlier and model.id != "claude-sonnet-5-5"]


@pytest.mark.parametrize("model", CHANGED, ids=lambda model: model.id)
def test_an_earlier_price_is_the_one_genai_prices_has_for_that_day(model: ClaudeModel) -> None:
    for each in model.earlier:
        day = each.until - timedelta(days=1)
        then, when = model.as_of(day), datetime.combine(day, time(12), UTC)
        for tokens in (SHORT, 250_000):
            rates = {name: getattr(then.rates(Decimal(tokens)), name) for name in Rates.model_fields}
            assert rates == theirs(model, tokens, when=when).model_dump()


@pytest.mark.parametrize("model", [model for model in MODELS if model.batch], ids=lambda model: model.id)
def test_a_batch_is_half_of_everything(model: ClaudeModel) -> None:
    half = {name: value / 2 for name, value in model.rates(Decimal(SHORT)).model_dump().items()}
    assert theirs(model, SHORT, {"processing": "batch"}).model_dump() == half


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.id)
def test_fast_mode_is_twice_everything_where_there_is_one(model: ClaudeModel) -> None:
    """genai-prices returns the standard price, unasked, for a model without one."""
    factor = price_list().rules.fast if model.fast else 1
    wanted = {name: value * factor for name, value in model.rates(Decimal(SHORT)).model_dump().items()}
    assert theirs(model, SHORT, {"speed": "fast"}).model_dump() == wanted


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.id)
def test_a_model_is_whole(model: ClaudeModel) -> None:
    day = price_list().checked_on
    assert (
        0
        < model.price.cache_read
        < model.price.input
        < model.price.cache_write_5m
        < model.price.cache_write_1h
    )
    assert model.price.input < model.price.output
    assert [each.until for each in model.earlier] == sorted({each.until for each in model.earlier})
    assert model.since is not None
    assert model.min_cache_tokens is not None or model.status(day) == "retired"
    if model.status(day) == "retired":
        assert not model.batch
        assert model.successor is not None
        assert claude(model.successor).status(day) == "live"


def test_ids_names_and_aliases_stand_for_one_model_each() -> None:
    for model in MODELS:
        for word in (model.id, model.name, *model.aliases):
            assert claude(word).id == model.id


@pytest.mark.parametrize("offer", offers().offer, ids=lambda offer: offer.host)
def test_an_offer_is_whole(offer: Offer) -> None:
    assert offer.price
    assert offer.price.keys() <= models().keys()
    assert all(0 < price.input <= price.output for price in offer.price.values())
    if offer.ends_on is not None and offer.ends_on <= offers().checked_on:
        assert offer.status == "ended"


def test_no_offer_is_made_twice() -> None:
    hosts = [offer.host for offer in offers().offer]
    assert len(set(hosts)) == len(hosts)


@pytest.mark.parametrize("tokenizer", ["newer", "older"])
def test_the_base_ratio_is_the_mean_of_the_kinds_of_text_within_the_range(tokenizer: str) -> None:
    row = getattr(ratios(), tokenizer)
    kinds = [value for name, value in row.items() if name not in RANGE]
    assert abs(row["base"] - sum(kinds) / len(kinds)) < Decimal("0.005")
    assert row["low"] <= min(kinds) + Decimal("0.05")
    assert max(kinds) <= row["high"]


def test_every_knob_is_within_its_own_bounds() -> None:
    ours = {name: (knob, knob.value) for name, knob in knobs().items() if knob.value is not None}
    assert [name for name, (knob, value) in ours.items() if not knob.least <= value <= knob.most] == []
    on_ec2 = {"storage_gb", "usd_per_storage_gb_month", "public_addresses"}
    assert {name for name, knob in knobs().items() if knob.unsaid} == knobs().keys() - ours.keys() | on_ec2
