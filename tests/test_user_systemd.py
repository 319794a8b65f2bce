"""What a user's own systemd is asked, and what is told of its answers; its life is in test_user_unit."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from infra import user_systemd
from infra.errors import HostError


class Systemctl:
    """Answers each command with the same, and keeps what it was asked and for how long."""

    def __init__(self, code: int = 0, out: str = "", err: str = "") -> None:
        self.code, self.out, self.err = code, out, err
        self.asked: list[tuple[str, float]] = []

    def __call__(self, command: list[str], **how: Any) -> "subprocess.CompletedProcess[str]":
        assert (how["stdin"], how["check"], how["errors"]) == (subprocess.DEVNULL, False, "replace")
        self.asked.append((" ".join(command), how["timeout"]))
        return subprocess.CompletedProcess(command, self.code, self.out, self.err)


def answering(monkeypatch: pytest.MonkeyPatch, code: int = 0, out: str = "", err: str = "") -> Systemctl:
    made = Systemctl(code, out, err)
    monkeypatch.setattr(subprocess, "run", made)
    monkeypatch.setattr(user_systemd, "user", lambda: "ann")
    return made


@pytest.mark.parametrize(
    ("err", "said"),
    [("first\nFailed to connect to bus.\n", "Failed to connect to bus"), (" \n", "exit code 1")],
)
def test_a_user_without_systemd_is_told_what_to_do_instead(
    err: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = answering(monkeypatch, code=1, err=err)
    with pytest.raises(HostError) as error:
        user_systemd.require("corral serve a --supervise")
    assert (error.value.message, error.value.hint) == (
        f"systemd does not run units for ann here: {said}.",
        "Log in as that user itself, not by su or sudo, or first: sudo loginctl enable-linger ann; or stay with it: "
        "corral serve a --supervise",
    )
    assert asked.asked == [("systemctl --user --no-ask-password show --property=Version", 30.0)]


def test_what_systemd_does_not_do_is_told_with_where_its_log_is(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answering(monkeypatch, code=5, err="Unit not found.\n")
    with pytest.raises(HostError) as error:
        user_systemd.required("start", "a b.service", within_s=7.0)
    assert (error.value.message, error.value.hint) == (
        "systemctl --user start a b.service failed: Unit not found.",
        "See its log: journalctl --user --unit 'a b.service'",
    )
    asked.code = 0
    user_systemd.required("daemon-reload")
    user_systemd.require("nothing")
    assert asked.asked == [
        ("systemctl --user --no-ask-password start a b.service", 7.0),
        ("systemctl --user --no-ask-password daemon-reload", 30.0),
        ("systemctl --user --no-ask-password show --property=Version", 30.0),
    ]


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (subprocess.TimeoutExpired("systemctl", 2.5), 124, "no answer within 2.5 s"),
        (FileNotFoundError(2, "No such file or directory"), 127, "systemctl: No such file or directory"),
    ],
)
def test_a_command_without_an_end_or_a_program_has_a_code(
    error: Exception, code: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(subprocess, "run", run)
    found = user_systemd.ran(["systemctl", "x"], 2.5)
    assert (found.args, found.returncode, found.stdout, found.stderr) == (["systemctl", "x"], code, "", said)


@pytest.mark.parametrize(("out", "lingers"), [("yes\n", True), ("no\n", False), ("", False)])
def test_whether_units_outlive_a_logout(out: str, lingers: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answering(monkeypatch, out=out)
    assert user_systemd.lingers() is lingers
    assert asked.asked == [("loginctl show-user ann --property=Linger --value", 30.0)]


def test_what_a_unit_is(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answering(monkeypatch, code=3, out="inactive\n")
    assert user_systemd.state("a.service") == "inactive"
    assert asked.asked == [("systemctl --user --no-ask-password is-active a.service", 30.0)]


def test_where_units_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    units = tmp_path / "systemd" / "user"
    assert user_systemd.file("a.service") == units / "a.service"
    assert user_systemd.wish("a.service") == units / "default.target.wants" / "a.service"
    monkeypatch.setenv("XDG_CONFIG_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path / "ann"))
    assert user_systemd.folder() == tmp_path / "ann" / ".config" / "systemd" / "user"


def test_where_systemd_is_found_is_said_unless_it_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    assert user_systemd.environment() == {**os.environ, "XDG_RUNTIME_DIR": f"/run/user/{os.geteuid()}"}
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/r")
    assert user_systemd.environment() == dict(os.environ)


def test_a_user_without_a_name_is_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def getpwuid(_: int) -> None:
        raise KeyError

    monkeypatch.setattr("pwd.getpwuid", getpwuid)
    assert user_systemd.user() == str(os.geteuid())


def test_a_unit_is_taken_away_whole_and_one_that_is_not_there_asks_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    asked = answering(monkeypatch)
    assert (user_systemd.take_away("a.service", 9.0), asked.asked) == ((), [])
    unit, wish = user_systemd.file("a.service"), user_systemd.wish("a.service")
    wish.parent.mkdir(parents=True)
    wish.symlink_to(unit)  # of a unit that is gone itself
    assert user_systemd.is_enabled("a.service")
    assert user_systemd.take_away("a.service", 9.0) == ()
    assert (wish.is_symlink(), wish.parent.exists()) == (False, False)
    unit.write_text("")
    assert not user_systemd.is_enabled("a.service")
    assert (user_systemd.take_away("a.service", 9.0), unit.exists()) == ((), False)
    assert (
        asked.asked
        == [
            ("systemctl --user --no-ask-password disable --now a.service", 9.0),
            ("systemctl --user --no-ask-password daemon-reload", 30.0),
            ("systemctl --user --no-ask-password reset-failed a.service", 30.0),
        ]
        * 2
    )
