"""systemctl and journalctl for tests/fake_box.py, on a host where the server's unit is really started and ended.

As much of systemd as that unit needs: conditions, environment files, what runs before and after, one process. The
server itself is tests/data/stub_vllm.py, with the unit's arguments and environment and nothing else.
"""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import box_tools
import ports

BOX = Path(os.environ["BOX"])
UNITS = BOX / "etc/systemd/system"
CONTROL = BOX / "run/systemd/system.control"  # goes before it


def main() -> None:
    """Be systemctl or journalctl."""
    name, *arguments = sys.argv[1:]
    box_tools.note(BOX, name, arguments)
    if name == "journalctl":
        journal(arguments)
    elif arguments[0] == "is-active":
        print("active" if main_pid(arguments[1]) else "inactive")
        sys.exit(0 if main_pid(arguments[1]) else 3)
    elif arguments[0] == "show":
        show(arguments[1:])
    else:
        box_tools.systemctl(BOX, arguments)  # refuses what systemd would
        verb, *units = [word for word in arguments if not word.startswith("-")]
        for unit in units if "--now" in arguments or verb in DONE else []:
            {**DONE, "enable": start, "disable": stop}[verb](unit)


def journal(arguments: list[str]) -> None:
    """The server's own words, whichever way they are asked for."""
    options, last = {"--no-pager", "--output=cat", "--follow"}, 0
    for word in arguments:
        if lines := re.fullmatch("--lines=([0-9]+)", word):
            last = int(lines[1])
        elif word not in options and not re.match(
            r"--unit=corral-\S+\.service$|_SYSTEMD_INVOCATION_ID=|INVOCATION_ID=|\+$", word
        ):
            sys.exit(f"journalctl: unrecognized option '{word}'")
    print("".join((BOX / "journal").read_text().splitlines(keepends=True)[-last:]), end="")


def show(arguments: list[str]) -> None:
    """Properties of a unit, by name or bare."""
    (unit,) = [word for word in arguments if not word.startswith("-")]
    known = {
        "ActiveState": "active" if main_pid(unit) else "inactive",
        "SubState": "running" if main_pid(unit) else "dead",
        "NRestarts": "0",
        "UID": "64998",
        "MainPID": str(main_pid(unit)),
        "InvocationID": "0123456789abcdef" if (BOX / "journal").exists() else "",
    }
    for word in arguments:
        if word.startswith("--property="):
            name = word.removeprefix("--property=")
            print(known[name] if "--value" in arguments else f"{name}={known[name]}")
        elif word not in ("--value", unit):
            sys.exit(f"systemctl: unrecognized option '{word}'")


def pid_file(unit: str) -> Path:
    """Where the number of a unit's process is noted."""
    return BOX / f"{unit}.pid"


def main_pid(unit: str) -> int:
    """The unit's process; 0 when it does not run."""
    return int(pid_file(unit).read_text()) if pid_file(unit).exists() else 0


def here(text: str) -> str:
    """Absolute paths of the host below the folder."""
    return re.sub(r"(?<![\w$}.])/(?=(?:opt|var/lib|var/log)\b)", f"{BOX}/", f" {text}")[1:]


def lines(unit: str, directive: str) -> list[str]:
    """The values of a directive, in order."""
    text = next(place / unit for place in (CONTROL, UNITS) if (place / unit).exists()).read_text()
    return re.findall(rf"^{directive}=(.*)$", text, re.MULTILINE)


def start(unit: str) -> None:
    """Start a service that does not run; a timer has nothing to start here."""
    if unit.endswith(".timer") or main_pid(unit):
        return
    for condition in lines(unit, "ConditionPathExists"):
        if Path(here(condition.lstrip("!"))).exists() == condition.startswith("!"):
            sys.exit(
                f"{unit} was skipped because of an unmet condition check (ConditionPathExists={condition})."
            )
    public = Path(here(f"/var/lib/{lines(unit, 'StateDirectory')[0].split()[0]}"))
    private = public.parent / "private" / public.name
    private.mkdir(exist_ok=True)
    if not public.is_symlink():
        public.symlink_to(private)
    for line in lines(unit, "ExecStartPre"):
        words = inside(line)
        if not line.startswith("-") and subprocess.run(words, check=False).returncode:
            sys.exit(f"Job for {unit} failed because the control process exited with error code.")
    (command,) = lines(unit, "ExecStart")
    words = [word.replace("$$", "$").replace("%%", "%") for word in shlex.split(here(command))]
    words = with_port_of_its_own(words) if "--port" in words else words
    appended = [
        line.removeprefix("append:") for line in lines(unit, "StandardOutput") if line.startswith("append:")
    ]
    with (
        (BOX / "journal").open("w") as said,
        Path(here(appended[0])).open("a") if appended else nullcontext(said) as printed,
    ):
        process = subprocess.Popen(
            words,
            env=environment(unit),
            stdout=printed,
            stderr=said,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    pid_file(unit).write_text(str(process.pid))


def inside(line: str) -> list[str]:
    """What a directive runs, here: the host's own mounts are ours."""
    words = shlex.split(here(line.lstrip("-+")))
    return words[words.index("--") + 1 :] if words[0] == "/usr/bin/nsenter" else words


def with_port_of_its_own(words: list[str]) -> list[str]:
    """The host and the test share one loopback: its server listens elsewhere, which fake_ssh.py knows."""
    port = str(ports.free_port())
    place = words.index("--port") + 1
    (BOX / f"port-{words[place]}").write_text(port)
    return [*words[:place], port, *words[place + 1 :]]


def environment(unit: str) -> dict[str, str]:
    """What the unit's process gets: the files it names, read as systemd reads them, and nothing of ours."""
    found = {"PATH": os.environ["PATH"], "BOX": str(BOX)}
    for name in lines(unit, "EnvironmentFile"):
        path = Path(here(name.removeprefix("-")))
        if not path.exists() and name.startswith("-"):
            continue
        for line in path.read_text().splitlines():
            key, _, value = line.partition("=")
            (found[key],) = shlex.split(value) or [""]
    return found


def stop(unit: str) -> None:
    """End it, and what is run after its end."""
    if pid := main_pid(unit):
        (name,) = lines(unit, "KillSignal") or ["SIGTERM"]
        os.kill(pid, signal.Signals[name])
        while Path(f"/proc/{pid}").exists() and " Z " not in Path(f"/proc/{pid}/stat").read_text():
            time.sleep(0.01)
        pid_file(unit).unlink()
        for line in lines(unit, "ExecStopPost"):
            subprocess.run(shlex.split(here(line.lstrip("-+"))), check=True)


def reload(unit: str) -> None:
    """What changes it while it runs."""
    for line in lines(unit, "ExecReload"):
        subprocess.run([word.replace("$MAINPID", str(main_pid(unit))) for word in inside(line)], check=True)


def clean(unit: str) -> None:
    """systemctl clean --what=all of a unit that has run."""


DONE = {"start": start, "stop": stop, "reload": reload, "clean": clean}
"""What of the verbs is done to a unit here, whatever comes with it."""
