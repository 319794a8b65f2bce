"""`down` of a name that nothing has: it proves nothing of what was meant, so what else stands there is named."""

import json
import shutil
from pathlib import Path

import pytest
from fake_aws import FakeAws
from test_ec2_account import aws, rented  # noqa: F401

from deploy.cli.main import run
from deploy.targets.deployment import folder, home

ASKED = ["down", "scout", "--target", "ec2", "--region", "us-east-1"]


@pytest.fixture
def elsewhere(aws: FakeAws, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> FakeAws:  # noqa: F811
    """An account with a machine that was rented from another laptop."""
    rented(tmp_path)
    shutil.rmtree(home())
    capsys.readouterr()
    return aws


def test_the_machine_of_a_near_name_is_named_and_nothing_is_said_to_be_gone(
    elsewhere: FakeAws, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the name that was meant."""
    there = elsewhere.live()
    assert run(ASKED) == 0
    *counts, nothing, others = capsys.readouterr().out.splitlines()
    assert {line.split()[1] for line in counts} == {"0"}
    assert nothing == "Nothing called scout was found in account 123456789012: nothing was taken away."

    assert others.startswith("there is: t1 in us-east-1: i-")
    assert others.endswith(" (corral down t1 --target ec2)")
    assert ", g5.12xlarge, running, until 2" in others
    assert elsewhere.live() == there
    assert run([*ASKED, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["found"], said["left"], said["others"]) == (False, [], [others.removeprefix("there is: ")])
    assert run(["down", "t1", "--target", "ec2", "--region", "us-east-1", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert ("found" in said, "others" in said, elsewhere.live()) == (False, False, [])


def test_what_a_machine_left_behind_is_named_too_and_an_empty_account_is_said_to_be_empty(
    elsewhere: FakeAws, capsys: pytest.CaptureFixture[str]
) -> None:
    for one in elsewhere.regions["us-east-1"].instances.values():
        one["ended"] = elsewhere.clock() - 600
    assert run(ASKED) == 0
    assert "there is: t1 in us-east-1: security-group" in capsys.readouterr().out
    assert run(["down", "t1", "--target", "ec2", "--region", "us-east-1"]) == 0
    said = capsys.readouterr()
    assert "Nothing of t1 is left in account" in said.out
    removed = [line for line in said.err.splitlines() if "removed" in line]
    assert len(removed) == len(set(removed)) > 0, "each thing once, however many steps it took"
    assert run(ASKED) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "Nor is anything else of corral's there."


def test_a_deployment_that_was_known_here_is_left_nothing_of(
    aws: FakeAws,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rented(tmp_path)
    assert run(["down", "t1"]) == 0
    assert folder("t1").joinpath("ledger.jsonl").exists()
    capsys.readouterr()
    assert run(["down", "t1", "--target", "ec2"]) == 0  # its ledger tells where it was
    assert "Nothing of t1 is left in account 123456789012." in capsys.readouterr().out
