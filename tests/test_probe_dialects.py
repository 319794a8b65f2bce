"""How servers differ: each way in which text, usage and errors come, byte by byte, and what is made of it.

Each answer is four chunks of text, 50, 60, 70 and 80 ms after its sending, in one server's dialect.
"""

import json
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from serving.probe.apis import APIS, ApiName
from serving.probe.connection import Connection, Peer
from serving.probe.exchange import Answer, Shot
from serving.probe.lengths import Lengths
from serving.probe.metrics import report
from serving.probe.run_records import Ending, Result, Run, ServerFacts
from serving.probe.spec import Load, Slo, Target, Workload
from serving.probe.tally import Tally

MS = 1_000_000
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
Event = dict[str, Any] | str | bytes
"""An object, the payload of an event, or whole lines."""
Said = tuple[int, Event]
"""Milliseconds after the sending, and what came then."""

DONE: Said = (81, "[DONE]")
TIMES_MS = (50, 60, 70, 80)


def text(word: str = "ab", reason: str | None = None, **more: Any) -> dict[str, Any]:
    return {"choices": [{"text": word, "finish_reason": reason}], **more}


def delta(reason: str | None = None, beside: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    return {"choices": [{"delta": fields, "finish_reason": reason}], **(beside or {})}


def told(output: int, **more: Any) -> dict[str, Any]:
    return {"usage": {"prompt_tokens": 9, "completion_tokens": output, **more}}


def total(output: int, at_ms: int = 81) -> Said:
    return at_ms, {"choices": [], **told(output)}


def thought(output: int, reasoning: int) -> Said:
    """The usage of a model that reasons."""
    return 81, {"choices": [], **told(output, completion_tokens_details={"reasoning_tokens": reasoning})}


def said(*events: Event) -> list[Said]:
    """One at each of the four moments."""
    return list(zip(TIMES_MS, events, strict=True))


ROLE: Said = (1, delta(role="assistant", content=""))
TEXTS = said(*[text()] * 4)
CHATS = said(*[delta(content="ab")] * 4)
CLOSING: Said = (81, text("", "stop"))
CLOSED: Said = (81, delta("stop"))


def framed(event: Event) -> bytes:
    if isinstance(event, bytes):
        piece = event
    else:
        piece = b"data: %b\n\n" % (event if isinstance(event, str) else json.dumps(event)).encode()
    return b"%x\r\n%b\r\n" % (len(piece), piece)


def heard(api: ApiName, events: list[Said], whole: bool = True) -> Result:
    """The result of an answer whose events come each by itself."""
    ended: list[Answer] = []
    owner = SimpleNamespace(finished=lambda connection, answer: ended.append(answer))
    loop = SimpleNamespace(call_later=lambda *_: SimpleNamespace(cancel=lambda: None))
    shared = SimpleNamespace(read_event=APIS[api].read_event, tally=Tally(), loop=loop)
    connection = Connection(shared, owner, Peer(None, None, None, ""))  # type: ignore[arg-type]
    connection.answer = Answer(Shot(0, b"", 4), None, sent_ns=0)
    connection.received(HEAD, 0, 0)
    for at_ms, event in events:
        connection.received(framed(event), at_ms * MS, at_ms * MS)
    connection.received(b"0\r\n\r\n" if whole else b"", 82 * MS, 82 * MS)
    (answer,) = ended
    return answer.result(0)


class Right(NamedTuple):
    """What is right: when each token chunk came, how many tokens each holds, and how many there were in all."""

    tokens: int | None = 4
    each: list[int] | None = None
    times_ms: tuple[int, ...] = TIMES_MS
    hidden: int = 0


EVEN = Right()

ANSWERS: dict[str, tuple[ApiName, list[Said], Right]] = {
    # The total, once
    "vLLM: usage without choices": ("completions", [*TEXTS, CLOSING, total(4), DONE], EVEN),
    "vLLM: usage null with every chunk": (
        "completions",
        [*said(*[text(usage=None)] * 4), CLOSING, total(4), DONE],
        EVEN,
    ),
    "vLLM: several tokens a chunk": ("completions", [*TEXTS, CLOSING, total(9), DONE], Right(9)),
    "llama.cpp: usage beside the closing choice": (
        "completions",
        [*TEXTS, (81, text("", "stop", **told(4))), DONE],
        EVEN,
    ),
    "LiteLLM: usage beside a closing delta without a reason": (
        "chat",
        [ROLE, *CHATS, (81, delta(beside=told(4))), DONE],
        EVEN,
    ),
    "DeepSeek: usage beside the closing choice, null before": (
        "chat",
        [ROLE, *said(*[delta(content="ab", beside={"usage": None})] * 4), (81, delta("stop", told(4))), DONE],
        EVEN,
    ),
    "DeepSeek: usage beside the last text": (
        "completions",
        [*TEXTS[:3], (80, text("ab", "stop", **told(4))), DONE],
        EVEN,
    ),
    "Groq: usage under its own name": (
        "chat",
        [ROLE, *CHATS, (81, delta("stop", {"x_groq": {"id": "r", **told(4)}})), DONE],
        EVEN,
    ),
    "a vendor's own name without choices": (
        "chat",
        [ROLE, *CHATS, CLOSED, (81, {"x_any": told(4)}), DONE],
        EVEN,
    ),
    "Moonshot: usage in the choice": (
        "chat",
        [ROLE, *CHATS, (81, {"choices": [{"delta": {}, "finish_reason": "stop", **told(4)}]}), DONE],
        EVEN,
    ),
    "usage beside the closing choice and again without": (
        "chat",
        [ROLE, *CHATS, (81, delta("stop", told(4))), total(4), DONE],
        EVEN,
    ),
    "usage with the first chunk and at the end": (
        "completions",
        [(50, text(**told(1))), *TEXTS[1:], (81, text("", "stop", **told(4))), DONE],
        EVEN,
    ),
    "usage with every second chunk": (
        "completions",
        [
            *said(text(), text(**told(2)), text(), text(**told(4))),
            CLOSING,
            DONE,
        ],
        EVEN,
    ),
    "the same total with every chunk": (
        "completions",
        [*said(*[text(**told(4))] * 4), CLOSING, DONE],
        EVEN,
    ),
    "a total of 0 at the very end": ("completions", [*TEXTS, CLOSING, total(4), total(0), DONE], EVEN),
    "Anthropic: totals at both ends": (
        "messages",
        [
            (1, {"type": "message_start", "message": {"usage": {"input_tokens": 9, "output_tokens": 1}}}),
            (1, {"type": "ping"}),
            *said(*[{"type": "content_block_delta", "delta": {"text": "ab"}}] * 4),
            (
                81,
                {
                    "type": "message_delta",
                    "delta": {"stop_reason": "end_turn"},
                    "usage": {"output_tokens": 4},
                },
            ),
            (81, {"type": "message_stop"}),
        ],
        EVEN,
    ),
    # With every chunk
    "vLLM: totals so far": (
        "completions",
        [*said(*[text(**told(count)) for count in (1, 3, 4, 9)]), CLOSING, total(9), DONE],
        Right(9, [1, 2, 1, 5]),
    ),
    "vLLM: totals so far, the role's with them": (
        "chat",
        [
            (1, delta(beside=told(0), role="assistant", content="")),
            *said(*[delta(content="ab", beside=told(count)) for count in (1, 3, 4, 9)]),
            (81, delta("stop", told(9))),
            total(9),
            DONE,
        ],
        Right(9, [1, 2, 1, 5]),
    ),
    "totals so far, and none at the end": (
        "completions",
        [*said(*[text(**told(count)) for count in (2, 4, 6, 8)]), CLOSING, DONE],
        Right(8, [2, 2, 2, 2]),
    ),
    "totals so far, and 0 at the end": (
        "completions",
        [*said(*[text(**told(count)) for count in (2, 4, 6, 8)]), CLOSING, total(0), DONE],
        Right(8, [2, 2, 2, 2]),
    ),
    "totals so far, each in an event behind its chunk": (
        "completions",
        [
            pair
            for at_ms, count in zip(TIMES_MS, (1, 2, 3, 8), strict=True)
            for pair in ((at_ms, text()), total(count, at_ms))
        ]
        + [CLOSING, DONE],
        Right(8, [1, 1, 1, 5]),
    ),
    "each chunk's own, and the total": (
        "completions",
        [*said(*[text(**told(count)) for count in (1, 2, 1, 5)]), CLOSING, total(9), DONE],
        Right(9, [1, 2, 1, 5]),
    ),
    "each chunk's own, all alike, and the total": (
        "completions",
        [*said(*[text(**told(1))] * 4), CLOSING, total(4), DONE],
        Right(4, [1, 1, 1, 1]),
    ),
    "each chunk's own, and no total": (
        "completions",
        [*said(*[text(**told(count)) for count in (1, 2, 1, 5)]), CLOSING, DONE],
        Right(9, [1, 2, 1, 5]),
    ),
    "each chunk's own, all alike, and 0 at the end": (
        "completions",
        [*said(*[text(**told(1))] * 4), (81, text("", "stop", **told(0))), DONE],
        Right(4, [1, 1, 1, 1]),
    ),
    "each chunk's own, the end's too": (
        "completions",
        [*said(*[text(**told(1))] * 4), (81, text("", "stop", **told(1))), DONE],
        Right(5, [1, 1, 1, 1, 1], (*TIMES_MS, 81)),
    ),
    "counts that say nothing": (
        "completions",
        [*said(*[text(**told(count)) for count in (7, 1, 9, 3)]), CLOSING, total(12), DONE],
        Right(12),
    ),
    # No count
    "no usage": ("completions", [*TEXTS, CLOSING, DONE], Right(None)),
    "usage of nothing": (
        "completions",
        [*TEXTS, CLOSING, (81, {"choices": [], "usage": {}}), DONE],
        Right(None),
    ),
    "usage of 0": ("completions", [*TEXTS, CLOSING, total(0), DONE], Right(None)),
    "usage of 0 with every chunk": (
        "completions",
        [*said(*[text(**told(0))] * 4), CLOSING, DONE],
        Right(None),
    ),
    # Chunks without text
    "an empty first chunk without a role": (
        "chat",
        [(1, delta(content="")), *CHATS, CLOSED, total(4), DONE],
        EVEN,
    ),
    "an empty first chunk, the end token counted": (
        "chat",
        [(1, delta(content="")), *CHATS, CLOSED, total(5), DONE],
        Right(5, None, (*TIMES_MS, 81)),
    ),
    "an empty first chunk, several tokens a chunk": (
        "chat",
        [(1, delta()), *CHATS, CLOSED, total(40), DONE],
        Right(40),
    ),
    "an empty first chunk, no usage": ("chat", [(1, delta(content="")), *CHATS, CLOSED, DONE], Right(None)),
    "an empty first text": ("completions", [(1, text("")), *TEXTS, CLOSING, total(4), DONE], EVEN),
    "a first event without anything": ("chat", [(1, {}), *CHATS, CLOSED, total(4), DONE], EVEN),
    "Azure: a first event about the prompt": (
        "chat",
        [(1, {"choices": [], "prompt_filter_results": [{"x": 1}]}), ROLE, *CHATS, CLOSED, total(4), DONE],
        EVEN,
    ),
    "half a character": (
        "completions",
        [*said(text(), text(""), text("é"), text()), CLOSING, total(4), DONE],
        EVEN,
    ),
    "the role with every chunk": (
        "chat",
        [*said(*[delta(role="assistant", content="ab")] * 4), CLOSED, total(4), DONE],
        EVEN,
    ),
    "reasoning": (
        "chat",
        [
            ROLE,
            *said(
                delta(reasoning_content="hm"),
                delta(reasoning="hm", content=None),
                delta(thinking="hm"),
                delta(content="ab"),
            ),
            CLOSED,
            total(4),
            DONE,
        ],
        EVEN,
    ),
    "tool calls and content in parts": (
        "chat",
        [
            ROLE,
            *said(
                delta(tool_calls=[{"index": 0, "function": {"name": "f", "arguments": ""}}]),
                delta(tool_calls=[{"index": 0, "function": {"arguments": "{}"}}]),
                delta(content=[{"type": "text", "text": "ab"}]),
                delta(refusal="no"),
            ),
            CLOSED,
            total(4),
            DONE,
        ],
        EVEN,
    ),
    # Frames
    "a byte order mark": (
        "completions",
        [
            (50, b"\xef\xbb\xbfdata: " + json.dumps(text()).encode() + b"\n\n"),
            *TEXTS[1:],
            CLOSING,
            total(4),
            DONE,
        ],
        EVEN,
    ),
    "a byte order mark in two pieces": (
        "completions",
        [(1, b"\xef"), (1, b"\xbb\xbf: hello\n\n"), *TEXTS, CLOSING, total(4), DONE],
        EVEN,
    ),
    "no [DONE]": ("completions", [*TEXTS, CLOSING, total(4)], EVEN),
    "a dressed [DONE]": ("completions", [*TEXTS, CLOSING, total(4), (81, ' "[DONE]" ')], EVEN),
    "empty events and pings": (
        "completions",
        [(1, b"data:\n\n: ping\n\ndata: \n\n"), (1, {"type": "ping"}), *TEXTS, CLOSING, total(4), DONE],
        EVEN,
    ),
    "an error that is none": (
        "completions",
        [*said(*[text(error=None)] * 4), CLOSING, (81, {"choices": [], "error": None, **told(4)}), DONE],
        EVEN,
    ),
    "an event of another kind before the end": (
        "completions",
        [*TEXTS, (80, {"trace": "x"}), CLOSING, total(4), DONE],
        EVEN,
    ),
    "reasoning that is counted and not sent": (
        "chat",
        [*said(*[delta(content="ab")] * 4), thought(24, 20), DONE],
        Right(24, hidden=20),
    ),
    "the same with totals so far": (
        "chat",
        [
            *said(
                *[
                    delta(content="ab", beside=told(at, completion_tokens_details={"reasoning_tokens": 20}))
                    for at in (21, 22, 23, 24)
                ]
            ),
            thought(24, 20),
            DONE,
        ],
        Right(24, [1, 1, 1, 1], hidden=20),
    ),
    "reasoning that is sent, several tokens a chunk": (
        "chat",
        [*said(*[delta(reasoning_content="ab")] * 2, *[delta(content="ab")] * 2), thought(24, 20), DONE],
        Right(24),
    ),
    "reasoning that is counted beside the output": (
        "chat",
        [*said(*[delta(content="ab")] * 4), thought(4, 20), DONE],
        EVEN,
    ),
    "event names": (
        "completions",
        [*said(*[b"event: token\n" + framed(text()).split(b"\r\n")[1]] * 4), CLOSING, total(4), DONE],
        EVEN,
    ),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_a_dialects_tokens_are_counted_when_they_came(name: str) -> None:
    api, events, right = ANSWERS[name]
    result = heard(api, events)
    assert (result.error, result.message) == (None, None)
    times_ms = [sum(result.gaps_us[: number + 1]) / 1000 for number in range(len(result.gaps_us))]
    assert (times_ms, result.output_tokens, result.chunk_tokens, result.hidden_tokens) == (
        list(right.times_ms),
        right.tokens,
        right.each,
        right.hidden,
    )
    assert result.disbelieved == name.startswith("usage of 0")


RUN = Run(
    target=Target(base_url="http://h"),
    model="m",
    load=Load(shape="concurrency", concurrency=1),
    workload=Workload(input_tokens=Lengths(low=9), output_tokens=Lengths(low=4)),
    slo=Slo(),
    server=ServerFacts(),
    started_at="2026-01-01T00:00:00+00:00",
)


@pytest.mark.parametrize("name", ANSWERS)
def test_a_dialects_rates_add_up_to_its_totals(name: str) -> None:
    api, events, right = ANSWERS[name]
    made = report(RUN, [heard(api, events), Ending(1_000_000, [])])
    tokens = 4 if right.tokens is None else right.tokens
    assert (made.valid, made.output_tokens, round(made.peak_output_tokens_per_s, 6)) == (True, tokens, tokens)
    assert made.tpot_s is not None
    assert made.tpot_s.p50 == pytest.approx((right.times_ms[-1] - 50) / 1000 / (tokens - right.hidden - 1))
    assert made.warnings[1:] == (
        (
            f"{right.hidden} of {tokens} output tokens are reasoning that was counted and not sent: tokens/s holds it,"
            " TTFT its time; TPOT and ITL are of what was sent",
        )
        if right.hidden
        else made.warnings[1:]
    )


def test_an_answer_of_one_chunk_tells_nothing_of_the_time_between_tokens() -> None:
    made = report(RUN, [heard("completions", [TEXTS[0], CLOSING, total(20), DONE]), Ending(1_000_000, [])])
    assert (made.output_tokens, made.tpot_s, made.itl_s) == (20, None, None)


FAILURES: list[tuple[ApiName, Event, list[Said], str, str]] = [
    ("completions", {"error": {"message": "dead", "code": 500}}, [DONE], "stream_error", "dead"),
    ("completions", {"error": "dead"}, [CLOSING, DONE], "stream_error", "dead"),
    ("completions", {"detail": "dead"}, [DONE], "stream_error", "dead"),
    ("completions", {"object": "error", "message": "dead"}, [DONE], "stream_error", "dead"),
    ("completions", {"message": "dead", "code": 500}, [DONE], "stream_error", "dead"),
    ("completions", {"code": 500, "msg": "dead"}, [DONE], "stream_error", "dead"),
    ("completions", {"error_code": 18, "error_msg": "dead"}, [DONE], "stream_error", "dead"),
    ("completions", {"errors": ["dead"]}, [DONE], "stream_error", "['dead']"),
    ("completions", {"error": True, "message": "dead"}, [DONE], "stream_error", "dead"),
    ("completions", {"error": "dead", **told(2)}, [DONE], "stream_error", "dead"),
    ("completions", {"choices": [], "error": "dead"}, [DONE], "stream_error", "dead"),
    ("completions", text(error={"message": "dead"}), [CLOSING, DONE], "stream_error", "dead"),
    (
        "completions",
        text("", "error", error={"code": "server_error", "message": "dead"}),
        [DONE],
        "stream_error",
        "dead",
    ),
    ("completions", text("", "abort"), [DONE], "stream_error", "finish reason abort"),
    (
        "completions",
        text("", "insufficient_system_resource"),
        [DONE],
        "stream_error",
        "finish reason insufficient_system_resource",
    ),
    ("completions", b'event: error\ndata: {"message": "dead"}\n\n', [DONE], "stream_error", "dead"),
    ("completions", b"event: error\ndata: dead\n\n", [DONE], "stream_error", "dead"),
    (
        "completions",
        b'event:error\ndata: {"error": "dead"}\n\n',
        [CLOSING, total(2), DONE],
        "stream_error",
        "dead",
    ),
    (
        "completions",
        {"title": "dead", "status": 500},
        [DONE],
        "stream_error",
        "{'title': 'dead', 'status': 500}",
    ),
    ("completions", "dead", [DONE], "bad_json", "an event that is not as it should be: b'dead'"),
    ("completions", '"x"', [DONE], "bad_json", "an event that is not as it should be: b'\"x\"'"),
    ("chat", {"detail": "dead"}, [DONE], "stream_error", "dead"),
    ("messages", {"type": "error", "error": {"message": "dead"}}, [], "stream_error", "dead"),
    (
        "messages",
        {"detail": "dead"},
        [(81, {"type": "message_stop"})],
        "stream_error",
        "dead",
    ),
]


@pytest.mark.parametrize(("api", "event", "rest", "error", "message"), FAILURES)
def test_a_failure_inside_a_stream_is_none_of_the_successes(
    api: ApiName, event: Event, rest: list[Said], error: str, message: str
) -> None:
    events = [*TEXTS[:2], (65, event), *rest]
    result = heard(api, events)
    assert (result.status, result.error, result.message) == (200, error, message)


def test_a_failure_that_nothing_follows_is_what_it_says() -> None:
    for event in ({"error": "dead"}, b"event: error\ndata: dead\n\n"):
        result = heard("completions", [*TEXTS[:2], (65, event)], whole=False)
        assert (result.error, result.message) == ("stream_error", "dead")


@pytest.mark.parametrize(
    ("events", "whole", "error"),
    [
        (TEXTS, True, "truncated"),
        (TEXTS, False, "truncated"),
        ([*TEXTS, CLOSING, DONE], False, None),
        (
            [*said(*[{"choices": [{"message": {"content": "ab"}}]}] * 4), CLOSING, total(8), DONE],
            True,
            "no_tokens",
        ),
        ([*said(*[text("")] * 4), CLOSING, total(5), DONE], True, None),
        ([*said(*[text("")] * 4), CLOSING, total(6), DONE], True, "no_tokens"),
        ([DONE], True, "no_tokens"),
        ([CLOSING, total(0), DONE], True, "no_tokens"),
        ([CLOSING, DONE], True, "no_tokens"),
        ([(1, text("")), CLOSING, total(0), DONE], True, "no_tokens"),
    ],
)
def test_an_answer_that_breaks_off_or_holds_nothing(
    events: list[Said], whole: bool, error: str | None
) -> None:
    assert heard("completions", events, whole).error == error


def test_a_timeline_that_does_not_add_up_is_said_and_makes_the_run_invalid() -> None:
    """As in results that an older corral wrote of usage beside the closing choice."""
    result = heard("completions", ANSWERS["vLLM: totals so far"][1])
    result.chunk_tokens = [0, 0, 0, 2]
    made = report(RUN, [result, Ending(1_000_000, [])])
    assert (made.valid, made.invalid_because) == (
        False,
        (
            "the chunks of the answers hold 2 output tokens, but their totals are 9: no rate over time can be right",
        ),
    )


def test_what_was_counted_otherwise_is_said() -> None:
    made = report(RUN, [heard("completions", ANSWERS["usage of 0"][1]), Ending(1_000_000, [])])
    assert made.warnings[1:] == (
        "the server counted 0 output tokens of 1 answers with text: their chunks are counted as tokens",
    )
    made = report(RUN, [heard("completions", [*TEXTS, CLOSING, total(2), DONE]), Ending(1_000_000, [])])
    assert made.warnings[1] == (
        "1 of 1 answers have more chunks than the server counted tokens: it cuts tokens, or its usage is too low"
    )
