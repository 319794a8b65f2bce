"""PURE: how LiteLLM asks a Claude model, on its API or elsewhere, and what that takes from outside."""

from typing import Any

from deploy.costs.claude_names import IN_REGION
from deploy.costs.claude_platforms import platforms, sold
from deploy.costs.claude_prices import ClaudeModel, price_list
from deploy.costs.claude_sold import Sold
from infra.errors import UsageError

ENVIRONMENT = {
    "api": ("ANTHROPIC_API_KEY",),
    "bedrock": ("AWS_REGION_NAME", "AWS's credentials"),
    "vertex": ("VERTEXAI_PROJECT", "Google's credentials"),
    "foundry": ("AZURE_AI_API_BASE", "AZURE_AI_API_KEY"),
    "aws": ("AWS_REGION_NAME", "ANTHROPIC_AWS_WORKSPACE_ID", "AWS's credentials"),
}
"""What LiteLLM takes from its environment for a model of each platform."""


def answering(name: str, typed: str, us_only: bool = False) -> ClaudeModel:
    """The model of that name, where it is sold; `typed` stands before a name on the command line.

    Raises UsageError for one that is unknown, retired there, or cannot be held to the US.
    """
    model = sold(name, Sold(), price_list().checked_on)
    seller = platforms()[model.platform]
    if model.status(seller.checked_on) == "retired":
        raise UsageError(
            f"{model.name} is retired: requests for it to {seller.name} fail.",
            f"For example: {typed}{model.successor or 'claude-sonnet-5-5'}",
        )
    if us_only and not model.us_only:
        raise UsageError(
            f"{model.name} has no US-only inference, and the comparison is of that.",
            "Make the comparison again, with a model that has it: --claude-model claude-sonnet-5-5 --us-only",
        )
    return model.model_copy(update={"region": "us"}) if us_only else model


def parameters(model: ClaudeModel) -> dict[str, Any]:
    """LiteLLM's words for asking it."""
    row = platforms()[model.platform].model.get(own_id(model))
    called = (row.called if row else None) or own_id(model)
    match model.platform:
        case "bedrock":
            return of_bedrock(called, model.region)
        case "vertex":
            place = {"vertex_project": environment("VERTEXAI_PROJECT"), "vertex_location": model.region}
            return {"model": f"vertex_ai/{called}", **place}
        case "foundry":
            key = {"api_key": environment("AZURE_AI_API_KEY")}
            return {"model": f"azure_ai/{called}", "api_base": environment("AZURE_AI_API_BASE"), **key}
        case "aws":
            return of_claude_platform(called, model.region)
    key = {"api_key": environment("ANTHROPIC_API_KEY")}
    return {"model": f"anthropic/{called}", **key, **answered_in(model.region)}


def own_id(model: ClaudeModel) -> str:
    """Its id on the API: that of a platform's has the platform and the region before it."""
    return model.id.rpartition("/")[2]


def of_bedrock(called: str, region: str) -> dict[str, Any]:
    """By the profile of a part of the world, or by its bare name in the one region that was named."""
    is_one = region[-1].isdigit()
    profile = "" if is_one or region == IN_REGION else f"{region}."
    return {
        "model": f"bedrock/{profile}anthropic.{called}",
        "aws_region_name": region if is_one else environment("AWS_REGION_NAME"),
    }


def of_claude_platform(called: str, region: str) -> dict[str, Any]:
    """By Anthropic's own name, in a workspace of the AWS account; what stays in the US is a field of each request."""
    return {
        "model": f"bedrock/claude_platform/{called}",
        "aws_region_name": environment("AWS_REGION_NAME"),
        "workspace_id": environment("ANTHROPIC_AWS_WORKSPACE_ID"),
        **answered_in(region),
    }


def answered_in(region: str) -> dict[str, Any]:
    """Where Anthropic is to answer; LiteLLM 1.109.1 hands it on as it is."""
    return {} if region == "global" else {"inference_geo": region}


def environment(name: str) -> str:
    """A value that LiteLLM reads when it starts."""
    return f"os.environ/{name}"


def taken_from_outside(models: tuple[ClaudeModel, ...]) -> tuple[str, ...]:
    """What has to be in LiteLLM's environment for them, once each."""
    return tuple(dict.fromkeys(name for model in models for name in ENVIRONMENT[model.platform]))
