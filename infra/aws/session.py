"""The door to Session Manager: a port of a rented box on this machine, and one command on the box.

No port of the box is open. The AWS CLI with its session-manager-plugin holds the tunnel: the API alone (StartSession)
gives only a web socket and a token.
"""

import json
import math
import os
import re
import secrets
import selectors
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, ClassVar, Literal

from infra import bounded_process, deadline
from infra.argument import pasted
from infra.bounded_process import LastWords, Patience
from infra.errors import DocumentError, HostError
from infra.printable import one_line
from infra.processes import Birth, birth, is_alive
from infra.record import Document, Record, removed

COMMAND_TIMEOUT_S = 60
LONGEST_LINE_BYTES = 1024 * 1024
"""A longer one comes in pieces."""


class Answer(Record):
    """What a command said on a box, its errors among it, and its exit code there."""

    text: str
    exit_code: int

    @property
    def last_line(self) -> str:
        """Its last words, for a message."""
        lines = [line.strip() for line in self.text.splitlines() if line.strip()]
        return one_line(lines[-1]) if lines else f"it said nothing and ended with {self.exit_code}"


class Tunnel(Document):
    """The process that holds a tunnel."""

    kind: ClassVar[str] = "tunnel"
    document: Literal["tunnel"] = "tunnel"
    schema_version: Literal[1] = 1

    instance_id: str
    """The box that it leads to."""
    local_port: int
    """Of this machine's loopback, where it begins."""
    holder: Birth
    """The process that holds it, told apart from a later one of the same number."""


def forward(instance_id: str, region: str, port: int, local_port: int) -> list[str]:
    """The command that puts a port of the box on this machine."""
    parameters = {"portNumber": [str(port)], "localPortNumber": [str(local_port)]}
    return start_session(instance_id, region, "AWS-StartPortForwardingSession", parameters)


def command(instance_id: str, region: str, words: str) -> list[str]:
    """The command that runs something on the box and prints what it says."""
    return start_session(instance_id, region, "AWS-StartNonInteractiveCommand", {"command": [words]})


def shell(instance_id: str, region: str) -> tuple[str, ...]:
    """The command that opens a shell on the box."""
    return ("aws", "ssm", "start-session", "--region", region, "--target", instance_id)


def start_session(
    instance_id: str, region: str, document: str, parameters: dict[str, list[str]]
) -> list[str]:
    """`aws ssm start-session` with one of AWS's documents."""
    asked = ("--document-name", document, "--parameters", json.dumps(parameters))
    return [*shell(instance_id, region), *asked]


def missing_programs() -> tuple[str, ...]:
    """What holds a session, and is not on this machine."""
    return tuple(name for name in ("aws", "session-manager-plugin") if shutil.which(name) is None)


def lacks(programs: tuple[str, ...]) -> HostError:
    """The error for programs that are missing."""
    return HostError(
        f"Session Manager needs {' and '.join(programs)} on this machine.",
        "Install the AWS CLI and the plugin: "
        "https://docs.aws.amazon.com/systems-manager/latest/userguide/session-manager-working-with-install-plugin.html",
    )


def require_plugin() -> None:
    """Raise HostError when this machine lacks what holds a session."""
    if programs := missing_programs():
        raise lacks(programs)


def run(instance_id: str, region: str, words: str, timeout_s: float = COMMAND_TIMEOUT_S) -> Answer:
    """What a command of the shell says on the box, and how it ended there.

    Raises HostError when the session does not come about, or ends before the command does.
    """
    mark = new_mark()
    with started(command(instance_id, region, enclosed(words, mark))) as process:
        try:
            said = bounded_process.heard(process, deadline.left_s(timeout_s))
        except bounded_process.TooMuch:
            raise HostError(
                f"{instance_id} says more than anything we ask is answered with.",
                "Something there floods the session. See whose it is (corral status), and take that away: corral down",
            ) from None
        except subprocess.TimeoutExpired:
            raise unanswered(instance_id) from None
    out, err = (each.decode(errors="replace") for each in said)
    answer = answer_in(out, mark)
    if answer is None:
        raise unreached(instance_id, out, err)
    return answer


def follow(boxes: Sequence[tuple[str, str]], words: str) -> Iterator[tuple[str, str]]:
    """Each box's id and a line its command says there, as they come; closing the iterator ends it here and there.

    `boxes` are instance ids with their regions. Raises HostError when a session does not come about, or ends before
    its command does.
    """
    mark, patience = new_mark(), Patience(deadline.left_s(COMMAND_TIMEOUT_S))
    with ExitStack() as stack, selectors.DefaultSelector() as ready:
        for instance_id, region in boxes:
            process = stack.enter_context(started(command(instance_id, region, enclosed(words, mark))))
            assert process.stdout is not None
            told = Heard(instance_id, mark), LastWords(process.stderr)
            ready.register(process.stdout, selectors.EVENT_READ, told)
        while open_ones := [key.data for key in ready.get_map().values()]:
            silent = [heard.instance_id for heard, _ in open_ones if not heard.begun]
            if not silent:  # what has begun may go on for ever
                patience.left_s = math.inf
            if not patience.wait(ready):
                raise unanswered(silent[0])
            for key, _ in ready.select(0):
                heard, complaint = key.data
                data = os.read(key.fd, 65536)
                yield from ((heard.instance_id, line) for line in heard.lines(data))
                if heard.ended or not data:
                    ready.unregister(key.fileobj)
                if not data and not heard.ended:
                    raise unreached(heard.instance_id, heard.before, complaint.text())


