"""A fleet, request by request: against queueing theory where that is exact, by hand where it is small."""

import json
from collections.abc import Callable
from math import inf
from pathlib import Path
from random import Random

import numpy
import pytest
from poisson import arriving

from deploy.cli.main import run
from infra.errors import DocumentError, UsageError
from serving.probe.lengths import Lengths
from serving.simulation import passes, trace
from serving.simulation.arrivals import Rate, Requests, Stream, Trace, day, spans
from serving.simulation.passes import Question, Way
from serving.simulation.router import Death, Fleet, Router, carried
from serving.simulation.simulate_options import ComingOptions, rates_typed
from serving.sizing.batching import NO_API, Api, Request, Room, Server, served

WIDE = Room(max_num_seqs=100, max_num_batched_tokens=1000, kv_tokens=10**9)
ONE_AT_A_TIME = WIDE._replace(max_num_seqs=1)
ONE = Lengths(low=1)


def second(decoding: int, prefilled: int) -> float:
    """Every step takes a second."""
    return 1.0


def new(
    step_s: Callable[[int, int], float] = second, room: Room = WIDE, api: Api = NO_API
) -> Callable[[float], Server]:
    return lambda began_s: Server(step_s, room, api, began_s)


# The API process


def test_the_api_process_reads_before_the_engine_and_writes_after_it() -> None:
    """0.5 s to read, a step, then 0.1 s and 0.2 s a token to write out; 3 s pass besides."""
    api = Api(request_s=0.5, step_s=0.1, token_s=0.2, beside_s=3.0)
    (found,) = served([Request(10.0, 5, 3)], second, WIDE, api)
    assert found == pytest.approx((0.5 + 1 + 0.3 + 3, 1.0, 1.0))


def test_what_comes_holds_up_what_is_written_out() -> None:
    """One comes 0.1 s before the first's second token, and is read first: 0.5 s that the token waits."""
    api = Api(request_s=0.5)
    first, second_ = served([Request(0.0, 5, 3), Request(2.4, 5, 1)], second, WIDE, api)
    assert first == pytest.approx((1.5, 1.0, 1.4))  # tokens at 1.5, 2.9 and 3.5
    assert second_ == pytest.approx((2.1, 0.0, 0.0))  # read at 2.9, begun at 3.5... ends at 4.5


@pytest.mark.parametrize("steps", [1, 7])
def test_an_api_process_slower_than_the_engine_sets_the_pace(steps: int) -> None:
    """Each token takes it 2 s, a step one: however many steps are alike, the last comes when all are written out."""
    api = Api(step_s=2.0)
    (found,) = served([Request(0.0, 5, steps + 1)], second, WIDE, api)
    assert found == pytest.approx((3.0, 2.0, 2.0))


# Queueing theory


@pytest.mark.parametrize("load", [0.3, 0.8])
def test_one_at_a_time_with_equal_times_is_the_queue_m_d_1(load: float) -> None:
    """Pollaczek and Khinchine: the mean wait is load x service / (2 (1 - load)); nobody waits in 1 - load of cases."""
    drawn = arriving(load, 15_000, ONE, ONE, seed=7)
    found = served(drawn, second, ONE_AT_A_TIME)
    waits = numpy.array([each.ttft_s for each in found]) - 1
    assert waits.mean() == pytest.approx(load / 2 / (1 - load), rel=0.08)
    assert (waits < 1e-9).mean() == pytest.approx(1 - load, rel=0.06)


def test_reading_alone_is_that_queue_too() -> None:
    drawn = arriving(0.5, 15_000, ONE, ONE, seed=3)
    server = Server(lambda decoding, prefilled: 1e-9, WIDE, Api(request_s=1.0))
    for which, request in enumerate(drawn):
        server.advance(request.at_s)
        server.offer(which, request)
    server.advance(inf)
    read = numpy.mean([each.begun_s - drawn[each.which].at_s for each in server.done])
    assert read - 1 == pytest.approx(0.5, rel=0.06)


# The fleet


