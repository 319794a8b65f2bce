"""A server in vLLM's place that tries to carry something out: tests/fleet/test_hostile_server.py puts it in the unit.

GET /tries does everything of TRIES once and answers what came of each, as one JSON object: what stopped it, or
"through". Standard library only. The arguments are vLLM's, of which the port counts; where to carry it says TO.
"""

import ctypes
import json
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

PROMPT = b"GET /prompt HTTP/1.0\r\n\r\n"
PATIENCE_S = 1.5
THROUGH = "through"
LIBC = ctypes.CDLL(None, use_errno=True)
STATE = Path(os.environ.get("HOME", "/nonexistent"))
# Where the test listens, outside: an IPv4 address, an IPv6 address with its interface, the port of all.
TO4, TO6, PORT = (os.environ.get("TO", "127.0.0.1 ::1 9").split() + [""])[:3]


def carried(family: int, kind: int, address: Any, protocol: int = 0, data: bytes = PROMPT) -> None:
    """Send something there; raises OSError where that is stopped, or nobody answers a connection."""
    with socket.socket(family, kind, protocol) as way:
        way.settimeout(PATIENCE_S)
        way.connect(address)
        way.sendall(data)


def tcp(host: str, port: int, protocol: int = 0) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    carried(family, socket.SOCK_STREAM, numeric(host, port), protocol)


def udp(host: str, port: int, data: bytes = PROMPT) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as way:
        if host.endswith("255"):
            way.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        way.sendto(data, numeric(host, port))


def neighbours(host: str, port: int, data: bytes) -> None:
    """To all that listen there, out of the one interface, whatever the routes: as what has no address yet does."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as way:
        way.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        way.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, outward().encode())
        way.sendto(data, numeric(f"{host}%{outward()}" if ":" in host else host, port))


def outward() -> str:
    """The interface that leads outside."""
    return next(name for _, name in socket.if_nameindex() if name != "lo")


def pinged(host: str, data: bytes) -> None:
    """Ask for an echo, and wait for it: the kernel there answers."""
    family, protocol, kind = (socket.AF_INET6, 58, 128) if ":" in host else (socket.AF_INET, 1, 8)
    with socket.socket(family, socket.SOCK_DGRAM, protocol) as way:
        way.settimeout(PATIENCE_S)
        way.sendto(struct.pack("BBHHH", kind, 0, 0, 0, 1) + data, numeric(host, 0))
        way.recv(4096)


def opened_fast(host: str, port: int, data: bytes) -> None:
    """TCP with the data in its first packet, where it may."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as way:
        # Without a time of Python's, which would have it not wait for what it needs first: a cookie.
        way.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 2, 0))
        way.sendto(data, socket.MSG_FASTOPEN, (host, port))


def joined(group: str) -> None:
    """Have Linux tell the network of a group whose number says something, and whose it is.

    For it tells again, up to seconds later, that a group was left: of one that an ordinary user tried before, too.
    """
    with socket.socket(socket.AF_INET6 if ":" in group else socket.AF_INET, socket.SOCK_DGRAM) as way:
        number = socket.if_nametoindex(outward())
        if ":" in group:
            packed = socket.inet_pton(socket.AF_INET6, group) + struct.pack("I", number)
            way.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, packed)
        else:
            packed = socket.inet_aton(group) + bytes(4) + struct.pack("I", number)
            way.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, packed)
        time.sleep(PATIENCE_S)  # Linux tells of it within a second


def numeric(host: str, port: int) -> Any:
    """The address of a socket, without asking a name server."""
    address, _, interface = host.partition("%")
    if ":" in host:
        return (address, port, 0, socket.if_nametoindex(interface) if interface else 0)
    return (address, port)


def unix(path: str) -> None:
    carried(socket.AF_UNIX, socket.SOCK_STREAM, path)


def name_asked(host: str) -> None:
    """Ask a name server for a name that holds the prompt; TCP and UDP."""
    question = b"\x12\x34\x01\x00\x00\x01" + bytes(6) + b"\x06prompt\x07example\x00\x00\x01\x00\x01"
    failures = []
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        try:
            carried(socket.AF_INET, kind, (host, 53), data=question)
        except OSError as error:
            failures.append(error)
    if len(failures) < 2:
        return
    raise failures[0]


def resolved() -> None:
    """By the host's own resolver, however it is set up."""
    socket.getaddrinfo("prompt.example", 80)


