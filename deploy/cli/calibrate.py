"""`corral calibrate`: bend the models of speed and memory to a probe of a real machine, and to its server's log."""

from pathlib import Path
from typing import Annotated

import typer

from deploy.cli.flags import Json
from serving.sizing.size_options import CalibrateOptions


def calibrate(
    asked: CalibrateOptions,
    probe: Annotated[
        Path | None, typer.Argument(help="probe.json of a probe with a fixed concurrency.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Fit a machine's speed from a probe, its memory from a server's log; later plans for it say "calibrated"."""
    from infra.say import emit
    from serving.probe.report import ProbeReport
    from serving.sizing import kept_calibrations, log_calibration
    from serving.sizing.calibration_text import calibration_text
    from serving.sizing.plan import Plan

    asked.check(probe)
    planned = Plan.read(asked.plan)
    measured = log_calibration.read(planned, asked.server_log) if asked.server_log else None
    calibration = kept_calibrations.add(planned, ProbeReport.read(probe)) if probe else None
    if measured:
        calibration = log_calibration.keep(planned, measured)
    assert calibration is not None  # one of the two was given
    emit(calibration, calibration_text(calibration, planned, measured), as_json)
