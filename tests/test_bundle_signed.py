"""A bundle that is signed: whose it is, what is none, and what a repeated create leaves of an earlier signature."""

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from bundling import a_bundle, a_key, tree
from test_bundle_verify import restate

from deploy.bundle.signer import UNCHECKED, UNSIGNED
from deploy.cli.main import run
from deploy.targets.deployment import home
from infra.errors import HostError, UsageError

SIGNATURE = "manifest.json.sig"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bank's key, a stranger's, and the lists of whose signature counts: the bank's, and the bank's until 2025."""
    place = tmp_path_factory.mktemp("keys")
    public, _ = a_key(place / "ops"), a_key(place / "stranger")
    (place / "signers").write_text(f"ops@bank {public}")
    (place / "expired").write_text(f'ops@bank valid-before="20250101" {public}')
    return place


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory, keys: Path) -> Path:
    """A bundle that the bank signed."""
    return a_bundle(tmp_path_factory.mktemp("good"), sign_key=keys / "ops").folder


@pytest.fixture
def folder(good: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return shutil.copytree(good, tmp_path / "bundle")


def who(keys: Path, signers: str = "signers") -> list[str]:
    """By whom it must be signed."""
    return ["--allowed-signers", str(keys / signers), "--identity", "ops@bank"]


def said_of(public: Path) -> str:
    """What ssh-keygen says of a good signature."""
    done = subprocess.run(["ssh-keygen", "-lf", str(public)], capture_output=True, text=True, check=True)
    return f'Good "corral-bundle" signature for ops@bank with ED25519 key {done.stdout.split()[1]}'


def test_verify_and_install_say_whose_a_bundle_is(
    good: Path, keys: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for verb in ("verify", "install"):
        for words, wanted in ((who(keys), said_of(keys / "ops.pub")), ([], UNCHECKED)):
            assert run(["bundle", verb, str(good), *words, "--json"]) == 0
            assert json.loads(capsys.readouterr().out)["signature"] == wanted


def test_a_bundle_without_a_signature_is_said_to_be_unsigned_and_is_not_the_banks(
    folder: Path, keys: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / SIGNATURE).unlink()
    assert run(["bundle", "verify", str(folder)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == UNSIGNED
    for verb in ("verify", "install"):
        assert run(["bundle", verb, str(folder), *who(keys)]) == 4
        out, err = capsys.readouterr()
        assert (out, err.splitlines()[0]) == (
            "",
            f"error: The bundle in {folder} is not signed: it has no {SIGNATURE}.",
        )


def test_the_lines_of_its_readme_work_as_they_are_typed_with_signers_beside_the_folder(
    folder: Path, keys: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(keys / "signers", folder.parent)
    monkeypatch.chdir(folder)
    text = (folder / "README.txt").read_text()
    checksum, _ = subprocess.run(
        ["sha256sum", "manifest.json"], capture_output=True, text=True
    ).stdout.split()
    (with_ssh,) = re.findall("^ +(ssh-keygen .*)$", text, re.MULTILINE)
    done = subprocess.run(["sh", "-c", with_ssh], capture_output=True, text=True, check=True)
    assert done.stdout == f"{said_of(keys / 'ops.pub')}\n"
    (who_must,) = re.findall(r"--allowed-signers \S+ --identity \S+", text)
    lines = re.findall("^ +~/corral/bin/corral (bundle .*)$", text, re.MULTILINE)
    assert [line.split()[1] for line in lines] == ["verify", "install"]
    for line in lines:
        words = shlex.split(f"{line} {who_must}".replace("CHECKSUM", checksum))
        assert run(words) == 0, capsys.readouterr().err
        assert said_of(keys / "ops.pub") in capsys.readouterr().out


def by_a_stranger(folder: Path, keys: Path) -> None:
    signed(folder, keys / "stranger", "corral-bundle")


def as_something_else(folder: Path, keys: Path) -> None:
    signed(folder, keys / "ops", "corral-egress")


def signed(folder: Path, key: Path, namespace: str) -> None:
    """Sign it by hand."""
    (folder / SIGNATURE).unlink()
    command = [
        "ssh-keygen",
        "-q",
        "-Y",
        "sign",
        "-f",
        str(key),
        "-n",
        namespace,
        str(folder / "manifest.json"),
    ]
    subprocess.run(command, check=True, capture_output=True)


def of_another_manifest(folder: Path, keys: Path) -> None:
    restate(folder, corral_version="0.0.0")


def no_signature(folder: Path, keys: Path) -> None:
    (folder / SIGNATURE).write_text("good, says the stranger")


def linked(folder: Path, keys: Path) -> None:
    (folder / SIGNATURE).rename(folder.parent / "elsewhere")
    (folder / SIGNATURE).symlink_to(folder.parent / "elsewhere")


def a_pipe(folder: Path, keys: Path) -> None:
    (folder / SIGNATURE).unlink()
    os.mkfifo(folder / SIGNATURE)


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (by_a_stranger, "is no signature of that file by ops@bank, as "),
        (as_something_else, "is no signature of that file by ops@bank, as "),
        (of_another_manifest, "is no signature of that file by ops@bank, as "),
        (no_signature, "is no signature of that file by ops@bank, as "),
        (linked, "is not a file but a link or a special file."),
        (a_pipe, "is not a file but a link or a special file."),
    ],
)
def test_a_wrong_signature_is_refused_before_anything_is_installed(
    spoil: Callable[[Path, Path], None],
    sentence: str,
    folder: Path,
    keys: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spoil(folder, keys)
    for verb in ("verify", "install"):
        assert run(["bundle", verb, str(folder), *who(keys)]) == 4
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith(f"error: {folder / SIGNATURE} {sentence}")
    assert tree(home()) == {}


def test_a_key_that_has_expired_signs_no_more(
    good: Path, keys: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A manifest has no time: it is judged as of now."""
    assert run(["bundle", "verify", str(good), *who(keys, "expired")]) == 4
    assert "is no signature of that file by ops@bank" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--allowed-signers", "signers"], ["--identity", "ops@bank"]])