def ran(*words: str) -> None:
    """A program of the host that might do it for us; its code is what counts."""
    done = subprocess.run(
        words, capture_output=True, text=True, check=False, timeout=20, stdin=subprocess.DEVNULL
    )
    if done.returncode:
        raise OSError(f"{words[0]} ended with {done.returncode}")


def datagram(path: str) -> None:
    """Without a connection, which would be refused by itself."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as way:
        way.sendto(PROMPT, path)


def shared(name: str) -> None:
    """Write to a file that lies in memory for everybody, or to a pipe: neither is made."""
    with os.fdopen(os.open(name, os.O_WRONLY | os.O_NONBLOCK), "wb") as file:
        file.write(PROMPT)


def queued(key: int) -> None:
    """Put it into a System V queue of somebody's."""
    queue = LIBC.msgget(key, 0)
    message = ctypes.create_string_buffer(struct.pack("l", 1) + PROMPT)
    if queue < 0 or LIBC.msgsnd(queue, message, len(PROMPT), 0o4000) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def mapped(key: int) -> None:
    """Write to a System V segment of somebody's."""
    LIBC.shmat.restype = ctypes.c_void_p
    segment = LIBC.shmget(key, 0, 0)
    place = LIBC.shmat(segment, None, 0) if segment >= 0 else None
    if place in (None, ctypes.c_void_p(-1).value):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    ctypes.memmove(place, PROMPT, len(PROMPT))


def posted(name: bytes) -> None:
    """Put it into a POSIX queue of somebody's."""
    queue = LIBC.mq_open(name, os.O_WRONLY | os.O_NONBLOCK)
    if queue < 0 or LIBC.mq_send(queue, PROMPT, len(PROMPT), 0) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def told_by_netlink() -> None:
    """To the program that listens at the number it wrote down, over the kernel's bus for programs."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 2) as way:
        way.sendto(struct.pack("IHHII", 16 + len(PROMPT), 99, 0, 1, 0) + PROMPT, (4242, 0))


def opened(family: int, kind: int, protocol: int = 0) -> None:
    socket.socket(family, kind, protocol).close()


def called(number: int, *arguments: Any) -> None:
    """A system call, by its number on x86_64."""
    if LIBC.syscall(number, *arguments) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def unshared(flags: int) -> None:
    """In a child: namespaces of its own would make it root of them."""
    child = os.fork()
    if not child:
        os._exit(0 if LIBC.unshare(flags) == 0 else 1)
    if os.waitpid(child, 0)[1]:
        raise OSError("unshare is refused")


def tunnel() -> None:
    import fcntl

    with open("/dev/net/tun", "r+b", buffering=0) as device:
        fcntl.ioctl(device, 0x400454CA, struct.pack("16sH22x", b"out0", 0x1001))


def written(path: str) -> None:
    """Write to a file that root reads or runs, or make it."""
    with open(path, "ab") as file:
        file.write(b"# prompt\n")


def replaced(path: str) -> None:
    """Put a link of ours in its place."""
    Path(f"{path}.new").symlink_to("/proc/sys/kernel/pid_max")
    Path(f"{path}.new").rename(path)


def became(uid: int) -> None:
    child = os.fork()
    if not child:
        with suppress(OSError):
            os.setresuid(uid, uid, uid)
            os._exit(0)
        os._exit(1)
    if os.waitpid(child, 0)[1]:
        raise OSError("setresuid is refused")


def ended(pid: int) -> None:
    os.kill(pid, 0)


def table_removed() -> None:
    """By nftables' own netlink: NFT_MSG_DELTABLE of our table, in a batch."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12) as way:
        way.settimeout(PATIENCE_S)
        name = b"corral-hostile\0\0"
        attribute = struct.pack("HH", 4 + 15, 1) + name
        family = struct.pack("BBH", 1, 0, 0)

        def message(kind: int, flags: int, body: bytes) -> bytes:
            return struct.pack("IHHII", 16 + len(body), kind, flags, 1, 0) + body

        batch = struct.pack("BBH", 0, 0, socket.htons(10))
        way.send(
            message(16, 1, batch) + message((10 << 8) | 2, 5, family + attribute) + message(17, 1, batch)
        )
        code = struct.unpack("i", way.recv(4096)[16:20])[0]
        if code:
            raise OSError(-code, os.strerror(-code))


