"""The plain HTTP door: what a good endpoint says, and each bad one in one sentence of the right class."""

import gzip
import json
import re
import socket
import ssl
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx2
import pytest
from ports import free_port

from infra import deadline
from infra.errors import AuthError, CorralError, DocumentError, EndpointError
from infra.fetch import authorities
from serving.vllm import client, http_door
from serving.vllm.client import Canary, TooLate
from serving.vllm.endpoint import Endpoint

GOOD = {
    "model": "m",
    "choices": [{"text": "a"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 1},
}
METRICS = """\
# HELP vllm:generation_tokens_total of all
vllm:generation_tokens_total{engine="0",model_name="m"} 40.0
vllm:generation_tokens_total{engine="1",model_name="m"} 2.0
vllm:cache_config_info{block_size="128",kv_cache_size_tokens="97541",note="a \\"quoted\\" one"} 1.0
"""

Serve = Callable[[int, str], Endpoint]
Asked = Callable[..., list[httpx2.Request]]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start a server that gives one answer to everything; a status of 0 never answers."""
    servers = []

    def start(status: int, body: str) -> Endpoint:
        silent = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if status == 0:
                    silent.wait(20)
                    return
                self.send_response(status)
                self.send_header("Content-Length", str(len(body.encode())))
                self.end_headers()
                self.wfile.write(body.encode())

            do_POST = do_GET  # noqa: N815

            def log_message(self, *arguments: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append((server, silent))
        return Endpoint(base_url=f"http://127.0.0.1:{server.server_address[1]}", served_model_name="m")

    yield start
    for server, silent in servers:
        silent.set()
        server.shutdown()
        server.server_close()


def test_a_good_canary(serve: Serve) -> None:
    endpoint = serve(200, json.dumps(GOOD))
    assert client.canary(endpoint, 5) == Canary(text="a", prompt_tokens=3, completion_tokens=1)


@pytest.mark.parametrize(
    ("status", "body", "kind", "says"),
    [
        (401, "{}", AuthError, "refused the API key"),
        (404, '{"error": "no such model"}', EndpointError, 'answered 404: {"error": "no such model"}.'),
        (500, "oops", EndpointError, "answered 500: oops."),
        (200, "<html>hello</html>", EndpointError, "answered no JSON but an HTML page."),
        (200, "\x00\x01garbage", EndpointError, "answered no JSON"),
        (200, "[]", EndpointError, "something else than the OpenAI API says: []"),
        (200, json.dumps(GOOD | {"choices": []}), EndpointError, "something else"),
        (200, json.dumps(GOOD | {"model": "other"}), EndpointError, "something else"),
        (200, json.dumps(GOOD | {"usage": None}), EndpointError, "something else"),
        (200, json.dumps(GOOD | {"choices": [{"text": 7}]}), EndpointError, "something else"),
        (0, "", TooLate, "did not answer within 0.2 s."),
    ],
)
def test_a_bad_canary(serve: Serve, status: int, body: str, kind: type[CorralError], says: str) -> None:
    endpoint = serve(status, body)
    with pytest.raises(kind) as caught:
        client.canary(endpoint, 0.2 if status == 0 else 60)
    assert says in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:PORT", "ftp://127.0.0.1/", "nonsense", "http://127.0.0.1:99999", "http://[::1", ""],
)
def test_an_endpoint_that_is_not_there(url: str) -> None:
    with pytest.raises(EndpointError) as caught:
        client.health(Endpoint(base_url=url.replace("PORT", str(free_port())), served_model_name="m"))
    assert caught.value.hint


@pytest.mark.parametrize(
    ("url", "message", "hint"),
    [
        (
            "http://127.0.0.1:x",
            "'http://127.0.0.1:x' is not a URL: Invalid port: 'x'.",
            "Such as http://127.0.0.1:8000",
        ),
        (
            "http://127.0.0.1:1",
            "http://127.0.0.1:1 cannot be reached: [Errno 111] Connection refused.",
            "Is the server up there, and the port right?",
        ),
    ],
)
def test_nobody_there_is_one_sentence(url: str, message: str, hint: str) -> None:
    with pytest.raises(EndpointError) as caught:
        client.health(Endpoint(base_url=url, served_model_name="m"))
    assert (caught.value.message, caught.value.hint) == (message, hint)


def test_models_and_metrics(serve: Serve) -> None:
    assert client.models(serve(200, '{"data": [{"id": "a"}, {"id": "b"}]}')) == ("a", "b")
    endpoint = serve(200, METRICS)
    assert client.metrics(endpoint) == {"vllm:generation_tokens_total": 42.0, "vllm:cache_config_info": 1.0}
    assert client.cache_config(endpoint) == {
        "block_size": "128",
        "kv_cache_size_tokens": "97541",
        "note": 'a \\"quoted\\" one',
    }
    with pytest.raises(EndpointError, match="says nothing of a KV cache"):
        client.cache_config(serve(200, "other 1\n"))


def test_a_proxy_of_the_environment_never_sees_a_request(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    assert client.health(serve(200, "")) == 200


def test_a_key_file_that_is_missing(tmp_path: Path) -> None:
    endpoint = Endpoint(base_url="http://127.0.0.1:1", served_model_name="m", api_key_file=tmp_path / "no")
    with pytest.raises(DocumentError, match="The API key file .* cannot be read: .* No such file"):
        client.models(endpoint)


def test_health_needs_no_key(tmp_path: Path) -> None:
    """So that a server whose key is gone can still be found to run, and be stopped."""
    endpoint = Endpoint(base_url="http://127.0.0.1:1", served_model_name="m", api_key_file=tmp_path / "no")
    with pytest.raises(EndpointError, match="cannot be reached"):
        client.health(endpoint)


# What is asked, and how an answer is judged; without a socket


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """Answer what the door asks; gives the list of what was asked."""

    def answering(status: int, text: str, **headers: str) -> list[httpx2.Request]:
        requests: list[httpx2.Request] = []

        def answer(request: httpx2.Request) -> httpx2.Response:
            requests.append(request)
            return httpx2.Response(status, text=text, headers=headers)

        real = httpx2.Client
        monkeypatch.setattr(
            httpx2, "Client", lambda **options: real(transport=httpx2.MockTransport(answer), **options)
        )
        return requests

    return answering


THERE = Endpoint(base_url="http://127.0.0.1:1", served_model_name="m")


def test_a_canary_asks_for_one_token_with_the_key(asked: Asked, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("sk-1\n")
    requests = asked(200, json.dumps(GOOD))
    client.canary(THERE.model_copy(update={"api_key_file": tmp_path / "key"}), 7.0)
    (request,) = requests
    assert (request.method, str(request.url)) == ("POST", "http://127.0.0.1:1/v1/completions")
    assert json.loads(request.content) == {"model": "m", "prompt": "Hello", "max_tokens": 1, "temperature": 0}
    assert request.headers["authorization"] == "Bearer sk-1"
    assert request.extensions["timeout"] == dict.fromkeys(("connect", "read", "write", "pool"), 7.0)


def test_a_key_file_without_a_key_is_no_question_without_one(asked: Asked, tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    requests = asked(200, "")
    with pytest.raises(AuthError, match="is empty"):
        client.models(THERE.model_copy(update={"api_key_file": tmp_path / "empty"}))
    assert requests == []


def test_without_a_key_no_header_is_sent_and_each_question_has_its_time(asked: Asked) -> None:
    requests = asked(200, '{"data": [{"id": 5}]}')
    assert client.health(THERE) == 200
    assert client.models(THERE) == ("5",)
    assert client.metrics(THERE) == {}
    with pytest.raises(EndpointError):
        client.cache_config(THERE)
    told = [
        (each.url.path, each.extensions["timeout"]["read"], "authorization" in each.headers)
        for each in requests
    ]
    assert told == [
        ("/health", 2.0, False),
        ("/v1/models", 5.0, False),
        ("/metrics", 5.0, False),
        ("/metrics", 5.0, False),
    ]


REFUSED = ("http://127.0.0.1:1 refused the API key.", "Name the file that holds it: --api-key-file")


def useless(what: str) -> tuple[str, str]:
    """The sentence and the hint for an answer that is of no use."""
    return f"http://127.0.0.1:1/v1/models answered {what}.", "Is it an OpenAI-compatible endpoint?"


@pytest.mark.parametrize(
    ("status", "text", "said"),
    [
        (401, "", REFUSED),
        (403, "", REFUSED),
        (307, "elsewhere", useless("307: elsewhere")),
        (500, "x" * 300, useless(f"500: {'x' * 117}...")),
        (200, "y" * 80, useless(f"no JSON but {'y' * 80}")),
        (
            200,
            json.dumps({"data": 5, "z": "z" * 200}),
            useless(f"something else than the OpenAI API says: {{'data': 5, 'z': '{'z' * 102}"),
        ),
    ],
)
def test_a_list_of_models_that_is_none(asked: Asked, status: int, text: str, said: tuple[str, str]) -> None:
    asked(status, text, location="/elsewhere")
    with pytest.raises(CorralError) as caught:
        client.models(THERE)
    assert (caught.value.message, caught.value.hint) == said
    assert isinstance(caught.value, AuthError) == (status in (401, 403))


@pytest.mark.parametrize(
    "answer",
    [
        GOOD | {"usage": {"prompt_tokens": 3, "completion_tokens": 2}},
        GOOD | {"choices": GOOD["choices"] * 2},  # type: ignore[operator]
    ],
)
def test_a_canary_of_more_than_was_asked(asked: Asked, answer: dict[str, object]) -> None:
    asked(200, json.dumps(answer))
    with pytest.raises(EndpointError, match="something else than the OpenAI API says"):
        client.canary(THERE, 1.0)


def test_an_answer_without_an_end_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is larger than any, and one that drips: no single read of it takes long."""
    over = threading.Event()

    def drops() -> Iterator[bytes]:
        while not over.wait(0.01):
            yield b"x"

    def answer(request: httpx2.Request) -> httpx2.Response:
        is_large = request.url.path == "/metrics"
        return httpx2.Response(
            200, content=bytes(http_door.LARGEST_ANSWER_BYTES + 1) if is_large else drops()
        )

    real = httpx2.Client
    monkeypatch.setattr(
        httpx2, "Client", lambda **options: real(transport=httpx2.MockTransport(answer), **options)
    )
    with pytest.raises(EndpointError) as large:
        client.metrics(THERE, 60)
    with pytest.raises(TooLate) as dripping:
        client.models(THERE, 0.2)
    over.set()
    assert [(caught.value.message, caught.value.hint) for caught in (large, dripping)] == [
        (
            "http://127.0.0.1:1 answered more than 16,777,216 bytes for a short question.",
            "Is it an OpenAI-compatible endpoint?",
        ),
        ("http://127.0.0.1:1 did not answer within 0.2 s.", "Is it overloaded, or hung?"),
    ]


def test_certificates_are_verified() -> None:
    trusted = authorities.trusted()
    assert (trusted.verify_mode, trusted.check_hostname) == (ssl.CERT_REQUIRED, True)


class Packed(httpx2.SyncByteStream):
    """A body in pieces, as it comes from a socket."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __iter__(self) -> Iterator[bytes]:
        for at in range(0, len(self.data), 65536):
            yield self.data[at : at + 65536]


def packed(encoding: str, data: bytes) -> httpx2.Response:
    return httpx2.Response(200, headers={"content-encoding": encoding}, stream=Packed(data))


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "deflate", " GZIP "])
def test_a_bomb_is_unpacked_no_further_than_its_limit(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    most, real, sizes = http_door.LARGEST_ANSWER_BYTES, http_door.unpacker, list[int]()

    def counting(named: str) -> Callable[[bytes, int], bytes]:
        unpack = real(named)

        def unpacked(piece: bytes, room: int) -> bytes:
            made = unpack(piece, room)
            sizes.append(len(made))
            return made

        return unpacked

    monkeypatch.setattr(http_door, "unpacker", counting)
    bomb = zlib.compress(bytes(8 * most), 9) if encoding == "deflate" else gzip.compress(bytes(8 * most), 9)
    with pytest.raises(httpx2.DecodingError, match="more than 16,777,216 bytes"):
        http_door.read_whole(packed(encoding, bomb))
    assert sum(sizes) == most + 1
    assert http_door.read_whole(packed(encoding, bomb[:0] + gzip.compress(b"ab") * 3)).content == b"ab"


@pytest.mark.parametrize(
    ("encoding", "data", "why"),
    [
        ("br", b"x", "in br, which was not asked for"),
        ("zstd", b"x", "in zstd, which was not asked for"),
        (
            "gzip, gzip",
            gzip.compress(gzip.compress(b"x", mtime=0), mtime=0),
            "in gzip, gzip, which was not asked for",
        ),
        ("gzip", b"plain", "what is not compressed as it says: .*"),
        ("deflate", b"\xff\xff", "what is not compressed as it says: .*"),
    ],
)
def test_an_encoding_that_is_none_of_ours(encoding: str, data: bytes, why: str) -> None:
    with pytest.raises(httpx2.DecodingError) as caught:
        http_door.read_whole(packed(encoding, data))
    assert re.fullmatch(why, str(caught.value))


@pytest.mark.parametrize(
    "charset", ["zlib", "bz2", "hex", "rot13", "idna", "utf-16", "unicode_escape", "nonsense"]
)
def test_a_servers_word_for_its_letters_unpacks_nothing(asked: Asked, charset: str) -> None:
    """Some of Python's codecs make bytes of bytes, or a little text long."""
    asked(500, "so it is", **{"content-type": f"text/plain; charset={charset}"})
    with pytest.raises(EndpointError) as caught:
        client.models(THERE)
    assert caught.value.message == useless("500: so it is")[0]


def test_bytes_that_are_no_text_are_told_as_far_as_they_are() -> None:
    assert http_door.Answer(500, httpx2.Headers(), b"so \xff it is").text == "so \ufffd it is"


@pytest.mark.parametrize(
    "body", ['{"data": ' + "[" * 5000, '{"data": [{"id": NaN}]}', '{"data": 1e999}', "9" * 5000]
)
def test_json_that_is_none_is_told_as_such(asked: Asked, body: str) -> None:
    asked(200, body)
    with pytest.raises(EndpointError, match="answered no JSON but"):
        client.models(THERE)


def test_a_question_gets_no_more_than_what_is_left(asked: Asked) -> None:
    requests = asked(200, "")
    with deadline.within(3.0, lambda: 1000.0):
        client.health(THERE)
        client.metrics(THERE)
    assert [each.extensions["timeout"]["read"] for each in requests] == [2.0, 3.0]
    assert [each.headers["accept-encoding"] for each in requests] == ["identity", "identity"]


OK = b"HTTP/1.1 200 OK\r\n"
FLOODS = {
    "headers": (OK, b"X-A: b\r\n" * 1000, "Receive buffer too long"),
    "one header": (OK + b"X: ", b"x" * 65536, "Receive buffer too long"),
    "a status line": (b"", b"H" * 65536, "Receive buffer too long"),
    "a chunk's extension": (
        OK + b"transfer-encoding: chunked\r\n\r\n1;",
        b"x" * 65536,
        "Receive buffer too long",
    ),
    "trailers": (
        OK + b"transfer-encoding: chunked\r\n\r\n0\r\n",
        b"X: y\r\n" * 999,
        "Receive buffer too long",
    ),
    "a length of thousands of digits": (
        OK + b"content-length: " + b"9" * 5000,
        b"\r\n\r\n",
        "bad Content-Length",
    ),
    "a negative length": (OK + b"content-length: -5\r\n\r\n", b"a", "bad Content-Length"),
    "two lengths": (
        OK + b"content-length: 5\r\ncontent-length: 6\r\n\r\n",
        b"a",
        "conflicting Content-Length headers",
    ),
    "interim answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 999, ""),
    "chunks of a byte": (OK + b"transfer-encoding: chunked\r\n\r\n", b"1\r\na\r\n" * 999, ""),
}


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_is_one_sentence_by_its_bound_or_its_deadline(name: str) -> None:
    begin, more, why = FLOODS[name]

    def flood(listener: socket.socket) -> None:
        peer, _ = listener.accept()
        with peer, suppress(OSError):
            peer.recv(65536)
            peer.sendall(begin)
            while True:
                peer.sendall(more)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=flood, args=(listener,), daemon=True).start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(EndpointError) as caught:
            client.models(Endpoint(base_url=url, served_model_name="m"), 60 if why else 0.3)
    expected = f"{url} cannot be reached: {why}." if why else f"{url} did not answer within 0.3 s."
    assert caught.value.message == expected