def ttfts(router: Router, drawn: list[Request], count: int, death: Death | None = None) -> list[float | None]:
    """TTFT of each, None where it is lost."""
    found = carried(drawn, count, router, new(room=ONE_AT_A_TIME), Random(1), death)
    return [each and round(each.served.ttft_s, 6) for each in found.done]


def test_a_router_gives_each_its_turn_or_the_emptier_one() -> None:
    """A long one of 4 s and short ones of one: in turn the third waits behind the long one."""
    drawn = [Request(0.0, 5, 4), Request(0.5, 5, 1), Request(1.6, 5, 1)]
    assert ttfts("round-robin", drawn, 2) == [1.0, 1.0, 3.4]
    assert ttfts("least-requests", drawn, 2) == [1.0, 1.0, 1.0]


def test_of_idle_ones_not_always_the_first_is_taken() -> None:
    fleet = Fleet([new()(0.0) for _ in range(3)], "least-requests", Random(1))
    for at in (0.0, 10.0, 20.0):
        fleet.send(int(at), Request(at, 5, 1), at)
    fleet.chosen(inf)
    assert [len(server.done) for server in fleet.all] == [1, 1, 1]


DYING = [Request(0.0, 5, 9), Request(0.5, 5, 1), Request(2.0, 5, 1), Request(3.2, 5, 1), Request(9.0, 5, 1)]


def test_what_a_replica_has_when_it_dies_is_lost() -> None:
    """Round robin begins with the second: it serves the first request; the first, dying at 0.7 s, had the other."""
    assert ttfts("round-robin", DYING, 2, Death(0.7, 5.0, again=False))[1] is None
    assert ttfts("round-robin", DYING, 2, Death(0.7, 5.0, again=False)).count(None) == 1


def test_or_it_is_sent_again_to_another_and_waits_from_its_first_arrival() -> None:
    """It comes to the other at 0.7 s, behind the one of 9 s that runs there."""
    found = ttfts("round-robin", DYING, 2, Death(0.7, 5.0, again=True))
    assert found[:2] == [1.0, 9.5]
    assert None not in found


@pytest.mark.parametrize("again", [True, False])
def test_alone_it_takes_all_with_it_until_it_is_back(again: bool) -> None:
    """Dead from 0.7 s to 5.7 s: two were in flight, two come meanwhile; the last finds it back and empty."""
    assert ttfts("round-robin", DYING, 1, Death(0.7, 5.0, again)) == [None, None, None, None, 1.0]


def test_a_death_after_the_last_arrival_still_takes_what_runs() -> None:
    assert ttfts("random", [Request(0.0, 5, 9)], 1, Death(3.0, 60.0, again=True)) == [None]


# What comes


def test_a_day_has_its_average_and_its_busiest_hour() -> None:
    for factor in (1.5, 2.0, 6.0):
        rates = [each.requests_per_s for each in day(3.0, factor)]
        assert sum(rates) / 24 == pytest.approx(3.0)
        assert max(rates) == rates[14] == pytest.approx(3.0 * factor)
        assert rates[13] == pytest.approx(rates[15])
    assert [each.requests_per_s for each in day(3.0, 1.0)] == pytest.approx([3.0] * 24)


def test_rates_are_cut_by_the_hour_and_go_on_the_next_day() -> None:
    found = spans([Rate(0, 1.5, 2.0), Rate(23, 24, 5.0)], 25.5)
    assert [(each.start_s / 3600, each.end_s / 3600, each.requests_per_s, each.hour) for each in found] == [
        (0, 1, 2.0, 0),
        (1, 1.5, 2.0, 1),
        (23, 24, 5.0, 23),
        (24, 25, 2.0, 24),
        (25, 25.5, 2.0, 25),
    ]


