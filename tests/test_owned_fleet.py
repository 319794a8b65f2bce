"""Machines that are there, by count: what they carry together, which of them it takes, and what is missing."""

import json
from decimal import Decimal
from math import inf
from pathlib import Path
from typing import Any

import pytest
import refusals

from deploy.cli.main import run
from infra import columns
from infra.catalog import machine
from infra.errors import UsageError
from serving.sizing import owned_fleet
from serving.sizing.capacity import AtWorst, Capacity, Choice, Question
from serving.sizing.capacity_search import capacity
from serving.sizing.owned import Owned, owned_typed
from serving.sizing.owned_fleet import together
from serving.sizing.plan import Plan
from serving.sizing.sized_model import named
from serving.sizing.traffic import Promise
from serving.sizing.traffic_options import MachineOptions, TrafficOptions


@pytest.mark.parametrize(
    ("typed", "owned"),
    [
        ("8xA100-40GB=1", Owned(machine="8xA100-40GB", count=1)),
        (" 2xA100-80GB = 3 @ 5.50 ", Owned(machine="2xA100-80GB", count=3, usd_per_hour=Decimal("5.50"))),
        ("g5.12xlarge=10000@$2", Owned(machine="g5.12xlarge", count=10_000, usd_per_hour=Decimal(2))),
    ],
)
def test_a_shape_and_a_count_as_they_are_typed(typed: str, owned: Owned) -> None:
    assert owned_typed(typed) == owned
    assert owned_typed(owned) is owned
    assert owned_typed(str(owned)) == owned


@pytest.mark.parametrize(
    ("spelled", "catalogue"),
    [
        ("8xA100-40", "8xA100-40GB"),
        ("8xa100-40gb", "8xA100-40GB"),
        ("2 x NVIDIA A100-80GB", "2xA100-80GB"),
        ("02XA100_80GB", "2xA100-80GB"),
        ("1xp5.48xlarge", "p5.48xlarge"),
        ("2x p5.48xlarge", "2xp5.48xlarge"),
        ("16xh100", "16xH100"),
    ],
)
def test_a_machine_is_called_as_the_catalogue_does_however_it_was_spelled(
    spelled: str, catalogue: str
) -> None:
    """From the parse on, so that nothing that counts machines by name can meet another spelling."""
    assert machine(catalogue).name == machine(spelled).name == catalogue
    assert owned_typed(f"{spelled}=3@2").machine == catalogue
    assert Owned(machine=spelled, count=3) == Owned(machine=catalogue, count=3)
    asked = MachineOptions.of({"machines": (spelled, catalogue, spelled)})
    assert asked.machines == (catalogue,)
    with pytest.raises(UsageError, match=f"^--have names {catalogue} twice"):
        MachineOptions.of({"have": (f"{spelled}=1", f"{catalogue}=1")})


@pytest.mark.parametrize(
    ("spelled", "catalogue", "asked"),
    [
        ("8xA100-40=1@4.5", "8xA100-40GB=1@4.5", "--requests-per-s 1.142 --ttft 1 --spare 1"),
        ("2xa100-80gb=3", "2xA100-80GB=3", "--requests-per-s 2 --precision fp8"),
        ("1xp4de.24xlarge=1", "p4de.24xlarge=1", "--requests-per-s 20 --precision fp8"),
    ],
)
def test_another_spelling_has_the_same_answer(
    spelled: str, catalogue: str, asked: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def answer(have: str, name: str) -> tuple[int, str, str]:
        words = ["capacity", "scout", *asked.split(), "--input-tokens", "2k", "--output-tokens", "500"]
        plan = tmp_path / name
        code = run([*words, "--have", have, "--json", "-o", str(plan)])
        out, err = capsys.readouterr()
        assert err == ""
        return code, out, plan.read_text() if plan.exists() else ""

    assert answer(spelled, "a.json") == answer(catalogue, "b.json")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--have", "8xA100-40GB"],
        ["--have", "=3"],
        ["--have", "2xH100=-1"],
        ["--have", "2xH100=1.5"],
        ["--have", "2xH100=0"],
        ["--have", "2xH100=10001"],
        ["--have", "2xH100=1@0"],
        ["--have", "2xH100=1@0.00"],
        ["--have", "2xH100=1@nan"],
        ["--have", "2xH100=1@-3"],
        ["--have", ""],
        ["--have", "2xH100=1", "--have", "2xH100=2"],
        ["--have", "2xH100=1", "--on", "4xH100"],
        ["--have", "2xH100=1", "--region", "eu-west-1"],
        ["--have", "2xH100=1", "--usd-per-hour", "3"],
        ["--have", "2xTOASTER=1"],
    ],
    ids=lambda arguments: " ".join(arguments),
)
def test_a_fleet_that_cannot_be_is_one_sentence(
    arguments: list[str],
    tmp_path: Path,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
) -> None:
    plan = tmp_path / "plan.json"
    assert run(["capacity", "scout", "--requests-per-s", "5", "-o", str(plan), *arguments]) == 2
    out, err = capsys.readouterr()
    assert (out, plan.exists()) == ("", False)
    assert len(err.splitlines()) == 2
    refusals.hold(err, request, tmp_path)


