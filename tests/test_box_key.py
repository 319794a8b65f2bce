"""The key's way from a rented box to a file here and on to the requests, through Session Manager and its tunnel."""

import json
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import fake_aws_cli
import pytest
from fake_rented_box import KEY
from renting import START, an_order

from deploy.targets.deployment import Deployment, folder, make
from deploy.targets.ec2 import tunnels
from infra.aws import session
from infra.errors import AuthError, HostError
from infra.ports import free_port
from infra.rented import Rented
from serving.sizing.size import answer_for
from serving.sizing.size_options import Options
from serving.vllm import client


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tunnels: None) -> Path:
    """How Session Manager was called: a line a call."""
    monkeypatch.setenv("PATH", f"{fake_aws_cli.installed(tmp_path)}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_AWS_LOG", str(tmp_path / "aws.log"))
    monkeypatch.setenv("FAKE_MODEL", "scout")
    return tmp_path / "aws.log"


@pytest.fixture
def deployment() -> Iterator[Deployment]:
    """One that is rented; its tunnel ends with the test."""
    plan = answer_for("scout", "int4", "g5.12xlarge", Options())
    serve = plan.serve.model_copy(update={"served_model_name": "scout"})
    made = make(plan.model_copy(update={"serve": serve}), "ec2", "t1")
    folder("t1").mkdir(parents=True)
    yield made
    session.close_tunnel(folder("t1") / "tunnel.json")


def machine(instance_id: str = "i-1") -> Rented:
    return Rented(
        instance_id=instance_id,
        deployment="t1",
        region="us-east-1",
        zone="us-east-1a",
        instance_type="g5.12xlarge",
        purchase="on-demand",
        state="running",
        launched_at=START,
    )


def documents(log: Path) -> list[str]:
    """The documents of the sessions that were started, in order."""
    calls = [json.loads(line) for line in log.read_text().splitlines()]
    return [call[call.index("--document-name") + 1] for call in calls]


COMMAND, TUNNEL = "AWS-StartNonInteractiveCommand", "AWS-StartPortForwardingSession"


def test_the_key_comes_from_the_box_once_and_opens_the_server_behind_the_tunnel(
    log: Path, deployment: Deployment
) -> None:
    found = tunnels.endpoint(deployment, an_order(), machine())
    path = folder("t1") / "api-key-i-1"
    assert (found.api_key_file, found.served_model_name) == (path, "scout")
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == (f"{KEY}\n", 0o600)
    assert client.canary(found, 10).completion_tokens == 1
    assert tunnels.endpoint(deployment, an_order(), machine()) == found
    assert documents(log) == [TUNNEL, COMMAND]
    assert KEY not in log.read_text()
    assert "sudo cat /opt/corral/t1/secrets.env" in log.read_text()

    path.write_text("of another server\n")
    with pytest.raises(AuthError):
        client.canary(found, 10)


def test_the_key_of_one_box_is_not_that_of_the_next(log: Path, deployment: Deployment) -> None:
    first = tunnels.key_file(deployment, an_order(), machine("i-1"))
    assert tunnels.key_file(deployment, an_order(), machine("i-2")) == folder("t1") / "api-key-i-2"
    assert first == folder("t1") / "api-key-i-1"
    assert documents(log) == [COMMAND, COMMAND]


def test_a_box_that_has_made_no_key_yet_leaves_no_file(
    log: Path, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_NO_KEY", "1")
    with pytest.raises(HostError, match="i-1 has no key for its server yet"):
        tunnels.key_file(deployment, an_order(), machine())
    assert list(folder("t1").glob("api-key*")) == []


def test_the_next_free_port_is_taken(deployment: Deployment) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert port < free_port(port) < port + 100


def test_a_port_that_is_given_to_another_is_passed_over() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        after = free_port(port)
        assert after < free_port(port, {after}) < port + 100
