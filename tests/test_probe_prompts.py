"""The user's own lines and the synthetic ones: what a line may say, and how requests are made of them."""

import json
import os
import random
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
import pytest

from infra.errors import DocumentError, UsageError
from serving.probe import prompts
from serving.probe.dataset import Composer, Lexicon, Prompt, learn, message, synthetic
from serving.probe.exchange import Shot
from serving.probe.lengths import Lengths, parse
from serving.probe.prompts import Line
from serving.probe.request_maker import RequestMaker, times
from serving.probe.run_records import ServerFacts
from serving.probe.spec import Load, Target, Workload


def told(line: Line) -> dict[str, Any]:
    return {name: getattr(line, name) for name in Line.__slots__}


HELLO = [{"role": "user", "content": "Hello"}]
NOTHING: dict[str, Any] = {
    "messages": [], "time_s": None, "input_tokens": None, "output_tokens": None, "hash_ids": [], "reply": None,
}  # fmt: skip


@pytest.mark.parametrize(
    ("record", "line"),
    [
        ({"prompt": "Hello"}, {"messages": HELLO}),
        ({"prompt": "Hello", "messages": "x"}, {"messages": HELLO}),
        ({"prompt": "", "messages": HELLO}, {"messages": HELLO}),
        (
            {"messages": HELLO, "time_s": 5, "output_tokens": 1},
            {"messages": HELLO, "time_s": 5.0, "output_tokens": 1},
        ),
        ({"input_tokens": 20_000_000}, {"input_tokens": 20_000_000}),
        (
            {"input_length": 5, "output_length": 6, "timestamp": 1500},
            {"input_tokens": 5, "output_tokens": 6, "time_s": 1.5},
        ),
        ({"input_tokens": 1, "input_length": 5, "max_tokens": 7}, {"input_tokens": 1, "output_tokens": 7}),
        ({"input_length": 5, "hash_ids": [46, 47]}, {"input_tokens": 5, "hash_ids": [46, 47]}),
        ({"prompt": "Hello", "time_s": 2, "timestamp": 9}, {"messages": HELLO, "time_s": 2.0}),
    ],
)
def test_what_a_line_says(record: dict[str, Any], line: dict[str, Any]) -> None:
    assert told(Line(record)) == NOTHING | line


TURNS = "its conversations are no list of turns with from and value"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"[1]", "it is no JSON object"),
        (b"{}", "it has neither prompt, messages nor input_tokens"),
        (b'{"prompt": 5}', "it has neither prompt, messages nor input_tokens"),
        (b'{"messages": 5}', "its messages are no list of objects with a role"),
        (b'{"messages": [{"content": "x"}]}', "its messages are no list of objects with a role"),
        (b'{"messages": [{"role": "user"}]}', "its last message has no content"),
        (b'{"prompt": "x", "time_s": "soon"}', "its time is 'soon'"),
        (b'{"prompt": "x", "time_s": true}', "its time is True"),
        (b'{"prompt": "x", "output_tokens": 0}', "output_tokens is 0"),
        (b'{"prompt": "x", "max_tokens": 20000001}', "output_tokens is 20000001"),
        (b'{"input_tokens": true}', "input_tokens is True"),
        (b'{"input_length": "5"}', "input_tokens is '5'"),
        (b'{"input_length": 5, "hash_ids": [1, "2"]}', "its hash_ids are no list of whole numbers"),
        (b'{"conversations": [{"from": "human"}]}', TURNS),
        (b'{"conversations": "hello"}', TURNS),
    ],
)
def test_a_line_that_is_no_prompt(text: bytes, why: str) -> None:
    ((where, record),) = prompts.lines_in(BytesIO(b"\n" * 6 + text), Path("x"))
    with pytest.raises(DocumentError) as caught:
        prompts.checked(record, where, Path("x"))
    assert caught.value.message == f"Line 7 of x is no prompt: {why}."
    assert caught.value.hint == 'Say, e.g., {"prompt": "Hello", "output_tokens": 64}'