EACH = {"8xA100-40GB": (8.0, 6.0), "2xA100-80GB": (3.0, 2.0)}


def question(requests_per_s: float, have: tuple[str, ...], **promised: object) -> Question:
    """One that asks what is there; the peak is as much as the average."""
    return Question(
        model="scout",
        traffic=TrafficOptions(requests_per_s=requests_per_s, peak_factor=1).traffic,
        promise=Promise.model_validate({"fill": 0.5} | promised),
        have=tuple(map(owned_typed, have)),
    )


def ways(question: Question, subject: object, whole: object) -> tuple[Choice, ...]:
    """Two ways of each shape, one half as good as the other; at worst three quarters or two thirds of it."""
    name = whole.name  # type: ignore[attr-defined]
    each, worst = EACH[name]
    known = {
        "machine": name,
        "gpu": "A100",
        "gpus_per_machine": 8,
        "precision": "fp8",
        "tensor": 4,
        "pipeline": 1,
    }
    good = Choice.model_validate(
        {
            **known, "replicas_per_machine": 2, "verdict": "fits", "feasible": True, "machines": 77,
            "requests_per_s_each": each, "at_worst": AtWorst(machines=99, requests_per_s_each=worst),
        }
    )  # fmt: skip
    return good.model_copy(update={"requests_per_s_each": each / 2, "tensor": 8}), good


def as_by_means(question: Question, choice: Choice) -> Choice:
    return choice


@pytest.mark.parametrize(
    ("asked", "carries", "everything", "missing", "taken"),
    [
        # 8 + 3 x 3 at half: 8.5; the large one first, then as many of the small ones as it takes
        (question(4, ("8xA100-40GB=1", "2xA100-80GB=3")), (4.0, 3.0), (8.5, 6.0), 0.0, (1, 0)),
        (question(7, ("2xA100-80GB=3", "8xA100-40GB=1")), (7.0, 5.0), (8.5, 6.0), 0.0, (2, 1)),
        (question(9, ("8xA100-40GB=1", "2xA100-80GB=3")), (8.5, 6.0), (8.5, 6.0), 0.5, (1, 3)),
        # the largest may be gone
        (question(4, ("8xA100-40GB=1", "2xA100-80GB=3"), spare_machines=1), (4.5, 3.0), (4.5, 3.0), 0.0, (1, 3)),
        (question(4, ("8xA100-40GB=1",), spare_machines=1), (0.0, 0.0), (0.0, 0.0), 4.0, (1,)),
        # for what it carries the small one is cheaper: $1 a request/s against $1.25
        (question(4, ("8xA100-40GB=1@10", "2xA100-80GB=3@3")), (4.5, 3.0), (8.5, 6.0), 0.0, (0, 3)),
        (question(4, ("8xA100-40GB=1@7", "2xA100-80GB=3@3")), (4.0, 3.0), (8.5, 6.0), 0.0, (1, 0)),
    ],
)  # fmt: skip
def test_what_they_carry_and_which_of_them_it_takes(
    asked: Question,
    carries: tuple[float, float],
    everything: tuple[float, float],
    missing: float,
    taken: tuple[int, ...],
) -> None:
    """What is said to carry it is what it takes, and no machine beside."""
    fleet, choices = together(asked, named("scout", "fp8"), ways, as_by_means, as_by_means)
    assert fleet.precision == "fp8"
    assert (fleet.carries_requests_per_s, fleet.at_worst_requests_per_s) == carries
    assert (fleet.all_carry_requests_per_s, fleet.all_at_worst_requests_per_s) == everything
    assert fleet.missing_requests_per_s == missing
    assert tuple(choice.machines for choice in choices) == taken
    assert {choice.tensor for choice in choices} == {4}
    for choice, owned in zip(choices, asked.have, strict=True):
        monthly = owned.usd_per_hour and (owned.usd_per_hour * choice.machines * 730).quantize(
            Decimal("0.01")
        )
        assert choice.usd_per_month == monthly
        assert choice.at_worst == AtWorst(
            machines=choice.machines, requests_per_s_each=EACH[owned.machine][1], usd_per_month=monthly
        )


