"""The door to HAProxy on this machine: the program, and the process group that it is, in a gateway's folder.

A master that outlives corral, and a worker; after a change also the workers of before, until their streams have ended.
Whose a process is is asked from the kernel, by the mark in its environment.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from deploy.gateway import admin_socket, on_host
from deploy.gateway.haproxy_config import ADMIN, CONFIG, MASTER, STATE
from infra import processes
from infra.errors import HostError, ServerError, UsageError
from infra.onhost.gatekeeper import as_configured
from infra.record import write_text_atomically
from infra.wait import Pace, until

PROGRAM = "haproxy"
SBIN = ("/usr/sbin", "/usr/local/sbin", "/sbin")
"""Where distributions put it, which is not on every user's PATH."""
OLDEST = (2, 6)
VERSION = re.compile(r"HAProxy version (\d+)\.(\d+)")
AUDIT, LOG = "gateway-audit.jsonl", "haproxy.log"
STARTS_WITHIN_S, GOES_WITHIN_S, CHECKED_WITHIN_S = 15.0, 10.0, 30.0
NO_STATE = "1\n"
"""The version of HAProxy's file of states, and no server."""


def found() -> str:
    """The program. Raises HostError where there is none, or one that is too old or without Lua."""
    program = shutil.which(PROGRAM) or shutil.which(PROGRAM, path=os.pathsep.join(SBIN))
    if program is None:
        raise HostError(
            "HAProxy is not installed on this machine.",
            "Debian, Ubuntu: sudo apt-get install haproxy; Fedora, RHEL 10: sudo dnf install haproxy",
        )
    return suitable(program, run(program, "-vv").stdout)


def suitable(program: str, about: str) -> str:
    """The program by what it says of itself. Raises HostError for one that is too old or without Lua."""
    version = VERSION.search(about)
    if version is None or (int(version[1]), int(version[2])) < OLDEST or "+LUA" not in about:
        what = f"HAProxy {version[1]}.{version[2]}" if version else "no HAProxy that tells its version"
        raise HostError(
            f"{program} is {what}; a gateway needs 2.6 or newer, built with Lua.",
            "Debian 12, Ubuntu 24.04 and Fedora have such a one.",
        )
    return program


def run(*command: str) -> "subprocess.CompletedProcess[str]":
    """A command's end and words. Raises HostError where it cannot be run."""
    try:
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
            timeout=CHECKED_WITHIN_S, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HostError(f"{command[0]} cannot be run: {error}.", f"Try it: {command[0]} -v") from None


def check(program: str, folder: Path, text: str) -> None:
    """Have HAProxy read what it would be told. Raises UsageError with what it does not take."""
    with tempfile.NamedTemporaryFile("w", dir=folder, prefix=".checked.", suffix=".cfg") as file:
        file.write(text)
        file.flush()
        done = run(program, "-c", "-C", str(folder), "-f", file.name)
    if done.returncode:
        raise not_taken(done.stderr)


def not_taken(said: str) -> UsageError:
    """Of what its check said the first alert: the others follow from that."""
    why = next((line for line in said.splitlines() if line.startswith("[ALERT]")), "no reason")
    return UsageError(
        f"HAProxy does not take that: {why.partition(') : ')[2] or why}",
        "See what it would be told: the same command with --dry-run",
    )


def refuse_taken(host: str, port: int | None) -> None:
    """Raise UsageError where somebody listens there, or the address is none of this machine's."""
    if port is None:
        return
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind((host, port))
            tried.listen()
    except OSError as error:
        raise UsageError(
            f"A gateway cannot listen on {host} port {port}: {error.strerror or error}.",
            f"Another: --port {port % 65535 + 1}; see who does: ss -ltnp",
        ) from None


def start(program: str, folder: Path) -> None:
    """Start it and return once it answers. Raises ServerError with its own last words; nothing is left then."""
    clear(folder)
    name, _, value = marker(folder).partition("=")
    command = (program, "-W", "-C", str(folder), "-S", f"unix@{MASTER},mode,600", "-f", CONFIG)
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(audit(folder)), append, 0o600),
        (os.POSIX_SPAWN_OPEN, 2, str(folder / LOG), append | os.O_TRUNC, 0o600),
    ]
    plain = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    environ = {"PATH": os.environ.get("PATH", os.defpath), name: value}
    pid = os.posix_spawn(program, command, environ, file_actions=actions, setsid=True, setsigdef=plain)
    if not until(
        lambda: answers(folder) or processes.reap(pid) is not None, bool, pace(STARTS_WITHIN_S)
    ) or not (answers(folder)):
        end(folder, signal.SIGKILL, GOES_WITHIN_S)
        raise ServerError(f"The gateway did not start: {last_words(folder)}", f"Its log: {folder / LOG}")


