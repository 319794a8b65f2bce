"""Published evaluations of the checkpoints that corral picks: sane, sourced, and told where 4 bits are chosen."""

from datetime import date

import pytest

from deploy.cli.main import run
from serving.model.evaluations import SMALL, evaluations, lines, note
from serving.model.models import models

W4A16 = "RedHatAI/Llama-4-Scout-17B-16E-Instruct-quantized.w4a16"
NVFP4 = "RedHatAI/Llama-4-Scout-17B-16E-Instruct-NVFP4"


def test_each_is_of_a_checkpoint_that_corral_knows_and_has_its_source() -> None:
    known = {each.repo for model in models().values() for each in model.checkpoints.values()}
    assert set(evaluations()) - known == {"nvidia/Llama-4-Scout-17B-16E-Instruct-FP4"}
    for each in (one for published in evaluations().values() for one in published):
        assert each.source
        assert each.read_on <= date(2026, 11, 30)
        assert all(0 < score.percent < 100 and score.items > 100 for score in each.scores.values())


def test_of_every_checkpoint_of_four_bits_that_corral_picks_there_is_one() -> None:
    picked = {
        model.checkpoints[precision].repo
        for model in models().values()
        for precision in SMALL
        if precision in model.checkpoints
    }
    assert len(picked) == 4
    assert all(each.changes for repo in picked for each in evaluations()[repo])


@pytest.mark.parametrize(
    ("repo", "tasks", "mean"),
    [
        (W4A16, 12, -0.295),
        ("RedHatAI/Llama-4-Scout-17B-16E-Instruct-FP8-dynamic", 12, -0.0783),
        (NVFP4, 14, -0.8664),
        ("RedHatAI/Llama-4-Maverick-17B-128E-Instruct-quantized.w4a16", 6, -0.4767),
        ("RedHatAI/Llama-4-Maverick-17B-128E-Instruct-NVFP4", 6, -0.3767),
    ],
)
def test_the_mean_change_is_that_of_the_cards_tables(repo: str, tasks: int, mean: float) -> None:
    """Reckoned from the tables by hand; the cards give averages of each half of theirs alone."""
    (found,) = evaluations()[repo]
    assert (len(found.changes), round(sum(found.changes) / tasks, 4)) == (tasks, mean)


def test_the_recovery_of_four_bits_is_that_of_the_cards() -> None:
    """80.34 of 80.54 is 99.75 %, one standard error 0.33 points (facts of the cost side)."""
    (found,) = evaluations()[W4A16]
    mmlu = found.scores["mmlu"]
    assert mmlu.original is not None
    assert round(100 * mmlu.percent / mmlu.original, 2) == 99.75
    assert mmlu.error_points == pytest.approx(0.335, abs=0.001)


def test_four_bits_are_told_of_and_no_others() -> None:
    look = "corral quality A B --texts FILE compares its answers with another's on your own texts."
    assert note(W4A16, "int4") == (
        "Red Hat published of these weights: MMLU 80.34 (bf16 80.54), MMLU-Pro 54.96 (bf16 55.70), MATH-lvl-5 57.33 "
        "(bf16 57.78); -0.30 points on average over 12 tasks, none lower by more than 2 standard errors of its score, "
        f"not repeated here; {look}"
    )
    assert note(NVFP4, "nvfp4") == (
        "Red Hat published of these weights: MMLU (mmlu_llama) 79.11 (bf16 81.06), MMLU-Pro 53.05 (bf16 55.68), "
        "MATH-lvl-5 55.06 (bf16 57.70), HumanEval pass@2 84.81 (bf16 83.83); -0.87 points on average over 14 tasks, "
        "lower by more than 2 standard errors of a score: MMLU (mmlu_llama) -1.95, MMLU (mmlu_cot_llama) -1.79, "
        f"MMLU-Pro -2.63, BBH -1.58, not repeated here; {look}"
    )
    assert note("RedHatAI/Llama-4-Maverick-17B-128E-Instruct-NVFP4", "nvfp4") == (
        "Red Hat published of these weights: MMLU (mmlu_llama) 85.49 (bf16 86.77), MMLU-Pro 62.83, MATH-lvl-5 64.95, "
        "HumanEval pass@2 88.88; -0.38 points on average over the 6 of 13 tasks that bf16 was asked, too, "
        "lower by more than 2 standard errors of a score: MMLU (mmlu_llama) -1.28, MMLU (mmlu_cot_llama) -0.77, "
        f"not repeated here; {look}"
    )
    assert note("nvidia/Llama-4-Scout-17B-16E-Instruct-FP4", "nvfp4") == (
        "NVIDIA published of these weights: MMLU-Pro 74.00, MATH-500 81.00; of bf16 nothing by the same people, "
        f"not repeated here; {look}"
    )
    assert note("somebody/else", "nvfp4") == (
        f"No published evaluation of these weights is known to corral; {look}"
    )
    assert note("RedHatAI/Llama-4-Scout-17B-16E-Instruct-FP8-dynamic", "fp8") == ""


def test_two_publishers_of_one_checkpoint_are_told_apart() -> None:
    told = "\n".join(lines("meta-llama/Llama-4-Scout-17B-16E-Instruct"))
    assert (
        told.index("Artificial Analysis, read") < told.index("  MATH-500: 82.00") < told.index("Meta, read")
    )
    assert told.count("One standard error at 80 % right") == 1


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
    assert lines(W4A16)[-2].startswith(
        "  Each is the standard error of one score; of a difference on the same items"
    )
    assert lines("somebody/else") == ()


@pytest.mark.parametrize(("precision", "is_told"), [("int4", True), ("fp8", False)])
def test_machines_of_ones_own_are_told_of_as_one_that_is_sized(
    precision: str, is_told: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """That vLLM tests no Llama 4 of four bits was said of what is rented alone."""
    caution = "No 4-bit Llama 4 is in vLLM's own tests (CI covers Scout BF16 and FP8): compare its answers"
    lines = (
        "size scout --on 8xA100-40GB",
        "capacity scout --requests-per-s 0.5 --have 8xA100-40GB=1 --have 2xA100-80GB=1",
    )
    for line in lines:
        run([*line.split(), "--precision", precision])
        said = " ".join(capsys.readouterr().out.split())
        assert said.count(caution) == is_told, line
        assert said.count("A100 is taken as an SXM board with NVLink") == 1, line


def test_a_cache_of_eight_bits_is_told_of_where_a_traffic_is_planned(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As size tells of it."""
    asked = ["--precision", "int4", "--requests-per-s", "0.5", "--kv-cache-dtype", "fp8"]
    run(["capacity", "scout", *asked, "--have", "8xA100-40GB=1"])
    assert "which has an open Llama 4 crash" in " ".join(capsys.readouterr().out.split())
