"""How often something is tried, and how long is waited between; with an event that waits for nothing."""

from types import SimpleNamespace
from typing import Any

import pytest

from infra.errors import EndpointError
from infra.fetch import patience
from infra.fetch.hub_answers import Passing
from infra.fetch.patience import Pace


class Over:
    """Notes each wait; says that all is over at the last."""

    def __init__(self, after: int = 99) -> None:
        self.waits: list[float] = []
        self.after = after

    def wait(self, seconds: float) -> bool:
        self.waits.append(seconds)
        return len(self.waits) >= self.after


def failing(times: int, wait_s: float | None = None) -> tuple[list[int], Any]:
    """What passes by only after so many tries."""
    tries: list[int] = []

    def do() -> str:
        tries.append(len(tries))
        if len(tries) <= times:
            raise Passing("busy", wait_s)
        return "done"

    return tries, do


@pytest.mark.parametrize(
    ("times", "asked_s", "waits"),
    [(0, None, []), (1, None, [1.5]), (3, None, [1.5, 3.0, 6.0]), (2, 7.0, [7.0, 7.0]), (1, 0.0, [0.0])],
)
def test_each_wait_is_twice_the_last_or_what_was_asked_for(
    times: int, asked_s: float | None, waits: list[float]
) -> None:
    over: Any = Over()
    _, do = failing(times, asked_s)
    assert patience.tried(do, 4, Pace(first_wait_s=1.5), over) == "done"
    assert over.waits == waits


def test_the_last_try_is_the_last_and_what_does_not_pass_is_not_tried_again() -> None:
    over: Any = Over()
    tries, do = failing(9)
    with pytest.raises(Passing):
        patience.tried(do, 4, Pace(), over)
    assert (tries, over.waits) == ([0, 1, 2, 3], [1.0, 2.0, 4.0])

    def refused() -> None:
        tries.append(9)
        raise EndpointError("no")

    with pytest.raises(EndpointError, match="^no$"):
        patience.tried(refused, 4, Pace(), over)
    assert tries == [0, 1, 2, 3, 9]


def test_a_wait_that_all_is_over_in_ends_it() -> None:
    over: Any = Over(after=2)
    tries, do = failing(9)
    with pytest.raises(Passing):
        patience.tried(do, 6, Pace(), over)
    assert (tries, over.waits) == ([0, 1], [1.0, 2.0])


def wire(*blocks: bytes, length: int | None) -> Any:
    """A connection that brings these, of an answer that has so much left in the end."""
    left = list(blocks)
    happened: list[str] = []

    def read(response: Any, into: memoryview, what: str) -> int:
        block = left.pop(0) if left else b""
        into[: len(block)] = block
        return len(block)

    response = SimpleNamespace(length=length)

    def ask(url: str, what: str) -> tuple[Any, str]:
        happened.append(f"{url} for {what}")
        return response, url

    return SimpleNamespace(
        ask=ask,
        read=read,
        done=lambda _: happened.append("done"),
        happened=happened,
    )


def test_a_short_answer_is_whole_or_none() -> None:
    for length in (0, None):
        good = wire(b"one", b"two", length=length)
        assert patience.small(good, "u", "w", 6) == b"onetwo"
        assert good.happened == ["u for w", "done"]
    with pytest.raises(Passing) as early:
        patience.small(wire(b"one", length=3), "u", "w", 6)
    assert early.value.message == "The Hub's answer about w ended early."
    with pytest.raises(EndpointError) as much:
        patience.small(wire(b"one", b"twos", length=0), "u", "w", 6)
    assert much.value.message == "The Hub answers wrongly about w: it says more than 6 bytes."


def test_its_paces() -> None:
    assert Pace() == (16 << 20, 8, 6, 3, 1.0, 45.0, 4096, 0.25)
