"""What the server is started by: by this kernel where it has Landlock of 6.12, and by one that lacks it, as it says."""

import ctypes
import errno
import json
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import pytest

from infra.onhost import confine

# What the server tries, then a process of its own: sockets of others by their names, its own, signals.
SERVER = """\
import json, os, socket, sys

def tried(what):
    try:
        what()
    except OSError as error:
        return error.errno
    return "through"

def connected(kind, name):
    with socket.socket(socket.AF_UNIX, kind) as way:
        way.connect(name)

def sent(way, name):
    with way:
        way.sendto(b"prompt", name)

STREAM, DATAGRAM, PACKETS = socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET
outside, inherited, connection = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
own = "\\0" + outside + "-own"
listener = socket.socket(socket.AF_UNIX)
listener.bind(own)
listener.listen()

def all_of_it():
    return {
        "stream": tried(lambda: connected(STREAM, "\\0" + outside + "-stream")),
        "packets": tried(lambda: connected(PACKETS, "\\0" + outside + "-packets")),
        "datagram": tried(lambda: connected(DATAGRAM, "\\0" + outside + "-datagram")),
        "datagram, unconnected": tried(
            lambda: sent(socket.socket(socket.AF_UNIX, DATAGRAM), "\\0" + outside + "-datagram")
        ),
        "datagram, inherited": tried(
            lambda: sent(socket.socket(fileno=os.dup(inherited)), "\\0" + outside + "-datagram")
        ),
        "its own": tried(lambda: connected(STREAM, own)),
        "netlink": tried(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 2).close()),
        "netlink's answers": tried(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, 4).close()),
        "routes": tried(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0).close()),
        "interfaces": tried(socket.if_nameindex),
        "a signal": tried(lambda: os.kill(int(sys.argv[4]), 0)),
        "a signal to itself": tried(lambda: os.kill(os.getpid(), 0)),
        "a connection it was given": tried(lambda: os.write(connection, b"x")),
    }

receiving, sending = os.pipe()
if not os.fork():
    os.write(sending, json.dumps(all_of_it()).encode())
    os._exit(0)
os.close(sending)
child = json.loads(os.fdopen(receiving).read())
os.wait()
print(json.dumps([all_of_it(), child]), flush=True)
sys.exit(7)
"""


SIGNALS = ("a signal", "a signal to itself")


def bound(kind: int, name: str) -> socket.socket:
    """A socket of this process that everybody may use."""
    way = socket.socket(socket.AF_UNIX, kind)
    way.bind(f"\0{name}")
    if kind != socket.SOCK_DGRAM:
        way.listen()
    return way


def test_a_server_reaches_its_own_abstract_sockets_and_processes_alone(
    need: Callable[[str, str], NoReturn],
) -> None:
    if confine.version() < confine.SCOPES_SINCE:
        need("landlock", "this Linux lacks Landlock of 6.12 or newer")
    name = f"corral-confine-{os.getpid()}"
    ours, theirs = socket.socketpair()
    with (
        bound(socket.SOCK_STREAM, f"{name}-stream"),
        bound(socket.SOCK_SEQPACKET, f"{name}-packets"),
        bound(socket.SOCK_DGRAM, f"{name}-datagram") as datagrams,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as inherited,
        ours,
        theirs,
    ):
        numbers = [inherited.fileno(), theirs.fileno()]
        arguments = [name, *map(str, numbers), str(os.getpid())]
        server = [sys.executable, "-IS", "-c", SERVER, *arguments]
        free = subprocess.run(server, capture_output=True, check=False, pass_fds=numbers)
        command = [sys.executable, "-IS", confine.__file__, *server]
        held = subprocess.run(command, capture_output=True, check=False, pass_fds=numbers)
        got = [datagrams.recv(9) for _ in range(4)]  # those of the free one: two ways of two processes
        with pytest.raises(BlockingIOError):
            datagrams.recv(9, socket.MSG_DONTWAIT)
    ways = ("stream", "packets", "datagram", "datagram, unconnected", "datagram, inherited", "its own")
    netlink = ("netlink", "netlink's answers")
    everything = (*ways, *netlink, "routes", "interfaces", *SIGNALS, "a connection it was given")
    assert json.loads(free.stdout) == [dict.fromkeys(everything, "through")] * 2
    assert got == [b"prompt"] * 4
    refused = dict.fromkeys((*ways[:5], "a signal"), errno.EPERM)
    refused |= dict.fromkeys(netlink, errno.EPROTONOSUPPORT)
    assert json.loads(held.stdout) == [dict.fromkeys(everything, "through") | refused] * 2
    assert (free.returncode, held.returncode, held.stderr) == (7, 7, b"")


