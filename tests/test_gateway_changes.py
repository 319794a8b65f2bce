"""A gateway is changed, drained, stopped and taken away under load; what stands against one; its keys."""

import json
import ssl
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from doors import NAME, Door, door
from ports import free_port
from stubbed import until

from deploy import doctor_deployment, line
from deploy.cli.main import run
from deploy.gateway import admin_socket, gateway, haproxy, key_store, rotation
from deploy.gateway.gateway_options import GatewayOptions
from deploy.gateway.haproxy_config import ADMIN, KEYS_MAP
from deploy.gateway.keys import Key, Keys, hashed, merged, now_utc
from deploy.targets import hurry
from deploy.targets.deployment import Deployment
from deploy.targets.local import place as local
from infra.errors import HostError, ServerError, UsageError
from serving.vllm import stopping
from serving.vllm.endpoint import Endpoint

pytestmark = pytest.mark.usefixtures("has_haproxy")

ASKED = {"model": "fake", "prompt": "a", "stream": True, "stream_options": {"include_usage": True}}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CORRAL_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@contextmanager
def streams(front: Door, count: int, tokens: int) -> Iterator[list[bytes]]:
    """That many streams, all begun when it begins; each whole answer when it ends."""
    said: list[bytes] = []
    begun = threading.Barrier(count + 1)

    def ask() -> None:
        with front.asking("/v1/completions", ASKED | {"max_tokens": tokens}) as answer:
            first = answer.readline()
            begun.wait(60)
            said.append(first + answer.read())

    front.key("good")
    threads = [threading.Thread(target=ask) for _ in range(count)]
    for thread in threads:
        thread.start()
    begun.wait(60)
    yield said
    for thread in threads:
        thread.join(120)


def test_a_change_and_new_keys_cut_no_stream(home: Path) -> None:
    with door(home, {"ttft_ms": 1, "itl_ms": 20}) as front, streams(front, 8, 300) as said:
        for most in (5, 6):
            front.asked = front.asked.model_copy(update={"max_n": most})
            gateway.start(front.deployment, front.asked)
            assert front.ask("/v1/models", key=f"person{most}")[0] == 200
        refused = front.ask("/v1/completions", {"n": 7}, key="person5")[2]
        assert refused["error"]["message"] == "n is above 6, the most that is allowed here"
        assert [each.sessions for each in rotation.in_front(front.folder)] == [8]
    assert [answer.count(b'"text"') for answer in said] == [301] * 8
    assert all(answer.endswith(b"data: [DONE]\n\n") for answer in said)


def test_a_server_out_of_rotation_finishes_what_it_has_and_gets_nothing_more(home: Path) -> None:
    with door(home, {"ttft_ms": 1, "itl_ms": 20}, queue_s=0.2) as front:
        with streams(front, 2, 150) as said:
            assert run(["gateway", "drain", NAME, NAME]) == 0
            assert front.ask("/v1/models")[0] == 503
            assert [(each.state, each.sessions) for each in rotation.in_front(front.folder)] == [("DRAIN", 2)]
            # A change meanwhile does not put it in again.
            gateway.start(front.deployment, front.asked)
            assert rotation.in_front(front.folder)[0].state == "DRAIN"
        assert all(answer.endswith(b"data: [DONE]\n\n") for answer in said)
        until(lambda: rotation.in_front(front.folder)[0].sessions == 0)
        assert run(["gateway", "ready", NAME, NAME]) == 0
        until(lambda: rotation.in_front(front.folder)[0].state == "UP")
        assert front.ask("/v1/models")[0] == 200
        with pytest.raises(ServerError, match="The gateway refuses: No such server"):
            rotation.take_out(front.folder, "nobody")


