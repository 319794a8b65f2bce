"""PURE: how many tokens an event says that there were, in whoever's words, and wherever in it."""

from typing import Any

TokenCounts = tuple[int | None, int | None, int | None, int | None]
"""Input, output and cached input tokens, and how many of the output reason, as the server says them; None for what it
does not say."""


def nested(event: dict[str, Any], field: str) -> Any:
    """A field, its usage say, under a vendor's own name, which begins with x_."""
    for name, value in event.items():
        if name.startswith("x_") and isinstance(value, dict) and value.get(field):
            return value[field]
    return None


def openai_counts(usage: Any) -> TokenCounts:
    """The tokens of a usage object in OpenAI's words, or in Anthropic's where a server uses those."""
    if not isinstance(usage, dict):
        return None, None, None, None
    if "input_tokens" in usage or "output_tokens" in usage:
        return anthropic_words(usage)
    details = part(usage, "prompt_tokens_details")
    cached = details.get("cached_tokens", usage.get("prompt_cache_hit_tokens"))  # DeepSeek says the latter
    thought = (part(usage, "completion_tokens_details") or usage).get("reasoning_tokens")
    said = (usage.get("prompt_tokens"), usage.get("completion_tokens"), cached, thought)
    prompt, output, cached, thought = map(whole, said)
    if (
        prompt is not None
        and output is not None
        and thought
        and usage.get("total_tokens") == prompt + output + thought
    ):
        output += thought  # xAI counts reasoning beside the output; everybody else, within it
    return prompt, output, cached, thought


def anthropic_counts(usage: Any) -> TokenCounts | None:
    """The tokens of a usage object in Anthropic's words, or in OpenAI's where a server uses those; None for none."""
    if not usage or not isinstance(usage, dict):
        return None
    return anthropic_words(usage) if "prompt_tokens" not in usage else openai_counts(usage)


def anthropic_words(usage: dict[str, Any]) -> TokenCounts:
    """The tokens of a usage object, what came from or went to the cache added to what was read."""
    read, written = (
        whole(usage.get("cache_read_input_tokens")),
        whole(usage.get("cache_creation_input_tokens")),
    )
    fresh = whole(usage.get("input_tokens"))
    total = None if fresh is None else fresh + (read or 0) + (written or 0)
    return total, whole(usage.get("output_tokens")), read, None


def responses_counts(usage: dict[str, Any]) -> TokenCounts:
    """The tokens of the usage of OpenAI's Responses; those from the cache are among its input."""
    cached = part(usage, "input_tokens_details").get("cached_tokens")
    thought = part(usage, "output_tokens_details").get("reasoning_tokens")
    return whole(usage.get("input_tokens")), whole(usage.get("output_tokens")), whole(cached), whole(thought)


def part(usage: dict[str, Any], name: str) -> dict[str, Any]:
    """An object within it; empty where that is none."""
    value = usage.get(name)
    return value if isinstance(value, dict) else {}


def whole(value: object) -> int | None:
    """The value when it is a whole number of tokens, 4.0 too: some languages have no other numbers."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31 else None
