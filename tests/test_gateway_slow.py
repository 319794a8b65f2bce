"""Who is slow or silent at a gateway, by the real HAProxy, whose limits are short here: none holds a place for long."""

import json
import resource
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from doors import Door, door
from ports import free_port
from stubbed import until

from deploy.gateway import gateway, haproxy_config, rotation

pytestmark = pytest.mark.usefixtures("has_haproxy")

LIMIT_S = 1
SILENT = 1000
ASKED = {"messages": [{"role": "user", "content": "x" * 200_000}], "model": "fake", "stream": True}
PADDED = json.dumps(ASKED | {"max_tokens": 2}).encode()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("slow")


@pytest.fixture(scope="module")
def opened(home: Path, has_haproxy: None) -> Iterator[Door]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("CORRAL_HOME", str(home))
        for limit in ("HEAD_S", "BODY_S", "IDLE_S"):
            patched.setattr(haproxy_config, limit, LIMIT_S)
        with door(home, {"ttft_ms": 1, "itl_ms": 1}) as made:
            made.key("good")
            yield made


@pytest.fixture
def front(opened: Door, home: Path, monkeypatch: pytest.MonkeyPatch) -> Door:
    monkeypatch.setenv("CORRAL_HOME", str(home))
    return opened


def connected(front: Door) -> socket.socket:
    return socket.create_connection(("127.0.0.1", front.asked.port), timeout=60)


def head(front: Door, length: int) -> bytes:
    lines = (
        "POST /v1/chat/completions HTTP/1.1",
        "host: x",
        f"x-api-key: {front.key('good')}",
        f"content-length: {length}",
    )
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def said(client: socket.socket) -> bytes:
    """All of it, until the gateway closes."""
    pieces = []
    while piece := client.recv(65536):
        pieces.append(piece)
    return b"".join(pieces)


def test_a_head_that_does_not_end_is_answered_and_closed(front: Door) -> None:
    with connected(front) as client:
        client.sendall(head(front, 2)[:-2])
        assert said(client).startswith(b"HTTP/1.1 408 ")


def test_a_body_that_does_not_come_is_answered_and_closed(front: Door) -> None:
    with connected(front) as client:
        client.sendall(head(front, 100) + b'{"a')
        answer = said(client)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"message": "the request did not come in time"' in answer


def sessions(front: Door) -> int:
    """Requests that the server has, or that wait for it."""
    (server,) = rotation.in_front(front.folder)
    return server.sessions + server.waiting


@pytest.mark.parametrize("trickles", [False, True])
def test_a_body_that_has_a_place_and_does_not_end_loses_it(front: Door, trickles: bool) -> None:
    """Above a buffer's 64 KB it has gone to the server in part, where it holds a place."""
    with connected(front) as client:
        client.sendall(head(front, len(PADDED)) + PADDED[:150_000])
        until(lambda: sessions(front) == 1)
        at = 150_000

        def is_cut() -> bool:
            nonlocal at
            try:
                client.settimeout(0.1)
                if trickles:
                    client.sendall(PADDED[at : at + 1])
                    at += 1
                return client.recv(65536) is not None
            except TimeoutError:
                return False
            except OSError:
                return True

        until(is_cut)
    until(lambda: sessions(front) == 0)
    assert front.ask("/v1/chat/completions", PADDED)[0] == 200


def test_a_change_of_the_gateway_gives_such_a_body_no_longer(front: Door) -> None:
    """It is with a worker of before the change."""
    with connected(front) as client:
        client.sendall(head(front, len(PADDED)) + PADDED[:150_000])
        until(lambda: sessions(front) == 1)
        gateway.start(front.deployment, front.asked)
        until(lambda: sessions(front) == 0)


def test_a_long_body_that_ended_is_no_reason_to_cut_its_answer(front: Door) -> None:
    """Its stream goes on for longer than its body had."""
    status, _, answer = front.ask("/v1/chat/completions", ASKED | {"max_tokens": 2500})
    assert (status, answer[-14:]) == (200, b"data: [DONE]\n\n")


def test_who_comes_from_the_port_of_one_that_went_is_another(front: Door) -> None:
    """The first ends its connection within a body; the second's stream goes on beyond what the first's had."""
    port = free_port()

    def connected() -> socket.socket:
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        client.bind(("127.0.0.1", port))
        client.settimeout(60)
        client.connect(("127.0.0.1", front.asked.port))
        return client

    with connected() as gone:
        gone.sendall(head(front, len(PADDED)) + PADDED[:150_000])
        until(lambda: sessions(front) == 1)
        gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    until(lambda: sessions(front) == 0)
    asked = ASKED | {"messages": [{"role": "user", "content": "a"}], "max_tokens": 2500}
    body = json.dumps(asked).encode()
    with connected() as other:
        other.sendall(head(front, len(body)).replace(b"host: x", b"host: x\r\nconnection: close") + body)
        assert b"data: [DONE]" in said(other)[-30:]


def test_a_thousand_that_say_nothing_are_in_nobodys_way_and_are_closed(front: Door) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4 * SILENT)), hard))
    with ExitStack() as silent:
        silent.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        clients = [silent.enter_context(connected(front)) for _ in range(SILENT)]
        assert front.ask("/v1/models")[0] == 200
        assert {said(client)[:12] for client in clients} <= {b"", b"HTTP/1.1 408"}
