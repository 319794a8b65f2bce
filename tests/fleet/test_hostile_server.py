"""A hostile server in the unit of a booted host: what it tries to carry out stays, and it cannot turn the lock.

In vLLM's place is data/hostile_server.py, and beside it run data/carriers.py: programs that would carry things out.
Each way is tried by an ordinary user too, to see that it is one.
"""

import json
import re
import shlex
import socket
import struct
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from infra import host, host_files

pytestmark = [pytest.mark.fleet, pytest.mark.slow, pytest.mark.timeout(900)]

DATA = Path(__file__).parents[1] / "data"
UNIT = "corral-hostile.service"

# Ways that are ones: an ordinary user's reach somebody.
OPEN = (
    *("TCP over IPv4", "TCP over IPv6", "TCP to an IPv4 address in IPv6", "UDP over IPv4", "UDP over IPv6"),
    *("multipath TCP", "EC2's metadata", "a name server on loopback", "a proxy on loopback"),
    *("a proxy on IPv6 loopback", "a mail server at the host's address", "another user's port"),
    *("syslog over UDP", "docker's socket", "docker's socket by its old path", "an agent's socket"),
    *("another user's run folder", "the mail queue's socket", "the resolver's socket", "D-Bus", "busctl"),
    *("journald's socket", "systemd's notify socket", "an abstract socket", "a user namespace", "io_uring"),
    *("an abstract datagram", "an abstract socket of packets", "a socket in memory", "a file in memory"),
    *(
        "a pipe in memory",
        "a System V queue",
        "a System V segment",
        "a POSIX queue",
        "netlink between programs",
    ),
    *("the host's directory of users", "a database's socket", "a monitor's pipe", "a pipe in /var"),
    *("a socket in /var/tmp", "the host's resolver", "a name server outside"),
    *("TCP Fast Open", "a ping", "a ping over IPv6", "DHCP", "DHCP over IPv6", "a broadcast"),
    *("multicast DNS", "multicast DNS over IPv6", "LLMNR", "SSDP", "a group", "a group of IPv6"),
)
# Of protocols that not every Linux has, by the socket that shows it: family, kind, protocol.
OPEN_WHERE_LINUX_HAS_IT = {
    "UDP-Lite": (socket.AF_INET, socket.SOCK_DGRAM, 136),
    "UDP-Lite over IPv6": (socket.AF_INET6, socket.SOCK_DGRAM, 136),
    "SCTP": (socket.AF_INET, socket.SOCK_STREAM, 132),
    "SMC": (socket.AF_INET, socket.SOCK_STREAM, 256),
}
NOBODY = (65534).to_bytes(2)  # the ordinary user's number, as its groups say it
# What is seen on the wire of ways that nobody need answer: the bytes that tell them apart.
SEEN = {
    **{
        name: f"prompt by {name}".encode()
        for name in (
            *("TCP Fast Open", "a ping", "a ping over IPv6", "DHCP", "DHCP over IPv6", "a broadcast"),
            *("multicast DNS", "multicast DNS over IPv6", "LLMNR", "SSDP"),
        )
    },
    "a name server outside": b"\x06prompt\x07example",
    "a group": bytes((0, 0, 239, 112)) + NOBODY,
    "a group of IPv6": b"\xff\x02" + bytes(6) + b"prompt" + NOBODY,
}
SEEN_WHERE_LINUX_HAS_IT = {
    name: f"prompt by {name}".encode() for name in OPEN_WHERE_LINUX_HAS_IT if name.startswith("UDP")
}
LAST = b"all that was sent before has been seen"
CARRIERS = {
    *("metadata", "dns", "dns-tcp", "proxy", "proxy6", "mail", "user", "syslog"),
    *(
        "docker",
        "agent",
        "run-user",
        "mail-queue",
        "resolve",
        "abstract",
        "abstract-datagram",
        "abstract-packets",
    ),
    *("memory", "memory-pipe", "queue", "posix-queue", "netlink", "users", "database", "monitor"),
    *("state-pipe", "temporary"),
}


