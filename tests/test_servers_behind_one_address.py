"""A probe of several equal servers behind one address: what one of them does is what counts for a machine."""

from pathlib import Path

import pytest
from probing import a_report

from deploy.costs.machine_speed import speed_of
from deploy.costs.measured_load import Measured
from deploy.costs.operating_point import Promised
from infra.errors import UsageError
from serving.probe.report import ProbeReport
from serving.sizing import kept_calibrations
from serving.sizing.size import answer_for
from serving.sizing.size_options import Options


def report(**changes: object) -> ProbeReport:
    """Of 300 output tokens a second."""
    common = {
        "model": "llama-4-scout",
        "input_tokens": 10_000,
        "output_tokens": 1000,
        "load": {"concurrency": 16},
    }
    return a_report(300.0, **(common | changes))


def test_each_server_has_its_share_of_the_tokens() -> None:
    plan = answer_for("scout", "int4", "g5.12xlarge", Options())
    one, three = (speed_of(plan, Measured(report(**how)), False, Promised()) for how in ({}, {"servers": 3}))
    rates = ("output_tokens_per_s", "output_tokens_per_s_low", "output_tokens_per_s_high")
    assert [float(getattr(three, name)) for name in rates] == [100.0] * 3
    assert [float(getattr(one, name)) for name in rates] == [300.0] * 3
    assert three.how == f"{one.how}, of which each of 3 equal servers did its share"


def test_the_document_says_it_only_of_several(tmp_path: Path) -> None:
    report().write(tmp_path / "one.json")
    report(servers=3).write(tmp_path / "three.json")
    assert "servers" not in (tmp_path / "one.json").read_text()
    assert ProbeReport.read(tmp_path / "three.json").servers == 3


def test_no_machine_is_calibrated_by_several() -> None:
    plan = answer_for("scout", "int4", "g5.12xlarge", Options())
    with pytest.raises(UsageError, match="of 3 servers behind one address"):
        kept_calibrations.add(plan, report(servers=3))
