"""The calibrations kept in $CORRAL_HOME: one for each model, precision, split and kind of GPU."""

from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import ValidationError

from infra.argument import pasted
from infra.catalog import gpus, machine
from infra.errors import ProbeInvalid, UsageError
from infra.home import home
from infra.record import Document
from serving.model.calibration import Calibration, Point
from serving.model.models import models
from serving.model.roofline import least_step_s
from serving.model.weights import Split
from serving.sizing.plan import Plan, check_probed
from serving.sizing.sized_model import named

if TYPE_CHECKING:  # the planner reads calibrations each time, and a probe only when one is added
    from serving.probe.report import ProbeReport

Key = tuple[str, str, str, int, int, int]
LEAST_REQUESTS = 16
"""A mean over fewer says little."""


class Calibrations(Document):
    """Every calibration of this user."""

    kind: ClassVar[str] = "set of calibrations"
    document: Literal["calibrations"] = "calibrations"
    schema_version: Literal[1] = 1

    calibrations: tuple[Calibration, ...] = ()
    """One of each model, GPU and way to split."""


def add(plan: Plan, probe: "ProbeReport") -> Calibration:
    """Add a probe of a plan's machine to its calibration and keep it.

    Raises UsageError for a probe of another model, machine or precision, ProbeInvalid for one too short or faster than
    the machine can be.
    """
    check_probed(plan, probe.model)
    check_same_server(plan, probe)
    if probe.servers > 1:
        raise UsageError(
            f"The probe was of {probe.servers} servers behind one address; a machine is calibrated by one of them.",
            "Probe one of them by its own URL, as corral status says it.",
        )
    if plan.drafts:
        raise UsageError(
            "The plan's server proposes tokens: from its probe the model's own speed cannot be told apart.",
            "Probe a server of the same plan without --speculative-config, and give that plan.",
        )
    point = point_of(probe)
    if plan.throughput is None:
        raise UsageError(
            f"The plan for {plan.machine.name} predicts no speed, so there is nothing to calibrate.",
            "Calibrate a plan for GPUs that fits.",
        )
    check_possible(plan, point)
    check_all_ran(plan, point, probe.url)
    old = known(plan)
    return keep(
        old.model_copy(
            update={
                "vllm_version": plan.vllm_version,
                "points": (*(earlier for earlier in old.points if earlier != point), point),
            }
        )
    )


def check_same_server(plan: Plan, probe: "ProbeReport") -> None:
    """Raise UsageError for a probe that says it is of another machine or precision: one of a mere URL says neither."""
    if probe.precision not in (None, plan.precision):
        other = f"{probe.precision}, the plan is for {plan.precision}"
    elif probe.machine is not None and not is_like(plan, probe.machine):
        other = f"{probe.machine}, the plan is for {plan.machine.name}"
    else:
        return
    raise UsageError(f"The probe was of {other}.", "Give the plan of the server that was probed.")


def is_like(plan: Plan, name: str) -> bool:
    """Whether a machine is the plan's, or has as many of the same GPUs."""
    if name == plan.machine.name:
        return True
    try:
        other = machine(name)
    except UsageError:  # one that was described elsewhere
        return False
    return other.gpu is not None and (other.gpu.name, other.gpu_count) == (
        plan.machine.gpu,
        plan.machine.gpu_count,
    )


def known(plan: Plan) -> Calibration:
    """The calibration of a plan's model on its machine; a new one without anything measured where there is none."""
    old = next((each for each in read() if key_of(each) == key(plan)), None)
    return old or Calibration(
        gpu=plan.machine.gpu,
        model=plan.model,
        precision=plan.precision,
        tensor=plan.parallel.tensor,
        pipeline=plan.parallel.pipeline,
        data=plan.parallel.data,
        vllm_version=plan.vllm_version,
        points=(),
        updated_at=datetime.now(UTC),
    )


def keep(calibration: Calibration) -> Calibration:
    """Keep a calibration in the place of the one before, and say so in it."""
    new = calibration.model_copy(update={"updated_at": datetime.now(UTC)})
    others = tuple(each for each in read() if key_of(each) != key_of(new))
    Calibrations(calibrations=(*others, new)).write(path())
    return new