@pytest.mark.parametrize(
    ("asked", "carries", "missing", "taken", "idle"),
    [
        # 8 at half carry 4, and 3 at worst: with one of the small ones, 3 + 1
        (question(4, ("8xA100-40GB=1", "2xA100-80GB=3")), (4.0, 3.0), (0.0, 1.0), (1, 0), (1, 1)),
        # without the largest 3 x 3 and 3 x 2: two more of them, 5 x 2
        (
            question(4.5, ("8xA100-40GB=1", "2xA100-80GB=5"), spare_machines=1),
            (4.5, 3.0), (0.0, 1.5), (1, 3), (1, 5),
        ),
        # the cheapest first, at worst too: seven small ones at $1 in place of one large at $10
        (question(4, ("8xA100-40GB=2@10", "2xA100-80GB=7@1")), (4.5, 3.0), (0.0, 1.0), (0, 3), (0, 4)),
        # all together carry 8.5, and 6 at worst
        (question(7, ("8xA100-40GB=1", "2xA100-80GB=3")), (7.0, 5.0), (0.0, 2.0), (1, 2), ()),
        (question(9, ("8xA100-40GB=1", "2xA100-80GB=3")), (8.5, 6.0), (0.5, 3.0), (1, 3), ()),
        (question(3, ("8xA100-40GB=1", "2xA100-80GB=3")), (4.0, 3.0), (0.0, 0.0), (1, 0), ()),
    ],
)  # fmt: skip
def test_what_is_missing_at_worst_and_which_of_those_that_are_there_carry_it(
    asked: Question,
    carries: tuple[float, float],
    missing: tuple[float, float],
    taken: tuple[int, ...],
    idle: tuple[int, ...],
) -> None:
    """What is idle is there already: it is named before anything is bought, and taken where that is asked."""
    fleet, choices = together(asked, named("scout", "fp8"), ways, as_by_means, as_by_means)
    assert (fleet.carries_requests_per_s, fleet.at_worst_requests_per_s) == carries
    assert (fleet.missing_requests_per_s, fleet.missing_at_worst_requests_per_s) == missing
    assert fleet.carries_at_worst is (missing == (0.0, 0.0))
    assert tuple(choice.machines for choice in choices) == taken
    assert fleet.takes_at_worst == tuple(
        owned.model_copy(update={"count": count})
        for owned, count in zip(asked.have, idle or (0, 0), strict=True)
        if count
    )
    fleet, choices = together(
        asked.model_copy(update={"at_worst": True}), named("scout", "fp8"), ways, as_by_means, as_by_means
    )
    all_of_them = tuple(owned.count for owned in asked.have)
    assert tuple(choice.machines for choice in choices) == (
        idle or (taken if missing == (0.0, 0.0) else all_of_them)
    )
    assert fleet.takes_at_worst == ()
    assert fleet.carries_at_worst is (bool(idle) or missing == (0.0, 0.0))


