"""Requests of a Poisson stream, to simulate with."""

from random import Random

from serving.probe.lengths import Lengths
from serving.sizing.batching import Request


def arriving(
    rate_per_s: float, count: int, input_tokens: Lengths, output_tokens: Lengths, seed: int
) -> list[Request]:
    """So many requests of a Poisson stream. The same for the same seed."""
    dice, at_s, found = Random(seed), 0.0, []
    for _ in range(count):
        at_s += dice.expovariate(rate_per_s)
        found.append(Request(at_s, input_tokens.draw(dice), output_tokens.draw(dice)))
    return found
