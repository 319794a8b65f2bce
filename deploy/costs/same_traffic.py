"""The same traffic on both sides: one mix of requests, and one share of their prompts that a prefix cache holds."""

from decimal import Decimal
from typing import NamedTuple

from deploy.costs.claude_cost_options import check_cached
from deploy.costs.compare_options import Question
from deploy.costs.measured_load import Measured
from deploy.costs.request_mix import Mix, mean_tokens, mix_of_classes
from infra.argument import pasted
from infra.errors import UsageError
from infra.hardware import linked
from infra.money import count, exact, percent
from serving.probe.report import ProbeReport
from serving.simulation.replica import options_of, subject_of
from serving.sizing import size
from serving.sizing.plan import Plan
from serving.sizing.traffic import Traffic
from serving.sizing.traffic_class import class_means

APART = Decimal("0.05")
"""A share that was said and one that was measured are the same within so much."""
LENGTHS_APART = Decimal("0.1")
"""As a share of a length."""
MOST_PLANNED = Decimal("0.99")
"""The planner reckons with no more of a prompt in the cache."""


class SameTraffic(NamedTuple):
    """What both sides are asked."""

    plan: Plan
    """Its speed is predicted for just these requests."""
    mix: Mix | None
    """None where nothing but the average request is known."""
    prefix_share: Decimal
    """Of a prompt's tokens, those that are read from a prefix cache."""


def same_traffic(plan: Plan, measured: Measured | None, question: Question) -> SameTraffic:
    """The requests, and the plan for them.

    Raises UsageError for what contradicts the probe, and what predicting again raises.
    """
    share = prefix_share(plan, measured.probe if measured else None, question.cache_read_fraction)
    check_cached(1 - share - question.cache_write_fraction - question.cache_write_1h_fraction)
    mix = mix_of(plan, measured, question)
    if measured is not None:
        return SameTraffic(plan, mix, share)
    return SameTraffic(predicted_for(plan, question, share), mix, share)


def prefix_share(plan: Plan, probe: ProbeReport | None, asked: Decimal | None) -> Decimal:
    """As the probe measured it, else as it was said, else as the plan was made. Raises UsageError for two of them."""
    if probe is None:
        return planned_share(plan) if asked is None else asked
    found = measured_share(probe)
    if found is None or asked is None:
        return asked or found or Decimal(0)
    if abs(found - asked) > APART:
        raise UsageError(
            f"{percent(asked)} of the prompts cannot be cached: of the probe's {percent(found)} came from the "
            "server's prefix cache.",
            f"Leave out --cache-read-fraction, or probe with prompts that share as much: {such_a_probe(probe, asked)}",
        )
    return found


def such_a_probe(probe: ProbeReport, share: Decimal) -> str:
    """The command that probes the same server with prompts of which so much is the same each time."""
    prefix = f" --prefix-tokens {count(min(share, MOST_PLANNED) * 1000)}" if share else ""
    return f"corral probe {pasted(probe.url)}{prefix} --input-tokens 1000"


def planned_share(plan: Plan) -> Decimal:
    """What the plan was made with."""
    return exact(plan.further.prefix_cache_hit_rate) if plan.further else Decimal(0)


def is_silent(probe: ProbeReport | None) -> bool:
    """Whether there is a probe, and its server did not say what of the prompts came from its cache."""
    return probe is not None and measured_share(probe) is None


def measured_share(probe: ProbeReport) -> Decimal | None:
    """Of the probe's prompts, what came from the server's cache; None where the server does not say."""
    cached, rate = probe.cached_input_tokens, probe.server.prefix_cache_hit_rate
    if cached is not None and probe.input_tokens > 0:
        rate = cached / probe.input_tokens
    return None if rate is None else exact(min(1.0, max(0.0, rate)))


def mix_of(plan: Plan, measured: Measured | None, question: Question) -> Mix | None:
    """The requests as they were said, else as they were measured, else as the plan has them."""
    if question.staying:
        mix = mix_of_classes(question.staying)
        if measured is not None:
            check_measured(mix, measured.probe)
        return mix
    if measured is not None:
        return measured.mix
    return mix_of_classes(plan.carried.traffic.parts) if plan.carried else None


def check_measured(mix: Mix, probe: ProbeReport) -> None:
    """Raise UsageError where the classes are on average other requests than the probe's."""
    if probe.succeeded < 1:
        return
    found = exact((probe.input_tokens + probe.output_tokens) / probe.succeeded)
    said = mean_tokens(mix)
    if abs(found - said) > LENGTHS_APART * found:
        raise UsageError(
            f"The requests of --class have {said:,.0f} tokens on average, those of the probe {found:,.0f}.",
            "Probe with such requests, or leave out --class: the probe's own are priced one by one.",
        )


def predicted_for(plan: Plan, question: Question, share: Decimal) -> Plan:
    """The plan with the speed that is predicted for these requests; as it is, where it was made for them."""
    lengths = plan.workload.input_tokens, plan.workload.output_tokens
    if question.staying:
        lengths = traffic_of(question).equal_requests
    made_for = (plan.workload.input_tokens, plan.workload.output_tokens), planned_share(plan)
    cached = min(share, MOST_PLANNED)
    if made_for == (lengths, cached) or plan.throughput is None:
        return plan
    options = options_of(plan, *lengths).model_copy(update={"prefix_cache_hit_rate": float(cached)})
    machine = linked(size.on(plan.machine.name), options.gpu_link)
    again = size.plan(subject_of(plan), machine, options, with_curve=True)
    if again.throughput is None:
        raise UsageError(
            f"As that plan is served, requests of {lengths[0]:,} and {lengths[1]:,} tokens do not fit: {again.reason}",
            "Plan for them: corral size --input-tokens N --output-tokens N",
        )
    new = ("workload", "throughput", "saturation_concurrency", "further")
    curve = again.curve if plan.curve or not plan.carried else ()
    return plan.model_copy(update={"curve": curve, **{name: getattr(again, name) for name in new}})


def traffic_of(question: Question) -> Traffic:
    """The classes as a traffic of one request a second, which is enough to know their mean."""
    prompt, answer = class_means(question.staying)
    return Traffic(
        requests_per_s=1.0,
        peak_factor=1.0,
        input_tokens=prompt,
        output_tokens=answer,
        classes=question.staying,
    )
