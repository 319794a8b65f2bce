"""TLS between a gateway on a host and the servers of other hosts: the real HAProxy on both sides.

The whole of it over SSH, to hosts that are folders, is part of tests/test_gateway_host.py.
"""

import json
import os
import re
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from doors import ENGINE_KEY, NAME, door
from fake_box import Box
from fake_server import FakeServer
from ports import free_port
from stubbed import until
from test_owned_line import Corral

from deploy.gateway import (
    between,
    certificates,
    gateway,
    haproxy,
    host_haproxy,
    listener_config,
    listeners,
    on_host,
    rotation,
)
from deploy.gateway.gateway_document import Gateway, Listener
from deploy.gateway.gateway_options import GatewayOptions
from deploy.gateway.gateway_text import shown
from deploy.gateway.haproxy_config import BETWEEN_CA, CLIENT, CONFIG, TLS, Server
from deploy.gateway.listener_config import Listens
from deploy.gateway.on_host import OnHost
from deploy.targets.deployment import folder, load
from infra.errors import HostError

ROOT = "/opt/corral/scout.gateway"
OTHER = "127.0.0.2"
"""The other host's address: a box that has nothing but its programs, as its server is none of a listener's matter."""
LISTENER = "/opt/corral/scout.listener"


def status_of(port: int, key: str, body: dict[str, Any] | None = None) -> tuple[int, bytes]:
    """What a request earns."""
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        head = {"Authorization": f"Bearer {key}"}
        if body is None:
            connection.request("GET", "/v1/models", headers=head)
        else:
            connection.request("POST", "/v1/completions", json.dumps(body), head)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@pytest.fixture
def second(box: Box) -> Iterator[Box]:
    """The other host; whatever it started ends with the test."""
    made = Box(box.folder.parent / OTHER, [])
    for name in ("systemctl", "journalctl"):
        made.tool(name, "box_systemd")
    facts = (box.folder / "facts").read_text()
    (made.folder / "facts").write_text(f"{facts}address lo {OTHER}\n")
    yield made
    for file in made.folder.glob("*.pid"):
        with suppress(ProcessLookupError):
            os.kill(int(file.read_text()), 9)