class Outside:
    """What listens outside, over TCP and UDP, and what it was brought."""

    def __init__(self) -> None:
        self.brought: list[bytes] = []

    def listen(self, *ways: socket.socket) -> None:
        for way in ways:
            threading.Thread(target=self._take, args=(way,), daemon=True).start()

    def _take(self, way: socket.socket) -> None:
        while True:
            try:
                if way.type == socket.SOCK_STREAM:
                    with way.accept()[0] as connection:
                        self.brought.append(b"a connection")
                        self.brought.append(connection.recv(4096))
                else:
                    self.brought.append(way.recv(4096))
            except OSError:
                return


def carries(frame: bytes) -> bool:
    """Whether a frame holds what somebody tried to carry out."""
    return b"prompt" in frame or bytes((0, 0, 239, 112)) in frame


class Wire:
    """Every frame that leaves a host, of which those are kept that carry something out."""

    def __init__(self, machine: Any) -> None:
        self.carrying: list[bytes] = []
        self.is_done = threading.Event()
        self.is_over = False
        self._frames = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self._frames.setsockopt(socket.SOL_SOCKET, 33, 2**25)  # SO_RCVBUFFORCE: none is lost
        self._frames.bind((f"vb-{machine.name}", 0))
        self._frames.settimeout(0.5)
        self._taking = threading.Thread(target=self._take)
        self._taking.start()

    def close(self) -> None:
        """Look no more."""
        self.is_over = True
        self._taking.join()
        self._frames.close()

    def _take(self) -> None:
        while not self.is_over:
            try:
                frame = self._frames.recv(2**17)
            except OSError:  # half a second without a frame, or the host is gone
                continue
            if LAST in frame:
                self.is_done.set()
            elif carries(frame):
                self.carrying.append(frame)

    def seen(self, machine: Any) -> list[bytes]:
        """What has carried something out since it was asked last; the host says when that is all."""
        self.is_done.clear()
        words = f"import socket; socket.socket(2, 2).sendto({LAST!r}, ('10.99.0.1', 9))"
        machine.ssh(f"python3 -c {shlex.quote(words)}")
        assert self.is_done.wait(60)
        _, lost = struct.unpack("II", self._frames.getsockopt(263, 6, 8))  # PACKET_STATISTICS
        assert lost == 0
        kept, self.carrying = self.carrying, []
        return kept


def of_the_server(frames: list[bytes]) -> list[bytes]:
    """Those that carry more than that the ordinary user has left its groups, which Linux tells for seconds."""
    left = (SEEN["a group"], SEEN["a group of IPv6"])
    return [frame for frame in frames if carries(frame.replace(left[0], b"").replace(left[1], b""))]


def has(family: int, kind: int, protocol: int) -> bool:
    """Whether this Linux, which is the hosts' too, has a protocol."""
    try:
        socket.socket(family, kind, protocol).close()
    except OSError:
        return False
    return True


@contextmanager
def outside(machine: Any) -> Iterator[tuple[str, Outside]]:
    """Listen at the bridge's own addresses; give them and the port as the server is told them."""
    bridge = f"vz-{machine.name.rpartition('-')[0]}"
    subprocess.run(["ip", "address", "replace", "fd00:99::1/64", "dev", bridge, "nodad"], check=True)
    machine.ssh("ip address replace fd00:99::2/64 dev host0 nodad")
    found = Outside()
    with (
        socket.create_server(("10.99.0.1", 0)) as four,
        socket.socket(socket.AF_INET6) as six,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as four_udp,
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as six_udp,
        ExitStack() as more,
    ):
        port = four.getsockname()[1]
        there = ("fd00:99::1", port)
        six.bind(there)
        six.listen()
        four_udp.bind(("10.99.0.1", port))
        six_udp.bind(there)
        found.listen(four, six, four_udp, six_udp)
        if has(*OPEN_WHERE_LINUX_HAS_IT["SCTP"]):
            sctp = more.enter_context(socket.socket(*OPEN_WHERE_LINUX_HAS_IT["SCTP"]))
            sctp.bind(("10.99.0.1", port))
            sctp.listen()
            found.listen(sctp)
        yield f"10.99.0.1 fd00:99::1 {port}", found


