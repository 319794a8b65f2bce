"""What other hosts ask for Llama 4: the same as genai-prices and litellm have, where they have it."""

import json
from datetime import UTC, datetime, time
from decimal import Decimal
from pathlib import Path

import pytest
from genai_prices import Usage, calc_price

from deploy.costs.hosted_offers import OfferPrice, offers

MTOK = 1_000_000
WHEN = datetime.combine(offers().checked_on, time(12), UTC)
ROWS = json.loads(
    (Path(__file__).parent.parent / "data" / "litellm_prices.json").read_text(encoding="utf-8")
)["rows"]
SCOUT, MAVERICK = "llama-4-scout-17b-16e-instruct", "llama-4-maverick-17b-128e-instruct"
# What genai-prices calls a host, and our models there.
GENAI = {
    ("AWS Bedrock", "scout"): ("aws", "meta.llama4-scout-17b-instruct-v1:0"),
    ("AWS Bedrock", "maverick"): ("aws", "meta.llama4-maverick-17b-instruct-v1:0"),
    ("Cloudflare Workers AI", "scout"): ("cloudflare", f"@cf/meta/{SCOUT}"),
    ("Databricks", "maverick"): ("databricks", "databricks-llama-4-maverick"),
    ("Fireworks", "maverick"): ("fireworks", "accounts/fireworks/models/llama4-maverick-instruct-basic"),
    ("Groq (Scout)", "scout"): ("groq", f"meta-llama/{SCOUT}"),
    ("Groq (Maverick)", "maverick"): ("groq", f"meta-llama/{MAVERICK}"),
    ("Nscale (through Hugging Face)", "scout"): ("huggingface_nscale", f"meta-llama/{SCOUT}"),
    ("Novita", "scout"): ("novita", f"meta-llama/{SCOUT}"),
    ("Novita", "maverick"): ("novita", f"meta-llama/{MAVERICK}-fp8"),
    ("OpenRouter", "scout"): ("openrouter", "meta-llama/llama-4-scout"),
    ("OpenRouter", "maverick"): ("openrouter", "meta-llama/llama-4-maverick"),
    ("Together", "scout"): ("together", "meta-llama/Llama-4-Scout-17B-16E-Instruct"),
    ("Together", "maverick"): ("together", "meta-llama/Llama-4-Maverick-17B-128E-Instruct-FP8"),
}
LITELLM = {
    ("AWS Bedrock", "scout"): "us.meta.llama4-scout-17b-instruct-v1:0",
    ("AWS Bedrock", "maverick"): "us.meta.llama4-maverick-17b-instruct-v1:0",
    ("Azure AI Foundry (Scout)", "scout"): "azure_ai/Llama-4-Scout-17B-16E-Instruct",
    ("Azure AI Foundry (Maverick)", "maverick"): "azure_ai/Llama-4-Maverick-17B-128E-Instruct-FP8",
    ("Google Vertex AI", "scout"): f"vertex_ai/meta/{SCOUT}-maas",
    ("Google Vertex AI", "maverick"): f"vertex_ai/meta/{MAVERICK}-maas",
    ("DeepInfra", "scout"): "deepinfra/meta-llama/Llama-4-Scout-17B-16E-Instruct",
    ("DeepInfra", "maverick"): "deepinfra/meta-llama/Llama-4-Maverick-17B-128E-Instruct-FP8",
    ("Novita", "scout"): f"novita/meta-llama/{SCOUT}",
    ("Novita", "maverick"): f"novita/meta-llama/{MAVERICK}-fp8",
    ("Cloudflare Workers AI", "scout"): f"cloudflare/@cf/meta/{SCOUT}",
    ("Nscale (through Hugging Face)", "scout"): "nscale/meta-llama/Llama-4-Scout-17B-16E-Instruct",
    ("Fireworks", "scout"): "fireworks_ai/accounts/fireworks/models/llama4-scout-instruct-basic",
    ("Fireworks", "maverick"): "fireworks_ai/accounts/fireworks/models/llama4-maverick-instruct-basic",
    ("Databricks", "maverick"): "databricks/databricks-llama-4-maverick",
    ("OCI", "scout"): f"oci/meta.{SCOUT}",
    ("OCI", "maverick"): f"oci/meta.{MAVERICK}-fp8",
    ("Snowflake", "maverick"): "snowflake/llama4-maverick",
    ("IBM watsonx", "maverick"): f"watsonx/meta-llama/{MAVERICK}-fp8",
    ("SambaNova", "maverick"): "sambanova/Llama-4-Maverick-17B-128E-Instruct",
    ("Together", "scout"): "together_ai/meta-llama/Llama-4-Scout-17B-16E-Instruct",
}  # fmt: skip
OURS = {(offer.host, model): price for offer in offers().offer for model, price in offer.price.items()}


@pytest.mark.parametrize("offer", OURS, ids=" ".join)
def test_each_price_is_somebody_elses_too(offer: tuple[str, str]) -> None:
    assert offer in GENAI or offer in LITELLM


@pytest.mark.parametrize("offer", GENAI, ids=" ".join)
def test_a_hosts_price_is_the_one_genai_prices_has(offer: tuple[str, str]) -> None:
    provider, name = GENAI[offer]

    def usd(usage: Usage) -> Decimal:
        return calc_price(usage, name, provider_id=provider, genai_request_timestamp=WHEN).total_price

    prompt = usd(Usage(input_tokens=MTOK))
    both = usd(Usage(input_tokens=MTOK, output_tokens=MTOK))
    assert OfferPrice(input=prompt, output=both - prompt) == OURS[offer]


@pytest.mark.parametrize("offer", LITELLM, ids=" ".join)
def test_a_hosts_price_is_the_one_litellm_has(offer: tuple[str, str]) -> None:
    """To four digits: litellm converts Databricks' units, and rounds."""
    row, price = ROWS[LITELLM[offer]], OURS[offer]
    assert [round(Decimal(row[kind]), 4) for kind in ("input", "output")] == [price.input, price.output]
