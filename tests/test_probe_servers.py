"""How servers by name differ in what they stream, beside the ways of telling tokens in test_probe_dialects.py.

Each answer is four chunks of text, 50, 60, 70 and 80 ms after its sending, in one server's dialect.
"""

import json
from typing import Any

import pytest
from test_probe_dialects import (
    CHATS,
    CLOSED,
    CLOSING,
    DONE,
    EVEN,
    RUN,
    TEXTS,
    TIMES_MS,
    Event,
    Right,
    Said,
    delta,
    heard,
    said,
    text,
    told,
    total,
)

from serving.probe.apis import APIS, ApiName
from serving.probe.exchange import Answer, Shot
from serving.probe.metrics import report
from serving.probe.run_records import Ending
from serving.probe.stream_failures import SEVERAL_ANSWERS
from serving.probe.tally import Tally

FILTERED: dict[str, Any] = {
    "choices": [{"index": 0, "finish_reason": None, "content_filter_results": {"hate": {}}}]
}
"""Azure's asynchronous filter tells what it thinks of the text so far, in a choice without a delta."""
STARTED: Said = (1, {"type": "message_start", "message": {"usage": {"input_tokens": 9, "output_tokens": 1}}})
STOPPED: Said = (81, {"type": "message_stop"})


def written(word: str = "ab") -> dict[str, Any]:
    return {"type": "response.output_text.delta", "delta": word}


def finished(status: str = "completed", output: int = 4, **more: Any) -> Said:
    usage = {"input_tokens": 9, "output_tokens": output, **more}
    return 81, {"type": "response.completed", "response": {"status": status, "usage": usage}}


def of_blocks(end: list[Said], first: str = "") -> list[Said]:
    """Anthropic's four chunks; the first one where the block starts, if it has text."""
    chunks: list[Event] = [{"type": "content_block_delta", "delta": {"text": "ab"}}] * 4
    if first:
        chunks[0] = {"type": "content_block_start", "content_block": {"type": "text", "text": first}}
    return [STARTED, *said(*chunks), *end, STOPPED]


def ended(**more: Any) -> Said:
    return 81, {"type": "message_delta", "delta": {"stop_reason": "max_tokens"}, **more}


def called(name: str = "", arguments: str = "") -> dict[str, Any]:
    return {"tool_calls": [{"index": 0, "function": {"name": name, "arguments": arguments}}]}