def test_what_carries_nothing_at_worst_is_not_taken_for_that(monkeypatch: pytest.MonkeyPatch) -> None:
    """The small ones, cheapest, carry 3 and at worst nothing: the large one alone does, and no small one beside."""
    monkeypatch.setitem(EACH, "2xA100-80GB", (3.0, 0.0))
    asked = question(3, ("2xA100-80GB=3@1", "8xA100-40GB=1@20")).model_copy(update={"at_worst": True})
    fleet, choices = together(asked, named("scout", "fp8"), ways, as_by_means, as_by_means)
    assert ([choice.machines for choice in choices], fleet.at_worst_requests_per_s) == ([0, 1], 3.0)


def test_thousands_are_not_counted_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """10,000 of each of two: 12,000 requests/s take 3,000 large ones; asked some dozens of times."""
    asked_for: list[int] = []

    def counting(question: Question, best: Any, used: dict[int, int], is_at_worst: bool) -> bool:
        asked_for.append(1)
        return real(question, best, used, is_at_worst)

    real = owned_fleet.enough
    monkeypatch.setattr(owned_fleet, "enough", counting)
    asked = question(12_000, ("8xA100-40GB=10000", "2xA100-80GB=10000"), spare_machines=100)
    fleet, choices = together(asked, named("scout", "fp8"), ways, as_by_means, as_by_means)
    assert fleet.carries_requests_per_s == 3_000 * 8 / 2
    assert fleet.all_carry_requests_per_s == (9_900 * 8 + 10_000 * 3) / 2
    assert [choice.machines for choice in choices] == [3_100, 0]
    assert len(asked_for) < 100


def test_the_most_faithful_weights_that_carry_it_are_taken() -> None:
    """8xA100-40GB carries 6 in bf16, which needs more than 2xA100-80GB has; more than that takes another."""
    have = tuple(map(owned_typed, ("8xA100-40GB=1", "2xA100-80GB=3")))

    def asked(requests_per_s: float) -> Capacity:
        traffic = TrafficOptions(requests_per_s=requests_per_s, peak_factor=1).traffic
        return capacity(Question(model="scout", traffic=traffic, promise=Promise(), have=have))

    few, more, most = asked(6), asked(10), asked(100)
    assert few.fleet is not None
    assert more.fleet is not None
    assert most.fleet is not None
    assert [few.fleet.precision, more.fleet.precision] == ["bf16", "fp8"]
    assert [few.fleet.missing_requests_per_s, more.fleet.missing_requests_per_s] == [0.0, 0.0]
    assert [choice.machines for choice in few.choices] == [1, 0]
    assert few.choices[1].why.startswith("The weights alone are 101.2 GiB per GPU")
    assert most.fleet.missing_requests_per_s == pytest.approx(
        100 - most.fleet.carries_requests_per_s, abs=0.001
    )
    assert [choice.machines for choice in most.choices] == [1, 3]
    assert most.fleet.carries_requests_per_s >= more.fleet.carries_requests_per_s


def test_hardly_any_traffic_is_missing_where_nothing_carries_it() -> None:
    def none(question: Question, choice: Choice) -> Choice:
        return choice.model_copy(update={"feasible": False, "requests_per_s_each": 0.0})

    asked = question(1e-9, ("8xA100-40GB=1",))
    fleet, _ = together(asked, named("scout", "fp8"), ways, none, as_by_means)
    assert (fleet.carries_requests_per_s, fleet.missing_requests_per_s) == (0.0, 1e-9)
    assert (
        together(asked, named("scout", "fp8"), ways, as_by_means, as_by_means)[0].missing_requests_per_s
        == 0.0
    )


def test_the_way_that_carries_most_is_the_one_that_does_when_slow_requests_count() -> None:
    """By means the large replicas carry 4 and the small ones 8; slow requests leave these a quarter of that."""
    asked = question(1, ("8xA100-40GB=1",))

    def slow(question: Question, choice: Choice) -> Choice:
        return choice.model_copy(update={"requests_per_s_each": 2.0}) if choice.tensor == 4 else choice

    fleet, choices = together(asked, named("scout", "fp8"), ways, slow, as_by_means)
    assert [(choice.tensor, choice.requests_per_s_each) for choice in choices] == [(8, 4.0)]
    assert fleet.carries_requests_per_s == 2.0


