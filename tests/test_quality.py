"""`corral quality`: two endpoints on the same texts, against a server whose every figure can be reckoned."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy
import pytest
from fake_scorer import Fake, Logits, log_softmax, serving, table

from deploy.cli.main import run
from serving.quality.answers import common_share
from serving.quality.bootstrap import Interval, of_ratio, of_share
from serving.quality.divergence import GRAIN, divergence

TEXTS = (
    "the horse fence gate",
    "ranch river valley grass wind cloud",
    "stone field water light night morning the",
    "gate the gate the river",
)


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    path = tmp_path / "texts.txt"
    path.write_text("\n\n".join(TEXTS))
    return path


def compared(capsys: pytest.CaptureFixture[str], a: Fake, b: Fake, *words: str) -> tuple[int, Any, str]:
    """Exit code, what --json prints, and stderr."""
    with serving(a, b):
        code = run(["quality", a.url, b.url, *words, "--json"])
    said = capsys.readouterr()
    return code, json.loads(said.out), said.err


def exact(p: Logits, q: Logits, texts: Sequence[str] = TEXTS) -> tuple[float, float, float]:
    """Perplexity of both, and KL a token, over the whole vocabulary: reckoned apart from the code."""
    surprise_p = surprise_q = kl = 0.0
    tokens = 0
    for text in texts:
        ids = Fake().ids(text)
        of_p, of_q = log_softmax(p[ids[:-1]]), log_softmax(q[ids[:-1]])
        at = numpy.arange(len(ids) - 1), ids[1:]
        surprise_p -= float(of_p[at].sum())
        surprise_q -= float(of_q[at].sum())
        kl += float((numpy.exp(of_p) * (of_p - of_q)).sum())
        tokens += len(ids) - 1
    return math.exp(surprise_p / tokens), math.exp(surprise_q / tokens), kl / tokens


def test_a_model_against_itself_is_no_difference(texts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found, _ = compared(capsys, Fake(), Fake(), "--texts", str(texts), "--logprobs", "5")
    perplexity, _, _ = exact(table(), table())
    assert code == 0
    assert found["finding"] == "no difference shown"
    assert found["perplexity"]["a"] == pytest.approx(perplexity)
    assert found["perplexity"]["b"] == found["perplexity"]["a"]
    assert found["perplexity"]["b_over_a"] == {"mean": 1.0, "low": 1.0, "high": 1.0}
    kl = found["kl_per_token"]
    assert (kl["mean"], kl["low"], kl["high"], kl["at_a_ids"]) == (0.0, 0.0, 0.0, False)
    assert 0.5 < kl["covered"] < 1
    assert found["agreement"]["same"]["mean"] == found["agreement"]["common"]["mean"] == 1.0
    assert found["noise"]["kl_per_token"]["mean"] == 0.0
    assert (found["texts"], found["tokens"]) == (4, 22)


def test_a_damaged_one_is_worse_by_the_whole_vocabulary(
    texts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = Fake(), Fake(table(noise=1.5))
    _, found, _ = compared(capsys, a, b, "--texts", str(texts), "--logprobs", "17")
    of_a, of_b, kl = exact(a.logits, b.logits)
    assert found["finding"] == "different"
    assert found["perplexity"]["a"] == pytest.approx(of_a)
    assert found["perplexity"]["b"] == pytest.approx(of_b)
    assert found["perplexity"]["b_over_a"]["mean"] == pytest.approx(of_b / of_a)
    assert found["kl_per_token"]["mean"] == pytest.approx(kl, rel=1e-4)
    assert found["kl_per_token"]["covered"] == pytest.approx(1.0)
    assert found["kl_per_token"]["low"] < kl < found["kl_per_token"]["high"]
    assert found["agreement"]["same"]["mean"] < 1


@pytest.mark.parametrize("count", [1, 3, 8])
def test_of_few_tokens_the_divergence_is_a_lower_bound(
    count: int, texts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = Fake(), Fake(table(noise=1.5))
    _, found, _ = compared(capsys, a, b, "--texts", str(texts), "--logprobs", str(count))
    assert 0 < found["kl_per_token"]["mean"] < exact(a.logits, b.logits)[2]


def test_at_as_own_tokens_b_is_asked_where_it_can_say(
    texts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = Fake(), Fake(table(noise=1.5), at_ids=True)
    _, found, _ = compared(capsys, a, b, "--texts", str(texts), "--logprobs", "3")
    total, tokens = 0.0, 0
    for text in TEXTS:
        ids = a.ids(text)
        for p, q in zip(log_softmax(a.logits[ids[:-1]]), log_softmax(b.logits[ids[:-1]]), strict=True):
            best = (-p).argsort()[:3]
            rest = 1 - numpy.exp(p[best]).sum(), 1 - numpy.exp(q[best]).sum()
            total += float((numpy.exp(p[best]) * (p - q)[best]).sum() + rest[0] * math.log(rest[0] / rest[1]))
            tokens += 1
    assert found["kl_per_token"]["at_a_ids"]
    assert found["kl_per_token"]["mean"] == pytest.approx(total / tokens, rel=1e-4)
    assert not [note for note in found["notes"] if "lower bound" in note]


def test_what_a_differs_from_itself_is_no_difference_of_b(
    texts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """B is A a little bent, and A asked twice bends as far."""
    bent = Fake(table() * 1.05, jitter=0.0)
    _, found, _ = compared(capsys, Fake(jitter=0.05), bent, "--texts", str(texts))
    assert found["noise"]["kl_per_token"]["mean"] > 0
    assert found["finding"] == "no difference shown"


def test_without_alternatives_or_answers_perplexity_alone_is_said(
    texts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = Fake(), Fake(table(noise=1.5))
    _, found, _ = compared(capsys, a, b, "--texts", str(texts), "--logprobs", "0", "--answer-tokens", "0")
    assert (found["kl_per_token"], found["agreement"], found["noise"]["agreement"]) == (None, None, None)
    assert found["perplexity"]["b"] == pytest.approx(exact(a.logits, b.logits)[1])
    assert {path for path, _ in a.asked} == {"/v1/models", "/version", "/tokenize", "/v1/completions"}


def test_it_is_told_in_words_and_kept(
    texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1795910400")
    a, b = Fake(), Fake(table(noise=1.5))
    with serving(a, b):
        assert run(["quality", a.url, b.url, "--texts", str(texts), "--output", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out.replace(a.url, "A-URL").replace(b.url, "B-URL")
    assert out == TOLD
    kept = json.loads((tmp_path / "out" / "quality.json").read_text())
    assert (kept["document"], kept["texts"], kept["a"]["url"]) == ("quality", 4, a.url)


TOLD = """\
DIFFERENT: B against A on 4 texts, 22 tokens, 2026-11-29
  B foretells these texts worse than A: its perplexity is 153.41% higher.

  A  fake at A-URL, vLLM 0.32.0
  B  fake at B-URL, vLLM 0.32.0

                                      95 % by text      A from itself
  perplexity of A           44.6      30.75 to 84.99
  perplexity of B           113       51.07 to 272.3
  B / A                     2.5341    1.3552 to 6.4235  1.0000
  KL(A || B), nats a token  >= 0.692  0.597 to 0.839    0
  mass that it saw          100.00%
  same answer               25%       5% to 70%         100%
  in common                 26%       1% to 75%         100%

