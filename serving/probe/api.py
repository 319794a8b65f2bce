"""PURE: the three streaming APIs a probe speaks: what is asked, and what one event of the answer says."""

from collections.abc import Callable
from typing import Any, Literal

from serving.probe.said import one_line

Api = Literal["completions", "chat", "messages"]

PATHS: dict[Api, str] = {
    "completions": "/v1/completions",
    "chat": "/v1/chat/completions",
    "messages": "/v1/messages",
}
ANTHROPIC_VERSION = "2023-06-01"


class StreamFailure(Exception):
    """The server reported an error inside the stream, after it had answered 200."""


Delta = tuple[str | None, str | None, dict[str, Any] | None, bool]
"""What one event adds: text, finish reason, usage, and whether it ends the stream.

Text None: no token in it; "": a token whose text is withheld, or a closing event. A plain tuple, made per event.
"""

NOTHING: Delta = (None, None, None, False)


def completions_delta(event: dict[str, Any]) -> Delta:
    """Read an event of /v1/completions. Raises StreamFailure."""
    choices = event.get("choices")
    if not choices:
        return without_choices(event)
    choice = choices[0]
    reason = choice.get("finish_reason")
    if reason == "error":
        raise StreamFailure(error_text(event))
    return choice.get("text") or "", reason, event.get("usage"), False


def chat_delta(event: dict[str, Any]) -> Delta:
    """Read an event of /v1/chat/completions; reasoning and tool-call text count as output. Raises StreamFailure."""
    choices = event.get("choices")
    if not choices:
        return without_choices(event)
    choice = choices[0]
    delta = choice.get("delta") or {}
    text = delta.get("content") or chat_text(delta)
    reason = choice.get("finish_reason")
    if reason == "error":
        raise StreamFailure(error_text(event))
    return text, reason, event.get("usage"), False


def chat_text(delta: dict[str, Any]) -> str | None:
    """The text of a delta without content. The opening one, with the role, holds no token."""
    text = delta.get("reasoning") or delta.get("reasoning_content") or delta.get("tool_calls")
    if text:
        return str(text)
    return None if "role" in delta else ""


def messages_delta(event: dict[str, Any]) -> Delta:
    """Read an event of Anthropic's /v1/messages. Raises StreamFailure."""
    match event.get("type"):
        case "content_block_delta":
            delta = event["delta"]
            text = delta.get("text") or delta.get("thinking") or delta.get("partial_json")
            return (text, None, None, False) if text else NOTHING
        case "message_start":
            return None, None, event["message"].get("usage"), False
        case "message_delta":
            return None, event["delta"].get("stop_reason"), event.get("usage"), False
        case "message_stop":
            return None, None, None, True
        case "error":
            raise StreamFailure(error_text(event))
        case _:
            return NOTHING


def without_choices(event: dict[str, Any]) -> Delta:
    """An event without choices: the usage at the end, or an error in the middle, which some servers leave bare."""
    if "error" in event or ("choices" not in event and "usage" not in event and "message" in event):
        raise StreamFailure(error_text(event))
    return None, None, event.get("usage"), False


DELTAS: dict[Api, Callable[[dict[str, Any]], Delta]] = {
    "completions": completions_delta,
    "chat": chat_delta,
    "messages": messages_delta,
}


def error_text(answer: object) -> str:
    """The sentence in an error body, whatever its form: {"error": {"message"}}, {"error": "..."}, {"detail"}."""
    inner = answer
    if isinstance(inner, dict):
        inner = inner.get("error", inner.get("detail", inner.get("message", inner)))
    if isinstance(inner, dict):
        inner = inner.get("message", inner)
    return one_line(str(inner))


def usage_tokens(usage: dict[str, Any]) -> tuple[int | None, int | None, int | None]:
    """Input, output and cached input tokens of a usage object, in OpenAI's or Anthropic's words."""
    if "input_tokens" in usage or "output_tokens" in usage:
        read, written = (
            whole(usage.get("cache_read_input_tokens")),
            whole(usage.get("cache_creation_input_tokens")),
        )
        fresh = whole(usage.get("input_tokens"))
        # Anthropic counts what came from or went to the cache apart from input_tokens.
        total = None if fresh is None else fresh + (read or 0) + (written or 0)
        return total, whole(usage.get("output_tokens")), read
    details = usage.get("prompt_tokens_details") or {}
    return (
        whole(usage.get("prompt_tokens")),
        whole(usage.get("completion_tokens")),
        whole(details.get("cached_tokens")),
    )


def whole(value: object) -> int | None:
    """The value when it is a whole number of tokens."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31 else None


def request_body(
    api: Api,
    model: str,
    messages: list[dict[str, Any]],
    max_tokens: int,
    extra: dict[str, Any],
) -> dict[str, Any]:
    """The JSON body of one streamed request. For completions the prompt is the last message's text."""
    body: dict[str, Any] = {"model": model, "max_tokens": max_tokens, "stream": True}
    if api == "completions":
        body["prompt"] = messages[-1]["content"]
    else:
        body["messages"] = messages
    if api != "messages":
        body["stream_options"] = {"include_usage": True}
    return {key: value for key, value in (body | extra).items() if value is not None}


def headers(api: Api, host: str, api_key: str | None) -> dict[str, str]:
    """The headers of every request, the key among them."""
    common = {
        "host": host,
        "content-type": "application/json",
        "accept": "text/event-stream",
        "user-agent": "corral-probe",
    }
    if api == "messages":
        common["anthropic-version"] = ANTHROPIC_VERSION
    return common | auth_headers(api, host, api_key)


def auth_headers(api: Api, host: str, api_key: str | None) -> dict[str, str]:
    """vLLM takes only the bearer form, Anthropic its own header."""
    if not api_key:
        return {}
    if api == "messages" and host.partition(":")[0].endswith("anthropic.com"):
        return {"x-api-key": api_key}
    return {"authorization": f"Bearer {api_key}"}
