"""What `corral capacity` hands on with a plan: the traffic and all machines, and what the next verbs make of it."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from deploy.cli.main import run
from deploy.costs.compare import compare
from deploy.costs.compare_options import Question
from deploy.costs.comparison import Comparison
from deploy.report import plots
from deploy.report.html import render
from infra.day import today
from infra.errors import DocumentError, UsageError
from serving.probe.lengths import Lengths
from serving.sizing.carried import Carried, Machines, Predicted, one_of
from serving.sizing.plan import Plan
from serving.sizing.traffic import Promise, Traffic

OFFER = ["capacity", "scout", "--requests-per-s", "2", "--ttft", "2", "--tpot", "0.05"]
TWO = Traffic(
    requests_per_s=2.0, peak_factor=2.0, input_tokens=Lengths(low=1000), output_tokens=Lengths(low=300)
)


def planned(folder: Path, *more: str) -> Path:
    """The plan that capacity writes."""
    path = folder / "plan.json"
    run([*OFFER, *more, "-o", str(path)])
    return path


@pytest.fixture(scope="module")
def five(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of five machines, one of them spare, at $12,275 a month, and $30.65 for the volume and address of each."""
    return planned(tmp_path_factory.mktemp("five"), "--on", "g7e.2xlarge", "--spare", "1")


def compared(plan: Plan, **question: Any) -> Comparison:
    return compare(plan, None, Question.model_validate(question), today())


def said(found: Comparison, name: str) -> tuple[str, str, str]:
    (assumption,) = [each for each in found.assumptions if each.name == name]
    return assumption.value, assumption.whose, assumption.source


def test_the_plan_holds_the_traffic_and_every_machine(five: Path) -> None:
    machines = (Machines(name="g7e.2xlarge", count=5, servers=1, times=1.0),)
    carried = Carried(
        traffic=TWO,
        machines=machines,
        spare_machines=1,
        promise=Promise(ttft_s=2.0, tpot_s=0.05, spare_machines=1),
        predicted=Predicted(
            carries_requests_per_s=4.72, at_worst_requests_per_s=0.372, ttft_s=0.1607, tpot_s=0.04641
        ),
    )
    assert Plan.read(five).carried == carried


