"""Door: what a probe asks the server besides its load: models, token counts, counters."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2

from infra.errors import AuthError, DocumentError, EndpointError
from serving.probe.api import ANTHROPIC_VERSION, auth_headers, error_text
from serving.probe.peer import tls_context
from serving.probe.spec import Target

LONGEST_ANSWER_S = 15.0

COUNTERS = {
    "generation_tokens": "vllm:generation_tokens_total",
    "prompt_tokens": "vllm:prompt_tokens_total",
    "prefix_cache_queries": "vllm:prefix_cache_queries_total",
    "prefix_cache_hits": "vllm:prefix_cache_hits_total",
    "preemptions": "vllm:num_preemptions_total",
    "requests_finished": "vllm:request_success_total",
    "ttft_sum_s": "vllm:time_to_first_token_seconds_sum",
    "ttft_count": "vllm:time_to_first_token_seconds_count",
    "queue_sum_s": "vllm:request_queue_time_seconds_sum",
}


class Server:
    """The endpoint as one answers questions to it; close it after use."""

    def __init__(self, target: Target, timeout_s: float = LONGEST_ANSWER_S) -> None:
        self._timeout_s = min(timeout_s, LONGEST_ANSWER_S)
        self.target = target
        self.api_key = api_key(target)
        headers = auth_headers(target.api, urlsplit(target.base_url).netloc, self.api_key)
        if target.api == "messages":
            headers["anthropic-version"] = ANTHROPIC_VERSION
        self._http = httpx2.Client(
            base_url=target.base_url,
            headers=headers,
            timeout=self._timeout_s,
            trust_env=False,
            verify=tls_context(target),
        )

    def close(self) -> None:
        """Let the connections go."""
        self._http.close()

    def models(self) -> list[dict[str, Any]]:
        """What /v1/models lists; empty where the server has no such list.

        Raises AuthError when the key is refused, EndpointError when nobody or something else answers.
        """
        with translated(self.target.base_url, self._timeout_s):
            response = self._http.get("/v1/models")
        if response.status_code in (401, 403):
            raise refused(self.target.base_url, response.status_code)
        where = f"{self.target.base_url}/v1/models"
        if response.status_code == 429:
            raise rate_limited(where, body_text(response), response.headers.get("retry-after"))
        if response.has_redirect_location:
            raise redirected(where, response.headers["location"])
        if response.status_code in (404, 405):
            return []
        if response.status_code != 200:
            raise EndpointError(
                f"{where} answers {response.status_code}: {body_text(response)}.",
                "Look at the server's log: corral logs NAME",
            )
        listed = json_of(response)
        data = listed.get("data") if isinstance(listed, dict) else None
        if not isinstance(data, list) or not all(isinstance(each, dict) and "id" in each for each in data):
            raise not_an_api(self.target.base_url, response)
        return data

    def version(self) -> str | None:
        """vLLM's version; None for any other server."""
        answer = self._ask("GET", "/version")
        version = answer.get("version") if isinstance(answer, dict) else None
        return version if isinstance(version, str) else None

    def count_tokens(self, model: str, messages: list[dict[str, Any]]) -> int | None:
        """The prompt's tokens by the server's own tokenizer, template included; None where it does not say."""
        body: dict[str, Any] = {"model": model}
        path, field = "/tokenize", "count"
        if self.target.api == "completions":
            body["prompt"] = messages[-1]["content"]
        else:
            body["messages"] = messages
        if self.target.api == "messages":
            path, field = "/v1/messages/count_tokens", "input_tokens"
        answer = self._ask("POST", path, body)
        count = answer.get(field) if isinstance(answer, dict) else None
        return count if isinstance(count, int) else None

    def counters(self) -> dict[str, float]:
        """The server's own counters, summed over its engines; empty where it has none."""
        try:
            response = self._http.get("/metrics")
        except httpx2.HTTPError:
            return {}
        return read_counters(response.text) if response.status_code == 200 else {}

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """The JSON answer, or None for any reason at all: these questions are optional."""
        try:
            response = self._http.request(method, path, json=body)
            return response.json() if response.status_code == 200 else None
        except (httpx2.HTTPError, ValueError):
            return None


