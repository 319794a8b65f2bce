"""What is sent: prompts of exact length by the server's tokenizer, made from common words and a seed."""

import random
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from serving.probe.spec import Workload

WORDS = tuple(dict.fromkeys(Path(__file__).with_name("words.txt").read_text(encoding="utf-8").split()))
MEASURED_WORDS = 64
TRIES = 8
# Without a tokenizer to ask: one common English word is about one token for byte-pair vocabularies of 100k and more.
TOKENS_PER_WORD = 1.0

Count = Callable[[str], int | None]


class Prompt(NamedTuple):
    """One prompt: its text, its tokens where they are known, and the answer's length to ask for."""

    text: str
    input_tokens: int | None
    output_tokens: int


class Composer:
    """Composes texts of a wanted number of tokens. `count` asks the server's tokenizer, None when it has none."""

    def __init__(self, count: Count, rng: random.Random) -> None:
        self._count = count
        self._rng = rng
        self._words = rng.sample(WORDS, MEASURED_WORDS)

    @cached_property
    def costs(self) -> dict[str, int]:
        """The tokens each word adds behind another one; empty where the server does not count."""
        base = self._count("the")
        if base is None:
            return {}
        costs = {}
        for word in self._words:
            tokens = self._count(f"the {word}")
            if tokens is not None and tokens > base:
                costs[word] = tokens - base
        return costs

    def compose(self, tokens: int, prefix: str = "") -> tuple[str, bool]:
        """A text of that many tokens, prefix included, and whether the server has confirmed the number."""
        if not self.costs:
            return self._guess(tokens, prefix), False
        text = ""
        for _ in range(TRIES):
            text = self._fill(tokens, prefix)
            if self._count(text) == tokens:
                return text, True
        return text, False

    def _guess(self, tokens: int, prefix: str) -> str:
        wanted = max(1, round(tokens / TOKENS_PER_WORD) - len(prefix.split()))
        return " ".join([*prefix.split(), *self._rng.choices(WORDS, k=wanted)])

    def _fill(self, tokens: int, prefix: str) -> str:
        """Random words while there is room, then one whose cost is what is left."""
        first = prefix or self._rng.choice(list(self.costs))
        parts, left = [first], tokens - (self._count(first) or 0)
        cheapest, dearest = min(self.costs.values()), max(self.costs.values())
        names = list(self.costs)
        while left > 2 * dearest:
            word = self._rng.choice(names)
            parts.append(word)
            left -= self.costs[word]
        while left >= cheapest:
            exact = [word for word in names if self.costs[word] == left]
            fitting = [word for word in names if self.costs[word] <= left]
            word = self._rng.choice(exact or fitting)
            parts.append(word)
            left -= self.costs[word]
        return " ".join(parts)


def synthetic(workload: Workload, count: Count, rng: random.Random) -> Iterator[Prompt]:
    """Unending synthetic prompts of the workload's lengths."""
    composer = Composer(count, rng)
    prefix = composer.compose(workload.prefix_tokens)[0] if workload.prefix_tokens else ""
    while True:
        wanted = workload.input_tokens.draw(rng)
        text, exact = composer.compose(wanted, prefix)
        yield Prompt(text, wanted if exact else None, workload.output_tokens.draw(rng))


def message(text: str, images: list[str] = []) -> dict[str, Any]:  # noqa: B006 - never changed
    """A user's message, with images as data URLs."""
    if not images:
        return {"role": "user", "content": text}
    parts: list[dict[str, Any]] = [{"type": "image_url", "image_url": {"url": url}} for url in images]
    return {"role": "user", "content": [*parts, {"type": "text", "text": text}]}