ANSWERS: dict[str, tuple[ApiName, list[Said], Right, int]] = {
    # With the number of characters
    "SGLang: a role of null with each": (
        "chat",
        [
            (1, delta(role="assistant", content="")),
            *said(*[delta(role=None, content=word, tool_calls=None) for word in ("ab", "", "ab", "ab")]),
            CLOSED,
            total(4),
            DONE,
        ],
        EVEN,
        6,
    ),
    "Ollama: the role with each, the closing one too": (
        "chat",
        [
            *said(*[delta(role="assistant", content="ab")] * 4),
            (81, delta("stop", role="assistant", content="")),
            total(4),
            DONE,
        ],
        EVEN,
        8,
    ),
    "Azure: what a filter thinks, between and after": (
        "chat",
        [
            (1, {"choices": [], "prompt_filter_results": [{}]}),
            *CHATS[:2],
            (65, FILTERED),
            *CHATS[2:],
            CLOSED,
            (90, FILTERED),
            total(8),
            DONE,
        ],
        Right(8),
        8,
    ),
    "Azure: the same of completions": (
        "completions",
        [*TEXTS[:2], (65, FILTERED), *TEXTS[2:], CLOSING, (90, FILTERED), total(8), DONE],
        Right(8),
        8,
    ),
    "xAI: reasoning beside the output": (
        "chat",
        [
            *CHATS,
            CLOSED,
            (
                81,
                {
                    "choices": [],
                    **told(4, completion_tokens_details={"reasoning_tokens": 3}, total_tokens=16),
                },
            ),
            DONE,
        ],
        Right(7, hidden=3),
        8,
    ),
    "OpenAI: reasoning within the output": (
        "chat",
        [
            *CHATS,
            CLOSED,
            (
                81,
                {
                    "choices": [],
                    **told(7, completion_tokens_details={"reasoning_tokens": 3}, total_tokens=16),
                },
            ),
            DONE,
        ],
        Right(7, hidden=3),
        8,
    ),
    "Gemini: totals so far, several tokens a chunk, the reason with the last": (
        "chat",
        [
            *said(
                *[delta(content="ab", beside=told(count)) for count in (4, 8, 12)],
                delta("stop", told(16), content="ab"),
            ),
            DONE,
        ],
        Right(16, [4, 4, 4, 4]),
        8,
    ),
    "Perplexity: all of the message beside its new part": (
        "chat",
        [
            *said(*[{"choices": [{"delta": {"content": "ab"}, "message": {"content": "ab" * n}}]} for n in range(4)]),
            CLOSED,
            total(4),
            DONE,
        ],
        EVEN,
        8,
    ),
    "OpenRouter: comments before the first": (
        "chat",
        [(1, b": OPENROUTER PROCESSING\n\n"), *CHATS, CLOSED, total(4), DONE],
        EVEN,
        8,
    ),
    "MiniMax: reasoning in details": (
        "chat",
        [*said(*[delta(content="", reasoning_details=[{"text": "hm"}])] * 4), CLOSED, total(4), DONE],
        EVEN,
        8,
    ),
    "Mistral: thinking in parts": (
        "chat",
        [
            *said(*[delta(content=[{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}])] * 4),
            (81, delta("stop", told(4), content="")),
            DONE,
        ],
        EVEN,
        8,
    ),
    "LiteLLM: the number of the block as the choice's": (
        "chat",
        [
            *said(
                delta(reasoning_content="hm"),
                *[{"choices": [{"index": 1, "delta": {"content": "ab"}}]}] * 3,
            ),
            CLOSED,
            total(4),
            DONE,
        ],
        EVEN,
        8,
    ),
    "calls of tools, of which the words count": (
        "chat",
        [
            *said(
                delta(role="assistant", **called("f")),
                delta(**called(arguments='{"a"')),
                delta(**called(arguments=":1}")),
                delta(tool_calls={"index": 1, "function": {"name": "g", "arguments": "{}"}}),
            ),
            (81, delta("tool_calls")),
            total(4),
            DONE,
        ],
        EVEN,
        1 + 4 + 3 + 3,
    ),
    "finish reasons of answers that go on": (
        "completions",
        [*said(text(reason=""), text("", reason=""), text(reason="null"), text()), CLOSING, total(4), DONE],
        EVEN,
        6,
    ),
    "parts of one answer in an event": (
        "completions",
        [*said(*[{"choices": [{"index": 0, "text": ""}, {"index": 0, "text": "ab"}]}] * 4), CLOSING, total(4), DONE],
        EVEN,
        8,
    ),
    "usage that is none": (
        "completions",
        [*TEXTS, (81, text("", "stop", usage="later")), (81, {"choices": [], "usage": [told(9)]}), DONE],
        Right(None),
        8,
    ),
    "what stands in the queue, before the first": (
        "completions",
        [
            (1, {"message": "queued", "position": 3}),
            (2, b'event: status\ndata: {"msg": "starting"}\n\n'),
            (3, "null"),
            *TEXTS,
            CLOSING,
            total(4),
            DONE,
        ],
        EVEN,
        8,
    ),
    "counts of each chunk's own, no total, as many as were asked": (
        "completions",
        [*said(*[text(**told(count)) for count in (1, 1, 1, 1)]), CLOSING, DONE],
        Right(4, [1, 1, 1, 1]),
        8,
    ),
    "all of it again with each event": (
        "completions",
        [*said(text("a"), text("ab"), text("abc"), text("abcd")), CLOSING, total(4), DONE],
        EVEN,
        4,
    ),
    "all of it again, in two events: nobody knows": (
        "completions",
        [*said(text("a"), text(""), text("ab"), text("")), CLOSING, total(4), DONE],
        EVEN,
        3,
    ),
    "half a character, as the escape of JavaScript's strings": (
        "completions",
        [
            *said(text(), '{"choices":[{"text":"\\ud83d"}]}', '{"choices":[{"text":"\\ude00"}]}', text()),
            CLOSING,
            total(4),
            DONE,
        ],
        EVEN,
        6,
    ),
    "half a character, as its bytes": (
        "chat",
        [
            *said(
                delta(content="ab"),
                b'data: {"choices":[{"delta":{"content":"\xf0\x9f"}}]}\n\n',
                b'data: {"choices":[{"delta":{"content":"\x98\x80"}}]}\n\n',
                delta(content="ab"),
            ),
            CLOSED,
            total(4),
            DONE,
        ],
        EVEN,
        2 + 1 + 2 + 2,
    ),
    "numbers that are none, as Python writes them": (
        "completions",
        [
            *said(*['{"choices":[{"text":"ab","logprobs":{"token_logprobs":[-Infinity,NaN]}}]}'] * 4),
            CLOSING,
            total(4),
            DONE,
        ],
        EVEN,
        8,
    ),
    "counts as a language without whole numbers has them": (
        "completions",
        [*TEXTS, CLOSING, (81, '{"choices":[],"usage":{"prompt_tokens":9.0,"completion_tokens":9.0}}'), DONE],
        Right(9),
        8,
    ),
    "counts that are no whole numbers": (
        "completions",
        [*TEXTS, CLOSING, (81, {"choices": [], "usage": {"prompt_tokens": "9", "completion_tokens": 4.5}}), DONE],
        Right(None),
        8,
    ),
    "another ending": ("chat", [*CHATS, CLOSED, total(4), (81, "[done]")], EVEN, 8),
    "details of usage that are none": (
        "chat",
        [
            *CHATS,
            CLOSED,
            (81, {"choices": [], **told(4, prompt_tokens_details=[1], completion_tokens_details="none")}),
            DONE,
        ],
        EVEN,
        8,
    ),
    "tokens without text, as of speech": (
        "chat",
        [*said(*[delta(audio={"data": "AAAA"})] * 4), CLOSED, total(4), DONE],
        EVEN,
        0,
    ),
    "tokens without text, the last one's too": (
        "completions",
        [*said(*[text("")] * 4), CLOSING, total(5), DONE],
        Right(5, None, (*TIMES_MS, 81)),
        0,
    ),
    "MiniMax: that all is well": (
        "chat",
        [*CHATS, CLOSED, (81, {"choices": [], "base_resp": {"status_code": 0, "status_msg": ""}, **told(4)}), DONE],
        EVEN,
        8,
    ),
    "text behind the end": (
        "completions",
        [*TEXTS, CLOSING, total(4), DONE, (90, text("more")), (91, text("more"))],
        EVEN,
        8,
    ),
    # Responses, messages
    "responses": ("responses", [*said(*[written()] * 4), finished()], EVEN, 8),
    "responses: a summary of reasoning that is not sent": (
        "responses",
        [
            *[(at, {"type": "response.reasoning_summary_text.delta", "delta": "hm"}) for at in (10, 20, 30, 40)],
            *said(*[written()] * 4),
            finished(output=24, output_tokens_details={"reasoning_tokens": 20}),
        ],
        Right(24, hidden=20),
        8,
    ),
    "responses, and [DONE]": ("responses", [*said(*[written()] * 4), finished(), DONE], EVEN, 8),
    "messages": ("messages", of_blocks([ended(usage={"output_tokens": 4})]), EVEN, 8),
    "messages: no count but the one at the start": ("messages", of_blocks([ended()]), Right(None), 8),
    "a count with the first chunk alone": (
        "completions",
        [(50, text(**told(1))), *TEXTS[1:], CLOSING, DONE],
        Right(None),
        8,
    ),
    "a count with the last chunk but one": (
        "completions",
        [*TEXTS[:2], (70, text(**told(3))), TEXTS[3], CLOSING, total(0), DONE],
        Right(None),
        8,
    ),
    "a total before the text, as of an answer that was kept": (
        "completions",
        [(1, {"choices": [], **told(9)}), *TEXTS, CLOSING, DONE],
        Right(9),
        8,
    ),
    "fewer tokens than chunks, at the end": ("completions", [*TEXTS, CLOSING, total(3), DONE], Right(3), 8),
    "messages: the first words where the block starts": (
        "messages",
        of_blocks([ended(usage={"output_tokens": 4})], first="a"),
        EVEN,
        7,
    ),
    "messages: usage by itself": (
        "messages",
        of_blocks([(81, {"type": "message_delta", "usage": {"output_tokens": 4}}), ended()]),
        EVEN,
        8,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ANSWERS)
def test_a_servers_tokens_are_counted_when_they_came(name: str) -> None:
    api, events, right, characters = ANSWERS[name]
    result = heard(api, events)
    assert (result.error, result.message) == (None, None)
    times_ms = [sum(result.gaps_us[: number + 1]) / 1000 for number in range(len(result.gaps_us))]
    assert (times_ms, result.output_tokens, result.chunk_tokens, result.hidden_tokens) == (
        list(right.times_ms),
        right.tokens,
        right.each,
        right.hidden,
    )
    assert (result.output_chars, result.unclear_counts) == (characters, False)


DEAD: dict[str, Any] = {"error": {"message": "dead"}}
TAKING_TURNS: list[Said] = [
    (at, {"choices": [{"index": number % 2, "text": "ab"}]}) for number, at in enumerate(TIMES_MS)
]

FAILURES: dict[str, tuple[ApiName, list[Said], str]] = {
    "Groq: an answer that it cut": (
        "chat",
        [*CHATS, (81, delta("stop", {"x_groq": {"id": "r", "error": "over capacity"}})), DONE],
        "over capacity",
    ),
    "Groq: the same in an event of its own": (
        "chat",
        [*CHATS, CLOSED, (81, {"choices": [], "x_groq": {"error": {"message": "dead"}}}), DONE],
        "dead",
    ),
    "OpenRouter: beside an empty text": (
        "chat",
        [*CHATS, (81, delta("error", {"error": {"code": 502, "message": "dead"}}, content="")), DONE],
        "dead",
    ),
    "MiniMax: in a field of its own": (
        "chat",
        [*CHATS, (81, {"choices": None, "base_resp": {"status_code": 1002, "status_msg": "dead"}}), DONE],
        "dead",
    ),
    "llama.cpp of 2024: an error line": ("chat", [*CHATS, (81, b'error: {"code":500,"message":"dead"}\n\n')], "dead"),
    "responses: an error without a type": ("responses", [*said(*[written()] * 4), (81, DEAD)], "dead"),
    "responses: cancelled": ("responses", [*said(*[written()] * 4), finished("cancelled")], "status cancelled"),
    "news with a number is no news": (
        "chat",
        [*CHATS, (80, {"message": "dead", "status_code": 503}), CLOSED, DONE],
        "dead",
    ),
    "news after which nothing comes": ("chat", [*CHATS, (80, {"message": "dead"}), DONE], "dead"),
    "two answers in turns": ("completions", [*TAKING_TURNS, CLOSING, total(8), DONE], SEVERAL_ANSWERS),
    "two answers in each event": (
        "chat",
        [*said(*[{"choices": [{"index": 0, "delta": {}}, {"index": 1, "delta": {}}]}] * 4), CLOSED, DONE],
        SEVERAL_ANSWERS,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAILURES)
def test_a_servers_failure_is_told_in_its_words(name: str) -> None:
    api, events, message = FAILURES[name]
    result = heard(api, events)
    assert (result.status, result.error, result.message) == (200, "stream_error", message)


def nested(levels: int) -> str:
    return '{"choices": [{"index": 0, "delta": {"content": ' + "[" * levels + "]" * levels + "}}]}"


def test_a_text_that_is_nested_without_an_end_ends_nothing_but_its_answer() -> None:
    for levels in (1000, 5000):
        assert heard("chat", [*CHATS, (81, nested(levels)), CLOSED, DONE]).error == "bad_json"


def test_a_stream_that_is_cut_where_it_says_null_for_its_reason() -> None:
    assert heard("completions", said(*[text(reason="null")] * 4)).error == "truncated"


# Counts with each chunk, and nothing that tells whether they are totals


def absorbed(answer: Answer, api: ApiName, *events: Event) -> Answer:
    """The answer with those events, a millisecond apart."""
    for number, event in enumerate(events, 1):
        answer.absorb([json.dumps(event).encode()], number * 1_000_000, APIS[api].read_event, Tally(), False)
    return answer


@pytest.mark.parametrize(
    ("counts", "asked", "tokens", "each", "is_unclear"),
    [
        ((10, 10, 10, 10), 40, 40, [10, 10, 10, 10], False),
        ((3, 10, 10, 10), 33, 33, [3, 10, 10, 10], False),
        ((10, 10, 10, 10), 50, 10, None, True),
        ((3, 10, 10, 10), 0, 10, None, True),
        ((4, 4, 4, 4), 16, 4, None, False),  # a token each: the total, over and over
        ((4, 8, 12, 16), 40, 16, [4, 4, 4, 4], False),
        ((1, 1, 1, 1), 9, 4, [1, 1, 1, 1], False),
        ((10,), 40, 10, [10], False),
    ],
)
def test_counts_that_may_be_totals_or_not(
    counts: tuple[int, ...], asked: int, tokens: int, each: list[int] | None, is_unclear: bool
) -> None:
    events = [text(**told(count)) for count in counts]
    result = absorbed(Answer(Shot(0, b"", asked)), "completions", *events).result(0)
    assert (result.output_tokens, result.chunk_tokens, result.unclear_counts) == (tokens, each, is_unclear)


def test_a_total_at_the_end_makes_them_clear() -> None:
    same = said(*[text(**told(9))] * 4)
    assert heard("completions", [*same, CLOSING, total(9), DONE]).unclear_counts is False
    unclear = heard("completions", [*same, CLOSING, DONE])
    assert (unclear.unclear_counts, unclear.output_tokens) == (True, 9)
    made = report(RUN, [unclear, Ending(1_000_000, [])])
    assert made.warnings[1] == (
        "the server's counts of 1 answers, one with each chunk and none for all, are taken for totals; if each is its"
        " chunk's own, there were several times as many tokens"
    )


# Conversations


def spoken(api: ApiName, *events: Event) -> str:
    """What a conversation goes on with."""
    return absorbed(Answer(Shot(0, b"", 4), []), api, *events).text


def test_a_conversation_goes_on_with_what_was_said_and_not_with_what_was_thought() -> None:
    said_then = [
        delta(reasoning_content="hm"),
        delta(content="a"),
        delta(content=[{"type": "text", "text": "b"}]),
    ]
    assert spoken("chat", *said_then) == "ab"
    blocks = [
        {"type": "content_block_delta", "delta": delta} for delta in ({"thinking": "hm"}, {"text": "a"})
    ]
    assert spoken("messages", *blocks) == "a"
    parts = [{"type": "response.reasoning_text.delta", "delta": "hm"}, written("a")]
    assert spoken("responses", *parts) == "a"


def test_a_server_that_says_all_of_it_again_is_not_quoted_so() -> None:
    assert spoken("completions", text("a"), text("ab"), text("abc")) == "abc"
    assert spoken("completions", text("a"), text("a"), text("a")) == "aaa"
    assert spoken("completions", text("a"), text("ab")) == "aab"


def test_halves_of_a_character_make_one_in_a_conversation() -> None:
    """One alone could not be sent."""
    assert spoken("completions", text("a\ud83d"), text("\ude00b")) == "a\U0001f600b"
    assert spoken("completions", text("a\ud83d"), text("b")) == "a\ufffdb"
