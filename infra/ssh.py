"""The door to an owned host: the OpenSSH client, so that ~/.ssh/config, agents, hardware keys and jumps just work.

Host keys are strict: a host that is not in known_hosts, or whose key changed, is refused. $CORRAL_SSH_CONFIG
names another configuration file than ~/.ssh/config.
"""

import math
import re
import secrets
import shlex
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from infra import bounded_process, deadline
from infra.bounded_process import (
    MOST_BYTES,
    LastWords,
    NotRead,
    NotTaken,
    Patience,
    TooMuch,
    end,
    killed_where_that_fails,
    pour,
)
from infra.errors import HostError, UsageError
from infra.facts import HostFacts, parse, script
from infra.host import HostFile
from infra.host_archive import UNPACK, archive
from infra.record import Record
from infra.ssh_client import answered, client, no_client, scratch, sockets, started
from infra.ssh_failures import SSH_FAILED, endless, refused, silent, stuck

# [ssh://][USER@]HOST[:PORT], a host alias, an IPv4 or IPv6 address; never something that reads as an option.
DESTINATION = re.compile(r"(ssh://)?([A-Za-z0-9._][A-Za-z0-9._-]*@)?[A-Za-z0-9\[:._][A-Za-z0-9\[\]:._%-]*")

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


class Done(Record):
    """What a command on a host left: exit code, and its output without what the login printed before it."""

    code: int
    stdout: str
    stderr: str


def checked_destination(text: str) -> str:
    """Return an SSH destination as given. Raises UsageError for what cannot be one (spaces, quotes, an option)."""
    if not DESTINATION.fullmatch(text):
        apart = f"Name each by itself: {' '.join(several(text))}" if several(text) else ""
        raise UsageError(
            f"{text!r} is not a host that ssh can reach.",
            apart or "Give gpu-1, ubuntu@gpu-1 or a name from ~/.ssh/config.",
        )
    return text


def several(text: str) -> tuple[str, ...]:
    """The destinations that were typed as one, with commas or blanks between them; none where it is one."""
    named = tuple(text.replace(",", " ").split())
    return named if len(named) > 1 and all(map(DESTINATION.fullmatch, named)) else ()


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
            raise silent(self.destination, deadline.told_s(timeout_s, left_s)) from None
        except TooMuch:
            raise endless(self.destination) from None
        return self._done(command, marker, done, check)

    def write(self, files: Iterable[HostFile]) -> None:
        """Put files on the host, whole, owned by root."""
        self.run(UNPACK, stdin=archive(files), as_root=True)

    def send(self, pack: Callable[[IO[bytes]], None], command: Sequence[str]) -> None:
        """Run a command as root with what `pack` writes as its input; for what is too large to hold in memory.

        Raises HostError where the host does not take it, AuthError as `run` does, and what `pack` raises: that went
        wrong on this machine.
        """
        marker = secrets.token_hex(8)
        with (
            started(
                self._argv(self._as_root(command), marker),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            ) as process,
            killed_where_that_fails(process),
        ):
            assert process.stdin is not None
            complaint = LastWords(process.stderr)
            try:
                with suppress(NotRead):  # the other side's own words, read below, say why
                    pour(pack, process.stdin, TAKEN_WITHIN_S)
            except NotTaken:
                raise stuck(self.destination, TAKEN_WITHIN_S) from None
            try:
                code = process.wait(ENDED_WITHIN_S)
            except subprocess.TimeoutExpired:
                raise silent(self.destination, ENDED_WITHIN_S) from None
            if code:
                raise refused(self.destination, command, code, complaint.text())

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
                        raise endless(self.destination)
                code = process.wait(COMMAND_TIMEOUT_S) or (0 if is_begun else SSH_FAILED)
            except (TimeoutError, subprocess.TimeoutExpired):
                end(process)
                raise silent(self.destination, deadline.told_s(COMMAND_TIMEOUT_S, patience.most_s)) from None
            except BaseException:
                end(process)
                raise
            if code:
                raise refused(self.destination, command, code, complaint.text())

    @contextmanager
    def held(self, command: Sequence[str]) -> Iterator[str]:
        """Run a command as root that says a line and goes on until its input ends: when this does, or we are gone.

        The line. Raises HostError where it says none in time, AuthError as `run` does.
        """
        marker, patience = secrets.token_hex(8), Patience(deadline.left_s(COMMAND_TIMEOUT_S))
        with (
            started(
                self._argv(self._as_root(command), marker),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,  # a Ctrl-C is ours to hear, and may take long to answer
            ) as process,
            killed_where_that_fails(process),
        ):
            assert process.stdin is not None
            assert process.stdout is not None
            complaint, heard = LastWords(process.stderr), bounded_process.lines(process.stdout, patience)
            try:
                begun = any(line == f"{marker}\n".encode() for line in heard)
                said = next(heard, b"").decode(errors="replace").rstrip("\r\n") if begun else ""
            except TimeoutError:
                raise silent(self.destination, deadline.told_s(COMMAND_TIMEOUT_S, patience.most_s)) from None
            if not said:
                code = process.wait(COMMAND_TIMEOUT_S) or SSH_FAILED
                raise refused(self.destination, command, code, complaint.text())
            try:
                yield said
            finally:
                with suppress(OSError):
                    process.stdin.close()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(bounded_process.END_S)
                end(process)

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
                    raise refused(self.destination, ["forward"], SSH_FAILED, complaint)
        except subprocess.TimeoutExpired:
            raise silent(self.destination, deadline.told_s(FORWARD_TIMEOUT_S, left_s)) from None
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
            raise refused(self.destination, ["ssh"], SSH_FAILED, done.stderr.decode(errors="replace"))
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
            raise refused(self.destination, command, done.returncode or SSH_FAILED, complaint or noise)
        if check and done.returncode:
            raise refused(self.destination, command, done.returncode, complaint)
        return Done(code=done.returncode, stdout=said, stderr=complaint)
