"""PURE: a calibration as text: what was predicted, what was measured, what holds from now on."""

from infra.columns import table
from serving.model.calibration import Calibration
from serving.sizing.log_calibration import Measured
from serving.sizing.plan import Plan
from serving.sizing.plan_again import size_again

TERMS = ("weights and rotary table", "activations, CUDA, graphs", "KV cache")


def calibration_text(calibration: Calibration, plan: Plan, measured: Measured | None) -> str:
    """What was measured, beside what was predicted before."""
    title = (
        f"Calibrated: {calibration.model} {calibration.precision} on {calibration.gpu}, "
        f"tensor parallel {calibration.tensor}"
    )
    parts = [memory_text(measured, plan)] if measured else []
    parts += [speed_text(calibration, plan)] if calibration.points else []
    of_version = plan.model_copy(update={"vllm_version": calibration.vllm_version})
    step = f"Next: {size_again(of_version, plan.machine.name)}"
    return "\n\n".join([f"{title}\n{parts[0]}", *parts[1:], step])


def memory_text(measured: Measured, plan: Plan) -> str:
    """GiB of one GPU as a server's log has them, beside what was planned for its settings."""
    pairs = zip(TERMS, measured.planned, measured.measured, strict=True)
    rows = [("GiB of a GPU", "planned", "measured")]
    rows += [(name, f"{before:.2f}", f"{after:.2f}") for name, before, after in pairs]
    served, known = measured.memory.vllm_version, plan.vllm_version
    other = "" if served == known else f"\n\nThe server ran vLLM {served}, the plan is for {known}."
    return f"{table(rows)}{other}"


def speed_text(calibration: Calibration, plan: Plan) -> str:
    """The points, and the prediction that was made before."""
    rows = [("concurrency", "in", "out", "TPOT ms", "TTFT s", "measured at")]
    rows += [
        (
            str(point.concurrency),
            str(point.input_tokens),
            str(point.output_tokens),
            f"{point.tpot_s * 1000:.2f}",
            f"{point.ttft_s:.3f}",
            point.measured_at,
        )
        for point in calibration.points
    ]
    speed = plan.throughput
    before = (
        f"\n\nThe plan predicted {speed.tpot_s * 1000:.2f} ms at {speed.concurrency} ({speed.basis})."
        if speed
        else ""
    )
    return f"{table(rows)}{before}"