@pytest.mark.parametrize("now", [False, True])
def test_a_server_is_stopped_out_of_rotation_and_without_a_request(
    now: bool, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `corral stop` does, whatever its place; `--now` waits for none."""
    asked: list[object] = []

    with door(home, {"ttft_ms": 1, "itl_ms": 20}, queue_s=0.2) as front:
        serve = front.deployment.plan.serve
        at = Endpoint(base_url=f"http://127.0.0.1:{serve.port}", served_model_name=serve.served_model_name)

        def stop(deployment: Deployment) -> None:
            asked.append(rotation.in_front(front.folder)[0].state)
            asked.append(front.ask("/v1/models")[0])
            stopping.until_idle(at, 60, lambda: hurry.is_hurried(NAME), lambda text: None)
            asked.append(stopping.requests_of(at))

        monkeypatch.setattr(local, "stop", stop)
        with streams(front, 2, 100) as said:
            line.stop(front.deployment, now)
            until(lambda: rotation.in_front(front.folder)[0].state == "UP")
        assert asked == ["DRAIN", 503, 2.0 if now else 0.0]
        assert all(answer.endswith(b"data: [DONE]\n\n") for answer in said)
        assert not hurry.mark(NAME).exists()


def test_a_stop_lets_streams_end_and_a_start_begins_from_what_was_spent(home: Path) -> None:
    with door(home, {"ttft_ms": 1, "itl_ms": 10}) as front:
        front.key("good")
        with streams(front, 2, 40) as said:
            gateway.stop(NAME, 60)
        assert all(answer.endswith(b"data: [DONE]\n\n") for answer in said)
        assert gateway.status(NAME).state == "stopped"
        key_id = key_store.good(front.folder)[0].id
        key_store.revoke(front.folder, front.asked, key_id)  # while it is down
        gateway.start(front.deployment, front.asked)
        assert admin_socket.ask(front.folder / ADMIN, f"corral spent {key_id}") == "84"
        assert front.ask("/v1/models")[0] == 401


def test_with_no_server_behind_it_says_so_as_the_apis_do(home: Path) -> None:
    with door(home, queue_s=0.2) as front:
        status, head, said = front.ask("/v1/messages", {"model": "m", "messages": [], "max_tokens": 1})
        assert (status, head["retry-after"], said) == (
            503, "5", {"type": "error", "error": {
                "type": "overloaded_error", "message": "no server can take the request now", "param": None,
                "code": "unavailable"}})  # fmt: skip
        assert front.ask("/health", key=None)[0] == 503


def test_requests_at_once_and_in_the_queue_are_limited(home: Path) -> None:
    with door(home, {"ttft_ms": 1, "itl_ms": 20}, max_in_flight=2, max_queue=0, requests_at_once=3) as front:
        front.key("good"), front.key("other")
        with streams(front, 2, 60):
            waiting = threading.Thread(target=lambda: front.ask("/v1/models", key="other"))
            waiting.start()
            until(lambda: rotation.in_front(front.folder)[0].waiting + queued(front) == 1)
            status, head, said = front.ask("/v1/models", key="third")
            assert (status, head["retry-after"], said["error"]["code"]) == (429, "5", "queue_full")
        waiting.join(60)
        with streams(front, 2, 60):
            waiting = threading.Thread(target=lambda: front.ask("/v1/models"))
            waiting.start()
            until(lambda: queued(front) == 1)
            status, head, said = front.ask("/v1/models")
            assert (status, head["retry-after"], said["error"]["message"]) == (
                429, "1", "too many requests of this key at once")  # fmt: skip
        waiting.join(60)


def queued(front: Door) -> int:
    """Requests that wait for any server."""
    stat = admin_socket.ask(front.folder / ADMIN, "show stat engines 2 -1")
    return int(rotation.rows(stat)["BACKEND"]["qcur"])


def test_ten_thousand_keys_are_known_and_one_of_them_goes_at_once(home: Path) -> None:
    with door(home, {"ttft_ms": 1, "itl_ms": 1}) as front:
        many = tuple(
            Key(id=f"p{number}-0", person=f"p{number}", sha256=hashed(f"sk-{number}"), created_at=now_utc())
            for number in range(10_000)
        )
        Keys(keys=many).write(front.folder / key_store.DOCUMENT)
        gateway.start(front.deployment, front.asked)
        front.keys |= {f"p{number}": f"sk-{number}" for number in range(10_000)}
        assert [front.ask("/v1/models", key=f"p{number}")[0] for number in (0, 4_999, 9_999)] == [200] * 3
        key_store.revoke(front.folder, front.asked, "p4999")
        assert [front.ask("/v1/models", key=f"p{number}")[0] for number in (0, 4_999, 9_999)] == [
            200,
            401,
            200,
        ]
        kept = (front.folder / KEYS_MAP).read_text()
        assert (len(kept.splitlines()), hashed("sk-4999") in kept) == (9_999, False)


def test_a_key_that_is_revoked_while_it_changes_is_refused_by_the_new_worker_too(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = haproxy.reload
    with door(home, {"ttft_ms": 1, "itl_ms": 1}) as front:
        front.key("leaver"), front.key("good")

        def reload(program: str, folder: Path) -> None:
            read = (folder / KEYS_MAP).read_text()
            key_store.revoke(folder, front.asked, "leaver")
            written = (folder / KEYS_MAP).read_text()
            (folder / KEYS_MAP).write_text(read)  # the new worker has read it already, the old one is told
            real(program, folder)
            (folder / KEYS_MAP).write_text(written)

        monkeypatch.setattr(haproxy, "reload", reload)
        gateway.start(front.deployment, front.asked)
        assert [front.ask("/v1/models", key=name)[0] for name in ("leaver", "good")] == [401, 200]


def test_a_key_is_revoked_on_the_disk_before_the_gateway_is_told_and_told_again_when_asked(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with door(home, {"ttft_ms": 1, "itl_ms": 1}) as front:
        front.key("leaver")

        def away(folder: Path, key: Key) -> None:
            raise ServerError("The gateway does not answer.", "")

        with monkeypatch.context() as patched:
            patched.setattr(key_store, "take", away)
            with pytest.raises(ServerError):
                key_store.revoke(front.folder, front.asked, "leaver")
        assert (front.folder / KEYS_MAP).read_text() == ""
        assert front.ask("/v1/models", key="leaver")[0] == 200
        assert key_store.revoke(front.folder, front.asked, "leaver") == ()
        assert front.ask("/v1/models", key="leaver")[0] == 401


def test_of_two_lists_of_keys_holds_what_makes_a_key_less_good() -> None:
    def key(name: str, second: int, expires: int | None = None, revoked: int | None = None) -> Key:
        ends = [
            None if at is None else datetime(2026, 11, 2, 0, 0, at, tzinfo=UTC) for at in (expires, revoked)
        ]
        made = datetime(2026, 11, 1, 0, 0, second, tzinfo=UTC)
        return Key(
            id=name, person=name, sha256=hashed(name), created_at=made, expires_at=ends[0], revoked_at=ends[1]
        )

    one = Keys(keys=(key("a", 1, revoked=5), key("b", 2), key("c", 3, expires=9), key("e", 5)))
    other = Keys(keys=(key("a", 1), key("b", 2, 7, 8), key("c", 3, expires=4), key("d", 4)))
    wanted = Keys(
        keys=(key("a", 1, revoked=5), key("b", 2, 7, 8), key("c", 3, expires=4), key("d", 4), key("e", 5))
    )
    assert (merged(one, other), merged(other, one)) == (wanted, wanted)
    assert merged(Keys(), one) == merged(one, Keys()) == one


def test_a_key_is_rotated_with_an_overlap(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with door(home, {"ttft_ms": 1, "itl_ms": 1}) as front:
        front.key("alice", requests_per_minute=7, model=("fake",))
        assert run(["keys", "rotate", NAME, "alice", "--overlap", "1h", "--json"]) == 0
        front.keys["new"] = json.loads(capsys.readouterr().out)["key"]
        assert [front.ask("/v1/models", key=name)[0] for name in ("alice", "new")] == [200, 200]
        old, new = key_store.read(front.folder).keys
        assert (new.requests_per_minute, new.models, new.expires_at) == (7, ("fake",), None)
        assert old.expires_at is not None
        assert 3500 < (old.expires_at - now_utc()).total_seconds() <= 3600
        assert run(["keys", "rotate", NAME, "alice"]) == 2
        assert f"Name one: {old.id}, {new.id}" in capsys.readouterr().err
        assert run(["keys", "revoke", NAME, "alice"]) == 0
        assert [front.ask("/v1/models", key=name)[0] for name in ("alice", "new")] == [401, 401]


def test_tls_by_an_authority_of_ones_own(home: Path) -> None:
    with door(
        home, {"ttft_ms": 1, "itl_ms": 1}, host="0.0.0.0", tls_name=("localhost", "127.0.0.1")
    ) as front:
        now = gateway.status(NAME)
        assert now.base_url == f"https://localhost:{front.asked.port}"
        assert now.ca_file is not None
        key = front.key("good")
        trusting = ssl.create_default_context(cafile=now.ca_file)
        connection = HTTPSConnection("localhost", front.asked.port, context=trusting, timeout=60)
        connection.request("GET", "/v1/models", headers={"x-api-key": key})
        assert connection.getresponse().status == 200
        connection.close()
        with pytest.raises(ssl.SSLCertVerificationError):
            HTTPSConnection("127.0.0.2", front.asked.port, context=trusting, timeout=60).connect()
        with pytest.raises(ssl.SSLError, match="TLSV1_ALERT_PROTOCOL_VERSION"):
            HTTPSConnection("localhost", front.asked.port, context=old(trusting), timeout=60).connect()
        until(lambda: [line["status"] for line in front.audit()] == [200, 0, 0])
        private = [path for path in front.folder.iterdir() if b"PRIVATE KEY" in content(path)]
        assert {path.name for path in private} == {"ca.key", "tls.pem"}
        assert {path.stat().st_mode & 0o077 for path in private} == {0}


def old(context: ssl.SSLContext) -> ssl.SSLContext:
    """The same of a client that knows nothing newer than TLS 1.1."""
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    return context


def content(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""


def test_prometheus_is_answered_on_loopback(home: Path) -> None:
    with (
        door(home, {"ttft_ms": 1, "itl_ms": 1}, metrics_port=free_port()) as front,
        urlopen(f"http://127.0.0.1:{front.asked.metrics_port}/metrics") as answer,
    ):
        text = answer.read().decode()
    assert f'haproxy_server_status{{proxy="engines",server="{NAME}",state="UP"}} 1' in text


def test_a_taken_port_and_a_broken_certificate_change_nothing(
    home: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with door(home, {"ttft_ms": 1, "itl_ms": 1}) as front:
        taken = front.deployment.plan.serve.port
        assert run(["gateway", NAME, "--port", str(taken)]) == 2
        assert f"cannot listen on 127.0.0.1 port {taken}: Address already in use." in capsys.readouterr().err
        bad = tmp_path / "bad.pem"
        bad.write_text("no certificate")
        same = ["gateway", NAME, "--port", str(front.asked.port)]
        assert run([*same, "--tls-cert", str(bad), "--tls-key", str(bad)]) == 4
        assert f"{bad} is no certificate in PEM." in capsys.readouterr().err
        assert run([*same, "--tls-cert", str(bad)]) == 2
        assert gateway.load(NAME).asked == front.asked
        assert front.ask("/v1/models")[0] == 200


def test_two_gateways_on_one_port(home: Path) -> None:
    with door(home) as front:
        other = front.deployment.model_copy(update={"name": "second"})
        with pytest.raises(UsageError, match=f"A gateway cannot listen on 127.0.0.1 port {front.asked.port}"):
            gateway.start(other, front.asked)
        assert not gateway.exists("second")


def test_without_haproxy_it_is_said_how_to_get_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(haproxy, "PROGRAM", "haproxy-that-is-not-there")
    with pytest.raises(HostError) as refused:
        haproxy.found()
    assert refused.value.message == "HAProxy is not installed on this machine."
    assert refused.value.hint == (
        "Debian, Ubuntu: sudo apt-get install haproxy; Fedora, RHEL 10: sudo dnf install haproxy"
    )


def test_status_and_down_know_it(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with door(home, {"ttft_ms": 1, "itl_ms": 1}) as front:
        assert front.ask("/v1/models")[0] == 200
        run(["status", NAME, "--json"])
        assert json.loads(capsys.readouterr().out)["gateway"] == front.asked.base_url
        server = front.deployment.name
        assert run(["gateway", "drain", NAME, server]) == 0
        assert (
            f"server:   {server} is DRAIN, 0 requests, 0 waiting: it was taken out and gets no requests; "
            in (capsys.readouterr().out)
        )
        run(["status", NAME, "--json"])
        assert json.loads(capsys.readouterr().out)["taken_out"] == [server]
        again = f"corral gateway ready {NAME} {server}"
        run(["status", NAME])
        assert f"; its gateway gives {server} no requests, unless that is rolled just now: {again}\n" in (
            capsys.readouterr().out
        )
        (check,) = doctor_deployment.of_servers(gateway.status(NAME))
        assert (check.outcome, check.found, check.fix) == (
            "warning",
            "DRAIN: it was taken out and gets no requests",
            f"Unless it is rolled or stopped just now: {again}",
        )
        assert run(["gateway", "ready", NAME, server]) == 0
        until(lambda: rotation.in_front(front.folder)[0].is_up)
        assert front.server
        front.server.kill()
        until(lambda: rotation.in_front(front.folder)[0].state == "DOWN")
        capsys.readouterr()
        assert run(["gateway", "status", NAME]) == 0
        assert (
            f"server:   {server} is DOWN, 0 requests, 0 waiting: no connection to it comes about (L4CON: Layer4 "
            f"connection problem, Connection refused); look, which opens its way again: corral status {NAME}\n"
        ) in capsys.readouterr().out
        assert run(["down", NAME, "--json"]) == 0
        gone: dict[str, Any] = json.loads(capsys.readouterr().out)
        assert (gone["left"], gone["audit"]) == ([], str(home / NAME / "gateway-audit.jsonl"))
        assert haproxy.members(front.folder) == ()
        assert [path.name for path in (home / NAME).iterdir()] == ["gateway-audit.jsonl"]


def test_what_is_asked_of_no_gateway(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (
        ["keys", "list", "nobody"],
        ["keys", "revoke", "nobody", "x"],
        ["gateway", "status", "nobody"],
    ):
        assert run(words) == 4
        assert capsys.readouterr().err == (
            f"error: There is no deployment called 'nobody' in {home}.\n"
            "hint: Make one: corral up scout --on g5.12xlarge --region us-east-1 --name nobody; made from another "
            "machine: corral hosts adopt --help\n"
        )
    assert not (home / "nobody").exists()


def test_options_that_do_not_go_together() -> None:
    with pytest.raises(UsageError, match="--metrics-port is the port that clients use"):
        GatewayOptions(port=8000, metrics_port=8000)
    assert GatewayOptions(host="::1").has_tls is False
    assert GatewayOptions(host="gw.example").base_url == "https://gw.example:8080"
