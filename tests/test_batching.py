"""Continuous batching, request by request, by hand and against the mean model."""

from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from poisson import arriving

from infra.catalog import machine
from serving.model.roofline import encoder_s, scores_s
from serving.model.roofline import step_s as step_s_of
from serving.sizing.batching import Request, Room, Served, percentile, served
from serving.sizing.capacity import Choice, Question, Tail
from serving.sizing.capacity_checks import seen
from serving.sizing.capacity_load import options_of, replicas
from serving.sizing.capacity_search import capacity
from serving.sizing.capacity_tail import (
    FINE,
    Replica,
    at_worst_simulated,
    filled,
    filled_at_worst,
    on,
    simulated,
)
from serving.sizing.fit import best_outcome
from serving.sizing.memory_pool import Case
from serving.sizing.predict import Predictor, room
from serving.sizing.server_sizes import ServerSizes
from serving.sizing.size_options import FurtherOptions, Options
from serving.sizing.sized_model import named
from serving.sizing.tail_run import SIMULATED, Arrivals, Runs, broken, slow
from serving.sizing.traffic import Promise
from serving.sizing.traffic_options import TrafficOptions

WIDE = Room(max_num_seqs=100, max_num_batched_tokens=1000, kv_tokens=10**9)


def step_s(decoding: int, prefilled: int) -> float:
    """A second, and a hundredth for each token of a prompt."""
    return 1.0 + prefilled / 100


def near(found: list[Served]) -> list[Any]:
    """To compare with, but for the dust of floats."""
    return [pytest.approx(tuple(each)) for each in found]


def test_one_alone_is_prefilled_and_then_decodes() -> None:
    """Its 100 tokens take a step of 2 s, its other two tokens one second each."""
    assert near(served([Request(5.0, 100, 3)], step_s, WIDE)) == [(2.0, 1.0, 1.0)]
    assert near(served([Request(5.0, 100, 1)], step_s, WIDE)) == [(2.0, 0.0, 0.0)]


def test_what_the_prefix_cache_holds_is_not_prefilled_and_takes_its_room() -> None:
    """Of 100 tokens 75 are there: the step takes 1.25 s. The last of a prompt is always computed."""
    hits = WIDE._replace(prefix_hits=0.75)
    assert near(served([Request(5.0, 100, 3)], step_s, hits)) == [(1.25, 1.0, 1.0)]
    assert near(served([Request(0.0, 1, 1)], step_s, hits)) == [(1.01, 0.0, 0.0)]
    two = [Request(0.0, 100, 2), Request(0.0, 100, 2)]
    assert near(served(two, step_s, hits._replace(kv_tokens=203))) == [(1.25, 1.0, 1.0), (3.5, 1.0, 1.0)]


def test_who_decodes_pauses_while_another_is_prefilled() -> None:
    """The second comes in the first's step from 2 s to 3 s; its prompt of 400 takes the step to 8 s."""
    found = served([Request(0.0, 100, 4), Request(2.5, 400, 2)], step_s, WIDE)
    assert near(found) == [(2.0, (1 + 5 + 1) / 3, 5.0), (5.5, 1.0, 1.0)]


def test_a_long_prompt_comes_in_chunks_and_leaves_each_decoding_its_token() -> None:
    """Of a budget of 100 one decodes: chunks of 99, 99 and 2; the steps take 1.99, 1.99 and 1.02 s."""
    narrow = WIDE._replace(max_num_batched_tokens=100)
    found = served([Request(0.0, 100, 5), Request(0.5, 200, 1)], step_s, narrow)
    assert near(found) == [(2.0, (1.99 + 1.99 + 1.02 + 1) / 4, 1.99), (6.5, 0.0, 0.0)]


@pytest.mark.parametrize("others", [0, 1])
def test_the_chunks_of_a_long_prompt_are_reckoned_together(others: int) -> None:
    """A million tokens by a hundred: ten thousand steps of two seconds, and few that are looked at."""
    asked: list[tuple[int, int]] = []

    def counted(decoding: int, prefilled: int) -> float:
        asked.append((decoding, prefilled))
        return step_s(0, 100)

    beside = [Request(0.0, 100, 15_000)] * others
    *_, found = served(
        [*beside, Request(0.5, 1_000_000, 2)], counted, WIDE._replace(max_num_batched_tokens=100 + others)
    )
    assert found == pytest.approx((20_000 + 1.5 * others, 2.0, 2.0))
    assert len(asked) <= 6


