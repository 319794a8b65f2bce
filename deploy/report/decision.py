"""PURE: the first page of a report: what the machines promise, and what is decided by whose figures, to be signed."""

from collections import Counter

from deploy.costs.carries import Carries, PromisedClass
from deploy.costs.comparison import ClaudeSide, Comparison
from deploy.costs.month import Month
from deploy.report.tables import Table, amounts
from infra.money import count
from serving.sizing.carried import Predicted
from serving.sizing.traffic import HOURS_PER_MONTH

PROMISE, DECISION = "What is promised, and what the machines carry", "The decision"


def promise_table(found: Carries, comparison: Comparison) -> Table:
    """The promise, what is predicted for it, and what the machines carry of the peak, in words for whoever signs."""
    peak = f"{found.peak_requests_per_s:.3g}"
    average = f"{found.requests_per_s:.3g} requests/s on average, times {found.peak_factor:g}"
    rows = [("what", "figure", "whose"), ("the peak", f"{peak} requests/s: {average}", "the plan's")]
    if found.promise:
        promised = "; ".join(map(said_promise, found.promised)) or "nothing"
        share = f"to {found.promise.percentile:g} of 100 requests: " if promised != "nothing" else ""
        rows.append(("promised", f"{share}{promised}", "the plan's"))
    if found.predicted:
        rows += predicted_rows(found)
    else:
        rows.append(("predicted", "not kept in this plan: make it again with corral capacity", ""))
    spare = f"{found.spare_machines} of {found.machines}: the peak is carried without"
    none = f"none: with one of {found.machines} lost the peak may not be carried"
    rows.append(("spare machines", spare if found.spare_machines else none, "the plan's"))
    notes = (
        f"Basis: {found.rests_on.rstrip('.')}. " if found.rests_on else "",
        "No probe measured these waits.",
        "" if found.are_compared else " The dollars are of another number of machines, as --replicas says.",
        " The month compared is of another volume than the plan's." if is_other_volume(comparison) else "",
    )
    return Table(PROMISE, tuple(rows), note="".join(notes))


def is_other_volume(comparison: Comparison) -> bool:
    """Whether the dollars are of more or fewer requests than the plan is of, by more than what is rounded."""
    planned = comparison.carries
    if planned is None:
        return False
    requests = planned.requests_per_s * 3600 * HOURS_PER_MONTH
    return abs(float(comparison.month.volume.requests_per_month) / requests - 1) > 0.01


def predicted_rows(found: Carries) -> list[tuple[str, str, str]]:
    """What the planner says of the promise, of the peak, and of the bad end of its band."""
    said, promise, peak = found.predicted, found.promise, f"{found.peak_requests_per_s:.3g}"
    if said is None:
        return []
    together = ", all classes together" if len(found.promised) > 1 else ""
    of = f"p{promise.percentile:g} of {found.waits_are_of}{together}: " if promise else ""
    carried = said.carries_requests_per_s >= found.peak_requests_per_s
    kept = "they carry it" if carried else "NOT ENOUGH"
    worst = "they carry it" if found.carries_at_worst else "they do NOT carry it"
    return [
        *predicted_waits(found, said, of),
        (
            "carried at peak",
            f"{said.carries_requests_per_s:.3g} requests/s where {peak} come: {kept}",
            "modelled",
        ),
        (
            "at the bad end of the band",
            f"{said.at_worst_requests_per_s:.3g} requests/s where {peak} come: {worst}",
            "modelled",
        ),
    ]


def predicted_waits(found: Carries, said: Predicted, of: str) -> list[tuple[str, str, str]]:
    """What slow requests wait for, a row for each kind of machine: a promise is kept on every one."""
    if not found.kinds:
        return [("predicted", said_waits(said.ttft_s, said.tpot_s, of), "modelled")]
    if not all(kind.predicted for kind in found.kinds):
        return [("predicted", "not kept of each kind in this plan: make it again with corral capacity", "")]
    return [
        (f"predicted on {kind.name}", said_waits(each.ttft_s, each.tpot_s, of), "modelled")
        for kind in found.kinds
        if (each := kind.predicted)
    ]


def said_waits(ttft_s: float | None, tpot_s: float | None, of: str) -> str:
    """Both in words, after what they are of."""
    waits = [f"first token within {ttft_s:.3g} s"] if ttft_s is not None else []
    waits += [f"then {1000 * tpot_s:.3g} ms a token"] if tpot_s is not None else []
    return f"{of}{', '.join(waits)}" if waits else "no waits: none were simulated"


def said_promise(each: PromisedClass) -> str:
    """What one class is promised."""
    said = [f"first token within {each.ttft_s:g} s"] if each.ttft_s is not None else []
    said += [f"then at most {1000 * each.tpot_s:g} ms a token"] if each.tpot_s is not None else []
    return (f"{each.name}: " if each.name else "") + (", ".join(said) or "nothing")


def decision_table(comparison: Comparison) -> Table:
    """What would be decided: machines, weights, a month of it, next to what, and by whose figures."""
    month, own = comparison.month, comparison.self_hosted
    asked = f"{comparison.model} {comparison.precision}"
    number = comparison.knobs.replicas
    planned = comparison.carries
    machines = comparison.machine if planned and planned.kinds else f"{number:f}x {comparison.machine}"
    spare = f", {comparison.knobs.spares:f} spare" if comparison.knobs.spares else ""
    against = next(side for side in comparison.claude if side.name == comparison.break_even.against)
    requests = (
        f"{count(month.volume.requests_per_month)} requests, {count(month.volume.mtok_per_month)} M tokens"
    )
    whose = Counter(each.whose for each in comparison.assumptions)
    speed = "measured by a probe" if comparison.speed.basis == "measured" else "modelled, not measured"
    return Table(
        DECISION,
        (
            ("what", "decided"),
            ("machines", f"{machines}{spare}, {month.purchase}"),
            ("model and precision", asked),
            ("work of a month", requests),
            ("a month here", " = ".join(amounts(month, own.usd_per_month))),
            (f"the same work at {against.name}", at_claude(month, against)),
            ("speed", speed),
            ("by whose figures", "; ".join(f"{number} {who}" for who, number in whose.items())),
            ("as of", f"{comparison.made_on}"),
        ),
    )


def at_claude(month: Month, side: ClaudeSide) -> str:
    """What the work costs at a Claude, or that it takes none of it."""
    if side.answer == "cannot be asked":
        return "cannot be asked: its requests are longer than it takes"
    return " = ".join(amounts(month, side.usd_per_month))


def signatures() -> Table:
    """Two lines for names."""
    return Table("Signed", (("for", "name", "date"), ("finance", "", ""), ("engineering", "", "")))