# What the server tries: to join groups, whose numbers Linux tells the network; then what every server does to sockets.
GROUPS = """\
import json, socket, struct, sys

def tried(family, level, option, value):
    with socket.socket(family, socket.SOCK_DGRAM if level != 6 else socket.SOCK_STREAM) as way:
        try:
            way.setsockopt(level, option, value)
        except OSError as error:
            return error.errno
    return "through"

V4, V6, IP, IPV6 = socket.AF_INET, socket.AF_INET6, 0, 41
lo = struct.pack("I", socket.if_nametoindex("lo"))
group, source, here = (socket.inet_aton(text) for text in ("239.1.2.3", "10.1.2.3", "127.0.0.1"))
group6 = socket.inet_pton(V6, "ff02::7072")

def address(text):
    packed = socket.inet_pton(V6 if ":" in text else V4, text)
    kind = V6 if ":" in text else V4
    return (struct.pack("HHI" if kind == V6 else "HH", kind, 0, *[0] * (kind == V6)) + packed).ljust(128, b"\\0")

of_group = lo.ljust(8, b"\\0") + address("239.1.2.3")
of_group6 = lo.ljust(8, b"\\0") + address("ff02::7072")
print(json.dumps({
    "IP_ADD_MEMBERSHIP": tried(V4, IP, 35, group + here),
    "IP_ADD_MEMBERSHIP by interface": tried(V4, IP, 35, group + here + lo),
    "IP_ADD_SOURCE_MEMBERSHIP": tried(V4, IP, 39, group + here + source),
    "IPV6_ADD_MEMBERSHIP": tried(V6, IPV6, 20, group6 + lo),
    "MCAST_JOIN_GROUP": tried(V4, IP, 42, of_group),
    "MCAST_JOIN_SOURCE_GROUP": tried(V4, IP, 46, of_group + address("10.1.2.3")),
    "MCAST_JOIN_GROUP in IPv6": tried(V6, IPV6, 42, of_group6),
    "MCAST_JOIN_SOURCE_GROUP in IPv6": tried(V6, IPV6, 46, of_group6 + address("fe80::7")),
    "IP_ADD_MEMBERSHIP of an IPv6 socket": tried(V6, IP, 35, group + here),
    "IP_TTL": tried(V4, IP, 2, 9),
    "IP_MULTICAST_LOOP": tried(V4, IP, 34, 1),
    "IP_MULTICAST_ALL": tried(V4, IP, 49, 1),
    "IPV6_V6ONLY": tried(V6, IPV6, 26, 1),
    "IPV6_RECVPKTINFO": tried(V6, IPV6, 49, 1),
    "TCP_NODELAY": tried(V4, 6, 1, 1),
    "TCP_INQ, of the same number": tried(V4, 6, 36, 1),
    "SO_REUSEADDR": tried(V4, 1, 2, 1),
    "SO_RCVBUF": tried(V4, 1, 8, 65536),
}))
"""
JOINS = (
    *(
        "IP_ADD_MEMBERSHIP",
        "IP_ADD_MEMBERSHIP by interface",
        "IP_ADD_SOURCE_MEMBERSHIP",
        "IPV6_ADD_MEMBERSHIP",
    ),
    *("MCAST_JOIN_GROUP", "MCAST_JOIN_SOURCE_GROUP", "MCAST_JOIN_GROUP in IPv6"),
    *("MCAST_JOIN_SOURCE_GROUP in IPv6", "IP_ADD_MEMBERSHIP of an IPv6 socket"),
)


def test_a_server_joins_no_group_and_sets_its_sockets_up_as_ever() -> None:
    server = [sys.executable, "-IS", "-c", GROUPS]
    free = json.loads(subprocess.run(server, capture_output=True, check=True).stdout)
    confined = [sys.executable, "-IS", confine.__file__, *server]
    held = json.loads(subprocess.run(confined, capture_output=True, check=True).stdout)
    assert free == dict.fromkeys(free, "through")
    assert held == free | dict.fromkeys(JOINS, errno.EPROTONOSUPPORT)


def decided(program: bytes, number: int, arguments: tuple[int, ...]) -> int:
    """What a seccomp filter of ours says to a call: the errno it refuses with, 0 for none."""
    steps = [struct.unpack_from("=HBBI", program, place) for place in range(0, len(program), 8)]
    # As seccomp lays a call out, on a machine whose lower half comes first.
    call = struct.pack("=IIQ6Q", number, 0, 0, *arguments, *[7] * (6 - len(arguments)))
    at, loaded = 0, 0
    while True:
        code, so, not_so, value = steps[at]
        match code:
            case 0x20:
                loaded, jump = struct.unpack_from("=I", call, value)[0], 0
            case 0x15:
                jump = so if loaded == value else not_so
            case 0x35:
                jump = so if loaded >= value else not_so
            case 0x25:
                jump = so if loaded > value else not_so
            case 0x06:
                assert value == 0x7FFF0000 or value >> 16 == 0x5
                return int(value & 0xFFFF) if value >> 16 == 0x5 else 0
        at += 1 + jump


UPPER = 0xFFFFFFFF << 32  # which Linux does not read of an int


def test_the_calls_have_the_numbers_that_linux_gives_them() -> None:
    """socket and setsockopt: arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h."""
    assert confine.SOCKET_CALLS == {"x86_64": (41, 54), "aarch64": (198, 208)}


