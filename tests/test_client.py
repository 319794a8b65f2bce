"""The plain HTTP door: what a good endpoint says, and each bad one in one sentence of the right class."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from infra.errors import AuthError, CorralError, DocumentError, EndpointError
from serving import client
from serving.client import Canary, TooLate
from serving.endpoint import Endpoint

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
        (404, '{"error": "no such model"}', EndpointError, 'answered 404 {"error": "no such model"}.'),
        (500, "oops", EndpointError, "answered 500 oops."),
        (200, "<html>hello</html>", EndpointError, "answered no JSON but '<html>hello</html>'."),
        (200, "\x00\x01garbage", EndpointError, "answered no JSON"),
        (200, "[]", EndpointError, "something else than the OpenAI API says: []"),
        (200, json.dumps(GOOD | {"choices": []}), EndpointError, "something else"),
        (200, json.dumps(GOOD | {"model": "other"}), EndpointError, "something else"),
        (200, json.dumps(GOOD | {"usage": None}), EndpointError, "something else"),
        (200, json.dumps(GOOD | {"choices": [{"text": 7}]}), EndpointError, "something else"),
        (0, "", TooLate, "did not answer within 0.2 s"),
    ],
)
def test_a_bad_canary(serve: Serve, status: int, body: str, kind: type[CorralError], says: str) -> None:
    endpoint = serve(status, body)
    with pytest.raises(kind) as caught:
        client.canary(endpoint, 0.2 if status == 0 else 5)
    assert says in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:PORT", "ftp://127.0.0.1/", "nonsense", "http://127.0.0.1:99999", "http://[::1", ""],
)
def test_an_endpoint_that_is_not_there(url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(EndpointError) as caught:
        client.health(Endpoint(base_url=url.replace("PORT", str(port)), served_model_name="m"))
    assert caught.value.hint


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
    with pytest.raises(DocumentError, match="There is no key file at"):
        client.health(endpoint)
