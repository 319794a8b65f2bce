"""What a plan's peak leaves of its machines: a comparison bills none that do not carry it."""

import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from markupsafe import escape
from test_hints import refused

from deploy.cli.main import run
from deploy.costs.carries import PromisedClass
from deploy.costs.compare import compare
from deploy.costs.compare_options import Question
from deploy.costs.comparison import Comparison
from deploy.costs.peak import Peak, peak_of
from deploy.report import decision
from deploy.report.comparison_text import comparison_text
from deploy.report.html import render
from deploy.report.markdown import markdown
from infra.day import today
from infra.money import dollars, percent
from serving.sizing.carried import Predicted
from serving.sizing.plan import Plan

OWNED = ["--capex-usd", "60000", "--power-kw", "5"]


@pytest.fixture(scope="module")
def plan_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One machine for 3 M requests a month, twice as many at peak: it carries 3.5/s of 4.37/s within its promise."""
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
        carries_requests_per_s=3.495, at_worst_requests_per_s=2.796, ttft_s=0.4433, tpot_s=0.06288
    )
    assert peak_of(plan, is_of_plan=True).most_utilisation == Decimal("0.4005")


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
         "1 of these machines carries 3.5", "3 of them: --replicas 3"),
        (["--hours-per-month", "217", "--replicas", "2"],
         "7,500 M tokens a month in 217 h are 3.84 requests/s on average and 7.68",
         "2 of these machines carry 7", "3 of them: --replicas 3"),
        (["--hours-per-month", "217", "--replicas", "3", "--spares", "1"],
         "7,500 M tokens a month in 217 h are 3.84 requests/s on average and 7.68",
         "2 of these machines carry 7", "4 of them: --replicas 4 --spares 1"),
        (["--requests-per-month", "9M"], "22,500 M tokens a month in 730 h are 3.42 requests/s on average and 6.85",
         "1 of these machines carries 3.5", "2 of them: --replicas 2"),
        (["--mtok-per-month", "12000"], "12,000 M tokens a month in 730 h are 1.83 requests/s on average and 3.65",
         "1 of these machines carries 3.5", "2 of them: --replicas 2"),
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
        "which allows 40.0%: --utilisation 0.400"
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
    assert found.self_hosted.most_utilisation == Decimal("0.4005")
    own, there = found.self_hosted, found.claude[0].usd_per_mtok_blended
    assert found.verdict.startswith(
        f"NEVER against Claude Haiku 5.5: at 26.1% utilisation a million tokens in and out costs "
        f"{dollars(own.usd_per_mtok_blended)} here, even at 40.0% utilisation, the most that carries the plan's peak, "
        f"{dollars(own.at[3].usd_per_mtok_blended)}, and {dollars(there)} there. "
    )
    assert not any(text.startswith("Volume") for text in found.what_would_change_it)
    never = f"never with its peak, of at most 40.0%: {even.mtok_per_month:,.0f} M/month"
    for text in (comparison_text(found), markdown(plan, None, found), render(plan, None, found)):
        assert never in " ".join(text.split())
    assert "<b>never</b>breaks even with Claude Haiku 5.5" in render(plan, None, found)
    assert [(each.utilisation, each.note) for each in found.self_hosted.at] == [
        (Decimal("0.1"), ""),
        (Decimal("0.261308545301"), ""),
        (Decimal("0.3"), ""),
        (Decimal("0.4005"), "the most that carries the plan's peak"),
        (Decimal("0.6"), "busier than the plan's peak allows"),
        (Decimal(1), "busier than the plan's peak allows"),
    ]
    assert today() == found.made_on


def test_the_first_page_says_what_is_promised_and_what_is_decided(plan_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "report"
    asked = [*OWNED, "--claude-model", "sonnet-5.5", "--currency", "EUR=0.5"]
    assert run(["compare", "--plan", str(plan_file), *asked, "-o", str(folder)]) == 0
    comparison = Comparison.read(folder / "comparison.json")
    assert comparison.carries is not None
    assert comparison.carries.model_dump(mode="json") == {
        "machines": "1x 8xA100-40GB",
        "are_compared": True,
        "spare_machines": 0,
        "requests_per_s": 1.141552511,
        "peak_factor": 2.0,
        "peak_requests_per_s": 2.283105022,
        "promise": {"ttft_s": 1.0, "tpot_s": None, "spare_machines": 0, "percentile": 95.0, "fill": 0.8},
        "promised": [{"name": "", "ttft_s": 1.0, "tpot_s": None}],
        "predicted": {
            "carries_requests_per_s": 3.495,
            "at_worst_requests_per_s": 2.796,
            "ttft_s": 0.4433,
            "tpot_s": 0.06288,
        },
        "waits_are_of": "machines as full as counted on",
        "carries_at_worst": True,
        "predicted_by": "the planner's model",
        "rests_on": Plan.read(plan_file).throughput.basis,  # type: ignore[union-attr]
    }
    assert decision.promise_table(comparison.carries, comparison).rows[1:] == (
        ("the peak", "2.28 requests/s: 1.14 requests/s on average, times 2", "the plan's"),
        ("promised", "to 95 of 100 requests: first token within 1 s", "the plan's"),
        (
            "predicted",
            "p95 of machines as full as counted on: first token within 0.443 s, then 62.9 ms a token",
            "modelled",
        ),
        ("carried at peak", "3.5 requests/s where 2.28 come: they carry it", "modelled"),
        ("at the bad end of the band", "2.8 requests/s where 2.28 come: they carry it", "modelled"),
        ("spare machines", "none: with one of 1x 8xA100-40GB lost the peak may not be carried", "the plan's"),
    )
    here, there = comparison.self_hosted.usd_per_month, comparison.claude[0].usd_per_month
    decided = {row[0]: row[1] for row in decision.decision_table(comparison).rows[1:]}
    whose = decided.pop("by whose figures")
    assert decided == {
        "machines": "1x 8xA100-40GB, owned",
        "model and precision": "scout fp8",
        "work of a month": "3,000,000 requests, 7,500 M tokens",
        "a month here": f"{dollars(here)} = {here / 2:,.2f} EUR",
        "the same work at Claude Sonnet 5.5": f"{dollars(there)} = {there / 2:,.2f} EUR",
        "speed": "modelled, not measured",
        "as of": str(comparison.made_on),
    }
    assert sum(int(each.split()[0]) for each in whose.split("; ")) == len(comparison.assumptions)
    text, page = ((folder / name).read_text(encoding="utf-8") for name in ("report.md", "report.html"))
    sheet, rest = page.split("</div>\n\n<h2>The month</h2>")
    heads = [decision.PROMISE, decision.DECISION, "The month"]
    assert re.findall("^## (.*)$", text, re.M)[:3] == heads
    assert [each in sheet for each in (*heads[:2], "finance", "engineering", escape(comparison.verdict))] == [
        True
    ] * 5
    assert heads[1] not in rest
    assert "| finance |  |  |\n| engineering |  |  |" in text


def test_a_first_page_says_what_does_not_carry_and_what_is_not_known(plan_file: Path) -> None:
    plan = Plan.read(plan_file)
    assert plan.carried is not None
    assert plan.carried.predicted is not None
    poor = plan.carried.predicted.model_copy(update={"at_worst_requests_per_s": 1.99, "tpot_s": None})
    question = Question.model_validate({"capex_usd": "60000", "power_kw": "5", "mtok_per_month": "5000"})

    def figures(**changes: Any) -> tuple[dict[str, str], str]:
        carried = plan.carried.model_copy(update=changes) if plan.carried else None
        found = compare(plan.model_copy(update={"carried": carried}), None, question, today())
        assert found.carries is not None
        table = decision.promise_table(found.carries, found)
        return {row[0]: row[1] for row in table.rows}, table.note

    said, note = figures(predicted=poor)
    assert said["at the bad end of the band"] == "1.99 requests/s where 2.28 come: they do NOT carry it"
    assert said["predicted"] == "p95 of machines as full as counted on: first token within 0.443 s"
    assert note.endswith("these waits. The month compared is of another volume than the plan's.")
    said, _ = figures(predicted=None, promise=None)
    assert said["predicted"] == "not kept in this plan: make it again with corral capacity"
    assert "promised" not in said
    kinds = tuple(
        PromisedClass(name=name, ttft_s=ttft, tpot_s=0.1) for name, ttft in (("chat", 1), ("law", None))
    )
    found = compare(plan, None, question, today())
    assert found.carries is not None
    two = decision.promise_table(found.carries.model_copy(update={"promised": kinds}), found)
    assert [row[1].split(": first")[0] for row in two.rows[2:4]] == [
        "to 95 of 100 requests: chat",
        "p95 of machines as full as counted on, all classes together",
    ]
    assert two.rows[2][1].endswith(
        "within 1 s, then at most 100 ms a token; law: then at most 100 ms a token"
    )


def test_machines_that_slow_requests_take_more_of_at_worst_do_not_carry_the_peak_then(tmp_path: Path) -> None:
    asked = "--requests-per-s 2 --class chat=70%,2k/300,ttft=1 --class law=30%,20k/800 --tpot 0.1 --spare 1"
    path = tmp_path / "plan.json"
    assert run(["capacity", "scout", *asked.split(), "--on", "p4de.24xlarge", "-o", str(path)]) == 0
    carried = Plan.read(path).carried
    assert carried is not None
    assert carried.predicted is not None
    # It is told that it takes 14 machines at worst, of which one is spare.
    assert (carried.count, carried.predicted.carries_requests_per_s) == (7, 4.0)
    assert carried.predicted.at_worst_requests_per_s == pytest.approx(4 * 6 / 13, abs=0.001)


def test_the_text_says_what_is_promised_right_below_the_verdict(answered: Any) -> None:
    code, out, _ = answered()
    _, _, below = out.partition("What is promised, and what the machines carry\n")
    assert (code, below.partition("  Basis: modelled; fitted to 8 published f")[0]) == (0, PROMISED)
    assert out.index("What is promised") < out.index("A month of")


PROMISED = """\
- the peak: 2.28 requests/s: 1.14 requests/s on average, times 2 [the plan's]
- promised: to 95 of 100 requests: first token within 1 s [the plan's]
- predicted: p95 of machines as full as counted on: first token within 0.443 s, then 62.9 ms a token
  [modelled]
- carried at peak: 3.5 requests/s where 2.28 come: they carry it [modelled]
- at the bad end of the band: 2.8 requests/s where 2.28 come: they carry it [modelled]
- spare machines: none: with one of 1x 8xA100-40GB lost the peak may not be carried [the plan's]
"""


SIZED = Plan.read(Path(__file__).parent / "data" / "compare" / "plan.json")


def test_a_plan_without_a_peak_says_so_beside_a_schedule_with_the_line_that_plans_one(
    plan_file: Path,
) -> None:
    """Of ten hours on weekdays, 217.3 of 730, the usual peak of twice their mean is 6.72 times the month's."""
    asked = {"schedule": "mon-fri 8-18", "requests_per_month": "100k"}
    found = compare(SIZED, None, Question.of(asked), today())
    busy = found.self_hosted.utilisation
    line = (
        "corral capacity scout --requests-per-month 100000 --peak-factor 6.72 --output-tokens 1000 --precision int4 "
        "--on g5.12xlarge -o peak.json"
    )
    (said,) = [each for each in found.warnings if each.startswith("NO PEAK")]
    assert said == (
        f"NO PEAK: corral size plans for none, so its hours are taken as evenly busy, {percent(busy)} of what it "
        f"serves; a peak 2 times as high takes {percent(2 * busy)}. A plan that carries one: {line}"
    )
    assert (round(busy, 3), refused(line.removeprefix("corral "))) == (Decimal("0.260"), "")
    for plan, question in (
        (Plan.read(plan_file), asked | {"replicas": "9"}),
        (SIZED, {"utilisation": "0.1"}),
    ):
        others = compare(plan, None, Question.of(question | {"capex_usd": "60000"}), today())
        assert not any(each.startswith("NO PEAK") for each in others.warnings)
