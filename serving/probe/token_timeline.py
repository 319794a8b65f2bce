"""PURE: the token timeline of one answer: which chunks carried tokens, how many each, how many in all.

Servers tell tokens in one of these ways:

- the total once, at the end: in an event without choices (OpenAI, vLLM), beside the closing choice (LiteLLM, DeepSeek,
  llama.cpp's /v1/completions), in the choice (Moonshot), under `x_groq`; token_counts.py finds it wherever it stands;
- with every chunk: the total so far (vLLM's continuous_usage_stats), or the chunk's own;
- never, or as 0 although there is text, or before the text and less than it has chunks.

Counts that come with each chunk and do not grow may be the total over and over, or each chunk's own: where their sum is
what was asked for they are the chunks' own, and where nothing tells they are taken for the total, and that is said.

What comes with a chunk is believed of that chunk only where it came with nearly every chunk that has text, gives
nearly each of them a token, and adds up to the total. Else the total is shared evenly by the chunks.
"""

from itertools import pairwise
from operator import sub
from typing import NamedTuple

NEARLY_EVERY = 0.9

Said = list[tuple[int, int]]
"""Each count of output tokens as it came: the number of the chunk it came with or after, and the count."""
Empty = list[tuple[int, bool]]
"""The chunks without text: their numbers, and whether they closed the stream."""


class TokenTimeline(NamedTuple):
    """When the tokens of an answer came. The chunks without a token are left out."""

    stamps_ns: list[int]
    chunk_tokens: list[int] | None
    """Of each of those chunks; None: an even share of all."""
    output_tokens: int | None
    """None where nobody says so: each chunk counts as one."""
    hidden_tokens: int = 0
    """Of those, the reasoning that was counted and not sent: it was made before the first chunk."""
    is_unclear: bool = False
    """Nothing tells whether the counts with the chunks are totals, as which they are taken, or each chunk's own."""


def token_timeline(
    stamps_ns: list[int], empty: Empty, said: Said, output_tokens: int | None, unsent: int = 0, asked: int = 0
) -> TokenTimeline:
    """The timeline of an answer with those chunks, where `output_tokens` is the newest count of them.

    `unsent` of them reasoned and were not sent. Where they are more, the server counts them apart from its output.
    `asked` for so many tokens, the answer probably has them.
    """
    is_unclear = False
    if said and len(said) >= NEARLY_EVERY * (len(stamps_ns) - len(empty) or len(stamps_ns)):
        without_text = {number for number, _ in empty}
        tokens = each_chunks(said, len(stamps_ns), without_text, asked)
        is_unclear = tokens is None and not is_told(said, len(stamps_ns), without_text)
        if tokens is not None:
            kept = [number for number, each in enumerate(tokens) if each or number not in without_text]
            held = [tokens[number] for number in kept]
            hidden = unsent if unsent <= held[0] else 0
            return TokenTimeline(
                [stamps_ns[number] for number in kept], [held[0] - hidden, *held[1:]], sum(held), hidden
            )
    total = output_tokens or None
    if total and total < len(stamps_ns) - len(empty) and is_early(said, len(stamps_ns), empty):
        total = None
    hidden = unsent if total and unsent <= total else 0
    if empty:
        drop = empty_to_drop(empty, len(stamps_ns), total and (total - hidden) or None)
        stamps_ns = without(stamps_ns, drop)
    return TokenTimeline(stamps_ns, None, total, hidden, is_unclear)


def is_early(said: Said, chunks: int, empty: Empty) -> bool:
    """Whether text came after the newest count, which is none of it all then: Anthropic's message_start says 1."""
    without_text = {number for number, _ in empty}
    last = next(number for number in reversed(range(chunks)) if number not in without_text)
    return not (said := with_a_count(said)) or said[-1][0] < last


def with_a_count(said: Said) -> Said:
    """The same up to the last that is not 0."""
    while said and not said[-1][1]:
        said = said[:-1]
    return said


def is_told(said: Said, chunks: int, without_text: set[int]) -> bool:
    """Whether the last count is surely a total: it came after the text, or is a token for each chunk."""
    said = with_a_count(said)
    texts = chunks - len(without_text)
    return not said or texts < 2 or said[-1][1] == texts or not is_a_texts_own(said, without_text)


def is_a_texts_own(said: Said, without_text: set[int]) -> bool:
    """Whether the last count came with a chunk that has text, and no other did."""
    last = said[-1][0]
    return last not in without_text and [number for number, _ in said].count(last) == 1


def each_chunks(said: Said, chunks: int, without_text: set[int], asked: int) -> list[int] | None:
    """The tokens of each chunk, where what was said can be so read: as totals so far, or as each chunk's own."""
    said = with_a_count(said)
    if not said:
        return None
    with_text = [number for number in range(chunks) if number not in without_text]
    counts = [count for _, count in said]
    growth = [later - earlier for earlier, later in pairwise((0, *counts))]
    readings = [(growth, counts[-1]), (counts[:-1], counts[-1])]
    if is_no_total(said, with_text, without_text) or (
        sum(counts) == asked and not is_told(said, chunks, without_text)
    ):
        readings.append((counts, sum(counts)))
    for each_said, total in readings:
        tokens = [0] * chunks
        for (number, _), count in zip(said, each_said, strict=False):
            tokens[number] += count
        have_one = sum(tokens[number] > 0 for number in with_text)
        if min(tokens) >= 0 and sum(tokens) == total and have_one >= NEARLY_EVERY * len(with_text):
            return tokens
    return None


def is_no_total(said: Said, with_text: list[int], without_text: set[int]) -> bool:
    """Whether the last count is one chunk's own, since no total is smaller than its chunks, or than what came before.

    What came for no chunk with text of its own may be a total that something before it contradicts.
    """
    counts = [count for _, count in said]
    falls = any(later < earlier for earlier, later in pairwise(counts))
    if not falls and counts[0] < counts[-1]:
        return False
    return counts[-1] < len(with_text) or (falls and is_a_texts_own(said, without_text))


def empty_to_drop(empty: Empty, chunks: int, output_tokens: int | None) -> set[int]:
    """Which empty chunks held no token.

    A token may show no text yet (half a UTF-8 character), an opening chunk may only say that the stream has begun, and
    a closing one may hold the end token or nothing. Only the server's token count tells: those are left out that make
    it come out even, an opening one first, since the time to the first token hangs on it. Where nothing does, opening
    and closing ones are left out, or all of them where there are too many.
    """
    everything = {number for number, _ in empty}
    if output_tokens is None:
        return everything
    closing = {number for number, closes in empty if closes}
    first = next((number for number in range(chunks) if number not in everything), 0)
    opening = set(range(first)) - closing
    for drop in (set[int](), opening, closing, opening | closing, everything):
        if chunks - len(drop) == output_tokens:
            return drop
    return opening | closing if chunks - len(opening | closing) <= output_tokens else everything


def without(stamps_ns: list[int], drop: set[int]) -> list[int]:
    """Those but for the ones of these numbers."""
    kept, at = list[int](), 0
    for number in sorted(drop):
        kept += stamps_ns[at:number]
        at = number + 1
    return kept + stamps_ns[at:]


def gaps(sent_ns: int, stamps_ns: list[int]) -> list[int]:
    """The distance of each stamp from the one before, in microseconds; rounded so that they add up."""
    times_us = [sent_ns // 1000, *[stamp_ns // 1000 for stamp_ns in stamps_ns]]
    return list(map(sub, times_us[1:], times_us))
