"""What AWS's socket says, in time and within bounds; no socket of AWS's, and no clock that runs."""

from http.client import HTTPException
from typing import Any

import pytest

from infra import deadline
from infra.aws import bounded_answer
from infra.aws.bounded_answer import BoundedReader


class Sock:
    """A socket with a time limit for each read."""

    def __init__(self, limit_s: float | None) -> None:
        self.limits: list[float | None] = [limit_s]

    def gettimeout(self) -> float | None:
        return self.limits[-1]

    def settimeout(self, limit_s: float | None) -> None:
        self.limits.append(limit_s)


class Raw:
    """What is read: so many bytes each time."""

    def __init__(self, count: int | None) -> None:
        self.count, self.is_closed = count, False

    def readinto(self, buffer: bytearray) -> int | None:
        return self.count

    def close(self) -> None:
        self.is_closed = True


def reader(monkeypatch: pytest.MonkeyPatch, sock: Sock, raw: Raw) -> tuple[BoundedReader, dict[str, float]]:
    now = {"s": 100.0}
    monkeypatch.setattr(bounded_answer, "clock", lambda: now["s"])
    monkeypatch.setattr(deadline, "left_s", lambda most_s: most_s)
    anything: Any = sock
    return BoundedReader(raw, anything), now


def test_each_read_has_what_is_left_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    sock, raw = Sock(10.0), Raw(7)
    bounded, now = reader(monkeypatch, sock, raw)
    whole_s = min(bounded_answer.ANSWER_S, bounded_answer.READS * 10.0)
    assert (bounded.readable(), bounded.readinto(bytearray(9))) == (True, 7)
    now["s"] = 100.0 + whole_s - 3.0
    assert bounded.readinto(bytearray(9)) == 7
    now["s"] = 100.0 + whole_s
    with pytest.raises(TimeoutError, match="^the answer was not whole in time$"):
        bounded.readinto(bytearray(9))
    bounded.close()
    assert (sock.limits, raw.is_closed) == ([10.0, 10.0, 3.0, 10.0], True)


def test_without_a_limit_of_its_own_it_has_the_whole_time(monkeypatch: pytest.MonkeyPatch) -> None:
    sock = Sock(None)
    bounded, _ = reader(monkeypatch, sock, Raw(None))
    assert bounded.readinto(bytearray(9)) is None
    assert sock.limits == [None, bounded_answer.ANSWER_S]


def test_more_than_any_answer_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    bounded, _ = reader(monkeypatch, Sock(10.0), Raw(bounded_answer.MOST_BYTES))
    assert bounded.readinto(bytearray(9)) == bounded_answer.MOST_BYTES
    bounded._raw.count = 1
    with pytest.raises(HTTPException) as error:
        bounded.readinto(bytearray(9))
    assert str(error.value) == f"more than {bounded_answer.MOST_BYTES:,} bytes"
