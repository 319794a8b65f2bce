"""A capacity question and its answer: what each way to carry a traffic takes and costs."""

from typing import ClassVar, Literal

from pydantic import Field

from infra.money import Usd
from infra.record import Document, Record
from serving.sizing.owned import Owned
from serving.sizing.plan import Plan
from serving.sizing.size_options import FurtherOptions, KvDtype
from serving.sizing.traffic import Promise, Traffic


class Question(Record):
    """Everything a search depends on."""

    model: str
    traffic: Traffic
    promise: Promise
    precision: str | None = None
    machines: tuple[str, ...] = ()
    """EC2 types or owned shapes to consider; none means every EC2 type."""
    usd_per_hour: Usd | None = None
    """What each of those machines costs, in place of EC2's price."""
    context: int | None = None
    """--max-model-len; none means what the longest likely request needs."""
    region: str | None = None
    have: tuple[Owned, ...] = ()
    """Machines that are there, by count: instead of any number of any machine."""
    at_worst: bool = False
    """Of these, as many are taken as carry it at the bad end of the speed's band too."""
    kv_cache_dtype: KvDtype = "auto"
    vllm_version: str | None = None
    further: FurtherOptions = FurtherOptions()
    """What requests bring beside their words, and what the engine does more."""


class ClassTail(Record):
    """The same of the requests of one class."""

    name: str
    """Of the class."""
    requests: int
    """Of it that were simulated."""
    ttft_s: float
    """To the first token."""
    tpot_s: float
    """Between two tokens of an answer."""
    longest_pause_s: float
    """Between two tokens of one answer."""


class Tail(Record):
    """What so many of a hundred requests do not exceed at the planned peak, simulated request by request."""

    percentile: float
    """Of a hundred requests so many exceed nothing of this."""
    requests: int
    """How many were simulated, of a Poisson stream; the first tenth is not counted."""
    ttft_s: float
    """To the first token."""
    tpot_s: float
    """Between two tokens of an answer."""
    longest_pause_s: float
    """Between two tokens of one answer, while prompts of others are prefilled."""
    classes: tuple[ClassTail, ...] = Field(default=(), exclude_if=lambda classes: not classes)
    """Of each class of the traffic, where it has some: the promise is kept to each."""


class AtWorst(Record):
    """If every step takes the prediction's band longer, and the promise holds all the same.

    Of a choice with a tail it holds for slow requests too, which are simulated then as without.
    """

    machines: int
    """That it takes then."""
    requests_per_s_each: float
    """That one machine carries then."""
    usd_per_month: Usd | None = None
    """Of these machines; null where no price is known."""


class Choice(Record):
    """One way to carry the traffic, or why it cannot."""

    machine: str
    """The EC2 type, or COUNTxGPU."""
    gpu: str
    """As the catalogue names it."""
    gpus_per_machine: int
    """That one machine has."""
    precision: str
    """Of the weights."""
    tensor: int
    """GPUs that share each layer."""
    pipeline: int
    """Stages of layers."""
    replicas_per_machine: int
    """Servers on one machine."""
    verdict: str
    """Whether one server fits: fits, tight, does not fit."""
    feasible: bool
    """Whether any number of them carries the traffic."""
    concurrency: int = 0
    """Requests at once in one replica at which the promise still holds."""
    requests_per_s: float = 0.0
    """What one replica carries then."""
    requests_per_s_each: float = 0.0
    """What one machine carries, when all its replicas are that full."""
    ttft_s: float = 0.0
    """At the planned peak, for an average prompt."""
    tpot_s: float = 0.0
    """Between two tokens of an average answer, at the planned peak."""
    e2e_s: float = 0.0
    """A whole average request at the planned peak."""
    tail: Tail | None = None
    """Of the first choice; of machines that are there of each, filled as far as it is to be."""
    machines: int = 0
    """That it takes, the spare ones included."""
    at_worst: AtWorst | None = None
    """None where no number of them keeps the promise then."""
    usd_per_hour: Usd | None = None
    """One machine; null where no price is known."""
    paid_ahead: bool = False
    """A Capacity Block: days or weeks at a time, paid before they begin."""
    usd_per_month: Usd | None = None
    """All its machines, where the traffic is; null where no price is known there."""
    usd_per_month_elsewhere: Usd | None = None
    """At the price of us-east-1: what choices are ranked by where the region's price of some is not known."""
    basis: str = ""
    """What the speed is taken from."""
    pareto: bool = False
    """No other way as sure, and as easy to have, is both cheaper and faster."""
    why: str = ""
    """Why it is not the one chosen."""