def test_machines_that_are_there_keep_the_percentile(capsys: pytest.CaptureFixture[str]) -> None:
    """Fewer requests than by means, and what the slow ones wait for is said."""
    command = ["capacity", "scout", "--requests-per-s", "1", "--have", "8xA100-40GB=2", "--precision", "bf16"]
    command += ["--ttft", "0.15", "--tpot", "0.05"]
    carried = []
    for percent in ("50", "99"):
        assert run([*command, "--percentile", percent, "--json"]) == 0
        answer = Capacity.parse(capsys.readouterr().out, "stdout")
        (choice,) = answer.choices
        assert answer.fleet is not None
        assert choice.tail is not None
        assert (choice.tail.percentile, choice.tail.ttft_s <= 0.15, choice.tail.tpot_s <= 0.05) == (
            float(percent), True, True,
        )  # fmt: skip
        assert choice.machines == 1
        taken = answer.fleet.carries_requests_per_s
        assert taken == pytest.approx(0.8 * choice.requests_per_s_each, abs=0.01)
        assert answer.fleet.all_carry_requests_per_s == pytest.approx(
            2 * 0.8 * choice.requests_per_s_each, abs=0.01
        )
        carried.append(answer.fleet.carries_requests_per_s)
    assert carried[1] < 0.7 * carried[0]
    assert run([*command, "--percentile", "99"]) == 0
    said = f"  Each 8xA100-40GB, filled as far as it is to be ({carried[1]:.3g} requests/s):\n"
    assert f"{said}    p99 of 2,000 simulated requests: TTFT 0.1" in capsys.readouterr().out


def test_what_is_missing_is_an_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = tmp_path / "plan.json"
    command = ["capacity", "scout", "--have", "8xA100-40GB=1@9.50", "-o", str(plan), "--requests-per-s"]
    assert run([*command, "1"]) == 0
    out = capsys.readouterr().out
    assert "\nTHEY CARRY IT: 6.95 requests/s of 2 at peak, scout bf16, $6,935 a month\n" in out
    assert out.splitlines()[-1].startswith(f"Next: corral up {plan}")
    assert run([*command[:4], "--requests-per-s", "1"]) == 0
    assert (
        capsys.readouterr()
        .out.splitlines()[-1]
        .startswith(
            "Next: corral capacity scout --requests-per-s 1 --have 8xA100-40GB=1@9.50 -o plan.json && corral up "
        )
    )
    assert Plan.read(plan).machine.name == "8xA100-40GB"
    assert run([*command, "50", "--json"]) == 3
    answer = Capacity.parse(capsys.readouterr().out, "stdout")
    assert answer.fleet is not None
    assert 0 < answer.fleet.missing_requests_per_s < inf
    assert run(["capacity", "scout", "--have", "1xL4=2", "--requests-per-s", "1"]) == 3
    out = capsys.readouterr().out
    assert "\n2 REQUESTS/S ARE MISSING: they carry 0 of 2 at peak, scout nvfp4\n" in out


def test_other_weights_are_named_where_they_carry_the_peak_at_worst_too(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """And no line but the one to paste is wider than others, whatever is said against a machine."""
    words = [
        "capacity",
        "scout",
        "--requests-per-month",
        "3M",
        "--input-tokens",
        "2k",
        "--output-tokens",
        "500",
    ]
    words += ["--have", "8xA100-40GB=1", "--have", "2xA100-80GB=1"]

    def told(*more: str) -> tuple[dict[str, Any], str]:
        assert run([*words, *more, "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert run([*words, *more]) == 0
        return found, capsys.readouterr().out

    found, text = told()
    surer, peak = found["surer_fleet"], found["traffic"]["requests_per_s"] * found["traffic"]["peak_factor"]
    assert (found["fleet"]["precision"], surer["precision"]) == ("bf16", "fp8")
    assert found["fleet"]["at_worst_requests_per_s"] < peak <= surer["at_worst_requests_per_s"]
    assert "  Less at risk: in fp8 they carry 3.5 requests/s, 2.8 at worst: --precision fp8\n" in text
    assert "  2xA100-80GB: The weights alone are 101.2 GiB per GPU;" in text
    assert max(map(len, text.splitlines()[:-1])) <= columns.WIDTH
    found, text = told("--precision", "fp8")
    assert "surer_fleet" not in found
    assert "Less at risk" not in text
