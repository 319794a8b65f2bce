"""PURE but for reading results: the requests that both sides are priced at, one by one where that is known.

A price steps with the length of a prompt, so the average request may cost nothing like the requests.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from statistics import NormalDist
from typing import NamedTuple

from infra.money import exact
from serving.probe import results
from serving.probe.lengths import Lengths
from serving.probe.report import ProbeReport
from serving.probe.run_records import Result
from serving.sizing.traffic_class import TrafficClass

PARTS = 20
"""A class whose lengths are drawn is so many equal parts of the lengths it has."""


class Kind(NamedTuple):
    """Requests alike, as Llama 4 counts their tokens."""

    weight: Decimal
    """How many of them there are for those of the other kinds."""
    input_tokens: Decimal
    output_tokens: Decimal
    cached_tokens: Decimal | None = None
    """Of the prompt, read from the server's prefix cache; None where the server did not say."""


Mix = tuple[Kind, ...]


def weight(mix: Mix) -> Decimal:
    """How many requests they are together."""
    return sum((kind.weight for kind in mix), Decimal(0))


def mean_tokens(mix: Mix) -> Decimal:
    """Input and output tokens of an average request."""
    tokens = sum((kind.weight * (kind.input_tokens + kind.output_tokens) for kind in mix), Decimal(0))
    return tokens / weight(mix)


def mix_of_classes(classes: Iterable[TrafficClass]) -> Mix:
    """Those of each class by its share: the lengths that it has, or equal parts of those it is drawn from."""
    return tuple(
        Kind(exact(each.share) / PARTS, prompt, answer)
        for each in classes
        for prompt, answer in zip(parts(each.input_tokens), parts(each.output_tokens), strict=True)
    )


def parts(lengths: Lengths) -> Sequence[Decimal]:
    """The middles of equal parts of a distribution, from the shortest to the longest."""
    middles = [(2 * part + 1) / (2 * PARTS) for part in range(PARTS)]
    match lengths.form:
        case "uniform":
            return [exact(lengths.low + middle * (lengths.high - lengths.low)) for middle in middles]
        case "normal" if lengths.high > 0:
            drawn = NormalDist(lengths.low, lengths.high)
            return [exact(max(1.0, drawn.inv_cdf(middle))) for middle in middles]
    return [exact(lengths.low)] * PARTS


def mix_of_results(path: Path, probe: ProbeReport) -> Mix | None:
    """The requests of a report, from its raw results; None where those are another run's or do not say all lengths.

    Raises DocumentError or OSError for results that cannot be read.
    """
    with path.open("rb") as file:
        if results.first_line(file, path).started_at != probe.started_at:
            return None
    _, found = results.read(path)
    lengths = list(lengths_of(each for each in found if isinstance(each, Result) and each.ok))
    told = [each for each in lengths if each is not None]
    sums = (sum(prompt for prompt, _, _ in told), sum(answer for _, answer, _ in told))
    if len(told) != probe.succeeded or sums != (probe.input_tokens, probe.output_tokens):
        return None
    return tuple(
        Kind(Decimal(count), Decimal(prompt), Decimal(answer), None if cached is None else Decimal(cached))
        for (prompt, answer, cached), count in Counter(told).items()
    )


def lengths_of(answered: Iterable[Result]) -> Iterator[tuple[int, int, int | None] | None]:
    """Of each answer the tokens of its prompt, its own, and those of the prompt that were cached."""
    for each in answered:
        prompt = each.input_asked if each.input_tokens is None else each.input_tokens
        answer = len(each.gaps_us) if each.output_tokens is None else each.output_tokens
        cached = each.cached_tokens
        yield None if prompt is None else (prompt, answer, None if cached is None else min(cached, prompt))
