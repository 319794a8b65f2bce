"""The compiled reader's own side: what the library hands over and to whom, and by when it has looked at all sockets.

What it makes of what has come is in test_probe_reader.
"""

import ctypes
import select
import socket
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from serving.probe import compiled
from serving.probe.reader import CompiledReader
from serving.probe.tally import Tally


class Heard:
    """A listener that keeps what it hears."""

    def __init__(self) -> None:
        self.said: list[object] = []

    def received(self, data: bytes, stamp_ns: int, now_ns: int) -> None:
        """These bytes."""
        self.said.append((data, stamp_ns, now_ns))

    def lost_by(self, code: int) -> None:
        """Nothing more."""
        self.said.append(code)


def test_what_the_library_hands_over_is_heard_by_its_own_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one that was closed meanwhile nothing is heard or counted; those behind it are."""
    asked: list[tuple[int, int]] = []

    def drain(_: int, offset_ns: int, rests: int, batch: compiled.Batch) -> None:
        asked.append((offset_ns, rests))
        batch.counted, batch.unstamped, batch.handed, batch.late_us = 3, 1, 5, -1
        batch.lags_us[:3] = (7, 8, 9)
        data = b"onetwo"
        ctypes.memmove(ctypes.addressof(batch) + compiled.Batch.data.offset, data, len(data))
        batch.reads[:5] = (
            (1, 100, 5_100, 0, 3),
            (9, 100, 5_200, 0, 3),
            (2, 0, 0, 0, -104),
            (1, 0, 6_000, 3, 3),
            (3, 0, 7_000, 0, 0),
        )

    library = SimpleNamespace(drain=drain, watch=lambda *_: 0)
    monkeypatch.setattr("serving.probe.reader.library", lambda: library)
    loop: Any = SimpleNamespace(add_reader=lambda *_: None, remove_reader=lambda _: None)
    owner: Any = SimpleNamespace(loop=loop, tally=Tally(), offset_ns=77)
    reader, listeners = CompiledReader(owner), [Heard(), Heard(), Heard()]
    sock: Any = SimpleNamespace(fileno=lambda: 5)
    assert [stream.number for heard in listeners if (stream := reader.add(heard, sock))] == [1, 2, 3]
    reader._drain()
    assert [heard.said for heard in listeners] == [
        [(b"one", 100, 5_100), (b"two", 6_000, 6_000)],
        [104],
        [(b"", 7_000, 7_000)],
    ]
    assert (owner.tally.reads, owner.tally.events, owner.tally.unstamped) == (5, 3, 2)
    assert list(owner.tally.lags_us) == [7, 8, 5]
    owner.tally.kernel_stamps = True
    reader._drain()
    assert asked == [(77, 0), (77, 3)]
    library.watch = lambda *_: 24
    with pytest.raises(OSError, match="epoll_ctl") as error:
        reader.add(Heard(), sock)
    assert error.value.errno == 24
    reader.close()


# With the library


@pytest.fixture
def drained(need: Any) -> Iterator[tuple[CompiledReader, Tally]]:
    """The library's own reader, and what it counts."""
    try:
        compiled.library()
    except compiled.NotCompiled as reason:
        need("cc", f"{reason}; on Debian: apt-get install gcc libc6-dev")
    loop: Any = SimpleNamespace(add_reader=lambda *_: None, remove_reader=lambda _: None)
    owner: Any = SimpleNamespace(loop=loop, tally=Tally(), offset_ns=0)
    made = CompiledReader(owner)
    yield made, owner.tally
    made.close()


@pytest.mark.parametrize(
    ("sockets", "size", "is_all"),
    [(1, 5, True), (255, 1, True), (256, 1, False), (1, 65535, True), (1, 65536, False), (17, 65535, False)],
)
def test_a_drain_that_had_room_for_all_has_read_what_had_come(
    drained: tuple[CompiledReader, Tally], sockets: int, size: int, is_all: bool
) -> None:
    reader, tally = drained
    pairs = [socket.socketpair() for _ in range(sockets)]
    listener: Any = SimpleNamespace(received=lambda *_: None)
    streams = [reader.add(listener, ours) for ours, _ in pairs]
    for _, theirs in pairs:
        theirs.sendall(bytes(size))
    before_ns = time.monotonic_ns()
    reader._drain()
    assert (before_ns <= tally.looked_ns <= time.monotonic_ns()) == is_all
    assert len(streams) == sockets  # nobody else keeps them
    for pair in pairs:
        pair[0].close()
        pair[1].close()


