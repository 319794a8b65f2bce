#!/usr/bin/env python3
"""gatekeeper ORDER NAME: what a deployment's gateway, or a listener of one, has done for it as root on its host.

corral brings what HAProxy reads to a folder of root's. HAProxy has a user of its own and gets copies, in the one folder
that it may write: `begin` makes them before each start, `again` at each change. `try` has HAProxy read what was brought
before that replaces anything; `keep` keeps the list of keys; both do nothing where that list has changed meanwhile.
`ask` tells HAProxy what comes on the input, as HAProxy's own user; `stop` ends it; `used` sums up its audit. Standard
library only: it runs with the host's own Python.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

try:
    from infra.onhost import audit
except ImportError:  # on a host it lies beside it
    sys.path.insert(0, str(Path(__file__).parent))
    import audit  # type: ignore[import-not-found, no-redef]

ADMIN, STATE, SPENT, CONFIG = "admin.sock", "servers.state", "spent", "haproxy.cfg"
NO_STATE = "1\n"
"""The version of HAProxy's file of states, and no server."""
SERVER_LINE = re.compile(r"^  server (\S+) \S+:(\d+)( ssl)?", re.MULTILINE)
"""A server of the configuration, its port, and whether it is asked over TLS."""
ANSWER_S, READ_WITHIN_S, GOES_WITHIN_S, EVERY_S = 5.0, 30.0, 10.0, 0.2
MOST_BYTES = 16 * 2**20
REFUSED, CHANGED = 1, 3
"""What `try` ends with where HAProxy takes it not, and `try` and `keep` where the list is another than it was."""
KEYS = "keys.json"
ROOTS = (KEYS, "gateway.json")
"""What HAProxy does not read."""
SUMMED = "audit.sums"
"""What was summed up of its audit."""
LOADED_FROM = "loaded.from"
"""The rules that the last change loaded."""


class Place(NamedTuple):
    """Where a gateway is on its host."""

    name: str
    root: Path
    """What root alone writes."""

    @property
    def unit(self) -> str:
        """HAProxy's."""
        return f"corral-{self.name}.service"

    @property
    def state(self) -> Path:
        """The one folder that HAProxy may write; systemd makes it, for the user it has."""
        return Path(f"/var/lib/private/corral-{self.name}")

    @property
    def audit(self) -> Path:
        """A line a request; systemd opens it, HAProxy only writes on."""
        return Path(f"/var/log/corral/{self.name}.jsonl")


def main() -> None:
    """Do what is asked for."""
    order, name, *rest = sys.argv[1:]
    place = Place(name, Path(__file__).parent.parent)
    os.environ["PATH"] = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    sys.exit(ORDERS[order](place, *rest))


def try_out(place: Place, haproxy: str, was: str) -> int:
    """Have HAProxy read what was brought; it replaces what was there, or goes. Says why it was refused.

    It goes, too, where the list of keys that was brought with it was made from another than there is now.
    """
    following = place.root / "next"
    with turn(place):
        if not following.is_dir():  # another corral's `try` has taken it
            return CHANGED
        if summed(place) != was:
            shutil.rmtree(following)
            return CHANGED
        done = subprocess.run(
            [haproxy, "-c", "-C", str(following), "-f", CONFIG],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
            timeout=READ_WITHIN_S, check=False,
        )  # fmt: skip
        if done.returncode:
            print(done.stderr)
            shutil.rmtree(following)
            return REFUSED
        (place.root / "files").mkdir(mode=0o700, exist_ok=True)
        for path in sorted(following.iterdir()):
            path.replace((place.root if path.name in ROOTS else place.root / "files") / path.name)
        following.rmdir()
    return 0


@contextmanager
def turn(place: Place) -> Iterator[None]:
    """One corral at a time changes what is kept."""
    with (place.root / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def summed(place: Place) -> str:
    """The sum of the list of keys as it is now."""
    known = place.root / KEYS
    return hashlib.sha256(known.read_bytes() if known.exists() else b"").hexdigest()


def anew(place: Place) -> int:
    """Before a start, which loads the rules of its lock as they are now, whatever the last change loaded."""
    (place.root / LOADED_FROM).unlink(missing_ok=True)
    return begin(place)


def begin(place: Place) -> int:
    """Put copies of what HAProxy reads where it reads them, with what was spent and which servers are out."""
    files = {path.name: path.read_bytes() for path in sorted((place.root / "files").iterdir())}
    month = time.strftime("%Y-%m", time.gmtime())
    files[SPENT] = audit.spent(audit.sums(place.audit, place.root / SUMMED), month).encode()
    files[STATE] = as_configured(servers(place) or NO_STATE, files[CONFIG].decode()).encode()
    owner = place.state.stat()
    folder = os.open(place.state, os.O_RDONLY | os.O_DIRECTORY)
    for name, content in files.items():
        put(folder, name, content, owner)
    return 0


def as_configured(state: str, config: str) -> str:
    """PURE: what HAProxy says of its servers, with the ports and the TLS of the configuration that is to hold.

    It takes both from that file: it would ask a server whose port has changed at the old one, and one that has TLS by
    now without.
    """
    now = {name: (port, str(int(bool(tls)))) for name, port, tls in SERVER_LINE.findall(config)}
    columns: list[str] = []
    lines = []
    for line in state.splitlines():
        words = line.split(" ")
        if line.startswith("# "):
            columns = words[1:]
        elif {"srv_name", "srv_port", "srv_use_ssl"} <= set(columns) and len(words) == len(columns):
            known = now.get(words[columns.index("srv_name")])
            if known:
                words[columns.index("srv_port")], words[columns.index("srv_use_ssl")] = known
        lines.append(" ".join(words))
    return "".join(f"{line}\n" for line in lines)


def put(folder: int, name: str, content: bytes, owner: os.stat_result) -> None:
    """Write a file of HAProxy's, whatever HAProxy has put in its place: what it made is not followed."""
    new = f".{name}.new"
    with suppress(FileNotFoundError):
        os.unlink(new, dir_fd=folder)
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=folder)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
    os.rename(new, name, src_dir_fd=folder, dst_dir_fd=folder)


