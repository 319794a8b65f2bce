"""Whose account: named once, kept with the deployment, and nothing is said to be gone that another account holds."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from fake_aws import ACCOUNT, FakeAws
from renting import fresh

from deploy.cli.main import fronted, run
from deploy.targets.deployment import folder
from deploy.targets.ec2 import documents
from infra.aws.api import Aws

OTHER = "210987654321"


@pytest.fixture
def aws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeAws:
    """The account that every profile but `other` leads to."""
    aws, clock = fresh()
    # What --profile does to the environment is undone after the test.
    for name in ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)

    config = tmp_path / "aws-config"
    config.write_text("[profile work]\n[profile other]\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))

    def door(transport: Any, ledger: Any = None, **options: Any) -> Aws:
        return Aws(transport, ledger, sleep=clock.sleep, clock=clock, **options)

    def transport() -> FakeAws:
        aws.account = OTHER if os.environ.get("AWS_PROFILE") == "other" else ACCOUNT
        return aws

    monkeypatch.setattr(documents, "Aws", door)
    monkeypatch.setattr(documents, "Boto", transport)
    return aws


def rented(plan_folder: Path, *options: str) -> list[str]:
    """Have one machine for a plan; the arguments that asked for it."""
    plan = str(plan_folder / "plan.json")
    assert run(["size", "scout", "--precision", "int4", "--on", "g5.12xlarge", "-o", plan]) == 0
    asked = ["provision", plan, "--target", "ec2", "--name", "t1", "--yes"]
    assert run([*asked, *options]) == 0
    return asked


def test_the_profile_stands_in_the_order_and_is_used_again(
    aws: FakeAws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rented(tmp_path, "--profile", "work")
    order = json.loads((folder("t1") / "order.json").read_bytes())
    assert (order["account"], order["profile"], os.environ["AWS_PROFILE"]) == (ACCOUNT, "work", "work")
    monkeypatch.delenv("AWS_PROFILE")
    capsys.readouterr()
    assert run(["down", "t1", "--json"]) == 0
    assert (json.loads(capsys.readouterr().out)["account"], aws.live()) == (ACCOUNT, [])
    assert os.environ["AWS_PROFILE"] == "work"


def test_keys_in_the_environment_go_before_the_profile_of_the_order(
    aws: FakeAws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rented(tmp_path, "--profile", "work")
    monkeypatch.delenv("AWS_PROFILE")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA")
    assert run(["down", "t1"]) == 0
    assert "AWS_PROFILE" not in os.environ


@pytest.mark.parametrize("verb", ["down", "up"])
def test_another_account_is_refused_and_nothing_is_forgotten(
    verb: str, aws: FakeAws, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = rented(tmp_path, "--profile", "work")
    there = aws.live()
    capsys.readouterr()
    words = asked if verb == "up" else ["down", "t1"]
    assert run([*words, "--profile", "other"]) == 5
    assert capsys.readouterr().err.splitlines()[-2:] == [
        f"error: 't1' stands in AWS account {ACCOUNT}; these credentials are of {OTHER}.",
        "hint: Use those of that account: --profile work",
    ]
    assert aws.live() == there
    assert run(["down", "t1", "--profile", "work"]) == 0
    assert "Nothing of t1 is left in account 123456789012." in capsys.readouterr().out


def test_an_account_that_cannot_be_asked_for_keeps_nobody_from_taking_away(
    aws: FakeAws, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rented(tmp_path)
    aws.silent = {"sts"}
    assert run(["down", "t1"]) == 0
    assert (aws.live(), "Nothing of t1 is left." in capsys.readouterr().out) == ([], True)


def test_a_default_region_that_is_not_enabled_keeps_nobody_from_taking_away(
    aws: FakeAws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rented(tmp_path)
    monkeypatch.setenv("AWS_REGION", "us-west-2")
    aws.denied = {"us-west-2/sts:GetCallerIdentity"}
    assert run(["down", "t1"]) == 0
    assert "Nothing of t1 is left in account 123456789012." in capsys.readouterr().out
    assert aws.live() == []


def test_a_profile_means_what_it_says_whatever_keys_there_are(
    aws: FakeAws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    rented(tmp_path, "--profile=work")
    assert {
        name: os.environ.get(name) for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE")
    } == {
        "AWS_ACCESS_KEY_ID": None,
        "AWS_SECRET_ACCESS_KEY": None,
        "AWS_PROFILE": "work",
    }


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["up", "scout", "--profile", "a", "--yes"], ["--profile", "a", "up", "scout", "--yes"]),
        (["--offline", "size", "scout"], ["--offline", "size", "scout"]),
        (["size", "scout", "--offline", "--profile=a"], ["--offline", "--profile=a", "size", "scout"]),
        (["ssh", "t1", "--", "--profile", "a"], ["ssh", "t1", "--", "--profile", "a"]),
        (["down", "t1", "--profile"], ["--profile", "down", "t1"]),
    ],
)
def test_what_is_corrals_own_may_stand_anywhere(typed: list[str], meant: list[str]) -> None:
    front, rest = fronted(typed)
    assert [*front, *rest] == meant


def test_a_profile_that_does_not_exist_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "undone after the test")
    for words in (["down", "t1", "--target", "ec2"], ["reap"], ["prices", "--refresh"]):
        code = run([*words, "--profile", "nobody"])
        error = capsys.readouterr().err
        assert (code, error.splitlines()[-2]) == (
            5,
            "error: The AWS configuration cannot be used: The config profile (nobody) could not be found.",
        )


def test_a_profile_without_a_name_is_refused(aws: FakeAws, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["down", "t1", "--profile", ""]) == 2
    assert (
        capsys.readouterr().err.splitlines()[-1] == "hint: See which there are: aws configure list-profiles"
    )