@pytest.mark.parametrize(("sockets", "size"), [(1, 3 * 65536 + 5), (1, 2 * 65536), (20, 65536)])
def test_what_one_drain_has_left_the_next_ones_read(
    drained: tuple[CompiledReader, Tally], sockets: int, size: int
) -> None:
    """Although nothing more comes: of a socket that held more than a read takes, and those there was no room for."""
    reader, _ = drained
    pairs = [socket.socketpair() for _ in range(sockets)]
    heard = [Heard() for _ in pairs]
    streams = [reader.add(each, ours) for each, (ours, _) in zip(heard, pairs, strict=True)]
    for ours, theirs in pairs:
        ours.setblocking(False)
        theirs.setblocking(False)
        assert theirs.send(bytes(size)) == size
    while has_something(reader):
        reader._drain()
    said: Any = [each.said for each in heard]
    assert [sum(len(data) for data, _, _ in each) for each in said] == [size] * len(streams)
    for pair in pairs:
        pair[0].close()
        pair[1].close()


def test_the_end_that_came_with_a_counted_text_is_heard(drained: tuple[CompiledReader, Tally]) -> None:
    reader, tally = drained
    with socket.create_server(("127.0.0.1", 0)) as door:
        ours = socket.create_connection(door.getsockname())
        theirs, _ = door.accept()
    ours.setblocking(False)
    heard = Heard()
    stream = reader.add(heard, ours)
    assert stream is not None
    stream.arm((b'{"t":"', b'"}'))
    theirs.sendall(b'11\r\ndata: {"t":"a"}\n\n\r\n')
    theirs.close()
    assert has_ended(ours)
    while has_something(reader):
        reader._drain()
        if heard.said:
            reader.remove(ours, stream)
    said: Any = heard.said
    assert (stream.stamped, tally.events, [data for data, _, _ in said]) == (1, 1, [b""])
    ours.close()


def has_something(reader: CompiledReader) -> bool:
    """As the loop asks, which takes nothing from it."""
    return bool(select.select([reader._poller], [], [], 0)[0])


def has_ended(sock: socket.socket) -> bool:
    """Whether the peer's end has come, behind whatever came before it."""
    poll = select.poll()
    poll.register(sock, select.POLLRDHUP)
    return bool(poll.poll(5000))


def test_where_nothing_comes_a_timer_lets_it_look(drained: tuple[CompiledReader, Tally]) -> None:
    """As late as it is looked at; and again after it."""
    reader, tally = drained
    assert reader.begin()
    for _ in range(2):
        tally.late_us.clear()
        while reader._poller.poll(0) == []:
            assert tally.late_us == []
        time.sleep(0.005)
        before_ns = time.monotonic_ns()
        reader._drain()
        assert tally.late_us[0] >= 5_000
        assert before_ns <= tally.looked_ns <= reader._batch.due_ns - 20_000_000


def test_where_the_kernel_has_no_timer_somebody_else_must_beat(drained: tuple[CompiledReader, Tally]) -> None:
    reader, tally = drained
    reader._poller.close()
    reader._poller = SimpleNamespace(fileno=lambda: -1, close=lambda: None)  # type: ignore[assignment]
    assert not reader.begin()
    reader._drain()
    assert (tally.late_us, reader._batch.timer) == ([], -1)


def test_where_something_comes_the_timer_waits(drained: tuple[CompiledReader, Tally]) -> None:
    """Unless that was long in coming, and it has rung: then as at every ring."""
    reader, tally = drained
    reader.begin()
    reader._drain()
    wait_ns = reader._batch.due_ns - tally.looked_ns
    assert wait_ns == (20_000_000 if tally.late_us else 30_000_000)
    due_ns = reader._batch.due_ns
    reader._drain()
    assert (reader._batch.due_ns == due_ns) == (tally.looked_ns <= due_ns - 20_000_000)


@pytest.mark.parametrize(("silence_ns", "waits_ns"), [(40_000_000, None), (2_000_000_000, 100_000_000)])
def test_in_a_long_silence_it_looks_less_often(
    drained: tuple[CompiledReader, Tally], silence_ns: int, waits_ns: int | None
) -> None:
    """As long again as that has lasted: what comes then was unwatched for half of it, or for 0.1 s."""
    reader, tally = drained
    reader.begin()
    reader._batch.heard_ns -= silence_ns
    while reader._poller.poll(0) == []:
        assert tally.late_us == []
    reader._drain()
    silent_ns = tally.looked_ns - reader._batch.heard_ns
    assert silent_ns > silence_ns
    assert reader._batch.due_ns - tally.looked_ns == (waits_ns or min(silent_ns, 100_000_000))
