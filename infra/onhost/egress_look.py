#!/usr/bin/env python3
"""Run on the host as root: say what the lock of a server is and counted, and try to get out as the server would.

egress NAME [HOST:PORT ...] prints one JSON object. Standard library only: it runs with the host's own Python. An
attempt is made by a process in the server's control groups and with its user, so what stops it stops the server.
"""

import ctypes
import hashlib
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

PATIENCE_S = 3.0
LISTEN, UNCONNECTED = "0A", "07"
# Which Landlock holds abstract sockets, and the call that tells which one is here: the same on every architecture.
SCOPES_SINCE, CREATE_RULESET, ASK_VERSION = 6, 444, 1


def main() -> None:
    """Try every target, then say how things are."""
    name, targets = sys.argv[1], sys.argv[2:]
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    pid = main_pid(f"corral-{name}.service")
    uid = os.stat(f"/proc/{pid}").st_uid if pid else 0
    table = ["table", "inet", f"corral-{name}"]
    attempts = [attempt(target, pid, uid, table) for target in targets] if pid and uid else []
    loaded = Path(f"/opt/corral/{name}/loaded.nft")
    started = command_of(name)
    said = {
        "hostname": socket.gethostname(),
        "boot_id": Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        "kernel": os.uname().release,
        "pid": pid,
        "uid": uid,
        "nft": listed(table, "--json"),
        "rules": without_what_it_notes(listed(table, "--numeric", "--stateless")),
        "rules_at_start": loaded.read_text() if loaded.exists() else "",
        "attempts": attempts,
        "holds_abstract_sockets": is_confined(name, started),
        "served": served(name, started),
        "sockets": sorted(set(sockets(lambda owner, inode: owner == uid))) if uid else [],
    }
    print(json.dumps(said))


def main_pid(unit: str) -> int:
    """The server's first process; 0 when it does not run."""
    command = ["systemctl", "show", "--value", "--property=MainPID", unit]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout or 0)


