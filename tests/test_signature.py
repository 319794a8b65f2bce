"""What ssh-keygen is asked, and what its answers mean; it is the real one in test_bundle_signed."""

import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from infra import signature
from infra.bounded_process import TooMuch
from infra.errors import CorralError, DocumentError, HostError

MIB = 1024 * 1024


class Keygen:
    """Answers what it is told to, and keeps what it was asked."""

    def __init__(self, code: int = 0, out: bytes = b"", err: bytes = b"") -> None:
        self.answer = subprocess.CompletedProcess[bytes]([], code, out, err)
        self.asked: list[tuple[Any, ...]] = []

    def __call__(self, *words: Any) -> "subprocess.CompletedProcess[bytes]":
        self.asked.append(words)
        return self.answer


def said_of(error: CorralError) -> tuple[type[CorralError], str, str | None]:
    return type(error), error.message, error.hint


def test_a_signature_is_made_for_one_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    keygen = Keygen(out=b"-----BEGIN SSH SIGNATURE-----\n")
    monkeypatch.setattr(signature, "answered", keygen)
    assert signature.sign(b"data", Path("/k/my key"), "corral-x") == "-----BEGIN SSH SIGNATURE-----\n"
    words = ["ssh-keygen", "-Y", "sign", "-f", "/k/my key", "-n", "corral-x"]
    assert keygen.asked == [(words, b"data", 120.0, MIB)]
    assert signature.beside(Path("/b/manifest.json")) == Path("/b/manifest.json.sig")


def test_a_key_that_signs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signature, "answered", Keygen(255, err=b"Load key:\n bad \xff passphrase\n"))
    with pytest.raises(HostError) as error:
        signature.sign(b"data", Path("/k/my key"), "corral-x")
    assert said_of(error.value) == (
        HostError,
        "ssh-keygen did not sign with /k/my key: Load key: bad \N{REPLACEMENT CHARACTER} passphrase",
        "Try the key by hand: ssh-keygen -y -f '/k/my key'",
    )


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A signature, and whose is allowed."""
    for name in ("a file.sig", "allowed"):
        (tmp_path / name).write_text("x")
    return tmp_path / "a file.sig", tmp_path / "allowed"


def test_whose_a_good_one_is(files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    signed, allowed = files
    keygen = Keygen(out=b'Good "corral-x" signature for ops@bank\n with ED25519 key\n')
    monkeypatch.setattr(signature, "answered", keygen)
    at = datetime(2026, 11, 30, 11, 13, 5, tzinfo=UTC)
    for when in (None, at):
        said = signature.verified(b"data", signed, allowed, "ops@bank", "corral-x", when)
        assert said == 'Good "corral-x" signature for ops@bank with ED25519 key'
    words = [
        "ssh-keygen",
        "-Y",
        "verify",
        "-f",
        str(allowed),
        "-I",
        "ops@bank",
        "-n",
        "corral-x",
        "-s",
        str(signed),
    ]
    then = f"-Overify-time={at.astimezone():%Y%m%d%H%M%S}"
    assert keygen.asked == [(words, b"data", 120.0, MIB), ([*words, then], b"data", 120.0, MIB)]


@pytest.mark.parametrize(
    ("out", "err", "why"),
    [(b"Could not\nverify.\n", b"", "Could not verify."), (b"out", b"no \xff", "no \ufffd")],
)
def test_another_is_none(
    out: bytes, err: bytes, why: str, files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    signed, allowed = files
    monkeypatch.setattr(signature, "answered", Keygen(1, out, err))
    with pytest.raises(DocumentError) as error:
        signature.verified(b"data", signed, allowed, "ops@bank", "corral-x")
    assert said_of(error.value) == (
        DocumentError,
        f"{signed} is no signature of that file by ops@bank, as {allowed} has it: {why}",
        f"See whose it is: ssh-keygen -Y find-principals -f {allowed} -s '{signed}'",
    )


@pytest.mark.parametrize(
    ("missing", "hint"),
    [(1, "Check the path: ls -l {0}"), (0, "Copy it again, beside what it signs: 'a file.sig'")],
)
def test_a_file_that_is_not_there(
    missing: int, hint: str, files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    keygen = Keygen()
    monkeypatch.setattr(signature, "answered", keygen)
    files[missing].unlink()
    with pytest.raises(DocumentError) as error:
        signature.verified(b"data", *files, "ops@bank", "corral-x")
    assert str(files[missing]) in error.value.message
    assert (error.value.hint, keygen.asked) == (hint.format(files[0].parent), [])


@pytest.mark.parametrize("failure", [TooMuch(), subprocess.TimeoutExpired("ssh-keygen", 120)])
def test_a_program_without_an_end(failure: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def answered(*_: object) -> None:
        raise failure

    monkeypatch.setattr(signature, "answered", answered)
    with pytest.raises(HostError) as error:
        signature.sign(b"data", Path("k"), "n")
    assert said_of(error.value) == (
        HostError,
        "ssh-keygen does not end.",
        "Try it by hand: ssh-keygen -Y sign -h",
    )


def test_a_time_that_no_clock_shows_is_one_that_ssh_keygen_refuses() -> None:
    assert signature.clock_of(datetime.min) == "never"
    noon = datetime(2026, 11, 30, 12, 0, 5).astimezone()
    assert signature.clock_of(noon) == "20261130120005"
