"""PURE: how servers say inside a stream that it has failed, after they answered 200, and what they say of it."""

from typing import Any

from infra.printable import one_line

FAILED_REASONS = frozenset(
    (
        "error", "abort", "aborted", "cancelled", "canceled", "failed", "timeout", "internal_error", "server_error",
        "network_error", "insufficient_system_resource",
    )
)  # fmt: skip
"""Finish reasons of an answer that is none: vLLM's and SGLang's abort, DeepSeek's and Zhipu's own, and their like."""
WORDS = (
    "error", "errors", "detail", "message", "msg", "error_message", "error_msg", "errorMessage", "status_msg",
)  # fmt: skip
"""Fields that say what is wrong, where there is no choice beside them."""
MAY_BE_NEWS = frozenset(("message", "msg"))
"""Of those, the ones that may only tell how things stand: queued, processing."""
CODES = ("code", "status", "status_code", "error_code")
"""Numbers that stand beside what is wrong."""
SEVERAL_ANSWERS = (
    "the server gives several answers to one request (n): their tokens cannot be told apart in time"
)


class StreamFailure(Exception):
    """The server reported an error inside the stream, after it had answered 200."""


class OddEvent(Exception):
    """An event that is no part of an answer, as far as anybody knows: a failure where no finish reason follows."""


def check_event(event: dict[str, Any]) -> None:
    """Look at an event without a choice or a count. Raises StreamFailure or OddEvent."""
    if event.get("error") or "error" in (event.get("object"), event.get("type")):
        raise StreamFailure(error_text(event))
    if isinstance(base := event.get("base_resp"), dict) and base.get("status_code"):  # MiniMax's
        raise StreamFailure(error_text(base))
    speaks = {word for word in WORDS if event.get(word)}
    if "choices" in event:
        if speaks:
            raise OddEvent(error_text(event))
    elif speaks and speaks <= MAY_BE_NEWS and not any(event.get(code) for code in CODES):
        raise OddEvent(error_text(event))
    elif speaks:
        raise StreamFailure(error_text(event))
    elif event and event.get("type") != "ping" and "chunk" not in str(event.get("object")):
        raise OddEvent(error_text(event))


def error_text(answer: object) -> str:
    """The sentence in an error body, whatever its form: {"error": {"message"}}, {"error": "..."}, {"detail"}."""
    inner = said_in(said_in(answer))
    try:
        return one_line(str(inner))
    except RecursionError:
        return "an error that is nested without an end"


def said_in(answer: object) -> object:
    """The field that says something, where there is one."""
    if not isinstance(answer, dict):
        return answer
    said = (answer[word] for word in WORDS if answer.get(word) and answer[word] is not True)
    return next(said, answer)
