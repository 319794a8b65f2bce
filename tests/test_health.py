"""When a server is ready, busy, hung or dead: the rules, and the waiting."""

from functools import partial
from typing import Any

import pytest

from infra.errors import AuthError, DocumentError, EndpointError, ServerError
from serving.vllm import client
from serving.vllm.endpoint import Endpoint
from serving.vllm.health import DEAD, Died, Seen, State, Verdict, is_listening, judge, look, wait_until_ready

GOOD = Seen(health=200, models=("scout", "alias"), canary="right")
SERVING = Verdict(state="serving", detail="it answered a completion")


def changed(**fields: Any) -> Seen:
    """A good look but for that."""
    return GOOD.model_copy(update=fields)


@pytest.mark.parametrize(
    ("seen", "state", "detail"),
    [
        (GOOD, "serving", "it answered a completion"),
        (Seen(), "starting", "it does not listen yet"),
        (Seen(health=503), "dead", "/health answers 503: the engine behind it has died"),
        (changed(models=("other", "more")), "degraded", "it serves other, more and not scout"),
        (changed(models=()), "degraded", "it serves no model and not scout"),
        (changed(canary="wrong", trouble="garbage"), "degraded", "garbage"),
        (changed(canary="late", progressed=True, trouble="late"), "degraded", "late"),
        (changed(canary="late", progressed=None, trouble="late"), "degraded", "late"),
        (changed(canary="wrong", progressed=False, trouble="wrong"), "degraded", "wrong"),
        (changed(canary="late"), "hung", "/health answers 200, but a completion of one token does not come"),
        (Seen(health=200, trouble="401"), "degraded", "401"),
    ],
)
def test_the_state_that_follows_from_what_was_seen(seen: Seen, state: State, detail: str) -> None:
    assert judge(seen, "scout") == Verdict(state=state, detail=detail)


THERE = Endpoint(base_url="http://127.0.0.1:8000", served_model_name="scout")


class Fake:
    """The HTTP door to a server, as a look sees it; each question takes an error for an answer, too."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **answers: object) -> None:
        self.answers = {"health": 200, "models": ("scout",), "canary": None, "metrics": {}} | answers
        self.asked: list[tuple[object, ...]] = []
        for name in self.answers:
            monkeypatch.setattr(client, name, partial(self.ask, name))

    def ask(self, name: str, endpoint: Endpoint, *rest: object) -> object:
        assert endpoint == THERE
        self.asked.append((name, *rest))
        answer = self.answers[name]
        if isinstance(answer, list):
            answer = answer.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


LATE = client.TooLate("It took its time.", "")
REFUSED = AuthError("http://127.0.0.1:8000 refused the API key.", "")


def made(prompt: float, generated: float) -> dict[str, float]:
    """Metrics that say so many tokens."""
    return {"vllm:prompt_tokens_total": prompt, "vllm:generation_tokens_total": generated, "other": 99.0}


@pytest.mark.parametrize(
    ("answers", "seen"),
    [
        ({}, Seen(health=200, models=("scout",), canary="right")),
        ({"health": EndpointError("nobody", "")}, Seen(trouble="nobody")),
        ({"health": 503}, Seen(health=503)),
        (
            {"models": REFUSED},
            Seen(health=200, canary="wrong", progressed=None, trouble=REFUSED.message),
        ),
        (
            {"models": DocumentError("no key", ""), "metrics": AuthError("no key", "")},
            Seen(health=200, canary="wrong", progressed=None, trouble="no key"),
        ),
        (
            {"canary": LATE, "metrics": [made(1, 1), made(2, 1)]},
            Seen(health=200, models=("scout",), canary="late", progressed=True, trouble=LATE.message),
        ),
        (
            {"canary": LATE, "metrics": made(1, 1)},
            Seen(health=200, models=("scout",), canary="late", progressed=False, trouble=LATE.message),
        ),
        (
            {"canary": LATE, "metrics": [{}, made(1, 1)]},
            Seen(health=200, models=("scout",), canary="late", progressed=None, trouble=LATE.message),
        ),
        (
            {"canary": LATE, "metrics": [made(1, 1), EndpointError("gone", "")]},
            Seen(health=200, models=("scout",), canary="late", progressed=None, trouble=LATE.message),
        ),
        (
            {"canary": EndpointError("did not answer within 15 s", ""), "metrics": made(1, 1)},
            Seen(
                health=200,
                models=("scout",),
                canary="wrong",
                progressed=False,
                trouble="did not answer within 15 s",
            ),
        ),
        (
            {"canary": EndpointError("garbage", ""), "metrics": {"vllm:prompt_tokens_total": 5.0}},
            Seen(health=200, models=("scout",), canary="wrong", progressed=False, trouble="garbage"),
        ),
    ],
)
def test_what_a_look_sees(monkeypatch: pytest.MonkeyPatch, answers: dict[str, object], seen: Seen) -> None:
    Fake(monkeypatch, **answers)
    assert look(THERE) == seen


def test_a_completion_has_fifteen_seconds_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Fake(monkeypatch)
    look(THERE)
    look(THERE, 3.0)
    assert [each for each in fake.asked if each[0] == "canary"] == [("canary", 15.0), ("canary", 3.0)]


def test_a_server_listens_when_it_answers_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    Fake(monkeypatch, health=[503, EndpointError("nobody", "")])
    assert [is_listening(THERE), is_listening(THERE)] == [True, False]


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
    with pytest.raises(Died, match="The server died: its process has ended"):
        wait_until_ready(lambda: DEAD, 10, clock.sleep, clock)
    assert clock.now == 0


def test_waiting_ends_at_the_deadline_with_the_last_thing_seen() -> None:
    clock = Clock()
    with pytest.raises(ServerError, match=r"not ready after 10 s; it is starting: it does not listen yet"):
        wait_until_ready(lambda: judge(Seen(), "m"), 10, clock.sleep, clock)
    assert clock.now == 10