def servers(place: Place) -> str:
    """Which servers the HAProxy that runs has out of rotation; nothing where none runs."""
    receiving, sending = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(sending, json.dumps(answers(place, [(ADMIN, "show servers state engines")])).encode())
        finally:
            os._exit(0)
    os.close(sending)
    with os.fdopen(receiving, "rb") as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    (answer,) = json.loads(said) if said else (None,)
    return f"{answer}\n" if answer else ""


def again(place: Place) -> int:
    """Before a change: where the rules of its lock are others now they replace those, in one step; then as `begin`."""
    table = ["table", "inet", f"corral-{place.name}"]
    uid = told("show", "--value", "--property=UID", place.unit).strip()
    rules = f"define server = {uid}\n{(place.root / 'egress.nft').read_text()}"
    loaded, of = place.root / "loaded.nft", place.root / LOADED_FROM
    if not of.exists() or of.read_text() != rules:
        subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)
        listed = ["nft", "--numeric", "--stateless", "list", *table]
        loaded.write_text(subprocess.run(listed, capture_output=True, text=True, check=True).stdout)
        of.write_text(rules)
    return begin(place)


def keep(place: Place, was: str) -> int:
    """Keep the files on the input, by their names, if the list of keys is still the one of that sum."""
    files = json.load(sys.stdin)
    with turn(place):
        if summed(place) != was:
            return CHANGED
        for name, text in files.items():
            path = place.root / name
            path.parent.mkdir(mode=0o700, exist_ok=True)
            new = path.with_name(f".{path.name}.new")
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            new.replace(path)
    return 0


def ask(place: Place) -> int:
    """Say HAProxy's answers to the commands on the input, a socket's name and words each; null where none came."""
    print(json.dumps(answers(place, json.load(sys.stdin))))
    return 0


def answers(place: Place, commands: list[tuple[str, str]]) -> list[str | None]:
    """As HAProxy's own user from here on: what it puts in a socket's place, root does not speak with."""
    if not place.state.is_dir():
        return [None for _ in commands]
    os.chdir(place.state)
    owner = Path().stat()
    if not os.geteuid():
        os.setgroups([])
        os.setresgid(*[owner.st_gid] * 3)
        os.setresuid(*[owner.st_uid] * 3)
    return [answer(name, command) for name, command in commands]


def answer(name: str, command: str) -> str | None:
    """One answer."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
            door.settimeout(ANSWER_S)
            door.connect(name)
            door.sendall(f"{command}\n".encode())
            door.shutdown(socket.SHUT_WR)
            pieces: list[bytes] = []
            while sum(map(len, pieces)) < MOST_BYTES and (piece := door.recv(65536)):
                pieces.append(piece)
    except OSError:
        return None
    return b"".join(pieces).decode(errors="replace").strip()


def stop(place: Place, seconds: str) -> int:
    """End it and start it no more; its streams have that long, and what does not end then is made to."""
    told("disable", place.unit)
    told("--no-block", "stop", place.unit)
    for signal, within_s in (("", float(seconds)), ("TERM", GOES_WITHIN_S), ("KILL", GOES_WITHIN_S)):
        if signal:
            told("kill", f"--signal={signal}", place.unit)
        end_s = time.monotonic() + within_s
        while not (has_ended := is_over(place)) and time.monotonic() < end_s:
            time.sleep(EVERY_S)
        if has_ended:
            return 0
    return 1


def is_over(place: Place) -> bool:
    """Whether its unit has ended."""
    state = told("show", "--value", "--property=ActiveState", place.unit).strip()
    return state in ("inactive", "failed")


def told(*words: str) -> str:
    """What systemctl says."""
    done = subprocess.run(["systemctl", *words], capture_output=True, text=True, check=False)
    return done.stdout


def used(place: Place) -> int:
    """Say what its audit comes to."""
    print(json.dumps(audit.sums(place.audit, place.root / SUMMED)))
    return 0


ORDERS: dict[str, Callable[..., int]] = {
    "try": try_out,
    "begin": anew,
    "again": again,
    "keep": keep,
    "ask": ask,
    "stop": stop,
    "used": used,
}


if __name__ == "__main__":
    main()
