"""Where a machine is rented: never where nobody said."""

import json
from pathlib import Path
from typing import Any

import pytest

from deploy.cli.main import run


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_REGION")


def planned(folder: Path, *options: str) -> str:
    """The path of a plan that was asked for with these options."""
    path = str(folder / "plan.json")
    assert run(["size", "scout", "--precision", "int4", "--on", "g5.12xlarge", *options, "-o", path]) == 0
    return path


def profile(folder: Path, monkeypatch: pytest.MonkeyPatch, region: str) -> None:
    """An AWS configuration whose profile `work` has a region."""
    (folder / "config").write_text(f"[profile work]\nregion = {region}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(folder / "config"))
    monkeypatch.setenv("AWS_PROFILE", "work")


def regions(capsys: pytest.CaptureFixture[str], *command: str) -> tuple[int, set[str]]:
    """Where every request of a dry run goes, but those to services that are in one place for all."""
    capsys.readouterr()
    code = run([*command, "--target", "ec2", "--dry-run", "--json"])
    out = capsys.readouterr().out
    asked: list[dict[str, Any]] = json.loads(out) if code == 0 else []
    return code, {one["region"] for one in asked if one["service"] not in ("iam", "pricing")}


def test_a_plan_for_a_region_is_rented_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where corral has no price for it, too; and whatever the environment says."""
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    assert regions(capsys, "provision", planned(tmp_path, "--region", "eu-central-1")) == (
        0,
        {"eu-central-1"},
    )
    assert regions(capsys, "provision", planned(tmp_path, "--region", "us-east-2")) == (0, {"us-east-2"})


def test_the_users_word_goes_before_the_plans(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = planned(tmp_path, "--region", "eu-central-1")
    assert regions(capsys, "provision", path, "--region", "eu-west-1") == (0, {"eu-west-1"})


def test_a_plan_for_no_region_is_rented_where_aws_is_configured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its price is us-east-1's all the same: where a price is from is no wish."""
    path = planned(tmp_path)
    profile(tmp_path, monkeypatch, "eu-west-1")
    assert regions(capsys, "provision", path) == (0, {"eu-west-1"})
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-2")
    assert regions(capsys, "provision", path) == (0, {"eu-west-2"})
    monkeypatch.setenv("AWS_REGION", "eu-west-3")
    assert regions(capsys, "provision", path) == (0, {"eu-west-3"})


def test_where_nobody_names_a_region_nothing_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = planned(tmp_path)
    assert regions(capsys, "provision", path) == (2, set())
    assert run(["export", path, "--to", "terraform", "-o", str(tmp_path / "tf")]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "error: No AWS region is named: where a machine stands is not for corral to choose.",
        "hint: Say it: --region us-east-1; or set AWS_REGION, or the profile's: aws configure set region "
        "us-east-1",
    ]
    assert not (tmp_path / "tf").exists()
    profile(tmp_path, monkeypatch, "eu-central-9")
    assert regions(capsys, "provision", path) == (2, set())
    monkeypatch.setenv("AWS_PROFILE", "play")
    assert regions(capsys, "provision", path) == (5, set())


def test_terraform_stands_where_the_plan_was_asked_for(tmp_path: Path) -> None:
    path = planned(tmp_path, "--region", "eu-central-1")
    assert run(["export", path, "--to", "terraform", "-o", str(tmp_path / "tf")]) == 0
    stack = json.loads((tmp_path / "tf" / "main.tf.json").read_text())
    assert stack["provider"] == {"aws": {"region": "eu-central-1"}}
