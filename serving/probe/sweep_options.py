"""What may be asked of a sweep."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from infra.errors import UsageError
from serving.probe.probe_options import (
    LEAST_RATE,
    LONGEST_S,
    MOST_CONCURRENCY,
    MOST_PROCESSES,
    MOST_RATE,
    RepeatableOptions,
    within,
)

REPEATS = 10
"""Steps' worth of time for repeating, where nothing else is said."""


class SweepOptions(RepeatableOptions):
    """What is raised, from where to where, and how long each step lasts."""

    heading: ClassVar[str] = "The steps"

    attainment: Annotated[float, Field(ge=0.01, le=1)] = 0.95
    """The share of requests that must meet the limits."""
    over: Literal["concurrency", "rate"] = "concurrency"
    """What to raise: concurrency or rate."""
    start: float = 1.0
    """The first load."""
    limit: float = 4096.0
    """The highest load to try."""
    duration_s: Annotated[float, Field(ge=0.5, le=LONGEST_S)] = 30.0
    """Of each step; a slow rate lasts for 10 requests."""
    repeat_limit_s: Annotated[float | None, Field(ge=0, le=LONGEST_S, examples=[300])] = None
    """Repeat the steps that decide for so long at most; 0: never. [10 steps]"""

    @property
    def most_repeating_s(self) -> float:
        """How long steps may be repeated, all together."""
        return REPEATS * self.duration_s if self.repeat_limit_s is None else self.repeat_limit_s

    @model_validator(mode="after")
    def rising(self) -> Self:
        """From a load there is to a higher one; of requests at once only whole numbers. Raises UsageError."""
        closed = self.over == "concurrency"
        most = MOST_CONCURRENCY if closed else MOST_RATE
        within("--start", self.start, 1.0 if closed else LEAST_RATE, most)
        within("--limit", self.limit, self.start, most)
        for option, value in (("--start", self.start), ("--limit", self.limit)):
            if closed and value != int(value):
                raise UsageError(
                    f"{option} {value} is no whole number of requests.", f"Say {option} {value:.0f}"
                )
        if closed:
            within("--processes", self.processes, 1, min(MOST_PROCESSES, self.start))
        return self
