"""`corral gateway` by the real HAProxy: who is let in, to what, with which limits, and what is said and kept of it."""

import json
import re
import socket
import time
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from doors import NAME, Door, door
from stubbed import until

from deploy.cli.main import run
from deploy.gateway import haproxy, key_store, keys
from deploy.gateway.keys import hashed
from serving.vllm.prometheus import sums

pytestmark = pytest.mark.usefixtures("has_haproxy")

CHAT = {"model": "fake", "messages": [{"role": "user", "content": "MARKERzq7731"}], "max_tokens": 2}
MESSAGES = {"model": "fake", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 2}
USAGE: Any = {"stream": True, "stream_options": {"include_usage": True}}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gateway-home")


@pytest.fixture(scope="module")
def opened(home: Path, has_haproxy: None) -> Iterator[Door]:
    """One gateway with its server, for all that only asks."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("CORRAL_HOME", str(home))
        serves = {"ttft_ms": 1, "itl_ms": 1, "max_model_len": 200_000}
        with door(home, serves, max_n=4, max_body_mib=1, requests_at_once=3) as made:
            yield made


@pytest.fixture
def front(opened: Door, home: Path, monkeypatch: pytest.MonkeyPatch) -> Door:
    monkeypatch.setenv("CORRAL_HOME", str(home))
    return opened


@pytest.fixture
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CORRAL_HOME", str(tmp_path / "own"))
    return tmp_path / "own"


def error(code: str, kind: str, message: str) -> dict[str, Any]:
    return {"error": {"type": kind, "message": message, "param": None, "code": code}}


NO_KEY = error("invalid_api_key", "authentication_error", "no valid key")
NO_PATH = error("not_found", "not_found_error", "there is no such path here")


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages"])
def test_what_generates_is_answered_as_by_the_engine_itself(front: Door, path: str) -> None:
    body = CHAT | {"prompt": "a", "input": [{"content": "a"}], "stream": True}
    status, head, said = front.ask(path, body)
    assert (status, head["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert said.startswith((b"data: ", b"event: "))
    assert re.fullmatch("[0-9a-f-]{36}", head["x-request-id"])


def test_the_list_of_models_and_the_count_of_tokens(front: Door) -> None:
    assert front.ask("/v1/models")[2]["data"][0]["id"] == "fake"
    assert front.ask("/v1/models", key=None, x_api_key=front.key("good"))[0] == 200
    assert front.ask("/v1/models", key=None, Authorization=f"bearer   {front.key('good')} ")[0] == 200
    assert front.ask("/v1/messages/count_tokens", MESSAGES)[2] == {"input_tokens": 2}
    assert front.ask("/health", key=None)[0] == 200


def test_who_has_no_key_is_told_so_in_the_shape_of_each_api(front: Door) -> None:
    assert front.ask("/v1/models", key=None)[::2] == (401, NO_KEY)
    assert front.ask("/v1/models", key=None, Authorization=front.key("good"))[::2] == (401, NO_KEY)
    assert front.ask("/v1/models", key=None, Authorization="Basic Og==", x_api_key="")[::2] == (401, NO_KEY)
    assert front.ask("/v1/messages", MESSAGES, key=None, x_api_key="sk-no")[::2] == (
        401,
        {"type": "error"} | NO_KEY,
    )
    hash_itself = hashed(front.key("good"))
    assert front.ask("/v1/models", key=None, x_api_key=hash_itself)[0] == 401


SPELLINGS = [
    "//v1/models", "/v1//models", "/v1/models/", "/v1/models;x", "/v1/./models", "/x/../v1/models", "/V1/models",
    "/v1/%6dodels", "/v1%2fmodels", "/%2e%2e/v1/models", "/v1/models%00", "/v1/models%20", "/v1/models/fake",
    "/v1\\models", "/", "/v1", "*",
]  # fmt: skip
OPEN_OF_VLLM = [
    "/invocations",
    "/tokenize",
    "/metrics",
    "/docs",
    "/version",
    "/v1/load_lora_adapter",
    "/load",
]


@pytest.mark.parametrize("path", [*SPELLINGS, *OPEN_OF_VLLM])
def test_no_other_path_and_no_other_spelling_reaches_the_engine(front: Door, path: str) -> None:
    assert front.ask(path)[::2] == (404, NO_PATH)


def test_an_address_in_full_is_the_same_path_and_a_query_goes_no_further(front: Door) -> None:
    assert front.ask(f"http://other.example/v1/models?MARKERzq7731={front.key('good')}")[0] == 200
    assert front.ask("http://other.example/metrics")[::2] == (404, NO_PATH)


def test_a_path_is_asked_in_its_one_way(front: Door) -> None:
    wrong = error("method_not_allowed", "invalid_request_error", "that path is not asked so")
    status, head, said = front.ask("/v1/models", method="DELETE")
    assert (status, head["allow"], said) == (405, "GET", wrong)
    status, head, said = front.ask("/v1/chat/completions", key=None)
    assert (status, head["allow"], said) == (405, "POST", wrong)
    status, head, said = front.ask("/v1/chat/completions", key=None, method="OPTIONS")
    assert (status, head["allow"], said) == (405, "POST", wrong)


def refusal(message: str, code: str = "bad_request", kind: str = "invalid_request_error") -> dict[str, Any]:
    return error(code, kind, message)


NOT_FOR = refusal("this key is not for that model", "model_not_allowed", "permission_error")
FIELDS = [
    (CHAT | {"n": 5}, 400, refusal("n is above 4, the most that is allowed here")),
    (CHAT | {"best_of": 9999}, 400, refusal("best_of is above 4, the most that is allowed here")),
    (CHAT | {"n": 5e0}, 400, refusal("n is above 4, the most that is allowed here")),
    (CHAT | {"n": "5"}, 400, refusal("n is no number")),
    (CHAT | {"n": [5]}, 400, refusal("n is no number")),
    ([CHAT], 400, refusal("the body is no JSON object")),
    (b" ", 400, refusal("the body is no JSON object")),
    (json.dumps(CHAT).encode("utf-16-le"), 400, refusal("the body is not JSON in UTF-8")),
    (json.dumps(CHAT).encode("utf-8-sig"), 400, refusal("the body is no JSON object")),
    (b'{"\\u006e": 5}', 400, refusal("the name of a field is spelled with escapes")),
    (b'{"n": 1, "n": 5}', 400, refusal("n is above 4, the most that is allowed here")),
    (CHAT | {"n": 4, "x": {"n": 5}, "y": [{"n": 5}], "z": '"n": 5,'}, 200, None),
    (CHAT | {"n": None}, 200, None),
    (CHAT | {"x": ["\\", '"n": 5', '\\"', '\n\\\\"], "n": 5', ""], "n": 4}, 200, None),
    (
        CHAT | {"x": ["\\", {"y": '\\"\\'}], "n": 5},
        400,
        refusal("n is above 4, the most that is allowed here"),
    ),
    (CHAT | {"x": ['\\"' * 90_000], "n": 5}, 400, refusal("n is above 4, the most that is allowed here")),
]


@pytest.mark.parametrize(("body", "status", "said"), FIELDS)
@pytest.mark.parametrize("is_long", [False, True])
def test_a_field_above_its_limit_is_refused_however_it_is_said(
    front: Door, body: Any, status: int, said: Any, is_long: bool
) -> None:
    """A body that fits into no buffer is read as it passes, and refused before its end has gone to the engine."""
    if is_long and isinstance(body, dict):
        body = {"messages": CHAT["messages"], "a": 'x"\\' * 60000} | {
            name: value for name, value in body.items() if name != "messages"
        }
    elif is_long and isinstance(body, bytes) and body.startswith(b'{"'):
        body = b'{"a": "' + b'x\\"' * 60000 + b'", ' + body[1:]
    elif is_long:
        return
    found = front.ask("/v1/chat/completions", body)
    assert found[0] == status
    assert said is None or found[2] == said


def test_a_key_of_one_model_asks_for_that_alone(front: Door) -> None:
    front.key("scoped", model=("fake", "other/adapter"))
    assert front.ask("/v1/chat/completions", CHAT, key="scoped")[0] == 200
    assert front.ask("/v1/chat/completions", CHAT | {"model": "fak"}, key="scoped")[::2] == (403, NOT_FOR)
    assert front.ask("/v1/messages", b'{"model":"f\\u0061ke"}', key="scoped")[::2] == (
        403,
        {"type": "error"} | NOT_FOR,
    )
    none = error("model_not_allowed", "permission_error", "this key is for named models: name one")
    assert front.ask("/v1/chat/completions", {"messages": []}, key="scoped")[::2] == (403, none)
    without = {"messages": "x" * 200_000}
    assert front.ask("/v1/chat/completions", without, key="scoped")[::2] == (
        400, refusal("this key is for named models: name one")
    )  # fmt: skip
    long = without | {"model": "adapter"}
    assert front.ask("/v1/chat/completions", long, key="scoped")[::2] == (
        400, refusal("this key is not for that model")
    )  # fmt: skip


def test_a_body_that_is_too_large_or_of_unknown_length_is_refused_before_it_is_read(front: Door) -> None:
    with socket.create_connection(("127.0.0.1", front.asked.port), timeout=60) as client:
        head = f"POST /v1/completions HTTP/1.1\r\nhost: x\r\nx-api-key: {front.key('good')}\r\n"
        client.sendall(f"{head}content-length: 1000000000\r\n\r\n{{".encode())
        said = client.recv(4096)
    assert said.startswith(b"HTTP/1.1 413 ")
    assert b'"message": "the body is above 1 MiB"' in said
    status, _, body = front.ask("/v1/completions", b"2\r\n{}\r\n0\r\n\r\n", Transfer_Encoding="chunked")
    assert (status, body["error"]["code"]) == (411, "length_required")


WHAT_IS_NONE = {
    "ten thousand headers": b"GET /v1/models HTTP/1.1\r\n" + b"a:1\r\n" * 10_000 + b"\r\n",
    "a space in a header's name": b"GET /v1/models HTTP/1.1\r\na b: x\r\n\r\n",
    "no HTTP": b'{"status": 200, "key": "alice"}\r\n\r\n',
}


@pytest.mark.parametrize("sent", WHAT_IS_NONE.values(), ids=WHAT_IS_NONE)
def test_what_is_no_request_is_refused_and_a_line_of_the_audit(front: Door, sent: bytes) -> None:
    before = len(refused_heads(front))
    with socket.create_connection(("127.0.0.1", front.asked.port), timeout=60) as client:
        client.sendall(sent)
        assert client.recv(4096).startswith(b"HTTP/1.1 400 ")
    assert front.ask("/v1/models")[0] == 200
    until(lambda: len(refused_heads(front)) == before + 1)
    line = refused_heads(front)[before]
    assert [line[name] for name in ("key", "path", "status", "input_tokens", "server", "end")] == [
        "", "other", 400, 0, "<NOSRV>", "PR--",
    ]  # fmt: skip


def refused_heads(front: Door) -> list[dict[str, Any]]:
    """Their lines alone: one of an earlier request may come while these are counted."""
    return [line for line in front.audit() if line["end"] == "PR--"]


def test_a_key_has_so_many_requests_a_minute(front: Door) -> None:
    front.key("rare", requests_per_minute=2)
    found = [front.ask("/v1/models", key="rare") for _ in range(3)]
    assert [status for status, _, _ in found] == [200, 200, 429]
    assert found[2][1]["retry-after"] == "10"
    said = error("rate_limit_exceeded", "rate_limit_error", "too many requests of this key a minute")
    assert found[2][2] == said


def test_a_key_that_has_expired(front: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    real = keys.now_utc()
    monkeypatch.setattr(keys, "now_utc", lambda: real.replace(year=2001))
    front.key("old", expires="10m")
    monkeypatch.undo()
    assert front.ask("/v1/models", key="old")[::2] == (
        401, error("expired_api_key", "authentication_error", "this key has expired")
    )  # fmt: skip


def test_a_key_that_has_spent_its_tokens(front: Door) -> None:
    front.key("poor", tokens_per_month=3)
    body = CHAT | USAGE
    assert front.ask("/v1/chat/completions", body, key="poor")[0] == 200
    status, head, said = front.ask("/v1/chat/completions", body, key="poor")
    assert (status, said["error"]["code"]) == (429, "insufficient_quota")
    assert 1 <= int(head["retry-after"]) <= 31 * 86400


def test_what_is_kept_of_a_request(front: Door, home: Path) -> None:
    front.key("seen")
    asked = f"/v1/chat/completions?MARKERzq7731={front.key('seen')}"
    assert front.ask(asked, CHAT | USAGE, key="seen", X_Forwarded_For="MARKERzq7731")[0] == 200
    assert front.ask("/MARKERzq7731", key="seen", method="MARKERzq7731")[0] in (400, 404)
    key_id = next(key.id for key in key_store.read(front.folder).keys if key.person == "seen")
    until(lambda: any(line["key"] == key_id for line in front.audit()))
    line = next(line for line in front.audit() if line["key"] == key_id)
    changing = {"time", "id", "bytes_in", "bytes_out", "queue_ms", "first_byte_ms", "ms"}
    assert {name: value for name, value in line.items() if name not in changing} == {
        "key": key_id, "path": "/v1/chat/completions", "status": 200, "input_tokens": 3, "output_tokens": 2,
        "events": 5, "server": NAME, "end": "----",
    }  # fmt: skip
    assert all(isinstance(line[name], int) for name in changing - {"time", "id"})
    kept = [path for path in home.rglob("*") if path.is_file()]
    assert haproxy.audit(front.folder) in kept
    secrets = [b"MARKERzq7731", *(key.encode() for key in front.keys.values())]
    assert [path for path in kept if any(secret in path.read_bytes() for secret in secrets)] == []


def test_tokens_by_key_and_month(front: Door, capsys: pytest.CaptureFixture[str]) -> None:
    front.key("busy")
    assert front.ask("/v1/chat/completions", CHAT | USAGE, key="busy")[0] == 200
    assert front.ask("/v1/messages", MESSAGES | {"stream": True}, key="busy")[0] == 200
    assert front.ask("/v1/messages/count_tokens", MESSAGES, key="busy")[0] == 200
    assert front.ask("/v1/chat/completions", CHAT | {"n": 99}, key="busy")[0] == 400

    def told() -> dict[str, Any]:
        assert run(["keys", "usage", NAME, "--json"]) == 0
        found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["usage"]
        return next((each for each in found if each["person"] == "busy"), {"requests": 0})

    until(lambda: told()["requests"] == 4)
    usage = told()
    assert (usage["input_tokens"], usage["output_tokens"], usage["refused"]) == (5, 4, 1)
    assert usage["estimated_output_tokens"] == 0


def test_a_revoked_key_is_refused_at_once_and_its_streams_are_cut(front: Door) -> None:
    front.key("leaver")
    body = CHAT | {"stream": True, "max_tokens": 100_000}
    with front.asking("/v1/chat/completions", body, key="leaver") as stream:
        assert stream.readline().startswith(b"data: ")
        assert run(["keys", "revoke", NAME, "leaver"]) == 0
        assert front.ask("/v1/models", key="leaver")[::2] == (401, NO_KEY)
        with pytest.raises((OSError, HTTPException)):
            stream.read()
    assert [key.person for key in key_store.good(front.folder) if key.person == "leaver"] == []
    (key_id,) = [key.id for key in key_store.read(front.folder).keys if key.person == "leaver"]
    until(lambda: streams_of(front, key_id) != [])
    assert [each["events"] > 0 for each in streams_of(front, key_id)] == [True]


def streams_of(front: Door, key_id: str) -> list[dict[str, Any]]:
    """What the audit has of the streams of a key."""
    return [line for line in front.audit() if (line["key"], line["path"]) == (key_id, "/v1/chat/completions")]


def test_the_engine_hears_of_a_client_that_went(front: Door) -> None:
    front.key("goer")
    body = CHAT | {"stream": True, "max_tokens": 100_000}
    with front.asking("/v1/chat/completions", body, key="goer") as stream:
        assert stream.readline().startswith(b"data: ")
        assert running(front) >= 1
    until(lambda: running(front) == 0)
    (key_id,) = [key.id for key in key_store.read(front.folder).keys if key.person == "goer"]
    until(lambda: streams_of(front, key_id) != [])
    assert [(each["end"][:1], each["events"] > 0) for each in streams_of(front, key_id)] == [("C", True)]


def running(front: Door) -> float:
    """Requests that the server has."""
    with urlopen(f"http://127.0.0.1:{front.deployment.plan.serve.port}/metrics") as answer:
        return sums(answer.read().decode())["vllm:num_requests_running"]


def test_tokens_are_not_bunched(own_home: Path) -> None:
    """Without http-no-delay the kernel gathers for 200 ms, eight tokens of these, so that six of them are late."""
    with door(own_home, {"ttft_ms": 1, "itl_ms": 25}) as front:
        with front.asking("/v1/chat/completions", CHAT | {"stream": True, "max_tokens": 40}) as stream:
            came = []
            while line := stream.readline():
                if b"content" in line:
                    came.append(time.monotonic_ns())
        sent = front_truth(front)[0]["sent_ns"]
    # The first event has no token. One that the client has before two more are made was not held; a busy machine is
    # late for some.
    in_time = [got < later for got, later in zip(came[1:], sent[2:], strict=False)]
    assert len(in_time) == 38
    assert sum(in_time) > 19


def front_truth(front: Door) -> Any:
    with urlopen(f"http://127.0.0.1:{front.deployment.plan.serve.port}/truth") as answer:
        return json.loads(answer.read())["requests"]


def test_the_clients_of_both_apis_and_the_errors_they_know(front: Door) -> None:
    import anthropic
    import openai

    base, message = f"http://127.0.0.1:{front.asked.port}", CHAT["messages"]
    front.key("clients", model=("fake",))
    with openai.OpenAI(base_url=f"{base}/v1", api_key=front.key("clients"), max_retries=0) as client:
        asked: Any = {"model": "fake", "messages": message, "max_tokens": 3}
        chunks = list(client.chat.completions.create(**asked, **USAGE))
        assert [chunk.usage.completion_tokens for chunk in chunks if chunk.usage] == [3]
        assert client.models.list().data[0].id == "fake"
        with pytest.raises(openai.BadRequestError, match="n is above 4"):
            client.chat.completions.create(**asked, n=5)
        with pytest.raises(openai.PermissionDeniedError, match="not for that model"):
            client.chat.completions.create(**asked | {"model": "other"})
        with pytest.raises(openai.NotFoundError, match="no such path"):
            client.embeddings.create(model="fake", input="a")
        with pytest.raises(openai.AuthenticationError, match="no valid key"):
            client.with_options(api_key="sk-no").models.list()
    with anthropic.Anthropic(base_url=base, api_key=front.key("clients"), max_retries=0) as claude:
        words: Any = {"model": "fake", "messages": message}
        assert claude.messages.count_tokens(**words).input_tokens == 3
        events = list(claude.messages.create(**words, max_tokens=3, stream=True))
        assert events[-1].type == "message_stop"
        with pytest.raises(anthropic.PermissionDeniedError) as refused:
            claude.messages.create(**words | {"model": "other"}, max_tokens=3)
        assert refused.value.type == "permission_error"
        with pytest.raises(anthropic.AuthenticationError, match="no valid key"):
            claude.with_options(api_key="sk-no").messages.count_tokens(**words)
