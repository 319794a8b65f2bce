"""PURE: everything a comparison rests on, one line each: the value, whose it is, where and when it is from."""

from deploy.costs import knobs
from deploy.costs.beside_hours import told
from deploy.costs.carried_plan import machines_of, mtok_of
from deploy.costs.claude_assumptions import claude_lines
from deploy.costs.claude_names import named
from deploy.costs.claude_platforms import platforms
from deploy.costs.compare_options import Question
from deploy.costs.comparison import ClaudeSide, SelfHosted, Speed
from deploy.costs.currency import Currency, beside, currency
from deploy.costs.knobs import Assumption, Knobs, Whose
from deploy.costs.machine_price import MachinePrice
from deploy.costs.purchase import counted_of_purchase
from deploy.costs.request_mix import Mix
from deploy.costs.same_traffic import is_silent
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


def assumptions_of(
    plan: Plan,
    probe: ProbeReport | None,
    ours: OurSide,
    question: Question,
    chosen: ClaudeSide,
    mix: Mix | None,
) -> tuple[Assumption, ...]:
    """All of them, the ones that move the answer most first."""
    speed, values, price, own = ours.speed, ours.knobs, ours.price, ours.figures
    other = currency(question.currency) if question.currency else None
    return (
        price.assumption(other),
        *price.on_demand,
        utilisation(plan, values, question, own, speed),
        token_ratio(chosen),
        *tier_lines(chosen),
        *speed_lines(plan, probe, speed, mix),
        *(knob(plan, name, ours, question, other) for name in counted(values, price)),
        *claude_lines(question, speed, is_silent(probe)),
    )


def utilisation(plan: Plan, values: Knobs, question: Question, own: SelfHosted, speed: Speed) -> Assumption:
    """How busy the machine is: said, or made of a volume."""
    mtok = mtok_of(plan, question, speed.tokens_per_request)
    if mtok is None:
        return knobs.assumption("utilisation", values, question.said)
    return Assumption(
        name="utilisation",
        means=f"{count(mtok)} M tokens a month over what the machine could serve",
        value=percent(own.utilisation),
        whose=whose_speed(speed),
        source=f"{volume_said(question) or OF_CAPACITY}, over the {speed.basis} speed",
    )


def whose_speed(speed: Speed) -> Whose:
    """Who says how fast it is, and so how busy a volume makes it."""
    return "measured" if speed.basis == "measured" else "modelled"


def volume_said(question: Question) -> str:
    """The flag that says a volume; empty where none does."""
    if question.mtok_per_month is not None:
        return "--mtok-per-month"
    return "--requests-per-month" if question.requests_per_month is not None else ""


def knob(plan: Plan, name: str, ours: OurSide, question: Question, other: Currency | None) -> Assumption:
    """A knob, which the plan or its machine may have set; an amount in the other currency too."""
    of_ec2 = told(name, plan, ours.price, question)
    said = knobs.assumption(name, ours.knobs, question.said).model_copy(update=of_ec2)
    value = getattr(ours.knobs, name)
    if value and "usd" in name:
        said = said.model_copy(update={"value": beside(said.value, value, other)})
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


def tier_lines(chosen: ClaudeSide) -> tuple[Assumption, ...]:
    """The price of long requests, where some of these are."""
    tier = chosen.tier
    if tier is None:
        return ()
    listed = platforms()[named(chosen.model).platform or "api"]
    return (
        Assumption(
            name="claude_price_tier",
            means=f"{chosen.name} above {tier.above_prompt_tokens:,} prompt tokens, as "
            f"{percent(tier.share_of_requests)} of the requests are; before any multiplier",
            value=tier.rates,
            whose="list price",
            source=listed.source,
            checked_on=listed.checked_on,
        ),
    )


def speed_lines(
    plan: Plan, probe: ProbeReport | None, speed: Speed, mix: Mix | None
) -> tuple[Assumption, ...]:
    """The operating point, and the requests."""
    whose = whose_speed(speed)
    lengths = f"{count(speed.input_tokens_per_request)} in, {count(speed.output_tokens_per_request)} out"
    is_named = probe is None or (probe.machine is not None and probe.precision is not None)
    told = "" if is_named else ", by the plan's word: the probe names neither"
    kinds = f"; priced one by one, of {len(mix):,} lengths" if mix and len(mix) > 1 else ""
    return (
        Assumption(
            name="output_tokens_per_s",
            means=f"{plan.model} {plan.precision} on {speed.machines or plan.machine.name}{told}, {at_point(speed)}",
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
    owned = OWNED if price.is_bought else ("power_kw",) if values.power_kw else ()
    rates = tuple(name for name, amount in RATES.items() if getattr(values, amount))
    addresses = ("public_addresses",) if values.public_addresses else ()
    return (*ALWAYS, *owned, *rates, *addresses, *counted_of_purchase(values, price))


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
