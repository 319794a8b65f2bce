"""Prompts: exact in tokens for any tokenizer that can be asked, all different, and the same again for the same seed."""

import json
import random
import struct
import zlib
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from infra.errors import DocumentError, UsageError
from serving.probe import prompts
from serving.probe.dataset import WORDS, Composer, learn, synthetic
from serving.probe.images import png
from serving.probe.lengths import Lengths, parse
from serving.probe.notes import cache_note
from serving.probe.request_maker import RequestMaker
from serving.probe.run_records import ServerFacts
from serving.probe.spec import Load, Target, Workload

TOKENIZERS: dict[str, Callable[[str], int]] = {
    "a token a word": lambda text: len(text.split()),
    "a frame of 12 tokens around it": lambda text: 12 + len(text.split()),
    "long words cost two": lambda text: 1 + sum(1 + (len(word) > 5) for word in text.split()),
    "bytes": lambda text: 1 + len(text.encode()),
}


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("tokens", [24, 100, 777])
def test_lengths_are_exact(name: str, tokens: int) -> None:
    count = TOKENIZERS[name]
    composer = Composer(learn(count), random.Random(0), count)
    composed = [composer.compose(tokens) for _ in range(20)]
    assert [(count(text), exact) for text, exact in composed] == [(tokens, True)] * 20
    assert len({text for text, _ in composed}) == 20


def test_a_tokenizer_that_merges_words_is_found_out() -> None:
    """Words that cost less together than apart make the sum wrong: the text is not called exact."""

    def merging(text: str) -> int:
        words = text.split()
        return len(words) if len(words) < 3 else len(words) // 2

    composer = Composer(learn(merging), random.Random(0), merging)
    assert composer.compose(50)[1] is False


def test_without_a_tokenizer_lengths_are_a_guess() -> None:
    composer = Composer(learn(lambda text: None), random.Random(0))
    text, exact = composer.compose(100)
    assert (len(text.split()), exact) == (100, False)


def test_a_shared_prefix_is_shared_and_counted() -> None:
    count = TOKENIZERS["long words cost two"]
    workload = Workload(input_tokens=Lengths(low=60), output_tokens=Lengths(low=5), prefix_tokens=40)
    composer = Composer(learn(count), random.Random(0), count)
    texts = [
        each.messages[0]["content"] for each in islice(synthetic(workload, composer, random.Random(0)), 5)
    ]
    assert [count(text) for text in texts] == [60] * 5
    shared = [
        words[0] for words in zip(*(text.split() for text in texts), strict=False) if len(set(words)) == 1
    ]
    assert count(" ".join(shared)) >= 40


def test_the_words_are_plain_and_different() -> None:
    assert len(WORDS) == len(set(WORDS)) > 200
    assert all(word.isascii() and word.islower() for word in WORDS)


def maker(**workload: Any) -> RequestMaker:
    lengths = {"input_tokens": Lengths(low=10), "output_tokens": Lengths(low=7)}
    return RequestMaker(
        Target(base_url="http://host:1/base", api=workload.pop("api", "chat")),
        "sesame",
        "scout",
        Workload(**(lengths | workload)),
        ServerFacts(is_vllm=True),
        learn(TOKENIZERS["a token a word"]),
        "salt",
    )


def test_a_request_on_the_wire() -> None:
    made = maker()
    shot = next(made.shots(Load(shape="concurrency", concurrency=1), made.composer("x")))
    head, _, body = shot.request.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /base/v1/chat/completions HTTP/1.1"
    assert {"host: host:1", "authorization: Bearer sesame", f"content-length: {len(body)}"} <= set(lines)
    sent = json.loads(body)
    text = sent["messages"][0].pop("content")
    assert (len(text.split()), shot.input_asked, shot.output_asked) == (10, 10, 7)
    assert sent == {
        "model": "scout",
        "max_tokens": 7,
        "stream": True,
        "messages": [{"role": "user"}],
        "stream_options": {"include_usage": True},
        "ignore_eos": True,
        "cache_salt": "salt",
    }


def test_the_users_fields_lie_over_ours_and_null_removes() -> None:
    made = maker(extra_body={"temperature": 0.7, "cache_salt": None})
    shot = next(made.shots(Load(shape="concurrency", concurrency=1), made.composer("x")))
    sent = json.loads(shot.request.partition(b"\r\n\r\n")[2])
    assert (sent["temperature"], "cache_salt" in sent) == (0.7, False)


@pytest.mark.parametrize(
    ("workload", "words"),
    [
        ({}, "nothing is hit from before; the prompts are random"),
        ({"prefix_tokens": 5}, "all prompts share 5 tokens on purpose"),
        ({"turns": 2}, "the prompts are random, and each turn repeats its conversation so far"),
        ({"prompts_file": Path("x")}, "within it the user's prompts share what they share"),
        ({"api": "messages"}, "the prompts are random; the server offers no proof"),
    ],
)
def test_what_the_cache_can_have_given_is_said(workload: dict[str, Any], words: str) -> None:
    assert words in cache_note(maker(**workload))


def test_a_conversation_carries_its_answers() -> None:
    made = maker(turns=2)
    first = next(made.shots(Load(shape="concurrency", concurrency=1), made.composer("x")))
    assert first.follow
    second = first.follow("the answer")
    assert second
    messages = json.loads(second.request.partition(b"\r\n\r\n")[2])["messages"]
    assert [each["role"] for each in messages] == ["user", "assistant", "user"]
    assert (messages[1]["content"], second.index, second.follow) == ("the answer", 1, None)


