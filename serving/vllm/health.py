"""Is it live, is it ready, does it really generate? Judged from what was seen, by pure rules."""

import math
from collections.abc import Callable
from typing import Literal

from infra import deadline, wait
from infra.errors import AuthError, DocumentError, EndpointError, ServerError
from infra.printable import one_line
from infra.record import Record
from serving.vllm import client
from serving.vllm.endpoint import Endpoint

State = Literal["starting", "serving", "degraded", "hung", "dead"]

CANARY_DEADLINE_S = 15.0
LOOK_S = 18.0
"""For all that one look asks: a server that drips each answer gets no more."""
LOOK_EVERY_S = 0.5
PROGRESS = ("vllm:prompt_tokens_total", "vllm:generation_tokens_total")


class Died(ServerError):
    """A server that ended while it was waited for: what its log says last is why."""


class Seen(Record):
    """What one look at a server found."""

    health: int | None = None
    """The status code of /health; None when nothing listens yet."""
    models: tuple[str, ...] = ()
    canary: Literal["right", "late", "wrong", "not asked"] = "not asked"
    progressed: bool | None = False
    """Whether tokens were made while the canary waited: busy is not hung. None where the server does not say."""
    trouble: str = ""


class Verdict(Record):
    """The state of a server, and in one phrase why."""

    state: State
    detail: str


DEAD = Verdict(state="dead", detail="its process has ended")


def look(endpoint: Endpoint, canary_deadline_s: float = CANARY_DEADLINE_S) -> Seen:
    """Look at a server: /health, /v1/models and one real completion. Never raises for what a server can do."""
    with deadline.within(LOOK_S):
        try:
            health = client.health(endpoint)
        except EndpointError as error:
            return Seen(trouble=error.message)
        seen = Seen(health=health)
        return ask(endpoint, seen, canary_deadline_s) if health == 200 else seen


def ask(endpoint: Endpoint, seen: Seen, canary_deadline_s: float) -> Seen:
    """Ask a live server for its models and one token."""
    before = tokens(endpoint)
    try:
        seen = seen.model_copy(update={"models": client.models(endpoint)})
        client.canary(endpoint, canary_deadline_s)
        return seen.model_copy(update={"canary": "right"})
    except (AuthError, DocumentError, EndpointError) as error:
        after = tokens(endpoint)
        update = {
            "canary": "late" if isinstance(error, client.TooLate) else "wrong",
            "progressed": None if before is None or after is None else after > before,
            "trouble": error.message,
        }
        return seen.model_copy(update=update)


def is_listening(endpoint: Endpoint) -> bool:
    """Whether the server answers at all; before it is up nothing listens."""
    try:
        client.health(endpoint)
    except EndpointError:
        return False
    return True


def tokens(endpoint: Endpoint) -> float | None:
    """All tokens the server has handled; None where it does not say, or says no number."""
    try:
        values = client.metrics(endpoint)
    except (AuthError, DocumentError, EndpointError):
        return None
    known = [values[name] for name in PROGRESS if name in values]
    total = sum(known)
    return total if known and math.isfinite(total) else None


def judge(seen: Seen, name: str) -> Verdict:
    """Decide the state. /health alone proves nothing: it says 200 while a model hangs or answers garbage."""
    if seen.health is None:
        return Verdict(state="starting", detail="it does not listen yet")
    if seen.health != 200:
        return Verdict(state="dead", detail=f"/health answers {seen.health}: the engine behind it has died")
    if seen.canary == "late" and seen.progressed is False:
        return Verdict(
            state="hung", detail="/health answers 200, but a completion of one token does not come"
        )
    if seen.canary != "right":
        return Verdict(state="degraded", detail=seen.trouble)
    if name not in seen.models:
        listed = one_line(", ".join(seen.models)) or "no model"
        return Verdict(state="degraded", detail=f"it serves {listed} and not {name}")
    return Verdict(state="serving", detail="it answered a completion")


def wait_until_ready(
    check: Callable[[], Verdict],
    deadline_s: float,
    sleep: Callable[[float], None],
    clock: Callable[[], float],
) -> None:
    """Check until the server serves.

    Raises Died when it dies, ServerError with the last thing seen when the time is over.
    """
    pace = wait.Pace(deadline_s, LOOK_EVERY_S, sleep, clock)
    verdict = wait.until(check, lambda seen: seen.state in ("serving", "dead"), pace)
    if verdict.state == "dead":
        raise Died(f"The server died: {verdict.detail}.", "See its log.")
    if verdict.state != "serving":
        raise ServerError(
            f"The server was not ready after {deadline_s:g} s; it is {verdict.state}: {verdict.detail}.",
            "See its log.",
        )