class Notch(Record):
    """What one step more of something would cost a month."""

    change: str
    """What is asked for beyond the question."""
    choice: str
    """What it then takes."""
    usd_per_month: Usd | None
    """All of that; null where no price is known."""
    more_usd_per_month: Usd | None
    """Beyond what the first choice costs, in us-east-1 where the region's price of either is not known; else null."""


class Fleet(Record):
    """What machines that are there carry together, the spare ones left out, filled as far as the promise says."""

    precision: str
    """Of the weights on all of them."""
    carries_requests_per_s: float
    """Of those that it takes; where not even all are enough it takes all."""
    at_worst_requests_per_s: float
    """If the speed is at the bad end of its band."""
    all_carry_requests_per_s: float
    """With those that it does not take."""
    all_at_worst_requests_per_s: float
    """The same at the bad end of the band."""
    missing_requests_per_s: float
    """Of the peak; 0.0 where they carry it."""
    missing_at_worst_requests_per_s: float
    """The same at the bad end of the band, of those that it takes."""
    carries_at_worst: bool
    """Whether they carry the peak if the speed is at the bad end of its band, too."""
    takes_at_worst: tuple[Owned, ...] = Field(default=(), exclude_if=lambda owned: not owned)
    """So many of those that are there carry it at worst too, where the ones that it takes do not; absent elsewise."""


class Rest(Record):
    """What would carry what machines that are there do not."""

    requests_per_s: float
    """On average, which is missing of all that are there."""
    rent: Choice | None
    """The cheapest to rent for it, in the same weights, spare ones of its own included; null where nothing is."""
    more: Owned | None
    """Or so many more of a shape that is there; null where none of them carries anything."""


class Capacity(Document):
    """The answer to a capacity question; the first choice is the one to take."""

    kind: ClassVar[str] = "capacity plan"
    document: Literal["capacity"] = "capacity"
    schema_version: Literal[1] = 1

    model: str
    """As it was asked for."""
    traffic: Traffic
    """As it was understood."""
    promise: Promise
    """As it was understood."""
    choices: tuple[Choice, ...]
    """The best first; those that cannot carry it last."""
    plan: Plan | None
    """How one replica of the first choice is served; None when nothing carries the traffic."""
    notches: tuple[Notch, ...] = ()
    """What one step more of something would cost."""
    further: FurtherOptions | None = Field(default=None, exclude_if=lambda value: value is None)
    """What else was asked of the requests and of the engine; absent where nothing was. Images are in the traffic."""
    surer_fleet: Fleet | None = Field(default=None, exclude_if=lambda fleet: fleet is None)
    """The same machines in fewer bits, which carry the peak at the worst speed too; absent where `fleet` does."""
    fleet: Fleet | None = None
    """What the machines that are there carry, where the question was about them; the choices are they."""
    rest: Rest | None = Field(default=None, exclude_if=lambda rest: rest is None)
    """What would carry what is missing; absent where nothing is."""
    rest_at_worst: Rest | None = Field(default=None, exclude_if=lambda rest: rest is None)
    """The same at the bad end of the band, where more is missing: of what is to be rented it is the `at_worst`.

    Absent too where fewer bits carry it then (`surer_fleet`).
    """
    more_at_worst: Owned | None = Field(default=None, exclude_if=lambda owned: owned is None)
    """So many more of a shape that is there carry the peak at the worst speed too; absent where it is carried."""


def label(choice: Choice) -> str:
    """A choice in a few words."""
    return f"{choice.machines}x {choice.machine} {choice.precision} TP{choice.tensor}"