class Heard:
    """What one followed session said so far."""

    def __init__(self, instance_id: str, mark: str) -> None:
        self.instance_id = instance_id
        self.mark = mark
        self.before = ""
        """The plugin's own words, before the command's."""
        self.begun = self.ended = False
        self._rest = b""

    def lines(self, data: bytes) -> Iterator[str]:
        """The command's lines that are whole by now."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LONGEST_LINE_BYTES:
            whole, self._rest = [*whole, self._rest], b""
        for line in (each.decode(errors="replace").rstrip() for each in whole):
            if self.begun and line.startswith(self.mark):
                self.ended = True
            elif self.begun and not self.ended:
                yield line
            elif line == self.mark:
                self.begun = True
            else:
                self.before = f"{self.before}{line}\n"[-LONGEST_LINE_BYTES:]


def new_mark() -> str:
    """A line that nothing on the box says by itself."""
    return f"corral-{secrets.token_hex(8)}"


def enclosed(words: str, mark: str) -> str:
    """The command between two lines of ours, the second with its exit code.

    Around them the plugin says what it does; it tells no exit code, and leaves with 0 however the session ended.
    """
    return f"echo {mark}; sh -c {shlex.quote(words)} 2>&1; code=$?; echo; echo {mark} $code"


def answer_in(out: str, mark: str) -> Answer | None:
    """The answer among what a session said; None when the command did not end in it."""
    between = re.search(
        rf"^{mark}\n(.*)\n{mark} (\d{{1,3}})$", out.replace("\r\n", "\n"), re.MULTILINE | re.DOTALL
    )
    return Answer(text=between[1], exit_code=int(between[2])) if between else None


def unanswered(instance_id: str) -> HostError:
    """A session that says nothing, or does not come to its end."""
    return HostError(f"Session Manager on {instance_id} did not answer.", "Try again in a minute.")


def unreached(instance_id: str, out: str, err: str) -> HostError:
    """No session, or one that ended early, with the last words about it."""
    lines = [line.strip() for line in (*out.splitlines(), *err.splitlines()) if line.strip()]
    reason = one_line(lines[-1]).rstrip(".") if lines else "no reason given"
    return HostError(
        f"Session Manager does not reach {instance_id}: {reason}.",
        "The box may still start; else check that its subnet reaches the endpoints ssm and ssmmessages.",
    )


@contextmanager
def started(words: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A session whose input stays open, ended with all its processes.

    The plugin reads its input as a terminal's: where that ends, it ends the session before the box has answered.
    """
    require_plugin()
    theirs, ours = os.pipe()
    try:
        process = subprocess.Popen(
            words,
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            end(process)
    finally:
        os.close(theirs)
        os.close(ours)


def end(process: subprocess.Popen[bytes]) -> None:
    """End it with the plugin, its child, which ends the session on the box; by force where that takes too long."""
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stdout, process.stderr:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with suppress(bounded_process.TooMuch, subprocess.TimeoutExpired):
                bounded_process.heard(process, bounded_process.END_S)
                return


def last_port(path: Path, instance_id: str) -> int | None:
    """The local port of the last tunnel to that box, open or not: what asks there should find it again."""
    try:
        tunnel = Tunnel.read(path)
    except DocumentError:
        return None
    return tunnel.local_port if tunnel.instance_id == instance_id else None


def held(path: Path, instance_id: str) -> Tunnel | None:
    """The tunnel that is open to that box."""
    if not path.exists():
        return None
    tunnel = Tunnel.read(path)
    return tunnel if tunnel.instance_id == instance_id and is_alive(tunnel.holder) else None


def open_tunnel(path: Path, instance_id: str, region: str, port: int, local_port: int) -> Tunnel:
    """Hold a tunnel in a process of its own, which outlives us; `close_tunnel` ends it."""
    require_plugin()
    log_file = path.with_suffix(".log")
    with said_in(log_file) as log:
        process = subprocess.Popen(
            forward(instance_id, region, port, local_port),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    holder = birth(process.pid)
    if holder is None:
        raise HostError(
            f"The tunnel to {instance_id} ended at once.",
            f"Read why: cat {pasted(log_file)}",
        )
    tunnel = Tunnel(instance_id=instance_id, local_port=local_port, holder=holder)
    try:
        tunnel.write(path)
    except HostError:
        os.killpg(process.pid, signal.SIGTERM)  # nobody would find it again
        raise
    return tunnel


def said_in(path: Path) -> IO[bytes]:
    """The file for what a tunnel says; nothing keeps it where the disk takes none."""
    try:
        return path.open("wb")
    except OSError:
        return open(os.devnull, "wb")


def close_tunnel(path: Path) -> None:
    """End the tunnel, if one is open."""
    if not path.exists():
        return
    try:
        holder = Tunnel.read(path).holder
    except DocumentError:
        holder = None  # it ends with the box
    if holder and is_alive(holder):
        # The CLI leads the process group; the plugin that holds the socket is its child.
        os.killpg(holder.pid, signal.SIGTERM)
    removed([path])  # one that stays names a process that is gone