@pytest.fixture
def hostile(new_machine: Callable[..., Any], tmp_path: Path) -> Any:
    """A host with that engine, booted, which has nothing of corral's yet."""
    machine = new_machine()
    with tarfile.open(tmp_path / "engine.tar", "w") as archive:
        archive.add(DATA / "hostile_server.py", "lib/python3.11/site-packages/vllm/entrypoints/cli/main.py")
    machine.binds = [f"--bind-ro={tmp_path}:/srv", f"--bind-ro={DATA}:/mnt"]
    machine.power_on()
    return machine


def installed(machine: Any, to: str) -> None:
    """Put the deployment there, prepare it and start its server."""
    setup = host.HostSetup(
        name="hostile",
        argv=("serve", "/srv", "--port", "8000"),
        environment={"TO": to},
        engine=host.Engine(archive="/srv/engine.tar", requirement="vllm==0"),
        api_key="generated",
        idle_minutes=30,
    )
    for file in host_files.host_files(setup):
        path = machine.tree / file.path.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file.content)
        path.chmod(int(file.mode, 8))
    machine.ssh(f"/opt/corral/hostile/bin/prepare && systemctl start {UNIT}")


def asked(machine: Any, path: str) -> str:
    """What the server answers on its own host."""
    return str(
        machine.ssh(f"curl -sS --retry 30 --retry-connrefused --retry-delay 1 http://127.0.0.1:8000{path}")
    )


def carried(machine: Any) -> set[str]:
    """Which of the programs beside it were brought something."""
    return {path.name for path in (machine.tree / "var/notes").iterdir()} - {"ready"}


def forget(machine: Any, outside: Outside) -> None:
    """Begin anew to note what is carried."""
    machine.ssh("find /var/notes -type f -not -name ready -delete")
    outside.brought.clear()


def judged(machine: Any) -> str:
    """Whose packets the lock judges."""
    (uid,) = re.findall(r"meta skuid (\d+) goto server", machine.ssh("nft list table inet corral-hostile"))
    return str(uid)


def owner(machine: Any) -> str:
    """Whose the server's first process is."""
    pid = machine.ssh(f"systemctl show --value --property=MainPID {UNIT}").strip()
    return str(machine.ssh(f"awk '/^Uid:/ {{ print $2 }}' /proc/{pid}/status")).strip()


def processes(machine: Any, uid: str) -> list[str]:
    """What runs as that user."""
    return str(machine.ssh(f"grep -lE '^Uid:.*\\s{uid}\\s' /proc/[0-9]*/status || true")).split()


def state(machine: Any) -> str:
    return str(machine.ssh(f"systemctl is-active {UNIT} || true")).strip()