HERE = "/opt/corral/hostile"
NEW_USER, NEW_NET, NEW_MOUNT = 0x10000000, 0x40000000, 0x20000
TRIES: dict[str, Callable[[], object]] = {
    # out over the network
    "TCP over IPv4": lambda: tcp(TO4, int(PORT)),
    "TCP over IPv6": lambda: tcp(TO6, int(PORT)),
    "TCP to an IPv4 address in IPv6": lambda: tcp(f"::ffff:{TO4}", int(PORT)),
    "multipath TCP": lambda: tcp(TO4, int(PORT), 262),
    "UDP over IPv4": lambda: udp(TO4, int(PORT)),
    "UDP over IPv6": lambda: udp(TO6, int(PORT)),
    "TCP Fast Open": lambda: opened_fast(TO4, int(PORT), b"prompt by TCP Fast Open"),
    "UDP-Lite": lambda: carried(
        socket.AF_INET, socket.SOCK_DGRAM, (TO4, int(PORT)), 136, b"prompt by UDP-Lite"
    ),
    "UDP-Lite over IPv6": lambda: carried(
        socket.AF_INET6, socket.SOCK_DGRAM, (TO6, int(PORT)), 136, b"prompt by UDP-Lite over IPv6"
    ),
    "SCTP": lambda: tcp(TO4, int(PORT), 132),
    "SMC": lambda: tcp(TO4, int(PORT), 256),
    "a ping": lambda: pinged(TO4, b"prompt by a ping"),
    "a ping over IPv6": lambda: pinged(TO6, b"prompt by a ping over IPv6"),
    "DHCP": lambda: neighbours("255.255.255.255", 67, b"prompt by DHCP"),
    "DHCP over IPv6": lambda: neighbours("ff02::1:2", 547, b"prompt by DHCP over IPv6"),
    "a broadcast": lambda: udp("10.99.0.255", int(PORT), b"prompt by a broadcast"),
    "multicast DNS": lambda: neighbours("224.0.0.251", 5353, b"prompt by multicast DNS"),
    "multicast DNS over IPv6": lambda: neighbours("ff02::fb", 5353, b"prompt by multicast DNS over IPv6"),
    "LLMNR": lambda: neighbours("224.0.0.252", 5355, b"prompt by LLMNR"),
    "SSDP": lambda: neighbours("239.255.255.250", 1900, b"prompt by SSDP"),
    "a group": lambda: joined(f"239.112.{os.getuid() >> 8}.{os.getuid() & 255}"),
    "a group of IPv6": lambda: joined(f"ff02::7072:6f6d:7074:{os.getuid():x}"),
    "a name server outside": lambda: name_asked(TO4),
    "EC2's metadata": lambda: tcp("169.254.169.254", 80),
    # over what runs on the host
    "a name server on loopback": lambda: name_asked("127.0.0.53"),
    "the host's resolver": resolved,
    "the resolver's socket": lambda: unix("/run/systemd/resolve/io.systemd.Resolve"),
    "a proxy on loopback": lambda: tcp("127.0.0.1", 3128),
    "a proxy on IPv6 loopback": lambda: tcp("::1", 3128),
    "a mail server at the host's address": lambda: tcp("10.99.0.2", 25),
    "another user's port": lambda: tcp("127.0.0.1", 45678),
    "syslog over UDP": lambda: udp("127.0.0.1", 514),
    "docker's socket": lambda: unix("/run/docker.sock"),
    "docker's socket by its old path": lambda: unix("/var/run/docker.sock"),
    "an agent's socket": lambda: unix("/tmp/ssh-agent/agent.1"),
    "another user's run folder": lambda: unix("/run/user/1000/bus"),
    "the mail queue's socket": lambda: unix("/var/spool/postfix/public/pickup"),
    "D-Bus": lambda: unix("/run/dbus/system_bus_socket"),
    "systemd's private socket": lambda: unix("/run/systemd/private"),
    "journald's socket": lambda: unix("/run/systemd/journal/stdout"),
    "systemd's notify socket": lambda: carried(
        socket.AF_UNIX, socket.SOCK_DGRAM, "/run/systemd/notify", data=b"MAINPID=1"
    ),
    "another process's files": lambda: unix("/proc/1/root/run/dbus/system_bus_socket"),
    "an abstract socket": lambda: unix("\0carrier"),
    "an abstract datagram": lambda: datagram("\0carrier-datagram"),
    "an abstract socket of packets": lambda: carried(
        socket.AF_UNIX, socket.SOCK_SEQPACKET, "\0carrier-packets"
    ),
    "a socket in memory": lambda: unix("/dev/shm/carrier.socket"),
    "a file in memory": lambda: shared("/dev/shm/carrier"),
    "a pipe in memory": lambda: shared("/dev/shm/carrier.pipe"),
    "a System V queue": lambda: queued(4242),
    "a System V segment": lambda: mapped(4242),
    "a POSIX queue": lambda: posted(b"/carrier"),
    "a POSIX queue's file": lambda: shared("/dev/mqueue/carrier"),
    "netlink between programs": told_by_netlink,
    "the host's directory of users": lambda: unix("/var/lib/sss/pipes/nss"),
    "a database's socket": lambda: unix("/var/lib/mysql/mysql.sock"),
    "a pipe in /var": lambda: shared("/var/carrier/pipe"),
    "a monitor's pipe": lambda: shared("/opt/datadog-agent/pipe"),
    "a socket in /var/tmp": lambda: unix("/var/tmp/carrier/socket"),
    "a name asked of the kernel": lambda: called(249, b"dns_resolver", b"prompt.example", b"", -2),
    "root's keyring": lambda: called(250, 22, 0, -2),
    "a terminal": lambda: written("/dev/tty"),
    "another's terminal": lambda: written("/dev/pts/0"),
    "the kernel's terminal": lambda: written("/dev/tty1"),
    "pushing into a terminal": lambda: __import__("fcntl").ioctl(0, 0x5412, b"x"),
    "another's memory": lambda: Path("/proc/1/mem").read_bytes(),
    "another's environment": lambda: Path("/proc/1/environ").read_bytes(),
    "tracing": lambda: called(101, 16, os.getppid(), 0, 0),
    "page faults of the kernel": lambda: called(323, 0),
    "another's files by number": lambda: called(304, -100, b"handle", 0),
    "the host's log": lambda: written("/var/log/prompt"),
    "a job of at's": lambda: written("/var/spool/cron/atjobs/prompt"),
    "logrotate": lambda: written("/etc/logrotate.d/prompt"),
    "a program in root's path": lambda: written("/usr/local/bin/ls"),
    "a library of the host": lambda: written("/etc/ld.so.preload"),
    "the clock": lambda: time.clock_settime(time.CLOCK_REALTIME, time.time()),
    "the host's name": lambda: socket.sethostname("prompt"),
    "a device": lambda: os.mknod(STATE / "memory", 0o20666, os.makedev(1, 1)),
    "a program of root's": lambda: os.chmod(STATE, 0o4777),
    "a chroot": lambda: os.chroot("/"),
    "performance counters": lambda: called(
        298, ctypes.create_string_buffer(b"\1\0\0\0\x78\0\0\0", 120), 1, -1, -1, 0
    ),
    "a core dump's pipe": lambda: written("/proc/sys/kernel/core_pipe_limit"),
    "a kernel module": lambda: called(175, b"", 0, b""),
    # by programs of the host
    "systemd-run": lambda: ran("systemd-run", "--quiet", "true"),
    "busctl": lambda: ran("busctl", "--system", "list"),
    "resolvectl": lambda: ran("resolvectl", "query", "prompt.example"),
    "sudo": lambda: ran("sudo", "-n", "true"),
    "su": lambda: ran("su", "-c", "true"),
    "nft": lambda: ran("/usr/sbin/nft", "delete", "table", "inet", "corral-hostile"),
    "nft's list": lambda: ran("/usr/sbin/nft", "list", "ruleset"),
    "ip": lambda: ran("/usr/sbin/ip", "link", "add", "out0", "type", "dummy"),
    "systemctl": lambda: ran("systemctl", "stop", "corral-hostile.lock.timer"),
    "ping": lambda: ran("ping", "-c1", "-W1", TO4),
    # other kinds of sockets
    "a raw socket": lambda: opened(socket.AF_INET, socket.SOCK_RAW, 255),
    "a packet socket": lambda: opened(socket.AF_PACKET, socket.SOCK_RAW, 0x300),
    "a virtual machine's socket": lambda: opened(socket.AF_VSOCK, socket.SOCK_STREAM),
    "a Bluetooth socket": lambda: opened(31, socket.SOCK_RAW, 1),
    "the kernel's crypto socket": lambda: opened(38, socket.SOCK_SEQPACKET),
    "io_uring": lambda: called(425, 8, ctypes.create_string_buffer(120)),
    "a tunnel": tunnel,
    # undoing the lock
    "removing the table": table_removed,
    "a user namespace": lambda: unshared(NEW_USER),
    "a network namespace": lambda: unshared(NEW_NET),
    "a mount namespace": lambda: unshared(NEW_MOUNT),
    "another network namespace": lambda: called(308, os.open("/proc/self/ns/net", os.O_RDONLY), NEW_NET),
    "BPF": lambda: called(321, 0, ctypes.create_string_buffer(b"\1\0\0\0\4\0\0\0\4\0\0\0\1\0\0\0", 72), 72),
    "root's user": lambda: became(0),
    "another user": lambda: became(os.getuid() - 1),
    "signals to systemd": lambda: ended(1),
    # what root reads or runs
    "the lock's script": lambda: written(f"{HERE}/bin/lock"),
    "the rules": lambda: written(f"{HERE}/egress.nft"),
    "a list of peers": lambda: written(f"{HERE}/peers"),
    "the phase": lambda: replaced(f"{HERE}/phase"),
    "the activity": lambda: replaced(f"{HERE}/activity"),
    "the values of the scripts": lambda: written(f"{HERE}/setup.env"),
    "the server's own environment": lambda: written(f"{HERE}/server.env"),
    "the engine": lambda: written(f"{HERE}/engine/bin/python"),
    "the rules as they were loaded": lambda: written(f"{HERE}/loaded.nft"),
    "its unit": lambda: written("/etc/systemd/system/corral-hostile.service.d.conf"),
    "the host's users": lambda: written("/etc/passwd"),
    "cron": lambda: written("/etc/cron.d/prompt"),
    "a crontab": lambda: written("/var/spool/cron/crontabs/hostile"),
    "the kernel's settings": lambda: written("/proc/sys/kernel/core_pattern"),
    "its control group": lambda: written("/sys/fs/cgroup/cgroup.procs"),
    "its control group, v1": lambda: written("/sys/fs/cgroup/systemd/cgroup.procs"),
    "the kernel's log": lambda: written("/dev/kmsg"),
    "the console": lambda: written("/dev/console"),
    "the key's file": lambda: Path(f"{HERE}/secrets.env").read_text(),
    "the host's passwords": lambda: Path("/etc/shadow").read_text(),
    "a home folder": lambda: os.listdir("/root/.ssh"),
}


