"""The door to an owned host: the OpenSSH client, so that ~/.ssh/config, agents, hardware keys and jumps just work.

Host keys are strict: a host that is not in known_hosts, or whose key changed, is refused. $CORRAL_SSH_CONFIG
names another configuration file than ~/.ssh/config.
"""

import fcntl
import math
import os
import re
import secrets
import shlex
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import IO, Any

from infra import bounded_process, deadline
from infra.bounded_process import MOST_BYTES, LastWords, Patience, TooMuch, end, heard, pour
from infra.errors import AuthError, CorralError, HostError, UsageError
from infra.facts import HostFacts, parse, script
from infra.home import home, is_private, make_folder
from infra.host import HostFile
from infra.printable import one_line
from infra.record import Record

# [ssh://][USER@]HOST[:PORT], a host alias, an IPv4 or IPv6 address; never something that reads as an option.
DESTINATION = re.compile(r"(ssh://)?([A-Za-z0-9._][A-Za-z0-9._-]*@)?[A-Za-z0-9\[:._][A-Za-z0-9\[\]:._%-]*")

CONNECT_TIMEOUT_S = 15
COMMAND_TIMEOUT_S = 120
FORWARD_TIMEOUT_S = 60
TAKEN_WITHIN_S = 300
"""For a host to take 64 KiB of what is sent: a disk may write behind, or an array recover."""
ENDED_WITHIN_S = 1800
"""For what a command does when it has all of its input, such as the first import of an engine."""
CONTROL_TIMEOUT_S = 30
"""For what the client says of itself, or of a connection it holds."""
MOST_FACTS_BYTES = 1024 * 1024
"""Of what a host says of itself."""
MOST_NOISE_BYTES = 1024 * 1024
"""Of a login, before our command runs."""
MOST_SAID_BYTES = 65536
"""Of what a client says that goes on in the background."""
MOST_LINES_BYTES = 1024**3
"""Of a log that is not followed."""
SSH_FAILED = 255

# What the OpenSSH client prints, and what it means. First match wins.
REFUSALS: tuple[tuple[str, type[CorralError], str, str], ...] = (
    (
        "REMOTE HOST IDENTIFICATION HAS CHANGED",
        HostError,
        "The host key of {host} is not the one you know: it was installed anew, or somebody is in between",
        "Ask its owner for the fingerprint. Only then: ssh-keygen -R {host}, and connect once by hand.",
    ),
    (
        "Host key verification failed",
        HostError,
        "{host} is not in your known_hosts, and corral never accepts an unknown host key",
        "Connect once by hand and compare the fingerprint: ssh {host}",
    ),
    (
        "Permission denied",
        AuthError,
        "{host} refuses your key",
        "Try it by hand; corral never asks for a password: ssh -o BatchMode=yes {host} true",
    ),
    (
        "Could not resolve hostname",
        HostError,
        "There is no host called {host}",
        "Check its name in DNS or ~/.ssh/config: ssh -G {host}",
    ),
)


class Done(Record):
    """What a command on a host left: exit code, and its output without what the login printed before it."""

    code: int
    stdout: str
    stderr: str


def checked_destination(text: str) -> str:
    """Return an SSH destination as given. Raises UsageError for what cannot be one (spaces, quotes, an option)."""
    if not DESTINATION.fullmatch(text):
        raise UsageError(
            f"{text!r} is not a host that ssh can reach.",
            "Give HOST, USER@HOST or a name from ~/.ssh/config.",
        )
    return text


