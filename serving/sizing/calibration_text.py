"""PURE: a calibration as text: what was predicted, what was measured, what holds from now on."""

from infra.columns import table
from serving.model.calibration import Calibration
from serving.sizing.plan import Plan
from serving.sizing.plan_again import size_again


def calibration_text(calibration: Calibration, plan: Plan) -> str:
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
    title = (
        f"Calibrated: {calibration.model} {calibration.precision} on {calibration.gpu}, "
        f"tensor parallel {calibration.tensor}"
    )
    step = f"Next: {size_again(plan, plan.machine.name)}"
    return f"{title}\n{table(rows)}{before}\n\n{step}"
