"""--offline: one switch, one refusal, and not a single packet to anybody the user did not name."""

import json
import socket
from pathlib import Path
from typing import NoReturn

import pytest

from deploy.cli.main import run
from infra.offline import VARIABLE
from serving.vllm import engine


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials are there and every socket is forbidden: what is refused, is refused before."""

    def refused(*args: object, **kwargs: object) -> NoReturn:
        raise AssertionError("offline, and yet a socket was asked for")

    for door in ("socket.connect", "getaddrinfo"):
        monkeypatch.setattr(f"socket.{door}", refused)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv(VARIABLE, "")  # so that what a command sets is put back


@pytest.fixture
def plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    path = tmp_path / "plan.json"
    assert (
        run(["--offline", "size", "scout", "--on", "g5.12xlarge", "--precision", "int4", "-o", str(path)])
        == 0
    )
    capsys.readouterr()
    return str(path)


@pytest.mark.parametrize(
    ("command", "whom"),
    [
        (["size", "some/body", "--on", "8xH100"], "the model hub about some/body"),
        (["provision", "PLAN", "--target", "ec2", "--yes"], "AWS"),
        (["provision", "PLAN", "--target", "ssh", "--host", "gpu-1", "--yes"], "the model hub for "),
        (["down", "scout", "--target", "ec2"], "AWS"),
        (["reap"], "AWS"),
        (["capacity-block", "list", "p5.48xlarge"], "AWS"),
        (["capacity-block", "buy", "p5.48xlarge", "cb-0123456789abcdef0", "--yes-i-pay", "1"], "AWS"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value[:3]),
)
def test_what_would_ask_the_internet_is_refused_before_it_does(
    command: list[str], whom: str, plan: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = [plan if word == "PLAN" else word for word in command]
    assert run(["--offline", *words, "--json"]) == 2
    said = capsys.readouterr()
    assert said.err.splitlines()[-2].startswith(f"error: This would ask {whom}")
    assert json.loads(said.out)["error"]["exit_code"] == 2
    assert not (tmp_path / "corral-home").exists()


@pytest.mark.parametrize("value", ["1", "true"])
def test_the_variable_is_the_same_switch(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, value)
    assert run(["reap"]) == 2


def test_what_needs_nobody_works_offline(plan: str) -> None:
    for command in (
        ["size", "maverick"],
        ["provision", plan, "--target", "ec2", "--dry-run"],
        ["capacity", "scout", "--requests-per-s", "1"],
        ["claude-cost", "--model", "haiku-5.5", "--input-tokens", "10", "--output-tokens", "10"],
        ["compare", "--plan", plan],
        ["iam-policy"],
        ["status"],
        ["schema", "size"],
    ):
        assert run(["--offline", *command]) == 0, command


def test_the_engines_installer_is_kept_off_the_network_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "bundle", lambda: "")
    assert "UV_OFFLINE" not in engine.uv_environment({})
    monkeypatch.setenv(VARIABLE, "1")
    assert engine.uv_environment({"UV_FIND_LINKS": "/wheels"}) == {
        "UV_FIND_LINKS": "/wheels",
        "UV_OFFLINE": "1",
    }


def test_the_guard_would_notice() -> None:
    with pytest.raises(AssertionError, match="offline, and yet"):
        socket.create_connection(("127.0.0.1", 9))