def test_a_replicas_turn_comes_evenly() -> None:
    """Of 100 each has every hundredth of a Poisson stream: its gaps vary by a tenth of an exponential's."""
    stream = Stream(spans([Rate(0, 24, 100.0)], 1), [Requests(1.0, ONE, ONE)])
    gaps = [numpy.diff([each.at_s for each in stream.draw(0.01, every, Random(1))]) for every in (100, 1)]
    assert [each.mean() for each in gaps] == pytest.approx([1.0, 1.0], rel=0.05)
    assert [each.std() for each in gaps] == pytest.approx([0.1, 1.0], rel=0.1)


FORMS = {
    "ours": '{"time_s": 0.5, "input_tokens": 7, "output_tokens": 3}\n\n'
    '{"time_s": 2, "input_tokens": 8, "output_tokens": 1}\n',
    "azure": "TIMESTAMP,ContextTokens,GeneratedTokens\n"
    "2023-11-16 18:15:46.5000000,7,3\n2023-11-16 18:15:48.0000000,8,1\n",
    "azure-2024": "TIMESTAMP,ContextTokens,GeneratedTokens\n"
    "2024-05-10 00:00:00.5+00:00,7,3\n2024-05-10 00:00:02+00:00,8,1\n",
    "with-a-mark": "\ufefftime_s,input_tokens,output_tokens\r\n3,7,3\r\n4.5,8,1\r\n",
    "mooncake": '{"timestamp": 27000, "input_length": 7, "output_length": 3, "hash_ids": [1]}\n'
    '{"timestamp": 28500, "input_length": 8, "output_length": 1, "hash_ids": []}\n',
    "burstgpt": "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
    "5,ChatGPT,7,3,10,Conversation log\n6.5,GPT-4,8,1,9,API log\n",
}


@pytest.mark.parametrize("form", FORMS)
def test_a_trace_is_read_in_the_forms_that_public_ones_have(form: str, tmp_path: Path) -> None:
    path = tmp_path / "trace"
    path.write_text(FORMS[form], encoding="utf-8")
    assert trace.read(path) == [(0.0, 7, 3), (pytest.approx(1.5), 8, 1)]


LINE = '{"time_s": %s, "input_tokens": %s, "output_tokens": %s}\n'
ROW = "time_s,input_tokens,output_tokens\n%s,%s,%s\n"
WRONG = {
    "backwards": (LINE % (2, 7, 3) + LINE % (1, 7, 3), "In line 2 of FILE time runs backwards."),
    "empty": ("", "FILE holds no request."),
    "header-alone": ("time_s,input_tokens,output_tokens\n", "FILE holds no request."),
    "negative": (LINE % (2, -7, 3), "In line 1 of FILE input_tokens is no whole number from 1 to 20,000,000."),
    "no-answer": (LINE % (2, 7, 0), "In line 1 of FILE output_tokens is no whole number from 1 to 20,000,000."),
    "half": (LINE % (2, 7.5, 3), "In line 1 of FILE input_tokens is no whole number from 1 to 20,000,000."),
    "true": (LINE % (2, "true", 3), "In line 1 of FILE input_tokens is no whole number from 1 to 20,000,000."),
    "endless": (ROW % (2, "1e999", 3), "In line 2 of FILE input_tokens is no whole number from 1 to 20,000,000."),
    "nan": (ROW % ("NaN", 7, 3), "In line 2 of FILE the time of arrival is neither a number nor a date."),
    "nan-in-json": (LINE % ("NaN", 7, 3), "Line 1 of FILE is no JSON object."),
    "no-date": (LINE % ('"noon"', 7, 3), "In line 1 of FILE the time of arrival is neither a number nor a date."),
    "cut": (LINE % (2, 7, 3) + '{"time_s": 3, "inp', "Line 2 of FILE is no JSON object."),
    "list": ('{"time_s": 1}\n[1, 2, 3]\n', "Line 1 of FILE lacks a time or a length."),
    "other-names": ("when,in,out\n1,2,3\n", "Line 2 of FILE lacks a time or a length."),
    "short-row": ("time_s,input_tokens,output_tokens\n1,2\n", "Line 2 of FILE lacks a time or a length."),
    "deep": ("{" * 9 + "[" * 100_000, "Line 1 of FILE is no JSON object."),
    "years": (LINE % (0, 7, 3) + LINE % (1e9, 7, 3), "FILE holds more than 1,000,000 requests, or more than a year."),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_trace_that_is_wrong_is_refused_by_its_line(name: str, tmp_path: Path) -> None:
    path = tmp_path / "trace"
    text, said = WRONG[name]
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DocumentError) as caught:
        trace.read(path)
    assert caught.value.message.replace(str(path), "FILE") == said
    assert caught.value.hint


