"""What runs on a host beside a server and would carry things out for it: each notes what it is brought.

The argument is the folder of the notes, a file each. Standard library only.
"""

import ctypes
import os
import socket
import sys
from pathlib import Path
from threading import Thread

NOTES = Path(sys.argv[1])
STREAMS: dict[str, tuple[str, int] | str] = {
    "dns-tcp": ("127.0.0.53", 53),
    "metadata": ("169.254.169.254", 80),
    "proxy": ("127.0.0.1", 3128),
    "proxy6": ("::1", 3128),
    "mail": ("10.99.0.2", 25),
    "user": ("127.0.0.1", 45678),
    "resolve": "/run/systemd/resolve/io.systemd.Resolve",
    "docker": "/run/docker.sock",
    "agent": "/tmp/ssh-agent/agent.1",
    "run-user": "/run/user/1000/bus",
    "mail-queue": "/var/spool/postfix/public/pickup",
    "abstract": "\0carrier",
    "memory": "/dev/shm/carrier.socket",
    "users": "/var/lib/sss/pipes/nss",
    "database": "/var/lib/mysql/mysql.sock",
    "temporary": "/var/tmp/carrier/socket",
}
DATAGRAMS: dict[str, tuple[str, int] | str] = {
    "syslog": ("127.0.0.1", 514),
    "abstract-datagram": "\0carrier-datagram",
}
PIPES = {
    "memory-pipe": "/dev/shm/carrier.pipe",
    "state-pipe": "/var/carrier/pipe",
    "monitor": "/opt/datadog-agent/pipe",
}
FILES = ("/dev/shm/carrier",)
KEY = 4242
LIBC = ctypes.CDLL(None)


def listening(address: tuple[str, int] | str, kind: int) -> socket.socket:
    """A socket there that everybody may use."""
    if isinstance(address, tuple):
        way = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET, kind)
        way.bind(address)
    else:
        way = socket.socket(socket.AF_UNIX, kind)
        if not address.startswith("\0"):
            Path(address).parent.mkdir(parents=True, exist_ok=True)
        way.bind(address)
        if not address.startswith("\0"):
            os.chmod(address, 0o666)
    return way


def noted(name: str, data: bytes) -> None:
    if data:
        with (NOTES / name).open("ab") as note:
            note.write(data)


def streams(name: str, way: socket.socket) -> None:
    way.listen()
    while True:
        with way.accept()[0] as connection:
            connection.settimeout(5)
            noted(name, connection.recv(4096))


def datagrams(name: str, way: socket.socket) -> None:
    while True:
        noted(name, way.recv(4096))


def names(name: str, way: socket.socket) -> None:
    """A name server that knows every name's IPv4 address, and no other."""
    while True:
        question, whom = way.recvfrom(4096)
        noted(name, question)
        end = question.index(b"\0", 12) + 5  # of the name, the kind and the class
        is_ipv4 = question[end - 4 : end] == b"\0\1\0\1"
        head = question[:2] + b"\x81\x80\0\1" + bytes((0, is_ipv4)) + bytes(4)
        address = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + socket.inet_aton("10.99.0.1")
        way.sendto(head + question[12:end] + address * is_ipv4, whom)


def pipe(name: str, path: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(path, 0o666)
    with open(path, "r+b", buffering=0) as reading:
        while True:
            noted(name, reading.read(4096))


def memory_of_all() -> None:
    """Files and a System V segment that everybody may write to."""
    for path in FILES:
        Path(path).touch(0o666)
    LIBC.shmget(KEY, 4096, 0o1666)


def queue(name: str) -> None:
    """A System V queue."""
    number = LIBC.msgget(KEY, 0o1666)
    message = ctypes.create_string_buffer(8 + 4096)
    while LIBC.msgrcv(number, message, 4096, 0, 0) >= 0:
        noted(name, message.raw[8:])


def posix_queue(name: str) -> None:
    number = LIBC.mq_open(b"/carrier", os.O_CREAT | os.O_RDWR, 0o666, None)
    message = ctypes.create_string_buffer(8192)
    while LIBC.mq_receive(number, message, 8192, None) >= 0:
        noted(name, message.raw)


def netlink(name: str) -> None:
    """The kernel's bus between programs, at a number that is known."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 2) as way:
        way.bind((KEY, 0))
        while True:
            noted(name, way.recv(4096))


if __name__ == "__main__":
    NOTES.mkdir(parents=True)
    os.umask(0)
    memory_of_all()
    threads = [
        *(Thread(target=pipe, args=one) for one in PIPES.items()),
        Thread(target=queue, args=("queue",)),
        Thread(target=posix_queue, args=("posix-queue",)),
        Thread(target=netlink, args=("netlink",)),
        Thread(target=names, args=("dns", listening(("127.0.0.53", 53), socket.SOCK_DGRAM))),
        *(Thread(target=streams, args=(n, listening(a, socket.SOCK_STREAM))) for n, a in STREAMS.items()),
        Thread(
            target=streams, args=("abstract-packets", listening("\0carrier-packets", socket.SOCK_SEQPACKET))
        ),
        *(Thread(target=datagrams, args=(n, listening(a, socket.SOCK_DGRAM))) for n, a in DATAGRAMS.items()),
    ]
    for thread in threads:
        thread.start()
    (NOTES / "ready").touch()
