"""The proof that a running server applies its adapters: a fixed prompt is likelier or less likely by each one's name.

vLLM lists an adapter that it does not apply, and answers by its name as the base model would (measured, 0.32.0).
"""

from collections.abc import Iterable
from typing import Any

from infra.errors import ServerError
from serving.vllm import client, in_line
from serving.vllm.endpoint import Endpoint

PROMPT = "On Tuesday they repaired 3 bridges; def count(words):"
"""Short: it is to fit into any context, whatever the tokenizer makes of it."""
BASE_ASKED, NOISE = 3, 2.0
ASK_S = 120.0
"""For one answer: the first by an adapter's name may have its kernels compiled."""


class NotApplied(ServerError):
    """A server that answers by an adapter's name as if there were none."""


def require(endpoint: Endpoint, names: Iterable[str]) -> None:
    """Raise NotApplied for an adapter by whose name the server answers as by its own; EndpointError, AuthError.

    A GPU's sums may differ by their order from one answer to the next: so the base model is asked several times, and an
    adapter has to differ by clearly more than that.
    """
    named = tuple(names)
    if not named:
        return
    own = endpoint.served_model_name
    base, *others = (likelihoods(endpoint, own) for _ in range(BASE_ASKED))
    noise = NOISE * max(farthest(base, other) for other in others)
    for name in named:
        if not farthest(base, likelihoods(endpoint, name)) > noise:
            raise NotApplied(
                f"The server does not apply the adapter {name}: by that name it answers as {own} does.",
                "Its tensors were taken and not used. Plan without it, or with another version of vLLM.",
            )


def likelihoods(endpoint: Endpoint, name: str) -> tuple[float, ...]:
    """The log-probability of each token of the prompt, but for the first. Raises EndpointError."""
    request = {"model": name, "prompt": PROMPT, "max_tokens": 1, "temperature": 0, "prompt_logprobs": 1}

    def ask() -> Any:
        return client.parsed(
            endpoint, "/v1/completions", client.post(endpoint, "/v1/completions", request, ASK_S)
        )

    body = in_line.answer(endpoint, ask, own_tokens=1)
    try:
        (choice,) = body["choices"]
        if body["model"] != name:
            raise KeyError("model")
        return tuple(likeliest(each) for each in choice["prompt_logprobs"] if each)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise client.not_openai(endpoint, "/v1/completions", body) from None


def likeliest(alternatives: dict[str, Any]) -> float:
    """The sum of what a place says, the prompt's own token among it: it moves with each."""
    return sum(float(said["logprob"]) for said in alternatives.values())


def farthest(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """How far two answers are apart at most."""
    if len(one) != len(other) or not one:
        return 0.0
    return max(abs(first - second) for first, second in zip(one, other, strict=True))
