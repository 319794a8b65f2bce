"""What is read from a socket becomes bytes with a time; TLS without a socket; how the compiled reader is had."""

import ctypes
import socket
import ssl
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from serving.probe import compiled, reader
from serving.probe.compiled import Batch, NotCompiled, Stream, compile_to
from serving.probe.reader import CompiledReader, PythonReader, new_reader
from serving.probe.tally import Tally
from serving.probe.tls import Tls, TlsFault

NOW_NS = 5_000_000_000_000


class Owner:
    """An attack's loop and counts; the loop only notes what is asked of it."""

    def __init__(self) -> None:
        self.tally, self.offset_ns = Tally(), 1_000
        self.readers: dict[int, tuple[object, ...]] = {}
        self.loop: Any = SimpleNamespace(
            add_reader=lambda number, *call: self.readers.__setitem__(number, call),
            remove_reader=self.readers.pop,
        )


class Listener:
    def __init__(self) -> None:
        self.heard: list[tuple[object, ...]] = []

    def received(self, data: bytes, stamp_ns: int, now_ns: int) -> None:
        self.heard.append((data, stamp_ns, now_ns))

    def lost_by(self, code: int) -> None:
        self.heard.append(("lost", code))


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "monotonic_ns", lambda: NOW_NS)


def stamped(real_ns: int) -> list[tuple[int, int, bytes]]:
    return [(socket.SOL_SOCKET, 35, struct.pack("@qq", *divmod(real_ns, 1_000_000_000)))]


@pytest.mark.parametrize(
    ("control", "stamp_ns", "counts"),
    [
        ([], NOW_NS, (1, 1, [])),
        (stamped(NOW_NS - 7_000_000 + 1000), NOW_NS - 7_000_000, (1, 0, [7000])),
        (stamped(NOW_NS + 1_000_000 + 1000), NOW_NS + 1_000_000, (1, 0, [-1000])),
        (stamped(NOW_NS + 1_000_001 + 1000), NOW_NS, (1, 1, [])),
        (stamped(NOW_NS - 600 * 10**9 + 1000), NOW_NS - 600 * 10**9, (1, 0, [600_000_000])),
        (stamped(NOW_NS - 600 * 10**9 - 1 + 1000), NOW_NS, (1, 1, [])),
    ],
)
def test_bytes_have_the_kernels_time_where_it_can_be_believed(
    control: list[tuple[int, int, bytes]], stamp_ns: int, counts: tuple[int, int, list[int]]
) -> None:
    owner, listener = Owner(), Listener()
    made = PythonReader(owner)

    def recvmsg_into(
        buffers: list[memoryview], most: int
    ) -> tuple[int, list[tuple[int, int, bytes]], int, object]:
        assert (len(buffers[0]), most) == (65536, 64)
        buffers[0][:5] = b"hello"
        return 5, control, 0, None

    made._read(listener, recvmsg_into)
    assert listener.heard == [(b"hello", stamp_ns, NOW_NS)]
    assert (owner.tally.reads, owner.tally.unstamped, list(owner.tally.lags_us)) == counts


def test_a_socket_that_has_nothing_is_left_alone_and_a_broken_one_is_lost() -> None:
    owner, listener = Owner(), Listener()
    made = PythonReader(owner)

    def failing(error: OSError) -> Callable[..., Any]:
        def recvmsg_into(*words: object) -> None:
            raise error

        return recvmsg_into

    for error in (BlockingIOError(), InterruptedError()):
        made._read(listener, failing(error))
    assert listener.heard == []
    for code in (104, None):
        made._read(listener, failing(OSError(code, "x")))
    assert (listener.heard, owner.tally.reads) == ([("lost", 104), ("lost", 0)], 0)


def test_sockets_are_heard_by_their_numbers() -> None:
    owner, listener = Owner(), Listener()
    made = PythonReader(owner)
    sock: Any = SimpleNamespace(fileno=lambda: 7, recvmsg_into=print)
    assert made.add(listener, sock) is None
    assert owner.readers == {7: (made._read, listener, print)}
    made.remove(sock, None)
    made.close()
    assert (owner.readers, made.name) == ({}, "python")


class Library:
    """reader.c as a test says it: what it watches, and what one call of drain has read."""

    def __init__(self) -> None:
        self.refuses = 0
        self.asked: list[tuple[object, ...]] = []
        self.fill: Callable[[Batch], None] = lambda batch: None

    def watch(self, poller: int, stream: Stream) -> int:
        self.asked.append(("watch", stream.number, stream.fd))
        return self.refuses

    def drain(self, poller: int, offset_ns: int, rests: int, batch: Batch) -> None:
        self.asked.append(("drain", offset_ns, rests))
        self.fill(batch)


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    made = Library()
    monkeypatch.setattr(reader, "library", lambda: made)
    monkeypatch.setattr(
        "select.epoll",
        lambda: SimpleNamespace(fileno=lambda: 3, unregister=lambda number: None, close=lambda: None),
    )
    return made


