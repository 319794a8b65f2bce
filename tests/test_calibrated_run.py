"""What the server's own count of two prompts tells of lengths, from its answers alone."""

from types import SimpleNamespace
from typing import Any

import pytest

from serving.probe import run
from serving.probe.dataset import WORDS

LEARNING = "learning from the server's usage how long prompts are"


class Lexicon:
    """Says what it was told."""

    def __init__(self, name: str = "new") -> None:
        self.name = name

    def framed(self, tokens: int) -> tuple[str, str, int]:
        return self.name, "framed", tokens

    def measured(
        self, few: tuple[int, int], many: tuple[int, int]
    ) -> tuple[str, tuple[int, int], tuple[int, int]]:
        return self.name, few, many


def result(ok: bool, input_tokens: int | None) -> SimpleNamespace:
    return SimpleNamespace(ok=ok, input_tokens=input_tokens)


def learned(
    monkeypatch: pytest.MonkeyPatch,
    *answers: SimpleNamespace,
    counter: Any = None,
    exact: bool = False,
    texts: bool = True,
) -> tuple[Any, list[str], list[int]]:
    """What became of the lexicon, None where it is as it was; what was said; of how many words was asked."""
    left, said, asked = list(answers), list[str](), list[int]()
    maker: Any = SimpleNamespace(
        facts=SimpleNamespace(exact_lengths=exact),
        makes_texts=texts,
        lexicon=Lexicon("own"),
        salt="s",
        api=SimpleNamespace(trial_tokens=1),
        workload=SimpleNamespace(tokenizer="t.json"),
        counter=lambda: counter,
    )

    def tried(_: object, trial: str, prompt: Any) -> SimpleNamespace:
        assert trial == "trial"
        (each,) = prompt.messages
        asked.append(len(each["content"].split()))
        return left.pop(0)

    monkeypatch.setattr(run, "tried", tried)
    monkeypatch.setattr(run, "loads_before", lambda _: ["trial"])
    monkeypatch.setattr(run, "replace", lambda _, lexicon: lexicon)
    monkeypatch.setattr(run, "Lexicon", Lexicon)
    anything: Any = None
    found = run.calibrated(maker, anything, said.append)
    return (None if found is maker else found), said, asked


MANY, FEW = len(WORDS), len(WORDS[::8])


def test_two_prompts_tell_what_a_word_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    found = learned(monkeypatch, result(True, 500), result(True, 90))
    assert found == (("own", (FEW, 90), (MANY, 500)), [LEARNING], [MANY, FEW])


@pytest.mark.parametrize(
    "answers",
    [
        [result(False, 500)],
        [result(True, None)],
        [result(True, 0)],
        [result(True, 500), result(False, 90)],
        [result(True, 500), result(True, None)],
    ],
)
def test_a_server_that_does_not_count_tells_nothing(
    answers: list[SimpleNamespace], monkeypatch: pytest.MonkeyPatch
) -> None:
    found, said, asked = learned(monkeypatch, *answers)
    assert (found, said, asked) == (None, [LEARNING], [MANY, FEW][: len(answers)])


def test_what_is_known_already_is_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert learned(monkeypatch, exact=True) == (None, [], [])
    assert learned(monkeypatch, texts=False) == (None, [], [])


def test_a_tokenizer_of_the_users_is_held_to_the_servers_count(monkeypatch: pytest.MonkeyPatch) -> None:
    def counter(text: str) -> int:
        return len(text.split())

    apart = MANY - FEW
    found = learned(monkeypatch, result(True, MANY + 7), result(True, FEW + 7), counter=counter)
    assert found == (("own", "framed", 7), [LEARNING], [MANY, FEW])
    fewer = learned(monkeypatch, result(True, MANY - 3), result(True, FEW - 3), counter=counter)
    assert fewer[0] == ("own", "framed", 0)
    found, said, _ = learned(monkeypatch, result(True, 2 * MANY), result(True, 2 * FEW), counter=counter)
    assert found == ("new", (FEW, 2 * FEW), (MANY, 2 * MANY))
    assert said[1:] == [f"the tokenizer in t.json counts {apart} tokens where the server does {2 * apart}"]
