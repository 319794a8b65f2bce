#!/usr/bin/env python3
"""`systemctl --user` and `loginctl` as far as corral asks them: they refuse all else. UNITS is where a unit's state is.

A unit is really started, by what its file says and with nothing else in its environment.
"""

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

UNITS = Path(os.environ["UNITS"])
FILES = Path(os.environ["XDG_CONFIG_HOME"]) / "systemd" / "user"
WANTS = FILES / "default.target.wants"


def settings(unit: str) -> dict[str, list[str]]:
    """The values of each key of a unit's file. Fails for a line that is none."""
    found: dict[str, list[str]] = {}
    for line in (FILES / unit).read_text().splitlines():
        if line and not line.startswith(("#", "[")):
            key, sign, value = line.partition("=")
            assert (sign, key.isalpha()) == ("=", True), line
            found.setdefault(key, []).append(value)
    return found


def words(value: str) -> list[str]:
    """A value as systemd splits it."""
    return [word.replace("%%", "%") for word in shlex.split(value)]


def pid(unit: str) -> int:
    """Its main process; 0 when none runs."""
    try:
        number = int((UNITS / unit).read_text())
        state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
        return 0 if state == "Z" else number
    except (OSError, ValueError):
        return 0


def start(unit: str) -> None:
    if pid(unit):
        return
    known = settings(unit)
    (command,) = known["ExecStart"]
    given = dict(word.partition("=")[::2] for value in known["Environment"] for word in words(value))
    argv = [word.replace("$$", "$") for word in words(command)]
    log = (UNITS / f"{unit}.log").open("ab")
    begun = subprocess.Popen(
        argv, env=given | {"HOME": os.environ["HOME"]}, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        start_new_session=True,
    )  # fmt: skip
    (UNITS / unit).write_text(str(begun.pid))


def stop(unit: str) -> None:
    number = pid(unit)
    if number:
        os.kill(number, signal.SIGTERM)  # KillMode=process
        while pid(unit):
            time.sleep(0.02)
    (UNITS / unit).unlink(missing_ok=True)


def main() -> None:
    name, *asked = [Path(sys.argv[0]).name, *sys.argv[1:]]
    with (UNITS / "asked").open("a") as log:
        log.write(" ".join([name, *asked]) + "\n")
    if name == "loginctl":
        assert [asked[0], *asked[2:]] == ["show-user", "--property=Linger", "--value"], asked
        print("no")
        return
    assert asked[:2] == ["--user", "--no-ask-password"], asked
    if (UNITS / "no-bus").exists() or not os.environ.get("XDG_RUNTIME_DIR"):
        sys.exit("Failed to connect to bus: No medium found")
    match asked[2:]:
        case ["show", "--property=Version"] | ["daemon-reload"]:
            pass
        case ["reset-failed", unit]:
            sys.exit(0 if (FILES / unit).exists() else f"Unit {unit} not loaded.")
        case ["is-active", unit]:
            print("active" if pid(unit) else "inactive")
            sys.exit(0 if pid(unit) else 3)
        case ["enable", unit]:
            WANTS.mkdir(exist_ok=True)
            (WANTS / unit).unlink(missing_ok=True)
            (WANTS / unit).symlink_to(FILES / unit)
        case ["start", unit]:
            start(unit)
        case ["disable", "--now", unit]:
            (WANTS / unit).unlink(missing_ok=True)
            stop(unit)
        case other:
            sys.exit(f"Unknown command: {other}")


main()