# A part of it


def question(source: Stream | Trace, replicas: int, router: Router, death: Death | None = None) -> Question:
    """On servers whose step takes 0.2 s, and as much for a thousand tokens of a prompt."""

    def step_s(decoding: int, prefilled: int) -> float:
        return 0.2 + prefilled / 5000

    room = Room(max_num_seqs=16, max_num_batched_tokens=2000, kv_tokens=10**9)
    return Question(source, replicas, router, death, lambda slower: new(step_s, room), 10_000)


def test_what_is_little_is_simulated_whole_and_what_is_much_in_part() -> None:
    def stream(rate: float, hours: float) -> Stream:
        return Stream(spans([Rate(0, 24, rate)], hours), [Requests(1.0, ONE, ONE)])

    assert passes.way(stream(2.0, 1), 4, "round-robin") == Way(4, 1.0, True)
    assert passes.way(stream(100.0, 1), 100, "random") == Way(6, 1.0, False)
    assert passes.way(stream(100.0, 24), 100, "random") == Way(1, 24_000 / 86_400, False)
    assert passes.way(stream(100.0, 24), 100, "least-requests") == Way(8, 24_000 / 86_400 / 8, False)
    with pytest.raises(UsageError, match="86,400,000 requests are more than can be simulated"):
        passes.way(stream(1000.0, 24), 1, "random")
    # A router that looks at all looks at no more than two million: of many idle ones some stand for all.
    assert passes.way(stream(1.0, 1), 100_000, "least-requests") == Way(7453, 1.0, False)
    assert passes.way(stream(1.0, 1), 100_000, "random") == Way(100_000, 1.0, True)
    many = Trace([Request(at / 100, 5, 5) for at in range(60_000)])
    assert passes.way(many, 10, "round-robin") == Way(4, 1.0, False)
    with pytest.raises(UsageError, match="60,000 requests are more"):
        passes.way(many, 1, "round-robin")


@pytest.mark.parametrize("router", ["round-robin", "random", "least-requests"])
def test_a_part_stands_for_the_whole(router: Router) -> None:
    """Mean TTFT and TPOT of some replicas and some of each hour are those of all, within what chance leaves."""
    rates = [Rate(0, 0.5, 2.0), Rate(1, 1.5, 5.0)]
    kind = Requests(1.0, Lengths(form="uniform", low=200, high=1500), Lengths(low=20))
    asked = question(Stream(spans(rates, 2), [kind]), 12, router)
    whole = passes.one(asked, Way(8, 1.0, True), 1.0, 5)
    part = passes.one(asked, Way(3 if router == "least-requests" else 2, 0.5, False), 1.0, 6)
    assert part.weight.sum() == pytest.approx(1800 * 7)
    assert len(part.at_s) < len(whole.at_s) / 2
    for name in ("ttft_s", "tpot_s"):
        means = [
            float((getattr(each, name) * each.weight).sum() / each.weight.sum()) for each in (whole, part)
        ]
        assert means[1] == pytest.approx(means[0], rel=0.06)
    assert part.overloaded == whole.overloaded == frozenset()


def test_a_queue_that_grows_for_an_hour_is_as_long_in_a_part_of_it() -> None:
    """One at a time a second each; 1.5 come a second for an hour, then nearly none: 900 s to wait on average."""
    source = Stream(spans([Rate(0, 1, 1.5), Rate(1, 2, 0.01)], 2), [Requests(1.0, ONE, ONE)])
    asked = Question(source, 1, "random", None, lambda slower: new(room=ONE_AT_A_TIME), 10)
    for way in (Way(1, 1.0, True), Way(1, 0.25, False)):
        found = passes.one(asked, way, 1.0, 2)
        waited = found.waited_s[found.hour == 0]
        assert float(waited.mean()) == pytest.approx(900, rel=0.2)
        assert found.overloaded == {0}


