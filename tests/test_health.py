"""When a server is ready, busy, hung or dead: the rules, and the waiting."""

import pytest

from infra.errors import ServerError
from serving.health import DEAD, Seen, Verdict, judge, wait_until_ready

GOOD = Seen(health=200, models=("scout", "alias"), canary="right")
SERVING = Verdict(state="serving", detail="it answered a completion")


@pytest.mark.parametrize(
    ("seen", "state"),
    [
        (GOOD, "serving"),
        (Seen(), "starting"),
        (Seen(health=503), "dead"),
        (GOOD.model_copy(update={"models": ("other",)}), "degraded"),
        (GOOD.model_copy(update={"canary": "wrong", "trouble": "garbage"}), "degraded"),
        (GOOD.model_copy(update={"canary": "late", "progressed": True}), "degraded"),
        (GOOD.model_copy(update={"canary": "late", "progressed": None}), "degraded"),
        (GOOD.model_copy(update={"canary": "late"}), "hung"),
        (Seen(health=200, trouble="401"), "degraded"),
    ],
)
def test_the_state_that_follows_from_what_was_seen(seen: Seen, state: str) -> None:
    assert judge(seen, "scout").state == state


class Clock:
    """A clock that moves only by sleeping."""

    def __init__(self) -> None:
        self.now = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def __call__(self) -> float:
        return self.now


def test_waiting_ends_when_it_serves() -> None:
    clock = Clock()
    verdicts = iter([judge(Seen(), "m"), judge(Seen(), "m"), SERVING])
    wait_until_ready(lambda: next(verdicts), 10, clock.sleep, clock)
    assert clock.now == 1.0


def test_waiting_ends_at_once_when_it_died() -> None:
    clock = Clock()
    with pytest.raises(ServerError, match="The server died: its process has ended"):
        wait_until_ready(lambda: DEAD, 10, clock.sleep, clock)
    assert clock.now == 0


def test_waiting_ends_at_the_deadline_with_the_last_thing_seen() -> None:
    clock = Clock()
    with pytest.raises(ServerError, match=r"not ready after 10 s; it is starting: it does not listen yet"):
        wait_until_ready(lambda: judge(Seen(), "m"), 10, clock.sleep, clock)
    assert clock.now == 10
