"""PURE: what a model thinks of each token of a text, as vLLM says it beside a completion."""

import base64
import binascii
import math
import re
from dataclasses import dataclass
from typing import Any

import numpy
from numpy.typing import NDArray

ROUNDING = 1e-3
LEAST = -9999.0
"""vLLM writes minus infinity so. A log-probability is at most 0; what adds up 16-bit numbers may say a little more."""
HEAD = re.compile(
    rb"\x93NUMPY\x01\x00..\{'descr': '<f([48])', 'fortran_order': False, 'shape': \((\d{1,9}), (\d{1,9})\), \} *\n",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Scored:
    """The tokens of a text; before the first there is nothing, so nothing is thought of it."""

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    """Natural, of each token after the first."""
    likely: tuple[dict[int, float], ...]
    """At the place of each: the most likely tokens, and the one that stands there."""


def scored_from(choice: dict[str, Any]) -> Scored | None:
    """A completion's choice; None where it says nothing of its prompt. Raises ValueError for what makes no sense."""
    ids, rows = choice.get("prompt_token_ids"), choice.get("prompt_logprobs")
    if ids is None or rows is None:
        return None
    if not isinstance(ids, list) or not isinstance(rows, list) or len(ids) != len(rows) or not ids:
        raise ValueError("as many log-probabilities as tokens are expected")
    if not all(type(each) is int and each >= 0 for each in ids):
        raise ValueError("a token has no number")
    likely = tuple(row_of(row) for row in rows[1:])
    if any(token not in row for token, row in zip(ids[1:], likely, strict=True)):
        raise ValueError("a token of the text has no log-probability")
    logprobs = tuple(row[token] for token, row in zip(ids[1:], likely, strict=True))
    return Scored(tuple(ids), logprobs, likely)


def row_of(row: Any) -> dict[int, float]:
    """The tokens that are said at one place, each with its log-probability. Raises ValueError."""
    if not isinstance(row, dict):
        raise ValueError("a token of the text has no log-probability")
    return {int(token): logprob_of(said) for token, said in row.items()}


def logprob_of(said: Any) -> float:
    """A log-probability, LEAST to 0. Raises ValueError."""
    value = said.get("logprob") if isinstance(said, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not value <= ROUNDING:
        raise ValueError("a log-probability is none")
    return max(LEAST, min(float(value), 0.0))


def most_likely(row: dict[int, float], count: int) -> list[int]:
    """The ids of so many most likely tokens, the first among equals by number."""
    return sorted(row, key=lambda token: (-row[token], token))[:count]


def array_of(text: Any, shape: tuple[int, int]) -> NDArray[numpy.float64]:
    """Numbers in numpy's own form, in base64, as vLLM sends them. Raises ValueError for others than that many."""
    try:
        data = base64.b64decode(text, validate=True)
    except (TypeError, binascii.Error):
        raise ValueError("it is no base64") from None
    # numpy's own reader takes a header for Python, and makes room for whatever it says.
    head = HEAD.match(data)
    if head is None or (int(head[2]), int(head[3])) != shape:
        raise ValueError(f"it is no array of {shape[0]} by {shape[1]}")
    values = data[head.end() :]
    width = int(head[1])
    if len(values) != width * math.prod(shape):
        raise ValueError("it is cut off")
    found = numpy.frombuffer(values, f"<f{width}").astype(numpy.float64)
    if numpy.isnan(found).any():
        raise ValueError("a log-probability is none")
    return numpy.clip(found, LEAST, 0.0).reshape(shape)
