"""Several classes of traffic: as they are typed, as they are planned for, and what each of them waits for."""

import re
from collections import Counter

import pytest
from poisson import arriving

from deploy.cli.main import run
from infra.asked import again
from infra.catalog import machine
from infra.errors import UsageError
from serving.probe.lengths import Lengths
from serving.sizing.batching import served
from serving.sizing.capacity import Choice, ClassTail, Question, Tail
from serving.sizing.capacity_load import options_of, replicas
from serving.sizing.capacity_search import replica_plan, settled
from serving.sizing.capacity_tail import Replica
from serving.sizing.carried_by import carried_by
from serving.sizing.fit import best_outcome
from serving.sizing.memory_pool import Case
from serving.sizing.predict import Mixed, Predictor
from serving.sizing.server_sizes import ServerSizes, mixture
from serving.sizing.sized_model import named
from serving.sizing.tail_run import SEED, SIMULATED, Arrivals, broken
from serving.sizing.traffic import Promise, Traffic
from serving.sizing.traffic_class import TrafficClass, class_typed
from serving.sizing.traffic_options import TrafficOptions

CHAT = TrafficClass(name="chat", share=0.7, input_tokens=Lengths(low=2000), output_tokens=Lengths(low=300))
RAG = TrafficClass(
    name="rag", share=0.3, input_tokens=Lengths(form="uniform", low=8000, high=16000), ttft_s=5.0, tpot_s=0.06,
    output_tokens=Lengths(low=500),
)  # fmt: skip
TYPED = ("chat=70%,2000/300", "rag=30%,8000-16000/500,ttft=5,tpot=0.06")


def traffic_of(*classes: str, **more: float) -> Traffic:
    return TrafficOptions.of({"requests_per_s": 2, "classes": classes} | more).traffic


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("chat=70%,2000/300", CHAT),
        ("chat: 70% 2k/300", CHAT),
        (" chat = 0.7 , 2,000 / 300 ", CHAT),
        (TYPED[1], RAG),
        ("rag=30%,8k-16k/500 tpot=60ms ttft=5s", RAG),
    ],
)
def test_a_class_as_it_is_typed(typed: str, meant: TrafficClass) -> None:
    assert class_typed(typed) == meant
    assert class_typed(str(meant)) == meant
    assert class_typed(meant) is meant


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["chat"], "--class chat is not a name, a share and the lengths IN/OUT."),
        (["chat=70%,2k"], "--class chat=70%,2k is not a name, a share and the lengths IN/OUT."),
        (["=70%,2k/300"], "--class =70%,2k/300 is not a name, a share and the lengths IN/OUT."),
        (["chat=some,2k/300"], "The share of --class chat, some, is no number."),
        (["chat=70,2k/300"], "The share of --class chat, 70, is not between 0.5% and 100%."),
        (["chat=0%,2k/300"], "The share of --class chat, 0%, is not between 0.5% and 100%."),
        (["chat=-70%,2k/300"], "The share of --class chat, -70%, is not between 0.5% and 100%."),
        (["chat=100%,2k/0"], "--class chat: 0 is out of range."),
        (["chat=100%,2k/300,ttl=5"], "--class chat: '300,ttl=5' is not a length in tokens."),
        (["chat=100%,11M/300"], "--class chat: 11M is beyond 10,485,760 tokens."),
        (["chat=100%,2k/300,ttft=soon"], "The ttft of --class chat, soon, is no number."),
        (["chat=100%,2k/300,tpot=0"], "The tpot of --class chat, 0, is not above 0."),
        (["chat=100%,2k/300,ttft=1,ttft=2"], "--class chat has two promises of one kind."),
        (["a=50%,2k/300", "a=50%,3k/300"], "--class names a twice."),
        (["a=50%,2k/300", "b=40%,3k/300"], "The shares of --class come to 0.9, not to 1."),
        (["a=70%,2k/300", "b=70%,3k/300"], "The shares of --class come to 1.4, not to 1."),
        ([f"c{each}=4.76%,1/1" for each in range(21)], "There are 21 classes, more than 20."),
        (
            ["a=100%,2/3" + 500 * " " + ","],
            f"--class a=100%,2/3{500 * ' '}, is not a name, a share and the lengths IN/OUT.",
        ),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else None,
)
def test_a_class_that_cannot_be_is_one_sentence(typed: list[str], message: str) -> None:
    with pytest.raises(UsageError) as error:
        traffic_of(*typed)
    assert error.value.message == message
    assert error.value.hint


