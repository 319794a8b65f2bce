"""The three APIs: what an event says, what a body asks, in whose words tokens and errors are told."""

import ast
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args

import orjson
import pytest

from serving.probe.apis import API_NAMES, APIS, Api, ApiName
from serving.probe.dataset import Lexicon, Prompt
from serving.probe.endpoint_options import Address, split_url
from serving.probe.lengths import Lengths
from serving.probe.request_maker import RequestMaker
from serving.probe.run_records import ServerFacts
from serving.probe.shared import Shared
from serving.probe.spec import Load, Target, Workload
from serving.probe.stream_failures import FAILED_REASONS, OddEvent, StreamFailure, check_event, error_text
from serving.probe.token_counts import whole

USAGE, COUNTS = {"completion_tokens": 5}, (None, 5, None, None)
CACHED = {"input_tokens": 9, "input_tokens_details": {"cached_tokens": 4}, "output_tokens": 5}
FRESH, FRESH_COUNTS = {"input_tokens": 9}, (9, None, None, None)


@pytest.mark.parametrize(
    ("api", "event", "delta"),
    [
        ("completions", {"choices": [{"text": "a", "finish_reason": None}]}, ("a", None, None, False)),
        (
            "completions",
            {"choices": [{"finish_reason": "stop"}], "usage": USAGE},
            ("", "stop", COUNTS, False),
        ),
        ("completions", {"choices": [], "usage": USAGE}, (None, None, COUNTS, False)),
        ("completions", {"usage": USAGE, "message": "odd"}, (None, None, COUNTS, False)),
        ("chat", {"choices": [{"delta": {"content": "a"}}]}, ("a", None, None, False)),
        ("chat", {"choices": [{"delta": {"role": "assistant", "content": ""}}]}, (None, None, None, False)),
        ("chat", {"choices": [{"delta": {"content": ""}}]}, ("", None, None, False)),
        (
            "chat",
            {"choices": [{"delta": None, "finish_reason": "stop"}], "usage": USAGE},
            ("", "stop", COUNTS, False),
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
        (
            "messages",
            {"type": "message_start", "message": {"usage": FRESH}},
            (None, None, FRESH_COUNTS, False),
        ),
        (
            "messages",
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": FRESH},
            (None, "end_turn", FRESH_COUNTS, False),
        ),
        ("messages", {"type": "message_stop"}, (None, None, None, True)),
        ("responses", {"type": "response.created", "response": {}}, (None, None, None, False)),
        ("responses", {"type": "response.output_text.delta", "delta": "a"}, ("a", None, None, False)),
        ("responses", {"type": "response.output_text.delta", "delta": ""}, ("", None, None, False)),
        ("responses", {"type": "response.reasoning_text.delta", "delta": "a"}, ("a", None, None, False)),
        (
            "responses",
            {"type": "response.function_call_arguments.delta", "delta": "{"},
            ("{", None, None, False),
        ),
        ("responses", {"type": "response.audio.delta", "delta": {"a": 1}}, (None, None, None, False)),
        (
            "responses",
            {"type": "response.completed", "response": {"usage": CACHED, "incomplete_details": None}},
            (None, "stop", (9, 5, 4, None), True),
        ),
        (  # as vLLM says it
            "responses",
            {
                "type": "response.completed",
                "response": {"incomplete_details": {"reason": "max_output_tokens"}},
            },
            (None, "length", None, True),
        ),
        (  # as OpenAI does
            "responses",
            {"type": "response.incomplete", "response": {"incomplete_details": {"reason": "content_filter"}}},
            (None, "content_filter", None, True),
        ),
        ("messages", {"type": "ping"}, (None, None, None, False)),
    ],
)
def test_what_an_event_says(api: ApiName, event: dict[str, Any], delta: tuple[object, ...]) -> None:
    assert APIS[api].read_event(event) == delta


@pytest.mark.parametrize(
    ("api", "event", "said"),
    [
        ("completions", {"error": {"message": "boom"}}, "boom"),
        ("completions", {"message": "overloaded", "code": 503}, "overloaded"),
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
        ("responses", {"type": "error", "code": "server_error", "message": "boom"}, "boom"),
        ("responses", {"type": "response.failed", "response": {"error": {"message": "dead"}}}, "dead"),
        *(
            ("responses", {"type": f"response.{kind}", "response": {"status": status} | error}, said)
            for kind in ("completed", "incomplete")
            for status in sorted(FAILED_REASONS)
            for error, said in (({}, f"status {status}"), ({"error": {"message": "dead"}}, "dead"))
        ),
    ],
)
def test_an_error_inside_a_stream(api: ApiName, event: dict[str, Any], said: str) -> None:
    with pytest.raises(StreamFailure) as failure:
        APIS[api].read_event(event)
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
    ("words", "usage", "tokens"),
    [
        ("openai", {"prompt_tokens": 9, "completion_tokens": 5}, (9, 5, None, None)),
        ("openai", {"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 3}}, (9, None, 3, None)),
        ("openai", {"prompt_tokens": 9, "prompt_tokens_details": None}, (9, None, None, None)),
        ("openai", {"other": 1}, (None, None, None, None)),
        ("openai", {"completion_tokens_details": {"reasoning_tokens": 7}}, (None, None, None, 7)),
        ("openai", {"completion_tokens_details": None, "reasoning_tokens": 7}, (None, None, None, 7)),
        ("openai", {}, None),
        # Each may speak in the other's words.
        ("openai", {"input_tokens": 9, "cache_read_input_tokens": 4, "output_tokens": 5}, (13, 5, 4, None)),
        ("anthropic", {"prompt_tokens": 9, "completion_tokens": 5}, (9, 5, None, None)),
        ("anthropic", {"input_tokens": 9, "output_tokens": 5}, (9, 5, None, None)),
        (
            "anthropic",
            {"input_tokens": 9, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 2},
            (15, None, 4, None),
        ),
        ("anthropic", {"output_tokens": 5}, (None, 5, None, None)),
        ("anthropic", {}, None),
    ],
)
def test_tokens_in_each_ones_words(
    words: str, usage: dict[str, Any], tokens: tuple[int | None, ...] | None
) -> None:
    events: dict[ApiName, dict[str, Any]] = (
        {"completions": {"choices": [], "usage": usage}, "chat": {"choices": [{}], "usage": usage}}
        if words == "openai"
        else {"messages": {"type": "message_delta", "delta": {}, "usage": usage}}
    )
    assert {APIS[api].read_event(event)[2] for api, event in events.items()} == {tokens}


def test_what_is_a_number_of_tokens() -> None:
    values = (0, 2**31 - 1, 2**31, -1, True, 5.5, "5", None, 5.0, -1.0, float("nan"))
    assert [whole(value) for value in values] == [
        *(0, 2**31 - 1, None, None, None, None, None, None, 5, None, None)
    ]


TALK = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]


@pytest.mark.parametrize(
    ("api", "body"),
    [
        ("completions", {"prompt": "Hi", "stream_options": {"include_usage": True}}),
        ("chat", {"messages": TALK, "stream_options": {"include_usage": True}}),
        ("messages", {"messages": TALK}),
        ("responses", {"max_output_tokens": 7, "max_tokens": None, "input": TALK, "store": False}),
    ],
)
def test_what_a_body_asks(api: ApiName, body: dict[str, Any]) -> None:
    common = {"model": "m", "max_tokens": 7, "stream": True}
    common = {name: value for name, value in (common | body).items() if value is not None}
    body = {}
    assert APIS[api].body("m", TALK, 7, {}) == common | body
    assert APIS[api].body("m", TALK, 7, {"stream": None, "top_p": 0.5, "model": "n"}) == {
        name: value
        for name, value in (common | body | {"top_p": 0.5, "model": "n"}).items()
        if name != "stream"
    }


def test_the_length_of_an_answer_may_have_another_name() -> None:
    asked = APIS["chat"].body("m", TALK, 7, {}, APIS["chat"].other_length_field)
    assert (asked["max_completion_tokens"], "max_tokens" in asked) == (7, False)


def test_what_is_counted_of_a_response_is_a_chat() -> None:
    assert APIS["responses"].counted(TALK) == {"messages": TALK}
    assert APIS["completions"].counted(TALK) == {"prompt": "Hi"}


def test_the_headers_of_a_request() -> None:
    common = {
        "host": "host:1", "content-type": "application/json", "accept": "text/event-stream",
        "accept-encoding": "identity",
        "user-agent": "corral-probe",
    }  # fmt: skip
    assert APIS["chat"].headers("host:1", None) == common
    assert APIS["chat"].headers("host:1", "k") == common | {"authorization": "Bearer k"}
    assert APIS["messages"].headers("host:1", "k") == common | {
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
def test_whose_header_carries_the_key(api: ApiName, host: str, name: str) -> None:
    version = {"anthropic-version": "2023-06-01"} if api == "messages" else {}
    key = {name: "k" if name == "x-api-key" else "Bearer k"}
    assert APIS[api].own_headers(host, "k") == version | key
    assert APIS[api].own_headers(host, "") == version


def names_in(nodes: Iterable[ast.expr | None]) -> set[Any]:
    """The names of APIs among constants."""
    return {node.value for node in nodes if isinstance(node, ast.Constant)} & set(APIS)


def test_no_other_file_asks_which_api_it_is() -> None:
    asking = []
    for path in (Path(__file__).parent.parent / "serving/probe").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Compare(left=left, comparators=others):
                    asks = bool(names_in((left, *others)))
                case ast.Dict(keys=keys):
                    asks = len(names_in(keys)) > 1
                case ast.MatchValue(value=value):
                    asks = bool(names_in((value,)))
                case _:
                    asks = False
            if asks:
                asking.append(f"{path.name}: {ast.unparse(node)}")
    assert asking == []
    assert tuple(APIS) == get_args(ApiName)
    assert all(name in API_NAMES for name in APIS)


def test_a_fifth_api_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    name: Any = "plain"
    plain = Api(
        name=name,
        path="/plain",
        read_event=lambda event: (event["said"], None, None, False),
        one_text=True,
        takes_vllm_fields=False,
        bench_name="plain",
    )
    monkeypatch.setitem(APIS, name, plain)
    assert split_url("http://host:1/plain") == Address("http://host:1", name)
    lengths = Lengths(low=1)
    maker = RequestMaker(
        target=Target.model_construct(base_url="http://host:1", api=name),
        api_key="k",
        model="m",
        workload=Workload(input_tokens=lengths, output_tokens=lengths, ignore_eos=True),
        facts=ServerFacts(is_vllm=True),
        lexicon=Lexicon(),
        salt="s",
    )
    head, body = maker.shot(Prompt(TALK, 7), 0, maker.head()).request.split(b"\r\n\r\n")
    assert head.splitlines()[0] == b"POST /plain HTTP/1.1"
    assert orjson.loads(body) == {"model": "m", "max_tokens": 7, "stream": True, "prompt": "Hi"}
    shared = Shared(name, Load(shape="burst", compiled_reader=False))
    shared.close()
    assert shared.read_event({"said": "a"}) == ("a", None, None, False)


@pytest.mark.parametrize(
    ("event", "failure"),
    [
        ({"error": {"message": "dead"}, "choices": []}, StreamFailure),
        ({"object": "error", "code": "dead"}, StreamFailure),
        ({"type": "error", "code": "dead"}, StreamFailure),
        ({"detail": "dead"}, StreamFailure),
        ({"choices": [], "message": "dead"}, OddEvent),
        ({"message": "dead"}, OddEvent),
        ({"msg": "dead", "code": 0}, OddEvent),
        ({"msg": "dead", "code": 1}, StreamFailure),
        ({"message": "dead", "errors": ["dead"]}, StreamFailure),
        ({"choices": []}, None),
        ({"status": "dead"}, OddEvent),
        ({"type": "ping"}, None),
        ({"object": "chat.completion.chunk"}, None),
        ({}, None),
    ],
)
def test_what_an_event_without_a_choice_is(event: dict[str, Any], failure: type[Exception] | None) -> None:
    if failure is None:
        check_event(event)
        return
    with pytest.raises(failure, match="dead") as caught:
        check_event(event)
    assert caught.type is failure