@pytest.mark.parametrize("limit", [{"max_num_seqs": 1}, {"kv_tokens": 102}, {"kv_tokens": 5}])
def test_without_a_place_or_room_one_waits(limit: dict[str, int]) -> None:
    """The first is done at 3 s, and the second begins; one that is longer than all of the cache runs alone."""
    found = served([Request(0.0, 100, 2), Request(0.0, 100, 2)], step_s, WIDE._replace(**limit))
    assert near(found) == [(2.0, 1.0, 1.0), (5.0, 1.0, 1.0)]


def test_prompts_share_a_step() -> None:
    found = served([Request(0.0, 100, 1), Request(0.0, 100, 1)], step_s, WIDE)
    assert near(found) == [(3.0, 0.0, 0.0), (3.0, 0.0, 0.0)]


def test_the_next_comes_to_an_idle_server() -> None:
    found = served([Request(0.0, 100, 1), Request(50.0, 100, 1)], step_s, WIDE)
    assert near(found) == [(2.0, 0.0, 0.0), (2.0, 0.0, 0.0)]


def test_arrivals_are_a_poisson_stream_and_the_same_at_any_rate() -> None:
    traffic = TrafficOptions.of({"requests_per_s": 1, "input_tokens": "10-20", "output_tokens": "7"}).traffic
    found, slower = (list(Arrivals(traffic, 99.5).at(rate)) for rate in (4.0, 2.0))
    assert [each._replace(at_s=2 * each.at_s) for each in found] == slower
    assert len(found) == 4000
    assert found[-1].at_s == pytest.approx(1000, rel=0.05)
    gaps = [later.at_s - sooner.at_s for sooner, later in pairwise(found)]
    assert sum(gap > 0.25 for gap in gaps) / len(gaps) == pytest.approx(0.368, abs=0.03)  # 1/e: no memory
    assert {each.input_tokens for each in found} == set(range(10, 21))
    assert {each.output_tokens for each in found} == {7}


def test_no_more_is_simulated_than_shows_a_promise_broken() -> None:
    """One at a time takes 12 ms a request; at 50 a second p95 TTFT is 31 ms, at 200 all wait longer and longer."""
    traffic = TrafficOptions.of({"requests_per_s": 1, "input_tokens": "100", "output_tokens": "3"}).traffic
    room, steps = WIDE._replace(max_num_seqs=1), list[int]()

    def counted(decoding: int, prefilled: int) -> float:
        steps.append(decoding)
        return 0.01 if prefilled else 0.001

    def looked_at(runs: Runs, rate: float) -> tuple[bool, int]:
        """Whether it breaks the promise, and how many steps were reckoned to say so."""
        before = len(steps)
        return runs.breaks(rate), len(steps) - before

    runs = Runs(Promise(ttft_s=0.1), Arrivals(traffic), counted, room)
    is_broken, whole = looked_at(runs, 50.0)
    assert (is_broken, whole >= 2 * SIMULATED) == (False, True)
    is_broken, early = looked_at(runs, 200.0)
    assert (is_broken, early < whole / 5) == (True, True)
    assert looked_at(runs, 200.5) == (True, 0)  # fewer break it
    assert looked_at(runs, 100.0)[1] > 0
    assert looked_at(runs, 50.0) == (False, 0)
    alone = Runs(Promise(ttft_s=0.1), Arrivals(traffic), counted, room).at(200.0).tail
    assert runs.at(200.0).tail == alone  # it goes on where it stopped
    assert broken(Promise(ttft_s=0.1), traffic, alone)
    # What is told is the fourth digit.
    told = runs.at(50.0).tail.ttft_s
    promised = [Promise(ttft_s=each) for each in (told, told - 0.00005)]
    assert [Runs(each, Arrivals(traffic), counted, room).breaks(50.0) for each in promised] == [False, True]


@pytest.mark.parametrize(("percent", "value"), [(50, 2), (50.1, 3), (95, 4), (75, 3), (1, 1)])
def test_a_percentile_is_the_least_value_that_so_many_do_not_exceed(percent: float, value: float) -> None:
    assert percentile([4, 1, 3, 2], percent) == value


# Of a choice of capacity


def asked(requests_per_s: float, **promised: object) -> Question:
    traffic = TrafficOptions(requests_per_s=requests_per_s).traffic
    return Question(model="scout", traffic=traffic, promise=Promise.model_validate(promised))


