"""The Comparison document: what a million tokens costs here and at Claude, and everything that figure rests on."""

from datetime import date
from decimal import Decimal
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from deploy.costs.carries import Carries
from deploy.costs.class_bill import ByClass
from deploy.costs.claude_prices import Status, Tier
from deploy.costs.hosted_offers import OfferStatus
from deploy.costs.knobs import Assumption, Knobs
from deploy.costs.month import Month
from deploy.costs.monthly_bill import Bill
from deploy.costs.token_ratio import TokenRatio
from infra.money import Number, Usd
from infra.record import Document, Record

COMPARISON = "comparison.json"
Answer = Literal["cheaper", "too close to call", "dearer", "not at this load", "never", "cannot be asked"]
"""`cannot be asked`: each request is longer than that Claude takes, whatever its tokens would cost. `never` and
`not at this load`: not even fully busy; the first where the machine is shown to serve no more."""
Basis = Literal["measured", "modelled"]
Shown = Literal["saturation", "refusal", "latency promise", "planned traffic", "one load"]


class OperatingPoint(Record):
    """The load that one server is taken at, and what its requests then wait for."""

    load: str
    """In words: 64 requests at once."""
    shown: Shown
    """What makes it the most that the server can do; `one load` is nothing but a load that it was asked at."""
    requests_at_once: int | None = None
    """None where they came at a rate, or each of several kinds of machine has its own."""
    ttft_s: Number | None = None
    """The mean where it is modelled, else p95; null of several kinds of machine; so is the other."""
    tpot_s: Number | None = None
    """Between two tokens of an answer; null where it is not known."""

    @property
    def is_most(self) -> bool:
        """Whether the server is shown to do no more, within what is promised."""
        return self.shown != "one load"


class Speed(Record):
    """How fast one machine serves one kind of request, and how that is known. Tokens are Llama 4's."""

    output_tokens_per_s: Number
    """Of one machine, all its requests together."""
    output_tokens_per_s_low: Number
    """The lower end of what it may be."""
    output_tokens_per_s_high: Number
    """The upper end."""
    input_tokens_per_request: Number
    """On average."""
    output_tokens_per_request: Number
    """On average."""
    basis: Basis
    """Whether a probe measured it or the planner predicts it."""
    how: str
    """From which load, and what was made of it, in words."""
    point: OperatingPoint
    """The load that it is taken at."""
    machines: Annotated[str, Field(exclude_if=lambda said: not said)] = ""
    """Of unlike machines those that it is the mean of, without the spare ones; absent where all are alike."""
    prefix_share: Number = Decimal(0)
    """Of a prompt, read from a prefix cache: here, and at Claude."""

    @property
    def tokens_per_request(self) -> Decimal:
        """Input and output together, of the average request."""
        return self.input_tokens_per_request + self.output_tokens_per_request

    @property
    def tokens_per_output_token(self) -> Decimal:
        """Input and output tokens together, for each output token: what the mix of these requests makes of it."""
        return 1 + self.input_tokens_per_request / self.output_tokens_per_request

    @property
    def total_tokens_per_s(self) -> Decimal:
        """Input and output together."""
        return self.output_tokens_per_s * self.tokens_per_output_token


class AtUtilisation(Record):
    """What a million tokens costs when the machine is kept this busy."""

    utilisation: Number
    """Share of what the machines could serve in a month, 0 to 1."""
    mtok_per_month: Number
    """Millions of tokens a month at that, input and output."""
    usd_per_mtok_output: Usd
    """The whole bill over the output tokens alone."""
    usd_per_mtok_blended: Usd
    """The whole bill over input and output tokens."""
    note: str = ""
    """What is to be known of that row; mostly empty."""


class SelfHosted(Record):
    """The machine's side. `usd_per_hour` is everything kept up, for each hour it is on."""

    usd_per_hour: Usd
    """The whole month's bill over its hours."""
    usd_per_month: Usd
    """The whole bill."""
    usd_per_mtok_output: Usd
    """The whole bill over the output tokens alone."""
    usd_per_mtok_blended: Usd
    """The whole bill over input and output tokens."""
    utilisation: Number
    """Share of what the machines could serve in the month, 0 to 1."""
    mtok_per_month: Number
    """Served at that utilisation; input and output."""
    capacity_mtok_per_month: Number
    """Millions of tokens a month if they were never idle, input and output."""
    usage_usd_per_mtok_output: Usd
    """Never idle: a lower bound, no forecast."""
    usage_usd_per_mtok_blended: Usd
    """The same over input and output tokens."""
    at: tuple[AtUtilisation, ...]
    """The same at other utilisations."""
    usd_of_full_load: Usd = Decimal(0)
    """What of a month's bill is only for being busy all of it: power of one's own machines."""
    bill: Bill
    """The month, item by item."""
    most_utilisation: Annotated[Number, Field(exclude_if=lambda share: share == 1)] = Decimal(1)
    """On average, so that the plan's peak is carried within its promise; absent where it may be 1."""


