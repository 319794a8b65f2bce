"""PURE: what may be asked of a traffic, of what is promised for it, and of what it may run on."""

from decimal import Decimal
from typing import Annotated, ClassVar, Self

from pydantic import AfterValidator, Field, model_validator

from infra.asked import Asked, Flag, spoken
from infra.catalog import canonical
from infra.errors import UsageError
from serving.probe.lengths import AskedLengths, Lengths
from serving.sizing.owned import AskedOwned
from serving.sizing.size_options import LONGEST, EngineOptions, FurtherOptions, PrecisionOptions, PriceOptions
from serving.sizing.traffic import HOURS_PER_MONTH, MOST, Promise, Traffic
from serving.sizing.traffic_class import (
    AskedClasses,
    TrafficClass,
    check_promised,
    check_whole,
    class_means,
    made_whole,
    mean,
)

PROMPT_LENGTH, ANSWER_LENGTH = Lengths(low=1000), Lengths(low=300)


class TrafficOptions(Asked):
    """How much traffic there is, in either way to say it, and how long its requests are."""

    heading: ClassVar[str] = "The traffic"

    requests_per_s: Annotated[float | None, Field(gt=0, le=MOST, examples=[5])] = None
    """Average requests a second."""
    requests_per_month: Annotated[float | None, Field(gt=0, le=MOST, examples=["5M"])] = None
    """Instead: requests a month."""
    tokens_per_month: Annotated[float | None, Field(gt=0, le=MOST, examples=["2e9"])] = None
    """Instead: input and output tokens a month."""
    peak_factor: Annotated[float, Field(ge=1, le=MOST)] = 2.0
    """The busiest moment over the average of the whole month, nights too: 6.7 for weekdays from 8 to 18 alone."""
    input_tokens: AskedLengths = PROMPT_LENGTH
    """Of a prompt: 1000, 2k or 2K (both 2,000), 500-2000 (uniform) or 1000~300 (normal)."""
    output_tokens: AskedLengths = ANSWER_LENGTH
    """Of an answer, as --input-tokens."""
    classes: AskedClasses = ()
    """Instead of one length for all: chat=70%,2k/300, a share of the requests; repeatable."""

    @model_validator(mode="after")
    def said_in_one_way(self) -> Self:
        """Neither in none nor in several. Raises UsageError."""
        ways = ("requests_per_s", "requests_per_month", "tokens_per_month")
        said = [spoken(type(self), way) for way in ways if getattr(self, way) is not None]
        if len(said) != 1:
            raise UsageError(
                "Say how much traffic there is, in one way.",
                f"Leave out {' and '.join(said[1:])}."
                if said
                else "--requests-per-s 5, --requests-per-month 5M, or --tokens-per-month 2e9",
            )
        return self

    @model_validator(mode="after")
    def classes_are_a_whole(self) -> Self:
        """Each once, all of the requests, and no other lengths beside them. Raises UsageError."""
        check_whole(self.classes)
        if self.classes and (self.input_tokens, self.output_tokens) != (PROMPT_LENGTH, ANSWER_LENGTH):
            raise UsageError(
                "--class says the lengths, --input-tokens and --output-tokens those of all.",
                "Leave out one of the two.",
            )
        return self

    @property
    def of_classes(self) -> tuple[TrafficClass, ...]:
        """The classes, their shares made to come to 1 where they were rounded."""
        return made_whole(self.classes)

    @property
    def traffic(self) -> Traffic:
        """The same by the second."""
        prompt, answer = self.input_tokens, self.output_tokens
        if classes := self.of_classes:
            prompt, answer = class_means(classes)
        monthly = self.requests_per_month or (self.tokens_per_month or 0) / (mean(prompt) + mean(answer))
        return Traffic(
            requests_per_s=self.requests_per_s or monthly / (3600 * HOURS_PER_MONTH),
            peak_factor=self.peak_factor,
            input_tokens=prompt,
            output_tokens=answer,
            classes=classes,
        )