def command_of(name: str) -> str:
    """How the unit starts the server."""
    command = ["systemctl", "show", "--value", "--property=ExecStart", f"corral-{name}.service"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def is_confined(name: str, started: str) -> bool:
    """Whether it is started by bin/confine, on a kernel that has what this asks of it."""
    version = ctypes.CDLL(None).syscall(CREATE_RULESET, None, ctypes.c_size_t(0), ASK_VERSION)
    return f"/opt/corral/{name}/bin/confine" in started.split() and version >= SCOPES_SINCE


def served(name: str, started: str) -> "dict[str, object]":
    """What it serves from: that of the root, or of the release which was upgraded to."""
    root = Path("/opt/corral", name)
    release = re.search(rf"/\.releases/{name}/(\w+)/engine/", started)
    own = Path("/opt/corral/.releases", name, release[1]) if release else root
    version, engine = engine_of(own / "engine")
    return {
        "vllm_version": version,
        "engine_sha256": engine,
        "model": model_of(own / "model", own / "weights.sums"),
        "rules_sha256": sum_of(root / "egress.nft"),
        "beside": beside_of(own),
    }


def engine_of(prefix: Path) -> "tuple[str, str]":
    """The version of an environment's vLLM, and one digest of every package's own list of its files (RECORD)."""
    lists = sorted(prefix.glob("lib/python3*/site-packages/*.dist-info/RECORD"))
    sums = {f"{path.parent.name}/RECORD": sum_of(path) for path in lists}
    return vllm_in(sums), over(sums)


def sum_of(path: Path) -> str:
    """The SHA-256 of a small file; nothing where there is none."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""


def vllm_in(names: "Iterable[str]") -> str:
    """The version of vLLM among packages by their RECORD; nothing where it is not there."""
    return next((name.split("-")[1].partition(".dist")[0] for name in names if name.startswith("vllm-")), "")


def over(sums: "dict[str, str]") -> str:
    """One digest of many: `sha256sum FILES | LC_ALL=C sort | sha256sum`."""
    lines = sorted(f"{summed}  {name}\n" for name, summed in sums.items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def model_of(folder: Path, notes: Path) -> "dict[str, str]":
    """The sums that were noted of the weights (sums.py); nothing for a file that is not as it was noted."""
    noted = json.loads(notes.read_text()) if notes.exists() else {}
    return {
        name: summed if is_as_noted(folder / name, size, time_ns) else ""
        for name, (size, time_ns, summed) in noted.items()
    }


def beside_of(own: Path) -> "dict[str, dict[str, str]]":
    """The same of a draft and of each adapter, by its folder; heal.py says where their sums are noted."""
    folders = [path for path in (own / "draft", *sorted((own / "adapters").glob("*"))) if path.is_dir()]
    names = [path.relative_to(own).as_posix() for path in folders]
    return {name: model_of(own / name, own / f"{name.replace('/', '-')}.sums") for name in names}


def is_as_noted(path: Path, size: int, time_ns: int) -> bool:
    """Whether a file has the size and the time that it had."""
    return path.exists() and (path.stat().st_size, path.stat().st_mtime_ns) == (size, time_ns)


def without_what_it_notes(rules: str) -> str:
    """The rules as bin/lock keeps them: without the elements that the kernel adds by itself."""
    return re.sub(r"(flags dynamic[^{}]*?)\n\s*elements = \{[^{}]*\}", r"\1", rules)


def listed(table: "list[str]", *options: str) -> str:
    """What nft says of a table; nothing when nft is missing or has no such table."""
    # Asked for first: an nft that fails must not read as a table that is not there, or as counters at zero.
    if not shutil.which("nft") or " ".join(table) not in nft("list", "tables").splitlines():
        return ""
    return nft(*options, "list", *table)


def nft(*words: str) -> str:
    """What nft says. Raises CalledProcessError when it fails."""
    return subprocess.run(["nft", *words], capture_output=True, text=True, check=True).stdout


def dropped(table: "list[str]") -> int:
    """How many packets of the server the lock has stopped so far."""
    items = json.loads(listed(table, "--json") or '{"nftables": []}')["nftables"]
    counters = [item["counter"] for item in items if "counter" in item]
    return sum(counter["packets"] for counter in counters if counter["name"] == "dropped")


def attempt(target: str, pid: int, uid: int, table: "list[str]") -> "dict[str, object]":
    """Try one TCP connection as the server, and count what the lock stopped meanwhile."""
    host, _, port = target.rpartition(":")
    try:
        family, _, _, _, address = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)[0]
    except OSError as error:
        return {"target": target, "tried": False, "connected": False, "said": str(error), "dropped": 0}
    before = dropped(table)
    receiving, sending = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(sending, json.dumps(connected_as(pid, uid, family, address)).encode())
        finally:
            os._exit(0)
    os.close(sending)
    with os.fdopen(receiving) as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    nothing = {"tried": False, "connected": False, "said": "the server's user could not be taken on"}
    return {
        "target": target,
        **(json.loads(answer) if answer else nothing),
        "dropped": dropped(table) - before,
    }


def connected_as(pid: int, uid: int, family: int, address: "tuple[object, ...]") -> "dict[str, object]":
    """Become the server in its control groups and user, and connect."""
    join_groups(pid)
    os.setgroups([])
    os.setresgid(*[os.stat(f"/proc/{pid}").st_gid] * 3)
    os.setresuid(uid, uid, uid)
    # A connected UDP socket sends nothing, and tells whether there is a way at all.
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as way:
            way.connect(address)
    except OSError as error:
        return {"tried": False, "connected": False, "said": error.strerror}
    with socket.socket(family, socket.SOCK_STREAM) as connection:
        connection.settimeout(PATIENCE_S)
        try:
            connection.connect(address)
        except OSError as error:
            return {"tried": True, "connected": False, "said": error.strerror or str(error)}
    return {"tried": True, "connected": True, "said": "connected"}


def join_groups(pid: int) -> None:
    """Enter the process's control groups, wherever this host has them mounted."""
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        for base in (controllers.removeprefix("name="), "unified" if not controllers else ""):
            file = Path("/sys/fs/cgroup", base, path.lstrip("/"), "cgroup.procs")
            try:
                with file.open("r+") as group:  # never made: a file of that name would pass for a group's
                    group.write(str(os.getpid()))
                break
            except OSError:
                continue


def sockets(is_ours: "Callable[[int, str], bool]") -> "list[str]":
    """The other end of every connected socket that is ours, as ADDRESS PORT, from the tables ss reads."""
    ends = []
    for table in ("tcp", "tcp6", "udp", "udp6"):
        path = Path("/proc/net", table)
        for line in path.read_text().splitlines()[1:] if path.exists() else []:
            cells = line.split()
            state, owner, inode = cells[3], int(cells[7]), cells[9]
            if state not in (LISTEN, UNCONNECTED) and is_ours(owner, inode):
                ends.append(readable(cells[2]))
    return ends


def inodes(pid: int) -> "set[str]":
    """The sockets a process holds, by the number the kernel's tables know them by."""
    numbers = set()
    for descriptor in Path(f"/proc/{pid}/fd").glob("*"):
        try:
            link = os.readlink(descriptor)
        except OSError:
            continue
        if link.startswith("socket:["):
            numbers.add(link[len("socket:[") : -1])
    return numbers


def readable(end: str) -> str:
    """One end as the kernel writes it (words of 32 bits in the machine's order), as ADDRESS PORT."""
    address, port = end.split(":")
    words = [int(address[at : at + 8], 16) for at in range(0, len(address), 8)]
    raw = struct.pack(f"={len(words)}I", *words)
    return f"{socket.inet_ntop(socket.AF_INET if len(words) == 1 else socket.AF_INET6, raw)} {int(port, 16)}"


if __name__ == "__main__":
    main()
