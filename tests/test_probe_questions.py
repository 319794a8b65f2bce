"""What a probe asks besides its load: the requests, every answer that is of no use, and how long it is patient."""

import ssl
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import httpx2
import orjson
import pytest

from infra.errors import AuthError, CorralError, EndpointError
from serving.probe import questions
from serving.probe.questions import (
    Patience,
    Server,
    read_counters,
    untold,
)
from serving.probe.spec import Target
from serving.vllm.http_door import NoAnswer, certificate_fault, no_answer, read_whole

THERE = Target(base_url="http://host:1/base")
Answer = Callable[[httpx2.Request], httpx2.Response]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Server, list[httpx2.Request]]]:
    """A server that answers as it is told, and what it was asked."""

    def made(
        answer: Answer | httpx2.Response, target: Target = THERE, timeout_s: float = 15.0
    ) -> tuple[Server, list[httpx2.Request]]:
        asked: list[httpx2.Request] = []

        def answering(request: httpx2.Request) -> httpx2.Response:
            asked.append(request)
            return answer if isinstance(answer, httpx2.Response) else answer(request)

        real = httpx2.Client
        monkeypatch.setattr(
            httpx2, "Client", lambda **options: real(transport=httpx2.MockTransport(answering), **options)
        )
        found = Server(target, timeout_s)
        monkeypatch.setattr(httpx2, "Client", real)
        return found, asked

    return made


Make = Callable[..., tuple[Server, list[httpx2.Request]]]


def listing(*names: object) -> httpx2.Response:
    return httpx2.Response(200, json={"data": [{"id": name} for name in names]})


# What is asked