def test_what_the_compiled_reader_counted_and_handed_over(library: Library) -> None:
    owner, one, two = Owner(), Listener(), Listener()
    made = CompiledReader(owner)
    sock: Any = SimpleNamespace(fileno=lambda: 7)
    first, second = made.add(one, sock), made.add(two, sock)
    assert first is not None
    assert second is not None
    assert (first.number, second.number, first.fd) == (1, 2, 7)

    def fill(batch: Batch) -> None:
        batch.counted, batch.unstamped, batch.handed, batch.late_us = 5, 2, 4, -1
        batch.lags_us[:3] = [10, 20, 30]
        ctypes.memmove(ctypes.addressof(batch) + Batch.data.offset, b"abcdefg", 7)
        for number, read in enumerate(
            [(1, 90, 100, 0, 3), (9, 90, 100, 0, 3), (2, 0, 110, 3, 4), (1, 0, 0, 0, -104)]
        ):
            handed = batch.reads[number]
            handed.number, handed.stamp_ns, handed.now_ns, handed.offset, handed.bytes = read

    library.fill = fill
    made._drain()
    assert one.heard == [(b"abc", 90, 100), ("lost", 104)]
    assert two.heard == [(b"defg", 110, 110)]
    assert (owner.tally.reads, owner.tally.events, owner.tally.unstamped) == (7, 5, 3)
    assert list(owner.tally.lags_us) == [10, 20, 30, 0]
    assert library.asked == [("watch", 1, 7), ("watch", 2, 7), ("drain", 1000, 0)]
    owner.tally.kernel_stamps = True

    def ring(batch: Batch) -> None:
        batch.looked_ns, batch.late_us = 7, 50_000

    library.fill = ring
    made._batch = Batch()
    made._drain()
    assert library.asked[-1] == ("drain", 1000, 3)
    assert (owner.tally.looked_ns, owner.tally.late_us) == (7, [50_000, 30_000, 10_000])


def test_a_socket_the_kernel_does_not_watch_and_one_that_is_gone(library: Library) -> None:
    owner = Owner()
    made = CompiledReader(owner)
    sock: Any = SimpleNamespace(fileno=lambda: 7)
    library.refuses = 28
    with pytest.raises(OSError, match="epoll_ctl") as caught:
        made.add(Listener(), sock)
    assert caught.value.errno == 28
    library.refuses = 0
    listener = Listener()
    stream = made.add(listener, sock)
    made.remove(sock, stream)
    made.remove(sock, stream)
    made.remove(sock, None)
    assert (made._listeners, set(owner.readers), made.name) == ({}, {3}, "c")
    made.close()
    assert owner.readers == {}


def test_who_reads_and_why_not_the_compiled_one(monkeypatch: pytest.MonkeyPatch, library: Library) -> None:
    found, why = new_reader(Owner(), compiled=True)
    assert (found.name, why) == ("c", None)
    found, why = new_reader(Owner(), compiled=False)
    assert (found.name, why) == ("python", "it was not wanted")

    def refuse() -> None:
        raise NotCompiled("no cc")

    monkeypatch.setattr(reader, "library", refuse)
    found, why = new_reader(Owner(), compiled=True)
    assert (found.name, why) == ("python", "no cc")


# The compiler


def test_a_stream_is_armed_with_what_stands_around_a_text() -> None:
    stream = Stream()
    stream.arm((b"before", b"be"))
    assert (stream.before, stream.behind, stream.before_bytes, stream.behind_bytes) == (
        b"before",
        b"be",
        6,
        2,
    )
    stream.before_bytes = 99
    stream.arm((b"before", b"be"))
    assert stream.before_bytes == 99  # the same again costs nothing
    stream.arm((b"", b""), "é\ud83d")
    assert (stream.before_bytes, stream.behind_bytes) == (0, 0)
    assert (stream.newest, stream.newest_bytes) == (b"\xc3\xa9\xed\xa0\xbd", 5)
    stream.arm((b"", b""))
    assert stream.newest_bytes == 0


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("exit 1", "cc failed: no reason given"),
        (f"echo one >&2; echo {'x' * 200} >&2; exit 1", f"cc failed: {'x' * 120}"),
    ],
)
def test_a_compiler_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, reason: str
) -> None:
    program = tmp_path / "cc"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr("shutil.which", {"cc": str(program)}.get)
    with pytest.raises(NotCompiled) as caught:
        compile_to(tmp_path / "made" / "reader.so")
    assert str(caught.value) == reason
    assert list((tmp_path / "made").iterdir()) == []


