"""What is asked of a vLLM server: its health, models, metrics and one small completion."""

from contextlib import closing
from typing import Any

from infra import deadline
from infra.errors import AuthError, CorralError, EndpointError
from infra.record import Record
from serving.vllm import prometheus
from serving.vllm.api_key import key_in
from serving.vllm.endpoint import Endpoint
from serving.vllm.http_door import Answer, HttpDoor, NoAnswer
from serving.vllm.server_words import body_line

CANARY_PROMPT = "Hello"
TRUST = "Name the file of its authority, and use the name that is in the certificate: SSL_CERT_FILE=ca.pem"


class TooLate(EndpointError):
    """An endpoint that was reached, and did not answer in time."""


class Full(EndpointError):
    """An endpoint that says it can take no more now."""


class Canary(Record):
    """One real completion of one token: the only sign of life that proves the model generates."""

    text: str
    prompt_tokens: int
    completion_tokens: int


def health(endpoint: Endpoint, timeout_s: float = 2.0) -> int:
    """The status code of /health, which needs no key. Raises EndpointError when nothing answers."""
    return get(endpoint.model_copy(update={"api_key_file": None}), "/health", timeout_s).status_code


def models(endpoint: Endpoint, timeout_s: float = 5.0) -> tuple[str, ...]:
    """The names /v1/models lists. Raises EndpointError, or AuthError for a refused key."""
    body = parsed(endpoint, "/v1/models", get(endpoint, "/v1/models", timeout_s))
    try:
        return tuple(str(model["id"]) for model in body["data"])
    except (KeyError, TypeError):
        raise not_openai(endpoint, "/v1/models", body) from None


def canary(endpoint: Endpoint, timeout_s: float) -> Canary:
    """Ask for one token and check the answer's shape. Raises EndpointError, or AuthError for a refused key."""
    name = endpoint.served_model_name
    request = {"model": name, "prompt": CANARY_PROMPT, "max_tokens": 1, "temperature": 0}
    response = post(endpoint, "/v1/completions", request, timeout_s)
    body = parsed(endpoint, "/v1/completions", response)
    try:
        (choice,) = body["choices"]
        usage = body["usage"]
        answer = Canary(
            text=choice["text"],
            prompt_tokens=usage["prompt_tokens"],
            completion_tokens=usage["completion_tokens"],
        )
    except (KeyError, TypeError, ValueError):
        raise not_openai(endpoint, "/v1/completions", body) from None
    if body.get("model") != name or answer.completion_tokens != 1:
        raise not_openai(endpoint, "/v1/completions", body)
    return answer


def metrics(endpoint: Endpoint, timeout_s: float = 5.0) -> dict[str, float]:
    """The values of /metrics, summed over their labels; none of an answer that is no 200. Raises EndpointError."""
    answer = get(endpoint, "/metrics", timeout_s)
    return prometheus.sums(answer.text) if answer.status_code == 200 else {}


def cache_config(endpoint: Endpoint, timeout_s: float = 5.0) -> dict[str, str]:
    """What vLLM itself says of its KV cache: the labels of vllm:cache_config_info. Raises EndpointError."""
    labels = prometheus.labels_of(get(endpoint, "/metrics", timeout_s).text, "vllm:cache_config_info")
    if labels is None:
        raise EndpointError(
            f"{endpoint.base_url}/metrics says nothing of a KV cache.", "Is it a vLLM server?"
        )
    return labels


def get(endpoint: Endpoint, path: str, timeout_s: float) -> Answer:
    """One GET with the endpoint's key. Raises EndpointError; DocumentError or AuthError for a file that holds none."""
    return ask(endpoint, "GET", path, None, timeout_s)


def post(endpoint: Endpoint, path: str, body: dict[str, Any], timeout_s: float) -> Answer:
    """One POST with the endpoint's key. Raises EndpointError; DocumentError or AuthError for a file that holds none."""
    return ask(endpoint, "POST", path, body, timeout_s)


def ask(endpoint: Endpoint, method: str, path: str, body: dict[str, Any] | None, timeout_s: float) -> Answer:
    """The whole answer to one question."""
    left_s = deadline.left_s(timeout_s)
    key = key_in(endpoint.api_key_file) if endpoint.api_key_file else None
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        with closing(HttpDoor(endpoint.base_url, headers, left_s)) as door:
            return door.ask(method, path, body)
    except NoAnswer as error:
        raise unanswered(endpoint.base_url, deadline.told_s(timeout_s, left_s), error) from None


def unanswered(url: str, timeout_s: float, error: NoAnswer) -> EndpointError:
    """What to say where there is no answer."""
    if error.why in ("time", "connect time"):
        return TooLate(f"{url} did not answer within {timeout_s:g} s.", "Is it overloaded, or hung?")
    if error.why == "address":
        return EndpointError(f"{url!r} is not a URL: {error}.", "Such as http://127.0.0.1:8000")
    if error.why == "content":
        return EndpointError(f"{url} answered {error}.", "Is it an OpenAI-compatible endpoint?")
    if error.why == "certificate":
        return EndpointError(f"The certificate of {url} is not trusted: {error}.", TRUST)
    return EndpointError(f"{url} cannot be reached: {error}.", "Is the server up there, and the port right?")


def parsed(endpoint: Endpoint, path: str, response: Answer) -> Any:
    """The JSON body of a good answer. Raises AuthError for 401 and 403, EndpointError for the rest."""
    if response.status_code in (401, 403):
        raise AuthError(
            f"{endpoint.base_url} refused the API key.", "Name the file that holds it: --api-key-file"
        )
    if response.status_code != 200:
        error = answered(endpoint, path, f"{response.status_code}: {body_line(response.content)}")
        raise Full(error.message, error.hint) if response.status_code in (429, 503) else error
    try:
        return response.json()
    except ValueError:
        raise answered(endpoint, path, f"no JSON but {body_line(response.content)}") from None


def not_openai(endpoint: Endpoint, path: str, body: Any) -> CorralError:
    """The error for JSON of another shape."""
    return answered(endpoint, path, f"something else than the OpenAI API says: {str(body)[:120]}")


def answered(endpoint: Endpoint, path: str, what: str) -> CorralError:
    """The error for an answer that is of no use."""
    return EndpointError(
        f"{endpoint.base_url}{path} answered {what}.", "Is it an OpenAI-compatible endpoint?"
    )
