"""PURE: the three streaming APIs a probe speaks: what is asked, and what one event of the answer says.

A fourth is one more row of `APIS`, its name, and the function that reads its events.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from infra.printable import one_line

ApiName = Literal["completions", "chat", "messages"]
API_NAMES = "completions, chat, or messages (Anthropic)."
"""The same for the help."""


class StreamFailure(Exception):
    """The server reported an error inside the stream, after it had answered 200."""


TokenCounts = tuple[int | None, int | None, int | None]
"""Input, output and cached input tokens as the server says them; None for what it does not say."""

Delta = tuple[str | None, str | None, TokenCounts | None, bool]
"""What one event adds: text, finish reason, token counts, and whether it ends the stream.

Text None: no token in it; "": a token whose text is withheld, or a closing event. A plain tuple, made per event.
"""

NOTHING: Delta = (None, None, None, False)


def completions_event(event: dict[str, Any]) -> Delta:
    """Read an event of /v1/completions. Raises StreamFailure."""
    choices = event.get("choices")
    if not choices:
        return without_choices(event)
    choice = choices[0]
    reason = choice.get("finish_reason")
    if reason == "error":
        raise StreamFailure(error_text(event))
    usage = event.get("usage")
    return choice.get("text") or "", reason, openai_counts(usage) if usage else None, False


def chat_event(event: dict[str, Any]) -> Delta:
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
    usage = event.get("usage")
    return text, reason, openai_counts(usage) if usage else None, False


def chat_text(delta: dict[str, Any]) -> str | None:
    """The text of a delta without content. The opening one, with the role, holds no token."""
    text = delta.get("reasoning") or delta.get("reasoning_content") or delta.get("tool_calls")
    if text:
        return str(text)
    return None if "role" in delta else ""


def messages_event(event: dict[str, Any]) -> Delta:
    """Read an event of Anthropic's /v1/messages. Raises StreamFailure."""
    match event.get("type"):
        case "content_block_delta":
            delta = event["delta"]
            text = delta.get("text") or delta.get("thinking") or delta.get("partial_json")
            return (text, None, None, False) if text else NOTHING
        case "message_start":
            return None, None, anthropic_counts(event["message"].get("usage")), False
        case "message_delta":
            return None, event["delta"].get("stop_reason"), anthropic_counts(event.get("usage")), False
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
    usage = event.get("usage")
    return None, None, openai_counts(usage) if usage else None, False


def error_text(answer: object) -> str:
    """The sentence in an error body, whatever its form: {"error": {"message"}}, {"error": "..."}, {"detail"}."""
    inner = answer
    if isinstance(inner, dict):
        inner = inner.get("error", inner.get("detail", inner.get("message", inner)))
    if isinstance(inner, dict):
        inner = inner.get("message", inner)
    try:
        return one_line(str(inner))
    except RecursionError:
        return "an error that is nested without an end"


def openai_counts(usage: dict[str, Any]) -> TokenCounts:
    """The tokens of a usage object in OpenAI's words, or in Anthropic's where a server uses those."""
    if "input_tokens" in usage or "output_tokens" in usage:
        return anthropic_words(usage)
    details = usage.get("prompt_tokens_details") or {}
    return (
        whole(usage.get("prompt_tokens")),
        whole(usage.get("completion_tokens")),
        whole(details.get("cached_tokens")),
    )


def anthropic_counts(usage: dict[str, Any] | None) -> TokenCounts | None:
    """The tokens of a usage object in Anthropic's words, or in OpenAI's where a server uses those; None for none."""
    if not usage:
        return None
    return anthropic_words(usage) if "prompt_tokens" not in usage else openai_counts(usage)


def anthropic_words(usage: dict[str, Any]) -> TokenCounts:
    """The tokens of a usage object, what came from or went to the cache added to what was read."""
    read, written = (
        whole(usage.get("cache_read_input_tokens")),
        whole(usage.get("cache_creation_input_tokens")),
    )
    fresh = whole(usage.get("input_tokens"))
    total = None if fresh is None else fresh + (read or 0) + (written or 0)
    return total, whole(usage.get("output_tokens")), read


