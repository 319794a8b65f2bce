"""Who is asked for Claude's price: the platform that sells it, the region that answers, the day."""

from datetime import date
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from infra.asked import Asked
from infra.errors import UsageError


def day(text: Any) -> Any:
    """The day that a text is; what is no text is left as it is. Raises UsageError."""
    try:
        return date.fromisoformat(text.strip()) if isinstance(text, str) else text
    except ValueError:
        raise UsageError(f"--at {text} is no day.", "For example: --at 2026-03-01") from None


class Sold(Asked):
    """Who sells Claude, where, and when."""

    heading: ClassVar[str] = "The way to Claude"

    claude_platform: Literal["api", "bedrock", "vertex", "foundry", "aws"] | None = None
    """api, bedrock, vertex, foundry or aws, its Claude Platform, where the model's name does not say it. [api]"""
    claude_region: Annotated[str | None, Field(examples=["eu"])] = None
    """Where it answers: global, us, eu, us-gov, eu-central-1, ... [global]"""
    at: Annotated[Annotated[date, BeforeValidator(day)] | None, Field(examples=["2026-03-01"])] = None
    """The day whose prices of Claude count. [today]"""
