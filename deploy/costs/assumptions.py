"""PURE: everything a comparison rests on, one line each: the value, whose it is, where and when it is from."""

from decimal import Decimal

from deploy.costs import knobs
from deploy.costs.carried_plan import machines_of, mtok_of
from deploy.costs.claude_names import named
from deploy.costs.claude_platforms import platforms
from deploy.costs.compare_options import Question
from deploy.costs.comparison import ClaudeSide, SelfHosted, Speed
from deploy.costs.knobs import PLACEHOLDER, Assumption, Knobs, Whose
from deploy.costs.machine_price import MachinePrice
from deploy.costs.purchase import counted_of_purchase
from deploy.costs.request_mix import Mix
from deploy.costs.same_traffic import MOST_PLANNED
from deploy.costs.self_hosted import OurSide
from infra.money import count, percent
from serving.probe.report import ProbeReport
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
NOT_CORRECTED = "quality, verbosity beyond --claude-output-ratio, rate limits"


def assumptions_of(
    plan: Plan,
    probe: ProbeReport | None,
    ours: OurSide,
    question: Question,
    chosen: ClaudeSide,
    mix: Mix | None,
) -> tuple[Assumption, ...]:
    """All of them, the ones that move the answer most first."""
    speed, values, price, own = ours
    return (
        price.assumption(),
        *price.on_demand,
        utilisation(plan, values, question, own),
        token_ratio(chosen),
        *speed_lines(plan, probe, speed, mix),
        *(knob(plan, name, values, question) for name in counted(values, price)),
        *claude_lines(question, speed),
    )


def utilisation(plan: Plan, values: Knobs, question: Question, own: SelfHosted) -> Assumption:
    """How busy the machine is: said, or made of a volume."""
    mtok = mtok_of(plan, question)
    if mtok is None:
        return knobs.assumption("utilisation", values, question.said)
    return Assumption(
        name="utilisation",
        means=f"{count(mtok)} M tokens a month over what the machine could serve",
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


def speed_lines(
    plan: Plan, probe: ProbeReport | None, speed: Speed, mix: Mix | None
) -> tuple[Assumption, ...]:
    """The operating point, and the requests."""
    whose: Whose = "measured" if speed.basis == "measured" else "modelled"
    lengths = f"{count(speed.input_tokens_per_request)} in, {count(speed.output_tokens_per_request)} out"
    is_named = probe is None or (probe.machine is not None and probe.precision is not None)
    told = "" if is_named else ", by the plan's word: the probe names neither"
    kinds = f"; priced one by one, of {len(mix):,} lengths" if mix and len(mix) > 1 else ""
    return (
        Assumption(
            name="output_tokens_per_s",
            means=f"{plan.model} {plan.precision} on {plan.machine.name}{told}, {at_point(speed)}",
            value=count(speed.output_tokens_per_s),
            whose=whose,
            source=speed.how,
        ),
        Assumption(
            name="tokens_per_request",
            means=f"the average request both sides are priced at{kinds}",
            value=lengths,
            whose=whose,
            source=speed.how,
        ),
    )


def counted(values: Knobs, price: MachinePrice) -> tuple[str, ...]:
    """The knobs that count in this comparison."""
    owned = OWNED if price.capex_usd else ("power_kw",) if values.power_kw else ()
    rates = tuple(name for name, amount in RATES.items() if getattr(values, amount))
    return (*ALWAYS, *owned, *rates, *counted_of_purchase(values, price.purchase))


def claude_lines(question: Question, speed: Speed) -> tuple[Assumption, ...]:
    """How the requests are sent to Claude, and what nobody corrected."""
    return (
        *price_lines(question),
        *cache_lines(question, speed),
        *asked_again(question),
        *longer_prompts(question),
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
            source="of quality: corral quality A B --texts texts.txt",
        ),
    )


def price_lines(question: Question) -> tuple[Assumption, ...]:
    """Where Claude's prices are from, by the platform that is asked."""
    way = ", ".join(name for name, on in question.way.model_dump().items() if on) or "standard"
    asked = question.claude_platform or "api"
    names = dict.fromkeys(named(model).platform or asked for model in question.claude_models) or {asked: None}
    return tuple(
        Assumption(
            name="claude_prices" if seller.id == "api" else f"claude_prices_{seller.id}",
            means=f"{seller.name.removeprefix('the ')} list prices, no discount; a price list is no bill",
            value=way,
            whose="list price",
            source=seller.source,
            checked_on=seller.checked_on,
        )
        for seller in (platforms()[name] for name in names)
    )


def at_point(speed: Speed) -> str:
    """The load that the speed is of, and what requests wait for there."""
    point = speed.point
    of = "mean" if speed.basis == "modelled" else "p95"
    waits = [
        f"{of} {name} {seconds:.3g} s"
        for name, seconds in (("TTFT", point.ttft_s), ("TPOT", point.tpot_s))
        if seconds is not None
    ]
    return ", ".join((point.load, *waits))


def cache_lines(question: Question, speed: Speed) -> tuple[Assumption, ...]:
    """How much of a prompt a prefix cache holds: of both sides; and what is written for it at Claude."""
    share = speed.prefix_share
    written = (question.cache_write_fraction, question.cache_write_1h_fraction)
    less = "; here the planner reckons with 99%" if share > MOST_PLANNED and speed.basis == "modelled" else ""
    read = chosen_number(
        "cache_read",
        f"share of the prompt read from a prefix cache, on both sides{less}",
        percent(share),
        share,
    )
    if share and question.cache_read_fraction is None:
        whose: Whose = "measured" if speed.basis == "measured" else "modelled"
        told = "the probe: its server's own counters" if whose == "measured" else "the plan"
        read = read.model_copy(update={"whose": whose, "source": told})
    said = f"{percent(written[0])} for five minutes, {percent(written[1])} for an hour"
    return (
        read,
        chosen_number(
            "claude_cache_write", "share of the prompt written to Claude's cache", said, sum(written)
        ),
    )


def asked_again(question: Question) -> tuple[Assumption, ...]:
    """What is asked again, and what Claude thinks, where either was said."""
    here, there = question.retries, question.claude_retries
    retried = f"{percent(here)} here, {percent(there)} there"
    thought = f"{count(question.thinking_tokens)} a request"
    every = (
        chosen_number("retries", "share of answers that are asked for again", retried, here + there),
        chosen_number("thinking_tokens", "of Claude, billed as output", thought, question.thinking_tokens),
    )
    return tuple(
        each for each, said in zip(every, (here + there, question.thinking_tokens), strict=True) if said
    )


def longer_prompts(question: Question) -> tuple[Assumption, ...]:
    """How much longer Claude's prompts are, where that was said."""
    ratio = question.claude_input_ratio
    means = "length of Claude's prompt over Llama's, in text"
    return (chosen_number("claude_input_ratio", means, f"{ratio:f}", ratio - 1),) if ratio != 1 else ()


def chosen_number(name: str, means: str, value: str, differs: Decimal | int) -> Assumption:
    """A figure that is the user's once it differs from the neutral one."""
    yours = bool(differs)
    return Assumption(
        name=name,
        means=means,
        value=value,
        whose="yours" if yours else PLACEHOLDER,
        source="command line" if yours else "nobody said",
    )