class Host:
    """One host over SSH. Commands share one connection, which OpenSSH keeps for a minute after the last."""

    def __init__(self, destination: str) -> None:
        self.destination = checked_destination(destination)
        self.privilege = "root"

    def facts(self) -> HostFacts:
        """Read the host; from here on `as_root` knows whether it needs sudo."""
        facts = parse(self.run(["sh", "-s"], stdin=script().encode(), most_bytes=MOST_FACTS_BYTES).stdout)
        self.privilege = facts.privilege
        return facts

    def run(
        self,
        command: Sequence[str],
        *,
        stdin: bytes = b"",
        as_root: bool = False,
        check: bool = True,
        timeout_s: float = COMMAND_TIMEOUT_S,
        most_bytes: int = MOST_BYTES,
    ) -> Done:
        """Run one command; every argument arrives as it is here.

        Raises HostError when the host cannot be reached, does not answer in time, says too much, or (with `check`) the
        command fails; AuthError when it refuses our key.
        """
        marker, left_s = secrets.token_hex(8), deadline.left_s(timeout_s)
        argv = self._argv(self._as_root(command) if as_root else command, marker)
        try:
            done = answered(argv, stdin, left_s, most_bytes)
        except subprocess.TimeoutExpired:
            raise self._silent(deadline.told_s(timeout_s, left_s)) from None
        except TooMuch:
            raise self._endless() from None
        return self._done(command, marker, done, check)

    def write(self, files: Iterable[HostFile]) -> None:
        """Put files on the host, whole, owned by root."""
        archive = BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            for file in files:
                tar.addfile(*_member(file))
        self.run(UNPACK, stdin=archive.getvalue(), as_root=True)

    def send(self, pack: Callable[[IO[bytes]], None], command: Sequence[str]) -> None:
        """Run a command as root with what `pack` writes as its input; for what is too large to hold in memory."""
        marker = secrets.token_hex(8)
        with started(
            self._argv(self._as_root(command), marker),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        ) as process:
            assert process.stdin is not None
            complaint = LastWords(process.stderr)
            try:
                with suppress(BrokenPipeError):  # the other side's own words, read below, say why
                    pour(pack, process.stdin, TAKEN_WITHIN_S)
                code = process.wait(ENDED_WITHIN_S)
            except TimeoutError:
                process.kill()
                raise self._stuck() from None
            except subprocess.TimeoutExpired:
                process.kill()
                raise self._silent(ENDED_WITHIN_S) from None
            except BaseException:
                process.kill()
                raise
            if code:
                raise self._refused(command, code, complaint.text())

    def lines(self, command: Sequence[str], is_followed: bool = False) -> Iterator[str]:
        """Run a command as root and give its lines as they come; ends the command when the reader stops.

        Only what is followed may go on for ever. Else the time is for all waits together; what the reader does between
        two lines is not counted. Raises HostError where a login or a command takes longer, or says too much, and after
        the last line when the command failed.
        """
        return self._lines(command, Patience(deadline.left_s(COMMAND_TIMEOUT_S)), is_followed)

    def _lines(self, command: Sequence[str], patience: Patience, is_followed: bool) -> Iterator[str]:
        marker = secrets.token_hex(8)
        with started(
            self._argv(self._as_root(command), marker),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None
            complaint = LastWords(process.stderr)
            is_begun, heard_bytes, most_bytes = False, 0, float(MOST_NOISE_BYTES)
            try:
                for line in bounded_process.lines(process.stdout, patience):
                    heard_bytes += len(line)
                    if is_begun:
                        yield line.decode(errors="replace").rstrip("\r\n")
                    elif line == f"{marker}\n".encode():
                        is_begun = True
                        most_bytes = math.inf if is_followed else MOST_LINES_BYTES
                        patience.left_s = math.inf if is_followed else patience.left_s
                    if heard_bytes > most_bytes:
                        raise self._endless()
                code = process.wait(COMMAND_TIMEOUT_S) or (0 if is_begun else SSH_FAILED)
            except (TimeoutError, subprocess.TimeoutExpired):
                end(process)
                raise self._silent(deadline.told_s(COMMAND_TIMEOUT_S, patience.most_s)) from None
            except BaseException:
                end(process)
                raise
            if code:
                raise self._refused(command, code, complaint.text())

    def forward(self, local_port: int, host: str, port: int) -> None:
        """Let 127.0.0.1:`local_port` here lead to `host`:`port` there, until `close_forward`.

        Raises HostError when it cannot.
        """
        if self._control("check", local_port) == 0:
            return
        argv = [
            *client(self._socket(local_port)),
            "-o",
            "ExitOnForwardFailure=yes",
            "-fNM",
            "-L",
            f"127.0.0.1:{local_port}:{host}:{port}",
            "--",
            self.destination,
        ]
        left_s = deadline.left_s(FORWARD_TIMEOUT_S)
        try:
            # Its output goes to a file: a pipe would stay open with the client that goes on in the background.
            with scratch(MOST_SAID_BYTES) as said:
                done = subprocess.run(
                    argv, stdin=subprocess.DEVNULL, stdout=said, stderr=said, timeout=left_s, check=False
                )
                said.seek(0)
                if done.returncode:
                    complaint = said.read().rstrip(b"\0").decode(errors="replace")
                    raise self._refused(["forward"], SSH_FAILED, complaint)
        except subprocess.TimeoutExpired:
            raise self._silent(deadline.told_s(FORWARD_TIMEOUT_S, left_s)) from None
        except OSError as error:
            raise no_client(error) from None

    def close_forward(self, local_port: int) -> None:
        """End what `forward` began; nothing happens where it did not."""
        self._control("exit", local_port)

    def shell(self) -> tuple[str, ...]:
        """The command that opens a shell there, over the connection that is shared."""
        return (
            *client(self._socket()),
            "-o",
            "ControlMaster=auto",
            "-o",
            "ControlPersist=60",
            "--",
            self.destination,
        )

    def address(self) -> str:
        """The host's name or address as ~/.ssh/config resolves it. Raises HostError where that cannot be used."""
        argv = [*client(self._socket()), "-G", "--", self.destination]
        try:
            done = answered(argv, b"", CONTROL_TIMEOUT_S)
        except (subprocess.TimeoutExpired, TooMuch):  # a Match may run a program
            raise HostError(
                f"OpenSSH does not tell from its configuration who {self.destination} is.",
                f"Try it by hand: ssh -G {self.destination}",
            ) from None
        if done.returncode:
            raise self._refused(["ssh"], SSH_FAILED, done.stderr.decode(errors="replace"))
        said = done.stdout.decode(errors="replace").splitlines()
        return dict(line.partition(" ")[::2] for line in said).get("hostname", self.destination)

    def close(self) -> None:
        """End the shared connection at once instead of in a minute."""
        self._control("exit", None)

    def _control(self, order: str, local_port: int | None) -> int:
        """The client's exit code; that of a failure where it hangs, or is not there."""
        argv = [*client(self._socket(local_port)), "-O", order, "--", self.destination]
        try:
            return answered(argv, b"", deadline.left_s(CONTROL_TIMEOUT_S)).returncode
        except (subprocess.TimeoutExpired, TooMuch, HostError):
            return SSH_FAILED

    def _socket(self, local_port: int | None = None) -> Path:
        return sockets() / ("%C" if local_port is None else f"{local_port}-%C")

    def _argv(self, command: Sequence[str], marker: str) -> list[str]:
        line = f"echo {marker}; exec {shlex.join(command)}"
        return [
            *client(self._socket()),
            "-o",
            "ControlMaster=auto",
            "-o",
            "ControlPersist=60",
            "-T",
            "--",
            self.destination,
            line,
        ]

    def _as_root(self, command: Sequence[str]) -> list[str]:
        return list(command) if self.privilege == "root" else ["sudo", "-n", "--", *command]

    def _done(
        self, command: Sequence[str], marker: str, done: "subprocess.CompletedProcess[bytes]", check: bool
    ) -> Done:
        noise, heard, said = done.stdout.decode(errors="replace").partition(f"{marker}\n")
        complaint = done.stderr.decode(errors="replace")
        if not heard:
            raise self._refused(command, done.returncode or SSH_FAILED, complaint or noise)
        if check and done.returncode:
            raise self._refused(command, done.returncode, complaint)
        return Done(code=done.returncode, stdout=said, stderr=complaint)

    def _refused(self, command: Sequence[str], code: int, complaint: str) -> CorralError:
        """The client's complaint, or the command's own, as one of ours."""
        if code == SSH_FAILED:
            for words, kind, message, hint in REFUSALS:
                if words in complaint:
                    host = self.destination
                    return kind(message.format(host=host) + ".", hint.format(host=host))
        lines = complaint.strip().splitlines()
        last = one_line(lines[-1]).rstrip(".") if lines else "it said nothing"
        if code == SSH_FAILED:
            return HostError(
                f"{self.destination} cannot be reached: {last}.",
                f"Try it by hand: ssh {self.destination} true",
            )
        return HostError(
            f"{Path(command[0]).name} failed on {self.destination} with code {code}: {last}.",
            f"Look there: ssh {self.destination}",
        )

    def _endless(self) -> HostError:
        return HostError(
            f"{self.destination} says more than anything we ask is answered with.",
            f"Something there floods the login or the command; look there: ssh {self.destination}",
        )

    def _stuck(self) -> HostError:
        return HostError(
            f"{self.destination} took less than 64 KiB of what is sent to it in {TAKEN_WITHIN_S} s.",
            f"Its disk may be full or hung; look there: ssh {self.destination} df -h; then run the command again.",
        )

    def _silent(self, timeout_s: float) -> HostError:
        return HostError(
            f"{self.destination} did not answer within {timeout_s:.0f} s.",
            f"It may be overloaded or hung; look there: ssh {self.destination} uptime",
        )


def answered(
    argv: Sequence[str], stdin: bytes, timeout_s: float, most_bytes: int = MOST_BYTES
) -> "subprocess.CompletedProcess[bytes]":
    """Run the client. Raises HostError, TooMuch, or subprocess.TimeoutExpired; then it has been ended."""
    with scratch() as given:
        given.write(stdin)
        given.seek(0)
        with started(argv, stdin=given, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            try:
                said = heard(process, timeout_s, most_bytes)
            except BaseException:
                process.kill()
                raise
            return subprocess.CompletedProcess(argv, process.returncode, *said)


def started(argv: Sequence[str], **pipes: Any) -> "subprocess.Popen[bytes]":
    """The client, begun. Raises HostError where this machine cannot."""
    try:
        return subprocess.Popen(argv, **pipes)
    except OSError as error:
        raise no_client(error) from None


UNPACK = ("tar", "-x", "--no-same-owner", "--preserve-permissions", "--directory", "/")


def client(socket: Path) -> list[str]:
    """The ssh command with the settings every use shares."""
    config = os.environ.get("CORRAL_SSH_CONFIG")
    options = {
        "BatchMode": "yes",
        "StrictHostKeyChecking": "yes",
        "ConnectTimeout": str(CONNECT_TIMEOUT_S),
        "ServerAliveInterval": "15",
        "ServerAliveCountMax": "4",
        "ForwardAgent": "no",
        "ForwardX11": "no",
        "ClearAllForwardings": "no",
        "ControlPath": str(socket),
    }
    given = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    return ["ssh", *(["-F", config] if config else []), *given]


def sockets() -> Path:
    """The folder of the connections' sockets: short, since a socket's path may have 107 characters, and private.

    In memory, or in the home, where the disk takes none or somebody else has one of that name.
    """
    name = f"corral-ssh-{os.getuid()}"
    first = Path(os.environ.get("TMPDIR") or "/tmp") / name
    for folder in (first, Path("/dev/shm") / name, home() / "ssh"):
        with suppress(OSError):
            if folder.parent == home():
                make_folder(home())
            if is_private(folder):
                return folder
    raise HostError(
        f"{first} belongs to somebody else, or cannot be made.",
        "Set TMPDIR to a folder of yours, and a short one.",
    )


def scratch(most_bytes: int | None = None) -> IO[bytes]:
    """A file in memory for what a client is told or says: a full disk is no obstacle.

    One with a bound has that size, in zeros, and takes no more.
    """
    file = os.fdopen(os.memfd_create("corral-ssh", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING), "w+b")
    if most_bytes is not None:
        file.truncate(most_bytes)
        fcntl.fcntl(file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW)
    return file


def no_client(error: OSError) -> HostError:
    """This machine has no ssh, or none that can be started."""
    if not isinstance(error, FileNotFoundError):
        return HostError(
            f"ssh cannot be started on this machine: {error.strerror}.", "Try it by hand: ssh -V"
        )
    return HostError(
        "There is no ssh on this machine.", "Install OpenSSH's client: apt-get install openssh-client"
    )


def _member(file: HostFile) -> tuple[tarfile.TarInfo, IO[bytes]]:
    content = file.content.encode()
    info = tarfile.TarInfo(file.path.lstrip("/"))
    # systemd takes a unit file of 1970 for a masked one.
    info.size, info.mode, info.mtime = len(content), int(file.mode, 8), int(time.time())
    return info, BytesIO(content)
