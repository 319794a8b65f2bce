"""Whether a release that answers says anything of sense: one short completion, held against what the last one said."""

import math
from typing import Any, NamedTuple

from infra.errors import ServerError
from infra.printable import one_line
from serving.vllm import client, in_line
from serving.vllm.endpoint import Endpoint

PROMPT = "The capital of France is"
TOKENS = 32
PATIENCE_S = 120.0
FEWEST = 8
"""An answer of fewer tokens may well be one word, said twice."""


class Answer(NamedTuple):
    """What a server said to the prompt, token by token where it tells them."""

    text: str
    tokens: tuple[str, ...]
    logprobs: tuple[float | None, ...] = ()


def asked(endpoint: Endpoint) -> Answer:
    """One completion of some tokens, without chance, once it is our turn. Raises EndpointError or AuthError."""
    request = {
        "model": endpoint.served_model_name, "prompt": PROMPT, "max_tokens": TOKENS, "temperature": 0, "logprobs": 1,
    }  # fmt: skip
    path = "/v1/completions"

    def ask() -> Any:
        return client.parsed(endpoint, path, client.post(endpoint, path, request, PATIENCE_S))

    body = in_line.answer(endpoint, ask, TOKENS)
    if not isinstance(body, dict) or body.get("model") != endpoint.served_model_name:
        raise client.not_openai(endpoint, path, body)
    try:
        (choice,) = body["choices"]
        return answer_of(str(choice["text"]), choice.get("logprobs") or {})
    except (KeyError, TypeError, ValueError, AttributeError):
        raise client.not_openai(endpoint, path, body) from None


def answer_of(text: str, said: dict[str, Any]) -> Answer:
    """The answer; where no tokens are told, its words stand for them."""
    tokens = tuple(map(str, said.get("tokens") or text.split()))
    return Answer(text=text, tokens=tokens, logprobs=tuple(said.get("token_logprobs") or ()))


def garbage(answer: Answer, before: tuple[str, ...]) -> str:
    """What shows that an answer is none; "" where nothing does. `before` is what the last release said, if it is known.

    A model that is broken says one token for ever; one that was so before, a toy say, may.
    """
    if not answer.text:
        return "it says nothing"
    if any(one is not None and not math.isfinite(one) for one in answer.logprobs):
        return "its probabilities are no numbers"
    if repeats(answer.tokens) and not repeats(before):
        return f"it says {one_line(answer.tokens[0], 20)!r} {len(answer.tokens)} times over"
    return ""


def repeats(tokens: tuple[str, ...]) -> bool:
    """Whether it is one token again and again."""
    return len(tokens) >= FEWEST and len(set(tokens)) == 1


def require_sense(endpoint: Endpoint, before: tuple[str, ...]) -> Answer:
    """Ask, and raise ServerError for an answer that is none."""
    answer = asked(endpoint)
    if why := garbage(answer, before):
        raise ServerError(
            f"The canary's answer is garbage: {why}.", "Look at the weights and the quantization."
        )
    return answer
