"""What came of comparing two endpoints on the user's own texts."""

from typing import ClassVar, Literal

from infra.record import Document, Record
from serving.quality.bootstrap import Interval
from serving.quality.task_result import TaskResult

Finding = Literal["no difference shown", "different"]


class Side(Record):
    """One endpoint."""

    url: str
    """Where it was asked."""
    model: str
    """That was asked for."""
    vllm_version: str | None = None
    """Null where it is no vLLM, or does not say."""


class Perplexities(Record):
    """Of both, from all tokens but each text's first: e to the mean of what each token's coming was a surprise."""

    a: float
    """Of the first endpoint."""
    b: float
    """Of the second endpoint."""
    a_interval: Interval
    """95 %, from drawing the texts again."""
    b_interval: Interval
    """95 %, from drawing the texts again."""
    b_over_a: Interval
    """Text by text, so that hard texts and easy ones do not widen it."""


class Divergence(Interval):
    """KL(A || B) in nats a token: how much worse B foretells what A would say. A lower bound."""

    covered: float
    """The share of A's probability in the buckets that were compared; the rest is one bucket."""
    at_a_ids: bool
    """Whether B was asked of A's own tokens; else only those count that both said."""


class Agreement(Record):
    """Of answers, the likeliest word taken each time."""

    same: Interval
    """The share of texts to which both answer the same, letter by letter."""
    common: Interval
    """How much of the longer answer they have in common from the beginning."""


class NoiseFloor(Record):
    """What A differs from itself, asked again: nothing below it means anything."""

    b_over_a: Interval
    """Perplexity, the second time over the first."""
    kl_per_token: Interval | None = None
    """Nats; null where the endpoint says no log-probabilities."""
    agreement: Agreement | None = None
    """Of its greedy answers with themselves; null where none were asked for."""


class Quality(Document):
    """Two endpoints on the same texts."""

    kind: ClassVar[str] = "comparison of answers"
    document: Literal["quality"] = "quality"
    schema_version: Literal[1] = 1

    made_on: str
    """The day."""
    a: Side
    """The first endpoint."""
    b: Side
    """The second endpoint."""
    texts: int
    """How many were asked."""
    tokens: int
    """Those that were scored."""
    logprobs: int
    """The most likely tokens that were asked for at each place."""
    answer_tokens: int
    """Of a greedy answer, at most."""
    finding: Finding | None = None
    """None where no texts were given."""
    perplexity: Perplexities | None = None
    """Of both; null where one says no log-probabilities."""
    kl_per_token: Divergence | None = None
    """None where no alternatives were asked for."""
    agreement: Agreement | None = None
    """Of greedy answers; null where none were asked for."""
    noise: NoiseFloor | None = None
    """What A differs from itself; null where it was not asked twice."""
    tasks: tuple[TaskResult, ...] = ()
    """Known tasks, where some were asked for; else empty."""
    notes: tuple[str, ...] = ()
    """What must be read with the figures, a sentence each."""