def test_a_death_in_a_part_is_of_one_replica_of_all() -> None:
    """What it had in flight is lost, and no more: not as many times as the part stands for the whole."""
    source = Stream(spans([Rate(0, 24, 40.0)], 2), [Requests(1.0, Lengths(low=500), Lengths(low=20))])
    asked = question(source, 40, "random", Death(5400.0, 60.0, again=False))
    found = passes.one(asked, Way(2, 0.3, False), 1.0, 4)
    lost = found.weight[~found.answered]
    assert found.weight.sum() == pytest.approx(40 * 7200, rel=1e-9)
    assert 1 <= lost.sum() == len(lost) <= 16
    assert set(found.hour[~found.answered]) == {1}
    assert float(found.waited_s[found.answered].max()) < 5  # those beside it get a little more, not all


def test_a_death_that_lasts_too_long_for_a_part_is_refused() -> None:
    source = Stream(spans([Rate(0, 24, 8.0)], 24), [Requests(1.0, ONE, ONE)])
    asked = question(source, 2, "random", Death(3600.0, 20_000.0, again=False))
    with pytest.raises(UsageError, match="While a replica is gone for 20000 s more comes"):
        passes.one(asked, passes.way(source, 2, "random"), 1.0, 1)


def test_what_is_too_long_is_refused_and_takes_no_place() -> None:
    source = Trace([Request(0.0, 5, 5), Request(0.1, 9_990, 11), Request(0.2, 5, 5)])
    found = passes.one(question(source, 1, "random"), passes.way(source, 1, "random"), 1.0, 1)
    assert found.refused.tolist() == [False, False, True]
    assert found.input_tokens.tolist() == [5, 5, 9990]
    assert found.answered.tolist() == [True, True, False]


# The verb


def asked(*words: str) -> int:
    return run(["simulate", "scout", "--precision", "int4", "--on", "p5.4xlarge", *words])


def answer(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, object]:
    asked(*words, "--json")
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def test_the_same_seed_says_the_same_and_all_that_arrive_are_accounted_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    coming = "--requests-per-s 2 --hours 0.05 --input-tokens 500~300 --output-tokens 90 --max-model-len 1400"
    words = f"{coming} --replicas 2 --die-at 0.02".split()
    found = answer(capsys, *words)
    assert answer(capsys, *words) == found
    assert answer(capsys, *words, "--seed", "2") != found
    assert found["refused"]
    # What one of two had in flight, of some 360 in all.
    assert 0 < int(str(found["lost"])) < 20 < 200 < int(str(found["served"]))
    assert found["arrived"] == sum(int(str(found[name])) for name in ("served", "lost", "refused"))
    assert found["usd"] == 0.69  # two machines at $6.88 for a twentieth of an hour