class BreakEven(Record):
    """Where both sides cost the same. Not feasible: the machine cannot serve that many tokens."""

    against: str
    """The Claude model, by its name for people."""
    mtok_per_month: Number
    """Millions of tokens a month at which both cost the same, input and output."""
    required_utilisation: Number
    """That volume as a share of what the machines could serve; above 1 they cannot."""
    required_utilisation_low: Number
    """At the highest token ratio of the range."""
    required_utilisation_high: Number
    """At the lowest."""
    feasible: bool
    """Whether the machines can serve that volume, and carry its peak within the plan's promise."""


class ClaudeSide(Record):
    """One Claude model on the same texts; `usd_per_mtok_*` are per million *Llama 4* tokens unless it says list."""

    model: str
    """By Claude's own id, with the platform before it where it is not Claude's API."""
    models: Annotated[tuple[str, ...], Field(exclude_if=lambda value: not value)] = ()
    """Those that it is made of, where each class of the traffic has its own."""
    name: str
    """As people call it."""
    status: Status
    """Whether it can be asked at the day of the comparison."""
    usd_per_mtok_blended: Usd
    """Input and output at the mix of these requests, at the token ratio that was taken."""
    usd_per_mtok_low: Usd
    """At the lower end of the token ratio's range."""
    usd_per_mtok_high: Usd
    """At the ends of the token ratio's range."""
    usd_per_mtok_asked_again: Annotated[Usd, Field(exclude_if=lambda usd: not usd)] = Decimal(0)
    """What of it is paid there all the same, where some of the answers from here are asked again."""
    usd_per_mtok_list_blended: Usd
    """Per million of Claude's own tokens, as the price list has it."""
    usd_per_request: Usd
    """One average request."""
    usd_per_month: Usd
    """For the tokens that the machine serves in a month."""
    tier: Annotated[Tier | None, Field(exclude_if=lambda tier: tier is None)] = None
    """Its price of long requests, where some of these are; absent where none is."""
    token_ratio: TokenRatio
    """How many of Claude's tokens a Llama 4 token is, and how far that may be off."""
    break_even: BreakEven
    """Where self-hosting costs as much as this model."""
    probability: Number
    """That self-hosting is the cheaper one at that utilisation or volume, over the ranges of what is doubtful."""
    probability_fully_busy: Number
    """The same were the machines fully busy all month."""
    answer: Answer
    """What holds against this model at the utilisation or volume compared at."""
    verdict: str
    """The same as a sentence with its figures."""
    warnings: tuple[str, ...] = ()
    """What makes this side doubtful, a retired model say; empty where nothing does."""

    @property
    def is_to_be_had(self) -> bool:
        """Whether such requests would be answered at all."""
        return self.status != "retired" and self.answer != "cannot be asked"

    def spared(self, usd: Decimal) -> Decimal:
        """What answering them here spares of what all of the requests cost there: all but what is asked again."""
        all_usd, again = self.usd_per_mtok_blended, self.usd_per_mtok_asked_again
        return usd * (1 - again / all_usd) if again and all_usd else usd


class HostedSide(Record):
    """The same model as another company serves it."""

    host: str
    """Who serves it."""
    status: OfferStatus
    """Whether the offer answers, is only listed, or has ended."""
    ends_on: date | None
    """The day from which it is gone; null where none is announced."""
    usd_per_mtok_blended: Usd
    """Input and output at the mix of these requests."""
    usd_per_month: Usd
    """For the tokens that our machines serve in a month."""
    checked_on: date
    """When the price was read."""
    days_old: int
    """How many days before the comparison the price was read."""
    called_on: date | None
    """When it answered us; None: nobody called it."""
    source: str
    """Where the price was read."""
    note: str
    """What else is to be known of the offer; empty where nothing is."""