def test_whose_key_and_who_go_together(
    words: list[str], good: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["bundle", "verify", str(good), *words]) == 2
    assert capsys.readouterr().err == (
        "error: --allowed-signers and --identity go together: whose key, and who must have signed.\n"
        "hint: For example: --allowed-signers signers --identity ops@bank\n"
    )


def test_a_create_leaves_its_own_signature_and_no_earlier_one(tmp_path: Path, keys: Path) -> None:
    """An earlier one would make an honest bundle look forged."""
    first = a_bundle(tmp_path, sign_key=keys / "ops")
    whole = tree(first.folder)
    assert a_bundle(tmp_path, sign_key=keys / "ops") == first
    assert tree(first.folder) == whole
    assert a_bundle(tmp_path) == first
    assert tree(first.folder) == {name: content for name, content in whole.items() if name != SIGNATURE}


def test_a_key_that_is_none_leaves_the_bundle_unfinished_and_the_next_create_goes_on(
    tmp_path: Path, keys: Path
) -> None:
    (tmp_path / "key").write_text("no key")
    with pytest.raises(HostError, match=f"ssh-keygen did not sign with {tmp_path / 'key'}: "):
        a_bundle(tmp_path, sign_key=tmp_path / "key")
    assert (tmp_path / "bundle" / "unfinished").exists()
    made = a_bundle(tmp_path, sign_key=keys / "ops")
    assert run(["bundle", "verify", str(made.folder), *who(keys)]) == 0


def test_a_key_that_is_not_there_is_told_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["bundle", "create", "plan.json", "-o", str(tmp_path / "bundle"), "--sign-key", "/nowhere/key"]
    assert run(words) == 2
    assert capsys.readouterr().err == (
        "error: There is no key at /nowhere/key.\nhint: Make one: ssh-keygen -t ed25519 -f signing-key\n"
    )
    assert tree(tmp_path) == {}


def test_a_file_called_like_the_signature_that_is_none_is_kept(tmp_path: Path, keys: Path) -> None:
    folder = a_bundle(tmp_path).folder
    (folder / SIGNATURE).write_text("mine")
    with pytest.raises(UsageError, match="was not written by corral bundle create, or changed since"):
        a_bundle(tmp_path)
    assert (folder / SIGNATURE).read_text() == "mine"