def test_hours_that_end_before_the_days_peak_say_so(capsys: pytest.CaptureFixture[str]) -> None:
    """The first hour of a night was called the busiest: 0.44 requests/s where 2.28 were asked for."""
    lengths = ("--input-tokens", "50", "--output-tokens", "2")
    words = ("--requests-per-s", "1.14", "--peak-factor", "2", *lengths, "--die-at", "peak")
    short = answer(capsys, *words, "--hours", "1")
    assert (short["peak_of_day_requests_per_s"], short["died_at_h"]) == (2.28, 0.5)
    assert float(str(short["peak_requests_per_s"])) < 0.5
    long_enough = answer(capsys, *words, "--hours", "14.1")
    assert ("peak_of_day_requests_per_s" in long_enough, long_enough["peak_requests_per_s"]) == (False, 2.28)
    rates = ("--rates", "0-8=0.1,8-9=1", *lengths)
    by_rates = {hours: answer(capsys, *rates, "--hours", hours) for hours in ("0.5", "8", "8.1")}
    assert {hours: found.get("peak_of_day_requests_per_s") for hours, found in by_rates.items()} == {
        "0.5": 1.0, "8": 1.0, "8.1": None,
    }  # fmt: skip
    asked(*words, "--hours", "1")
    said = capsys.readouterr().out
    assert " ".join(said.split("\n\n")[1].split()).startswith(
        "NOT THE PEAK: what is simulated ends 1 h after midnight, before the day's busiest hour, of 2.28 requests/s: "
        "the average, the busiest hour and --die-at peak are of those hours alone. The whole day: --hours 24; its peak "
        "alone: --requests-per-s 2.28, without --peak-factor or --rates. "
    )
    asked(*lengths, "--requests-per-s", "2.28", "--hours", "0.1")
    assert "NOT THE PEAK" not in capsys.readouterr().out


