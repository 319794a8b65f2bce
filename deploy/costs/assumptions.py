"""PURE: everything a comparison rests on, one line each: the value, whose it is, where and when it is from."""

from decimal import Decimal

from deploy.costs import knobs
from deploy.costs.carried_plan import machines_of, mtok_of
from deploy.costs.claude_prices import price_list
from deploy.costs.compare_options import Question
from deploy.costs.comparison import ClaudeSide, SelfHosted, Speed
from deploy.costs.knobs import PLACEHOLDER, Assumption, Knobs, Whose
from deploy.costs.machine_price import MachinePrice
from deploy.costs.purchase import counted_of_purchase
from deploy.costs.self_hosted import OurSide
from infra.money import count, percent
from serving.sizing.plan import Plan

ALWAYS = ("hours_per_month", "replicas", "ops_fte", "storage_gb", "egress_gb", "other_usd_per_month")
# A rate is only said where there is something to multiply it with.
RATES = {
    "usd_per_fte_year": "ops_fte",
    "usd_per_storage_gb_month": "storage_gb",
    "usd_per_egress_gb": "egress_gb",
    "pue": "power_kw",
    "usd_per_kwh": "power_kw",
}
OWNED = ("life_years", "residual_fraction", "power_kw", "hosting_usd_per_month")
OF_CAPACITY = "the plan, from corral capacity"
NOT_CORRECTED = "quality, verbosity beyond --claude-output-ratio, thinking tokens, rate limits"


def assumptions_of(
    plan: Plan, ours: OurSide, question: Question, chosen: ClaudeSide
) -> tuple[Assumption, ...]:
    """All of them, the ones that move the answer most first."""
    speed, values, price, own = ours
    return (
        price.assumption(),
        utilisation(plan, values, question, own),
        token_ratio(chosen),
        *speed_lines(plan, speed),
        *(knob(plan, name, values, question) for name in counted(values, price)),
        *claude_lines(question),
    )


def utilisation(plan: Plan, values: Knobs, question: Question, own: SelfHosted) -> Assumption:
    """How busy the machine is: said, or made of a volume."""
    mtok = mtok_of(plan, question)
    if mtok is None:
        return knobs.assumption("utilisation", values, question.said)
    return Assumption(
        name="utilisation",
        means=f"{mtok:,f} M tokens a month over what the machine could serve",
        value=percent(own.utilisation),
        whose="yours",
        source="--mtok-per-month" if question.mtok_per_month is not None else OF_CAPACITY,
    )


def knob(plan: Plan, name: str, values: Knobs, question: Question) -> Assumption:
    """A knob, which the plan may have set."""
    said = knobs.assumption(name, values, question.said)
    if name in question.knobs or name not in machines_of(plan, question):
        return said
    assert plan.carried is not None
    peak = f"{plan.carried.traffic.peak_requests_per_s:.3g} requests/s at peak"
    return said.model_copy(update={"whose": "modelled", "source": f"{OF_CAPACITY} for {peak}"})


def token_ratio(chosen: ClaudeSide) -> Assumption:
    """How the two sides' tokens compare."""
    ratio = chosen.token_ratio
    same = ratio.low == ratio.high
    return Assumption(
        name="token_ratio",
        means=f"{chosen.name} tokens per Llama 4 token of the same text; on Claude's side only",
        value=f"{ratio.base}" if same else f"{ratio.base} (range {ratio.low} to {ratio.high})",
        whose=ratio.whose,
        source=ratio.source,
        checked_on=ratio.checked_on,
    )


def speed_lines(plan: Plan, speed: Speed) -> tuple[Assumption, ...]:
    """The operating point."""
    whose: Whose = "measured" if speed.basis == "measured" else "modelled"
    mix = f"{count(speed.input_tokens_per_request)} in, {count(speed.output_tokens_per_request)} out"
    return (
        Assumption(
            name="output_tokens_per_s",
            means=f"{plan.model} {plan.precision} on {plan.machine.name}, one operating point",
            value=count(speed.output_tokens_per_s),
            whose=whose,
            source=speed.how,
        ),
        Assumption(
            name="tokens_per_request",
            means="the mix both sides are priced at",
            value=mix,
            whose=whose,
            source=speed.how,
        ),
    )


def counted(values: Knobs, price: MachinePrice) -> tuple[str, ...]:
    """The knobs that count in this comparison."""
    owned = OWNED if price.capex_usd else ("power_kw",) if values.power_kw else ()
    rates = tuple(name for name, amount in RATES.items() if getattr(values, amount))
    return (*ALWAYS, *owned, *rates, *counted_of_purchase(values, price.purchase))


def claude_lines(question: Question) -> tuple[Assumption, ...]:
    """How the requests are sent to Claude, and what nobody corrected."""
    listed = price_list()
    way = ", ".join(name for name, on in question.way.model_dump().items() if on) or "standard"
    cached = f"{percent(question.cache_read_fraction)} read, {percent(question.cache_write_fraction)} written"
    return (
        Assumption(
            name="claude_prices",
            means="Claude API list prices, no discount; a price list is no bill",
            value=way,
            whose="list price",
            source=listed.source,
            checked_on=listed.checked_on,
        ),
        chosen_number(
            "claude_cache", "share of the prompt in Claude's cache", cached, question.cache_read_fraction
        ),
        chosen_number(
            "claude_output_ratio",
            "length of Claude's answer over Llama's, in text",
            f"{question.claude_output_ratio:f}",
            question.claude_output_ratio - 1,
        ),
        Assumption(
            name="not_corrected",
            means="left out of both sides",
            value=NOT_CORRECTED,
            whose="ours",
            source="of quality: corral quality A B --texts FILE",
        ),
    )


def chosen_number(name: str, means: str, value: str, differs: Decimal) -> Assumption:
    """A figure that is the user's once it differs from the neutral one."""
    yours = bool(differs)
    return Assumption(
        name=name,
        means=means,
        value=value,
        whose="yours" if yours else PLACEHOLDER,
        source="command line" if yours else "nobody said",
    )
