"""PURE: what is sent: texts of exact length by the server's tokenizer, made from common words and a seed."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from serving.probe.images import data_url
from serving.probe.spec import Workload

WORDS = tuple(dict.fromkeys(Path(__file__).with_name("words.txt").read_text(encoding="utf-8").split()))
LEARNED_WORDS = 64
TRIES = 8
KEPT_BLOCKS = 8192
"""Of 512 tokens each: some 20 MB."""
CONFIRMATIONS = 16
"""After this many texts in a row were as long as reckoned, the tokenizer is asked no more."""
# Until the server has counted: one common English word is about one token for byte-pair vocabularies of 100k and more.
TOKENS_PER_WORD = 1.0
TOKENS_PER_READ_WORD = 4 / 3
"""Of English as people write it: the rule of thumb of OpenAI's help pages, unverified for other models."""

Count = Callable[[str], int | None]
"""The tokens of a prompt with that text, whatever frame the server puts around it; None where it does not say."""


@dataclass(frozen=True)
class Lexicon:
    """What a server's tokenizer makes of our words: `alone` as the whole prompt, `behind` after another word."""

    alone: dict[str, int] = field(default_factory=dict)
    behind: dict[str, int] = field(default_factory=dict)
    tokens_per_word: float = TOKENS_PER_WORD
    """Of all our words on average, where no tokenizer could be asked about each."""
    frame_tokens: float = 0.0
    """What the server puts around a prompt beside what its tokenizer, or the user's, counted; where its usage told."""
    calibrated: bool = False
    """Whether its usage did."""

    @property
    def known(self) -> bool:
        """Whether each word has been counted."""
        return bool(self.behind)

    def framed(self, tokens: int) -> "Lexicon":
        """The same with so many tokens around each prompt."""
        alone = {word: count + tokens for word, count in self.alone.items()}
        return replace(self, alone=alone, frame_tokens=tokens, calibrated=True)

    def measured(self, few: tuple[int, int], many: tuple[int, int]) -> "Lexicon":
        """The same with what two prompts tell: the words of each, and the tokens that the server counted."""
        each = (many[1] - few[1]) / (many[0] - few[0])
        if each <= 0:
            return self
        frame = max(0.0, few[1] - each * few[0])
        return replace(self, tokens_per_word=each, frame_tokens=frame, calibrated=True)


def learn(count: Count, seed: int = 0) -> Lexicon:
    """Ask the server's tokenizer about some words; an empty lexicon where it has none to ask."""
    base = count("the")
    if base is None:
        return Lexicon()
    alone, behind = {}, {}
    for word in random.Random(seed).sample(WORDS, LEARNED_WORDS):
        by_itself, with_another = count(word), count(f"the {word}")
        if by_itself is not None and with_another is not None and with_another > base:
            alone[word], behind[word] = by_itself, with_another - base
    return Lexicon(alone, behind)


