"""PURE: what replicas of one size on one machine carry, how many machines that takes, and what they cost."""

from decimal import Decimal
from functools import lru_cache
from math import ceil
from typing import NamedTuple

from infra.hardware import Machine
from infra.prices import ON_DEMAND, price_of
from serving.model.gpu_support import refusal
from serving.sizing.capacity import AtWorst, Choice, Question
from serving.sizing.reasons import why_not
from serving.sizing.server_sizes import ServerSize, ServerSizes, concurrency_carrying
from serving.sizing.size_options import Options, too_much_in_ram
from serving.sizing.sized_model import SizedModel
from serving.sizing.traffic import HOURS_PER_MONTH

MOST_MACHINES = 10_000


def replicas(
    question: Question, subject: SizedModel, whole: Machine, cut: Machine, sizes: ServerSizes | None = None
) -> Choice:
    """Replicas of one size, that of the cut, on one machine with GPUs."""
    sizes = sizes or ServerSizes(question.promise, question.traffic)
    gpu, server = cut.gpu, sizes.of(subject, cut, options_of(question))
    assert gpu is not None
    outcome = server.outcome
    per_machine = max(1, whole.gpu_count // outcome.split.gpus)
    choice = Choice(
        machine=whole.name,
        gpu=gpu.name,
        gpus_per_machine=whole.gpu_count,
        precision=subject.precision,
        tensor=outcome.split.tensor,
        pipeline=outcome.split.pipeline,
        replicas_per_machine=per_machine,
        verdict=outcome.verdict,
        feasible=False,
    )
    refused = refusal(gpu, subject.precision)
    if refused is None and outcome.verdict == "does not fit":
        refused = why_not(gpu, outcome)
    if refused := refused or too_much_in_ram(whole, question.further.cpu_offload_gb):
        return choice.model_copy(update={"verdict": "does not fit", "why": refused})
    return loaded(question, whole, choice, server)


def loaded(question: Question, whole: Machine, choice: Choice, server: ServerSize) -> Choice:
    """The choice with its load, its number of machines and its price; or why the promise cannot be kept."""
    traffic, promise, predictor = question.traffic, question.promise, server.predictor
    if server.broken_alone:
        return choice.model_copy(update={"why": f"even one request alone: {server.broken_alone}"})
    most = server.most
    full = predictor.at(most)
    carries = full.output_tokens_per_s / traffic.mean_output
    machine_carries = carries * choice.replicas_per_machine
    count = machines_for(question, machine_carries)
    if count > MOST_MACHINES and not question.have:
        return choice.model_copy(update={"why": f"more than {MOST_MACHINES:,} machines"})
    each = traffic.peak_requests_per_s / ((count - promise.spare_machines) * choice.replicas_per_machine)
    running = predictor.at(concurrency_carrying(predictor, each * traffic.mean_output, most))
    ttft_s = (
        predictor.first_token_s(traffic.mean_input, running.tpot_s) if traffic.classes else running.ttft_s
    )
    hourly, elsewhere, paid_ahead = costs(question, whole)
    return choice.model_copy(
        update={
            "feasible": True,
            "concurrency": most,
            "requests_per_s": per_s(carries),
            "requests_per_s_each": per_s(machine_carries),
            "ttft_s": round(ttft_s, 4),
            "tpot_s": round(running.tpot_s, 5),
            "e2e_s": round(ttft_s + traffic.mean_output * running.tpot_s, 3),
            "machines": count,
            "at_worst": at_worst(question, server, choice.replicas_per_machine, hourly),
            "usd_per_hour": hourly,
            "paid_ahead": paid_ahead,
            "usd_per_month": monthly(hourly, count),
            "usd_per_month_elsewhere": monthly(elsewhere, count),
            "basis": full.basis,
        }
    )


def per_s(rate: float) -> float:
    """A rate to a thousandth of a request a second, or to three digits where it is less: what carries some is not 0."""
    return round(rate, 3) if rate >= 0.1 else float(f"{rate:.3g}")


def at_worst(
    question: Question, server: ServerSize, per_machine: int, usd_per_hour: Decimal | None
) -> AtWorst | None:
    """When every step takes its band longer; None where no number of machines would keep the promise then.

    The promise is kept by fewer requests at once, each of which is slower: both take more machines.
    """
    if server.most_at_worst is None:
        return None
    slow = server.predictor.at(server.most_at_worst)
    each = slow.output_tokens_per_s / slow.band / question.traffic.mean_output * per_machine
    count = machines_for(question, each)
    if count > MOST_MACHINES and not question.have:
        return None
    return AtWorst(
        machines=count, requests_per_s_each=per_s(each), usd_per_month=monthly(usd_per_hour, count)
    )


def machines_for(question: Question, requests_per_s_each: float) -> int:
    """Machines that carry the peak when each carries that much at most, and the spare ones."""
    needed = question.traffic.peak_requests_per_s / (requests_per_s_each * question.promise.fill)
    return max(1, ceil(round(needed, 9))) + question.promise.spare_machines


class Costs(NamedTuple):
    """What a machine costs an hour."""

    usd_per_hour: Decimal | None
    """What the user says, or EC2's price in the region."""
    elsewhere: Decimal | None
    """In the region that most prices are of: what machines are ranked by where their own lacks some."""
    paid_ahead: bool
    """Whether it cannot be had by the hour, in the region or in any that has a price."""


def costs(question: Question, whole: Machine) -> Costs:
    """What the machine costs."""
    if question.usd_per_hour is not None or not whole.instance_type:
        return Costs(question.usd_per_hour, None, paid_ahead=False)
    most_known = price_of(whole, None)
    here = price_of(whole, question.region) if question.region else most_known
    known = here or most_known
    return Costs(
        here.usd_per_hour if here else None,
        most_known.usd_per_hour if most_known else None,
        known is not None and known.purchase != ON_DEMAND,
    )


def monthly(usd_per_hour: Decimal | None, machines: int) -> Decimal | None:
    """USD a month for machines that never stop."""
    if usd_per_hour is None:
        return None
    return (usd_per_hour * machines * HOURS_PER_MONTH).quantize(Decimal("0.01"))


@lru_cache(maxsize=64)
def options_of(question: Question) -> Options:
    """The traffic as the planner's options: equal requests for the speed, the longest for the context.

    Raises UsageError for lengths that no model has.
    """
    prompt, answer = question.traffic.equal_requests
    return Options.of(
        {
            "input_tokens": prompt,
            "output_tokens": answer,
            "max_model_len": question.context or question.traffic.longest,
            "region": question.region,
            "kv_cache_dtype": question.kv_cache_dtype,
            "vllm_version": question.vllm_version,
            **question.further.model_dump(),
        }
    )
