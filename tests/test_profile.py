"""Whose AWS account is meant, by the environment."""

import os

import pytest

from infra.aws import profile
from infra.errors import UsageError


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_PROFILE", *profile.KEYS):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("variables", "named", "is_chosen"),
    [
        ({}, "", False),
        ({"AWS_ACCESS_KEY_ID": "x"}, "", True),
        ({"AWS_SECRET_ACCESS_KEY": "x"}, "", False),
        ({"AWS_DEFAULT_PROFILE": "d"}, "d", True),
        ({"AWS_DEFAULT_PROFILE": "d", "AWS_PROFILE": "p"}, "p", True),
        ({"AWS_PROFILE": ""}, "", False),
    ],
)
def test_whose_account_is_meant(
    variables: dict[str, str], named: str, is_chosen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert (profile.named(), profile.is_chosen()) == (named, is_chosen)


def test_a_profile_that_is_used_is_meant_whatever_keys_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    names = (
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_DEFAULT_PROFILE",
        "AWS_REGION",
    )
    for name in (*names, "AWS_PROFILE"):
        monkeypatch.setenv(name, "x")
    profile.use("my own")
    assert {name: os.environ.get(name) for name in names} == dict.fromkeys(names) | {"AWS_REGION": "x"}
    assert profile.named() == "my own"


@pytest.mark.parametrize("name", ["", " \t"])
def test_a_name_of_nothing_is_refused_and_changes_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    with pytest.raises(UsageError) as error:
        profile.use(name)
    assert (error.value.message, error.value.hint, os.environ["AWS_ACCESS_KEY_ID"]) == (
        "--profile names no profile.",
        "See which there are: aws configure list-profiles",
        "x",
    )
