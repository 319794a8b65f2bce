"""Machines that are there and do not carry all of it: what would carry the rest, and what the bad end takes."""

import json
import shlex
from decimal import Decimal
from math import ceil
from pathlib import Path
from typing import Any

import pytest

from deploy.cli.main import run
from infra.catalog import machine
from serving.sizing.capacity import AtWorst, Capacity, Choice, Question
from serving.sizing.capacity_search import upward
from serving.sizing.owned import Owned, owned_typed
from serving.sizing.owned_fleet import alone, more_of
from serving.sizing.plan import Plan
from serving.sizing.traffic import Promise
from serving.sizing.traffic_options import TrafficOptions

WORDS = "capacity scout --precision int4 --input-tokens 2k --output-tokens 500 --ttft 1s"
HAVE = "--have 8xA100-40GB=1 --have 2xA100-80GB=3"


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    code = run([each for word in words for each in word.split()])
    return code, capsys.readouterr().out


def test_what_is_missing_is_said_with_what_would_carry_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The cheapest to rent, as the line below plans it; it is not told to start what lacks something."""
    monkeypatch.chdir(tmp_path)
    code, text = said(capsys, WORDS, "--requests-per-month 12M", HAVE, "-o office.json")
    lines = text.splitlines()
    assert code == 3
    assert "1.46 REQUESTS/S ARE MISSING: they carry 7.67 of 9.13 at peak, scout int4" in lines
    said_of_it = (
        "For the rest, in int4: rent 1x g7e.12xlarge (2x RTX-PRO-6000), $6,049 a month in us-east-1 (machines alone), "
        "or 1 more 8xA100-40GB. At worst: rent 11x g7e.12xlarge (2x RTX-PRO-6000), $66,537 a month in us-east-1 "
        "(machines alone), or 1 more 8xA100-40GB. Basis: "
    )
    assert said_of_it in " ".join(text.split())
    following = (
        "corral capacity scout --requests-per-s 0.729 --input-tokens 2000 --output-tokens 500 --ttft 1 "
        "--precision int4 --on g7e.12xlarge -o office-rest.json"
    )
    assert lines[-2] == f"Next: plan the rest: {following}"
    assert run(shlex.split(following)[1:]) == 0
    rest = Plan.read(Path("office-rest.json")).carried
    assert rest is not None
    assert (str(rest), round(rest.traffic.peak_requests_per_s, 3)) == ("1x g7e.12xlarge", 1.458)


def test_a_document_says_the_rest_too(capsys: pytest.CaptureFixture[str]) -> None:
    code, text = said(capsys, WORDS, "--requests-per-month 12M", HAVE, "--spare 1 --json")
    found = Capacity.parse(text, "stdout")
    assert found.rest is not None
    assert found.rest.rent is not None
    rent = found.rest.rent
    assert code == 3
    assert found.rest.requests_per_s * 2 >= found.fleet.missing_requests_per_s if found.fleet else False
    assert (rent.precision, rent.feasible, found.rest.more) == (
        "int4", True, Owned(machine="8xA100-40GB", count=2),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("volume", "head", "is_carried"),
    [
        ("3M", "THEY CARRY IT: 4.21 requests/s of 2.28 at peak, scout int4", True),
        (
            "5M",
            "THEY CARRY IT, BUT NOT AT THE BAD END: 4.21 requests/s of 3.81 at peak, 3.37 at worst, scout int4",
            False,
        ),
    ],
)  # fmt: skip
def test_a_verdict_that_holds_at_the_bad_end_and_one_that_does_not(
    volume: str, head: str, is_carried: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    question = (WORDS, f"--requests-per-month {volume} --have 8xA100-40GB=1")
    code, text = said(capsys, *question)
    assert (code, head in text.splitlines()) == (0, True)
    said_of_it = " ".join(text.split())
    assert ("Less at risk: 1 more 8xA100-40GB, or rent " in said_of_it) is not is_carried
    then = "(machines alone): then they carry it at worst too."
    assert (f" a month in us-east-1 {then}" in said_of_it) is not is_carried
    found: dict[str, Any] = json.loads(said(capsys, *question, "--json")[1])
    assert found["fleet"]["carries_at_worst"] is is_carried
    assert found.get("more_at_worst") == (
        None if is_carried else {"machine": "8xA100-40GB", "count": 1, "usd_per_hour": None}
    )
    assert found.get("rest_at_worst", {}).get("more") == found.get("more_at_worst")


def test_the_rest_at_worst_is_of_what_is_missing_then(capsys: pytest.CaptureFixture[str]) -> None:
    """What is rented is at the bad end too, and there is more for it to carry."""
    question = (WORDS, HAVE, "--requests-per-month 12M")
    code, text = said(capsys, *question, "--json")
    found = Capacity.parse(text, "stdout")
    fleet, rest, worst = found.fleet, found.rest, found.rest_at_worst
    assert code == 3
    assert fleet
    assert rest
    assert worst
    peak = found.traffic.peak_requests_per_s
    assert fleet.missing_requests_per_s == pytest.approx(peak - fleet.carries_requests_per_s, abs=0.002)
    assert fleet.missing_at_worst_requests_per_s == pytest.approx(
        peak - fleet.at_worst_requests_per_s, abs=0.002
    )
    assert json.loads(text)["fleet"]["missing_at_worst_requests_per_s"] > fleet.missing_requests_per_s
    assert worst.requests_per_s * 2 == pytest.approx(fleet.missing_at_worst_requests_per_s, rel=0.01)
    rent, then = rest.rent, worst.rent
    assert rent
    assert then
    assert then.at_worst
    assert (rent.machine, rent.precision) == (then.machine, then.precision)
    needed = fleet.missing_at_worst_requests_per_s / (0.8 * then.at_worst.requests_per_s_each)
    assert then.at_worst.machines >= ceil(needed) > rent.machines
    _, text = said(capsys, *question)
    lines = text.splitlines()
    usd = f"${then.at_worst.usd_per_month:,.0f} a month in us-east-1 (machines alone)"
    assert (
        f"  If the speed is at the bad end of its band: {fleet.at_worst_requests_per_s:.3g} requests/s, "
        in text
    )
    assert f" {fleet.missing_at_worst_requests_per_s:.3g} are missing.\n" in text
    at_worst = f"At worst: rent {then.at_worst.machines}x {then.machine} ({then.gpus_per_machine}x {then.gpu}), {usd}"
    assert at_worst in " ".join(text.split())
    asked_again = lines[-1].removeprefix("At worst: ").removesuffix(" -o rest-at-worst.json")
    assert (lines[-2].split(":")[0], lines[-1].split(":")[0]) == ("Next", "At worst")
    assert run(shlex.split(asked_again)[1:]) == 0
    bad_end = f"bad end of its band: {then.at_worst.machines} machines, {usd.split()[0]} a month."
    assert bad_end in capsys.readouterr().out


@pytest.mark.parametrize(
    ("have", "more", "usd"),
    [
        # three of the small ones cost $3.60 an hour, a large one $4.50, or $3.50
        ("--have 8xA100-40GB=2@4.5 --have 2xA100-80GB=6@1.2", ("2xA100-80GB", 3), "$2,628"),
        ("--have 8xA100-40GB=2@3.5 --have 2xA100-80GB=6@1.2", ("8xA100-40GB", 1), "$2,555"),
        # no price of one is known: as few as may be
        ("--have 8xA100-40GB=2 --have 2xA100-80GB=6@1.2", ("8xA100-40GB", 1), ""),
    ],
)
def test_what_is_less_at_risk_is_the_cheapest_by_the_users_own_prices(
    have: str, more: tuple[str, int], usd: str, capsys: pytest.CaptureFixture[str]
) -> None:
    question = (WORDS.replace("int4", "fp8"), "--requests-per-s 4.8 --spare 1", have)
    text = " ".join(said(capsys, *question)[1].split())
    dear = f", {usd} a month" if usd else ""
    assert f"Less at risk: {more[1]} more {more[0]}{dear}, or rent " in text


def test_idle_machines_that_carry_it_at_worst_are_said_and_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = tmp_path / "plan.json"
    have = f"--have 8xA100-40GB=1 --have 2xA100-80GB=6 -o {plan}"
    question = (WORDS.replace("int4", "fp8"), "--requests-per-month 3.5M --spare 1", have)
    code, text = said(capsys, *question)
    assert (code, "\nTHEY CARRY IT, AT THE BAD END WITH MORE OF THEM: " in text) == (0, True)
    assert (
        "\n  Less at risk: 1x 8xA100-40GB + 4x 2xA100-80GB of them carry it at worst too: --at-worst\n"
        in text
    )
    carried = Plan.read(plan).carried
    assert carried
    assert carried.predicted
    assert carried.predicted.at_worst_requests_per_s < carried.traffic.peak_requests_per_s
    code, text = said(capsys, *question, "--at-worst")
    assert (code, "\nTHEY CARRY IT: " in text, "Less at risk" in text) == (0, True, False)
    carried = Plan.read(plan).carried
    assert carried
    assert carried.predicted
    assert str(carried) == "1x 8xA100-40GB + 4x 2xA100-80GB"
    assert carried.predicted.at_worst_requests_per_s >= carried.traffic.peak_requests_per_s


def test_at_worst_is_about_machines_that_are_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*WORDS.split(), "--requests-per-s", "1", "--at-worst"]) == 2
    assert capsys.readouterr().err.startswith("error: --at-worst is about machines that are there.\nhint: ")


def test_explained_it_says_what_each_carries_and_all_that_there_is_no_more(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, text = said(capsys, WORDS, "--requests-per-month 3M --have 8xA100-40GB=1 --explain --all")
    assert text.startswith(
        "scout: 1.14 requests/s, 2.28 at peak (--peak-factor 2, the default), 2000 tokens in,"
    )
    assert (
        "\n\nHow much they carry\n  peak = 1.142 x 2 = 2.283 requests/s\n"
        "  1x 8xA100-40GB = 1 x 2 replicas x 2.630 x fill 0.8 = 4.209 requests/s\n"
        "  all of them: 4.209 requests/s\n\nMemory of one GPU, GiB\n"
    ) in text
    assert "\n\n(--all has no more: every machine of --have is above.)\n\nNext: " in text
    assert "  Each 8xA100-40GB, filled as far as it is to be (4.21 requests/s):\n" in text
    _, text = said(capsys, WORDS, "--requests-per-month 3M --peak-factor 1.5 --have 8xA100-40GB=1")
    assert text.startswith("scout: 1.14 requests/s, 1.71 at peak, 2000 tokens in,")


def choice(name: str, each: float, worst: float | None, feasible: bool = True) -> Choice:
    known = {
        "machine": name,
        "gpu": "A100",
        "gpus_per_machine": 8,
        "precision": "fp8",
        "tensor": 4,
        "pipeline": 1,
    }
    more = {"replicas_per_machine": 2, "verdict": "fits", "feasible": feasible, "requests_per_s_each": each}
    at_worst = AtWorst(machines=1, requests_per_s_each=worst) if worst else None
    return Choice.model_validate({**known, **more, "at_worst": at_worst})


@pytest.mark.parametrize(
    ("peak", "spare", "is_at_worst", "more"),
    [
        (9, 0, False, ("2xA100-80GB", 1)),  # 8 + 3 x 3 at half is 8.5
        (11, 0, False, ("8xA100-40GB", 1)),
        (9, 1, False, ("8xA100-40GB", 2)),  # the largest is gone: 4.5, and 8 of each more
        (6.5, 0, True, ("2xA100-80GB", 1)),  # 6 + 3 x 2 at half is 6
        (1e9, 0, False, None),
    ],
)
def test_so_many_more_of_a_shape_that_is_there(
    peak: float, spare: int, is_at_worst: bool, more: tuple[str, int] | None
) -> None:
    question = Question(
        model="scout",
        traffic=TrafficOptions(requests_per_s=peak, peak_factor=1).traffic,
        promise=Promise(fill=0.5, spare_machines=spare),
        have=tuple(map(owned_typed, ("8xA100-40GB=1", "2xA100-80GB=3"))),
    )
    choices = choice("8xA100-40GB", 8, 6), choice("2xA100-80GB", 3, 2)
    found = more_of(question, choices, is_at_worst)
    assert (found and (found.machine, found.count)) == more


@pytest.mark.parametrize(
    ("shape", "count", "more"),
    [
        ("2xA100-80GB", 1, ""),
        ("2xA100-80GB", 3, " Several as one server (a pipeline) are planned only of hosts of 8 GPUs, as 16xA100-80GB."),
        ("8xA100-40GB", 3, " Two as one server: --have 16xA100-40GB=1."),
        ("16xA100-40GB", 3, ""),
    ],
)  # fmt: skip
def test_of_small_hosts_it_is_said_that_they_are_no_pipeline(shape: str, count: int, more: str) -> None:
    none = choice(shape, 0, None, feasible=False).model_copy(
        update={"verdict": "does not fit", "why": "Too large."}
    )
    owned = Owned(machine=shape, count=count)
    assert alone(none, owned, machine(shape)).why == f"Too large.{more}"
    assert alone(choice(shape, 1, None), owned, machine(shape)).why == ""


@pytest.mark.parametrize(
    ("rate", "up"), [(0.5085, 0.509), (0.509, 0.509), (1234.5, 1240.0), (1e-9, 1e-9), (1.001e-9, 1.01e-9)]
)
def test_what_is_missing_is_rounded_up(rate: float, up: float) -> None:
    assert upward(rate) == up


def test_what_is_dearer_and_surely_cheaper_at_worst_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """Maverick in four bits is the cheapest, and costs twice that at the bad end; eight bits cost the same there."""
    words = "capacity maverick --requests-per-month 3M --input-tokens 2k --output-tokens 500 --ttft 1s"
    _, text = said(capsys, words, "--on g7e.24xlarge --on p4de.24xlarge")
    assert "TAKE 1x g7e.24xlarge (4x RTX-PRO-6000), maverick nvfp4: $12,098 a month\n" in text
    assert "  Less at risk: 1x p4de.24xlarge fp8 TP8, $20,036 a month, at worst $20,036.\n" in text
    best, *others = Capacity.parse(
        said(capsys, words, "--on g7e.24xlarge --on p4de.24xlarge --json")[1], ""
    ).choices
    (surer,) = (each for each in others if each.tail and each.machine == "p4de.24xlarge")
    assert best.at_worst is not None
    assert surer.at_worst is not None
    assert (best.at_worst.usd_per_month, surer.at_worst.usd_per_month) == (
        Decimal("24195.35"),
        Decimal("20036.35"),
    )


def test_where_a_region_has_no_price_the_worst_case_has_that_of_another(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = "capacity scout --requests-per-s 2 --precision fp8 --on p5.48xlarge"
    _, text = said(capsys, words, "--region eu-central-1")
    _, known = said(capsys, words)
    (row,) = (line.split() for line in text.splitlines() if line.startswith("  1x p5.48xlarge"))
    (priced,) = (line.split() for line in known.splitlines() if line.startswith("  1x p5.48xlarge"))
    assert row[4:6] == [f"({usd})" for usd in priced[4:6]]
