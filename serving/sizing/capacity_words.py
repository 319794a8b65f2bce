"""PURE: the words of every answer about capacity: what was asked, what slow requests wait for, dollars."""

from decimal import Decimal

from infra.catalog import machine
from infra.columns import wrapped
from serving.model import evaluations, gpu_support
from serving.sizing.asked_images import with_images
from serving.sizing.capacity import Capacity, Choice, ClassTail, Tail
from serving.sizing.plan_again import asked_for
from serving.sizing.plan_notes import further_notes
from serving.sizing.sized_model import named
from serving.sizing.traffic import Promise, Traffic
from serving.sizing.traffic_options import TrafficOptions
from serving.vllm.versions import rules


def asked(answer: Capacity) -> str:
    """The question, as understood."""
    traffic, g_tokens = answer.traffic, rate(answer.traffic.tokens_per_month / 1e9)
    usual = TrafficOptions.model_fields["peak_factor"].default
    factor = f" (--peak-factor {usual:g}, the default)" if traffic.peak_factor == usual else ""
    peak = f"{rate(traffic.peak_requests_per_s)} at peak{factor}"
    return wrapped(
        f"{answer.model}: {rate(traffic.requests_per_s)} requests/s, {peak}, "
        f"{traffic.lengths} ({g_tokens} G tokens a month){promised(answer.promise, traffic)}",
        "",
    )


def rate(per_s: float) -> str:
    """Three digits, as people write them."""
    return f"{per_s:,.0f}" if per_s >= 100 else f"{per_s:.3g}"


def promised(promise: Promise, traffic: Traffic) -> str:
    """The promise in words, and that of each class which has its own."""
    spare = f"{promise.spare_machines} spare" if promise.spare_machines else ""
    to_all = ", ".join(filter(None, (latencies(promise.ttft_s, promise.tpot_s), spare)))
    own = [(part.name, latencies(part.ttft_s, part.tpot_s)) for part in traffic.classes]
    promises = [*filter(None, [to_all]), *(f"to {name} {words}" for name, words in own if words)]
    return "; promised: " + "; ".join(promises) if promises else ""


def latencies(ttft_s: float | None, tpot_s: float | None) -> str:
    """Those of the two that are promised."""
    ttft, tpot = f"TTFT {ttft_s or 0:g} s", f"TPOT {(tpot_s or 0) * 1000:g} ms"
    return ", ".join([*([ttft] if ttft_s else []), *([tpot] if tpot_s else [])])


def tail(choice: Choice) -> list[str]:
    """What the slow requests wait for, of all and of each class."""
    t = choice.tail
    if t is None:
        return []
    return [
        f"  p{t.percentile:g} of {t.requests:,} simulated requests: {waits(t)}.",
        *(f"    {each.name}, {each.requests:,} of them: {waits(each)}." for each in t.classes),
        *([f"    {LOCKSTEP}"] if choice.pipeline > 1 else []),
    ]


LOCKSTEP = "The batches of a pipeline's stages are taken to wait for each other: at most that long."


def waits(tail: Tail | ClassTail) -> str:
    """Its times in words."""
    return f"TTFT {tail.ttft_s:,.2f} s, TPOT {tail.tpot_s * 1000:,.1f} ms, longest pause {tail.longest_pause_s:,.2f} s"


def further(answer: Capacity) -> list[str]:
    """What of the requests and the engine is reckoned with and was never measured, of the server that is planned."""
    if answer.plan is None:
        return []
    subject, gpu = named(answer.model, answer.plan.precision), machine(answer.plan.machine.name).gpu
    assert gpu is not None
    options = with_images(subject, asked_for(answer.plan))
    told = further_notes(subject, gpu, options, rules(answer.plan.vllm_version))
    return [wrapped(note, "  - ") for note in told]


def cautions(answer: Capacity, machine_name: str, precision: str) -> list[str]:
    """What is known to need care of those weights on a machine, and what others measured of their answers."""
    whole, subject = machine(machine_name), named(answer.model, precision)
    assert whole.gpu is not None
    cache = answer.plan.serve.kv_cache_dtype if answer.plan else "auto"
    told = gpu_support.notes(whole.gpu, subject.family, precision, cache, whole.kind == "owned")
    return [*told, *filter(None, [evaluations.note(subject.repo, subject.precision)])]


def dollars(amount: Decimal | None) -> str:
    """Whole dollars."""
    return f"${amount:,.0f}" if amount is not None else "-"
