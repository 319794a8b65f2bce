"""Is it live, is it ready, does it really generate? What one look sees; infra/onhost/judge.py decides what to do."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from infra import deadline, wait
from infra.errors import AuthError, DocumentError, EndpointError, ServerError
from infra.onhost import judge as judging
from infra.onhost.judge import STATES, WORDS, Answer, Kind, Look, Memory, Policy
from infra.printable import one_line
from infra.record import Record
from serving.vllm import client
from serving.vllm.endpoint import Endpoint

State = Literal["starting", "serving", "degraded", "hung", "dead"]

CANARY_DEADLINE_S = 15.0
LOOK_S = 18.0
"""For all that one look asks: a server that drips each answer gets no more."""
LOOK_EVERY_S = 0.5
SLOW_S = 5.0


class Died(ServerError):
    """A server that ended while it was waited for: what its log says last is why."""


class Stopped(ServerError):
    """A server that somebody ended while it was waited for."""


class Seen(Record):
    """What one look at a server found."""

    health: int | None = None
    """The status code of /health; None where it did not answer."""
    is_silent: bool = False
    """Whether something took that question, and never answered; else nothing listens yet, or any more."""
    models: tuple[str, ...] = ()
    are_models_late: bool = False
    canary: Literal["right", "slow", "late", "full", "denied", "wrong", "not asked"] = "not asked"
    readings: tuple[Mapping[str, float], ...] = ()
    """What /metrics said of the engine's work before and after the completion; nothing where it says nothing."""
    trouble: str = ""


@dataclass(frozen=True)
class Verdict:
    """The state of a server, and in one phrase why."""

    state: State
    detail: str
    look: Look | None = field(default=None, compare=False)
    """What it follows from, where the server was asked; when that was is the business of whoever waits."""


DEAD = Verdict(state="dead", detail="its process has ended")
BEFORE_START = Verdict(state="starting", detail="the host does not start it yet")


class Questions(NamedTuple):
    """How the look's questions ended, as the judge takes them."""

    health: Answer
    models: Answer
    completion: Answer


def look(endpoint: Endpoint, canary_deadline_s: float = CANARY_DEADLINE_S) -> Seen:
    """Look at a server: /health, /v1/models and one real completion. Never raises for what a server can do."""
    with deadline.within(LOOK_S):
        try:
            health = client.health(endpoint)
        except client.TooLate as error:
            return Seen(is_silent=True, trouble=error.message)
        except EndpointError as error:
            return Seen(trouble=error.message)
        seen = Seen(health=health)
        # vLLM says 503 once its engine has died, for good: nothing else need be asked.
        return ask(endpoint, seen, canary_deadline_s) if health == 200 else seen


def ask(endpoint: Endpoint, seen: Seen, canary_deadline_s: float) -> Seen:
    """Ask a live server for its models and one token."""
    before = reading(endpoint)
    seen = with_models(endpoint, seen)
    seen = with_canary(endpoint, seen, canary_deadline_s)
    if seen.canary in ("right", "slow"):
        return seen.model_copy(update={"readings": (before,)})
    return seen.model_copy(update={"readings": (before, reading(endpoint))})


def with_models(endpoint: Endpoint, seen: Seen) -> Seen:
    """With the names it lists."""
    try:
        return seen.model_copy(update={"models": client.models(endpoint)})
    except (AuthError, DocumentError, EndpointError) as error:
        is_late = isinstance(error, client.TooLate)
        return seen.model_copy(update={"are_models_late": is_late, "trouble": error.message})


def with_canary(endpoint: Endpoint, seen: Seen, canary_deadline_s: float) -> Seen:
    """With what became of one completion."""
    begun_s = time.monotonic()
    try:
        client.canary(endpoint, canary_deadline_s)
        is_slow = time.monotonic() - begun_s > SLOW_S
        return seen.model_copy(update={"canary": "slow" if is_slow else "right"})
    except (AuthError, DocumentError, EndpointError) as error:
        return seen.model_copy(update={"canary": failure(error), "trouble": error.message})


def failure(error: Exception) -> Literal["late", "full", "denied", "wrong"]:
    """What became of a completion that failed so. A key that is lost here is no fault of the server's either."""
    if isinstance(error, client.TooLate):
        return "late"
    if isinstance(error, client.Full):
        return "full"
    return "denied" if isinstance(error, AuthError | DocumentError) else "wrong"


def is_listening(endpoint: Endpoint) -> bool:
    """Whether the server answers at all; before it is up nothing listens."""
    try:
        client.health(endpoint)
    except EndpointError:
        return False
    return True


def reading(endpoint: Endpoint) -> dict[str, float]:
    """What the server says of its engine's work; nothing where it does not say, or says no number."""
    try:
        return judging.signals(client.metrics(endpoint))
    except (AuthError, DocumentError, EndpointError):
        return {}