def test_processes_share_the_schedule_without_gap_or_double() -> None:
    made = maker()
    load = Load(shape="poisson", request_rate=10.0, requests=11, processes=3)
    alone = load.model_copy(update={"processes": 1})
    shares = [shot for k in range(3) for shot in made.shots(load, made.composer("x"), k)]
    assert sorted((shot.index, shot.scheduled_ns) for shot in shares) == [
        (shot.index, shot.scheduled_ns) for shot in made.shots(alone, made.composer("x"))
    ]


def test_the_same_seed_sends_the_same_bytes() -> None:
    load = Load(shape="concurrency", concurrency=1, requests=5)
    one, same, other = (
        [shot.request for shot in made.shots(load, made.composer(str(made.workload.seed)))]
        for made in (maker(seed=1), maker(seed=1), maker(seed=2))
    )
    assert one == same
    assert one != other


def test_an_image_is_a_png_of_its_size() -> None:
    data = png((40, 20), random.Random(0))
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", data[16:24]) == (40, 20)
    chunks, rest = [], data[8:]
    while rest:
        length, kind = struct.unpack(">I4s", rest[:8])
        chunks.append((kind, rest[8 : 8 + length]))
        assert struct.unpack(">I", rest[8 + length : 12 + length])[0] == zlib.crc32(rest[4 : 8 + length])
        rest = rest[12 + length :]
    (_, header), (_, pixels), (_, nothing) = chunks
    assert [kind for kind, _ in chunks] == [b"IHDR", b"IDAT", b"IEND"]
    assert (header[8:], nothing) == (
        bytes([8, 2, 0, 0, 0]),
        b"",
    )  # eight bits a colour, of which there are three
    assert len(zlib.decompress(pixels)) == 20 * (1 + 3 * 40)


def test_the_users_prompts(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    lines = [
        {"prompt": "Hello", "output_tokens": 3},
        {"messages": [{"role": "user", "content": "Hi"}]},
        {"timestamp": 1500, "input_length": 12, "output_length": 4},
    ]
    path.write_text("\n".join(json.dumps(line) for line in lines))
    composer = Composer(learn(TOKENIZERS["a token a word"]), random.Random(0))
    work = Workload(input_tokens=Lengths(low=1), output_tokens=Lengths(low=99))
    made = list(islice(prompts.prompts(prompts.read(path), composer, work, random.Random(0)), 4))
    assert [(each.messages[0]["content"], each.output_tokens) for each in made[:2]] == [
        ("Hello", 3),
        ("Hi", 99),
    ]
    assert (len(made[2].messages[0]["content"].split()), made[2].output_tokens, made[2].input_tokens) == (
        12,
        4,
        12,
    )
    assert made[3].messages == made[0].messages


@pytest.mark.parametrize("lines", [4, 5])
def test_processes_send_each_of_the_users_lines_at_its_own_time(tmp_path: Path, lines: int) -> None:
    """Line k of a trace is request k, whichever process sends it; and so again from the first line."""
    path = tmp_path / "trace.jsonl"
    path.write_text("\n".join(f'{{"prompt": "line {n}", "time_s": {n}}}' for n in range(lines)))
    made = maker(prompts_file=path, output_tokens=Lengths(form="uniform", low=1, high=9))
    load = Load(shape="constant", request_rate=1.0, requests=9, processes=3)
    shots = [shot for k in range(3) for shot in made.shots(load, made.composer("x"), k)]
    sent = {shot.index: json.loads(shot.request.partition(b"\r\n\r\n")[2]) for shot in shots}
    assert {k: body["messages"][0]["content"] for k, body in sent.items()} == {
        k: f"line {k % lines}" for k in range(9)
    }
    assert len({body["max_tokens"] for body in sent.values()}) > 1


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
        [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
    ],
)
def test_a_conversation_is_not_cut_to_its_last_line(tmp_path: Path, messages: list[Any]) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "fine"}\n' + json.dumps({"messages": messages}))
    prompts.check_sayable(prompts.read(path), "chat", path)
    with pytest.raises(UsageError, match="Prompt 2 of .* is a conversation"):
        prompts.check_sayable(prompts.read(path), "completions", path)


@pytest.mark.parametrize(
    "line",
    ["[1]", "{}", '{"prompt": 5}', '{"messages": [1]}', '{"prompt": "x", "output_tokens": 0}', '{"prompt": '],
)
def test_a_line_that_is_no_prompt_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "fine"}\n' + line + "\n")
    with pytest.raises(DocumentError, match="Line 2 of .* is no prompt"):
        prompts.read(path)


def test_a_trace_needs_times_that_go_forward(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    path.write_text('{"prompt": "a", "time_s": 7.5}\n{"prompt": "b", "time_s": 9}\n')
    assert prompts.trace(prompts.read(path), path) == (0.0, 1.5)
    path.write_text('{"prompt": "a", "time_s": 7.5}\n{"prompt": "b", "time_s": 2}\n')
    with pytest.raises(UsageError):
        prompts.trace(prompts.read(path), path)


@pytest.mark.parametrize("text", ["512", "100-500", "512~64"])
def test_lengths_are_read_and_said_the_same(text: str) -> None:
    lengths = parse(text, "--input-tokens")
    drawn = [lengths.draw(random.Random(seed)) for seed in range(200)]
    assert str(lengths) == text
    assert all(1 <= each <= lengths.largest + 200 for each in drawn)
    assert (len(set(drawn)) == 1) == (text == "512")