def test_a_length_for_all_and_classes_are_a_contradiction(capsys: pytest.CaptureFixture[str]) -> None:
    command = [
        "capacity",
        "scout",
        "--requests-per-s",
        "2",
        "--class",
        "a=100%,2k/300",
        "--input-tokens",
        "9",
    ]
    assert run(command) == 2
    assert capsys.readouterr().err.startswith("error: --class says the lengths, --input-tokens ")


def test_means_and_the_longest_are_of_the_mixture() -> None:
    found = traffic_of(*TYPED)
    assert found.classes == (CHAT, RAG)
    assert (found.mean_input, found.mean_output) == (0.7 * 2000 + 0.3 * 12000, 360)
    assert found.longest == 17 * 1024  # 16,500 tokens
    assert found.tokens_per_month == 2 * 3600 * 730 * 5360
    monthly = TrafficOptions.of({"tokens_per_month": found.tokens_per_month, "classes": TYPED}).traffic
    assert monthly == found
    assert found.lengths == "70% chat (2000 tokens in, 300 out), 30% rag (8000-16000 tokens in, 500 out)"


def test_thirds_are_made_a_whole() -> None:
    shares = [each.share for each in traffic_of("a=33.3%,1/1", "b=33.3%,2/1", "c=33.3%,3/1").classes]
    assert shares == [pytest.approx(1 / 3)] * 3


def test_they_are_said_again_as_they_were_typed() -> None:
    asked = TrafficOptions.of({"requests_per_s": 2, "classes": list(TYPED)})
    assert again(asked) == f" --requests-per-s 2 --class {TYPED[0]} --class {TYPED[1]}"


def test_the_stream_draws_from_the_mixture() -> None:
    coming, same = (Arrivals(traffic_of(*TYPED)) for _ in range(2))
    requests, whose = list(coming.at(4.0)), coming.whose
    assert (requests, whose) == (list(same.at(4.0)), same.whose)
    assert len(requests) == SIMULATED
    assert Counter(whose)[1] / SIMULATED == pytest.approx(0.3, abs=0.03)
    assert requests[-1].at_s == pytest.approx(SIMULATED / 4, rel=0.05)
    for request, which in zip(requests, whose, strict=True):
        assert request.output_tokens == (300, 500)[which]
        assert request.input_tokens == 2000 if which == 0 else 8000 <= request.input_tokens <= 16000


def test_a_rare_class_is_simulated_often_enough_and_one_of_all_as_ever() -> None:
    whose = Arrivals(traffic_of("a=96%,9/9", "b=4%,9/9")).whose
    assert len(whose) == 5000
    assert len(Arrivals(traffic_of("a=99.5%,9/9", "b=0.5%,9/9")).whose) == 10_000
    plain = TrafficOptions.of({"requests_per_s": 2, "input_tokens": "5-9"}).traffic
    # Of the one in a hundred beyond p99 there are twenty, of one in five hundred as many.
    assert [len(Arrivals(plain, percent).whose) for percent in (50, 99, 99.5, 99.8, 99.99)] == [
        *(2000, 2000, 4000, 10_000, 10_000)
    ]
    lengths = plain.input_tokens, plain.output_tokens
    coming = Arrivals(plain)
    assert (list(coming.at(4.0)), coming.whose) == (arriving(4.0, SIMULATED, *lengths, SEED), [0] * SIMULATED)


