"""Capacity planning: from traffic to machines, and why the others lose."""

import json
from decimal import Decimal
from math import ceil
from pathlib import Path

import pytest
import refusals

from deploy.cli.main import run
from infra.catalog import machine
from infra.errors import UsageError
from serving.sizing import capacity_search, server_sizes
from serving.sizing.capacity import AtWorst, Capacity, Choice, Question, Tail
from serving.sizing.capacity_load import options_of, per_s
from serving.sizing.capacity_search import capacity
from serving.sizing.capacity_tail import Replica
from serving.sizing.capacity_text import capacity_text
from serving.sizing.fit import Outcome, best_outcome
from serving.sizing.memory_pool import Case
from serving.sizing.plan import Plan
from serving.sizing.predict import Predictor
from serving.sizing.server_sizes import ServerSizes
from serving.sizing.sized_model import named
from serving.sizing.traffic import Promise
from serving.sizing.traffic_options import PromiseOptions, TrafficOptions

FIVE = TrafficOptions(requests_per_s=5).traffic
PROMISED = PromiseOptions(ttft=2.0, tpot=0.05, spare=1).promise


def asked(**changes: object) -> Capacity:
    question: dict[str, object] = {"model": "scout", "traffic": FIVE, "promise": PROMISED}
    return capacity(Question.model_validate(question | changes))


@pytest.fixture(scope="module")
def found() -> Capacity:
    return asked()


def test_the_machines_carry_the_peak_with_one_gone(found: Capacity) -> None:
    for choice in found.choices:
        if choice.feasible:
            carried = (choice.machines - 1) * choice.replicas_per_machine * choice.requests_per_s * 0.8
            assert carried >= FIVE.peak_requests_per_s * 0.999
            one_less = carried - choice.replicas_per_machine * choice.requests_per_s * 0.8
            assert one_less < FIVE.peak_requests_per_s


def test_the_promise_holds_at_the_planned_peak(found: Capacity) -> None:
    assert all(one.tpot_s <= 0.05 and one.ttft_s <= 2.0 for one in found.choices if one.feasible)


def test_the_cost_is_machines_times_price_times_730_hours(found: Capacity) -> None:
    best = found.choices[0]
    assert best.usd_per_hour is not None
    assert best.usd_per_month == (best.usd_per_hour * best.machines * 730).quantize(Decimal("0.01"))


def test_the_first_is_the_cheapest_that_surely_fits(found: Capacity) -> None:
    sure = [
        one.usd_per_month
        for one in found.choices
        if one.feasible and one.verdict == "fits" and one.usd_per_month
    ]
    assert found.choices[0].usd_per_month == min(sure)
    assert found.choices[0].why == ""


def test_every_other_choice_says_why_it_loses(found: Capacity) -> None:
    assert [one for one in found.choices[1:] if not one.why] == []
    reasons = {(one.machine, one.precision): one.why for one in found.choices}
    assert reasons["g4dn.metal", "int4"].startswith("int4 needs compute capability 8.0")
    assert reasons["g5.xlarge", "bf16"].startswith("The weights alone are 202.4 GiB per GPU")


def predictor_of(choice: Choice, question: Question) -> Predictor:
    """The speed model of one replica of a choice."""
    whole = machine(choice.machine)
    cut = whole.model_copy(update={"gpus_per_host": choice.tensor})
    case = Case(named("scout", choice.precision), cut, options_of(question))
    return Predictor(case, best_outcome(case))


def test_at_worst_the_promise_holds_when_every_step_takes_its_band_longer(found: Capacity) -> None:
    """Fewer at once, each of them slower: recomputed from TPOT at each concurrency, for five of those by means."""
    question = Question(model="scout", traffic=FIVE, promise=PROMISED)
    by_means = [choice for choice in found.choices if choice.at_worst and choice.tail is None]
    for choice in by_means[:5]:
        predictor = predictor_of(choice, question)
        kept = [
            n
            for n in range(1, predictor.most_running + 1)
            if predictor.at(n).tpot_s * predictor.at(n).band <= 0.05
            and predictor.first_token_s(1000, predictor.at(n).tpot_s) * predictor.at(n).band <= 2.0
        ]
        slow = predictor.at(max(kept))
        served_s = (slow.ttft_s + 299 * slow.tpot_s) * slow.band
        carried = max(kept) / served_s * 0.8 * choice.replicas_per_machine
        assert choice.at_worst is not None
        assert choice.at_worst.machines == ceil(round(10 / carried, 9)) + 1, choice
        assert choice.at_worst.machines > choice.machines