def test_a_question_carries_the_key_and_has_its_time(server: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", " sesame\n")
    asking, asked = server(listing("m"), THERE.model_copy(update={"api_key_variable": "KEY"}), 99.0)
    assert asking.models() == [{"id": "m"}]
    (request,) = asked
    assert (request.method, str(request.url)) == ("GET", "http://host:1/base/v1/models")
    assert request.headers["authorization"] == "Bearer sesame"
    assert "anthropic-version" not in request.headers
    assert request.extensions["timeout"] == dict.fromkeys(("connect", "read", "write", "pool"), 15.0)
    asking.close()
    assert server(listing("m"), THERE, 3.0)[0]._timeout_s == 3.0


def test_anthropics_api_is_asked_in_its_version(server: Make) -> None:
    asking, asked = server(listing("m"), THERE.model_copy(update={"api": "messages"}))
    asking.models()
    assert asked[0].headers["anthropic-version"] == "2023-06-01"


TALK = [{"role": "user", "content": "one"}, {"role": "user", "content": "two"}]


@pytest.mark.parametrize(
    ("api", "path", "body", "field"),
    [
        ("completions", "/tokenize", {"model": "m", "prompt": "two"}, "count"),
        ("chat", "/tokenize", {"model": "m", "messages": TALK}, "count"),
        ("messages", "/v1/messages/count_tokens", {"model": "m", "messages": TALK}, "input_tokens"),
    ],
)
def test_the_servers_tokenizer_is_asked(server: Make, api: str, path: str, body: object, field: str) -> None:
    asking, asked = server(httpx2.Response(200, json={field: 5}), THERE.model_copy(update={"api": api}))
    assert asking.count_tokens("m", TALK) == 5
    (request,) = asked
    assert (request.method, request.url.path, orjson.loads(request.content)) == ("POST", f"/base{path}", body)


@pytest.mark.parametrize(
    ("answer", "count"),
    [
        (httpx2.Response(200, json={"count": 1}), 1),
        (httpx2.Response(200, json={"count": 2**31 - 1}), 2**31 - 1),
        (httpx2.Response(200, json={"count": 2**31}), None),
        (httpx2.Response(200, json={"count": 0}), None),
        (httpx2.Response(200, json={"count": "5"}), None),
        (httpx2.Response(200, json={"input_tokens": 5}), None),
        (httpx2.Response(200, json=[5]), None),
        (httpx2.Response(200, text="{"), None),
        (httpx2.Response(404, json={"count": 5}), None),
    ],
)
def test_a_count_that_is_none(server: Make, answer: httpx2.Response, count: int | None) -> None:
    assert server(answer)[0].count_tokens("m", TALK) == count


def failing(error: Exception) -> Answer:
    def answer(request: httpx2.Request) -> httpx2.Response:
        raise error

    return answer


def test_questions_that_are_optional_have_no_answer_where_nobody_answers(server: Make) -> None:
    asking, asked = server(failing(httpx2.ConnectError("gone")))
    assert (asking.count_tokens("m", TALK), asking.version(), asking.counters()) == (None, None, {})
    assert [request.url.path for request in asked] == ["/base/tokenize", "/base/version", "/base/metrics"]


@pytest.mark.parametrize(
    ("answer", "version"),
    [
        (httpx2.Response(200, json={"version": "0.33.0\n"}), "0.33.0"),
        (httpx2.Response(200, json={"version": "x" * 50}), "x" * 37 + "..."),
        (httpx2.Response(200, json={"version": 5}), None),
        (httpx2.Response(200, json=["0.33.0"]), None),
        (httpx2.Response(500, json={"version": "0.33.0"}), None),
    ],
)
def test_a_servers_version(server: Make, answer: httpx2.Response, version: str | None) -> None:
    assert server(answer)[0].version() == version


METRICS = """\
# HELP vllm:generation_tokens_total of all
vllm:generation_tokens_total{engine="0",model_name="a b"} 40.0
vllm:generation_tokens_total{engine="1"} 2.5
vllm:prompt_tokens_total 7
vllm:prefix_cache_queries_total{} 1
vllm:prefix_cache_hits_total{} 2
vllm:num_preemptions_total{} 3
vllm:request_success_total{finished_reason="stop"} 4
vllm:time_to_first_token_seconds_sum{} 5
vllm:time_to_first_token_seconds_count{} 6
vllm:request_queue_time_seconds_sum{} 8
vllm:request_queue_time_seconds_count{} 9
vllm:generation_tokens_total{engine="2"} broken
"""


def test_the_servers_own_counters_are_summed(server: Make) -> None:
    assert read_counters(METRICS) == {
        "generation_tokens": 42.5, "prompt_tokens": 7.0, "prefix_cache_queries": 1.0, "prefix_cache_hits": 2.0,
        "preemptions": 3.0, "requests_finished": 4.0, "ttft_sum_s": 5.0, "ttft_count": 6.0, "queue_sum_s": 8.0,
    }  # fmt: skip
    assert server(httpx2.Response(200, text=METRICS))[0].counters() == read_counters(METRICS)
    assert server(httpx2.Response(503, text=METRICS))[0].counters() == {}


# The list of models


NO_LIST = (
    "http://host:1/base/v1/models answers with {} that is no list of models.",
    "Check the address: it should be an OpenAI-compatible server, e.g. http://127.0.0.1:8000",
)
REFUSED = "http://host:1/base refuses the request: HTTP {}."
KEY = "Give its key: --api-key-file key.txt, or in CORRAL_API_KEY."
LOG = "Look at the server's log; what corral started is in: corral status"


@pytest.mark.parametrize(
    ("answer", "kind", "message", "hint"),
    [
        (httpx2.Response(401), AuthError, REFUSED.format(401), KEY),
        (httpx2.Response(403), AuthError, REFUSED.format(403), KEY),
        (
            httpx2.Response(407, text="login"),
            EndpointError,
            "The proxy http://proxy:3128, which the environment names, wants a login before it lets us through to"
            " http://host:1/base/v1/models: HTTP 407.",
            "Go without it: NO_PROXY=host corral ...; or name its user in that variable.",
        ),
        (
            httpx2.Response(429, json={"error": "slow down."}, headers={"retry-after": "90"}),
            EndpointError,
            "http://host:1/base/v1/models is rate-limited: HTTP 429: slow down.",
            "Wait 90 s and try again, or measure with a key that has a higher limit.",
        ),
        (
            httpx2.Response(301, headers={"location": "http://other\x1b"}),
            EndpointError,
            "http://host:1/base/v1/models redirects to http://other\ufffd.",
            "Give the address it points to, if that is the server you mean.",
        ),
        (
            httpx2.Response(500, text="boom."),
            EndpointError,
            "http://host:1/base/v1/models answers 500: boom.",
            LOG,
        ),
        (
            httpx2.Response(400, json={"detail": "no"}),
            EndpointError,
            "http://host:1/base/v1/models answers 400: no.",
            LOG,
        ),
        (
            httpx2.Response(200, text="hi", headers={"content-type": "text/plain; charset=utf-8"}),
            EndpointError,
            NO_LIST[0].format("text/plain"),
            NO_LIST[1],
        ),
        (
            httpx2.Response(200, content=b"{}"),
            EndpointError,
            NO_LIST[0].format("no content type"),
            NO_LIST[1],
        ),
        *(
            (
                httpx2.Response(200, json=json),
                EndpointError,
                NO_LIST[0].format("application/json"),
                NO_LIST[1],
            )
            for json in (
                [1],
                {"data": 5},
                {"data": [5]},
                {"data": [{"id": ""}]},
                {"data": [{"id": "x" * 1001}]},
            )
        ),
    ],
)
def test_a_list_of_models_that_is_none(
    server: Make,
    monkeypatch: pytest.MonkeyPatch,
    answer: httpx2.Response,
    kind: type[CorralError],
    message: str,
    hint: str,
) -> None:
    monkeypatch.setattr(questions, "other_protocol", lambda url: None)
    asked = server(answer)[0]
    monkeypatch.setenv("http_proxy", "http://proxy:3128")
    with pytest.raises(kind) as caught:
        asked.models()
    assert (caught.value.message, caught.value.hint) == (message, hint)


def test_a_plain_request_to_a_tls_port_is_said_so(server: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        questions, "other_protocol", lambda url: EndpointError(f"{url} speaks TLS", "Say https")
    )
    with pytest.raises(EndpointError, match="http://host:1/base speaks TLS"):
        server(httpx2.Response(400))[0].models()
    with pytest.raises(EndpointError, match="answers 500"):
        server(httpx2.Response(500))[0].models()


def test_a_server_without_a_list_and_names_as_long_as_they_may_be(server: Make) -> None:
    assert [server(httpx2.Response(status))[0].models() for status in (404, 405)] == [[], []]
    assert server(listing())[0].models() == []
    assert server(listing("x" * 1000))[0].models() == [{"id": "x" * 1000}]


# Patience


class Clock:
    """A clock that moves by sleeping."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 100.0
        monkeypatch.setattr(
            questions, "time", SimpleNamespace(monotonic=lambda: self.now_s, sleep=self.sleep)
        )

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.mark.parametrize(
    ("retry_after", "waits"),
    [
        (None, [1.0] * 10),
        ("0", [0.5] * 20),
        ("3", [3.0] * 3),
        ("soon", [0.5] * 20),
        ("10", [10.0]),
        ("11", []),
    ],
)
def test_a_server_that_starts_has_ten_seconds(
    monkeypatch: pytest.MonkeyPatch, retry_after: str | None, waits: list[float]
) -> None:
    clock, said, waited = Clock(monkeypatch), list[str](), list[float]()
    patience = Patience(said.append)
    before_s = clock.now_s
    while patience.allows(503, retry_after):
        waited.append(clock.now_s - before_s)
        before_s = clock.now_s
    assert waited == waits
    assert said == (["HTTP 503: it may be starting; asking again for 10 s"] if waits else [])


def test_nobody_else_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    statuses = (200, 404, 429, 500, 501, 502, 503, 504, 505)
    allowed = [status for status in statuses if Patience(lambda text: None).allows(status, None)]
    assert (allowed, clock.now_s) == ([502, 503, 504], 103.0)


def test_a_starting_servers_list_is_asked_for_again(server: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    Clock(monkeypatch)
    answers = iter([httpx2.Response(503), httpx2.Response(502, headers={"retry-after": "2"}), listing("m")])
    said: list[str] = []
    asking, asked = server(lambda request: next(answers))
    assert (asking.models(said.append), len(asked)) == ([{"id": "m"}], 3)
    assert said == ["HTTP 503: it may be starting; asking again for 10 s"]
    with pytest.raises(EndpointError) as caught:
        server(httpx2.Response(504, text="loading"))[0].models()
    assert caught.value.message == "http://host:1/base/v1/models answers 504: loading."
    assert caught.value.hint == (
        "Is it still starting? Try again when it is ready. What corral started is in: corral status"
    )


# Nobody, or somebody else


@pytest.mark.parametrize(
    ("error", "message", "hint"),
    [
        (
            httpx2.ReadTimeout("x"),
            "http://host does not answer within 7 seconds.",
            "Is the server still loading its model?",
        ),
        (
            httpx2.ConnectError("refused.\n"),
            "http://host cannot be reached: refused.",
            "Check the address, and that the server runs: corral status",
        ),
        (
            httpx2.RemoteProtocolError("odd"),
            "http://host does not speak HTTP as a model server does: odd.",
            "Check the port; is it another service's?",
        ),
        (
            httpx2.DecodingError("too much"),
            "http://host does not speak HTTP as a model server does: too much.",
            "Check the port; is it another service's?",
        ),
    ],
)
def test_why_the_first_question_has_no_answer(
    monkeypatch: pytest.MonkeyPatch, error: Exception, message: str, hint: str
) -> None:
    monkeypatch.setattr(questions, "other_protocol", lambda url: None)
    told = untold("http://host", 7.0, without_answer(error))
    assert (told.message, told.hint) == (message, hint)


def without_answer(error: Exception) -> NoAnswer:
    """The library's failure as the door tells it."""
    told = no_answer(error)
    assert isinstance(told, NoAnswer)
    return told


def test_another_protocol_is_looked_for_but_after_too_long_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions, "other_protocol", lambda url: EndpointError("other", ""))
    errors = (httpx2.ConnectError("x"), httpx2.DecodingError("x"), httpx2.ReadTimeout("x"))
    told = [untold("http://host", 7.0, without_answer(error)).message for error in errors]
    assert [message == "other" for message in told] == [True, False, False]