@pytest.mark.parametrize(
    ("chat", "rag", "words"),
    [
        ((2.0, 0.05), (5.0, 0.06), None),  # each its own, though all together keep neither
        ((2.1, 0.05), (5.0, 0.06), "chat: p95 TTFT 2.10 s, promised 2"),
        ((2.0, 0.0501), (5.0, 0.06), "chat: p95 TPOT 50.1 ms, promised 50"),
        ((2.0, 0.05), (5.1, 0.06), "rag: p95 TTFT 5.10 s, promised 5"),
        ((2.0, 0.05), (5.0, 0.061), "rag: p95 TPOT 61.0 ms, promised 60"),
    ],
)
def test_a_promise_is_kept_to_each_class(
    chat: tuple[float, float], rag: tuple[float, float], words: str | None
) -> None:
    classes = tuple(
        ClassTail(name=name, requests=900, ttft_s=ttft_s, tpot_s=tpot_s, longest_pause_s=1.0)
        for name, (ttft_s, tpot_s) in (("chat", chat), ("rag", rag))
    )
    tail = Tail(percentile=95, requests=2000, ttft_s=9.0, tpot_s=0.9, longest_pause_s=1.0, classes=classes)
    assert broken(Promise(ttft_s=2.0, tpot_s=0.05), traffic_of(*TYPED), tail) == words


@pytest.mark.parametrize(
    ("classes", "equal"),
    [
        # 1,450 and 3,050 tokens are seen, nine times of ten the fewer: 1,610; four of a prompt for each of an answer
        (("a=50%,1000/900", "b=50%,3000/100"), (1432, 358)),
        (("a=100%,2000/300",), (2000, 300)),
        # Hardly any that is long decodes.
        (("a=1%,1/1000", "b=99%,10000/1"), (1800, 2)),
        (("a=99%,1/1", "b=1%,1/2"), (1, 1)),
    ],
)
def test_equal_requests_weigh_as_the_mixture_does(classes: tuple[str, ...], equal: tuple[int, int]) -> None:
    assert traffic_of(*classes).equal_requests == equal


@pytest.mark.parametrize(
    "classes",
    [("a=90%,500/200", "b=10%,30k/1000"), ("a=50%,200/1000", "b=50%,8k/50")],
    ids=["long", "unlike"],
)
def test_the_mean_of_a_simulated_mixture_is_that_of_equal_requests(classes: tuple[str, ...]) -> None:
    """Of means over requests it is 18 % less, or 60 % more."""
    traffic = traffic_of(*classes)
    question = Question(model="scout", traffic=traffic, promise=Promise(tpot_s=0.06))
    choice = choice_of(traffic, tpot_s=0.06)
    replica = Replica(question, choice, ServerSizes(question.promise, traffic))
    requests = list(Arrivals(traffic).at(traffic.peak_requests_per_s / choice.machines))
    found = zip(requests[200:], served(requests, replica.steps, replica.room)[200:], strict=True)
    decoded = [(request.output_tokens - 1, waited.tpot_s) for request, waited in found]
    mean = sum(tokens * tpot_s for tokens, tpot_s in decoded) / sum(tokens for tokens, _ in decoded)
    assert mean == pytest.approx(choice.tpot_s, rel=0.13)


def test_the_plan_of_a_mixture_is_priced_at_its_means() -> None:
    traffic = traffic_of("a=50%,200/1000", "b=50%,8k/50")
    question = Question(model="scout", traffic=traffic, promise=Promise(tpot_s=0.06))
    choice = choice_of(traffic, tpot_s=0.06)
    plan = replica_plan(question, choice, carried_by(question, (choice,), choice))
    assert plan.throughput is not None
    load = plan.workload
    assert (load.input_tokens, load.output_tokens, load.concurrency) == (4100, 525, choice.concurrency)
    assert plan.throughput.output_tokens_per_s / 525 == pytest.approx(choice.requests_per_s, rel=0.001)
    assert plan.serve.max_model_len == 8192


def choice_of(traffic: Traffic, **promised: float) -> Choice:
    """By means, on a machine that is known."""
    question = Question(model="scout", traffic=traffic, promise=Promise.model_validate(promised))
    whole = machine("g7e.2xlarge")
    return replicas(question, named("scout", "nvfp4"), whole, whole)