def whole(value: object) -> int | None:
    """The value when it is a whole number of tokens."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31 else None


def bearer(host: str, api_key: str) -> dict[str, str]:
    """The key as OpenAI and vLLM take it."""
    return {"authorization": f"Bearer {api_key}"}


def anthropic_key(host: str, api_key: str) -> dict[str, str]:
    """Anthropic's own header for its own host; vLLM takes only the bearer form."""
    if host.partition(":")[0].endswith("anthropic.com"):
        return {"x-api-key": api_key}
    return bearer(host, api_key)


@dataclass(frozen=True, kw_only=True)
class Api:
    """One streaming API: its path, how a request is written and an event read, its headers, what it can be asked."""

    name: ApiName
    path: str
    read_event: Callable[[dict[str, Any]], Delta]
    """What an event adds. Raises StreamFailure; ValueError and its like for an event that is not as it should be."""
    fields: dict[str, Any] = field(default_factory=dict)
    """Of every request's body."""
    version_headers: dict[str, str] = field(default_factory=dict)
    key_header: Callable[[str, str], dict[str, str]] = bearer
    """Of the host's name and the key."""
    one_text: bool = False
    """The prompt is one bare text: no conversation, no images."""
    takes_images: bool = False
    """In OpenAI's form, as the synthetic ones are."""
    takes_vllm_fields: bool = True
    """Whether vLLM heeds its own fields there: ignore_eos, cache_salt, continuous_usage_stats."""
    count_path: str = "/tokenize"
    """Where a prompt's tokens are counted, and the field of the answer that says them."""
    count_field: str = "count"
    bench_name: str
    """What `vllm bench serve` calls it; our own name where it has none."""

    def prompt(self, messages: list[dict[str, Any]]) -> dict[str, Any]:
        """The part of a body that says the prompt; a bare text is the last message's."""
        return {"prompt": messages[-1]["content"]} if self.one_text else {"messages": messages}

    def body(
        self, model: str, messages: list[dict[str, Any]], max_tokens: int, extra: dict[str, Any]
    ) -> dict[str, Any]:
        """The JSON body of one streamed request; what is None in `extra` takes a field away."""
        body = {
            "model": model,
            "max_tokens": max_tokens,
            "stream": True,
            **self.prompt(messages),
            **self.fields,
        }
        return {key: value for key, value in (body | extra).items() if value is not None}

    def headers(self, host: str, api_key: str | None) -> dict[str, str]:
        """The headers of every request, the key among them."""
        common = {
            "host": host,
            "content-type": "application/json",
            "accept": "text/event-stream",
            "user-agent": "corral-probe",
        }
        return common | self.own_headers(host, api_key)

    def own_headers(self, host: str, api_key: str | None) -> dict[str, str]:
        """Those that any question to the API needs: its version and the key."""
        return self.version_headers | (self.key_header(host, api_key) if api_key else {})


WITH_USAGE = {"stream_options": {"include_usage": True}}

APIS: dict[ApiName, Api] = {
    api.name: api
    for api in (
        Api(
            name="completions",
            path="/v1/completions",
            read_event=completions_event,
            fields=WITH_USAGE,
            one_text=True,
            bench_name="openai",
        ),
        Api(
            name="chat",
            path="/v1/chat/completions",
            read_event=chat_event,
            fields=WITH_USAGE,
            takes_images=True,
            bench_name="openai-chat",
        ),
        Api(
            name="messages",
            path="/v1/messages",
            read_event=messages_event,
            version_headers={"anthropic-version": "2023-06-01"},
            key_header=anthropic_key,
            takes_vllm_fields=False,
            count_path="/v1/messages/count_tokens",
            count_field="input_tokens",
            bench_name="messages",
        ),
    )
}
