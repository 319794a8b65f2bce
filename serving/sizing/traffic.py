"""The traffic a service must carry and the promises it makes, as they are planned with."""

from math import ceil
from typing import Annotated, Self

from pydantic import Field

from infra.record import Record
from serving.sizing.traffic_class import SomeLengths, TrafficClass, mean

HOURS_PER_MONTH = 730
"""8,760 / 12, as AWS counts a month."""
CONTEXT_STEP = 1024
MOST = 10**15


class Traffic(Record):
    """Requests a second on average, how much more at peak, and how long they are."""

    requests_per_s: Annotated[float, Field(gt=0, le=MOST)]
    """On average."""
    peak_factor: Annotated[float, Field(ge=1, le=MOST)]
    """How many times that at the planned peak."""
    input_tokens: SomeLengths
    """Lengths of prompts, in tokens."""
    output_tokens: SomeLengths
    """Of an answer; where there are classes both are their mean."""
    classes: tuple[TrafficClass, ...] = Field(default=(), exclude_if=lambda classes: not classes)
    """Kinds of requests with lengths and promises of their own; empty for one kind."""

    @property
    def parts(self) -> tuple[TrafficClass, ...]:
        """Its classes, or all of it as one without a name."""
        whole = TrafficClass(
            name="", share=1.0, input_tokens=self.input_tokens, output_tokens=self.output_tokens
        )
        return self.classes or (whole,)

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
    def equal_requests(self) -> tuple[int, int]:
        """Tokens of the prompt and the answer of equal requests that weigh on a server as the traffic does.

        They bring as many tokens of a prompt for each of an answer. Those of a class decode the more of the time the
        longer its answers are, so what a request that decodes has seen is no mean over requests.
        """
        if not self.classes:
            return self.mean_input, self.mean_output
        decoding = [
            (each.share * mean(each.output_tokens), mean(each.input_tokens) + mean(each.output_tokens) / 2)
            for each in self.classes
        ]
        seen = sum(weight * tokens for weight, tokens in decoding) / sum(weight for weight, _ in decoding)
        brought = self.mean_input / self.mean_output
        answer = max(1, round(seen / (brought + 0.5)))
        return max(1, min(round(brought * answer), self.largest_request - answer)), answer

    def with_longer_prompts(self, tokens: int) -> Self:
        """The same with so many tokens more in each prompt."""
        classes = tuple(
            each.model_copy(update={"input_tokens": each.input_tokens.longer(tokens)})
            for each in self.classes
        )
        return self.model_copy(update={"input_tokens": self.input_tokens.longer(tokens), "classes": classes})

    @property
    def lengths(self) -> str:
        """What its requests are, in words."""
        return ", ".join(part.lengths for part in self.parts)

    @property
    def longest(self) -> int:
        """The --max-model-len that holds the longest request that is likely, in steps of 1,024."""
        return ceil(self.largest_request / CONTEXT_STEP) * CONTEXT_STEP

    @property
    def largest_request(self) -> int:
        """Tokens of the longest request that is likely."""
        return max(part.input_tokens.largest + part.output_tokens.largest for part in self.parts)

    @property
    def tokens_per_month(self) -> float:
        """Input and output tokens of an average month."""
        return self.requests_per_s * 3600 * HOURS_PER_MONTH * (self.mean_input + self.mean_output)


class Promise(Record):
    """What the service promises. None promises nothing."""

    ttft_s: Annotated[float, Field(gt=0, le=MOST)] | None = None
    """For the longest likely prompt."""
    tpot_s: Annotated[float, Field(gt=0, le=MOST)] | None = None
    """Between two tokens of an answer, at most."""
    spare_machines: Annotated[int, Field(ge=0)] = 0
    """1 is N+1: the peak is carried with one machine gone."""
    percentile: Annotated[float, Field(ge=50, lt=100)] = 95.0
    """So many of a hundred requests keep each of the promises, of those that are simulated."""
    fill: Annotated[float, Field(gt=0, le=1)] = 0.8
    """The share of a replica's capacity that is used at peak; the rest absorbs bursts."""

    def to(self, part: TrafficClass) -> tuple[float | None, float | None]:
        """TTFT and TPOT, in seconds, as they are promised to a class: its own, or those of all.

        An answer of one token has no time between tokens.
        """
        ttft_s = self.ttft_s if part.ttft_s is None else part.ttft_s
        tpot_s = self.tpot_s if part.tpot_s is None else part.tpot_s
        return ttft_s, tpot_s if mean(part.output_tokens) > 1 else None

    def is_made_to(self, traffic: Traffic) -> bool:
        """Whether any request is promised anything."""
        return any(promised is not None for part in traffic.parts for promised in self.to(part))
