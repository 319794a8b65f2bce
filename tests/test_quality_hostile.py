"""Whatever a server, a file or another program says: a documented error, and nothing else."""

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fuzzing
import numpy
import pytest
from scripted import Scripted, answer

from deploy.cli.main import run
from infra.errors import CorralError
from serving.quality.answers import text_of
from serving.quality.blind import Pairs, Ratings, shuffled, win_rate
from serving.quality.blind_page import page
from serving.quality.divergence import of_text
from serving.quality.quality_report import Side
from serving.quality.scored import array_of, scored_from
from serving.quality.task_result import kept
from serving.quality.texts import read_texts

CHOICE = {
    "prompt_token_ids": [1, 2, 3],
    "prompt_logprobs": [None, {"2": {"logprob": -0.5}, "7": {"logprob": -1}}, {"3": {"logprob": -9999.0}}],
}
KEY = shuffled([("t", "a", "b")], Side(url="u", model="m"), Side(url="u", model="m"))
SAMPLE = b'{"doc_id": 0, "doc_hash": "h", "filter": "none", "metrics": ["acc"], "acc": 1.0}\n'
SUMMARY = b'{"n-samples": {"t": {"original": 9, "effective": 1}}, "lm_eval_version": "0.4.13"}'


def said(value: Any) -> bytes:
    """As it is sent."""
    return json.dumps(value).encode()


def saved(shape: tuple[int, ...], kind: str = "<f4") -> str:
    """An array as vLLM sends one."""
    file = io.BytesIO()
    numpy.save(file, numpy.full(shape, -1.5, kind))
    return base64.b64encode(file.getvalue()).decode()


def score(data: bytes) -> None:
    found = scored_from(fuzzing.parsed(data) or {})
    if found is not None:
        of_text(found.likely, found.likely)


def of_file(name: str) -> Callable[[bytes], object]:
    def act(data: bytes) -> None:
        Path(name).write_bytes(data)
        read_texts(Path(name))

    return act


def key(data: bytes) -> None:
    page(Pairs.parse(data, "x"))


ANSWER = {"choices": [{"message": {"content": "x"}}]}
RATINGS = {"document": "quality-ratings", "schema_version": 1, "page": "p", "ratings": {"1": "left"}}


def rate(data: bytes) -> None:
    win_rate(KEY, Ratings.parse(data, "x"))


ACTS: dict[str, tuple[Callable[[bytes], object], list[bytes], tuple[type[Exception], ...], int]] = {
    # What the door takes for an answer that makes no sense.
    "scored": (score, [said(CHOICE)], (ValueError, TypeError, AttributeError), 600),
    "array": (lambda data: array_of(data, (2, 3)), [saved((2, 3)).encode()], (ValueError,), 0),
    "answer": (lambda data: text_of(fuzzing.parsed(data), "chat"), [said(ANSWER)], (), 300),
    "texts": (of_file("t.txt"), [b"one\n\ntwo \xc3\xa9"], (CorralError,), 0),
    "lines": (of_file("t.jsonl"), [b'{"text": "one"}\n{"prompt": "two"}'], (CorralError,), 0),
    "samples": (
        lambda data: kept(None, {"results_1.json": SUMMARY, "samples_t_1.jsonl": data}), [SAMPLE], (ValueError,), 300
    ),
    "results": (
        lambda data: kept(None, {"results_1.json": data, "samples_t_1.jsonl": SAMPLE}), [SUMMARY], (ValueError,), 300
    ),
    "pairs": (key, [KEY.text().encode()], (CorralError,), 300),
    "ratings": (rate, [said(RATINGS)], (CorralError,), 300),
}  # fmt: skip


@pytest.mark.parametrize("name", ACTS)
def test_only_documented_errors_come_out(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    act, seeds, typed, fields = ACTS[name]
    assert fuzzing.fuzz(act, seeds, typed, fields, 200, name).found == {}


@pytest.mark.parametrize(
    "text",
    [
        saved((3, 2)), saved((2, 3), "<i4"), saved((6,)), saved((2, 3))[:-8], "", "!", None,
        base64.b64encode(
         b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }".ljust(128)).decode(),
        base64.b64encode(
         b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'fortran_order': False, 'shape': (2, 3), }".ljust(128)).decode(),
    ],
)  # fmt: skip
def test_an_array_of_another_form_is_none(text: Any) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of any words
        array_of(text, (2, 3))


def test_an_array_is_read_as_it_was_written() -> None:
    assert array_of(saved((2, 3)), (2, 3)).tolist() == [[-1.5] * 3] * 2


COMPLETIONS = "/v1/completions"
TOO_LARGE = b" " * (64 * 1024 * 1024 + 1)


@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    [
        (said({"choices": []}), 200, "A (URL) says log-probabilities that make no sense: list index out of range."),
        (said({"choices": [CHOICE | {"prompt_logprobs": [None]}]}), 200,
         "A (URL) says log-probabilities that make no sense: as many log-probabilities as tokens are expected."),
        (said({"choices": [CHOICE | {"prompt_token_ids": [1, 5, 3]}]}), 200,
         "A (URL) says log-probabilities that make no sense: a token of the text has no log-probability."),
        (said({"choices": [{"prompt_token_ids": [1, 2], "prompt_logprobs": [None, {"2": {"logprob": 0.7}}]}]}), 200,
         "A (URL) says log-probabilities that make no sense: a log-probability is none."),
        (b"<html>", 200,
         "A (URL) says log-probabilities that make no sense: unexpected character, expected a JSON value: "
         "line 1 column 1 (char 0)."),
        (b"nginx", 502, "URL/v1/completions answers 502: nginx."),
        (b"{}", 429, "URL/v1/completions is rate-limited: HTTP 429: {}."),
        (TOO_LARGE, 200,
         "URL does not speak HTTP as a model server does: more than 67,108,864 bytes for a short question."),
    ],
    ids=["no choice", "too few", "another token", "above one", "html", "proxy", "limited", "flood"],
)  # fmt: skip
def test_a_server_that_makes_no_sense_is_one_sentence(
    body: bytes, status: int, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "t.txt").write_text("one two")
    server = Scripted({COMPLETIONS: lambda: answer(body, status)})
    try:
        assert run(["quality", server.url, server.url, "--texts", str(tmp_path / "t.txt")]) == 8
    finally:
        server.close()
    told = capsys.readouterr().err.replace(server.url, "URL")
    assert [line for line in told.splitlines() if line.startswith("error")] == [f"error: {sentence}"]