class Hybrid(Record):
    """A part of the tokens at Claude, the rest here."""

    claude: str
    """The Claude model, by its name for people."""
    claude_share: Number
    """Share of the tokens that goes to Claude at once, 0 to 1."""
    escalation: Number
    """Of what is answered here first, the share that is asked again at Claude."""
    reaches_claude: Number
    """Share that Claude answers in the end: at once, or asked again."""
    mtok_per_month: Number
    """The volume of all of it, millions of tokens."""
    all_claude_usd: Usd
    """A month were all of it asked at Claude."""
    hybrid_usd: Usd
    """A month of the machines, and Claude for its part."""
    bulk_claude: str | None = None
    """The cheapest Claude, were it to do what the fleet does here; None where that is the same Claude."""
    bulk_claude_usd: Usd | None = None
    """That one for the bulk, and this one for the share that reaches it."""
    tie_mtok_per_month: Number | None
    """The volume at which both cost the same; None when everything reaches Claude."""
    feasible: bool
    """Whether the machine can serve its part at that volume."""


class Swing(Record):
    """One figure at the ends of its range, and the utilisation that break-even then takes."""

    what: str
    """The figure that is moved."""
    low: str
    """At the lower end of its range, in words."""
    base: str
    """As it was taken, in words."""
    high: str
    """At the upper end of its range, in words."""
    required_utilisation_low: Number
    """For break-even at the lower end, 0 to 1; above 1 it is impossible."""
    required_utilisation_base: Number
    """For break-even as it was taken."""
    required_utilisation_high: Number
    """For break-even at the upper end."""


class FourBits(Record):
    """What is known of the answers of weights of 4 bits; the dollars count a token of theirs like any other."""

    note: str
    """Whether vLLM tests such weights, what others published of these, what of it is more than noise; how to look."""
    sources: tuple[str, ...]
    """Who published it, where, and when it was read there; empty where nothing is known."""


class Comparison(Document):
    """Self-hosting against the Claude API, on the same texts."""

    kind: ClassVar[str] = "comparison"
    document: Literal["comparison"] = "comparison"
    schema_version: Literal[2] = 2

    made_on: date
    """The day of it: ages and retirements are as of then."""
    model: str
    """As the plan calls it."""
    precision: str
    """Of the weights that are served here."""
    machine: str
    """The plan's machine, or all of unequal ones."""
    speed: Speed
    """What one machine serves, and how that is known."""
    knobs: Knobs
    """Every figure that it was reckoned with and that may be set by hand."""
    self_hosted: SelfHosted
    """The machine's side of the sums."""
    month: Month
    """One month: ours item by item, and the same work elsewhere."""
    us_only: Annotated[bool, Field(exclude_if=lambda value: not value)] = False
    """Whether Claude is asked for answers of the US alone: inference_geo "us"."""
    claude: tuple[ClaudeSide, ...] = Field(min_length=1)
    """Each Claude model that was compared with."""
    hosted: tuple[HostedSide, ...]
    """The same model as other companies serve it; empty where no offer is known."""
    break_even: BreakEven
    """Against the cheapest Claude model compared with that is not retired."""
    probability: Number
    """That self-hosting is cheaper than that one, at the utilisation or volume compared at."""
    answer: Answer
    """Against the cheapest Claude that is good enough; `verdict` says it in words."""
    verdict: str
    """The answer as one sentence with the figures that it hangs on."""
    what_would_change_it: tuple[str, ...]
    """A sentence each: which speed, price or volume would turn the answer."""
    by_class: ByClass | None = Field(default=None, exclude_if=lambda found: found is None)
    """Where the traffic has classes; what is compared above is then what stays here."""
    hybrid: tuple[Hybrid, ...]
    """One for each Claude model, where a share for Claude was named."""
    sensitivity: tuple[Swing, ...]
    """How far each doubtful figure moves the break-even, the furthest first."""
    warnings: tuple[str, ...]
    """What must be read with the answer: an unmeasured speed, an old price, a retired model."""
    carries: Carries | None = Field(default=None, exclude_if=lambda found: found is None)
    """Where the plan is of a traffic, its promise and what is predicted of it; absent for any other."""
    four_bits: FourBits | None = Field(default=None, exclude_if=lambda found: found is None)
    """Where ours are weights of 4 bits, what they are known to lose; absent for any others."""
    assumptions: tuple[Assumption, ...]
    """Every figure that it rests on, with whose it is."""

    @model_validator(mode="after")
    def _is_against_one_of_them(self) -> Self:
        if self.break_even.against not in {side.name for side in self.claude}:
            raise ValueError("its break-even is against none of the Claude models compared with")
        return self
