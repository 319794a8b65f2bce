"""Which of the user's prompts are sent: none that the model's context has no room for."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asking
import pytest
from probing import on_any_machine

from infra.errors import UsageError
from serving.probe import fitting as fit
from serving.probe import prompts
from serving.probe.dataset import Composer, Lexicon, message
from serving.probe.fitting import Fitting, fitted, fitting
from serving.probe.lengths import Lengths
from serving.probe.prompts import Line
from serving.probe.results import read as read_results
from serving.probe.run import run
from serving.probe.run_records import Result
from serving.probe.spec import Load, Workload

Fake = Callable[..., str]
WORK = Workload(input_tokens=Lengths(low=9), output_tokens=Lengths(form="uniform", low=1, high=20))
FILE = Path("mine")


def composer(own: Callable[[str], int] | None = None) -> Composer:
    made = Composer(Lexicon(), random.Random(0))
    made.own = own
    return made


def ask_nobody(messages: list[dict[str, Any]]) -> int | None:
    pytest.fail(f"it surely fits, or its length is known: {messages}")


def of_words(count: int, **more: Any) -> Line:
    return Line({"prompt": "four " * count, **more})


def test_what_surely_fits_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [of_words(100, output_tokens=244), Line({"input_tokens": 995, "output_tokens": 5})]
    assert fitting(lines, WORK, 1000, composer(ask_nobody), ask_nobody, FILE) == Fitting()  # type: ignore[arg-type]
    assert fitting([of_words(10**6)], WORK, None, composer(), ask_nobody, FILE) == Fitting()


@pytest.mark.parametrize(("tokens", "left_out"), [(990, set()), (991, {1})])
def test_what_may_not_is_counted_by_the_server_with_its_answer(tokens: int, left_out: set[int]) -> None:
    lines = [of_words(5), of_words(1000, output_tokens=10)]
    assert fitting(lines, WORK, 1000, composer(), lambda messages: tokens, FILE) == Fitting(
        frozenset(left_out)
    )


@pytest.mark.parametrize(
    ("record", "answer"),
    [
        ({"prompt": "x"}, 20),  # drawn: the longest
        ({"prompt": "x", "output_tokens": 7}, 7),
        ({"conversations": [{"from": "human", "value": "x"}, {"from": "gpt", "value": "a b c d e f"}]}, 8),
    ],
)
def test_an_answer_takes_its_room(record: dict[str, Any], answer: int) -> None:
    assert fit.answer_tokens(Line(record), WORK, composer()) == answer


def test_the_users_own_tokenizer_counts_before_anybody() -> None:
    lines = [of_words(5), of_words(1000), of_words(2000)]
    own = lambda text: len(text.split())  # noqa: E731
    assert fitting(lines, WORK, 1020, composer(own), ask_nobody, FILE) == Fitting(frozenset({2}))


def test_where_nobody_counts_an_estimate_does_and_that_is_said() -> None:
    lines = [of_words(5), of_words(1000), of_words(400)]
    found = fitting(lines, WORK, 1000, composer(), lambda messages: None, FILE)
    assert found == Fitting(frozenset({1}), is_estimate=True)
    assert found.note(lines, 1000) == (
        "1 of 3 prompts are left out, some by an estimate of their length: with their answers they are longer than the"
        " 1,000 tokens that this server allows",
    )
    assert Fitting().note(lines, 1000) == ()
    assert [fit.estimate(text) for text in ("", "a", "一" * 400, "four " * 300)] == [0, 2, 300, 400]


def test_pictures_are_no_text() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:" + "x" * 10_000}}
    spoken: list[dict[str, Any]] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [picture, {"text": "Who?"}]},
    ]
    assert fit.text_of([*spoken, {"role": "assistant", "content": None}]) == "Be brief.\nWho?"


def test_a_length_that_does_not_fit_is_left_out_without_a_question() -> None:
    lines = [Line({"input_length": length, "output_length": 10}) for length in (990, 991, 5)]
    assert fitting(lines, WORK, 1000, composer(), ask_nobody, FILE) == Fitting(frozenset({1}))


def test_a_file_of_which_nothing_fits() -> None:
    with pytest.raises(UsageError) as refused:
        fitting([Line({"input_tokens": 1000})], WORK, 1000, composer(), ask_nobody, FILE)
    assert (refused.value.message, refused.value.hint) == (
        "No prompt of mine fits the 1,000 tokens that this server allows, its answer among them.",
        "Give shorter ones, or start the server with a larger --max-model-len.",
    )


def test_a_trace_loses_the_moments_of_what_is_left_out() -> None:
    load = Load(shape="replay", trace=(0.0, 1.0, 2.0, 3.0))
    assert fitted(load, frozenset({0, 2})).trace == (1.0, 3.0)
    assert fitted(load, frozenset()) is load


@pytest.mark.parametrize("processes", [1, 2])
def test_no_prompt_is_sent_that_the_server_has_no_room_for(
    fake_llm: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: int
) -> None:
    """A conversation of ShareGPT's that is too long, one whose answer is, and two that fit."""
    on_any_machine(monkeypatch)
    talks = [("short", "yes"), ("long " * 9000, "yes"), ("short", "no " * 9000), ("who?", "me")]
    file = tmp_path / "sharegpt.json"
    file.write_text(
        json.dumps(
            [
                {"conversations": [{"from": "human", "value": a}, {"from": "gpt", "value": b}]}
                for a, b in talks
            ]
        )
    )
    workload = asking.workload_of("32", "5", "chat").model_copy(update={"prompts_file": file})
    made = run(
        asking.target_of(fake_llm(itl_ms=1), api="chat"),
        asking.load_of(concurrency=2, requests=8, processes=processes),
        workload,
        tmp_path / "out",
    )
    assert (made.succeeded, made.errors) == (8, {})
    assert (
        "2 of 4 prompts are left out: with their answers they are longer than the 8,192 tokens that this server allows"
        in made.notes
    )
    assert prompts.read(file)[1].messages == [message("long " * 9000)]


def test_what_is_replayed_keeps_its_own_moments(
    fake_llm: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_any_machine(monkeypatch)
    file = tmp_path / "trace.jsonl"
    lengths = {0: 20, 10: 9000, 20: 30, 30: 8200}
    file.write_text(
        "".join(json.dumps({"timestamp": at, "input_length": n}) + "\n" for at, n in lengths.items())
    )
    workload = asking.workload_of("32", "5").model_copy(update={"prompts_file": file})
    times = prompts.trace(prompts.read(file), file)
    run(asking.target_of(fake_llm(itl_ms=1)), asking.load_of(times), workload, tmp_path / "out")
    kept = [
        result for result in read_results(tmp_path / "out" / "results.jsonl")[1] if isinstance(result, Result)
    ]
    assert sorted((each.scheduled_us, each.input_tokens) for each in kept) == [(0, 20), (20_000, 30)]