def test_nothing_of_a_hostile_server_leaves_its_host(hostile: Any, wait: Callable[..., Any]) -> None:
    hostile.ssh(
        "ip address add 169.254.169.254/32 dev lo; systemd-run --quiet python3 /mnt/carriers.py /var/notes"
    )
    wait(
        lambda: (hostile.tree / "var/notes/ready").exists(),
        lambda: hostile.ssh("journalctl -n 20 --no-pager"),
    )
    hostile.ssh(
        "echo 0 2147483647 >/proc/sys/net/ipv4/ping_group_range; echo nameserver 127.0.0.53 >/etc/resolv.conf"
    )
    lacking = [name for name, kind in OPEN_WHERE_LINUX_HAS_IT.items() if not has(*kind)]
    print(f"This Linux has no {', no '.join(lacking) or 'way less'}.")
    tried = [*OPEN, *(name for name in OPEN_WHERE_LINUX_HAS_IT if name not in lacking)]
    on_the_wire = SEEN | {name: seen for name, seen in SEEN_WHERE_LINUX_HAS_IT.items() if name in tried}
    with outside(hostile) as (to, sink), closing(Wire(hostile)) as wire:
        ordinary = json.loads(
            hostile.ssh(
                f"systemd-run --quiet --pipe --wait --property=User=nobody --setenv='TO={to}' "
                f"python3 /mnt/hostile_server.py tries {shlex.join(tried)}"
            )
        )
        assert ordinary == dict.fromkeys(tried, "through")
        assert carried(hostile) == CARRIERS
        frames = wire.seen(hostile)
        assert [
            name for name, told in on_the_wire.items() if not any(told in frame for frame in frames)
        ] == []
        assert len(sink.brought) >= len([name for name in OPEN if "over IPv" in name])
        forget(hostile, sink)

        installed(hostile, to)
        outcomes = json.loads(asked(hostile, "/tries"))
        assert len(outcomes) > 125
        assert [name for name, outcome in outcomes.items() if outcome == "through"] == []
        assert (carried(hostile), sink.brought, of_the_server(wire.seen(hostile))) == (set(), [], [])

        root_looks(hostile)
        assert (carried(hostile), sink.brought, of_the_server(wire.seen(hostile))) == (set(), [], [])
    the_lock_is_not_turned(hostile)
    what_is_left_goes_first(hostile)
    without_its_lock_it_is_stopped(hostile, wait)


def root_looks(machine: Any) -> None:
    """The watch asks for metrics that are said to be elsewhere: outside, then at a proxy of the host."""
    watch = "systemctl start corral-hostile.watch.service; cut -d' ' -f2 /run/corral-hostile.watch/activity"
    assert machine.ssh(watch) == "busy\n"
    asked(machine, "/links")  # a file in its folder has it say the other place, too
    assert machine.ssh(watch) == "busy\n"


def the_lock_is_not_turned(machine: Any) -> None:
    """Links to a file of digits lie wherever its own folder could be asked for a number."""
    before = owner(machine)
    machine.ssh(f"systemctl restart {UNIT}")
    asked(machine, "/")
    assert judged(machine) == owner(machine) == before


def what_is_left_goes_first(machine: Any) -> None:
    """What hides, detached and without its first thread, is ended before its lock is taken away."""
    for _ in range(3):
        asked(machine, "/linger")
    uid = owner(machine)
    assert len(processes(machine, uid)) >= 4
    machine.ssh(f"systemctl stop {UNIT}")
    assert processes(machine, uid) == []
    assert machine.ssh("nft list tables") == ""


def without_its_lock_it_is_stopped(machine: Any, wait: Callable[..., Any]) -> None:
    """By its own timer where the table goes, as with `flush ruleset`; at once when asked, where a rule is added."""
    log = f"journalctl --no-pager -o cat -u {UNIT}"
    for harm, why in (
        ("nft flush ruleset", "the egress lock is gone"),
        ("nft insert rule inet corral-hostile server accept", "the rules of the egress lock were changed"),
    ):
        machine.ssh(f"systemctl start {UNIT} && systemctl start corral-hostile.lock.service && {harm}")
        wait(lambda: state(machine) in ("inactive", "failed"), lambda: machine.ssh(log))
        words = f"failed: lock: {why}, so the server was stopped"
        assert machine.ssh("cat /opt/corral/hostile/phase") == f"{words}\n"
        assert f"corral: {words}\n" in machine.ssh(log)
        assert machine.ssh("nft list tables") == ""
    # A start loads it anew, and nothing is said to have failed.
    machine.ssh(f"systemctl start {UNIT}")
    assert (judged(machine), machine.ssh("cat /opt/corral/hostile/phase")) == (owner(machine), "prepared\n")
    # Nor does it run where nobody would look.
    machine.ssh("systemctl stop corral-hostile.lock.timer")
    wait(lambda: state(machine) in ("inactive", "failed"), lambda: machine.ssh(log))
