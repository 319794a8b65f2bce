"""The door to `vllm serve` on this machine: its process group, its record and its log, in one folder.

The group outlives corral. What belongs to it is asked from the kernel (session, birth, a marker in the
environment), so a record that is stale, or was never written, cannot make corral kill a stranger or miss an orphan.
"""

import errno
import os
import secrets
import shutil
import signal
import stat
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from infra import processes
from infra.argument import pasted
from infra.errors import DocumentError, HostError, ServerError
from infra.processes import Birth
from infra.record import Document, is_missing, removed, write_over, write_text_atomically
from serving.vllm import events, log_reader, log_writer
from serving.vllm.endpoint import Endpoint
from serving.vllm.engine import Engine
from serving.vllm.serve_options import (
    NOT_INHERITED,
    ServeOptions,
    argv,
    environment,
    folders,
    temporary_folder,
)

ROOM_BYTES = 4 * 2**20
"""What is to be free for a start: its record, and the beginning of its log."""
# The folders of earlier logs, and what marks the process that writes the log.
LAST_LOG = "last-log"
FIRST_DEATH = "first-death"
WRITES_LOG = "CORRAL_WRITES_LOG"
STOP_WITHIN_S = 60.0
"""What a stop takes beyond the drain (serving/vllm/stopping.py)."""


class Server(Document):
    """One `vllm serve` that was started: who it is, what it was told, where it answers. Never its key."""

    kind: ClassVar[str] = "server record"
    document: Literal["server"] = "server"
    schema_version: Literal[1] = 1

    leader: Birth
    """Its first process."""
    started_at: datetime
    """When (UTC)."""
    vllm: Path
    """The executable."""
    vllm_version: str
    """As its metadata says."""
    arguments: tuple[str, ...]
    """What it was started with; no key is among them."""
    endpoint: Endpoint
    """Where it answers."""
    shutdown_timeout_s: int
    """That requests may take to end when it is stopped."""
    load_budget_s: int
    """That a start may take."""
    stopping_at: datetime | None = None
    """When somebody began to stop it."""
    stopping_by: Birth | None = Field(default=None, exclude_if=lambda who: who is None)
    """Who does so, until it has ended: a stop whose process is gone was cut short, and counts for nothing."""
    stopped_at: datetime | None = None
    """When it had ended because somebody asked; null until then."""


def start(folder: Path, engine: Engine, options: ServeOptions, load_budget_s: int) -> Server:
    """Start the process group and return at once. Raises ServerError when the executable cannot be run."""
    given = environment(str(folder), load_budget_s, str(shared_cache(folder)))
    given |= {"VLLM_API_KEY": api_key(folder)}
    turn_log(folder)
    folder.chmod(0o700)  # the key is here
    make_private(temporary(folder))
    shared_cache(folder).mkdir(exist_ok=True)
    make_private(shared_cache(folder) / "vllm")  # what is compiled is code
    with log_pipe(folder) as output:
        pid = spawn(
            (str(engine.vllm), *argv(options)), process_environment(os.environ, given, folder), output
        )
    server = Server(
        leader=processes.birth(pid) or Birth(pid=pid, start_ticks=0, boot_id=processes.boot_id()),
        started_at=datetime.now(UTC),
        vllm=engine.vllm,
        vllm_version=engine.version,
        arguments=argv(options),
        endpoint=Endpoint(
            base_url=base_url(options),
            served_model_name=options.served_model_name,
            api_key_file=key_file(folder),
        ),
        shutdown_timeout_s=options.shutdown_timeout,
        load_budget_s=load_budget_s,
    )
    server.write(record_file(folder))
    return server


def full(folder: Path) -> str:
    """Why its folder takes no more of what a start writes; "" where there is room. Only writing finds a quota."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(ROOM_BYTES))
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return f"{folder} takes nothing more: {error.strerror}; make room there (df -h {pasted(str(folder))})"
    return ""


def temporary(folder: Path) -> Path:
    """The server's TMPDIR; empty while it does not run."""
    return Path(temporary_folder(str(folder)))