- 4 texts are few: intervals drawn from them are rather too narrow.
- KL is a lower bound: only tokens that both name are told apart. A vLLM on a GPU that is started
  with --enable-scale-out is asked of A's own.
- Each was asked one request at a time; beside others, on a GPU, a server differs more from itself.
"""


@pytest.mark.parametrize(
    ("a", "b", "words", "code", "said"),
    [
        (Fake(), Fake(scores=False), (), 2,
         "error: B (B-URL) says no log-probabilities of a prompt.\n"
         "hint: Let a person compare the answers of both: add --blind.\n"),
        (Fake(scores=False), Fake(), (), 2,
         "error: A (A-URL) says no log-probabilities of a prompt.\n"
         "hint: Let a person compare the answers of both: add --blind.\n"),
        (Fake(), Fake(most_logprobs=7), (), 2,
         "error: B (B-URL) refuses the log-probabilities of the 20 most likely tokens.\n"
         "hint: Ask for fewer, --logprobs 5, or start it with --max-logprobs 20.\n"),
        (Fake(), Fake(first_id=7), (), 2,
         "error: A and B cut text 1 into different tokens, from the 1. on (5 and 5 of them): their "
         "log-probabilities cannot be compared.\n"
         "hint: Let a person compare the answers of both: add --blind.\n"),
        (Fake(), Fake(longest=10), ("--answer-tokens", "0"), 0, ""),
        (Fake(), Fake(longest=7), ("--answer-tokens", "0"), 2,
         "error: Text 2 needs 8 tokens of context with its answer; B (B-URL) has 7.\n"
         "hint: Shorten that text, leave it out, or start the server with a larger --max-model-len.\n"),
        (Fake(), Fake(longest=30), ("--answer-tokens", "25"), 2,
         "error: Text 1 needs 34 tokens of context with its answer; B (B-URL) has 30.\n"
         "hint: Shorten that text, leave it out, or start the server with a larger --max-model-len.\n"),
        (Fake(), Fake(key="secret"), (), 5,
         "error: B-URL refuses the request: HTTP 401.\n"
         "hint: Give its key: --api-key-file-b key.txt, or in CORRAL_API_KEY_B.\n"),
        (Fake(status=500), Fake(), (), 8,
         "error: A-URL/v1/completions answers 500: EngineCore died.\n"
         "hint: Look at the server's log; what corral started is in: corral status\n"),
        (Fake(), Fake(), ("--model-b", "other"), 2,
         "error: B (B-URL) has no model of the name other: no such model.\n"
         "hint: Leave --model-b out to take the first that it lists.\n"),
        (Fake(), Fake(), ("--api-b", "messages"), 2,
         "error: Which model of B (B-URL) is asked is not said.\n"
         "hint: Say it: --model-b NAME\n"),
    ],
    ids=[
        "B without", "A without", "too many", "another tokenizer", "long enough", "text too long", "answer too long",
        "no key", "dead", "no such model", "a model unsaid",
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_one_sentence_and_a_hint(
    a: Fake,
    b: Fake,
    words: tuple[str, ...],
    code: int,
    said: str,
    texts: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with serving(a, b):
        asked = ["quality", a.url, b.url, "--texts", str(texts), "--output", str(tmp_path / "out"), *words]
        assert run(asked) == code
    told = capsys.readouterr().err.replace(a.url, "A-URL").replace(b.url, "B-URL")
    assert (
        "".join(line for line in told.splitlines(keepends=True) if line.startswith(("error", "hint"))) == said
    )
    assert (tmp_path / "out").exists() == (code == 0)


@pytest.mark.parametrize(
    ("name", "data", "sentence"),
    [
        ("t.txt", b"", "FILE holds no text."),
        ("t.txt", b" \n\n\t\n", "FILE holds no text."),
        ("t.txt", b"caf\xe9", "FILE is not UTF-8: byte 3 is 0xe9."),
        ("t.txt", "text".encode("utf-16"), "FILE is not UTF-8: byte 0 is 0xff."),
        ("t.jsonl", b'{"text": "a"}\n{"txt": "b"}', "Line 2 of FILE is no text: it has neither text nor prompt."),
        ("t.jsonl", b'{"text": ""}', "Line 1 of FILE is no text: it has neither text nor prompt."),
        ("t.jsonl", b"plain words",
         "Line 1 of FILE is no text: unexpected character, expected a JSON value: line 1 column 1 (char 0)."),
    ],
)  # fmt: skip
def test_texts_that_are_none_are_named_before_anybody_is_asked(
    name: str, data: bytes, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    assert run(["quality", "http://127.0.0.1:1", "http://127.0.0.1:1", "--texts", str(path)]) == 4
    assert capsys.readouterr().err.splitlines()[0].replace(str(path), "FILE") == f"error: {sentence}"


def test_json_lines_and_plain_texts_are_read_alike(tmp_path: Path) -> None:
    from serving.quality.texts import read_texts

    lines, plain = tmp_path / "t.jsonl", tmp_path / "t.txt"
    lines.write_text('{"text": "one\\ntwo"}\n\n{"prompt": "three"}\n{"text": "three"}\n')
    plain.write_bytes(b"\xef\xbb\xbfone\r\ntwo\r\n\r\n \r\nthree\n\nthree\n")
    assert read_texts(lines) == read_texts(plain) == ("one\ntwo", "three")


def test_a_divergence_of_distributions_that_are_said_whole_is_exact() -> None:
    p, q = (
        {1: math.log(0.5), 2: math.log(0.25), 3: math.log(0.25)},
        {1: math.log(0.25), 2: math.log(0.5), 3: math.log(0.25)},
    )
    kl, mass = divergence(p, q)
    assert kl == pytest.approx(0.25 * math.log(2))
    assert mass == pytest.approx(1.0)


def test_what_both_say_nothing_of_is_no_divergence() -> None:
    assert divergence({1: math.log(0.5)}, {2: math.log(0.5)}) == (0.0, 0.0)
    assert divergence({}, {}) == (0.0, 0.0)


def test_a_rest_below_what_is_known_of_sums_is_none() -> None:
    kl, mass = divergence({1: 0.0}, {1: 0.0, 2: -30.0})
    assert (kl, mass) == (0.0, 1.0)
    assert divergence({1: 0.0}, {1: -1e-7})[0] < GRAIN


def test_an_interval_is_of_texts_and_the_same_each_time() -> None:
    one = of_ratio([1.0, 2.0, 9.0], [1.0, 1.0, 1.0])
    assert one == of_ratio([1.0, 2.0, 9.0], [1.0, 1.0, 1.0])
    assert (one.mean, one.low, one.high) == (4.0, 1.0, 9.0)
    assert of_ratio([3.0], [2.0]) == Interval(mean=1.5)
    assert of_ratio([2.0, 4.0], [1.0, 2.0]) == Interval(mean=2.0, low=2.0, high=2.0)


def test_a_share_has_wilsons_interval() -> None:
    """10 of 20 and 20 of 20: the textbook's."""
    half, whole = of_share(10, 20), of_share(20, 20)
    assert half.low == pytest.approx(0.2993, abs=1e-4)
    assert half.high == pytest.approx(0.7007, abs=1e-4)
    assert whole.low == pytest.approx(0.8389, abs=1e-4)
    assert (whole.mean, whole.high) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("a", "b", "share"),
    [
        ("", "", 1.0),
        ("same", "same", 1.0),
        ("same", "same and more", 4 / 13),
        ("abcd", "abxy", 0.5),
        ("a", "", 0.0),
    ],
)
def test_what_two_answers_have_in_common_is_their_beginning(a: str, b: str, share: float) -> None:
    assert common_share(a, b) == common_share(b, a) == share