def choice_of(question: Question, name: str, precision: str, tensor: int) -> tuple[Choice, Predictor, Room]:
    """One way to serve, as capacity reckons it by means."""
    whole = machine(name)
    cut = whole.model_copy(update={"gpus_per_host": tensor})
    case = Case(named("scout", precision), cut, options_of(question))
    outcome = best_outcome(case)
    choice = replicas(question, named("scout", precision), whole, cut)
    return choice, Predictor(case, outcome), room(outcome, case.options, choice.concurrency)


@pytest.mark.parametrize(
    ("name", "precision", "tensor", "further"),
    [
        ("g7e.2xlarge", "nvfp4", 1, {}),
        ("p5.48xlarge", "bf16", 8, {}),
        ("p4d.24xlarge", "bf16", 8, {}),
        ("p5.48xlarge", "bf16", 8, {"prefix_cache_hit_rate": 0.9}),
        ("p5.48xlarge", "bf16", 8, {"images_per_request": "1@640x480"}),
        ("p5.48xlarge", "bf16", 8, {"enable_lora": True, "cpu_offload_gb": 1.0}),
    ],
)
def test_its_mean_is_the_models(name: str, precision: str, tensor: int, further: dict[str, object]) -> None:
    """The two reckon one engine: TPOT at the planned peak within 2 %, over four streams: of each it varies by 3."""
    more = {"further": FurtherOptions.model_validate(further)}
    question = seen(asked(2, tpot_s=0.05, spare_machines=1).model_copy(update=more))
    choice, predictor, limits = choice_of(question, name, precision, tensor)
    rate = 4 / ((choice.machines - 1) * choice.replicas_per_machine)
    lengths = question.traffic.input_tokens, question.traffic.output_tokens
    found = [
        each.tpot_s
        for seed in range(4)
        for each in served(arriving(rate, 1500, *lengths, seed), predictor.steps(), limits)[150:]
    ]
    assert sum(found) / len(found) == pytest.approx(choice.tpot_s, rel=0.02)


@pytest.mark.parametrize(
    ("further", "computed"),
    [({}, 4800), ({"images_per_request": "2"}, 4800), ({"prefix_cache_hit_rate": 0.5}, 2400)],
    ids=["words", "images", "hits"],
)
def test_a_step_with_a_whole_prompt_takes_what_that_takes(further: dict[str, object], computed: int) -> None:
    """Its tokens that are computed, their scores over all that stands before them, and the vision tower."""
    options = Options.model_validate({"input_tokens": 4800} | further)
    case = Case(named("scout", "fp8"), machine("4xH100"), options)
    found = Predictor(case, best_outcome(case))
    engine, bent = found.engine, found.bent
    kernels = step_s_of(engine, 0, 5300, computed) + scores_s(engine, 4800) + encoder_s(engine)
    assert found.steps()(0, computed) == pytest.approx(bent.kernels * kernels + bent.overhead_s)


def test_where_slow_requests_break_the_promise_it_takes_more_machines() -> None:
    """By the mean 0.2 s to the first token are kept by fewer; and one less than it takes does not keep them."""
    question = asked(8, ttft_s=0.2, fill=1.0, percentile=99.0)
    by_mean, *_ = choice_of(question, "g7e.2xlarge", "nvfp4", 1)
    found = simulated(question, by_mean)
    assert found.feasible
    assert found.machines > by_mean.machines
    assert found.tail is not None
    assert broken(question.promise, question.traffic, found.tail) is None
    assert found.usd_per_hour is not None
    assert found.usd_per_month == (found.usd_per_hour * found.machines * 730).quantize(Decimal("0.01"))


def test_what_no_number_of_machines_keeps_says_so() -> None:
    """What one alone just keeps, one of a hundred that meets another does not, however many machines there are."""
    traffic = TrafficOptions.of({"requests_per_s": 1, "input_tokens": "16000"}).traffic
    free = Question(model="scout", traffic=traffic, promise=Promise())
    _, predictor, _ = choice_of(free, "p4d.24xlarge", "bf16", 8)
    least_s = predictor.first_token_s(16000, predictor.at(1).tpot_s)
    question = free.model_copy(update={"promise": Promise(ttft_s=least_s * 1.001, percentile=99)})
    by_mean, *_ = choice_of(question, "p4d.24xlarge", "bf16", 8)
    assert by_mean.feasible
    found = simulated(question, by_mean)
    assert not found.feasible
    assert found.why.startswith("however many: p99 TTFT ")


