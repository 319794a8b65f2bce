"""A comparison of machines of several kinds: each kind has its own waits, and a number says of no kind how many."""

import json
import shlex
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from deploy.cli.main import run
from deploy.costs.compare import compare
from deploy.costs.compare_options import Question
from deploy.costs.comparison import Comparison
from deploy.report import decision
from deploy.report.comparison_text import comparison_text
from deploy.report.html import render
from deploy.report.markdown import markdown
from infra.day import today
from infra.errors import UsageError
from serving.probe.lengths import Lengths
from serving.sizing.capacity import Capacity
from serving.sizing.carried import Carried, Machines, Predicted
from serving.sizing.plan import Plan
from serving.sizing.traffic import Traffic

ASKED = "capacity scout --precision fp8 --input-tokens 2k --output-tokens 500 --ttft 1s"
OFFICE = "--have 8xA100-40GB=1@4.5 --have 2xA100-80GB=3@1.2"
THREE_M = "--requests-per-s 1.141552511"


@pytest.fixture(scope="module")
def plans(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The plan of a question about what is there, written once."""
    folder, made = tmp_path_factory.mktemp("unlike"), dict[str, Path]()

    def plan(words: str) -> Path:
        if words not in made:
            path = folder / f"plan-{len(made)}.json"
            run([*ASKED.split(), *words.split(), "-o", str(path)])
            made[words] = path
        return made[words]

    return plan


def compared(plan: Plan, **question: Any) -> Comparison:
    return compare(plan, None, Question.model_validate(question), today())


@pytest.mark.parametrize(
    "have",
    [
        OFFICE,
        "--have 2xA100-80GB=3@1.2 --have 8xA100-40GB=1@4.5",
        "--have 8xA100-40GB=1@4.5 --have g7e.12xlarge=2@8.29 --have 2xA100-80GB=3@1.2",
    ],
)
def test_what_slow_requests_wait_for_is_said_of_each_kind(
    have: str, plans: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """As capacity says it of each; the promise is kept where it is kept on the worst of them."""
    words = f"--requests-per-s 1.9 --spare 1 {have}"
    plan = Plan.read(plans(words))
    capsys.readouterr()
    run([*ASKED.split(), *words.split(), "--json"])
    choices = [each for each in Capacity.parse(capsys.readouterr().out, "").choices if each.machines]
    tails = {each.machine: each.tail for each in choices if each.tail}
    assert len(tails) == len(choices) == have.count("--have")
    carried, found = plan.carried, compared(plan)
    assert carried
    assert carried.predicted
    assert carried.predicted.ttft_s == max(tail.ttft_s for tail in tails.values())
    assert carried.predicted.tpot_s == max(tail.tpot_s for tail in tails.values())
    assert found.carries
    assert found.carries.predicted == carried.predicted
    assert {kind.name: kind.predicted.ttft_s for kind in found.carries.kinds if kind.predicted} == {
        name: tail.ttft_s for name, tail in tails.items()
    }
    rows = {row[0]: row[1] for row in decision.promise_table(found.carries, found).rows}
    texts = [comparison_text(found), markdown(plan, None, found)]
    texts += [render(plan, None, found)] if "g7e" in have else []
    for name, tail in tails.items():
        waits = f"first token within {tail.ttft_s:.3g} s, then {1000 * tail.tpot_s:.3g} ms a token"
        assert rows[f"predicted on {name}"] == f"p95 of machines as full as counted on: {waits}"
        for text in texts:
            assert waits in " ".join(text.split())
    assert "predicted" not in rows
    bases = {each.basis.rstrip(".") for each in choices}
    assert all(basis in found.carries.rests_on for basis in bases)
    assert len({each.basis for each in choices}) == (2 if "g7e" in have else 1)
    if "g7e" in have:
        assert "8xA100-40GB and 2xA100-80GB: modelled; " in found.carries.rests_on


def test_a_plan_of_before_each_kind_was_kept_has_no_waits_to_sign(plans: Any) -> None:
    plan = Plan.read(plans(f"{THREE_M} --spare 1 {OFFICE}"))
    assert plan.carried
    older = plan.carried.model_copy(
        update={
            "machines": tuple(each.model_copy(update={"predicted": None}) for each in plan.carried.machines)
        }
    )
    found = compared(plan.model_copy(update={"carried": older}))
    assert found.carries
    assert found.carries.predicted
    assert (found.carries.predicted.ttft_s, found.carries.predicted.tpot_s) == (None, None)
    rows = {row[0]: row[1] for row in decision.promise_table(found.carries, found).rows}
    assert rows["predicted"] == "not kept of each kind in this plan: make it again with corral capacity"
    assert ", modelled, a load of each kind that this plan did not keep, as its plan" in found.verdict
    assert found.carries.rests_on == ""


def test_a_promise_is_held_against_the_slow_requests_of_each_kind(
    plans: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """0.7 s are kept by the large one and not by the small ones; following the hint they are filled less."""
    path = plans(f"{THREE_M} --spare 1 {OFFICE}")
    asked = ["compare", "--plan", str(path), "--ttft"]
    assert run([*asked, "1.5"]) == 0
    capsys.readouterr()
    assert run([*asked, "0.7"]) == 2
    error, hint = capsys.readouterr().err.splitlines()
    assert error.startswith(
        "error: The plan's 2xA100-80GB, as full as counted on, do not keep TTFT 0.7 s: p95 TTFT "
    )
    told = "hint: Plan for that promise, which fills each kind no further: "
    assert hint.startswith(told)
    follow(hint.removeprefix(told), path.parent, "made.json")
    again = Plan.read(path.parent / "made.json").carried
    assert again
    assert again.promise
    assert again.predicted
    assert again.promise.ttft_s == 0.7
    assert again.predicted.ttft_s is not None
    assert again.predicted.ttft_s <= 0.7


def follow(command: str, folder: Path, name: str) -> int:
    """What a hint's command makes, in a file of that name."""
    words = shlex.split(command)
    assert (words[:2], words[-2]) == (["corral", "capacity"], "-o")
    code = run([*words[1:-1], str(folder / name)])
    assert code in (0, 3)
    return code


KINDS = (
    Machines(name="a", count=1, servers=1, times=1.0, usd_per_hour=Decimal(9)),
    Machines(name="b", count=3, servers=2, times=0.5, usd_per_hour=Decimal(5)),
)


@pytest.mark.parametrize(
    ("planned", "typed", "servers", "mean_of"),
    [
        (0, None, 2.5, "1x a + 3x b"),
        (1, None, 1.5, "3x b"),
        (2, None, 1.0, "2x b"),
        (1, 0, 2.5, "1x a + 3x b"),
        (0, 3, 0.5, "1x b"),
    ],
)
def test_utilisation_is_of_the_machines_that_are_left_without_the_spare_ones(
    planned: int, typed: int | None, servers: float, mean_of: str, plans: Any
) -> None:
    """The largest are the spare ones: what is left is a part of what the planned server does, not of a mean of all."""
    one = Plan.read(plans(f"{THREE_M} --have 8xA100-40GB=1"))
    assert one.throughput
    traffic = Traffic(
        requests_per_s=0.2, peak_factor=2.0, input_tokens=Lengths(low=2000), output_tokens=Lengths(low=500)
    )
    left = {0: 2.5, 1: 1.5, 2: 1.0}[planned]
    full = left * one.throughput.output_tokens_per_s / 500
    predicted = Predicted(carries_requests_per_s=0.8 * full, at_worst_requests_per_s=0.1)
    carried = Carried(traffic=traffic, machines=KINDS, spare_machines=planned, predicted=predicted)
    plan = one.model_copy(update={"carried": carried})
    asked = {} if typed is None else {"spares": Decimal(typed)}
    own = compared(plan, **asked).self_hosted
    fleet_per_s = servers * one.throughput.output_tokens_per_s / 500
    assert float(own.utilisation) == pytest.approx(0.2 / fleet_per_s, rel=1e-6)
    assert float(own.most_utilisation) == pytest.approx(0.4, abs=1e-3)
    assert own.usd_per_month == 24 * 730
    assert compared(plan, **asked).speed.machines == mean_of


def test_how_busy_and_how_fast_a_mix_is_follows_from_its_machines(
    plans: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    words = f"{THREE_M} --spare 1 {OFFICE}"
    plan = Plan.read(plans(words))
    capsys.readouterr()
    run([*ASKED.split(), *words.split(), "--json"])
    large, small = Capacity.parse(capsys.readouterr().out, "").choices
    found, all_of_them = compared(plan), compared(plan, spares=Decimal(0))
    without = 3 * small.requests_per_s_each
    assert float(found.self_hosted.utilisation) == pytest.approx(1.141552511 / without, rel=2e-3)
    assert float(all_of_them.self_hosted.utilisation) == pytest.approx(
        1.141552511 / (without + large.requests_per_s_each), rel=2e-3
    )
    assert float(found.self_hosted.most_utilisation) == pytest.approx(0.4, abs=2e-3)
    load = f"{small.concurrency} requests at once a server on 2xA100-80GB"
    rate = small.requests_per_s_each * 500
    assert float(found.speed.output_tokens_per_s) == pytest.approx(rate, rel=2e-3)
    assert (
        f"output tokens/s a machine (the mean of 3x 2xA100-80GB), modelled, {load}, as its plan"
        in found.verdict
    )
    both = f"{large.concurrency} requests at once a server on 8xA100-40GB, {load}"
    mean = "(the mean of 1x 8xA100-40GB + 3x 2xA100-80GB)"
    assert f"output tokens/s a machine {mean}, modelled, {both}, as its plan" in all_of_them.verdict
    assert all_of_them.speed.point.requests_at_once is None
    (named,) = (each for each in found.assumptions if each.name == "output_tokens_per_s")
    assert named.means == f"scout fp8 on 3x 2xA100-80GB, {load}"
    assert not any(text.startswith("Size:") for text in all_of_them.what_would_change_it)


@pytest.mark.parametrize("number", ["7", "3"])
def test_a_number_says_not_of_which_kind(
    number: str, plans: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, folder = plans(f"{THREE_M} --spare 1 {OFFICE}"), tmp_path / "report"
    asked = ["--replicas", number, "--capex-usd", "60000", "-o", str(folder)]
    assert run(["compare", "--plan", str(path), *asked]) == 2
    out, err = capsys.readouterr()
    error, hint = err.splitlines()
    assert (out, folder.exists()) == ("", False)
    assert error == (
        "error: The plan's machines, 1x 8xA100-40GB + 3x 2xA100-80GB, are not alike: --replicas "
        f"{number} does not say of which kind."
    )
    told = "hint: Say how many there are of each, and compare that plan: "
    assert hint.startswith(told)
    assert follow(hint.removeprefix(told), tmp_path, "again.json") == 0
    assert Plan.read(tmp_path / "again.json").carried == Plan.read(path).carried


def test_the_plans_own_number_is_its_machines_at_their_mean_price(plans: Any, tmp_path: Path) -> None:
    asked = ["--replicas", "4", "--spares", "1", "--capex-usd", "60000", "-o", str(tmp_path / "report")]
    assert run(["compare", "--plan", str(plans(f"{THREE_M} --spare 1 {OFFICE}")), *asked]) == 0
    page = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    assert "| machines | 1x 8xA100-40GB + 3x 2xA100-80GB, 1 spare, owned |" in page
    assert json.loads((tmp_path / "report" / "comparison.json").read_text())["knobs"]["replicas"] == 4


def test_what_is_missing_of_a_mix_is_planned_and_not_counted(
    plans: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = plans(f"--requests-per-s 4.566210046 {OFFICE}")
    plan = Plan.read(path)
    assert plan.carried
    assert plan.carried.predicted
    missing = plan.carried.missing_requests_per_s
    worst = plan.carried.traffic.peak_requests_per_s - plan.carried.predicted.at_worst_requests_per_s
    said = compared(plan).warnings[0]
    lacks, _, command = said.partition(" Plan what carries the rest, and compare that too: ")
    assert lacks == (
        "NOT ENOUGH: of 9.13 requests/s at peak the plan's machines, 1x 8xA100-40GB + 3x 2xA100-80GB, do not carry "
        f"{missing:.3g}, and {worst:.3g} at the bad end of the speed's band."
    )
    assert follow(command, tmp_path, "rest.json") == 0
    rest = Plan.read(tmp_path / "rest.json").carried
    assert rest
    assert missing <= rest.traffic.peak_requests_per_s <= 1.01 * missing
    with pytest.raises(UsageError) as error:
        compared(plan, replicas=Decimal(7))
    assert error.value.hint == f"Plan what carries the rest, and compare that too: {command}"
    with pytest.raises(UsageError) as error:
        compared(plan, replicas=Decimal(2))
    assert error.value.hint.startswith(
        "Say how many there are of each, and compare that plan: corral capacity "
    )


def test_a_volume_beyond_a_mix_is_planned_and_not_counted(plans: Any, tmp_path: Path) -> None:
    plan = Plan.read(plans(f"{THREE_M} --spare 1 {OFFICE}"))
    with pytest.raises(UsageError) as error:
        compared(plan, requests_per_month=Decimal(9_000_000))
    assert error.value.message.startswith(
        "NOT ENOUGH: 22,500 M tokens a month in 730 h are 3.42 requests/s on average"
    )
    told = "They are not alike: plan what carries as much: "
    assert error.value.hint.startswith(f"{told}corral capacity scout --requests-per-s 3.43 ")
    assert follow(error.value.hint.removeprefix(told), tmp_path, "more.json") == 3
