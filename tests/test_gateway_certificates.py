"""The certificate of a gateway as its end comes near: renewed where it is corral's own, told of where it is not."""

import socket
import ssl
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from doors import NAME, Door, door

from deploy.cli.main import run
from deploy.doctor_deployment import of_certificate
from deploy.gateway import certificates, gateway, haproxy
from deploy.gateway.gateway_text import shown
from deploy.gateway.haproxy_config import TLS
from infra.errors import HostError

pytestmark = pytest.mark.usefixtures("has_haproxy")

THEN = f"then, with the options that are to hold: corral gateway {NAME}"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CORRAL_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def served(front: Door) -> str:
    """The certificate that clients are shown now."""
    return ssl.get_server_certificate(("127.0.0.1", front.asked.port), timeout=60)


def checks() -> list[tuple[str, int, str]]:
    return [(check.outcome, check.exit_code, check.fix) for check in of_certificate(NAME)]


def test_corrals_own_is_renewed_by_whoever_looks_and_no_client_need_trust_anything_new(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with door(home, host="0.0.0.0", tls_name=("localhost", "127.0.0.1")) as front:
        authority, first, pids = front.folder / "ca.pem", served(front), haproxy.members(front.folder)
        trusted = authority.read_bytes()
        for words in (["gateway", "status", NAME], ["status", NAME]):
            run(words)
        assert served(front) == first, "it lasts"
        assert checks() == [("ok", 0, "")]
        monkeypatch.setattr(certificates, "RENEWED_BEFORE", timedelta(days=certificates.DAYS + 1))
        assert checks() == [("warning", 0, f"corral gateway status {NAME}")]
        assert served(front) == first, "doctor changes nothing"
        shown_now = {first}
        for words in (["gateway", "status", NAME], ["status", NAME]):
            run(words)
            assert served(front) not in shown_now
            assert served(front) in (front.folder / TLS).read_text()
            shown_now.add(served(front))
        assert "; corral renews it" in capsys.readouterr().out
        assert (authority.read_bytes(), haproxy.members(front.folder)) == (trusted, pids)
        trusting = ssl.create_default_context(cafile=authority)
        with (
            socket.create_connection(("127.0.0.1", front.asked.port), timeout=60) as plain,
            trusting.wrap_socket(plain, server_hostname="localhost") as client,
        ):
            assert client.version() == "TLSv1.3"


def test_what_stands_against_a_renewal_stops_nobody(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with door(home, host="0.0.0.0", tls_name=("localhost",)) as front:
        first = served(front)
        monkeypatch.setattr(certificates, "ends_soon", lambda end: True)
        monkeypatch.setattr(certificates, "AUTHORITY", "nowhere/ca.pem")
        gateway.keep_certificate(NAME)
        said = capsys.readouterr().err
        assert said.startswith(
            "warning: the gateway's certificate is not renewed: openssl made no certificate: "
        )
        assert served(front) == first


def test_one_that_was_not_taken_is_renewed_the_next_time(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with door(home, host="0.0.0.0", tls_name=("localhost",)) as front:
        first, kept = served(front), (front.folder / TLS).read_text()

        def away(folder: Path, certificate: str) -> None:
            raise HostError("gpu-1 does not answer.", "")

        monkeypatch.setattr(certificates, "RENEWED_BEFORE", timedelta(days=certificates.DAYS + 1))
        with monkeypatch.context() as patched:
            patched.setattr(certificates, "serve", away)
            gateway.keep_certificate(NAME)
        said = "warning: the gateway's certificate is not renewed: gpu-1 does not answer.\n"
        assert (capsys.readouterr().err, (front.folder / TLS).read_text()) == (said, kept)
        gateway.keep_certificate(NAME)
        assert served(front) != first
        assert served(front) in (front.folder / TLS).read_text()


def own(folder: Path, days: int) -> tuple[Path, Path]:
    """A certificate of the user's own that ends in so many days."""
    folder.mkdir()
    cert, key = folder / "own.pem", folder / "own.key"
    words = [
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-subj",
        "/CN=x",
    ]
    made = ["-days", str(days), "-keyout", str(key), "-out", str(cert)]
    subprocess.run(["openssl", *words, *made], check=True, capture_output=True)
    return cert, key


@pytest.mark.parametrize(
    ("days", "told", "outcome", "fix"),
    [
        (40, "you renew it", "ok", ""),
        (5, f"renew it now, {THEN}", "warning", f"Renew it, {THEN}"),
    ],
)
def test_ones_own_is_told_of_and_left_alone(
    home: Path, tmp_path: Path, days: int, told: str, outcome: str, fix: str
) -> None:
    cert, key = own(tmp_path / "own", days)
    with door(home, tls_cert=cert, tls_key=key) as front:
        first, end = served(front), datetime.now(UTC) + timedelta(days=days)
        gateway.keep_certificate(NAME)
        assert served(front) == first
        assert f"TLS:      until {end:%Y-%m-%d}; {told}\n" in shown(gateway.status(NAME))
        assert checks() == [(outcome, 0, fix)]


def test_one_that_has_ended_stands_in_the_way(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cert, key = own(tmp_path / "own", 5)
    with door(home, tls_cert=cert, tls_key=key):
        real = gateway.status(NAME)
        ended = real.model_copy(update={"certificate_ends_at": datetime(2026, 1, 2, tzinfo=UTC)})
        monkeypatch.setattr(gateway, "status", lambda name: ended)
        (check,) = of_certificate(NAME)
        assert (check.outcome, check.exit_code, check.found) == ("failed", 7, "it ended on 2026-01-02")
    assert list(of_certificate("nobody")) == []
