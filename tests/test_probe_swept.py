"""How a sweep ends: what its answer rests on decides the exit code, and each end says what to do."""

from pathlib import Path
from typing import Any

import pytest

from deploy.cli.probe import swept
from serving.probe.sweep_report import Point, Sweep

NONE: dict[str, Any] = dict.fromkeys(
    ("ttft_p50_s", "ttft_p99_s", "tpot_p50_s", "tpot_p99_s", "attainment", "attainment_low")
)


def a_step(load: float, valid: bool) -> Point:
    return Point(
        load=load, output_tokens_per_s=9, request_per_s=1, failed=0, valid=valid, folder=f"f{load:g}", **NONE
    )


@pytest.mark.parametrize(
    ("changed", "code", "said"),
    [
        ({}, 0, []),
        ({"best": None}, 0, []),
        (
            {"best": 4.0},
            9,
            [
                "error: The answer rests on a step that must not be used: see f4.",
                "hint: Run it on a free machine, or with --processes.",
            ],
        ),
        (
            {"best": 4.0, "refused": "URL answers 500: boom."},
            8,
            [
                "error: The sweep ended early; the steps until then are kept: URL answers 500: boom.",
                "hint: Look at the server's log.",
            ],
        ),
        (
            {"best": 4.0, "refused": "boom", "interrupted": True},
            130,
            ["error: Interrupted; the steps until then are kept."],
        ),
    ],
)
def test_a_sweep_ends_with_what_its_answer_rests_on(
    changed: dict[str, Any], code: int, said: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = Sweep(
        url="u",
        model="m",
        over="concurrency",
        slo={},
        attainment=0.9,
        best=2.0,
        points=(a_step(2, True), a_step(4, False)),
        rule="",
    )
    assert swept(found.model_copy(update=changed), tmp_path) == code
    assert capsys.readouterr().err.splitlines() == said
    assert (tmp_path / "sweep.json").exists()
