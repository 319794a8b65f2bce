"""PURE: what makes a comparison's dollars mean less than they look: a toy model, a CPU, a guess, a poor probe."""

from decimal import Decimal

from deploy.costs.compare_options import Question
from deploy.costs.comparison import OperatingPoint
from deploy.costs.same_server import differences, other_load
from deploy.costs.same_traffic import is_silent, such_a_probe
from deploy.costs.token_ratio import TokenRatio, table
from deploy.targets import licence
from infra.argument import pasted
from infra.money import percent
from serving.model.families import families
from serving.model.models import models
from serving.probe.report import ProbeReport
from serving.sizing.plan import Plan
from serving.sizing.sized_model import named, precisions

# Scout's smallest published checkpoint (NVFP4) is 65 GB; what is far below is no model anybody would pay for.
TOY_BELOW_BYTES = 20_000_000_000

MANY_JOBS = 5
"""From here on, and beyond the machines, it may be percent that somebody typed."""


def doubts(
    plan: Plan,
    probe: ProbeReport | None,
    ratio: TokenRatio,
    point: OperatingPoint,
    question: Question,
) -> tuple[str, ...]:
    """What makes the dollars mean less than they look, the loudest first."""
    of_plan = (toy(plan), no_gpu(plan), unmeasured(probe), misfit(plan), other_tokenizer(plan, ratio))
    of_both = differences(plan, probe) if probe else ()
    in_requests = question.requests_per_month is not None and not question.classes
    lengths = other_load(plan, probe) if probe and in_requests else ""
    cached = unseen_cache(probe, question.cache_read_fraction)
    every = (
        lengths,
        *of_plan,
        many_people(plan, question),
        *doubts_of_probe(probe),
        one_load(probe, point),
        cached,
        *of_both,
    )
    return tuple(text for text in every if text)


def licence_doubt(plan: Plan, asked: Question) -> str:
    """That the model's licence may give no rights to who asks; empty where nothing says that they are left out."""
    known = models().get(plan.model)
    return licence.left_out(
        (plan.model, plan.serve.model),
        known.family.name if known else "",
        {
            "the plan's region": plan.region,
            "--claude-region": asked.claude_region,
            "--currency": asked.currency,
        },
    )


def toy(plan: Plan) -> str:
    """That the model is none anybody would pay for."""
    known = models()
    if plan.weights_bytes == 0 and plan.model in known:
        return ""  # an older corral did not say
    least = least_bytes(plan.model) if plan.model in known else TOY_BELOW_BYTES
    if plan.weights_bytes >= min(least, TOY_BELOW_BYTES):
        return ""
    names = " or ".join(name.title() for name in known)
    return (
        f"TOY MODEL: {plan.model} is not {names}. The speed was measured on a toy model; "
        "the dollars below mean nothing but the arithmetic."
    )


def least_bytes(model: str) -> int:
    """The smallest checkpoint of a known model."""
    return min(named(model, precision).weights_bytes for precision in precisions(model))


def no_gpu(plan: Plan) -> str:
    """That the machine is none anybody would serve from."""
    if plan.machine.gpu_count:
        return ""
    return "NO GPU: the machine is a CPU. Its speed says nothing about a machine you would rent."


def unmeasured(probe: ProbeReport | None) -> str:
    """That the speed is a prediction."""
    return "" if probe else "NOT MEASURED: the speed is the planner's prediction. Probe the real machine."


def many_people(plan: Plan, question: Question) -> str:
    """That more people are counted than machines, and many: percent may have been meant."""
    planned = plan.carried.count if plan.carried else 1
    people, machines = question.ops_fte or Decimal(0), question.replicas or planned
    if people < MANY_JOBS or people <= machines or people > 100:
        return ""
    return (
        f"PEOPLE: --ops-fte {people.normalize():f} counts that many whole jobs, all year. If percent of one job were "
        f"meant: --ops-fte {people.normalize():f}%"
    )


def one_load(probe: ProbeReport | None, point: OperatingPoint) -> str:
    """That a probe of one load does not say what the machine can serve."""
    if point.is_most or probe is None or probe.load.get("request_rate") is not None:
        return ""
    return (
        f"The probe is of one load, {point.load}, and nothing shows that the machine can serve no more: the real "
        f"capacity may be higher. A sweep finds it: corral probe sweep {pasted(probe.url)} --output sweep, then "
        "--probe sweep."
    )


def unseen_cache(probe: ProbeReport | None, cached: Decimal | None) -> str:
    """That a share in the cache makes Claude cheaper, and nobody knows whether the probed server had as much of it."""
    if not cached or probe is None or not is_silent(probe):
        return ""
    return (
        f"ONE-SIDED: {percent(cached)} of the prompts are cached at Claude as --cache-read-fraction says; what came "
        "from the probed server's cache it did not tell, and its speed is taken as it was measured. Without that "
        f"option neither side has a cache; or probe with such prompts: {such_a_probe(probe, cached)}"
    )


def misfit(plan: Plan) -> str:
    """That the plan itself says no."""
    return "" if plan.fits else f"The plan says that the model does not fit this machine: {plan.reason}"


def other_tokenizer(plan: Plan, ratio: TokenRatio) -> str:
    """That our ratio of tokens is of another family's tokenizer than the model's."""
    known = models().get(plan.model)
    if ratio.whose != "ours" or known is None or known.family.name == table().family:
        return ""
    return (
        f"TOKENS: how many tokens Claude makes of a text was measured against {families()[table().family].title}'s "
        f"tokenizer, not {known.family.title}'s. Give your own: --token-ratio"
    )


def doubts_of_probe(probe: ProbeReport | None) -> tuple[str, ...]:
    """What the probe itself gives to doubt."""
    if probe is None:
        return ()
    failed = sum(probe.errors.values())
    refused = "; ".join(probe.invalid_because) or "it says no more"
    cases = (
        (not probe.valid, f"INVALID PROBE, used because of --allow-invalid: {refused}."),
        (probe.interrupted, "The probe was interrupted; its figures are of a part of the run."),
        (failed > 0, f"{failed} of {probe.sent} requests failed; only succeeded tokens are counted."),
        (
            probe.load.get("request_rate") is not None,
            "The probe sent requests at a fixed rate, so it measured that rate, not the most the machine can do: "
            "the real capacity may be higher. A closed loop (--concurrency) measures capacity.",
        ),
        (
            probe.steady is None,
            "The probe has no steady part; ramp and drain are in the speed, which is therefore low.",
        ),
    )
    return tuple(text for holds, text in cases if holds)
