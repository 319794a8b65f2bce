"""`corral calibrate`: bend the throughput model to a probe of a real machine."""

from pathlib import Path
from typing import Annotated

import typer

from deploy.cli.flags import Json
from serving.sizing.size_options import PlanOption


def calibrate(
    probe: Annotated[Path, typer.Argument(help="probe.json of a probe with a fixed concurrency.")],
    asked: PlanOption,
    as_json: Json = False,
) -> None:
    """Fit the efficiencies of a machine from a probe; later predictions for it say "calibrated"."""
    from infra.say import emit
    from serving.probe.report import ProbeReport
    from serving.sizing.calibration_text import calibration_text
    from serving.sizing.kept_calibrations import add
    from serving.sizing.plan import Plan

    planned = Plan.read(asked.plan)
    calibration = add(planned, ProbeReport.read(probe))
    emit(calibration, calibration_text(calibration, planned), as_json)