def reload(program: str, folder: Path) -> None:
    """Have it take the new file; the streams it has end with the old one. Raises ServerError where it does not."""
    before = admin_socket.workers(folder / MASTER)
    os.kill(master(folder), signal.SIGUSR2)

    def has_changed() -> bool:
        return answers(folder) and admin_socket.newest_worker(folder / MASTER) not in (None, *before)

    if not until(has_changed, bool, pace(STARTS_WITHIN_S)):
        raise ServerError(
            f"The gateway did not take the change: {last_words(folder)}", f"Its log: {folder / LOG}"
        )


def stop(folder: Path, within_s: float) -> None:
    """Let it finish its streams for so long, then end it. Safe to repeat. Raises HostError."""
    if there := on_host.of(folder):
        on_host.stop(there, within_s)
        return
    if members(folder):
        end(folder, signal.SIGUSR1, within_s)
        end(folder, signal.SIGTERM, GOES_WITHIN_S)
        end(folder, signal.SIGKILL, GOES_WITHIN_S)
    clear(folder)


def end(folder: Path, number: signal.Signals, within_s: float) -> None:
    """Send a signal to all of it, and wait until it is gone, for so long at most."""
    told = members(folder)
    processes.send(told, number)

    def left() -> tuple[int, ...]:
        there = members(folder)
        for pid in told:  # those that this program started itself are its own to bury
            processes.reap(pid)
        return there

    until(left, lambda there: not there, pace(within_s))


def pace(within_s: float) -> Pace:
    """How often it is looked at."""
    return Pace(within_s, 0.05, time.sleep, time.monotonic)


def clear(folder: Path) -> None:
    """Remove the sockets of one that has ended."""
    if not members(folder):
        for name in (ADMIN, MASTER):
            (folder / name).unlink(missing_ok=True)


def audit(folder: Path) -> Path:
    """A line a request. It lies beside the folder: it outlives the gateway."""
    return folder.parent / AUDIT


def marker(folder: Path) -> str:
    """What every process of it carries in its environment."""
    return f"CORRAL_GATEWAY={folder.resolve()}"


def members(folder: Path) -> tuple[int, ...]:
    """Its living processes."""
    return processes.members(None, marker(folder))


def master(folder: Path) -> int:
    """The process that reloads: the leader of its session. Raises ServerError where it is gone."""
    for pid in members(folder):
        if os.getsid(pid) == pid:
            return pid
    raise ServerError(
        "The gateway's first process is gone.",
        f"End what is left of it: corral gateway stop {folder.parent.name}",
    )


def is_running(folder: Path) -> bool:
    """Whether any of it lives and is not about to end."""
    if there := on_host.of(folder):
        return on_host.is_running(there)
    return bool(members(folder)) and answers(folder)


def answers(folder: Path) -> bool:
    """Whether its sockets do."""
    return admin_socket.is_answering(folder / ADMIN) and admin_socket.is_answering(folder / MASTER)


def last_words(folder: Path) -> str:
    """The last of its log that is an alert, else its last line."""
    return alert((folder / LOG).read_text(errors="replace") if (folder / LOG).exists() else "")


def alert(log: str) -> str:
    """PURE: the last of HAProxy's alerts, else its last line."""
    lines = log.strip().splitlines()
    alerts = [line for line in lines if line.startswith("[ALERT]")]
    last = (alerts or lines or ["it said nothing"])[-1]
    return last.partition(") : ")[2] or last


def write_state(folder: Path, runs: bool, config: str) -> None:
    """Keep which servers are out of rotation across a change to that configuration."""
    state = f"{admin_socket.ask(folder / ADMIN, 'show servers state engines')}\n" if runs else NO_STATE
    write_text_atomically(folder / STATE, as_configured(state, config))
