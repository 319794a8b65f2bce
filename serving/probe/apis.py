"""PURE: the four streaming APIs a probe speaks: what is asked, and what one event of the answer says.

A fifth is one more row of `APIS`, its name, and the function that reads its events.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from serving.probe.stream_failures import (
    FAILED_REASONS,
    SEVERAL_ANSWERS,
    StreamFailure,
    check_event,
    error_text,
)
from serving.probe.token_counts import (
    TokenCounts,
    anthropic_counts,
    nested,
    openai_counts,
    responses_counts,
)

ApiName = Literal["completions", "chat", "messages", "responses"]
API_NAMES = "completions, chat, messages (Anthropic) or responses (OpenAI)."
"""The same for the help."""


Delta = tuple[str | None, str | None, TokenCounts | None, bool]
"""What one event adds: text, finish reason, token counts, and whether it ends the stream.

Text None: no token in it; "": a token whose text is withheld, or a closing event. A plain tuple, made per event.
"""


class Thought(str):
    """Text of a model's reasoning, which some servers send and others only count."""

    __slots__ = ()


class Beside(str):
    """Text of a choice that is not the first: of another answer, or of a later block of the only one (LiteLLM)."""

    __slots__ = ()


NOTHING: Delta = (None, None, None, False)
CHAT_TEXTS = (
    "content",
    "reasoning",
    "reasoning_content",
    "reasoning_text",
    "reasoning_details",
    "thinking",
    "thinking_blocks",
    "tool_calls",
    "function_call",
    "refusal",
)
"""Where a delta may hold output."""
THOUGHTS = frozenset(name for name in CHAT_TEXTS if name.startswith(("reasoning", "thinking")))
WORDS = ("text", "thinking", "name", "arguments", "function", "summary", "content")
"""Where the parts of a content, and the calls of tools, hold their text."""
PARTS_WITHIN = 4
"""Parts lie no deeper in one another."""
NO_REASON = ("", "null")
"""Finish reasons of a choice that goes on."""


def completions_event(event: dict[str, Any]) -> Delta:
    """Read an event of /v1/completions. Raises StreamFailure."""
    choices = event.get("choices")
    if not choices:
        return without_choices(event)
    choice = choices[0] if len(choices) == 1 else the_one_of(choices)
    reason = reason_in(event, choice)
    usage = event.get("usage") or (reason and (choice.get("usage") or nested(event, "usage")))
    text = choice.get("text") or ("" if reason or "text" in choice else None)
    if choice.get("index") and type(text) is str:
        text = Beside(text)
    return text, reason, openai_counts(usage) if usage else None, False


def chat_event(event: dict[str, Any]) -> Delta:
    """Read an event of /v1/chat/completions; reasoning and tool-call text count as output. Raises StreamFailure."""
    choices = event.get("choices")
    if not choices:
        return without_choices(event)
    choice = choices[0] if len(choices) == 1 else the_one_of(choices)
    reason = reason_in(event, choice)
    delta = choice.get("delta") or {}
    text = delta.get("content")
    if not text or not isinstance(text, str):
        text = chat_text(delta, reason)
    usage = event.get("usage") or (reason and (choice.get("usage") or nested(event, "usage")))
    if choice.get("index") and type(text) is str:
        text = Beside(text)
    return text, reason, openai_counts(usage) if usage else None, False


def chat_text(delta: dict[str, Any], reason: object) -> str | None:
    """The text of a delta whose content is none, or one in parts.

    One without a field holds no token, unless it closes the answer: Azure's filters tell so what they think. Nor does
    the opening one, with the role.
    """
    name = next((name for name in CHAT_TEXTS if delta.get(name)), None)
    if name:
        text = words_in(delta[name]) or str(delta[name])
        return Thought(text) if name in THOUGHTS else text
    return None if delta.get("role") or not (delta or reason) else ""


