"""The compiled reader's own side: what the library hands over, and to whom; the library is in test_probe_reader."""

import ctypes
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