def test_by_means_a_class_has_its_own_promise_for_its_own_longest_prompt() -> None:
    late = choice_of(traffic_of("chat=70%,2k/300", "rag=30%,8k-16k/500,ttft=0.2"), ttft_s=9.0)
    assert re.fullmatch(
        r"even one request alone: rag: TTFT \d\.\d\d s for 16,000 tokens, promised 0\.2", late.why
    )
    slow = choice_of(traffic_of("chat=70%,2k/300,tpot=1ms", "rag=30%,12k/500"))
    assert re.fullmatch(r"even one request alone: chat: TPOT \d+\.\d ms, promised 1", slow.why)
    # An answer of one token has no time between tokens.
    assert choice_of(traffic_of("chat=70%,2k/1,tpot=1ms", "rag=30%,12k/500")).feasible


def test_one_class_that_is_all_is_as_none() -> None:
    plain = TrafficOptions.of({"requests_per_s": 2, "input_tokens": "2000"}).traffic
    assert choice_of(traffic_of("all=100%,2k/300"), tpot_s=0.05) == choice_of(plain, tpot_s=0.05)


def test_a_step_of_a_mixture_decodes_the_more_of_a_class_the_longer_its_answers_are() -> None:
    """Contexts of 1,450 and 3,050 tokens, nine decode of the first to one of the second: 1,610."""
    question = Question(
        model="scout", traffic=traffic_of("a=50%,1000/900", "b=50%,3000/100"), promise=Promise()
    )
    case = Case(named("scout", "nvfp4"), machine("g7e.2xlarge"), options_of(question))
    predictor = Predictor(case, best_outcome(case))
    mixed, alike = predictor.steps(mixture(question.traffic)), predictor.steps([Mixed(1.0, 1600, 20)])
    assert mixed(8, 0) == pytest.approx(alike(8, 0))
    assert mixed(8, 4096) > predictor.steps([Mixed(1.0, 1000, 900)])(8, 4096)
    same = predictor.steps([Mixed(1.0, predictor.options.input_tokens, predictor.options.output_tokens)])
    assert [same(8, 64), same(3, 0)] == [predictor.steps()(8, 64), predictor.steps()(3, 0)]


def test_what_is_printed_says_each_classs_tail(capsys: pytest.CaptureFixture[str]) -> None:
    classes = [word for each in TYPED for word in ("--class", each)]
    command = ["capacity", "scout", "--requests-per-s", "2", "--ttft", "2", "--tpot", "0.05", *classes]
    assert run([*command, "--on", "p5.48xlarge", "--precision", "bf16"]) == 0
    out = capsys.readouterr().out
    head, _, _ = out.partition("\n\n")
    promised = " (28.2 G tokens a month); promised: TTFT 2 s, TPOT 50 ms; to rag TTFT 5 s, TPOT 60 ms"
    assert " ".join(head.split()).endswith(promised)
    (chat,) = re.findall(r"\n    chat, 1,269 of them: TTFT ([\d.]+) s, TPOT ([\d.]+) ms, longest pause ", out)
    (rag,) = re.findall(r"\n    rag, 531 of them: TTFT ([\d.]+) s, TPOT ([\d.]+) ms, longest pause ", out)
    assert float(chat[0]) <= 2
    assert float(chat[1]) <= 50
    assert float(rag[0]) <= 5
    assert float(rag[1]) <= 60
    assert f" --class {TYPED[0]} --class {TYPED[1]} " in out.splitlines()[-1]


def test_what_slow_requests_make_dear_is_sought_no_further_and_the_first_is_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of two machines the second takes more than the first costs: how many more, nobody asks."""
    question = Question(
        model="scout",
        traffic=traffic_of("chat=70%,2k/300,ttft=1", "law=30%,20k/800"),
        promise=Promise(tpot_s=0.1, spare_machines=1),
        machines=("g7e.2xlarge", "g7e.4xlarge"),
        precision="nvfp4",
    )
    sizes = ServerSizes(question.promise, question.traffic)
    first, second = settled(question, sizes)
    assert (first.machine, first.machines, first.tail is None) == ("g7e.2xlarge", 28, False)
    assert (second.machine, second.machines, second.tail) == ("g7e.4xlarge", 25, None)
    monkeypatch.setattr("serving.sizing.capacity_search.most_below", lambda *_: None)
    whole, other = settled(question, ServerSizes(question.promise, question.traffic))
    assert whole == first
    assert (other.machines, other.tail is None) == (28, False)
