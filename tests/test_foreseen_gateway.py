"""`corral gateway PLAN --dry-run`: what a gateway would be before there is a deployment; nothing is made."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from deploy.cli.main import run
from deploy.gateway import certificates, haproxy
from deploy.gateway.foreseen_gateway import ForeseenGateway
from infra.aws import session
from infra.errors import HostError
from infra.ssh import Host

REALLY_TAKEN = haproxy.refuse_taken
PLAN = str(Path(__file__).parent / "data" / "compare" / "plan.json")
LISTEN = ["--host", "0.0.0.0", "--port", "18443", "--tls-name", "llm.example"]
PATHS = (
    "/v1/completions /v1/chat/completions /v1/responses /v1/messages /v1/messages/count_tokens /v1/models; each with a "
    "key, /health without one, and no other path"
)


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine with all programs, and a home without anything."""
    monkeypatch.setenv("CORRAL_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(haproxy, "found", lambda: "/usr/sbin/haproxy")
    monkeypatch.setattr(haproxy, "refuse_taken", lambda host, port: None)
    monkeypatch.setattr(certificates, "openssl", lambda: "/usr/bin/openssl")
    monkeypatch.setattr(session, "require_plugin", lambda: None)


def test_a_plan_says_what_its_gateway_would_be_and_nothing_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["gateway", PLAN, *LISTEN, "--tokens-per-month", "5M", "--dry-run"]) == 0
    assert " ".join(capsys.readouterr().out.split()) == " ".join(
        f"""
        scout-int4 has no gateway yet; this one would answer at https://llm.example:18443. Nothing is started.
        listens: 0.0.0.0 port 18443, an authority of corral's own, for llm.example, renewed every 90 days; clients
        trust its ca.pem
        in front of: 1 server of llama-4-scout
        lets through: {PATHS}
        keys: none yet; one for each person, 600 requests a minute, 64 at once, 5,000,000 tokens a month unless it says
        otherwise
        needs: HAProxy 2.6 or newer, with Lua: /usr/sbin/haproxy
        needs: port 18443 of 0.0.0.0: is free
        needs: openssl: /usr/bin/openssl
        needs: the AWS CLI and its session-manager-plugin: are here
        Next: corral up {PLAN} && corral gateway scout-int4 --host 0.0.0.0 --port 18443 --tls-name llm.example
        --tokens-per-month 5000000 && corral keys add scout-int4 alice
        """.split()
    )
    assert not (tmp_path / "home").exists()


def test_what_it_lacks_is_said_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def lacks() -> str:
        raise HostError("HAProxy is not installed on this machine.", "sudo apt-get install haproxy")

    monkeypatch.setattr(haproxy, "found", lacks)
    monkeypatch.setattr(haproxy, "refuse_taken", REALLY_TAKEN)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert run(["gateway", PLAN, "--port", port, "--dry-run", "--json"]) == 0
    would = ForeseenGateway.model_validate(json.loads(capsys.readouterr().out))
    assert (would.base_url, would.certificate, would.asked.host) == (
        f"http://127.0.0.1:{port}",
        "",
        "127.0.0.1",
    )
    program, listening, *_ = would.needs
    assert (program.is_there, program.found, program.fix) == (
        False,
        "HAProxy is not installed on this machine.",
        "sudo apt-get install haproxy",
    )
    assert (listening.what, listening.is_there) == (f"port {port} of 127.0.0.1", False)


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (
            [PLAN, "--on-host", "gpu-1"],
            2,
            "This plan is for a machine that EC2 rents out, and gpu-1 is none.",
        ),
        (["nowhere.json"], 4, "There is no plan at nowhere.json."),
    ],
)
def test_no_plan_and_no_host_of_it_are_refused(
    words: list[str], code: int, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["gateway", *words, "--dry-run"]) == code
    assert capsys.readouterr().err.splitlines()[0] == f"error: {sentence}"


def test_one_on_a_host_of_yours_is_not_asked_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Host, "address", lambda self: "10.0.0.7")
    document: dict[str, Any] = json.loads(Path(PLAN).read_text())
    document["machine"] |= {"name": "4xA10G", "instance_type": None}
    (tmp_path / "own.json").write_text(json.dumps(document))
    assert run(["gateway", str(tmp_path / "own.json"), "--on-host", "gpu-1", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "would answer at https://10.0.0.7:8080." in out
    assert "needs:        HAProxy 2.6 or newer, with Lua, on gpu-1, which was not asked\n" in out
    assert "&& corral gateway scout-int4 --on-host gpu-1 && corral keys add scout-int4 alice" in out
