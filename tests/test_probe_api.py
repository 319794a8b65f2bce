"""The three APIs: what an event says, what a body asks, in whose words tokens and errors are told."""

from typing import Any

import pytest

from serving.probe.api import (
    DELTAS,
    StreamFailure,
    auth_headers,
    error_text,
    headers,
    request_body,
    usage_tokens,
    whole,
)

USAGE = {"completion_tokens": 5}


@pytest.mark.parametrize(
    ("api", "event", "delta"),
    [
        ("completions", {"choices": [{"text": "a", "finish_reason": None}]}, ("a", None, None, False)),
        ("completions", {"choices": [{"finish_reason": "stop"}], "usage": USAGE}, ("", "stop", USAGE, False)),
        ("completions", {"choices": [], "usage": USAGE}, (None, None, USAGE, False)),
        ("completions", {"usage": USAGE, "message": "odd"}, (None, None, USAGE, False)),
        ("completions", {"choices": [], "message": "odd"}, (None, None, None, False)),
        ("chat", {"choices": [{"delta": {"content": "a"}}]}, ("a", None, None, False)),
        ("chat", {"choices": [{"delta": {"role": "assistant", "content": ""}}]}, (None, None, None, False)),
        ("chat", {"choices": [{"delta": {"content": ""}}]}, ("", None, None, False)),
        (
            "chat",
            {"choices": [{"delta": None, "finish_reason": "stop"}], "usage": USAGE},
            ("", "stop", USAGE, False),
        ),
        ("chat", {"choices": [{"delta": {"reasoning": "hm"}}]}, ("hm", None, None, False)),
        ("chat", {"choices": [{"delta": {"reasoning_content": "hm"}}]}, ("hm", None, None, False)),
        ("chat", {"choices": [{"delta": {"tool_calls": [1], "role": "x"}}]}, ("[1]", None, None, False)),
        ("messages", {"type": "content_block_delta", "delta": {"text": "a"}}, ("a", None, None, False)),
        ("messages", {"type": "content_block_delta", "delta": {"thinking": "a"}}, ("a", None, None, False)),
        (
            "messages",
            {"type": "content_block_delta", "delta": {"partial_json": "a"}},
            ("a", None, None, False),
        ),
        ("messages", {"type": "content_block_delta", "delta": {"signature": "a"}}, (None, None, None, False)),
        ("messages", {"type": "message_start", "message": {"usage": USAGE}}, (None, None, USAGE, False)),
        (
            "messages",
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": USAGE},
            (None, "end_turn", USAGE, False),
        ),
        ("messages", {"type": "message_stop"}, (None, None, None, True)),
        ("messages", {"type": "ping"}, (None, None, None, False)),
    ],
)
def test_what_an_event_says(api: Any, event: dict[str, Any], delta: tuple[object, ...]) -> None:
    assert DELTAS[api](event) == delta


@pytest.mark.parametrize(
    ("api", "event", "said"),
    [
        ("completions", {"error": {"message": "boom"}}, "boom"),
        ("completions", {"message": "overloaded"}, "overloaded"),
        ("completions", {"choices": [], "error": "boom"}, "boom"),
        ("completions", {"choices": [{"finish_reason": "error"}], "error": {"message": "dead"}}, "dead"),
        (
            "chat",
            {"choices": [{"delta": {}, "finish_reason": "error"}], "error": {"message": "dead"}},
            "dead",
        ),
        ("chat", {"error": "boom"}, "boom"),
        (
            "messages",
            {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
            "Overloaded",
        ),
    ],
)
def test_an_error_inside_a_stream(api: Any, event: dict[str, Any], said: str) -> None:
    with pytest.raises(StreamFailure) as failure:
        DELTAS[api](event)
    assert str(failure.value) == said


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"error": {"message": "a"}}, "a"),
        ({"error": "a"}, "a"),
        ({"detail": "a"}, "a"),
        ({"message": "a"}, "a"),
        ({"error": {"code": 5}}, "{'code': 5}"),
        ({"other": 1}, "{'other': 1}"),
        ([1], "[1]"),
    ],
)
def test_the_sentence_in_an_error(answer: object, said: str) -> None:
    assert error_text(answer) == said


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"prompt_tokens": 9, "completion_tokens": 5}, (9, 5, None)),
        ({"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 3}}, (9, None, 3)),
        ({"prompt_tokens": 9, "prompt_tokens_details": None}, (9, None, None)),
        ({"input_tokens": 9, "output_tokens": 5}, (9, 5, None)),
        ({"input_tokens": 9, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 2}, (15, None, 4)),
        ({"output_tokens": 5}, (None, 5, None)),
        ({}, (None, None, None)),
    ],
)
def test_tokens_in_either_ones_words(usage: dict[str, Any], tokens: tuple[int | None, ...]) -> None:
    assert usage_tokens(usage) == tokens


def test_what_is_a_number_of_tokens() -> None:
    values = (0, 2**31 - 1, 2**31, -1, True, 5.0, "5", None)
    assert [whole(value) for value in values] == [0, 2**31 - 1, None, None, None, None, None, None]


TALK = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]


@pytest.mark.parametrize(
    ("api", "body"),
    [
        ("completions", {"prompt": "Hi", "stream_options": {"include_usage": True}}),
        ("chat", {"messages": TALK, "stream_options": {"include_usage": True}}),
        ("messages", {"messages": TALK}),
    ],
)
def test_what_a_body_asks(api: Any, body: dict[str, Any]) -> None:
    common = {"model": "m", "max_tokens": 7, "stream": True}
    assert request_body(api, "m", TALK, 7, {}) == common | body
    assert request_body(api, "m", TALK, 7, {"stream": None, "top_p": 0.5, "model": "n"}) == {
        name: value
        for name, value in (common | body | {"top_p": 0.5, "model": "n"}).items()
        if name != "stream"
    }


def test_the_headers_of_a_request() -> None:
    common = {
        "host": "host:1", "content-type": "application/json", "accept": "text/event-stream",
        "user-agent": "corral-probe",
    }  # fmt: skip
    assert headers("chat", "host:1", None) == common
    assert headers("chat", "host:1", "k") == common | {"authorization": "Bearer k"}
    assert headers("messages", "host:1", "k") == common | {
        "anthropic-version": "2023-06-01",
        "authorization": "Bearer k",
    }


@pytest.mark.parametrize(
    ("api", "host", "name"),
    [
        ("messages", "api.anthropic.com", "x-api-key"),
        ("messages", "api.anthropic.com:443", "x-api-key"),
        ("messages", "localhost", "authorization"),
        ("chat", "api.anthropic.com", "authorization"),
    ],
)
def test_whose_header_carries_the_key(api: Any, host: str, name: str) -> None:
    assert auth_headers(api, host, "k") == {name: "k" if name == "x-api-key" else "Bearer k"}
    assert auth_headers(api, host, "") == {}