def generated(before: Mapping[str, float], after: Mapping[str, float]) -> float:
    """Tokens that it made between two readings, for whomever; 0 where one of them does not say."""
    made = judging.GENERATED
    return after[made] - before[made] if made in before and made in after else 0.0


def judge(seen: Seen, name: str) -> Verdict:
    """Decide the state. /health alone proves nothing: it says 200 while a model hangs or answers garbage."""
    found = as_look(seen, name, 0.0)
    kind = judging.kind_of(Memory(was_ready=seen.health is not None or seen.is_silent), found)
    if kind == "hung" and seen.canary == "full":
        kind = "busy"  # its answer came at once: no time for anything to move
    return Verdict(state=STATES[kind], detail=detail(kind, seen, name), look=found)


def detail(kind: Kind, seen: Seen, name: str) -> str:
    """Why, in one phrase: what was told last where something was."""
    if kind == "dead":
        return f"/health answers {seen.health}: the engine behind it has died"
    if kind in ("well", "loading", "hung", "frozen"):
        return WORDS[kind]
    if seen.trouble or kind != "lame":
        return seen.trouble or WORDS[kind]
    return f"it serves {one_line(', '.join(seen.models)) or 'no model'} and not {name}"


def as_look(seen: Seen, name: str, at_s: float) -> Look:
    """A look as the judge takes it."""
    asked = questions(seen, name)
    known = [dict(each) for each in seen.readings if each]
    return Look(
        at_s=at_s,
        health=asked.health,
        models=asked.models,
        metrics="ok" if known else asked.health if asked.health != "ok" else "error",
        completion=asked.completion,
        readings=known,
        is_denied=seen.canary == "denied",
    )


def questions(seen: Seen, name: str) -> Questions:
    """How they ended; without an answer to the first the others are not asked, and count as that."""
    if seen.health is None:
        silence: Answer = "hang" if seen.is_silent else "refuse"
        return Questions(silence, silence, silence)
    if seen.health != 200:
        return Questions("error", "error", "error")
    completions: dict[str, Answer] = {
        "right": "ok",
        "slow": "slow",
        "late": "hang",
        # It may be full for ever: then nothing moves.
        "full": "hang",
    }
    models: Answer = "ok" if name in seen.models else "hang" if seen.are_models_late else "error"
    return Questions("ok", models, completions.get(seen.canary, "error"))


def wait_until_ready(
    check: Callable[[], Verdict],
    deadline_s: float,
    sleep: Callable[[float], None],
    clock: Callable[[], float],
    tell: Callable[[str], None] = lambda text: None,
    was_ready: bool = False,
) -> None:
    """Check until the server serves, us or others before us; what is odd is told once.

    Raises Died when it dies, ServerError with the last thing seen when the time is over, or sooner where it listens
    and yet will never be what it should. One that was ready has less patience left.
    """
    pace = wait.Pace(deadline_s, LOOK_EVERY_S, sleep, clock)
    patience = Patience(deadline_s, clock, tell, was_ready)
    verdict = wait.until(check, patience.is_over, pace)
    if verdict.state == "dead":
        raise Died(f"The server died: {verdict.detail}.", "See its log.")
    if patience.serves_others:
        tell("it serves others; a completion of our own still stands in line behind theirs")
        return
    if patience.has_ended:
        why = verdict.detail.rstrip(".")
        raise ServerError(
            f"The server is there, and was {verdict.state} for {patience.quiet_s:.0f} s: {why}.",
            "See its log.",
        )
    if verdict.state != "serving":
        raise ServerError(
            f"The server was not ready after {deadline_s:g} s; it is {verdict.state}: {verdict.detail}.",
            "See its log.",
        )


class Patience:
    """With a server that is waited for: how long there has been no sign that it becomes ready."""

    def __init__(
        self, deadline_s: float, clock: Callable[[], float], tell: Callable[[str], None], was_ready: bool
    ) -> None:
        self.has_ended, self.serves_others, self.quiet_s = False, False, 0.0
        self._clock, self._tell = clock, tell
        self._policy = Policy(load_s=deadline_s)
        self._memory = Memory(was_ready=was_ready)
        self._told = ""

    def is_over(self, verdict: Verdict) -> bool:
        """Whether this is the end of the waiting, for good or for ill."""
        if verdict.state in ("serving", "dead"):
            return True
        if verdict.look is None:
            return False
        self.serves_others = judging.serves_others(self._memory, verdict.look)
        if self.serves_others:
            return True
        judged, self._memory = judging.judge(
            self._memory, verdict.look._replace(at_s=self._clock()), self._policy
        )
        self.quiet_s = judged.quiet_s
        # Its whole time is the waiting's own business.
        self.has_ended = judged.action == "restart" and judged.kind != "late"
        if self._memory.ill_looks and verdict.detail != self._told:
            self._told = verdict.detail
            self._tell(f"it is there, but {verdict.state}: {one_line(verdict.detail)}")
        return self.has_ended