def outcome(what: Callable[[], object]) -> str:
    try:
        what()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return THROUGH


def linger() -> None:
    """Leave what is hard to find: detached, unreadable, and with a first thread that has ended."""
    import threading

    if os.fork():
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    LIBC.prctl(4, 0, 0, 0, 0)  # PR_SET_DUMPABLE: what is in its folder in /proc is root's
    threading.Thread(target=time.sleep, args=(3600,)).start()
    LIBC.pthread_exit(None)


class Hostile(BaseHTTPRequestHandler):
    """Says of its metrics that they are outside, and does what it is told."""

    def do_GET(self) -> None:
        if self.path == "/metrics":
            where = (
                "http://127.0.0.1:3128/prompt" if (STATE / "near").exists() else f"http://{TO4}:{PORT}/prompt"
            )
            self.send_response(302)
            self.send_header("Location", where)
            self.end_headers()
            return
        body = ""
        if self.path == "/tries":
            body = json.dumps({name: outcome(what) for name, what in TRIES.items()})
        elif self.path == "/links":  # whatever root may look for in the one folder that is ours
            for name in ("uid", "pid", "phase", "activity", "peers", "egress.nft", "tmp/uid", "near"):
                with suppress(FileExistsError):
                    (STATE / name).symlink_to("/proc/sys/kernel/pid_max")
        elif self.path == "/linger":
            linger()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        pass


if __name__ == "__main__":
    if sys.argv[1:2] == [
        "tries"
    ]:  # the same without a unit around it: what the test itself can see go through
        print(json.dumps({name: outcome(TRIES[name]) for name in sys.argv[2:]}))
    else:
        port = int(sys.argv[sys.argv.index("--port") + 1])
        ThreadingHTTPServer(("127.0.0.1", port), Hostile).serve_forever()