class LatencyOptions(Asked):
    """What is promised of each request."""

    heading: ClassVar[str] = "The promise"

    ttft: Annotated[float | None, Field(gt=0, le=MOST, examples=[2])] = None
    """Promised seconds to the first token, longest prompt."""
    tpot: Annotated[float | None, Field(gt=0, le=MOST, examples=[0.05])] = None
    """Promised seconds a token after it."""
    percentile: Annotated[float | None, Field(ge=50, lt=100, examples=[99])] = None
    """Of a hundred requests so many keep it. [a plan's; 95]"""

    @model_validator(mode="after")
    def somebody_waits_that_long(self) -> Self:
        """Raises UsageError."""
        check_promised("ttft", self.ttft)
        check_promised("tpot", self.tpot)
        return self

    def before(self, planned: Promise | None) -> Promise:
        """What was typed, and in place of what was not what a plan promises, or nothing."""
        typed = {"ttft_s": self.ttft, "tpot_s": self.tpot, "percentile": self.percentile}
        said = {name: value for name, value in typed.items() if value is not None}
        return (planned or Promise()).model_copy(update=said)


class PromiseOptions(LatencyOptions):
    """What is promised for that traffic."""

    spare: Annotated[int, Field(ge=0, le=100, examples=[1])] = 0
    """Machines that may be gone: 1 is N+1."""
    fill: Annotated[float, Field(gt=0, le=1)] = 0.8
    """Share of a replica used at peak."""

    @property
    def promise(self) -> Promise:
        """The same in the names that documents carry."""
        return self.before(Promise(spare_machines=self.spare, fill=self.fill))


class FurtherOfTraffic(FurtherOptions):
    """The same of each request, and of each server; how GPUs reach each other is of one machine."""

    not_asked: ClassVar[tuple[str, ...]] = ("gpu_link",)

    def check(self, traffic: TrafficOptions) -> None:
        """Raise UsageError where it is not clear how many requests bring images."""
        if self.images_per_request and traffic.tokens_per_month:
            raise UsageError(
                "--tokens-per-month does not say whether those of images are among them.",
                "Say how many requests there are: --requests-per-month 5M",
            )


def each_once(names: tuple[str, ...]) -> tuple[str, ...]:
    """Machines by the catalogue's names, each once however it was spelled."""
    return tuple(dict.fromkeys(map(canonical, names)))


class MachineOptions(PrecisionOptions, PriceOptions, EngineOptions):
    """What the traffic may run on."""

    heading: ClassVar[str] = "The machines"

    machines: Annotated[tuple[str, ...], Flag("--on"), AfterValidator(each_once)] = ()
    """Only these machines; may be repeated."""
    usd_per_hour: Annotated[Decimal | None, Field(gt=0, le=MOST, examples=["12.50"])] = None
    """What a machine of --on costs you."""
    context: Annotated[int | None, Flag(unit="vllm"), Field(ge=1, le=LONGEST, examples=[32768])] = None
    """--max-model-len, as vLLM reads it: 128k is 128,000, 128K 131,072. [what the longest request needs]"""

    have: Annotated[tuple[AskedOwned, ...], Flag("--have", metavar="<SHAPE=COUNT[@USD]>")] = ()
    """What of your own carries: 8xA100-40GB=1, or =1@9.50 USD an hour, on or off; may be repeated."""

    at_worst: bool = False
    """Of --have, take as many as carry it at the bad end of the speed's band too."""

    @model_validator(mode="after")
    def one_price_is_of_one_machine(self) -> Self:
        """A price that is given is used. Raises UsageError where it is not clear of what."""
        if self.usd_per_hour is not None and self.have:
            raise UsageError(
                "--have says its own prices, --usd-per-hour that of a machine of --on.",
                f"Write it as --have {self.have[0].machine}={self.have[0].count}@{self.usd_per_hour:f}",
            )
        if self.usd_per_hour is not None and len(self.machines) != 1:
            raise UsageError(
                "--usd-per-hour is the price of one machine, and "
                f"{'--on names several' if self.machines else 'no --on names one'}.",
                "Name it: --on 2xA100-80GB --usd-per-hour 12.50",
            )
        return self

    @model_validator(mode="after")
    def a_fleet_is_what_is_there(self) -> Self:
        """Each shape once, and nothing beside them. Raises UsageError."""
        names = [owned.machine for owned in self.have]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise UsageError(f"--have names {twice} twice.", f"Say once how many there are: --have {twice}=2")
        if self.at_worst and not self.have:
            raise UsageError(
                "--at-worst is about machines that are there.",
                "Name them, --have 8xA100-40GB=1, or leave it out: of what is rented it is said how many that takes.",
            )
        if self.have and (self.machines or self.region):
            other = "--on" if self.machines else "--region"
            raise UsageError(
                f"--have is about machines that are there, {other} about others.", "Leave out one of the two."
            )
        return self