def it_stands_before_the_servers_of_two_hosts(
    serving: Box, second: Box, corral: Corral, begin: list[str], asked: list[str]
) -> None:
    """Over TLS to the other's, by a listener there, which goes with it."""
    load("scout").model_copy(update={"hosts": ("gpu-1", OTHER)}).write(folder("scout") / "deployment.json")
    a_host_on_which_no_listener_can_stand_is_told_of_before_anything_changes(second, corral, begin)
    place, port = folder("scout") / "gateway", int(begin[-1])
    key = json.loads(corral("keys", "add", "scout", "grace", "--json")[1])["key"]
    code, _, complaint = corral(*begin)
    assert code == 0, complaint
    until(lambda: [each.state for each in gateway.status("scout").servers] == ["UP", "UP"])
    corral("gateway", "drain", "scout", "gpu-1")
    completion, before = {"model": "m", "prompt": "a", "max_tokens": 1}, len(audit_of(serving))
    assert status_of(port, key, completion)[0] == 200
    until(lambda: len(audit_of(serving)) > before)  # a line is written after its answer has ended
    last = [line for line in audit_of(serving) if line["path"] == "/v1/completions"][-1]
    assert last["server"] == OTHER

    # Keys: of the authority here alone, of each side there alone; for root or HAProxy, in no command line.
    here, there = serving.path(ROOT) / "files", second.path(LISTENER) / "files"
    assert sorted(path.name for path in there.iterdir()) == ["between-ca.pem", "haproxy.cfg", "tls.pem"]
    of_authority, of_gateway, of_listener = (
        key_in(path) for path in (place / "between-ca.key", here / "client.pem", there / "tls.pem")
    )
    holding = [path for path in serving.folder.parent.rglob("*") if path.is_file() and not path.is_symlink()]
    texts = {path: path.read_text(errors="replace") for path in holding}
    state = "var/lib/private/corral-scout"
    assert {secret: {path for path, text in texts.items() if secret in text} for secret in (
        of_authority, of_gateway, of_listener)} == {
        of_authority: {place / "between-ca.key"},
        of_gateway: {here / "client.pem", serving.folder / f"{state}.gateway/client.pem"},
        of_listener: {there / "tls.pem", second.folder / f"{state}.listener/tls.pem"},
    }  # fmt: skip
    private = [
        place / "between-ca.key",
        *here.iterdir(),
        *there.iterdir(),
        *second.path(f"/{state}.listener").iterdir(),
    ]
    assert {oct(path.stat().st_mode & 0o177) for path in private if not path.is_socket()} == {"0o0"}
    assert not [
        line for line in asked if any(secret in line for secret in (of_authority, of_gateway, of_listener))
    ]
    rules = (second.path(LISTENER) / "egress.nft").read_text()
    serve = load("scout").plan.serve
    assert re.findall(r"daddr (\S+) tcp dport (\d+)", rules) == [("127.0.0.1", str(serve.port))]

    their_certificates_are_renewed_and_what_is_not_is_told(second, corral, begin)
    listening = [
        call
        for call in second.calls
        if call.startswith("systemctl") and "corral-scout.listener.service" in call
    ]
    assert listening[:2] == [
        "systemctl reset-failed corral-scout.listener.service",
        "systemctl enable corral-scout.listener.service",
    ]
    assert corral("gateway", "stop", "scout")[0] == 0
    assert left_of_the_listener(second) == []
    assert "between:" not in corral("gateway", "status", "scout")[1]
    code, _, complaint = corral(*begin)
    assert code == 0, complaint
    code, _, complaint = corral(*begin[:-1], str(free_port()))  # its listeners go with it to another port
    assert code == 0, complaint
    until(lambda: [each.check for each in gateway.status("scout").servers] == ["L7OK", "L7OK"])
    assert (second.path(LISTENER) / "files").is_dir()


def key_in(path: Path) -> str:
    """The first line of the private key in a PEM file: a quarter of it is the key's own."""
    _, _, after = path.read_text().partition("PRIVATE KEY-----\n")
    return after.splitlines()[0]


