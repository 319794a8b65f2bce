"""PURE: which of the user's prompts fit the model's context: one that does not is refused, and measures nothing."""

from collections.abc import Callable, Sequence
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

from infra.errors import UsageError
from serving.probe.dataset import TOKENS_PER_READ_WORD, Composer
from serving.probe.prompts import Line
from serving.probe.spec import Load, Workload

MOST_FRAME_TOKENS = 256
"""What a chat template puts around a prompt, at most: so much is left to it before a prompt is counted at all."""
BYTES_PER_TOKEN = 4
"""Of English, about; the estimate for text that has few spaces."""

Ask = Callable[[list[dict[str, Any]]], int | None]
"""The tokens of a prompt by the server's own tokenizer; None where it does not say, or not in time."""


class Fitting(NamedTuple):
    """The prompts that are not sent, by their place in the file, and how they were counted."""

    left_out: frozenset[int] = frozenset()
    is_estimate: bool = False

    def note(self, lines: Sequence[Line], limit: int | None) -> tuple[str, ...]:
        """What the user must know of it."""
        if not self.left_out:
            return ()
        how = ", some by an estimate of their length" if self.is_estimate else ""
        return (
            f"{len(self.left_out)} of {len(lines)} prompts are left out{how}: with their answers they are longer than"
            f" the {limit:,} tokens that this server allows",
        )


def fitting(
    lines: Sequence[Line], workload: Workload, limit: int | None, composer: Composer, ask: Ask, path: Path
) -> Fitting:
    """What of a file is not sent to a server that takes so many tokens, the answer's among them.

    Raises UsageError where that is all of it.
    """
    if limit is None:
        return Fitting()
    left_out, is_estimate = set(), False
    for place, line in enumerate(lines):
        answer = answer_tokens(line, workload, composer)
        if line.messages:
            text = text_of(line.messages)
            if len(text.encode(errors="replace")) + MOST_FRAME_TOKENS + answer <= limit:
                continue  # no token is less than a byte
            counted = composer.own(text) if composer.own else ask(line.messages)
            tokens = estimate(text) if counted is None else counted
            is_estimate |= counted is None and tokens + answer > limit
        else:
            tokens = line.input_tokens or 1
        if tokens + answer > limit:
            left_out.add(place)
    if len(left_out) == len(lines):
        raise UsageError(
            f"No prompt of {path} fits the {limit:,} tokens that this server allows, its answer among them.",
            "Give shorter ones, or start the server with a larger --max-model-len.",
        )
    return Fitting(frozenset(left_out), is_estimate)


def answer_tokens(line: Line, workload: Workload, composer: Composer) -> int:
    """How long an answer is asked for; the longest, where that is drawn."""
    told = line.output_tokens or (line.reply and composer.tokens_of(line.reply))
    return told or workload.output_tokens.largest


def text_of(messages: list[dict[str, Any]]) -> str:
    """All text of a prompt, without its pictures."""
    contents = (each.get("content") for each in messages)
    parts = (each if isinstance(each, list) else [{"text": each}] for each in contents)
    texts = (part.get("text") for each in parts for part in each if isinstance(part, dict))
    return "\n".join(text for text in texts if isinstance(text, str))


def estimate(text: str) -> int:
    """About how many tokens a text is."""
    by_words = len(text.split()) * TOKENS_PER_READ_WORD
    return ceil(max(by_words, len(text.encode(errors="replace")) / BYTES_PER_TOKEN))


def fitted(load: Load, left_out: frozenset[int]) -> Load:
    """The load without the moments of a trace at which those were due."""
    if not load.trace or not left_out:
        return load
    kept = tuple(time_s for place, time_s in enumerate(load.trace) if place not in left_out)
    return load.model_copy(update={"trace": kept})