@pytest.mark.parametrize(
    ("promise", "tail", "words"),
    [
        ({}, (9.0, 9.0), None),
        ({"ttft_s": 1.0}, (1.0, 9.0), None),
        ({"ttft_s": 1.0}, (1.5, 0.01), "p95 TTFT 1.50 s, promised 1"),
        ({"tpot_s": 0.05}, (9.0, 0.05), None),
        ({"tpot_s": 0.05}, (0.1, 0.0512), "p95 TPOT 51.2 ms, promised 50"),
    ],
)
def test_what_a_tail_breaks(promise: dict[str, float], tail: tuple[float, float], words: str | None) -> None:
    ttft, tpot = tail
    found = Tail(percentile=95, requests=2000, ttft_s=ttft, tpot_s=tpot, longest_pause_s=0.1)
    assert broken(Promise.model_validate(promise), asked(1).traffic, found) == words


def test_the_first_is_simulated_and_no_other_need_be() -> None:
    machines = {"machines": ("g7e.2xlarge",)}
    found = capacity(asked(2, ttft_s=2.0, tpot_s=0.05, percentile=90.0).model_copy(update=machines))
    assert [choice.tail for choice in found.choices[1:]] == [None] * (len(found.choices) - 1)
    first = found.choices[0]
    assert first.tail is not None
    assert (first.tail.percentile, first.tail.requests) == (90.0, 2000)
    assert first.tail.ttft_s <= 2.0
    assert first.tail.tpot_s <= 0.05
    assert first.tail.longest_pause_s >= first.tail.tpot_s


def test_a_pipelines_batches_wait_for_each_other() -> None:
    """Two stages: a step of both batches is as long as one of a batch with all that it may prefill of what comes."""
    question = asked(2, tpot_s=0.05)
    case = Case(named("scout", "bf16"), machine("16xH100"), options_of(question))
    two = ServerSizes(question.promise, question.traffic).of(case.subject, case.machine, case.options)
    assert (two.outcome.split.pipeline, two.batch_tokens) == (2, 8192)
    of_batch = Predictor(case, two.outcome).steps()
    assert [two.steps(8, tokens) for tokens in (0, 100, 8192, 16384)] == [
        of_batch(8, tokens) for tokens in (0, 100, 8192, 8192)
    ]
    limits = room(two.outcome, case.options, 64)
    assert two.room(64) == limits._replace(max_num_batched_tokens=2 * 8192)


def test_several_hosts_are_simulated_and_no_faster_than_by_means() -> None:
    question = asked(30, tpot_s=0.05)
    choice = replicas(question, named("scout", "bf16"), machine("16xH100"), machine("16xH100"))
    assert (choice.pipeline, choice.machines) == (2, 2)
    found = simulated(question.model_copy(update={"promise": Promise(tpot_s=0.05, percentile=50.0)}), choice)
    assert found.tail is not None
    assert choice.tpot_s < found.tail.tpot_s < 1.5 * choice.tpot_s


@pytest.fixture(scope="module")
def full() -> tuple[Question, Choice]:
    """A machine that by means keeps a second to the first token when it is full, and slow requests do not."""
    question = asked(2, ttft_s=0.2, fill=1.0, percentile=99.0)
    choice, *_ = choice_of(question, "g7e.2xlarge", "nvfp4", 1)
    return question, choice


def test_what_takes_more_machines_than_may_be_is_sought_no_further(full: tuple[Question, Choice]) -> None:
    question, choice = full
    whole = simulated(question, choice)
    assert (choice.machines, whole.machines) == (2, 3)
    assert simulated(question, choice, at_most=3) == whole
    assert simulated(question, choice, at_most=2) == whole.model_copy(update={"tail": None})


def test_a_machine_that_is_there_is_filled_as_far_as_slow_requests_allow(
    full: tuple[Question, Choice],
) -> None:
    question, by_mean = full
    found = filled(question, by_mean)
    assert found.tail is not None
    assert found.tail.ttft_s <= 0.2
    share = found.requests_per_s / by_mean.requests_per_s
    assert share < 0.9
    assert found.requests_per_s_each == pytest.approx(share * by_mean.requests_per_s_each, abs=0.002)
    assert found.at_worst == by_mean.at_worst
    replica = Replica(question, by_mean, ServerSizes(question.promise, question.traffic))
    assert replica.at((share + 2 * FINE) * by_mean.requests_per_s).ttft_s > 0.2


def test_one_that_keeps_it_when_full_stays_as_it_is(full: tuple[Question, Choice]) -> None:
    question, by_mean = full
    late = question.model_copy(update={"promise": Promise(ttft_s=60.0)})
    found = filled(late, by_mean)
    assert found.tail is not None
    assert found.model_copy(update={"tail": None}) == by_mean


