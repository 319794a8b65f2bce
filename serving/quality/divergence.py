"""PURE: how far one model's next word is from another's, from the few tokens that each of them says.

Two distributions over a vocabulary are far too long to send. Both are summed up in the same way instead: a bucket for
each token that both say, and one for all the rest. Of two that are summed up so the divergence can only be less (the
data-processing inequality), so what comes out is a lower bound, the closer the more mass the buckets hold.
"""

import math
from collections.abc import Mapping, Sequence

GRAIN = 1e-6
"""Sums of probabilities that came as 32-bit logarithms are known no better; a rest below it is that of both."""


def divergence(p: Mapping[int, float], q: Mapping[int, float]) -> tuple[float, float]:
    """KL(P || Q) in nats, a lower bound, and P's mass in the buckets, from log-probabilities by token."""
    shared = [token for token in p if token in q]
    seen_p = math.fsum(math.exp(p[token]) for token in shared)
    seen_q = math.fsum(math.exp(q[token]) for token in shared)
    rest_p, rest_q = max(1 - seen_p, GRAIN), max(1 - seen_q, GRAIN)
    inside = math.fsum(math.exp(p[token]) * (p[token] - q[token]) for token in shared)
    return max(0.0, inside + rest_p * math.log(rest_p / rest_q)), min(seen_p, 1.0)


def of_text(a: Sequence[Mapping[int, float]], b: Sequence[Mapping[int, float]]) -> tuple[float, float]:
    """Both, added up over the places of a text."""
    places = [divergence(p, q) for p, q in zip(a, b, strict=True)]
    return math.fsum(nats for nats, _ in places), math.fsum(mass for _, mass in places)
