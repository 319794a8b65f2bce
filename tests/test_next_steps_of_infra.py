"""What is told, and what to do next, of what goes wrong at a door: sentences that nothing else compares whole."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from infra import archive, egress_rules, facts, host, ssh
from infra.aws import bucket, capacity_blocks, session
from infra.errors import CorralError, DocumentError, HostError, UsageError
from infra.fetch import authorities, layouts
from infra.fetch.__main__ import fetched

PLUGIN = "https://docs.aws.amazon.com/systems-manager/latest/userguide/session-manager-working-with-install-plugin.html"
Told = tuple[type[CorralError], str, str | None]

ERRORS: dict[str, tuple[CorralError, Told]] = {
    "a session without an end": (
        session.unanswered("i-1"),
        (HostError, "Session Manager on i-1 did not answer.", "Try again in a minute."),
    ),
    "no session": (
        session.unreached("i-1", "\n first \n", " why.\n \n"),
        (
            HostError,
            "Session Manager does not reach i-1: why.",
            "The box may still start; else check that its subnet reaches the endpoints ssm and ssmmessages.",
        ),
    ),
    "no plugin": (
        session.lacks(("aws", "session-manager-plugin")),
        (
            HostError,
            "Session Manager needs aws and session-manager-plugin on this machine.",
            f"Install the AWS CLI and the plugin: {PLUGIN}",
        ),
    ),
    "a full disk": (
        layouts.refused(OSError(28, "No space left on device"), Path("/m")),
        (
            HostError,
            "The weights cannot be written to /m: No space left on device.",
            "What came is kept. Make room or choose a larger disk (df -h), look whose it is (ls -ld), and run it "
            "again.",
        ),
    ),
}

REFUSALS: dict[str, tuple[Callable[[], object], Told]] = {
    "a whole bucket": (
        lambda: bucket.place_of("s3://models"),
        (UsageError, "--to 's3://models' is no folder in a bucket.", "It looks like s3://bucket/scout/"),
    ),
    "another currency": (
        lambda: capacity_blocks.offering({"CurrencyCode": "CNY"}, "cn-north-1"),
        (UsageError, "AWS offers it in CNY.", "Buy it in the console."),
    ),
    "a peer that is no address": (
        lambda: host.join_command("scout", 1, ("10.0.0.5", "fe80::1%eth0")),
        (
            HostError,
            "'fe80::1%eth0' is no address that a host can have.",
            "Nothing was started. Name each host by its IP address, --host ops@10.0.0.5, or give it one as HostName in "
            "~/.ssh/config.",
        ),
    ),
    "a host that is none": (
        lambda: ssh.checked_destination("-oProxyCommand=x"),
        (
            UsageError,
            "'-oProxyCommand=x' is not a host that ssh can reach.",
            "Give gpu-1, ubuntu@gpu-1 or a name from ~/.ssh/config.",
        ),
    ),
    "facts of something else": (
        lambda: facts.parse("hello\n"),
        (
            HostError,
            "What the host says about itself cannot be read ('REASON').",
            "It must be Linux with a POSIX shell, awk and /proc; look at it: uname -a",
        ),
    ),
    "rules of something else": (
        lambda: egress_rules.loaded("{}"),
        (HostError, "What nft says of the lock cannot be read.", "See it there: nft --json list ruleset"),
    ),
    "a branch": (
        lambda: fetched("a/b", "main", Path("/m"), ""),
        (
            UsageError,
            "main is no commit.",
            "A branch may move: name the commit, 40 letters of 0-9 and a-f.",
        ),
    ),
}


@pytest.mark.parametrize("case", ERRORS)
def test_an_error_has_its_sentence_and_its_next_step(case: str) -> None:
    error, told = ERRORS[case]
    assert (type(error), error.message, error.hint) == told


@pytest.mark.parametrize("case", REFUSALS)
def test_a_refusal_has_its_sentence_and_its_next_step(case: str) -> None:
    do, (kind, message, hint) = REFUSALS[case]
    with pytest.raises(CorralError) as error:
        do()
    found = error.value
    begin, _, end = message.partition("REASON")
    assert (type(found), found.message[: len(begin)], found.hint) == (kind, begin, hint)
    assert found.message.endswith(end)


def test_certificates_that_are_none_are_told_with_where_they_are_named(tmp_path: Path) -> None:
    (tmp_path / "none.pem").write_text("no certificate\n")
    for name, why in (("none.pem", ""), ("nowhere.pem", "No such file or directory")):
        with pytest.raises(CorralError) as error:
            authorities.trusting(str(tmp_path / name))
        assert error.value.message.startswith(f"{tmp_path / name} holds no certificates: {why}")
        assert error.value.hint == "Look at REQUESTS_CA_BUNDLE and SSL_CERT_FILE."


def test_an_archive_that_must_not_be_unpacked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    member = SimpleNamespace(name="../a")
    monkeypatch.setattr(archive, "members", lambda _: iter([(member, iter(()))]))
    monkeypatch.setattr(archive, "Judge", lambda _: SimpleNamespace(why_not=lambda _: "leads out"))
    stream: Any = None
    with pytest.raises(DocumentError) as error:
        archive.extract(stream, tmp_path / "into", ())
    assert (error.value.message, error.value.hint) == (
        "The archive must not be unpacked: '../a' leads out.",
        "Have it made and brought again.",
    )