@pytest.mark.parametrize(("socket_call", "option_call"), confine.SOCKET_CALLS.values())
def test_what_the_filter_refuses_and_nothing_else(
    socket_call: int, option_call: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[bytes] = []

    class Filtered:
        @staticmethod
        def prctl(option: Any, mode: Any, program: bytes) -> int:
            length, address = struct.unpack("@HP", program)
            kept.append(ctypes.string_at(address, 8 * length))
            return 0

    monkeypatch.setattr(confine, "LIBC", Filtered)
    confine.close_calls(socket_call, option_call)
    families, stream = range(46), 1
    protocols = (0, 1, 2, 6, 15, 16, 17, 20, 58, 132, 136, 255, 256, 257, 262)
    refused = {
        (family, protocol)
        for family in families
        for protocol in protocols
        if decided(kept[0], socket_call, (family | UPPER, stream, protocol | UPPER))
    }
    netlink = {(16, protocol) for protocol in protocols if protocol not in (0, 20)}
    assert refused == {(family, 256) for family in families} | netlink
    options = {
        (level, option)
        for level in (0, 1, 6, 17, 41, 58, 132, 136, 256, 263, 284)
        for option in range(80)
        if decided(kept[0], option_call, (3, level | UPPER, option | UPPER))
    }
    groups = {(level, option) for level in (0, 41) for option in (20, *range(35, 49))}
    assert options == groups | {(6, 31)}  # and what makes SMC of TCP
    # Of other calls nothing is asked.
    others = set(range(470)) - {socket_call, option_call}
    assert {number for number in others if decided(kept[0], number, (16, 3, 2))} == set()
    assert decided(kept[0], socket_call, (16, 3, 2)) == errno.EPROTONOSUPPORT


class Kernel:
    """One that answers the calls in turn: a number, or what it refuses with."""

    def __init__(self, *answers: int | OSError) -> None:
        self.answers = iter(answers)
        self.asked: list[tuple[Any, ...]] = []

    def syscall(self, *words: Any) -> int:
        return self._answer("syscall", words)

    def prctl(self, *words: Any) -> int:
        return self._answer("prctl", words)

    def _answer(self, call: str, words: tuple[Any, ...]) -> int:
        self.asked.append((call, *[getattr(word, "value", word) for word in words]))
        answer = next(self.answers)
        if isinstance(answer, OSError):
            ctypes.set_errno(answer.errno or 0)
            return -1
        return answer


ASKED = ("syscall", 444, None, 0, 1)
STARTED = ("execv", "/engine/bin/python", ["/engine/bin/python", "-m", "vllm"])


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Callable[[Kernel], list[tuple[Any, ...]]]:
    """Start a server on that kernel; what was asked of it, in order."""

    def started(kernel: Kernel) -> list[tuple[Any, ...]]:
        monkeypatch.setattr(confine, "LIBC", kernel)
        monkeypatch.setattr(os, "execv", lambda *words: kernel.asked.append(("execv", *words)))
        monkeypatch.setattr(os, "close", lambda number: kernel.asked.append(("close", number)))
        monkeypatch.setattr(sys, "argv", ["confine", *STARTED[2]])
        confine.main()
        return kernel.asked

    return started


@pytest.mark.parametrize(
    "answer",
    [OSError(errno.ENOSYS, ""), OSError(errno.EOPNOTSUPP, ""), OSError(errno.EPERM, ""), 1, 5],
    ids=["none", "switched off", "forbidden by a container's host", "Linux 5.13", "Linux 6.10"],
)
def test_on_a_kernel_without_it_the_server_starts_and_its_log_says_so(
    answer: int | OSError, start: Callable[[Kernel], Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert start(Kernel(0, 0, answer))[2:] == [ASKED, STARTED]
    assert capsys.readouterr().err == (
        "corral: this Linux lacks Landlock of 6.12 or newer: "
        "abstract sockets of other programs are open to the server\n"
    )


def test_what_is_asked_of_a_kernel_that_has_it(
    start: Callable[[Kernel], Any], capsys: pytest.CaptureFixture[str]
) -> None:
    ruleset = bytes(16) + (3).to_bytes(8, sys.byteorder)
    privileges, netlink, *landlock = start(Kernel(0, 0, 6, 9, 0))
    assert (privileges, netlink[:3]) == (("prctl", 38, 1, 0, 0, 0), ("prctl", 22, 2))
    assert landlock == [
        ASKED,
        ("syscall", 444, ruleset, 24, 0),
        ("syscall", 446, 9, 0),
        ("close", 9),
        STARTED,
    ]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "answers", [(-1,), (0, OSError(errno.EINVAL, "")), (0, 0, 7, OSError(errno.EINVAL, "")), (0, 0, 7, 9, -1)]
)
def test_a_kernel_that_refuses_what_it_has_gets_no_server(
    answers: tuple[int | OSError, ...], start: Callable[[Kernel], Any]
) -> None:
    kernel = Kernel(*answers)
    with pytest.raises(OSError, match=r"\[Errno"):
        start(kernel)
    assert STARTED not in kernel.asked
