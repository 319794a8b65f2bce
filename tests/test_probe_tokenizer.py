"""A tokenizer of the user's own: what it counts, what a server puts around it, and what is no tokenizer."""

import sys
from collections.abc import Callable
from pathlib import Path

import asking
import pytest
from probing import on_any_machine

from infra.errors import DocumentError, HostError
from serving.model.tiny_tokenizer import write
from serving.probe.run import run
from serving.probe.tokenizer_file import counter

HINT = "Give the model's folder, which holds tokenizer.json, or that file."


def test_what_it_counts_is_the_text_alone(tmp_path: Path) -> None:
    write(tmp_path)
    for path in (tmp_path, tmp_path / "tokenizer.json"):
        assert counter(path)("the city and the river") == counter(path)("the city") + counter(path)(
            " and the river"
        )


@pytest.mark.parametrize("name", ["folder", "none", "text", "bytes", "other"])
def test_what_is_no_tokenizer_is_one_sentence(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "text").write_text("hello")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    (tmp_path / "other").write_text('{"model": {"type": "Mystery"}}')
    with pytest.raises(DocumentError) as caught:
        counter(tmp_path / name)
    said = {
        "folder": f"{tmp_path}/folder holds no tokenizer.json.",
        "none": f"There is no file {tmp_path}/none.",
        "bytes": f"{tmp_path}/bytes cannot be read: it is no text.",
    }
    assert (caught.value.message, caught.value.hint) == (
        said.get(name, f"{tmp_path}/{name} is no tokenizer."),
        HINT,
    )


def test_without_the_library_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(HostError) as caught:
        counter(tmp_path)
    assert (caught.value.message, caught.value.hint) == (
        "--tokenizer needs the library tokenizers, which is not installed.", "pip install tokenizers",
    )  # fmt: skip


def test_one_that_is_not_the_servers_is_told_and_not_used(
    fake_llm: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fake has 1.5 tokens a word and more, this tokenizer one a letter."""
    on_any_machine(monkeypatch)
    from tokenizers import Tokenizer, models, pre_tokenizers

    made = Tokenizer(models.WordLevel({"?": 0}, unk_token="?"))
    made.pre_tokenizer = pre_tokenizers.FixedLength(length=1)
    made.save(str(tmp_path / "tokenizer.json"))
    said: list[str] = []
    report = run(
        asking.target_of(fake_llm(vllm=False)), asking.load_of(requests=4),
        asking.workload_of("400", "2", tokenizer=str(tmp_path)), tmp_path / "out", say=said.append,
    )  # fmt: skip
    assert report.input_tokens / 4 == pytest.approx(400, rel=0.02)
    assert (report.notes[0].split(": ")[0], report.notes[0].rpartition("; ")[2]) == (
        "prompt lengths", f"not by the tokenizer in {tmp_path}, which counts otherwise than the server",
    )  # fmt: skip
    assert [each.partition(" counts ")[0] for each in said[-1:]] == [f"the tokenizer in {tmp_path}"]


def test_lengths_are_exact_by_it_where_the_server_counts_in_its_usage_alone(
    fake_llm: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tokenizer of the same rule as the server's, which puts one token before each prompt."""
    on_any_machine(monkeypatch)
    from tokenizers import Tokenizer, models, pre_tokenizers

    from serving.probe.dataset import WORDS

    long = {word: len(word) > 5 for word in WORDS}
    vocabulary = {word[:5]: 0 for word in WORDS} | {word[5:]: 0 for word in WORDS if long[word]}
    made = Tokenizer(models.WordLevel({word: n for n, word in enumerate(["?", *vocabulary])}, unk_token="?"))
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.FixedLength(length=5)]
    )
    made.save(str(tmp_path / "tokenizer.json"))
    short = [word for word in WORDS if len(word) <= 10]
    monkeypatch.setattr("serving.probe.dataset.WORDS", tuple(short))
    report = run(
        asking.target_of(fake_llm(vllm=False)), asking.load_of(requests=4),
        asking.workload_of("100", "2", tokenizer=str(tmp_path)), tmp_path / "out",
    )  # fmt: skip
    assert (report.input_tokens, report.exact_input_fraction) == (400, 1.0)
    assert report.notes[0] == (
        f"prompt lengths: by the tokenizer in {tmp_path}, and what the server puts around each: 1"
    )