class Composer:
    """Composes texts of a wanted number of tokens; asks `count` until it has proved right often enough."""

    def __init__(self, lexicon: Lexicon, rng: random.Random, count: Count | None = None) -> None:
        self._rng = rng
        self.count = count
        self._confirmed = 0
        self._deck: list[str] = []
        self._blocks: dict[tuple[str, int, bool], str] = {}
        self.own: Callable[[str], int] | None = None
        """What counts by the user's own tokenizer."""
        self.learned(lexicon)

    def learned(self, lexicon: Lexicon) -> None:
        """Compose by that from now on."""
        self._lexicon = lexicon
        self._names = list(lexicon.behind)
        self._costs = list(lexicon.behind.values())

    def compose(self, tokens: int, prefix: str = "", prefix_tokens: int = 0) -> tuple[str, bool]:
        """A text of that many tokens, and whether the number is exact. The prefix counts, with the tokens it has."""
        if not self._lexicon.known:
            return self._guess(tokens, prefix), False
        for _ in range(TRIES):
            text, left = self._fill(tokens, prefix, prefix_tokens)
            if left == 0 and self._confirm(text, tokens):
                return text, True
        return text, False

    def _confirm(self, text: str, tokens: int) -> bool:
        if self.count is None or self._confirmed >= CONFIRMATIONS:
            return True
        counted = self.count(text)
        right = counted is not None and counted + self._lexicon.frame_tokens == tokens
        self._confirmed = self._confirmed + 1 if right else 0
        return right

    def _guess(self, tokens: int, prefix: str) -> str:
        """By the mean of all words, so each comes before any comes again: only the last few make it uncertain."""
        lexicon = self._lexicon
        wanted = round((tokens - lexicon.frame_tokens) / lexicon.tokens_per_word)
        return " ".join([*prefix.split(), *self._dealt(max(1, wanted - len(prefix.split())))])

    def _dealt(self, count: int) -> list[str]:
        """So many words, of which each comes before any comes again."""
        words: list[str] = []
        while len(words) < count:
            if not self._deck:
                self._deck = self._rng.sample(WORDS, len(WORDS))
            lot = count - len(words)
            words += self._deck[:lot]
            del self._deck[:lot]
        return words

    def of_blocks(self, names: Sequence[str], tokens: int, block_tokens: int) -> tuple[str, bool]:
        """A text of that many tokens, made of a block for each name, the last one cut; and whether that is exact.

        The same name is the same block, whoever composes it, so that a prompt shares with another what their names say.
        """
        parts = [
            self._block(name, min(block_tokens, tokens - place * block_tokens), place == 0)
            for place, name in enumerate(names)
        ]
        return " ".join(parts), self._lexicon.known

    def _block(self, name: str, tokens: int, is_first: bool) -> str:
        if (name, tokens, is_first) not in self._blocks:
            if len(self._blocks) >= KEPT_BLOCKS:
                self._blocks.clear()
            self._blocks[name, tokens, is_first] = self._composed(name, tokens, is_first)
        return self._blocks[name, tokens, is_first]

    def _composed(self, name: str, tokens: int, is_first: bool) -> str:
        """Only the first block has what the server puts before a prompt."""
        lexicon, chance = self._lexicon, random.Random(name)
        if is_first or not lexicon.known:
            frame = lexicon.frame_tokens if is_first else 0.0
            return Composer(replace(lexicon, frame_tokens=frame), chance).compose(tokens)[0]
        word, alone = next(iter(lexicon.alone.items()))
        return Composer(lexicon, chance).compose(tokens + alone, word, alone)[0].removeprefix(f"{word} ")

    def tokens_of(self, text: str) -> int:
        """How long a text is: by the user's tokenizer, or about so."""
        return max(1, self.own(text) if self.own else round(len(text.split()) * TOKENS_PER_READ_WORD))

    def _fill(self, tokens: int, prefix: str, prefix_tokens: int) -> tuple[str, int]:
        """Random words while there is much room, then ones whose costs add up to what is left."""
        first = prefix or self._rng.choice(self._names)
        left = tokens - (prefix_tokens if prefix else self._lexicon.alone[first])
        costs, dearest = self._lexicon.behind, max(self._costs)
        parts = [first]
        while left > 4 * dearest:
            # In lots: drawing word by word would take longer than the server takes for short answers.
            lot = self._rng.choices(self._names, k=max(1, left // dearest - 2))
            parts += lot
            left -= sum(costs[word] for word in lot)
        while left >= min(self._costs):
            fitting = [word for word in self._names if costs[word] == left]
            word = self._rng.choice(fitting or [word for word in self._names if costs[word] <= left])
            parts.append(word)
            left -= costs[word]
        return " ".join(parts), left


@dataclass(slots=True)
class Prompt:
    """What one request asks, and how long an answer; `later` are the user's next turns."""

    messages: list[dict[str, Any]]
    output_tokens: int
    input_tokens: int | None = None
    """Where the length is exact."""
    later: tuple[str, ...] = ()
    time_s: float | None = None
    """From a trace."""


def synthetic(workload: Workload, composer: Composer, rng: random.Random) -> Iterator[Prompt]:
    """Unending synthetic prompts of the workload's lengths."""
    prefix = composer.compose(workload.prefix_tokens)[0] if workload.prefix_tokens else ""
    while True:
        wanted = workload.input_tokens.draw(rng)
        text, exact = composer.compose(wanted, prefix, workload.prefix_tokens)
        pictures = [data_url(workload.image_size, rng) for _ in range(workload.images)]
        later = tuple(composer.compose(workload.input_tokens.draw(rng))[0] for _ in range(workload.turns - 1))
        yield Prompt(
            [message(text, pictures)],
            workload.output_tokens.draw(rng),
            wanted if exact and not pictures else None,
            later,
        )


def message(text: str, pictures: list[str] | None = None) -> dict[str, Any]:
    """A user's message, with images as data URLs."""
    if not pictures:
        return {"role": "user", "content": text}
    parts: list[dict[str, Any]] = [{"type": "image_url", "image_url": {"url": url}} for url in pictures]
    return {"role": "user", "content": [*parts, {"type": "text", "text": text}]}
