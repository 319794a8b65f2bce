"""The Comparison document: what a million tokens costs here and at Claude, and everything that figure rests on."""

from datetime import date
from decimal import Decimal
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from deploy.costs.class_bill import ByClass
from deploy.costs.claude_prices import Status
from deploy.costs.hosted_offers import OfferStatus
from deploy.costs.knobs import Assumption, Knobs
from deploy.costs.month import Month
from deploy.costs.monthly_bill import Bill
from deploy.costs.token_ratio import TokenRatio
from infra.money import Number, Usd
from infra.record import Document, Record

COMPARISON = "comparison.json"
Answer = Literal["cheaper", "too close to call", "dearer", "not at this load", "never"]
"""`never` and `not at this load`: not even fully busy; the first where the machine is shown to serve no more."""
Basis = Literal["measured", "modelled"]
Shown = Literal["saturation", "refusal", "latency promise", "planned traffic", "one load"]


class OperatingPoint(Record):
    """The load that one server is taken at, and what its requests then wait for."""

    load: str
    """In words: 64 requests at once."""
    shown: Shown
    """What makes it the most that the server can do; `one load` is nothing but a load that it was asked at."""
    requests_at_once: int | None = None
    """None where they came at a rate."""
    ttft_s: Number | None = None
    """The mean where it is modelled, else p95; so is the other."""
    tpot_s: Number | None = None

    @property
    def is_most(self) -> bool:
        """Whether the server is shown to do no more, within what is promised."""
        return self.shown != "one load"


class Speed(Record):
    """How fast one machine serves one kind of request, and how that is known. Tokens are Llama 4's."""

    output_tokens_per_s: Number
    output_tokens_per_s_low: Number
    output_tokens_per_s_high: Number
    input_tokens_per_request: Number
    output_tokens_per_request: Number
    basis: Basis
    how: str
    point: OperatingPoint
    prefix_share: Number = Decimal(0)
    """Of a prompt, read from a prefix cache: here, and at Claude."""

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
    mtok_per_month: Number
    usd_per_mtok_output: Usd
    """The whole bill over the output tokens alone."""
    usd_per_mtok_blended: Usd
    """The whole bill over input and output tokens."""
    note: str = ""


class SelfHosted(Record):
    """The machine's side. `usd_per_hour` is everything kept up, for each hour it is on."""

    usd_per_hour: Usd
    usd_per_month: Usd
    usd_per_mtok_output: Usd
    usd_per_mtok_blended: Usd
    utilisation: Number
    mtok_per_month: Number
    """Served at that utilisation; input and output."""
    capacity_mtok_per_month: Number
    usage_usd_per_mtok_output: Usd
    """Never idle: a lower bound, no forecast."""
    usage_usd_per_mtok_blended: Usd
    at: tuple[AtUtilisation, ...]
    usd_of_full_load: Usd = Decimal(0)
    """What of a month's bill is only for being busy all of it: power of one's own machines."""
    bill: Bill


class BreakEven(Record):
    """Where both sides cost the same. Not feasible: the machine cannot serve that many tokens."""

    against: str
    mtok_per_month: Number
    required_utilisation: Number
    required_utilisation_low: Number
    """At the highest token ratio of the range."""
    required_utilisation_high: Number
    """At the lowest."""
    feasible: bool


class ClaudeSide(Record):
    """One Claude model on the same texts; `usd_per_mtok_*` are per million *Llama 4* tokens unless it says list."""

    model: str
    models: Annotated[tuple[str, ...], Field(exclude_if=lambda value: not value)] = ()
    """Those that it is made of, where each class of the traffic has its own."""
    name: str
    status: Status
    usd_per_mtok_blended: Usd
    usd_per_mtok_low: Usd
    usd_per_mtok_high: Usd
    """At the ends of the token ratio's range."""
    usd_per_mtok_asked_again: Annotated[Usd, Field(exclude_if=lambda usd: not usd)] = Decimal(0)
    """What of it is paid there all the same, where some of the answers from here are asked again."""
    usd_per_mtok_list_blended: Usd
    """Per million of Claude's own tokens, as the price list has it."""
    usd_per_request: Usd
    usd_per_month: Usd
    """For the tokens that the machine serves in a month."""
    token_ratio: TokenRatio
    break_even: BreakEven
    probability: Number
    """That self-hosting is the cheaper one at that utilisation or volume, over the ranges of what is doubtful."""
    probability_fully_busy: Number
    """The same were the machines fully busy all month."""
    answer: Answer
    verdict: str
    warnings: tuple[str, ...] = ()

    def spared(self, usd: Decimal) -> Decimal:
        """What answering them here spares of what all of the requests cost there: all but what is asked again."""
        all_usd, again = self.usd_per_mtok_blended, self.usd_per_mtok_asked_again
        return usd * (1 - again / all_usd) if again and all_usd else usd


class HostedSide(Record):
    """The same model as another company serves it."""

    host: str
    status: OfferStatus
    ends_on: date | None
    usd_per_mtok_blended: Usd
    usd_per_month: Usd
    checked_on: date
    """When the price was read."""
    days_old: int
    called_on: date | None
    """When it answered us; None: nobody called it."""
    source: str
    note: str


class Hybrid(Record):
    """A part of the tokens at Claude, the rest here."""

    claude: str
    claude_share: Number
    escalation: Number
    """Of what is answered here first, the share that is asked again at Claude."""
    reaches_claude: Number
    mtok_per_month: Number
    all_claude_usd: Usd
    hybrid_usd: Usd
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
    low: str
    base: str
    high: str
    required_utilisation_low: Number
    required_utilisation_base: Number
    required_utilisation_high: Number


class FourBits(Record):
    """What is known of the answers of weights of 4 bits; the dollars count a token of theirs like any other."""

    note: str
    """What others published of these weights, what of it is more than noise, and how to look at one's own texts."""
    sources: tuple[str, ...]
    """Who published it, where, and when it was read there; empty where nothing is known."""


class Comparison(Document):
    """Self-hosting against the Claude API, on the same texts."""

    kind: ClassVar[str] = "comparison"
    document: Literal["comparison"] = "comparison"
    schema_version: Literal[2] = 2

    made_on: date
    model: str
    precision: str
    machine: str
    speed: Speed
    knobs: Knobs
    self_hosted: SelfHosted
    month: Month
    us_only: Annotated[bool, Field(exclude_if=lambda value: not value)] = False
    """Whether Claude is asked for answers of the US alone: inference_geo "us"."""
    claude: tuple[ClaudeSide, ...] = Field(min_length=1)
    hosted: tuple[HostedSide, ...]
    break_even: BreakEven
    """Against the cheapest Claude model compared with that is not retired."""
    probability: Number
    """That self-hosting is cheaper than that one, at the utilisation or volume compared at."""
    answer: Answer
    verdict: str
    what_would_change_it: tuple[str, ...]
    by_class: ByClass | None = Field(default=None, exclude_if=lambda found: found is None)
    """Where the traffic has classes; what is compared above is then what stays here."""
    hybrid: tuple[Hybrid, ...]
    """One for each Claude model, where a share for Claude was named."""
    sensitivity: tuple[Swing, ...]
    warnings: tuple[str, ...]
    four_bits: FourBits | None = Field(default=None, exclude_if=lambda found: found is None)
    """Where ours are weights of 4 bits, what they are known to lose; absent for any others."""
    assumptions: tuple[Assumption, ...]
