"""When a server is ready, busy, hung or dead: the rules, and the waiting."""

import math
from functools import partial
from typing import Any

import pytest

from infra.errors import AuthError, DocumentError, EndpointError, ServerError
from serving.vllm import client
from serving.vllm.endpoint import Endpoint
from serving.vllm.health import DEAD, Died, Seen, State, Verdict, is_listening, judge, look, wait_until_ready

HANGS = "/health answers 200, but a completion of one token does not come"


def made(prompt: float, generated: float) -> dict[str, float]:
    """What /metrics says of so many tokens."""
    return {"vllm:prompt_tokens_total": prompt, "vllm:generation_tokens_total": generated}


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
        (changed(canary="late", readings=(made(1, 1), made(2, 1)), trouble="late"), "degraded", "late"),
        (changed(canary="late", readings=({}, {}), trouble="late"), "degraded", "late"),
        (changed(canary="late", readings=({}, made(1, 1)), trouble="late"), "hung", HANGS),
        (changed(canary="wrong", readings=(made(1, 1), made(1, 1)), trouble="wrong"), "degraded", "wrong"),
        (changed(canary="denied", trouble="401"), "degraded", "401"),
        (changed(canary="full", readings=(made(1, 1), made(1, 1)), trouble="503"), "degraded", "503"),
        (changed(canary="slow"), "serving", "it answered a completion"),
        (changed(canary="late", readings=(made(1, 1), made(1, 1))), "hung", HANGS),
        (Seen(is_silent=True, trouble="late"), "hung", "it takes connections and answers nothing"),
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


def late(*readings: dict[str, float]) -> Seen:
    """A look whose completion did not come."""
    return Seen(health=200, models=("scout",), canary="late", readings=readings, trouble="It took its time.")


@pytest.mark.parametrize(
    ("answers", "seen"),
    [
        ({}, Seen(health=200, models=("scout",), canary="right", readings=({},))),
        ({"health": EndpointError("nobody", "")}, Seen(trouble="nobody")),
        ({"health": LATE}, Seen(is_silent=True, trouble=LATE.message)),
        ({"health": 503}, Seen(health=503)),
        (
            {"models": REFUSED},
            Seen(health=200, canary="right", readings=({},), trouble=REFUSED.message),
        ),
        (
            {"models": LATE, "metrics": made(1, 1) | {"other": 99.0, "vllm:kv_cache_usage_perc": math.nan}},
            Seen(
                health=200,
                are_models_late=True,
                canary="right",
                readings=(made(1, 1),),
                trouble=LATE.message,
            ),
        ),
        (
            {
                "models": DocumentError("no key", ""),
                "canary": DocumentError("no key", ""),
                "metrics": AuthError("no key", ""),
            },
            Seen(health=200, canary="denied", readings=({}, {}), trouble="no key"),
        ),
        (
            {"canary": REFUSED},
            Seen(health=200, models=("scout",), canary="denied", readings=({}, {}), trouble=REFUSED.message),
        ),
        (
            {"canary": client.Full("It is full.", "")},
            Seen(health=200, models=("scout",), canary="full", readings=({}, {}), trouble="It is full."),
        ),
        (
            {"canary": LATE, "metrics": [made(1, 1), made(2, 1)]},
            late(made(1, 1), made(2, 1)),
        ),
        ({"canary": LATE, "metrics": made(1, 1)}, late(made(1, 1), made(1, 1))),
        ({"canary": LATE, "metrics": [{}, made(1, 1)]}, late({}, made(1, 1))),
        (
            {"canary": LATE, "metrics": [made(1, 1), EndpointError("gone", "")]},
            late(made(1, 1), {}),
        ),
        (
            {"canary": EndpointError("did not answer within 15 s", ""), "metrics": made(1, 1)},
            Seen(
                health=200,
                models=("scout",),
                canary="wrong",
                readings=(made(1, 1), made(1, 1)),
                trouble="did not answer within 15 s",
            ),
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