def make_private(path: Path) -> None:
    """Make a folder only this user can enter. Raises HostError when somebody else has one of that name."""
    path.mkdir(mode=0o700, exist_ok=True)
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise HostError(
            f"{path} belongs to somebody else.", "Remove it, or set CORRAL_HOME to a shorter path."
        )
    if status.st_mode & 0o077:
        path.chmod(0o700)


@contextmanager
def log_pipe(folder: Path) -> Iterator[int]:
    """The end of a pipe whose other end a process of its own writes into the log. Raises ServerError without one."""
    theirs, ours = os.pipe()
    try:
        name, _, value = marker(folder).partition("=")
        command = (sys.executable, "-I", "-S", log_writer.__file__, str(log_file(folder)))
        writer = os.posix_spawn(
            command[0],
            command,
            {name: value, WRITES_LOG: "1"},
            file_actions=[
                (os.POSIX_SPAWN_DUP2, theirs, 0),
                (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
        )
        if os.waitpid(writer, 0)[1]:
            raise ServerError(f"{log_file(folder)} cannot be written.", "Look at the disk: df -h, ls -ld")
        yield ours
    finally:
        os.close(theirs)
        os.close(ours)


def spawn(command: tuple[str, ...], environ: Mapping[str, str], output: int) -> int:
    """Run a command in a session of its own, its output to a descriptor. Raises ServerError."""
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, output, 1),
        (os.POSIX_SPAWN_DUP2, output, 2),
    ]
    # A shell's background job ignores SIGINT, and would hand that down.
    plain = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    try:
        return os.posix_spawn(
            command[0], command, environ, file_actions=actions, setsid=True, setsigdef=plain
        )
    except OSError as error:
        raise ServerError(
            f"{command[0]} cannot be run: {error.strerror}.",
            "See which vLLM corral starts: corral engine show",
        ) from None


def process_environment(
    inherited: Mapping[str, str], given: Mapping[str, str], folder: Path
) -> dict[str, str]:
    """The server's whole environment: the user's without what it must not have, corral's, and the marker."""
    kept = {name: value for name, value in inherited.items() if name not in NOT_INHERITED}
    # SPT_NOENV: vLLM renames its processes, and must not overwrite the marker while it does.
    name, _, value = marker(folder).partition("=")
    return {**kept, **given, "SPT_NOENV": "1", "PYTHONUNBUFFERED": "1", name: value}


def marker(folder: Path) -> str:
    """What every process of the group carries in its environment."""
    return f"CORRAL_SERVER={folder.resolve()}"


def base_url(options: ServeOptions) -> str:
    """Where the server answers, as seen from this machine."""
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(options.host, options.host)
    return f"http://{f'[{host}]' if ':' in host and not host.startswith('[') else host}:{options.port}"


def api_key(folder: Path) -> str:
    """The endpoint's key, from a file only its owner can read; made of 32 random bytes when there is none."""
    path = key_file(folder)
    if not path.exists() or not path.read_text().strip():
        write_text_atomically(path, f"sk-{secrets.token_urlsafe(32)}\n", mode=0o600)
    return path.read_text().strip()


def shared_cache(folder: Path) -> Path:
    """Where the servers of this home keep what the next one need not find out or compile again; `down` leaves it."""
    return folder.parent / "cache"


def key_file(folder: Path) -> Path:
    """Where the endpoint's key is."""
    return folder / "api-key"


def record_file(folder: Path) -> Path:
    """Where the record of the server is."""
    return folder / "server.json"


def log_file(folder: Path) -> Path:
    """Where the beginning of the server's log is; what follows is beside it (serving/vllm/log_reader.py)."""
    return folder / "vllm.log"


def turn_log(folder: Path) -> None:
    """Put the log of the last run aside, in place of the one before it."""
    shutil.rmtree(folder / LAST_LOG, ignore_errors=True)
    for _, part in log_reader.parts(log_file(folder)):
        if part.exists():
            (folder / LAST_LOG).mkdir(mode=0o700, exist_ok=True)
            os.replace(part, folder / LAST_LOG / part.name)


