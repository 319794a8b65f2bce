"""`corral calibrate`: bend the models of speed and memory to a probe of a real machine, and to its server's log."""

from pathlib import Path
from typing import Annotated

import typer

from deploy.cli.flags import Json, deployed_or_path
from serving.sizing.size_options import CalibrateOptions


def calibrate(
    asked: CalibrateOptions,
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="PROBE|NAME",
            help="probe.json of a probe with a fixed concurrency, or a deployment: its plan and newest probe.",
            autocompletion=deployed_or_path,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Fit a machine's speed from a probe, its memory from a server's log; later plans for it say "calibrated"."""
    from deploy.by_name import is_named, newest_probe
    from deploy.targets.deployment import load
    from infra.say import emit
    from serving.probe.report import ProbeReport
    from serving.sizing import kept_calibrations, log_calibration
    from serving.sizing.calibration_text import calibration_text
    from serving.sizing.plan import Plan

    asked.check(what, is_deployment := what is not None and is_named(what))
    planned = load(what).plan if what and is_deployment else Plan.read(asked.plan or Path())
    measured = log_calibration.read(planned, asked.server_log) if asked.server_log else None
    probe = None
    if what and is_deployment:
        probe = newest_probe(what, is_needed=measured is None)
    elif what:
        probe = ProbeReport.read(Path(what))
    calibration = kept_calibrations.add(planned, probe) if probe else None
    if measured:
        calibration = log_calibration.keep(planned, measured)
    assert calibration is not None  # one of the two was given
    emit(calibration, calibration_text(calibration, planned, measured), as_json)