def audit_of(box: Box) -> list[dict[str, Any]]:
    """The lines of a gateway's audit."""
    lines = box.path("/var/log/corral/scout.gateway.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


def left_of_the_listener(box: Box) -> list[str]:
    """What of it is still on its host."""
    places = ("opt/corral", "etc/systemd/system", "var/lib/private", "var/lib", "run")
    return [str(path) for place in places for path in box.folder.glob(f"{place}/*listener*")]


def a_host_on_which_no_listener_can_stand_is_told_of_before_anything_changes(
    second: Box, corral: Corral, begin: list[str]
) -> None:
    """Without HAProxy; without the address; with somebody else at the port."""
    facts, bare = second.folder / "facts", second.path("/opt/bare")
    bare.parent.mkdir(exist_ok=True)
    known = facts.read_text()
    listening = f"listening 0200007F:{int(begin[-1]):04X}\n"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(host_haproxy, "PROGRAM", f"[ ! -e /opt/bare ] || exit 0\n{host_haproxy.PROGRAM}")
        changes: tuple[tuple[Callable[[], object], str], ...] = (
            (lambda: bare.write_text(""), f"HAProxy is not installed on {OTHER}."),
            (lambda: facts.write_text(known.replace(f"address lo {OTHER}\n", "")),
             f"No interface of {OTHER} has the address {OTHER}, so no listener can stand there."),
            (lambda: facts.write_text(known + listening),
             f"The listener of {OTHER} cannot listen on {OTHER} port {begin[-1]}: somebody does already."),
        )  # fmt: skip
        for change, said in changes:
            change()
            code, _, complaint = corral(*begin)
            assert (code != 0, complaint.splitlines()[0]) == (True, f"error: {said}")
            facts.write_text(known)
            bare.unlink(missing_ok=True)
    assert left_of_the_listener(second) == []
    assert not (folder("scout") / "gateway/between-ca.key").exists()


def their_certificates_are_renewed_and_what_is_not_is_told(
    second: Box, corral: Corral, begin: list[str]
) -> None:
    before, shown = load_gateway(), second.path(LISTENER) / "files/tls.pem"
    was = shown.read_text()
    (listener,) = before.listeners
    assert (listener.server, listener.host) == (OTHER, OTHER)
    end = f"{listener.certificate_ends_at:%Y-%m-%d}"
    said = corral("gateway", "status", "scout")[1]
    assert f"between:  TLS to {OTHER}, both sides by certificate, until {end}; corral renews it\n" in said
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(listeners, "ends_soon", lambda end: True)
        with pytest.MonkeyPatch.context() as broken:
            real = on_host.keep

            def keep(there: OnHost, was: str, files: Mapping[str, str]) -> None:
                if there.kind == "listener":
                    raise HostError(f"{OTHER} does not answer.", "")
                real(there, was, files)

            broken.setattr(on_host, "keep", keep)
            complaint = corral("gateway", "status", "scout")[2]
        assert (
            f"warning: the certificate of the listener on {OTHER} ends on {end} and is not renewed: "
            f"{OTHER} does not answer.\n"
        ) in complaint
        assert (shown.read_text(), load_gateway().listeners) == (was, before.listeners)
        corral("gateway", "status", "scout")
    assert shown.read_text() != was
    until(lambda: [each.check for each in gateway.status("scout").servers] == ["L7OK", "L7OK"])
    between_ca = folder("scout") / "gateway/between-ca.pem"
    kept = between_ca.read_text()
    between_ca.write_text("another machine's")
    assert corral(*begin)[2].splitlines()[0] == (
        "error: What scout's gateway on gpu-1 and its listeners know each other by is of an authority that another "
        "machine keeps."
    )
    between_ca.write_text(kept)


def load_gateway() -> Gateway:
    return gateway.load("scout")


def listening(place: Path, stack: ExitStack, pem: str, trusts: str, server_port: int) -> int:
    """A listener that runs in that folder, with that certificate and those that it trusts; its port."""
    (place / "on").mkdir(parents=True)
    place, port = place / "on", free_port()
    asked = Listens("127.0.0.1", port, "127.0.0.1", server_port, 1)
    for name, text in ((CONFIG, listener_config.config(asked)), (TLS, pem), (BETWEEN_CA, trusts)):
        (place / name).write_text(text)
    haproxy.start(haproxy.found(), place)
    stack.callback(haproxy.stop, place, 0)
    return port


@pytest.mark.usefixtures("has_haproxy")
def test_gateway_and_listener_take_each_other_alone_and_who_is_refused_is_told_in_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv("CORRAL_HOME", str(home))
    ours, theirs = home / NAME / "gateway", tmp_path / "theirs"
    for place in (ours, theirs):
        place.mkdir(parents=True)
    client, foreign_client = between.issued(ours, None).pem, between.issued(theirs, None).pem
    (ours / CLIENT).write_text(client)
    good = between.issued(ours, "well").pem
    ended = ended_certificate(ours, "ended")
    we_trust, they_trust = between.authority(ours), between.authority(theirs)
    with ExitStack() as stack:
        engine = FakeServer(key=ENGINE_KEY)
        stack.callback(engine.kill)
        made = {
            "well": (good, we_trust, engine.port),
            "foreign": (between.issued(theirs, "foreign").pem, we_trust, engine.port),
            "another": (good, we_trust, engine.port),
            "ended": (ended, we_trust, engine.port),
            "knows-us-not": (between.issued(ours, "knows-us-not").pem, they_trust, engine.port),
            "no-engine": (between.issued(ours, "no-engine").pem, we_trust, free_port()),
        }
        ports = {name: listening(tmp_path / name, stack, *each) for name, each in made.items()}
        servers = tuple(
            Server(name, "127.0.0.1", port, is_tunnelled=True, tls_name=name) for name, port in ports.items()
        )
        monkeypatch.setattr(gateway, "servers_of", lambda deployment, opens=True: servers)
        with door(home) as front:
            known = gateway.load(NAME)
            told = tuple(
                Listener(server=name, host=name, certificate_ends_at=certificates.end_of(ours / BETWEEN_CA))
                for name in ports
            )
            known.model_copy(update={"listeners": told}).write(ours / "gateway.json")
            wanted = {name: "DOWN" for name in ports} | {"well": "UP"}
            settled = (("DOWN", True), ("UP", False))
            until(
                lambda: all((each.state, each.check != "L7OK") in settled for each in rotation.in_front(ours))
            )
            assert {each.name: each.state for each in gateway.status(NAME).servers} == wanted
            for _ in range(5):
                assert front.ask("/v1/models")[0] == 200
            assert {line["server"] for line in front.audit() if line["status"] == 200} == {"well"}
            lines = {
                line.split()[1]: line
                for line in shown(gateway.status(NAME)).splitlines()
                if line.startswith("server:")
            }
        refused = "it and the gateway do not take each other's certificate (L6RSP: "
        for name in ("foreign", "another", "ended"):
            assert refused in lines[name], lines[name]
        silent = r"its /health gives no answer \((L7RSP|SOCKERR)|" + re.escape(refused)
        for name in ("knows-us-not", "no-engine"):
            assert re.search(silent, lines[name]), lines[name]
            assert f"corral gateway {NAME}" in lines[name]

        # The listener by itself: whoever is not the gateway gets no byte of the server's.
        for number, pem in enumerate((None, foreign_client, good, client)):
            certificate = tmp_path / f"{number}.pem"
            if pem:
                certificate.write_text(pem)
            answer = health_of(ports["well"], ours / BETWEEN_CA, "well", certificate if pem else None)
            assert answer.startswith(b"HTTP/1.1 200") == (pem == client)
            assert answer == b"" or pem == client
        with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
            health_of(ports["well"], ours / BETWEEN_CA, "another", tmp_path / "3.pem")
        with socket.create_connection(("127.0.0.1", ports["well"]), timeout=60) as plain:
            plain.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            assert not plain.recv(100).startswith(b"HTTP")


def ended_certificate(folder: Path, name: str) -> str:
    """As `between.issued` makes one, but that it ended yesterday."""
    authority = x509.load_pem_x509_certificate((folder / BETWEEN_CA).read_bytes())
    signer = serialization.load_pem_private_key((folder / between.AUTHORITY_KEY).read_bytes(), None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "corral listener")]))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=90))
        .not_valid_after(now - timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(signer, hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    of_key = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
    return (made.public_bytes(pem) + of_key).decode()


def health_of(port: int, trusts: Path, name: str, certificate: Path | None) -> bytes:
    """The first bytes that a client with that certificate is answered; none where it is refused."""
    context = ssl.create_default_context(cafile=str(trusts))
    if certificate:
        context.load_cert_chain(certificate)
    with (
        socket.create_connection(("127.0.0.1", port), timeout=60) as plain,
        context.wrap_socket(plain, server_hostname=name) as client,
    ):
        try:
            client.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            return client.recv(100)
        except (ssl.SSLError, ConnectionError):
            return b""


def test_of_the_listeners_of_before_those_that_no_server_needs_go() -> None:
    now, away, gone = (
        Listener(server=name, host=name, certificate_ends_at=datetime(2027, 1, 1, tzinfo=UTC))
        for name in ("b", "c", "d")
    )
    servers = (Server("a", "127.0.0.1", 8000), *(Server(n, n, 8443, True, n) for n in ("b", "c")))
    before = Gateway(name="x", asked=GatewayOptions(on_host="a"), listeners=(now, away, gone))
    assert listeners.besides((now,), servers, before) == ((away,), (gone,))
    assert listeners.besides((now,), servers, None) == ((), ())
