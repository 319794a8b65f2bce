"""PURE: what replicas of one size on one machine carry, how many machines that takes, and what they cost."""

from decimal import Decimal
from math import ceil

from infra.hardware import Machine
from infra.prices import ON_DEMAND
from serving.model.gpu_support import refusal
from serving.sizing.assemble import priced
from serving.sizing.capacity import AtWorst, Choice, Question
from serving.sizing.fit import best_outcome
from serving.sizing.memory_pool import Case
from serving.sizing.predict import Predictor
from serving.sizing.reasons import why_not
from serving.sizing.size_options import Options
from serving.sizing.sized_model import SizedModel
from serving.sizing.traffic import HOURS_PER_MONTH, Promise, Traffic

MOST_MACHINES = 10_000


def replicas(question: Question, subject: SizedModel, whole: Machine, cut: Machine) -> Choice:
    """Replicas of one size, that of the cut, on one machine with GPUs."""
    gpu, case = cut.gpu, Case(subject, cut, options_of(question))
    assert gpu is not None
    outcome = best_outcome(case)
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
    if refused:
        return choice.model_copy(update={"verdict": "does not fit", "why": refused})
    return loaded(question, whole, choice, Predictor(case, outcome))


def loaded(question: Question, whole: Machine, choice: Choice, predictor: Predictor) -> Choice:
    """The choice with its load, its number of machines and its price; or why the promise cannot be kept."""
    traffic, promise = question.traffic, question.promise
    broken = broken_promise(predictor, promise, traffic, 1)
    if broken:
        return choice.model_copy(update={"why": f"even one request alone: {broken}"})
    most = most_concurrency(predictor, promise, traffic)
    full = predictor.at(most)
    carries = full.output_tokens_per_s / traffic.mean_output
    machine_carries = carries * choice.replicas_per_machine
    count = machines_for(question, machine_carries)
    if count > MOST_MACHINES and not question.have:
        return choice.model_copy(update={"why": f"more than {MOST_MACHINES:,} machines"})
    each = traffic.peak_requests_per_s / ((count - promise.spare_machines) * choice.replicas_per_machine)
    running = predictor.at(concurrency_carrying(predictor, each * traffic.mean_output, most))
    hourly = hourly_usd(question, whole)
    return choice.model_copy(
        update={
            "feasible": True,
            "concurrency": most,
            "requests_per_s": round(carries, 3),
            "requests_per_s_each": round(machine_carries, 3),
            "ttft_s": round(running.ttft_s, 4),
            "tpot_s": round(running.tpot_s, 5),
            "e2e_s": round(running.ttft_s + traffic.mean_output * running.tpot_s, 3),
            "machines": count,
            "at_worst": at_worst(question, predictor, choice.replicas_per_machine, hourly),
            "usd_per_hour": hourly,
            "paid_ahead": paid_ahead(question, whole),
            "usd_per_month": monthly(hourly, count),
            "usd_per_month_elsewhere": monthly(elsewhere_usd(question, whole), count),
            "basis": full.basis,
        }
    )


def at_worst(
    question: Question, predictor: Predictor, per_machine: int, usd_per_hour: Decimal | None
) -> AtWorst | None:
    """When every step takes its band longer; None where no number of machines would keep the promise then.

    The promise is kept by fewer requests at once, each of which is slower: both take more machines.
    """
    traffic, promise = question.traffic, question.promise
    if broken_promise(predictor, promise, traffic, 1, at_worst=True):
        return None
    slow = predictor.at(most_concurrency(predictor, promise, traffic, at_worst=True))
    each = slow.output_tokens_per_s / slow.band / traffic.mean_output * per_machine
    count = machines_for(question, each)
    if count > MOST_MACHINES and not question.have:
        return None
    return AtWorst(
        machines=count, requests_per_s_each=round(each, 3), usd_per_month=monthly(usd_per_hour, count)
    )


def machines_for(question: Question, requests_per_s_each: float) -> int:
    """Machines that carry the peak when each carries that much at most, and the spare ones."""
    needed = question.traffic.peak_requests_per_s / (requests_per_s_each * question.promise.fill)
    return ceil(round(needed, 9)) + question.promise.spare_machines


def broken_promise(
    predictor: Predictor, promise: Promise, traffic: Traffic, concurrency: int, at_worst: bool = False
) -> str | None:
    """What of the promise that concurrency breaks, with the numbers; `at_worst` as slow as the band allows."""
    speed = predictor.at(concurrency)
    slower = speed.band if at_worst else 1.0
    tpot = speed.tpot_s * slower
    for part in traffic.parts:
        (ttft_s, tpot_s), whose = promise.to(part), f"{part.name}: " if part.name else ""
        if tpot_s is not None and tpot > tpot_s:
            return f"{whose}TPOT {tpot * 1000:.1f} ms, promised {tpot_s * 1000:g}"
        longest = part.input_tokens.largest
        first = predictor.first_token_s(longest, speed.tpot_s) * slower
        if ttft_s is not None and first > ttft_s:
            return f"{whose}TTFT {first:.2f} s for {longest:,} tokens, promised {ttft_s:g}"
    return None


def most_concurrency(predictor: Predictor, promise: Promise, traffic: Traffic, at_worst: bool = False) -> int:
    """The most requests at once that keep the promise and do not wait for KV cache."""
    low, high = 1, predictor.most_running
    while low < high:
        middle = (low + high + 1) // 2
        kept = broken_promise(predictor, promise, traffic, middle, at_worst) is None
        low, high = (middle, high) if kept else (low, middle - 1)
    return low


def concurrency_carrying(predictor: Predictor, tokens_per_s: float, most: int) -> int:
    """The least concurrency that delivers that many output tokens a second."""
    low, high = 1, most
    while low < high:
        middle = (low + high) // 2
        enough = predictor.at(middle).output_tokens_per_s >= tokens_per_s
        low, high = (low, middle) if enough else (middle + 1, high)
    return low


def hourly_usd(question: Question, whole: Machine) -> Decimal | None:
    """The machine's price: what the user says it costs, or EC2's."""
    if question.usd_per_hour is not None:
        return question.usd_per_hour
    price = priced(whole, Options(region=question.region))
    return price.usd_per_hour if price else None


def elsewhere_usd(question: Question, whole: Machine) -> Decimal | None:
    """Its price in the region that most prices are of: what machines are ranked by where their own lacks some."""
    if question.usd_per_hour is not None:
        return None
    price = priced(whole, Options())
    return price.usd_per_hour if price else None


def paid_ahead(question: Question, whole: Machine) -> bool:
    """Whether the machine cannot be had by the hour, in the region or in any that has a price."""
    if question.usd_per_hour is not None:
        return False
    price = priced(whole, Options(region=question.region)) or priced(whole, Options())
    return price is not None and price.purchase != ON_DEMAND


def monthly(usd_per_hour: Decimal | None, machines: int) -> Decimal | None:
    """USD a month for machines that never stop."""
    if usd_per_hour is None:
        return None
    return (usd_per_hour * machines * HOURS_PER_MONTH).quantize(Decimal("0.01"))


def options_of(question: Question) -> Options:
    """The traffic as the planner's options: average lengths for the speed, the longest for the context.

    Raises UsageError for lengths that no model has.
    """
    return Options.of(
        {
            "input_tokens": question.traffic.mean_input,
            "output_tokens": question.traffic.mean_output,
            "max_model_len": question.context or question.traffic.longest,
            "region": question.region,
            "kv_cache_dtype": question.kv_cache_dtype,
            "vllm_version": question.vllm_version,
        }
    )
