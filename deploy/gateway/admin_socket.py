"""The door to a running HAProxy: what it is told and asked at its sockets, of which only their owner has the use.

Of one on an owned host the host does it (on_host.py).
"""

import os
import re
import socket
from pathlib import Path

from deploy.gateway import on_host
from infra.errors import ServerError

ANSWER_S = 5.0
MOST_BYTES = 16 * 2**20
WORKER = re.compile(r"^(\d+)\s+worker\b", re.MULTILINE)


def ask(path: Path, command: str) -> str:
    """HAProxy's answer to one command. Raises ServerError where none is there to answer."""
    if there := on_host.of(path.parent):
        return on_host.ask(there, path.name, command)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
            door.settimeout(ANSWER_S)
            connect(door, path)
            door.sendall(f"{command}\n".encode())
            door.shutdown(socket.SHUT_WR)
            return read(door)
    except OSError as error:
        raise ServerError(
            f"The gateway does not answer at {path}: {error.strerror or error}.",
            f"Is it running? corral gateway status {path.parent.parent.name}",
        ) from None


def connect(door: socket.socket, path: Path) -> None:
    """Connect, by the folder's descriptor: a path of its own may be longer than a socket's may be."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        door.connect(f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.close(folder)


def read(door: socket.socket) -> str:
    """All that is said until the other side closes."""
    pieces: list[bytes] = []
    while sum(map(len, pieces)) < MOST_BYTES and (piece := door.recv(65536)):
        pieces.append(piece)
    return b"".join(pieces).decode(errors="replace").strip()


def is_answering(path: Path) -> bool:
    """Whether a HAProxy answers there."""
    try:
        return bool(ask(path, "show info"))
    except ServerError:
        return False


def workers(master: Path) -> tuple[int, ...]:
    """The processes that serve: the newest, and those of before a reload that still have streams."""
    return tuple(int(pid) for pid in WORKER.findall(ask(master, "show proc")))


def newest_worker(master: Path) -> int | None:
    """The one that takes new connections: it comes first."""
    return next(iter(workers(master)), None)


def ask_all(master: Path, command: str) -> None:
    """Tell every one of them."""
    for pid in workers(master):
        ask(master, f"@!{pid} {command}")
