"""The traffic a service must carry and the promises it makes, as asked."""

from math import ceil, isfinite

from infra.errors import UsageError
from infra.record import Record
from serving.probe.lengths import Lengths, parse

HOURS_PER_MONTH = 730
"""8,760 / 12, as AWS counts a month."""
CONTEXT_STEP = 1024
MOST = 1e15


class Traffic(Record):
    """Requests a second on average, how much more at peak, and how long they are."""

    requests_per_s: float
    peak_factor: float
    input_tokens: Lengths
    output_tokens: Lengths

    @property
    def peak_requests_per_s(self) -> float:
        """What the machines must carry."""
        return self.requests_per_s * self.peak_factor

    @property
    def mean_input(self) -> int:
        """Tokens of an average prompt."""
        return mean(self.input_tokens)

    @property
    def mean_output(self) -> int:
        """Tokens of an average answer."""
        return mean(self.output_tokens)

    @property
    def longest(self) -> int:
        """The --max-model-len that holds the longest request that is likely, in steps of 1,024."""
        tokens = self.input_tokens.largest + self.output_tokens.largest
        return ceil(tokens / CONTEXT_STEP) * CONTEXT_STEP

    @property
    def tokens_per_month(self) -> float:
        """Input and output tokens of an average month."""
        return self.requests_per_s * 3600 * HOURS_PER_MONTH * (self.mean_input + self.mean_output)


class Promise(Record):
    """What the service promises. None promises nothing."""

    ttft_s: float | None = None
    """For the longest likely prompt."""
    tpot_s: float | None = None
    spare_machines: int = 0
    """1 is N+1: the peak is carried with one machine gone."""
    fill: float = 0.8
    """The share of a replica's capacity that is used at peak; the rest absorbs bursts."""


def mean(lengths: Lengths) -> int:
    """The average length."""
    return round((lengths.low + lengths.high) / 2) if lengths.form == "uniform" else lengths.low


def traffic(
    requests_per_s: float | None,
    tokens_per_month: float | None,
    peak_factor: float,
    input_tokens: str,
    output_tokens: str,
) -> Traffic:
    """The traffic from either way to say it. Raises UsageError for none, both, or numbers that cannot be."""
    lengths = parse(input_tokens, "--input-tokens"), parse(output_tokens, "--output-tokens")
    if (requests_per_s is None) == (tokens_per_month is None):
        raise UsageError(
            "Say how much traffic there is, in one way.", "--requests-per-s 5, or --tokens-per-month 2e9"
        )
    positive("--peak-factor", peak_factor, at_least=1.0)
    if requests_per_s is None:
        tokens = positive("--tokens-per-month", tokens_per_month or 0.0)
        requests_per_s = tokens / (3600 * HOURS_PER_MONTH) / (mean(lengths[0]) + mean(lengths[1]))
    return Traffic(
        requests_per_s=positive("--requests-per-s", requests_per_s),
        peak_factor=peak_factor,
        input_tokens=lengths[0],
        output_tokens=lengths[1],
    )


def promise(ttft_s: float | None, tpot_s: float | None, spare_machines: int, fill: float) -> Promise:
    """The promise, or UsageError for one that means nothing."""
    for name, value in (("--ttft", ttft_s), ("--tpot", tpot_s)):
        if value is not None:
            positive(name, value)
    if not 0 <= spare_machines <= 100:
        raise UsageError(f"--spare {spare_machines} is not a number of spare machines.", "--spare 1 is N+1.")
    if not 0 < fill <= 1:
        raise UsageError(f"--fill {fill} is not in (0, 1].", "0.8 leaves a fifth for bursts.")
    return Promise(ttft_s=ttft_s, tpot_s=tpot_s, spare_machines=spare_machines, fill=fill)


def positive(name: str, value: float, at_least: float = 0.0) -> float:
    """The value, or UsageError when it is not a finite number above zero."""
    if not (isfinite(value) and 0 < value <= MOST and value >= at_least):
        least = f"{at_least:g} or more" if at_least else "above zero"
        raise UsageError(f"{name} {value:g} makes no sense.", f"Give a number {least}.")
    return value
