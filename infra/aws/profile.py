"""Whose account is meant: the profile of the AWS configuration, as the environment says it to us and what we start."""

import os

from infra.errors import UsageError

KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_DEFAULT_PROFILE")


def use(name: str) -> None:
    """Mean that profile, whatever keys the environment holds: here, and in what we start.

    Raises UsageError for a name of nothing or blanks.
    """
    if not name.strip():
        raise UsageError("--profile names no profile.", "See which there are: aws configure list-profiles")
    for key in KEYS:
        os.environ.pop(key, None)
    os.environ["AWS_PROFILE"] = name


def named() -> str:
    """The profile that is meant; empty where none is."""
    return os.environ.get("AWS_PROFILE") or os.environ.get("AWS_DEFAULT_PROFILE") or ""


def is_chosen() -> bool:
    """Whether the user says whose account is meant, by profile or by key."""
    return bool(named() or os.environ.get("AWS_ACCESS_KEY_ID"))