def test_at_worst_the_first_keeps_it_for_slow_requests_too(found: Capacity) -> None:
    question, first = Question(model="scout", traffic=FIVE, promise=PROMISED), found.choices[0]
    replica = Replica(question, first, ServerSizes(PROMISED, FIVE), at_worst=True)
    assert first.tail is not None
    assert first.at_worst is not None
    assert replica.broken_on(first.at_worst.machines) is None


def test_where_the_band_breaks_the_promise_no_number_of_machines_is_enough(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """g6.48xlarge: one request alone takes less than 35 ms a token, and twice that is the bad end of its band."""
    command = ["capacity", "scout", "--requests-per-s", "1", "--tpot", "0.03", "--on", "g6.48xlarge"]
    assert run([*command, "--json"]) == 0
    best = Capacity.parse(capsys.readouterr().out, "stdout").choices[0]
    assert (best.feasible, best.at_worst) == (True, None)
    assert run(command) == 0
    out = capsys.readouterr().out
    assert "  If the speed is at the bad end of its band no number of them keeps the promise.\n" in out


def test_nothing_of_the_firsts_kind_beats_a_choice_on_the_pareto_front(found: Capacity) -> None:
    def beats(one: Choice, other: Choice) -> bool:
        assert one.usd_per_month is not None
        assert other.usd_per_month is not None
        return one.usd_per_month < other.usd_per_month and one.e2e_s < other.e2e_s

    first = found.choices[0]
    alike = [
        one
        for one in found.choices
        if one.feasible and (one.verdict, one.paid_ahead) == (first.verdict, first.paid_ahead)
    ]
    front = [one for one in found.choices if one.pareto]
    assert first in front
    assert len(front) >= 3
    assert not any(beats(other, one) for one in front for other in alike)
    off = [one for one in alike if not one.pareto]
    assert all(any(other.e2e_s <= one.e2e_s for other in front) for one in off)


def test_one_notch_more_of_context_traffic_and_precision(found: Capacity) -> None:
    assert [one.change for one in found.notches] == [
        "context 4,096 instead of 2,048",
        "twice the traffic",
        "int4 instead of nvfp4",
    ]
    costs = [one.more_usd_per_month for one in found.notches]
    assert all(cost is not None and cost >= 0 for cost in costs)


def test_the_plan_serves_one_replica_of_the_choice(found: Capacity) -> None:
    best, plan = found.choices[0], found.plan
    assert plan is not None
    assert (plan.serve.tensor_parallel_size, plan.serve.max_model_len) == (best.tensor, 2048)
    assert (plan.precision, plan.workload.concurrency) == (best.precision, best.concurrency)


def test_the_plan_holds_the_promise(found: Capacity) -> None:
    """No more run at once than keep it; where nothing is promised, vLLM's own number stands."""
    assert found.plan is not None
    assert found.plan.serve.max_num_seqs == found.choices[0].concurrency
    assert found.plan.throughput is not None
    assert found.plan.throughput.tpot_s <= 0.05
    free = asked(promise=Promise(), machines=("p5.48xlarge",), precision="fp8").plan
    assert free is not None
    assert free.serve.max_num_seqs == 1024


@pytest.mark.parametrize("tokens", [1, 2])
def test_an_answer_of_one_token_has_no_time_between_tokens(tokens: int) -> None:
    """One of two has, and a batch of prompts keeps it only where they are few."""
    traffic = TrafficOptions.of({"requests_per_s": 2, "output_tokens": str(tokens)}).traffic
    best = asked(traffic=traffic, promise=Promise(tpot_s=0.05), machines=("g7e.2xlarge",)).choices[0]
    free = asked(traffic=traffic, promise=Promise(), machines=("g7e.2xlarge",)).choices[0]
    assert (best == free) == (tokens == 1)


def test_where_a_region_lacks_prices_all_are_ranked_by_one_that_has_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In eu-central-1 only the dearest of all has a price: it is not the one to take."""
    command = ["capacity", "scout", "--tokens-per-month", "7.5e9", "--input-tokens", "2000"]
    command += ["--output-tokens", "500", "--ttft", "1", "--on", "g7e.12xlarge", "--on", "g6e.12xlarge"]
    command += ["--on", "p6-b300.48xlarge"]
    assert run([*command, "--json"]) == 0
    home = Capacity.parse(capsys.readouterr().out, "stdout").choices
    assert run([*command, "--region", "eu-central-1", "--json"]) == 0
    there = Capacity.parse(capsys.readouterr().out, "stdout").choices
    assert [(one.machine, one.precision) for one in there[:5]] == [
        (one.machine, one.precision) for one in home[:5]
    ]
    assert (there[0].usd_per_month, there[0].usd_per_month_elsewhere) == (None, home[0].usd_per_month)
    assert run([*command, "--region", "eu-central-1"]) == 0
    out = capsys.readouterr().out
    assert ": no price known there; $6,049 a month in us-east-1\n" in out
    assert "; ask AWS: corral prices --refresh --region\n  eu-central-1)\n" in out
    assert "\n  twice the traffic               (+$6,049 a month)  2x g7e.12xlarge nvfp4 TP2\n" in out
    assert ["1x", "g7e.12xlarge", "nvfp4", "2", "($6,049)"] in [line.split()[:5] for line in out.splitlines()]


def test_of_one_cost_the_more_faithful_weights_are_taken() -> None:
    """int4 and bf16 both take one p4d.24xlarge for that traffic."""
    found = asked(
        promise=Promise(), traffic=TrafficOptions(requests_per_s=2).traffic, machines=("p4d.24xlarge",)
    )
    one_each = {one.precision for one in found.choices if one.feasible and one.machines == 1}
    assert {"bf16", "int4"} <= one_each
    assert (found.choices[0].machines, found.choices[0].precision) == (1, "bf16")
    # Nothing is cheaper than it, though what costs the same is faster.
    assert found.choices[0].pareto
    assert any(one.pareto and one.e2e_s < found.choices[0].e2e_s for one in found.choices[1:])


def test_a_server_of_one_size_is_reckoned_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """On two machines that hold it, and for each notch: again only with another context or other weights."""
    reckoned: list[tuple[str, int | None]] = []

    def counting(case: Case) -> Outcome:
        reckoned.append((case.subject.precision, case.options.max_model_len))
        return best_outcome(case)

    monkeypatch.setattr(server_sizes, "best_outcome", counting)
    found = asked(machines=("g7e.2xlarge", "g7e.4xlarge"), precision="nvfp4")
    assert [choice.feasible for choice in found.choices] == [True, True]
    assert reckoned == [("nvfp4", 2048), ("nvfp4", 4096), ("int4", 2048)]


def test_without_a_price_fewer_machines_come_first() -> None:
    """And with one as many."""
    two = TrafficOptions(requests_per_s=2).traffic
    unpriced = asked(traffic=two, promise=Promise(), machines=("2xA100-80GB",)).choices[0]
    priced = asked(
        traffic=two, promise=Promise(), machines=("2xA100-80GB",), usd_per_hour=Decimal(5)
    ).choices[0]
    assert (unpriced.machines, unpriced.precision) == (priced.machines, priced.precision)


def test_what_the_user_pays_is_used_in_place_of_ec2s_price() -> None:
    best = asked(machines=("g5.48xlarge",), usd_per_hour=Decimal(3), promise=Promise()).choices[0]
    assert best.usd_per_hour == 3
    assert best.usd_per_month == 3 * best.machines * 730


def test_a_caveat_of_the_weights_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["capacity", "scout", "--requests-per-s", "2", "--on", "g6e.12xlarge", "--precision", "int4"]
    assert run(command) == 0
    assert "  - No 4-bit Llama 4 is in vLLM's own tests " in capsys.readouterr().out


def test_tokens_or_requests_a_month_are_the_same_question() -> None:
    monthly = TrafficOptions(tokens_per_month=FIVE.tokens_per_month).traffic
    assert monthly.requests_per_s == pytest.approx(5)
    assert TrafficOptions.of({"requests_per_month": "13.14M"}).traffic.requests_per_s == pytest.approx(5)


def test_hardly_any_traffic_takes_one_machine() -> None:
    traffic = TrafficOptions(requests_per_s=1e-12).traffic
    best = asked(traffic=traffic, promise=Promise(), machines=("p5.4xlarge",)).choices[0]
    assert (best.machines, best.at_worst and best.at_worst.machines) == (1, 1)


@pytest.mark.parametrize(
    ("rate", "said"),
    [
        (1.23456, 1.235),
        (0.12345, 0.123),
        (0.0123, 0.0123),
        (0.00123, 0.00123),
        (0.000123456, 0.000123),
        (0.0, 0.0),
    ],
)
def test_what_carries_some_is_not_said_to_carry_none(rate: float, said: float) -> None:
    """It is divided by: answers of millions of tokens are fewer than one in a thousand seconds."""
    assert per_s(rate) == said


def test_a_machine_that_is_named_twice_is_considered_once() -> None:
    twice = asked(machines=("g7e.2xlarge", "g7e.2xlarge"), precision="nvfp4")
    assert [choice.machine for choice in twice.choices] == ["g7e.2xlarge"]


def test_much_traffic_is_said_in_digits(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["capacity", "scout", "--requests-per-s", "1e5", "--on", "g5.xlarge"]) == 3
    said = (
        "100,000 requests/s, 200,000 at peak (--peak-factor 2, the default), 1000 tokens in, 300 out\n"
        "  (341,640 G tokens a month)\n"
    )
    assert capsys.readouterr().out.startswith(f"scout: {said}")


@pytest.mark.parametrize(
    ("lengths", "mean", "longest"),
    [
        (("1000", "300"), (1000, 300), 2048),
        (("500-1500", "100-300"), (1000, 200), 2048),
        (("1000~300", "300"), (1000, 300), 3072),
    ],
)
def test_distributions(lengths: tuple[str, str], mean: tuple[int, int], longest: int) -> None:
    """The longest likely request is three deviations out; the context holds it in steps of 1,024."""
    typed = dict(zip(("input_tokens", "output_tokens"), lengths, strict=True))
    got = TrafficOptions.of({"requests_per_s": 1, **typed}).traffic
    assert ((got.mean_input, got.mean_output), got.longest) == (mean, longest)


def test_a_promise_nobody_can_keep_says_what_breaks_it() -> None:
    none = asked(promise=Promise(tpot_s=0.0001), machines=("p5.48xlarge",))
    assert none.plan is None
    assert all(one.why.startswith("even one request alone: TPOT ") for one in none.choices)


def test_an_owned_machine_at_its_owners_price() -> None:
    one = asked(machines=("4xH100",), usd_per_hour=Decimal("9.5"), precision="fp8").choices[0]
    assert (one.machine, one.usd_per_month) == ("4xH100", Decimal("9.5") * one.machines * 730)
    assert one.machines == ceil(one.machines)


def test_the_command_writes_plan_and_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan, picture = tmp_path / "plan.json", tmp_path / "p.svg"
    command = ["capacity", "scout", "--requests-per-s", "2", "--on", "p5.48xlarge", "--on", "g6e.12xlarge"]
    assert run([*command, "--explain", "-o", str(plan), "--plot", str(picture)]) == 0
    out = capsys.readouterr().out
    assert "How many machines\n  peak = 2 x 2 = 4 requests/s\n" in out
    assert "num_blocks = floor(" in out
    assert Plan.read(plan).fits
    assert "<svg" in picture.read_text()


@pytest.mark.parametrize(
    ("machines", "said"),
    [
        (("g5.12xlarge",), ""),
        (("g5.12xlarge", "g5.xlarge"), "With --all: why others do not carry it.\n"),
        (("p5.48xlarge", "g6e.12xlarge"), "With --all: what nothing beats in cost and time.\n"),
    ],
    ids=["nothing", "losers", "front"],
)
def test_what_all_would_show_is_said_where_it_is_left_out(machines: tuple[str, ...], said: str) -> None:
    short = capacity_text(asked(machines=machines), explain=False, is_whole=False)
    assert "".join(f"{each}\n" for each in short.split("\n\n") if each.startswith("With --all")) == said


def test_the_command_as_json_reads_back(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["capacity", "maverick", "--tokens-per-month", "1e9", "--on", "p5en.48xlarge", "--json"]) == 0
    printed = capsys.readouterr().out
    assert Capacity.parse(printed, "stdout").model == "maverick"
    assert json.loads(printed)["document"] == "capacity"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Say how much traffic there is, in one way."),
        (
            ["--requests-per-s", "5", "--tokens-per-month", "1e9"],
            "Say how much traffic there is, in one way.",
        ),
        (["--requests-per-s", "nan"], "--requests-per-s nan is no finite number."),
        (["--requests-per-s", "0"], "--requests-per-s 0 is not above 0 and at most 1,000"),
        (["--requests-per-s", "inf"], "--requests-per-s inf is no finite number."),
        (["--tokens-per-month", "-1"], "--tokens-per-month -1 is not above 0 and at most 1,000"),
        (["--requests-per-s", "5", "--peak-factor", "0.5"], "--peak-factor 0.5 is not between 1 and 1,000"),
        (["--requests-per-s", "5", "--fill", "0"], "--fill 0 is not above 0 and at most 1."),
        (["--requests-per-s", "5", "--tpot", "-1"], "--tpot -1 is not above 0 and at most 1,000"),
        (["--requests-per-s", "5", "--spare", "-1"], "--spare -1 is not between 0 and 100."),
        (
            ["--requests-per-s", "5", "--input-tokens", "many"],
            "--input-tokens 'many' is not a length in tokens.",
        ),
        (["--requests-per-s", "5", "--usd-per-hour", "cheap"], "--usd-per-hour cheap is no number."),
        (["--requests-per-s", "5", "--on", "toaster"], "'toaster' is not a machine corral knows."),
        (["--requests-per-s", "5", "--precision", "int2"], "--precision 'int2' is unknown."),
        (["--requests-per-s", "5", "--context", "-5"], "--context -5 is not between 1 and 10,485,760."),
        (
            ["--requests-per-s", "5", "--input-tokens", "19000000"],
            "--input-tokens 19000000 is not between 1 and 10,485,760.",
        ),
        (
            ["--requests-per-s", "5", "--context", "99000000"],
            "--context 99000000 is not between 1 and 10,485,760.",
        ),
        (
            ["--requests-per-s", "5", "--on", "p5.48xlarge", "--plot", "x.bmp"],
            "x.bmp is neither a .png nor a .svg file.",
        ),
        (
            ["--requests-per-s", "5", "--on", "2xA100-80GB", "--usd-per-hour", "0"],
            "--usd-per-hour 0 is not above 0 and at most 1,000",
        ),
        (
            ["--requests-per-s", "5", "--usd-per-hour", "3"],
            "--usd-per-hour is the price of one machine, and no --on names one.",
        ),
        (
            ["--requests-per-s", "5", "--usd-per-hour", "3", "--on", "2xH100", "--on", "4xH100"],
            "--usd-per-hour is the price of one machine, and --on names several.",
        ),
        (
            ["--requests-per-s", "5", "--requests-per-month", "1M"],
            "Say how much traffic there is, in one way.",
        ),
        (["--requests-per-month", "0"], "--requests-per-month 0 is not above 0 and at most 1,000"),
        (
            ["--requests-per-s", "5", "--context", "1k"],
            "A request may have 1,000 + 300 tokens, more than --context 1,000.",
        ),
        (
            ["--requests-per-s", "5", "--context", "4k", "--input-tokens", "500-4000"],
            "A request may have 4,000 + 300 tokens, more than --context 4,000.",
        ),
        (
            ["--requests-per-s", "5", "--context", "9k", "--class", "a=50%,1k/9", "--class", "b=50%,9k/9"],
            "A request of class b may have 9,000 + 9 tokens, more than --context 9,000.",
        ),
        (
            ["--requests-per-s", "5", "--input-tokens", "10485760"],
            "A request may have 10,485,760 + 300 tokens, more than Llama 4 Scout 17B-16E's 10,485,760.",
        ),
        (
            ["--requests-per-s", "5", "--on", "local"],
            "Capacity counts machines of a shape, and local is the one that is here.",
        ),
        (
            ["--requests-per-s", "5", "--have", "local=1"],
            "Capacity counts machines of a shape, and local is the one that is here.",
        ),
    ],
)
def test_a_wrong_question_is_one_sentence(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["capacity", "scout", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"error: {message}")
    refusals.hold(err, request, tmp_path)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (
            ["meta/llama", "--requests-per-s", "5"],
            "'meta/llama' is not a model that capacity is planned for.",
        ),
        (
            ["maverick", "--requests-per-s", "5", "--context", "2m"],
            "--context 2,000,000 is beyond Llama 4 Maverick 17B-128E, which ends at 1,048,576 tokens.",
        ),
        (
            ["maverick", "--requests-per-s", "5", "--class", "a=100%,1048576/1"],
            "A request of class a may have 1,048,576 + 1 tokens, more than Llama 4 Maverick 17B-128E's 1,048,576.",
        ),
    ],
)
def test_what_no_machine_could_answer_is_one_sentence(
    command: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["capacity", *command]) == 2
    assert capsys.readouterr().err.startswith(f"error: {message}\nhint: ")


@pytest.mark.parametrize(
    ("model", "hint"),
    [
        (
            "./mine",
            "A checkpoint is planned on one machine at a time: corral size ./mine --on g5.12xlarge",
        ),
        (
            "owner/name",
            "A checkpoint is planned on one machine at a time: corral size owner/name --on g5.12xlarge",
        ),
        ("scuot", "Use scout or maverick: corral capacity scout --requests-per-s 5"),
    ],
)
def test_who_names_another_model_is_told_what_does_it(
    model: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["capacity", model, "--requests-per-s", "5"]) == 2
    assert capsys.readouterr().err.splitlines()[1] == f"hint: {hint}"


@pytest.mark.parametrize(
    ("field", "value", "refused"),
    [
        ("requests_per_s", 1e-9, None),
        ("requests_per_s", 1e15, None),
        (
            "requests_per_s",
            1.1e15,
            "--requests-per-s 1.1e+15 is not above 0 and at most 1,000,000,000,000,000.",
        ),
        ("peak_factor", 1.0, None),
        ("peak_factor", 0.99, "--peak-factor 0.99 is not between 1 and 1,000,000,000,000,000."),
    ],
)
def test_a_number_has_its_bounds(field: str, value: float, refused: str | None) -> None:
    typed = {"requests_per_s": 5.0} | {field: value}
    if refused is None:
        assert getattr(TrafficOptions.of(typed), field) == value
        return
    with pytest.raises(UsageError) as error:
        TrafficOptions.of(typed)
    assert error.value.message == refused


def surely(machine_name: str, precision: str, usd: int, worst: int | None, **changes: object) -> Choice:
    """One that was simulated, of one machine for so many dollars, and of so many at worst."""
    known = {
        "machine": machine_name, "gpu": "H100", "gpus_per_machine": 1, "precision": precision, "tensor": 1,
        "pipeline": 1, "replicas_per_machine": 1, "verdict": "fits", "feasible": True, "machines": 1,
        "usd_per_month": Decimal(usd), "at_worst": worst and AtWorst(machines=worst, requests_per_s_each=1.0),
        "tail": Tail(percentile=95, requests=1, ttft_s=0.1, tpot_s=0.1, longest_pause_s=0.1),
    }  # fmt: skip
    return Choice.model_validate(known | changes)


@pytest.mark.parametrize(
    ("choices", "taken", "why"),
    [
        # 2 % cheaper, and eight times the cost at worst
        ([surely("a", "int4", 100, 8), surely("b", "int4", 102, 1)], "b", "2.0% cheaper, but 7.8x the cost at worst"),
        ([surely("a", "int4", 100, None), surely("b", "int4", 102, 1)], "b", "2.0% cheaper, but never at worst"),
        ([surely("a", "bf16", 100, 8), surely("b", "nvfp4", 102, 1)], "b", "2.0% cheaper, but 7.8x the cost at worst"),
        # as great a risk
        ([surely("a", "int4", 100, 2), surely("b", "int4", 102, 2)], "a", None),
        # 5 % for more faithful weights, but not 6 %, nor what is not as sure
        ([surely("a", "nvfp4", 100, 1), surely("b", "int4", 105, 1)], "b", "4.8% cheaper, but nvfp4 in place of int4"),
        ([surely("a", "nvfp4", 100, 1), surely("b", "int4", 106, 1)], "a", None),
        ([surely("a", "nvfp4", 100, 1), surely("b", "int4", 101, 1, verdict="tight")], "a", None),
        ([surely("a", "nvfp4", 100, 1), surely("b", "int4", 101, 1, paid_ahead=True)], "a", None),
        ([surely("a", "nvfp4", 100, 1), surely("b", "int4", 101, 1, feasible=False)], "a", None),
    ],
)  # fmt: skip
def test_of_nearly_one_cost_the_most_faithful_that_is_no_risk_is_taken(
    choices: list[Choice], taken: str, why: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capacity_search, "all_choices", lambda *_: iter(choices))
    question = Question(model="scout", traffic=FIVE, promise=Promise())
    found = capacity_search.ranked(question, ServerSizes(question.promise, FIVE))
    assert found[0].machine == taken
    assert found[0].why == ""
    cheapest = next(each for each in found if each.machine == "a")
    assert why is None or cheapest.why == why


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        ([surely("a", "nvfp4", 100, 8), surely("b", "int4", 120, 2)],
         "  Less at risk: 1x b int4 TP1, $120 a month, at worst $240.\n"),
        ([surely("a", "nvfp4", 100, None), surely("b", "int4", 120, 2)],
         "  Less at risk: 1x b int4 TP1, $120 a month, at worst $240.\n"),
        ([surely("a", "nvfp4", 100, 3), surely("b", "int4", 120, 2)],
         "  Less at risk: 1x b int4 TP1, $120 a month, at worst $240.\n"),
        ([surely("a", "nvfp4", 100, 3), surely("b", "int4", 145, 2)], ""),  # 3 % less
        ([surely("a", "nvfp4", 100, 8), surely("b", "int4", 120, 2, paid_ahead=True)], ""),
        ([surely("a", "nvfp4", 100, None), surely("b", "int4", 120, None)], ""),
    ],
)  # fmt: skip
def test_a_risk_is_said_with_what_has_less(choices: list[Choice], said: str, found: Capacity) -> None:
    known = [
        each.model_copy(update={"machine": f"p5.{at}xlarge"})
        for at, each in ((4, choices[0]), (48, choices[1]))
    ]
    text = capacity_text(found.model_copy(update={"choices": tuple(known)}), explain=False)
    assert ("Less at risk" in text) == bool(said)
    assert said.replace("1x b ", "1x p5.48xlarge ") in text


def test_four_bits_are_said_to_cost_what_others_measured_of_those_very_weights() -> None:
    """The rented plan's nvfp4 lost points beyond its noise, which w4a16 did not."""
    said = {}
    for precision in ("nvfp4", "int4", "fp8"):
        text = capacity_text(asked(machines=("g7e.24xlarge",), precision=precision), explain=False)
        said[precision] = " ".join(text.split())
    assert "lower by more than 2 standard errors of a score: MMLU (mmlu_llama) -1.95," in said["nvfp4"]
    assert "-0.30 points on average over 12 tasks, none lower by more than 2 standard errors" in said["int4"]
    assert "points on average" not in said["fp8"]
