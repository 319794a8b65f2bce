"""What a plan's peak leaves of its machines: a comparison bills none that do not carry it."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from deploy.cli.main import run
from deploy.costs.comparison import Comparison
from deploy.costs.peak import Peak, peak_of
from deploy.report.comparison_text import comparison_text
from deploy.report.html import render
from deploy.report.markdown import markdown
from infra.day import today
from serving.sizing.carried import Predicted
from serving.sizing.plan import Plan

OWNED = ["--capex-usd", "60000", "--power-kw", "5"]


@pytest.fixture(scope="module")
def plan_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One machine for 3 M requests a month, twice as many at peak: it carries 3.13/s of 3.92/s within its promise."""
    path = tmp_path_factory.mktemp("peak") / "plan.json"
    asked = "--precision fp8 --requests-per-s 1.141552511 --input-tokens 2k --output-tokens 500 --ttft 1s"
    assert run(["capacity", "scout", *asked.split(), "--have", "8xA100-40GB=1", "-o", str(path)]) == 0
    return path


@pytest.fixture
def answered(plan_file: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    def answer(*more: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run(["compare", "--plan", str(plan_file), *OWNED, *more])
        out, err = capsys.readouterr()
        return code, out, err

    return answer


def test_a_plan_keeps_its_promise_and_what_it_predicts_of_the_peak(plan_file: Path) -> None:
    plan = Plan.read(plan_file)
    assert plan.carried is not None
    assert plan.carried.are_there
    assert plan.carried.promise is not None
    assert (plan.carried.promise.ttft_s, plan.carried.promise.fill) == (1.0, 0.8)
    assert plan.carried.predicted == Predicted(
        carries_requests_per_s=3.133, at_worst_requests_per_s=2.506, ttft_s=0.5445, tpot_s=0.06831
    )
    assert peak_of(plan, is_of_plan=True).most_utilisation == Decimal("0.4")


def test_a_plan_of_before_its_promise_was_kept_has_its_peak_all_the_same(plan_file: Path) -> None:
    plan = Plan.read(plan_file)
    assert plan.carried is not None
    older = plan.model_copy(update={"carried": plan.carried.model_copy(update={"predicted": None})})
    assert peak_of(older, is_of_plan=True) == Peak(Decimal(2))
    assert peak_of(plan.model_copy(update={"carried": None}), is_of_plan=True) == Peak()


@pytest.mark.parametrize(
    ("more", "load", "carry", "takes"),
    [
        (["--schedule", "mon-fri 8-18"], "7,500 M tokens a month in 217 h are 3.84 requests/s on average and 7.67",
         "1 of these machines carries 3.13", "3 of them: --replicas 3"),
        (["--hours-per-month", "217", "--replicas", "2"],
         "7,500 M tokens a month in 217 h are 3.84 requests/s on average and 7.68",
         "2 of these machines carry 6.27", "3 of them: --replicas 3"),
        (["--hours-per-month", "217", "--replicas", "3", "--spares", "1"],
         "7,500 M tokens a month in 217 h are 3.84 requests/s on average and 7.68",
         "2 of these machines carry 6.27", "4 of them: --replicas 4 --spares 1"),
        (["--requests-per-month", "9M"], "22,500 M tokens a month in 730 h are 3.42 requests/s on average and 6.85",
         "1 of these machines carries 3.13", "3 of them: --replicas 3"),
        (["--mtok-per-month", "12000"], "12,000 M tokens a month in 730 h are 1.83 requests/s on average and 3.65",
         "1 of these machines carries 3.13", "2 of them: --replicas 2"),
    ],
)  # fmt: skip
def test_machines_that_do_not_carry_the_peak_are_not_billed(
    answered: Any, more: list[str], load: str, carry: str, takes: str
) -> None:
    code, out, err = answered(*more)
    assert (code, out) == (2, "")
    assert err == (
        f"error: NOT ENOUGH: {load} at the plan's peak, of which {carry}, taken at 256 requests at once.\n"
        f"hint: It takes {takes}\n"
    )
    replicas = takes.split(": ")[1].split()
    without = [word for word in more if word not in ("--replicas", "--spares", "2", "3", "1")]
    assert answered(*without, *replicas, "--json")[0] == 0


def test_a_utilisation_that_the_peak_does_not_allow_is_said_first(answered: Any) -> None:
    code, out, _ = answered("--utilisation", "0.9", "--json")
    assert code == 0
    found = json.loads(out)
    assert found["warnings"][0] == (
        "NOT ENOUGH: at 90% utilisation on average the machines do not carry the plan's peak within its promise, "
        "which allows 40%: --utilisation 0.400"
    )
    assert not any(
        "NOT ENOUGH" in each for each in json.loads(answered("--utilisation", "0.4", "--json")[1])["warnings"]
    )


def test_a_break_even_beyond_the_promise_is_never_everywhere(answered: Any, plan_file: Path) -> None:
    code, out, _ = answered("--ops-fte", "0.15", "--json", "--claude-model", "haiku-5.5")
    assert code == 0
    found = Comparison.parse(out, "stdout")
    even, plan = found.break_even, Plan.read(plan_file)
    assert Decimal("0.4") < even.required_utilisation < 1
    assert (even.feasible, found.answer) == (False, "never")
    assert found.self_hosted.most_utilisation == Decimal("0.4")
    assert found.verdict.startswith(
        "NEVER against Claude Haiku 5.5: even at 40% utilisation, the most at which the plan's promise is kept at "
        "its peak, a million tokens costs $"
    )
    assert not any(text.startswith("Volume") for text in found.what_would_change_it)
    never = f"never under that promise, of at most 40%: {even.mtok_per_month:,.0f} M/month"
    for text in (comparison_text(found), markdown(plan, None, found), render(plan, None, found)):
        assert never in " ".join(text.split())
    assert "<b>never</b>breaks even with Claude Haiku 5.5" in render(plan, None, found)
    assert [(each.utilisation, each.note) for each in found.self_hosted.at] == [
        (Decimal("0.1"), ""),
        (Decimal("0.291480061025"), ""),
        (Decimal("0.3"), ""),
        (Decimal("0.4"), "the most that carries the plan's peak"),
        (Decimal("0.6"), "busier than the plan's peak allows"),
        (Decimal(1), "busier than the plan's peak allows"),
    ]
    assert today() == found.made_on