def point_of(probe: "ProbeReport") -> Point:
    """The means of a probe. Raises ProbeInvalid for one that is not valid or not a closed loop."""
    concurrency, again = probe.load.get("concurrency"), f"corral probe {pasted(probe.url)}"
    if not probe.valid or not probe.succeeded or probe.tpot_s is None or probe.ttft_s is None:
        raise ProbeInvalid("That probe is not valid, or measured no TTFT and TPOT.", f"Probe again: {again}")
    if probe.succeeded < LEAST_REQUESTS:
        raise ProbeInvalid(
            f"That probe has {probe.succeeded} succeeded requests; a calibration needs {LEAST_REQUESTS} or more.",
            f"Probe again: {again} --requests {4 * LEAST_REQUESTS}",
        )
    if not isinstance(concurrency, int):
        raise UsageError(
            "Calibration needs a probe with a fixed concurrency.",
            f"Probe again: {again} --concurrency 16",
        )
    try:
        return Point(
            concurrency=concurrency,
            input_tokens=round(probe.input_tokens / probe.succeeded),
            output_tokens=round(probe.output_tokens / probe.succeeded),
            tpot_s=probe.tpot_s.mean,
            ttft_s=probe.ttft_s.mean,
            measured_at=probe.started_at,
            queue_s=probe.server.queue_mean_s,
        )
    except ValidationError as error:
        field = error.errors()[0]["loc"][0]
        raise ProbeInvalid(
            f"That probe says a {field} that no server has.", f"Probe again: {again}"
        ) from None


def check_possible(plan: Plan, point: Point) -> None:
    """Raise ProbeInvalid for a TPOT below what reading the weights takes at the GPU's full memory bandwidth.

    Known models and GPUs only: a plan does not hold the layers of another checkpoint.
    """
    gpu = gpus().get(plan.machine.gpu)
    if plan.model not in models() or gpu is None:
        return
    subject = named(plan.model, plan.precision)
    split = Split(plan.parallel.tensor, plan.parallel.pipeline, plan.parallel.data)
    least_s = least_step_s(gpu, subject.architecture, subject.scheme, split)
    if point.tpot_s < least_s:
        raise ProbeInvalid(
            f"That probe's TPOT of {1e3 * point.tpot_s:.3g} ms is not possible on {plan.machine.name}: reading the "
            f"weights of one token takes {1e3 * least_s:.3g} ms at the full memory bandwidth.",
            "Give the plan of the server that was probed.",
        )


def check_all_ran(plan: Plan, point: Point, url: str) -> None:
    """Raise ProbeInvalid where requests waited, by the plan, and the probe could not ask the server for how long.

    The time of a step of those that ran would be taken for one of all, and what they waited for a prefill.
    """
    predicted, load, most = plan.throughput, plan.workload, point.concurrency
    if plan.serve.max_num_seqs is not None:
        most = min(most, plan.serve.max_num_seqs * plan.parallel.data)
    is_as_long = point.input_tokens + point.output_tokens >= load.input_tokens + load.output_tokens
    if predicted is not None and is_as_long and 0 < predicted.running < predicted.concurrency:
        most = min(most, predicted.running)
    if point.queue_s is None and most < point.concurrency:
        raise ProbeInvalid(
            f"Of that probe's {point.concurrency} requests at once {most} run, by the plan, and it says not how long "
            "the others waited: the server's /metrics were not read.",
            f"Probe again: corral probe {pasted(url)} --concurrency {most}",
        )


def find(wanted: Key) -> Calibration | None:
    """The calibration of that model on that machine, if there is one."""
    return kept().get(wanted)


def of_model(gpu: str, model: str, precision: str) -> tuple[Calibration, ...]:
    """The calibrations of that model on such GPUs, however it is split."""
    return tuple(each for key, each in kept().items() if key[:3] == (gpu, model, precision))


def kept() -> dict[Key, Calibration]:
    """Every stored calibration, by what it is found by."""
    file = path()
    return kept_at(file, file.stat().st_mtime_ns) if file.exists() else {}


@cache
def kept_at(file: Path, changed_ns: int) -> dict[Key, Calibration]:
    """The stored calibrations, parsed once for each state of the file."""
    return {key_of(calibration): calibration for calibration in Calibrations.read(file).calibrations}


def read() -> tuple[Calibration, ...]:
    """Every stored calibration."""
    return Calibrations.read(path()).calibrations if path().exists() else ()


def path() -> Path:
    """Where they are kept."""
    return home() / "calibrations.json"


def key(plan: Plan) -> Key:
    """What a calibration of that plan is found by."""
    split = plan.parallel
    return (plan.machine.gpu, plan.model, plan.precision, split.tensor, split.pipeline, split.data)


def key_of(calibration: Calibration) -> Key:
    """What it is found by."""
    return (
        calibration.gpu,
        calibration.model,
        calibration.precision,
        calibration.tensor,
        calibration.pipeline,
        calibration.data,
    )
