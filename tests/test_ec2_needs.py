"""What is asked for wrongly is told before what is missing, and all that is missing at once."""

import os
from pathlib import Path

import pytest

from deploy.cli.main import run

NO_KEYS = "No AWS credentials were found: not in the environment, ~/.aws, or a role of this machine."
NO_TOOLS = "Session Manager needs aws and session-manager-plugin on this machine."


@pytest.fixture(autouse=True)
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with nothing on it."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    (tmp_path / "bin").mkdir()


@pytest.fixture
def plan(tmp_path: Path) -> str:
    path = str(tmp_path / "plan.json")
    assert run(["size", "scout", "--precision", "int4", "--on", "g5.12xlarge", "-o", path]) == 0
    return path


def told(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    capsys.readouterr()
    code = run(["up", *words, "--target", "ec2"])
    return code, capsys.readouterr().err.splitlines()[-2]


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (["--ttl", "soon"], "error: --ttl soon is no time limit between 10 minutes and 30 days."),
        (["--region", "us-est-1"], "error: 'us-est-1' is not a region of AWS."),
        (
            ["--cidr", "here"],
            "error: --cidr here is no network: 'here' does not appear to be an IPv4 or IPv6 network.",
        ),
        (
            ["--zone", "eu-west-1a"],
            "error: The zone eu-west-1a is in none of the regions that are tried: us-east-1.",
        ),
        (["--purchase", "capacity-block"], "error: A capacity block is bought before it is used."),
        (["--instance-type", "g5.13xlarge"], "error: "),
        (["--weights", "s3:/x"], "error: --weights 's3:/x' cannot be right."),
        (["--tag", "no value"], "error: "),
        (["--name", "No Name"], "error: 'No Name' cannot be the name of a deployment."),
    ],
)
def test_what_cannot_be_meant_is_told_first(
    wrong: list[str], error: str, plan: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = told(capsys, plan, *wrong)
    assert (code, said[: len(error)]) == (2, error)
    assert "Session Manager" not in said


def test_all_that_is_missing_is_told_at_once(
    plan: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert told(capsys, plan) == (5, f"error: {NO_KEYS} {NO_TOOLS}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    assert told(capsys, plan) == (11, f"error: {NO_TOOLS}")
    for name in ("aws", "session-manager-plugin"):
        (tmp_path / "bin" / name).write_text("#!/bin/sh\n")
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    assert told(capsys, plan) == (5, f"error: {NO_KEYS}")
    assert not (Path(os.environ["CORRAL_HOME"]) / "scout-int4").exists()


def test_a_machine_is_rented_without_session_manager(plan: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Only what is to serve next needs it; without credentials AWS is not even asked."""
    capsys.readouterr()
    assert run(["provision", plan, "--target", "ec2", "--yes"]) == 5
    assert capsys.readouterr().err.splitlines()[-2] == f"error: {NO_KEYS}"


@pytest.mark.parametrize(
    ("config", "error"),
    [
        (
            "[profile p]\nrole_arn = arn:aws:iam::123456789012:role/r\nsource_profile = q\n"
            "[profile q]\nrole_arn = arn:aws:iam::123456789012:role/r\nsource_profile = p\n",
            "error: The AWS configuration cannot be used: Infinite loop in credential configuration detected.",
        ),
        (
            "[profile p]\ncredential_process = /bin/false\n",
            "error: What should give the AWS credentials did not: Error when retrieving credentials from",
        ),
    ],
)
def test_credentials_that_cannot_be_had_are_told_as_what_they_are(
    config: str,
    error: str,
    plan: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "config").write_text(config)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_PROFILE", "p")
    code, said = told(capsys, plan)
    assert (code, said[: len(error)]) == (5, error)
