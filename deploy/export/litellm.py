"""LiteLLM proxy: the replicas as one model, and a Claude model where they fail or a request is too long for them."""

from decimal import Decimal
from typing import Any

from deploy.costs.claude_prices import claude, price_list
from deploy.export.rendering import Ask, Export
from infra.errors import UsageError
from infra.host import HostFile
from infra.money import MTOK
from infra.yaml_text import dumped

LITELLM = "1.109.1"


def render(ask: Ask) -> Export:
    """config.yaml; every key is read from LiteLLM's environment."""
    name, there = ask.plan.serve.served_model_name, fallback(ask)
    config = {
        "model_list": [
            *(own(ask, endpoint) for endpoint in endpoints(ask)),
            {
                "model_name": there,
                "litellm_params": {"model": f"anthropic/{there}", "api_key": "os.environ/ANTHROPIC_API_KEY"},
            },
        ],
        "router_settings": {
            "num_retries": 1,
            "timeout": 600,
            "allowed_fails": 3,
            "cooldown_time": 30,
            "fallbacks": [{name: [there]}],
            "context_window_fallbacks": [{name: [there]}],
        },
        "litellm_settings": {"drop_params": True, "max_budget": 100, "budget_duration": "30d"},
        "general_settings": {"master_key": "os.environ/LITELLM_MASTER_KEY"},
    }
    return Export(
        format="litellm",
        files=(HostFile(path="config.yaml", content=dumped(config)),),
        notes=(
            f"A configuration of this form was run with litellm {LITELLM} against two fake back ends.",
            f"A request that falls back leaves your machines and is billed: {there} gets it when every server fails. "
            "max_budget (100 USD in 30 days) is the limit; whether it holds without a database was not tested.",
            *price_note(ask),
            "The prompts of the fallback leave the building; take out `fallbacks` where they must not.",
            f"Next: pip install 'litellm[proxy]=={LITELLM}', set VLLM_API_KEY, ANTHROPIC_API_KEY, LITELLM_MASTER_KEY "
            "and LITELLM_LOCAL_MODEL_COST_MAP=True, then litellm --config config.yaml --host 127.0.0.1",
        ),
    )


def endpoints(ask: Ask) -> tuple[str, ...]:
    """Where the servers answer, as given; else where the plan's own would, on this machine."""
    return ask.endpoints or (f"http://127.0.0.1:{ask.plan.serve.port}",)


def own(ask: Ask, endpoint: str) -> dict[str, Any]:
    """One replica. Without a price of its own LiteLLM would count it as free."""
    serve = ask.plan.serve
    length = {"max_input_tokens": serve.max_model_len} if serve.max_model_len else {}
    return {
        "model_name": serve.served_model_name,
        "litellm_params": {
            "model": f"hosted_vllm/{serve.served_model_name}",
            "api_base": f"{endpoint.rstrip('/').removesuffix('/v1')}/v1",
            "api_key": "os.environ/VLLM_API_KEY",
            **price(ask),
        },
        "model_info": {"mode": "chat", **length},
    }


def price(ask: Ask) -> dict[str, float]:
    """The machine's whole cost on the tokens it writes, as the plan counts it."""
    if ask.plan.usd_per_mtok is None:
        return {}
    return {
        "input_cost_per_token": 0.0,
        "output_cost_per_token": float(Decimal(ask.plan.usd_per_mtok) / MTOK),
    }


def price_note(ask: Ask) -> tuple[str, ...]:
    """What the price of a token means."""
    if ask.plan.usd_per_mtok is None:
        return ("The plan has no price: LiteLLM will count your own servers as free.",)
    return (
        f"output_cost_per_token is the plan's {ask.plan.usd_per_mtok} USD per million output tokens, at its load and "
        "never idle: modelled. Put in what corral compare says of your probe.",
    )


def fallback(ask: Ask) -> str:
    """The Claude model to fall back to. Raises UsageError for one that is retired."""
    fallback_model = claude(ask.claude_model)
    if fallback_model.status(price_list().checked_on) == "retired":
        raise UsageError(
            f"{fallback_model.name} is retired: requests for it to the Claude API fail.",
            f"For example: --claude-model {fallback_model.successor or 'claude-sonnet-5-5'}",
        )
    return fallback_model.id
