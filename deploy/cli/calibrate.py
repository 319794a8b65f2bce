"""`corral calibrate`: bend the throughput model to a probe of a real machine."""

from pathlib import Path
from typing import Annotated

import typer


def calibrate(
    probe: Annotated[Path, typer.Argument(help="probe.json of a probe with a fixed concurrency.")],
    plan: Annotated[Path, typer.Option(help="plan.json of the server it was aimed at.")],
    json: Annotated[bool, typer.Option("--json", help="Print the calibration as JSON.")] = False,
) -> None:
    """Fit the efficiencies of a machine from a probe; later predictions for it say "calibrated"."""
    from infra.say import emit
    from serving.probe.report import ProbeReport
    from serving.sizing.calibration_text import calibration_text
    from serving.sizing.kept_calibrations import add
    from serving.sizing.plan import Plan

    planned = Plan.read(plan)
    calibration = add(planned, ProbeReport.read(probe))
    emit(calibration, calibration_text(calibration, planned), json)