def test_files_that_hold_no_prompts(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n \n")
    for path, message_, hint in (
        (
            tmp_path / "empty",
            f"{tmp_path / 'empty'} holds no prompts.",
            'One JSON object a line: {"prompt": "Hello"}; to replay with its time: {"time_s": 0.5, "prompt": "Hello"}',
        ),
        (tmp_path, f"{tmp_path} cannot be read: Is a directory.", "Give a file of JSON lines."),
        (
            Path("/dev/null"),
            "/dev/null is no regular file, and it is read more than once.",
            "Write it into a file first.",
        ),
    ):
        with pytest.raises(DocumentError) as caught:
            prompts.read(path)
        assert (caught.value.message, caught.value.hint) == (message_, hint)
    (tmp_path / "late").write_text('\n{"prompt": "a"}\n\n{\n')
    with pytest.raises(DocumentError, match="Line 4 of"):
        prompts.read(tmp_path / "late")


def lines(*times_s: float | None) -> list[Line]:
    return [Line({"prompt": "a"} | ({} if time_s is None else {"time_s": time_s})) for time_s in times_s]


def test_a_trace_begins_with_its_first_line() -> None:
    assert prompts.trace(lines(7.0, 7.0, 9.5), Path("x")) == (0.0, 0.0, 2.5)
    assert prompts.trace(lines(1.0, 1.0 + 30 * 86400), Path("x")) == (0.0, 30 * 86400.0)


NO_TRACE = (
    "x is no trace: every line needs a time, none before the one above.",
    'Say "time_s" in seconds or "timestamp" in milliseconds.',
)


@pytest.mark.parametrize(
    ("times_s", "said"),
    [
        ((1.0, None), NO_TRACE),
        ((2.0, 1.0), NO_TRACE),
        (
            (0.0, 30 * 86400 + 8640.0),
            ("x lasts 30.1 days.", 'At most 30; "timestamp" is in milliseconds, "time_s" in seconds.'),
        ),
    ],
)
def test_a_trace_that_is_none(times_s: tuple[float | None, ...], said: tuple[str, str]) -> None:
    with pytest.raises(UsageError) as caught:
        prompts.trace(lines(*times_s), Path("x"))
    assert (caught.value.message, caught.value.hint) == said


WORK = Workload(input_tokens=Lengths(low=1), output_tokens=Lengths(low=99), seed=5, hash_block_tokens=64)


def by_word(text: str) -> int:
    """A tokenizer with a frame of three tokens; long words cost two."""
    return 3 + sum(1 + (len(word) > 6) for word in text.split())


def composer(seed: int = 0) -> Composer:
    return Composer(learn(by_word), random.Random(seed), by_word)


def test_a_length_gets_a_text_and_a_prompt_its_answers_length() -> None:
    given = [Line({"input_tokens": 30}), Line({"prompt": "Hello", "output_tokens": 4, "input_tokens": 9})]
    one, two, again = islice(prompts.prompts(given, composer(), WORK, random.Random(0)), 3)
    text = one.messages[0]["content"]
    assert (by_word(text), one.output_tokens, one.input_tokens) == (30, 99, 30)
    assert (two.messages, two.output_tokens, two.input_tokens) == (HELLO, 4, None)
    assert by_word(again.messages[0]["content"]) == 30


def of_blocks(number: int, *ids: int, seed: int = 0, tokens: int = 150) -> Prompt:
    """The prompt of a trace's line, composed by another process each time."""
    line = Line({"input_length": tokens, "hash_ids": list(ids)})
    return next(prompts.prompts([line], composer(seed), WORK, random.Random(number)))


def test_the_blocks_of_a_trace_are_the_same_text_wherever_they_come() -> None:
    """What two prompts share by their hash_ids they share from the first letter on, and nothing behind it."""
    one, two = (of_blocks(n, 7, 8, last, seed=n).messages[0]["content"] for n, last in enumerate((9, 10)))
    assert (by_word(one), by_word(two)) == (150, 150)
    shared = os.path.commonprefix([one.split(), two.split()])
    assert by_word(" ".join(shared)) in (128, 129)  # the first words behind may be the same by chance
    other = of_blocks(0, 11, 8, 9).messages[0]["content"]
    assert os.path.commonprefix([one, other]) == ""
    assert other.split()[-20:] == one.split()[-20:]
    assert of_blocks(0, 7, 8, 9).input_tokens == 150


def test_blocks_where_nobody_counts() -> None:
    guessing = Composer(Lexicon(tokens_per_word=1.5, frame_tokens=10.0), random.Random(0))
    text, exact = guessing.of_blocks(["a", "b"], 100, 64)
    assert (len(text.split()), exact) == (round(54 / 1.5) + round(36 / 1.5), False)


def test_hash_ids_of_a_wrong_length() -> None:
    right = Line({"input_length": 128, "hash_ids": [1, 2]})
    prompts.check_blocks([right, Line({"prompt": "x", "hash_ids": [1]})], 64, Path("x"))
    for ids, tokens, said, hint in (
        ([1, 2], 129, "2 hash_ids for 129 tokens; blocks of 64 are 3", "--hash-block-tokens 128"),
        ([1, 2, 3, 4], 64, "4 hash_ids for 64 tokens; blocks of 64 are 1", "--hash-block-tokens 16"),
    ):
        with pytest.raises(UsageError) as caught:
            prompts.check_blocks([right, Line({"input_length": tokens, "hash_ids": ids})], 64, Path("x"))
        assert (caught.value.message, caught.value.hint) == (
            f"Prompt 2 of x has {said}.",
            f"Say how long a block is: {hint}",
        )


def turns(*said: str) -> list[dict[str, str]]:
    return [{"from": who, "value": words} for who, words in zip(("human", "gpt") * 2, said, strict=False)]


SHARED = [
    {"id": "a", "conversations": turns("Why, oh why?", "Because of six words here, friend", "And", "so")},
    {"id": "b", "conversations": []},
    {"id": "c", "conversations": [{"from": "gpt", "value": "Hello"}, *turns("Who?", "Me")]},
    {"id": "d", "conversations": turns("Alone")},
]


@pytest.mark.parametrize("form", ["array", "lines"])
def test_a_file_of_sharegpt(tmp_path: Path, form: str) -> None:
    """Each first question that is answered, for an answer as long as the one there."""
    path = tmp_path / "file"
    path.write_text(json.dumps(SHARED, indent=1) if form == "array" else "\n".join(map(json.dumps, SHARED)))
    read = prompts.read(path)
    made = list(islice(prompts.prompts(read, composer(), WORK, random.Random(0)), 3))
    assert [(each.messages[0]["content"], each.output_tokens) for each in made] == [
        ("Why, oh why?", 8), ("Who?", 1), ("Why, oh why?", 8),
    ]  # fmt: skip
    assert prompts.file_notes(read, None) == (
        "ShareGPT: the first question of 2 conversations, for as long an answer, by 4/3 tokens a word, an estimate;"
        " 2 without one are left out",
    )
    own = composer()
    own.own = len
    assert next(prompts.prompts(read, own, WORK, random.Random(0))).output_tokens == 33


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            '[{"prompt": "a"}, {"prompt": ]',
            "Entry 2 of {} is no prompt: Expecting value: line 1 column 30 (char 29).",
        ),
        ('[{"prompt": "a"}, 5]', "Entry 2 of {} is no prompt: it is no JSON object."),
        ('[{"prompt": "a"}', "Entry 2 of {} is no prompt: Expecting value: line 1 column 17 (char 16)."),
        ('[{"prompt": "a"}] x', "Entry 2 of {} is no prompt: it does not end as an array does."),
        ("[]", "{} holds no prompts."),
        (
            "[" * 100_000,
            "Entry 1 of {} is no prompt: maximum recursion depth exceeded while decoding a JSON array",
        ),
        ('{"prompt": "a"}\n{"conversations": [5]}', f"Line 2 of {{}} is no prompt: {TURNS}."),
    ],
)
def test_a_file_with_one_broken_record(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "file"
    path.write_text(text)
    with pytest.raises(DocumentError) as caught:
        prompts.read(path)
    assert caught.value.message.startswith(said.format(path))


def test_what_an_api_can_say() -> None:
    talk = [{"role": "assistant", "content": "x"}, *HELLO]
    prompts.check_sayable([Line({"messages": talk})], "chat", Path("x"))
    prompts.check_sayable([Line({"messages": HELLO}), Line({"input_tokens": 5})], "completions", Path("x"))
    for messages in (talk, [{"role": "system", "content": "x"}], [{"role": "user", "content": [1]}]):
        with pytest.raises(UsageError) as caught:
            prompts.check_sayable(
                [Line({"messages": HELLO}), Line({"messages": messages})], "completions", Path("x")
            )
        assert caught.value.message == "Prompt 2 of x is a conversation; the completions API takes one text."
        assert caught.value.hint == "Add --api chat."


# Lengths


@pytest.mark.parametrize(
    ("text", "lengths", "smallest", "largest"),
    [
        (" 512 ", Lengths(low=512), 512, 512),
        ("100-500", Lengths(form="uniform", low=100, high=500), 100, 500),
        ("5-5", Lengths(form="uniform", low=5, high=5), 5, 5),
        ("512~64", Lengths(form="normal", low=512, high=64), 320, 704),
        ("10~9", Lengths(form="normal", low=10, high=9), 1, 37),
        ("20000000", Lengths(low=20_000_000), 20_000_000, 20_000_000),
    ],
)
def test_lengths_as_a_user_writes_them(text: str, lengths: Lengths, smallest: int, largest: int) -> None:
    made = parse(text, "--x")
    assert (made, made.smallest, made.largest) == (lengths, smallest, largest)


def test_lengths_are_drawn_from_their_distribution() -> None:
    rng = random.Random(0)
    uniform = {Lengths(form="uniform", low=3, high=5).draw(rng) for _ in range(100)}
    normal = [Lengths(form="normal", low=5, high=100).draw(rng) for _ in range(100)]
    assert (uniform, min(normal)) == ({3, 4, 5}, 1)
    assert Lengths(form="normal", low=512, high=64).draw(random.Random(7)) == round(
        random.Random(7).gauss(512, 64)
    )


@pytest.mark.parametrize("text", ["", "x", "5-", "5-6-7", "-5", "5.5", "5 tokens"])
def test_a_length_that_is_none(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text, "--x")
    assert caught.value.message == f"--x {text!r} is not a length in tokens."
    assert caught.value.hint == "Say --x 512, 100-500 (uniform) or 512~64 (normal)."


@pytest.mark.parametrize(
    "text", ["0", "0-5", "5-4", "20000001", "5-20000001", "19999999~1", "1234567890", "30M"]
)
def test_a_length_out_of_range(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text, "--x")
    assert caught.value.message == f"--x {text} is out of range."
    assert caught.value.hint == "Lengths are 1 to 20,000,000 tokens, the smaller first."


# The composer


def test_the_tokenizer_is_asked_about_64_words() -> None:
    asked: list[str] = []

    def count(text: str) -> int:
        asked.append(text)
        return by_word(text)

    lexicon = learn(count)
    words = [text for text in asked[1:] if not text.startswith("the ")]
    assert (asked[0], len(asked), len(words), len(lexicon.behind)) == ("the", 129, 64, 64)
    assert lexicon.alone == {word: by_word(word) for word in words}
    assert lexicon.behind == {word: by_word(word) - 3 for word in words}
    assert lexicon.known
    assert learn(count) == lexicon
    assert learn(count, seed=1) != lexicon


def test_a_word_the_tokenizer_does_not_count_or_swallows_is_not_used() -> None:
    assert learn(lambda text: None) == Lexicon()
    assert not learn(lambda text: 5).known
    assert not learn(lambda text: None if " " in text else 5).known


def test_a_text_is_asked_about_until_sixteen_were_right_in_a_row() -> None:
    asked: list[str] = []

    def count(text: str) -> int:
        asked.append(text)
        return by_word(text) + (len(asked) == 5)  # once it says something else

    made = Composer(learn(by_word), random.Random(0), count)
    assert [made.compose(40)[1] for _ in range(30)] == [True] * 30
    assert len(asked) == 5 + 16


def test_a_text_is_tried_eight_times() -> None:
    asked: list[str] = []

    def count(text: str) -> int:
        asked.append(text)
        return 0

    made = Composer(learn(by_word), random.Random(0), count)
    text, exact = made.compose(40)
    assert (len(asked), len(set(asked)), text == asked[-1], exact) == (8, 8, True, False)


def test_a_length_no_words_add_up_to_is_not_exact() -> None:
    lexicon = Lexicon(alone={"a": 5}, behind={"a": 5})
    text, exact = Composer(lexicon, random.Random(0)).compose(23)
    assert (text, exact) == ("a a a a", False)
    assert Composer(lexicon, random.Random(0)).compose(25) == ("a a a a a", True)
    assert Composer(lexicon, random.Random(0)).compose(25, "p q", 10) == ("p q a a a", True)


def test_a_guess_counts_a_token_a_word() -> None:
    made = Composer(Lexicon(), random.Random(0))
    text, exact = made.compose(5, "one two")
    assert (text.split()[:2], len(text.split()), exact) == (["one", "two"], 5, False)
    assert len(made.compose(1, "one two")[0].split()) == 3


def test_a_synthetic_prompt_of_everything() -> None:
    workload = Workload(
        input_tokens=Lengths(low=30), output_tokens=Lengths(low=7), turns=3, images=2, image_size=(16, 16)
    )
    made = next(synthetic(workload, composer(), random.Random(0)))
    one, two, text = made.messages[0]["content"]
    assert [part["type"] for part in (one, two, text)] == ["image_url", "image_url", "text"]
    assert one["image_url"]["url"].startswith("data:image/png;base64,")
    assert one != two
    assert (made.output_tokens, made.input_tokens) == (7, None)
    assert [by_word(said) for said in (text["text"], *made.later)] == [30, 30, 30]
    plain = next(
        synthetic(workload.model_copy(update={"images": 0, "turns": 1}), composer(), random.Random(0))
    )
    assert (plain.input_tokens, plain.later, plain.messages[0]["role"]) == (30, (), "user")


# Requests


def maker(**fields: Any) -> RequestMaker:
    workload = {"input_tokens": Lengths(low=10), "output_tokens": Lengths(low=7)} | fields.pop("workload", {})
    common: dict[str, Any] = {
        "target": Target(base_url="https://host:1/base", api=fields.pop("api", "chat")), "api_key": "k", "model": "m",
        "workload": Workload(**workload), "facts": ServerFacts(is_vllm=fields.pop("is_vllm", True)),
        "lexicon": Lexicon(), "salt": "s",
    }  # fmt: skip
    return RequestMaker(**(common | fields))


def body(shot: Shot) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(shot.request.partition(b"\r\n\r\n")[2])
    return found


def test_a_requests_bytes() -> None:
    shot = maker().shot(Prompt(HELLO, 7, 9), 5, maker().head())
    text = orjson.dumps(
        {
            "model": "m", "max_tokens": 7, "stream": True, "messages": HELLO,
            "stream_options": {"include_usage": True}, "ignore_eos": True, "cache_salt": "s",
        }
    )  # fmt: skip
    assert shot.request == (
        b"POST /base/v1/chat/completions HTTP/1.1\r\nhost: host:1\r\ncontent-type: application/json\r\n"
        b"accept: text/event-stream\r\naccept-encoding: identity\r\nuser-agent: corral-probe\r\n"
        b"authorization: Bearer k\r\ncontent-length: %d\r\n\r\n%b" % (len(text), text)
    )
    assert (shot.index, shot.output_asked, shot.input_asked, shot.scheduled_ns, shot.follow) == (
        5,
        7,
        9,
        None,
        None,
    )
    assert body(maker().shot(Prompt(HELLO, 7), 5, b"", 2))["max_tokens"] == 2


@pytest.mark.parametrize(
    ("fields", "extra"),
    [
        ({}, {"ignore_eos": True, "cache_salt": "s"}),
        ({"is_vllm": False}, {}),
        ({"is_vllm": False, "workload": {"ignore_eos": True}}, {"ignore_eos": True}),
        ({"workload": {"ignore_eos": False}}, {"cache_salt": "s"}),
        ({"api": "messages", "workload": {"ignore_eos": True, "per_chunk_usage": True}}, {}),
        (
            {"workload": {"per_chunk_usage": True}},
            {
                "ignore_eos": True,
                "cache_salt": "s",
                "stream_options": {"include_usage": True, "continuous_usage_stats": True},
            },
        ),
        ({"is_vllm": False, "workload": {"per_chunk_usage": True}}, {}),
        ({"workload": {"extra_body": {"ignore_eos": 5}}}, {"ignore_eos": 5, "cache_salt": "s"}),
    ],
)
def test_what_vllm_takes_and_others_may_refuse(fields: dict[str, Any], extra: dict[str, Any]) -> None:
    assert maker(**fields).extra() == extra


def test_a_conversation_goes_on_with_what_was_answered() -> None:
    first = maker().shot(Prompt(HELLO, 7, 9, ("two", "three")), 5, b"")
    assert first.follow is not None
    second = first.follow("said")
    assert second.follow is not None
    third = second.follow("said more")
    assert third.follow is None
    assert [(shot.index, shot.input_asked, shot.output_asked) for shot in (second, third)] == [
        (6, None, 7),
        (7, None, 7),
    ]
    assert body(third)["messages"] == [
        *HELLO,
        {"role": "assistant", "content": "said"},
        message("two"),
        {"role": "assistant", "content": "said more"},
        message("three"),
    ]


def test_shots_have_their_numbers_and_their_times() -> None:
    made = maker(workload={"turns": 3})
    load = Load(shape="constant", request_rate=4.0, requests=7, processes=2)
    shots = [[*made.shots(load, made.composer("x"), process)] for process in (0, 1)]
    assert [[(shot.index, shot.scheduled_ns) for shot in each] for each in shots] == [
        [(0, 0), (6, 500_000_000)],
        [(3, 250_000_000)],
    ]
    closed = [*made.shots(Load(shape="concurrency", concurrency=1, requests=6), made.composer("x"))]
    assert [(shot.index, shot.scheduled_ns) for shot in closed] == [(0, None), (3, None)]


def test_a_conversation_counts_for_all_its_turns() -> None:
    assert list(times(Load(shape="concurrency", requests=7), 3)) == [None] * 3
    assert list(islice(times(Load(shape="concurrency"), 3), 500)) == [None] * 500
    assert list(times(Load(shape="burst", requests=7), 3)) == [0.0] * 3
    assert list(times(Load(shape="constant", request_rate=1.0, duration_s=2.0), 3)) == [0.0, 1.0]