def api_key(target: Target) -> str | None:
    """The key from its file or its environment variable.

    Raises DocumentError for a file that cannot be read, AuthError for what is no key.
    """
    if target.api_key_file is not None:
        key = key_in(target.api_key_file)
    else:
        key = os.environ.get(target.api_key_variable, "") if target.api_key_variable else ""
    key = key.strip()
    if not key.isascii() or not key.isprintable() or " " in key:
        raise AuthError(
            "The API key holds characters a header cannot carry.", "The key is one line of printable ASCII."
        )
    return key or None


def key_in(path: Path) -> str:
    """The text of a key file. Raises DocumentError, or AuthError for an empty one."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DocumentError(
            f"The API key file {path} cannot be read: {error}.", "Check the path and its owner."
        ) from None
    if not text.strip():
        raise AuthError(f"The API key file {path} is empty.", "Put the key into it, on one line.")
    return text


@contextmanager
def translated(url: str, timeout_s: float) -> Iterator[None]:
    """Turn the HTTP library's failures into EndpointError."""
    try:
        yield
    except httpx2.TimeoutException:
        raise EndpointError(
            f"{url} does not answer within {timeout_s:g} seconds.", "Is the server still loading its model?"
        ) from None
    except httpx2.ConnectError as error:
        raise EndpointError(
            f"{url} cannot be reached: {error}.", "Check the address, and that the server runs: corral status"
        ) from None
    except httpx2.HTTPError as error:
        raise EndpointError(
            f"{url} does not speak HTTP as a model server does: {error}.",
            "Check the port; is it another service's?",
        ) from None


def refused(url: str, status: int) -> AuthError:
    """The server wants another key, or one at all."""
    return AuthError(
        f"{url} refuses the request: HTTP {status}.",
        "Give its key: --api-key-file FILE, or in CORRAL_API_KEY.",
    )


def rate_limited(where: str, said: str, retry_after: str | None) -> EndpointError:
    """HTTP 429: the endpoint works, but not for us now."""
    wait = f"{retry_after} s" if retry_after and retry_after.isdigit() else retry_after or "a minute"
    return EndpointError(
        f"{where} is rate-limited: HTTP 429: {said.rstrip('.')}.",
        f"Wait {wait} and try again, or measure with a key that has a higher limit.",
    )


def redirected(where: str, location: str) -> EndpointError:
    """A probe measures one server, so it follows nobody elsewhere."""
    return EndpointError(
        f"{where} redirects to {location}.", "Give the address it points to, if that is the server you mean."
    )


def not_an_api(url: str, response: httpx2.Response) -> EndpointError:
    """Something answers, but no model server."""
    kind = response.headers.get("content-type", "no content type").partition(";")[0]
    return EndpointError(
        f"{url}/v1/models answers with {kind} that is no list of models.",
        "Check the address: it should be an OpenAI-compatible server, e.g. http://127.0.0.1:8000",
    )


def json_of(response: httpx2.Response) -> Any:
    """The body as JSON, or None."""
    try:
        return response.json()
    except ValueError:
        return None


def body_text(response: httpx2.Response) -> str:
    """What an error answer says, in a line."""
    answer = json_of(response)
    return error_text(answer) if answer is not None else " ".join(response.text.split())[:120]


def read_counters(text: str) -> dict[str, float]:
    """PURE: the sums over all label sets of the counters we follow, from Prometheus text."""
    wanted = {name: key for key, name in COUNTERS.items()}
    sums: dict[str, float] = {}
    for line in text.splitlines():
        name = line.partition("{")[0].partition(" ")[0]
        if name in wanted:
            try:
                value = float(line.rpartition(" ")[2])
            except ValueError:
                continue
            sums[wanted[name]] = sums.get(wanted[name], 0.0) + value
    return sums