def keep_first_death(folder: Path) -> None:
    """Keep the log as it is beside those of later runs, which push each other out; it takes no room of its own."""
    shutil.rmtree(folder / FIRST_DEATH, ignore_errors=True)
    with suppress(OSError):  # a full disk: what is wrong is said all the same
        (folder / FIRST_DEATH).mkdir(mode=0o700, exist_ok=True)
        for _, part in log_reader.parts(log_file(folder)):
            if part.exists():
                os.link(part, folder / FIRST_DEATH / part.name)


def load(folder: Path) -> Server | None:
    """The record of the server last started in a folder; None when none was. Raises DocumentError when corrupt."""
    try:
        return Server.read(record_file(folder))
    except DocumentError as error:
        if is_missing(record_file(folder)):
            return None
        error.hint = f"Its processes are found without it: corral stop {folder.name}"
        raise


def load_or_remove(folder: Path) -> Server | None:
    """The record; one that cannot be read is removed, for the marker finds the processes without it."""
    try:
        return load(folder)
    except DocumentError:
        removed([record_file(folder)])
        return None


def known(folder: Path) -> Server | None:
    """The record, if there is one that can be read."""
    with suppress(DocumentError):
        return load(folder)
    return None


def note(folder: Path, server: Server) -> str:
    """Write the record as well as the disk allows: in one step, else over the old one; else why not. Never raises."""
    try:
        server.write(record_file(folder))
    except HostError as error:
        try:
            write_over(record_file(folder), server.text())
        except HostError:
            return error.message
    return ""


def is_being_stopped(server: Server) -> bool:
    """Whether somebody is about to stop it; whoever was killed meanwhile is not, nor who sleeps over it."""
    if server.stopped_at or not (server.stopping_at and server.stopping_by):
        return False
    passed_s = (datetime.now(UTC) - server.stopping_at).total_seconds()
    return passed_s <= server.shutdown_timeout_s + STOP_WITHIN_S and processes.is_alive(server.stopping_by)


def note_wish(folder: Path) -> None:
    """Note on the record of a server that has ended that somebody wants it so: who waits to start it again sees it."""
    if (server := known(folder)) and server.stopped_at:
        note(folder, server.model_copy(update={"stopping_at": datetime.now(UTC)}))


def members(folder: Path) -> tuple[int, ...]:
    """The living processes of the server of that folder, orphans of a killed one included."""
    server = known(folder)
    session = server.leader.pid if server and server.leader.boot_id == processes.boot_id() else None
    if server and session and number_was_reused(server.leader):
        session = None
    return processes.members(session, marker(folder))


def number_was_reused(leader: Birth) -> bool:
    """Whether another process has the leader's number now: then nothing of its session is left."""
    now = processes.birth(leader.pid)
    return now is not None and now != leader


def workers(folder: Path) -> tuple[int, ...]:
    """The members without the process that writes their log, which ends after them."""
    return tuple(pid for pid in members(folder) if not processes.carries(pid, f"{WRITES_LOG}=1"))


def log_text(folder: Path) -> str:
    """The log of the last run; "" when there is none."""
    return log_reader.text(log_file(folder))


def age_s(server: Server) -> float:
    """How long ago the server was started."""
    return (datetime.now(UTC) - server.started_at).total_seconds()


def remove_files(folder: Path) -> tuple[str, ...]:
    """Remove what a server that has ended leaves: record, key, logs, caches. Documents stay. Says what is left."""
    places = [Path(place) for place in folders(str(folder)).values()]
    places += [folder / LAST_LOG, folder / FIRST_DEATH]
    for place in places:
        shutil.rmtree(place, ignore_errors=True)
    parts = [part for _, part in log_reader.parts(log_file(folder))]
    left = removed([record_file(folder), key_file(folder), events.file(folder), *parts, folder / ".lock"])
    return (*left, *(f"folder {place}" for place in places if not is_missing(place)))
