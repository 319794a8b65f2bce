"""How a sweep ends: what its answer rests on decides the exit code, and each end says what to do."""

from pathlib import Path
from typing import Any, get_args

import pytest
from probing import a_point, a_report, a_sweep

from deploy.cli.printed import schema
from deploy.cli.probe import judged, swept
from serving.probe.spoiled import WHERE_TO_LOOK, Cause
from serving.probe.sweep_report import SPOILED, Answer


@pytest.mark.parametrize(
    ("changed", "code", "said"),
    [
        ({}, 0, []),
        ({"answer": "not_saturated_up_to"}, 0, []),
        ({"answer": "no_promise_met", "best": None}, 0, []),
        ({"answer": "refused_beyond"}, 0, []),
        (
            {"answer": "refused_beyond", "best": None},
            8,
            ["error: No load tried is served: why.", "hint: Look at the server's log."],
        ),
        (
            {"answer": "limited_by_client"},
            9,
            [
                "error: The sweep found the probe's own limit, not the server's: why.",
                "hint: Run it on a free machine, or with --processes.",
            ],
        ),
        (
            {"answer": "buffered_on_the_way"},
            9,
            [
                "error: The sweep found what stands between, not the server: why.",
                f"hint: {WHERE_TO_LOOK['buffered']}",
            ],
        ),
        (
            {"answer": "tokens_do_not_add_up"},
            9,
            [
                "error: The sweep found tokens that do not add up, not the server's limit: why.",
                f"hint: {WHERE_TO_LOOK['tokens']}",
            ],
        ),
        (
            {"answer": "ended_early", "reason": "URL answers 500: boom."},
            8,
            [
                "error: The sweep ended early; the steps until then are kept: URL answers 500: boom.",
                "hint: Look at the server's log.",
            ],
        ),
        ({"answer": "interrupted"}, 130, ["error: Interrupted; the steps until then are kept."]),
    ],
)
def test_a_sweep_ends_with_what_its_answer_is(
    changed: dict[str, Any], code: int, said: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = changed.get("answer")
    spoiled: dict[str, Any] = {
        "verdict": answer, "spoiled_by": [cause for cause, verdict in SPOILED.items() if verdict == answer][:1],
    } if answer in SPOILED.values() else {}  # fmt: skip
    found = a_sweep(a_point(2.0), a_point(4.0, **spoiled), **{"reason": "why"} | changed)
    assert swept(found, tmp_path) == code
    assert capsys.readouterr().err.splitlines() == said
    assert (tmp_path / "sweep.json").exists()


def test_programs_are_told_every_answer_there_is() -> None:
    properties = schema("probe sweep")["properties"]
    assert properties["answer"]["enum"] == list(get_args(Answer))
    assert {"reason", "confirmed", "best"} <= set(schema("probe sweep")["required"])


@pytest.mark.parametrize("cause", get_args(Cause))
def test_a_spoiled_run_says_where_to_look_by_its_cause(
    cause: Cause, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Never at this machine where it is not its fault."""
    report = a_report(valid=False, invalid_because=("why",), spoiled_by=(cause,))
    assert judged(report, 0.0) == 9
    assert capsys.readouterr().err.splitlines() == [
        "error: This result must not be used: why.",
        f"hint: {WHERE_TO_LOOK[cause]}",
    ]
    assert ("a free machine" in WHERE_TO_LOOK[cause]) == (cause == "client")


@pytest.mark.parametrize(
    ("failed", "max_failed", "code", "said"),
    [
        (0, 0.0, 0, []),
        (1, 0.01, 0, []),
        (2, 0.01, 8, "error: 2 of 100 requests failed, more than 0.01 of them (--max-failed)."),
        (100, 1.0, 8, "error: No request succeeded."),
    ],
)
def test_a_run_of_which_too_many_failed_says_so(
    failed: int, max_failed: float, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those on their way when it was stopped are not among them."""
    report = a_report(sent=103, unfinished=3, succeeded=100 - failed, errors={"http_500": failed})
    assert judged(report, max_failed) == code
    assert capsys.readouterr().err.splitlines()[:1] == ([said] if said else [])