def untrusted() -> Exception:
    """As the HTTP library wraps it."""
    cause = ssl.SSLCertVerificationError("x")
    cause.verify_message = "certificate has expired."
    middle, outer = OSError("y"), httpx2.ConnectError("z")
    middle.__context__, outer.__cause__ = cause, middle
    return outer


def test_a_certificate_among_the_causes() -> None:
    assert certificate_fault(untrusted()) == "certificate has expired."
    assert certificate_fault(httpx2.ConnectError("z")) == ""
    told = untold("https://host", 7.0, without_answer(untrusted()))
    assert told.message == "The certificate of https://host is not trusted: certificate has expired."
    assert told.hint == "Trust its authority: --ca-file ca.pem, and use the name that is in the certificate."


def test_a_mistake_of_ours_is_no_answer_of_the_servers() -> None:
    mistake = KeyError("x")
    assert no_answer(mistake) is mistake


def test_a_port_that_does_not_shake_hands_is_asked_for_plain_http(
    server: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    secure = THERE.model_copy(update={"base_url": "https://host:1"})
    monkeypatch.setattr(questions, "other_protocol", lambda url: EndpointError(f"{url} speaks HTTP", ""))
    asking, asked = server(failing(httpx2.ConnectTimeout("slow")), secure)
    with pytest.raises(EndpointError, match="https://host:1 speaks HTTP"):
        asking.models()
    assert [request.extensions["timeout"]["connect"] for request in asked] == [2.0]
    monkeypatch.setattr(questions, "other_protocol", lambda url: None)
    answers: Iterator[httpx2.Response | Exception] = iter([httpx2.ConnectTimeout("slow"), listing("m")])

    def second(request: httpx2.Request) -> httpx2.Response:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    asking, asked = server(second, secure, 1.0)
    assert asking.models() == [{"id": "m"}]
    assert [request.extensions["timeout"]["connect"] for request in asked] == [1.0, 1.0]


def test_an_answer_is_read_whole_up_to_its_limit() -> None:
    headers = {"content-encoding": "identity", "content-length": "4", "x": "y"}
    found = read_whole(httpx2.Response(201, headers=headers, content=b"abcd"))
    assert (found.status_code, found.content, found.headers["x"]) == (201, b"abcd", "y")
    assert "content-encoding" not in found.headers
    most = 16 * 1024 * 1024
    assert len(read_whole(httpx2.Response(200, content=bytes(most))).content) == most
    with pytest.raises(httpx2.DecodingError, match="more than 16,777,216 bytes for a short question"):
        read_whole(httpx2.Response(200, content=bytes(most + 1)))