def test_a_compiler_that_takes_too_long_or_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[object] = []

    def run(command: list[str], **options: Any) -> None:
        limits.append(options["timeout"])
        raise subprocess.TimeoutExpired(command, 60)

    monkeypatch.setattr("shutil.which", lambda name: "/cc")
    monkeypatch.setattr("subprocess.run", run)
    with pytest.raises(NotCompiled, match="^cc was not done after 60 s$"):
        compile_to(tmp_path / "reader.so")
    assert limits == [60.0]
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(NotCompiled, match=r"^this machine has no C compiler \(cc\)$"):
        compile_to(tmp_path / "reader.so")


def test_a_library_is_made_once_for_its_source_and_moved_there_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "cc"
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@" > "$5"\n')
    program.chmod(0o755)
    monkeypatch.setattr("shutil.which", {"cc": str(program)}.get)
    path = tmp_path / "made" / "reader.so"
    compile_to(path)
    *options, made, source = path.read_text().splitlines()
    assert (options, Path(made).name, source) == (
        ["-O2", "-shared", "-fPIC", "-o"], "reader.so", str(compiled.SOURCE),
    )  # fmt: skip
    assert Path(made).parent.parent == path.parent
    assert [each.name for each in path.parent.iterdir()] == ["reader.so"]


def test_the_reader_is_for_64_bit_linux_and_kept_in_the_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = compiled.library.__wrapped__
    made: list[Path] = []

    def compile_to(path: Path) -> None:
        made.append(path)
        path.parent.mkdir(parents=True)
        path.write_bytes(b"no library")

    monkeypatch.setattr(compiled, "compile_to", compile_to)
    with pytest.raises(NotCompiled, match="invalid ELF header|file too short"):
        make()
    with pytest.raises(NotCompiled, match="invalid ELF header|file too short"):
        make()
    (path,) = made
    assert path.parent == tmp_path / "corral-home" / "cache" / "probe"
    assert (path.name[:7], len(path.name), path.suffix) == (
        "reader-",
        len("reader-0123456789abcdef.so"),
        ".so",
    )
    monkeypatch.setattr("sys.platform", "darwin")
    with pytest.raises(NotCompiled, match="^it is for 64-bit Linux$"):
        make()


# TLS without a socket


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for host that no one trusts, its key in the same file."""
    folder = tmp_path_factory.mktemp("tls")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=host"]
    files = ["-addext", "subjectAltName=DNS:host", "-keyout", f"{folder}/key.pem", "-out", f"{folder}/ca.pem"]
    subprocess.run([*command, *files], check=True, capture_output=True)
    (folder / "both.pem").write_text((folder / "key.pem").read_text() + (folder / "ca.pem").read_text())
    return folder


class Peer:
    """The server's side."""

    def __init__(self, certificate: Path) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate / "both.pem")
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.layer = context.wrap_bio(self.incoming, self.outgoing, server_side=True)

    def shake(self) -> None:
        try:
            self.layer.do_handshake()
        except ssl.SSLWantReadError:
            return


def shaken(client: Tls, peer: Peer) -> None:
    """Until both have shaken hands."""
    while not client.shake():
        peer.incoming.write(client.to_send())
        peer.shake()
        client.received(peer.outgoing.read())
    peer.incoming.write(client.to_send())
    peer.shake()


def test_bytes_go_both_ways_and_the_last_is_known(certificate: Path) -> None:
    client = Tls(ssl.create_default_context(cafile=str(certificate / "ca.pem")), "host")
    peer = Peer(certificate)
    shaken(client, peer)
    client.write(b"hello")
    peer.incoming.write(client.to_send())
    assert (peer.layer.read(100), client.to_send()) == (b"hello", b"")
    assert client.read() == (b"", False)
    for piece in (b"x" * 70_000, b"y"):
        peer.layer.write(piece)
    client.received(peer.outgoing.read())
    assert client.read() == (b"x" * 70_000 + b"y", False)
    peer.layer.write(b"last")
    client.received(peer.outgoing.read())
    client.received(b"")
    assert [client.read(), client.read()] == [(b"last", False), (b"", True)]


def test_a_certificate_that_is_not_trusted(certificate: Path) -> None:
    client, peer = Tls(ssl.create_default_context(), "host"), Peer(certificate)
    with pytest.raises(TlsFault, match="^the certificate is not trusted: self-signed certificate$"):
        shaken(client, peer)
    other = Tls(ssl.create_default_context(cafile=str(certificate / "ca.pem")), "another")
    with pytest.raises(TlsFault, match="^the certificate is not trusted: Hostname mismatch"):
        shaken(other, Peer(certificate))