def test_five_machines_are_compared_at_their_own_traffic(
    five: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert run(["compare", "--plan", str(five), "--json"]) == 0
    found = Comparison.parse(capsys.readouterr().out, "stdout")
    assert found.self_hosted.usd_per_month == Decimal("12275.388") + 5 * Decimal("30.65")
    assert (found.knobs.replicas, found.self_hosted.mtok_per_month) == (Decimal(5), Decimal("6832.8"))
    assert found.machine == "g7e.2xlarge"
    assert said(found, "replicas") == (
        "5", "modelled", "the plan, from corral capacity for 4 requests/s at peak",
    )  # fmt: skip
    assert said(found, "utilisation")[1:] == (
        "modelled", "the plan, from corral capacity, over the modelled speed",
    )  # fmt: skip


def test_the_users_own_words_come_before_the_plans(five: Path) -> None:
    plan = Plan.read(five)
    more = compared(plan, replicas=Decimal(9), mtok_per_month=Decimal(500))
    assert (more.knobs.replicas, more.self_hosted.mtok_per_month) == (Decimal(9), Decimal(500))
    assert said(more, "replicas") == ("9", "yours", "--replicas")
    assert said(more, "utilisation")[1:] == ("modelled", "--mtok-per-month, over the modelled speed")
    half = compared(plan, utilisation=Decimal("0.5"))
    assert (half.knobs.replicas, half.self_hosted.utilisation) == (Decimal(5), Decimal("0.5"))
    assert said(half, "utilisation") == ("0.5", "yours", "--utilisation")
    with pytest.raises(
        UsageError, match=r"^NOT ENOUGH: 6,833 M tokens a month in 730 h are 2 requests/s on average and 4 at"
    ):
        compared(plan, replicas=Decimal(1))


def test_a_machine_with_several_servers_serves_as_much_as_all_of_them(tmp_path: Path) -> None:
    """And what capacity was told that it costs is what it costs."""
    of_many = ["--on", "8xH100", "--precision", "fp8", "--usd-per-hour", "20", "--peak-factor", "60"]
    plan = Plan.read(planned(tmp_path, *of_many))
    assert plan.carried is not None
    assert plan.throughput is not None
    (machines,) = plan.carried.machines
    assert machines.servers == machines.times == 8 / plan.parallel.tensor > 1
    found = compared(plan)
    assert float(found.speed.output_tokens_per_s) == pytest.approx(
        machines.servers * plan.throughput.output_tokens_per_s
    )
    assert found.speed.how.endswith(f"; {machines.servers} such servers a machine")
    assert found.self_hosted.usd_per_month == 20 * 730 * machines.count
    assert said(found, "price_per_hour") == ("$20", "yours", "the plan: said to corral capacity")
    assert said(compared(plan, price_per_hour=Decimal(7)), "price_per_hour")[0] == "$7"


def test_a_fleet_of_unequal_machines_costs_what_all_of_them_do(five: Path) -> None:
    """1 of $9 and 3 of $5 that carry half as much: $24 an hour, and 2.5 times what the first does.

    Each with a volume and an address, of $30.65 a month together.
    """
    machines = (
        Machines(name="a", count=1, servers=1, times=1.0, usd_per_hour=Decimal(9)),
        Machines(name="b", count=3, servers=2, times=0.5, usd_per_hour=Decimal(5)),
    )
    carried = Carried(traffic=TWO, machines=machines, missing_requests_per_s=0.5)
    one = Plan.read(five)
    found = compared(one.model_copy(update={"carried": carried}), utilisation=Decimal("0.5"))
    alone = compared(one.model_copy(update={"carried": None}), utilisation=Decimal("0.5"))
    assert found.self_hosted.usd_per_month == 24 * 730 + 4 * Decimal("30.65")
    assert float(found.self_hosted.capacity_mtok_per_month) == pytest.approx(
        2.5 * float(alone.self_hosted.capacity_mtok_per_month)
    )
    assert found.machine == "1x a + 3x b"
    assert found.warnings[0] == (
        "NOT ENOUGH: of 4 requests/s at peak the plan's machines, 1x a + 3x b, do not carry 0.5. Plan what carries the "
        "rest, and compare that too: corral capacity scout --requests-per-s 0.25 --precision nvfp4 -o rest.json"
    )
    assert one_of(carried) == (
        "This is one of 7 servers that the plan counts on: 1x a + 3x b, for 4 requests/s at peak."
    )
    unpriced = (machines[0], machines[1].model_copy(update={"usd_per_hour": None}))
    part = one.model_copy(
        update={"carried": carried.model_copy(update={"machines": unpriced}), "price": None}
    )
    with pytest.raises(UsageError, match="Nobody said what"):
        compared(part)


OF_FIVE = "This is one of 5 equal servers that the plan counts on: 5x g7e.2xlarge, 1 spare, for 4 requests/s at peak"


@pytest.mark.parametrize(
    "command",
    [
        "provision PLAN --target ec2 --region us-east-1 --dry-run",
        "serve PLAN --dry-run",
        "export PLAN --to compose",
    ],
)
def test_what_starts_one_says_how_many_the_plan_wants(
    command: str, five: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert run([str(five) if word == "PLAN" else word for word in command.split()]) == 0
    assert OF_FIVE in capsys.readouterr().err


def test_as_many_as_the_plan_wants_is_nothing_to_say(
    five: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert run(["export", str(five), "--to", "kubernetes", "--replicas", "5", "-o", str(tmp_path)]) == 0
    assert "counts on" not in capsys.readouterr().err
    alone = Carried(traffic=TWO, machines=(Machines(name="a", count=1, servers=1, times=1.0),))
    assert one_of(alone) == ""


def test_the_page_says_what_was_planned(five: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plots, "every", lambda *_: {"volume": "", "utilisation": ""})
    plan = Plan.read(five)
    told = "Planned for 2 requests/s, 4 at peak, 1000 tokens in, 300 out: 5x g7e.2xlarge, 1 spare, 5 servers."
    assert f"<p>{told}</p>" in render(plan, None, compared(plan))
    alone = plan.model_copy(update={"carried": None})
    assert "Planned for" not in render(alone, None, compared(alone))


def test_a_plan_of_one_server_is_as_it_was(five: Path) -> None:
    plan = Plan.read(five).model_copy(update={"carried": None})
    assert "carried" not in json.loads(plan.text())
    assert Plan.parse(plan.text(), "plan.json") == plan
    assert compared(plan).knobs.replicas == 1


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("machines",), []),
        (("machines", 0, "count"), 0),
        (("machines", 0, "count"), 10**30),
        (("machines", 0, "times"), 0.0),
        (("machines", 0, "usd_per_hour"), -1),
        (("machines", 0, "usd_per_hour"), 0),
        (("machines", 0, "name"), "a\nb"),
        (("spare_machines",), -1),
        (("missing_requests_per_s",), -1.0),
        (("traffic", "requests_per_s"), 0.0),
        (("traffic", "peak_factor"), 0.5),
        (("traffic", "input_tokens", "low"), 0),
        (("traffic", "output_tokens", "low"), 10**9),
        (("traffic", "output_tokens"), {"form": "uniform", "low": 5, "high": 4}),
    ],
)
def test_a_document_that_says_what_cannot_be_is_refused(
    path: tuple[Any, ...], value: object, five: Path
) -> None:
    whole = json.loads(five.read_text())
    inner = whole["carried"]
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    with pytest.raises(DocumentError, match=r"is not a plan this version can read: carried\."):
        Plan.parse(json.dumps(whole), "plan.json")


@pytest.mark.parametrize(("per_s", "mtok"), [(1e-12, "3.42e-9"), (1e12, "3.42e+15")])
def test_a_traffic_that_nobody_has_is_one_sentence(per_s: float, mtok: str, five: Path) -> None:
    plan = Plan.read(five)
    assert plan.carried is not None
    traffic = TWO.model_copy(update={"requests_per_s": per_s})
    plan = plan.model_copy(update={"carried": plan.carried.model_copy(update={"traffic": traffic})})
    with pytest.raises(UsageError) as error:
        compared(plan)
    assert error.value.message.startswith(f"The plan's traffic is {mtok} million tokens a month, ")
    assert compared(plan, utilisation=Decimal("0.5")).knobs.replicas == 5
