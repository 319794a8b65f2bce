"""PURE: whether a server that died is started again, and after how long."""

from collections.abc import Sequence

from infra.record import Record


class Policy(Record):
    """Start again with growing patience, but not for ever: what dies three times in ten minutes dies a fourth.

    The delays are GPUStack's: min(10 * 2^(n-1), 300) seconds (its source, read 2026-08-21).
    """

    most_deaths: int = 3
    within_s: float = 600.0
    first_delay_s: float = 10.0
    longest_delay_s: float = 300.0
    look_every_s: float = 30.0
    hung_looks: int = 2
    """How many looks in a row must find it hung before it counts as dead."""
    look_again_s: float = 5.0
    """After a look that found it hung: with both looks waiting for their completion, 70 s from the hang at most."""


def delay_s(deaths: Sequence[float], now_s: float, policy: Policy) -> float | None:
    """How long to wait before the next start, from the times of all deaths so far; None to give up."""
    recent = sum(1 for death in deaths if now_s - death <= policy.within_s)
    if recent >= policy.most_deaths:
        return None
    doublings = max(recent - 1, 0)
    return min(policy.first_delay_s * (1 << doublings), policy.longest_delay_s)