def words_in(value: object, within: int = PARTS_WITHIN) -> str:
    """The text of a content in parts, or of calls of tools."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        value = [value[name] for name in WORDS if value.get(name)]
    if isinstance(value, list) and within:
        return "".join(words_in(each, within - 1) for each in value)
    return ""


def the_one_of(choices: list[dict[str, Any]]) -> dict[str, Any]:
    """Of the parts of one answer in an event the first that has text, with the reason of any.

    Raises StreamFailure where they are of several answers.
    """
    if len({each.get("index") for each in choices}) > 1:
        raise StreamFailure(SEVERAL_ANSWERS)
    deltas = ((each, each.get("delta") or {}) for each in choices)
    spoken = (each for each, delta in deltas if each.get("text") or any(map(delta.get, CHAT_TEXTS)))
    reasons = (each["finish_reason"] for each in choices if each.get("finish_reason"))
    return {**next(spoken, choices[0]), "finish_reason": next(reasons, None)}


def reason_in(event: dict[str, Any], choice: dict[str, Any]) -> Any:
    """Why the choice ended; None where it goes on. Raises StreamFailure for a failed one."""
    reason = choice.get("finish_reason")
    if reason is None and not event.get("error"):  # nearly always
        return None
    if event.get("error") or reason in FAILED_REASONS:
        raise failure_of(event, choice)
    if reason in NO_REASON:
        return None
    if error := nested(event, "error"):  # Groq's, of an answer that it cut
        raise StreamFailure(error_text(error))
    return reason


def failure_of(event: dict[str, Any], choice: dict[str, Any]) -> StreamFailure:
    """The failure that an event with a choice tells."""
    told = event if event.get("error") else choice if choice.get("error") or choice.get("message") else None
    return StreamFailure(error_text(told) if told else f"finish reason {choice.get('finish_reason')}")


def messages_event(event: dict[str, Any]) -> Delta:
    """Read an event of Anthropic's /v1/messages. Raises StreamFailure."""
    match event.get("type"):
        case "content_block_delta":
            delta = event["delta"]
            if thought := delta.get("thinking"):
                return Thought(thought), None, None, False
            text = delta.get("text") or delta.get("partial_json")
            return (text, None, None, False) if text else NOTHING
        case "content_block_start":  # a gateway may put the first words there
            text = (event.get("content_block") or {}).get("text")
            return (text, None, None, False) if text else NOTHING
        case "message_start":
            return None, None, anthropic_counts((event.get("message") or {}).get("usage")), False
        case "message_delta":
            reason = (event.get("delta") or {}).get("stop_reason")
            return None, reason, anthropic_counts(event.get("usage")), False
        case "message_stop":
            return None, None, None, True
        case "error" | None:
            check_event(event)
    return NOTHING


def responses_event(event: dict[str, Any]) -> Delta:
    """Read an event of OpenAI's /v1/responses; reasoning and tool calls count as output. Raises StreamFailure."""
    kind = event.get("type")
    if kind is None:
        check_event(event)
        return NOTHING
    if kind.endswith(".delta"):
        text = event["delta"]
        if (
            not isinstance(text, str) or "reasoning_summary" in kind
        ):  # another text than the tokens that are counted
            return NOTHING
        return Thought(text) if "reasoning" in kind else text, None, None, False
    match kind:
        case "response.completed" | "response.incomplete":
            answer = event["response"]
            usage = answer.get("usage")
            if answer.get("status") in FAILED_REASONS:
                raise StreamFailure(
                    error_text(answer) if answer.get("error") else f"status {answer['status']}"
                )
            return None, reason_of(answer), responses_counts(usage) if usage else None, True
        case "response.failed":
            raise StreamFailure(error_text(event["response"]))
        case "error":
            check_event(event)
    return NOTHING


def reason_of(answer: dict[str, Any]) -> str:
    """Why a response ended, in the words of the other APIs: vLLM calls one that was cut completed, too."""
    reason = (answer.get("incomplete_details") or {}).get("reason")
    return "stop" if reason is None else "length" if reason == "max_output_tokens" else reason


def without_choices(event: dict[str, Any]) -> Delta:
    """An event without choices: the usage at the end, or an error in the middle. Raises StreamFailure or OddEvent."""
    usage = event.get("usage") or nested(event, "usage")
    if error := nested(event, "error"):
        raise StreamFailure(error_text(error))
    if not usage or event.get("error"):
        check_event(event)
    return None, None, openai_counts(usage) if usage else None, False


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
    prompt_field: str | None = None
    """Where the prompt is said; None: in `prompt` or `messages`."""
    length_field: str = "max_tokens"
    """Where the answer's length is asked for, and how a server may say that it wants it called."""
    other_length_field: str | None = None
    trial_tokens: int = 2
    """Of the answer to the one request before the load; OpenAI's Responses refuse fewer than 16."""
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

    @property
    def tail(self) -> str:
        """What its path ends with wherever a provider puts it."""
        return self.path.removeprefix("/v1")

    def prompt(self, messages: list[dict[str, Any]]) -> dict[str, Any]:
        """The part of a body that says the prompt; a bare text is the last message's."""
        if self.one_text:
            return {self.prompt_field or "prompt": messages[-1]["content"]}
        return {self.prompt_field or "messages": messages}

    def counted(self, messages: list[dict[str, Any]]) -> dict[str, Any]:
        """The same where its tokens are counted: a response's are those of a chat."""
        return self.prompt(messages) if self.one_text else {"messages": messages}

    def body(
        self,
        model: str,
        messages: list[dict[str, Any]],
        max_tokens: int,
        extra: dict[str, Any],
        length_field: str | None = None,
    ) -> dict[str, Any]:
        """The JSON body of one streamed request; what is None in `extra` takes a field away."""
        body = {
            "model": model,
            length_field or self.length_field: max_tokens,
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
            "accept-encoding": "identity",  # without it any would do (RFC 9110, 12.5.3)
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
            other_length_field="max_completion_tokens",
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
        Api(
            name="responses",
            path="/v1/responses",
            read_event=responses_event,
            fields={"store": False},  # whoever measures leaves nothing behind
            prompt_field="input",
            length_field="max_output_tokens",
            trial_tokens=16,
            bench_name="responses",
        ),
    )
}