def test_a_plan_is_simulated_as_it_is_served(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its --max-num-seqs holds; what it says is not said again."""
    plan = str(tmp_path / "plan.json")
    run(["size", "scout", "--precision", "int4", "--on", "p5.4xlarge", "--max-num-seqs", "3", "-o", plan])
    capsys.readouterr()
    coming = ["--requests-per-s", "2", "--hours", "0.05"]
    assert run(["simulate", plan, *coming, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["max_num_seqs"], found["queue"]["running_most"]) == (3, 3)
    assert run(["simulate", plan, *coming, "--max-num-seqs", "4"]) == 2
    assert "error: The plan says what --max-num-seqs does." in capsys.readouterr().err


def test_a_plan_that_does_not_hold_as_it_is_served_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = tmp_path / "plan.json"
    run(["size", "scout", "--precision", "int4", "--on", "p5.4xlarge", "-o", str(plan)])
    words = json.loads(plan.read_text(encoding="utf-8"))
    words["serve"]["gpu_memory_utilization"] = 0.1
    plan.write_text(json.dumps(words), encoding="utf-8")
    assert run(["simulate", str(plan), "--requests-per-s", "1"]) == 3
    assert "error: As that plan is served it does not fit on p5.4xlarge.\nhint: corral size scout" in (
        capsys.readouterr().err
    )


def test_a_plan_of_capacity_says_its_traffic_and_its_replicas(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its classes, a day with its peak, as many machines as it counts on; what is said goes before that."""
    plan = str(tmp_path / "plan.json")
    classes = ["--class", "chat=75%,200/30", "--class", "rag=25%,1k/10"]
    question = [
        "capacity",
        "scout",
        "--requests-per-s",
        "0.2",
        "--peak-factor",
        "1.5",
        "--on",
        "p5.4xlarge",
        *classes,
    ]
    assert run([*question, "--spare", "1", "-o", plan]) == 0
    capsys.readouterr()
    assert run(["simulate", plan, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["hours"], found["replicas"], found["machines"], found["peak_requests_per_s"]) == (
        24,
        2,
        2,
        0.3,
    )
    assert found["requests_per_s"] == pytest.approx(0.2, rel=0.02)
    assert found["input_tokens"] == pytest.approx(0.75 * 200 + 0.25 * 1000, rel=0.03)
    assert (
        run(["simulate", plan, "--requests-per-s", "1", "--hours", "0.02", "--replicas", "3", "--json"]) == 0
    )
    said = json.loads(capsys.readouterr().out)
    assert (said["replicas"], said["hours"]) == (3, 0.02)
    assert said["of_plan"] == ["lengths"]
    assert said["input_tokens"] == pytest.approx(0.75 * 200 + 0.25 * 1000, rel=0.2)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--requests-per-s", "1", "--replicas", "0"], 2, "--replicas 0 is not between 1 and 100,000."),
        (["--requests-per-s", "1", "--percentile", "100"], 2, "--percentile 100 is not at least 50 and below 100."),
        (["--requests-per-s", "1", "--die-at", "1"], 2, "--die-at 1 is not within the 1 h that are simulated."),
        (["--requests-per-s", "1", "--die-at", "noon"], 2, "--die-at 'noon' is no hour."),
        (["--requests-per-s", "1e3", "--hours", "24"], 2, "86,400,000 requests are more than can be simulated on"),
        (["--requests-per-s", "1", "--rates", "0-1=1"], 2, "Say what comes, in one way."),
        ([], 2, "Say what comes, in one way."),
        (["--rates", "8-4=1"], 2, "--rates 8-4=1 is out of place: hours are of one day, one after the other"),
        (["--rates", "0-4=1,3-5=1"], 2, "--rates 0-4=1 is out of place"),
        (["--rates", "0-25=1"], 2, "--rates 0-25=1 is out of place"),
        (["--rates", "0-4=-1"], 2, "--rates 0-4=-1 is out of place"),
        (["--rates", "0-4=nan"], 2, "--rates '0-4=nan' is no rate of some hours."),
        (["--rates", "0-4=0"], 2, "By --rates nothing comes."),
        (["--rates", "4-8=1", "--hours", "3"], 2, "In the first 3 h of --rates nothing comes."),
        (["--rates", "4-8=1", "--peak-factor", "2"], 2, "--peak-factor shapes the day of --requests-per-s"),
        (["--requests-per-s", "1e-9"], 2, "In 1 h no request came."),
        (["--trace", "missing"], 4, "There is no trace at missing."),
        (["--trace", "missing", "--input-tokens", "7"], 2, "The trace says how long its requests are."),
        (
            ["--requests-per-s", "1", "--on", "2xH100", "--data-parallel-size", "2", "--tensor-parallel-size", "1"],
            2,
            "A replica with several copies of the attention is not simulated.",
        ),
        (["--requests-per-s", "1", "--on", "1xA10G"], 3, "The weights alone are 60.4 GiB per GPU"),
    ],
)  # fmt: skip
def test_what_cannot_be_simulated_is_refused(
    words: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert asked(*words) == code
    err = capsys.readouterr().err
    assert err.startswith(f"error: {said}")
    assert "\nhint: " in err


def test_a_replica_over_two_hosts_is_simulated_with_its_stages_in_lockstep(
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = (
        "simulate maverick --precision fp8 --on 16xH100 --requests-per-s 1 --hours 0.02 --output-tokens 50"
    )
    assert run(command.split()) == 0
    assert "- The batches of a pipeline's stages are taken to wait for each other: at most that long.\n" in (
        capsys.readouterr().out
    )


def test_a_broken_promise_ends_with_3_and_asks_for_more_replicas(capsys: pytest.CaptureFixture[str]) -> None:
    assert asked("--requests-per-s", "3", "--hours", "0.05", "--tpot", "0.012") == 3
    out = capsys.readouterr().out
    assert "THE PROMISE IS BROKEN (p95 TPOT 12 ms): " in out
    assert out.splitlines()[-1] == (
        "Next: corral simulate scout --requests-per-s 3 --hours 0.05 --replicas 2 --tpot 0.012 "
        "--precision int4 --on p5.4xlarge"
    )


def test_rates_are_said_again_as_they_were_typed() -> None:
    found = ComingOptions.of({"rates": "0-8=1.5,8-24=2k"})
    assert str(found.rates) == "0-8=1.5,8-24=2000"
    assert rates_typed(found.rates) == found.rates


def test_a_line_of_a_trace_without_a_name_is_told_which_are_known() -> None:
    with pytest.raises(DocumentError) as caught:
        trace.form_of({"timestamp": 1, "input_length": 7}, "line 2 of day.csv")
    assert (caught.value.message, caught.value.hint) == (
        "Line 2 of day.csv lacks a time or a length.",
        "Known names: time_s, input_tokens, output_tokens; timestamp, contexttokens, generatedtokens; "
        "timestamp, input_length, output_length; timestamp, request tokens, response tokens.",
    )
