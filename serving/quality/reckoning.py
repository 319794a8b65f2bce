"""PURE: from the sums of each text to what is said of all of them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from infra import day
from serving.quality import bootstrap, divergence
from serving.quality.bootstrap import Interval
from serving.quality.quality_options import QualityOptions
from serving.quality.quality_report import Agreement, Divergence, NoiseFloor, Perplexities, Quality, Side
from serving.quality.respondent import Respondent

MOST_SURPRISE = 700.0
"""Nats of a mean whose exponential is still a number."""
FEW_TEXTS = 30


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one text, all sums over its tokens."""

    tokens: int
    surprise_a: float
    surprise_b: float
    surprise_again: float
    kl: float
    covered: float
    kl_again: float
    at_a_ids: bool


@dataclass(frozen=True, slots=True)
class Answers:
    """To one text: whether B's is A's, and A's second its first; and how much each has in common with it."""

    same: bool
    common: float
    same_again: bool
    common_again: float


def of_texts(
    a: Respondent,
    b: Respondent,
    figures: Sequence[Figures],
    answers: Sequence[Answers],
    asked: QualityOptions,
) -> Quality:
    """PURE: what all that comes to."""
    figures = [each for each in figures if each.tokens]
    tokens = [float(each.tokens) for each in figures]
    noise = noise_of(figures, tokens, answers, bool(asked.logprobs))
    ratio = ratio_of(figures, tokens, lambda each: each.surprise_b - each.surprise_a)
    kl = divergence_of(figures, tokens) if asked.logprobs else None
    return Quality(
        made_on=str(day.today()),
        a=side(a),
        b=side(b),
        texts=len(figures),
        tokens=int(sum(tokens)),
        logprobs=asked.logprobs,
        answer_tokens=asked.most_answered,
        finding="different" if is_different(ratio, kl, noise) else "no difference shown",
        perplexity=perplexities(figures, tokens, ratio),
        kl_per_token=kl,
        agreement=agreement([each.same for each in answers], [each.common for each in answers]),
        noise=noise,
        notes=notes(len(figures), kl),
    )


def side(of: Respondent) -> Side:
    """Who was asked."""
    return Side(url=of.target.base_url, model=of.model, vllm_version=of.version)


def ratio_of(
    figures: Sequence[Figures], tokens: Sequence[float], surprise: Callable[[Figures], float]
) -> Interval:
    """e to the mean of a surprise: a perplexity, or of a difference the ratio of two."""
    return bootstrap.of_ratio([surprise(each) for each in figures], tokens).map(exponential)


def exponential(nats: float) -> float:
    """e to that, a number whatever a server says."""
    return math.exp(max(-MOST_SURPRISE, min(nats, MOST_SURPRISE)))


def perplexities(figures: Sequence[Figures], tokens: Sequence[float], ratio: Interval) -> Perplexities:
    """Of both."""
    of_a = ratio_of(figures, tokens, lambda each: each.surprise_a)
    of_b = ratio_of(figures, tokens, lambda each: each.surprise_b)
    return Perplexities(a=of_a.mean, b=of_b.mean, a_interval=of_a, b_interval=of_b, b_over_a=ratio)


def divergence_of(figures: Sequence[Figures], tokens: Sequence[float]) -> Divergence:
    """KL(A || B) a token."""
    found = bootstrap.of_ratio([each.kl for each in figures], tokens)
    return Divergence(
        **found.model_dump(),
        covered=math.fsum(each.covered for each in figures) / sum(tokens),
        at_a_ids=all(each.at_a_ids for each in figures),
    )


def noise_of(
    figures: Sequence[Figures], tokens: Sequence[float], answers: Sequence[Answers], has_alternatives: bool
) -> NoiseFloor:
    """A from itself."""
    kl = bootstrap.of_ratio([each.kl_again for each in figures], tokens) if has_alternatives else None
    again = agreement([each.same_again for each in answers], [each.common_again for each in answers])
    ratio = ratio_of(figures, tokens, lambda each: each.surprise_again - each.surprise_a)
    return NoiseFloor(b_over_a=ratio, kl_per_token=kl, agreement=again)


def agreement(same: Sequence[bool], common: Sequence[float]) -> Agreement | None:
    """Of answers; None where none were asked for."""
    if not same:
        return None
    shares = bootstrap.of_ratio(common, [1.0] * len(common))
    return Agreement(same=bootstrap.of_share(sum(same), len(same)), common=shares)


def is_different(ratio: Interval, kl: Divergence | None, noise: NoiseFloor) -> bool:
    """Whether B is further from A than A from itself, at the cautious end of both intervals."""
    if kl is not None and noise.kl_per_token is not None:
        return least(kl) > most(noise.kl_per_token) + divergence.GRAIN
    return least(ratio) > most(noise.b_over_a) or most(ratio) < least(noise.b_over_a)


def least(of: Interval) -> float:
    """The low end; the figure itself where there is none."""
    return of.mean if of.low is None else of.low


def most(of: Interval) -> float:
    """The high end; the figure itself where there is none."""
    return of.mean if of.high is None else of.high


def notes(texts: int, kl: Divergence | None) -> tuple[str, ...]:
    """What the figures do not say."""
    said = []
    if texts == 1:
        said.append("One text has no interval: another could give quite other figures.")
    elif texts < FEW_TEXTS:
        said.append(f"{texts} texts are few: intervals drawn from them are rather too narrow.")
    if kl is not None and not kl.at_a_ids:
        said.append(
            "KL is a lower bound: only tokens that both name are told apart. A vLLM on a GPU that is started with "
            "--enable-scale-out is asked of A's own."
        )
    said.append(
        "Each was asked one request at a time; beside others, on a GPU, a server differs more from itself."
    )
    return tuple(said)


def of_nothing(a: Respondent, b: Respondent, asked: QualityOptions) -> Quality:
    """Where there are no texts."""
    return Quality(
        made_on=str(day.today()),
        a=side(a),
        b=side(b),
        texts=0,
        tokens=0,
        logprobs=asked.logprobs,
        answer_tokens=asked.most_answered,
    )
