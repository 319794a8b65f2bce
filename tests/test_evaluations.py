"""Published evaluations of the checkpoints that corral picks: sane, sourced, and told where 4 bits are chosen."""

from datetime import date

import pytest

from deploy.cli.main import run
from serving.model.evaluations import evaluations, lines, note
from serving.model.models import models

W4A16 = "RedHatAI/Llama-4-Scout-17B-16E-Instruct-quantized.w4a16"


def test_each_is_of_a_checkpoint_that_corral_picks_and_has_its_source() -> None:
    picked = {each.repo for model in models().values() for each in model.checkpoints.values()}
    assert set(evaluations()) <= picked
    for each in evaluations().values():
        assert each.source
        assert each.read_on <= date(2026, 11, 29)
        assert all(0 < score.percent < 100 and score.items > 100 for score in each.scores.values())


def test_the_recovery_of_four_bits_is_that_of_the_cards() -> None:
    """80.34 of 80.54 is 99.75 %, one standard error 0.33 points; 0.36 points on average (facts of the cost side)."""
    found = evaluations()[W4A16]
    mmlu = found.scores["mmlu"]
    assert mmlu.original is not None
    assert round(100 * mmlu.percent / mmlu.original, 2) == 99.75
    assert mmlu.error_points == pytest.approx(0.335, abs=0.001)
    assert found.mean_change == pytest.approx(-0.3627, abs=1e-4)
    fp8 = evaluations()["RedHatAI/Llama-4-Scout-17B-16E-Instruct-FP8-dynamic"]
    assert fp8.mean_change == pytest.approx(-0.0783, abs=1e-4)


def test_four_bits_are_told_of_and_no_others() -> None:
    look = "corral quality A B --texts FILE compares its answers with another's on your own texts."
    assert note(W4A16, "int4") == (
        "Red Hat published of these weights: MMLU 80.34 (bf16 80.54), MMLU-Pro 54.96 (bf16 55.70), MATH-lvl-5 57.33 "
        f"(bf16 57.78); -0.36 points on average over 11 tasks, not repeated here; {look}"
    )
    assert note("somebody/else", "nvfp4") == (
        f"No published evaluation of these weights is known to corral; {look}"
    )
    assert note("RedHatAI/Llama-4-Scout-17B-16E-Instruct-FP8-dynamic", "fp8") == ""


def test_the_explanation_has_every_figure(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["size", "scout", "--precision", "int4", "--on", "8xH100", "--explain"]) == 0
    out = capsys.readouterr().out
    assert "\n".join(lines(W4A16)) in out
    assert "  HumanEval" not in out
    assert lines(W4A16)[1] == (
        "  MMLU: 80.34, bf16 80.54 (-0.20); 14,042 items, one standard error is 0.34 points"
    )
    assert lines(W4A16)[-1] == (
        "  One standard error at 80 % right, in points: MMLU 0.3, HumanEval 3.1, MATH-500 1.8. A loss of one\n"
        "  point cannot be seen in the last two. Meta's card of Llama 4 has neither HumanEval nor MATH-500."
    )
    assert lines("somebody/else") == ()