def test_one_that_does_not_even_when_nearly_idle_carries_nothing(full: tuple[Question, Choice]) -> None:
    question, by_mean = full
    hasty = question.model_copy(update={"promise": Promise(ttft_s=0.01)})
    found = filled(hasty, by_mean)
    assert (found.feasible, found.requests_per_s_each, found.at_worst, found.tail) == (False, 0.0, None, None)
    assert found.why.startswith("however few: p95 TTFT ")


def test_more_machines_cost_more_and_are_no_fewer_at_worst() -> None:
    one, *_ = choice_of(asked(2), "p5.48xlarge", "bf16", 8)
    tail = Tail(percentile=95, requests=2000, ttft_s=1, tpot_s=1, longest_pause_s=1)
    assert one.machines == 1
    assert one.usd_per_month is not None
    assert one.usd_per_month_elsewhere is not None
    assert one.at_worst is not None
    four = on(one, 4, tail)
    assert (four.machines, four.tail, four.usd_per_month) == (4, tail, 4 * one.usd_per_month)
    assert four.usd_per_month_elsewhere == 4 * one.usd_per_month_elsewhere
    assert four.at_worst == one.at_worst.model_copy(
        update={"machines": 4, "usd_per_month": 4 * one.usd_per_month}
    )


# At worst


def slow_by_hand(question: Question, choice: Choice, rate: float) -> dict[str, float]:
    """What slow requests wait for on one replica at that rate, when every step takes its band longer."""
    sizes = ServerSizes(question.promise, question.traffic)
    cut = machine(choice.machine).model_copy(update={"gpus_per_host": choice.tensor})
    server = sizes.of(named("scout", choice.precision), cut, options_of(question))
    assert server.most_at_worst
    band, steps = server.predictor.at(server.most_at_worst).band, server.predictor.steps()
    requests = Arrivals(question.traffic, question.promise.percentile).at(rate)
    every = served(
        requests, lambda decoding, tokens: band * steps(decoding, tokens), server.room(choice.concurrency)
    )
    return slow(every[len(every) // 10 :], question.promise.percentile)


def test_at_worst_slow_requests_keep_the_promise_too() -> None:
    """By means fewer machines do; one less than it takes does not keep TPOT when each step takes its band longer."""
    question = asked(8, tpot_s=0.05, fill=1.0, percentile=99.0, spare_machines=1)
    by_mean, *_ = choice_of(question, "g7e.2xlarge", "nvfp4", 1)
    found = at_worst_simulated(question, by_mean)
    assert found.at_worst is not None
    assert by_mean.at_worst is not None
    count = found.at_worst.machines
    assert count > by_mean.at_worst.machines
    assert slow_by_hand(question, by_mean, 16 / (count - 1))["tpot_s"] <= 0.05
    assert slow_by_hand(question, by_mean, 16 / (count - 2))["tpot_s"] > 0.05
    assert found.usd_per_hour is not None
    assert found.at_worst.usd_per_month == (found.usd_per_hour * count * 730).quantize(Decimal("0.01"))
    assert found.model_copy(update={"at_worst": by_mean.at_worst}) == by_mean


def test_where_slow_requests_never_keep_it_at_worst_no_number_is_said(full: tuple[Question, Choice]) -> None:
    """Whatever is promised by means, a slow one waits for its band longer than it may."""
    question, by_mean = full
    hasty = question.model_copy(update={"promise": Promise(ttft_s=0.01)})
    assert at_worst_simulated(hasty, by_mean).at_worst is None
    assert filled_at_worst(hasty, by_mean).at_worst is None
    free = question.model_copy(update={"promise": Promise()})
    assert at_worst_simulated(free, by_mean) is filled_at_worst(free, by_mean) is by_mean


def test_a_machine_that_is_there_is_filled_at_worst_as_far_as_slow_requests_allow() -> None:
    question = asked(2, ttft_s=0.5, fill=1.0, percentile=99.0)
    by_mean, *_ = choice_of(question, "g7e.2xlarge", "nvfp4", 1)
    found = filled_at_worst(question, by_mean)
    assert by_mean.at_worst is not None
    assert found.at_worst is not None
    each, by_means = found.at_worst.requests_per_s_each, by_mean.at_worst.requests_per_s_each
    assert each < 0.9 * by_means
    # A rate that differs by its rounding alone draws another stream, of which 1 % waits some percent more or less.
    assert slow_by_hand(question, by_mean, each)["ttft_s"] <= 1.04 * 0.5
    assert slow_by_hand(question, by_mean, each + 2 * FINE * by_means)["ttft_s"] > 0.5
