"""The one loop that waits: when it looks, when it stops, and what it gives back."""

from infra import wait


class Clock:
    """A clock that only pauses move."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


def waited(seen: list[int], within_s: float) -> tuple[int, list[int], list[float]]:
    """Wait for a number above 2: what was seen last, what was told meanwhile, the pauses."""
    clock, told, numbers = Clock(), list[int](), iter(seen)
    pace = wait.Pace(within_s, 4, clock.sleep, clock)
    last = wait.until(lambda: next(numbers), lambda number: number > 2, pace, told.append)
    return last, told, clock.pauses


def test_it_looks_at_once_and_after_each_pause_until_it_is_over() -> None:
    assert waited([3], 100) == (3, [], [])
    assert waited([1, 2, 3], 100) == (3, [1, 2], [4, 4])


def test_it_gives_what_there_is_when_the_time_is_over() -> None:
    assert waited([1, 1, 1, 1], 8) == (1, [1, 1], [4, 4])
    assert waited([1, 1, 1, 1], 9) == (1, [1, 1, 1], [4, 4, 4])


def test_without_time_it_looks_once() -> None:
    assert waited([1, 3], 0) == (1, [], [])
