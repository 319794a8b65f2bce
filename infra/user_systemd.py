"""The door to this user's own systemd, which starts units at the user's login, or at boot where the user lingers."""

import os
import pwd
import subprocess
from contextlib import suppress
from pathlib import Path

from infra.argument import pasted
from infra.errors import HostError
from infra.record import removed

ANSWER_S = 30.0
"""For a question, or a start that is only queued."""


def folder() -> Path:
    """Where this user's units are."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config").absolute() / "systemd" / "user"


def file(unit: str) -> Path:
    """The file of a unit."""
    return folder() / unit


def wish(unit: str) -> Path:
    """The link by which a unit starts at boot."""
    return folder() / "default.target.wants" / unit


def is_enabled(unit: str) -> bool:
    """Whether a unit starts at boot."""
    return wish(unit).is_symlink()


def asked(*words: str, within_s: float = ANSWER_S) -> "subprocess.CompletedProcess[str]":
    """What `systemctl --user` answers; 127 where there is none, 124 where it takes too long. Never raises."""
    return ran(["systemctl", "--user", "--no-ask-password", *words], within_s)


def ran(command: list[str], within_s: float) -> "subprocess.CompletedProcess[str]":
    """A command's end and words, whatever comes of it."""
    try:
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
            timeout=within_s, check=False, env=environment(),
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 124, "", f"no answer within {within_s:g} s")
    except OSError as error:
        return subprocess.CompletedProcess(command, 127, "", f"{command[0]}: {error.strerror}")


def environment() -> dict[str, str]:
    """This program's, with where the user's systemd is found, which cron and `su` leave out."""
    return {"XDG_RUNTIME_DIR": f"/run/user/{os.geteuid()}"} | dict(os.environ)


def require(instead: str) -> None:
    """Raise HostError where this user has no systemd to ask; `instead` is what to do without."""
    answer = asked("show", "--property=Version")
    if answer.returncode:
        raise HostError(
            f"systemd does not run units for {user()} here: {last_line(answer)}.",
            f"Log in as that user itself, not by su or sudo, or first: sudo loginctl enable-linger {pasted(user())}; "
            f"or stay with it: {instead}",
        )


def user() -> str:
    """This user's name; the number of one without."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def lingers() -> bool:
    """Whether this user's units start at boot and outlive a logout."""
    answer = ran(["loginctl", "show-user", user(), "--property=Linger", "--value"], ANSWER_S)
    return answer.stdout.strip() == "yes"


def required(*words: str, within_s: float = ANSWER_S) -> None:
    """Have `systemctl --user` do something. Raises HostError with what it says."""
    answer = asked(*words, within_s=within_s)
    if answer.returncode:
        raise HostError(
            f"systemctl --user {' '.join(words)} failed: {last_line(answer)}.",
            f"See its log: journalctl --user --unit {pasted(words[-1])}",
        )


def last_line(answer: "subprocess.CompletedProcess[str]") -> str:
    """What it said last."""
    lines = answer.stderr.strip().splitlines()
    return lines[-1].rstrip(".") if lines else f"exit code {answer.returncode}"


def state(unit: str) -> str:
    """active, activating, failed, inactive ...; "" where nobody tells."""
    return asked("is-active", unit).stdout.strip()


def take_away(unit: str, within_s: float) -> tuple[str, ...]:
    """Stop a unit in its own time, and remove it; what is left of it, with the reason.

    Its files go where no systemd answers, too: it would start what is gone at the next boot.
    """
    wanted = wish(unit)
    if not file(unit).exists() and not wanted.is_symlink():
        return ()
    asked("disable", "--now", unit, within_s=within_s)
    left = removed([wanted, file(unit)])
    with suppress(OSError):
        wanted.parent.rmdir()
    asked("daemon-reload")
    asked("reset-failed", unit)
    return left
