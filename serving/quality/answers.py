"""PURE: the text of an answer that came whole, in each API's form, and how far two of them agree."""

from itertools import takewhile
from typing import Any

from serving.probe.apis import ApiName


def text_of(answer: Any, api: ApiName) -> str | None:
    """What was answered; None where it has another form."""
    try:
        if api == "messages":
            parts = [part["text"] for part in answer["content"] if part["type"] == "text"]
            return "".join(parts) if all(isinstance(part, str) for part in parts) else None
        choice = answer["choices"][0]
        text = choice["text"] if api == "completions" else choice["message"]["content"]
    except (KeyError, IndexError, TypeError):
        return None
    # A chat that ended in a tool call, or before its first word, has no content.
    return text if isinstance(text, str) else "" if text is None and api == "chat" else None


def common_share(a: str, b: str) -> float:
    """How much of the longer of two answers they have in common from the beginning, 0 to 1."""
    longest = max(len(a), len(b))
    return (
        sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False))) / longest
        if longest
        else 1.0
    )
