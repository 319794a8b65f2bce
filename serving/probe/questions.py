"""What a probe asks the server besides its load: models, token counts, counters."""

import math
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from infra.errors import AuthError, EndpointError
from infra.printable import one_line
from serving.probe.address import tls_context, way_to
from serving.probe.apis import APIS
from serving.probe.headers import resolved
from serving.probe.protocol import other_protocol
from serving.probe.spec import Target
from serving.probe.stream_failures import error_text
from serving.vllm.api_key import key_of
from serving.vllm.http_door import Answer, HttpDoor, NoAnswer
from serving.vllm.prometheus import sums
from serving.vllm.proxy import proxy_of
from serving.vllm.server_words import body_line, wait_s, wait_text
from serving.vllm.unix_url import shown

LONGEST_ANSWER_S = 15.0
SHAKE_HANDS_S = 2.0
"""After this long without a TLS handshake the port is asked whether it speaks plain HTTP."""
STARTING = (502, 503, 504)
"""What a server that is still starting answers, or the proxy before it."""
STARTING_S = 10.0
NO_LIST = (400, 422, 501)
"""What a gateway answers that has no list of models, beside 404 and 405."""
LONGEST_NAME = 1000
PROXY_WANTS_LOGIN = 407
SETTLED_S = 5.0
"""Counters that still move after so long are not this run's."""

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
    "itl_sum_s": "vllm:inter_token_latency_seconds_sum",
    "itl_count": "vllm:inter_token_latency_seconds_count",
}


class Server:
    """The endpoint as one answers questions to it; close it after use."""

    def __init__(self, target: Target, timeout_s: float = LONGEST_ANSWER_S) -> None:
        self.target = target
        self.api_key = key_of(target.api_key_file, target.api_key_variable)
        self._api = APIS[target.api]
        self.headers = resolved(target.headers)
        self._timeout_s = min(timeout_s, LONGEST_ANSWER_S)
        headers = self._api.own_headers(urlsplit(target.base_url).netloc, self.api_key) | self.headers
        trust, way = tls_context(target), way_to(target)
        self._door = HttpDoor(target.base_url, headers, self._timeout_s, trust, way=way)

    def close(self) -> None:
        """Let the connections go."""
        self._door.close()

    def models(self, say: Callable[[str], None] = lambda text: None) -> list[dict[str, Any]]:
        """What /v1/models lists; empty where the server has no such list. A server that starts is waited for a little.

        Where the model is known a list is no must: the server may refuse it, or say something else there.
        Raises AuthError when the key is refused, EndpointError when nobody or something else answers.
        """
        patience = Patience(say)
        path = self._models_path
        while True:
            response = self._first(path)
            if not patience.allows(response.status_code, response.headers.get("retry-after")):
                break
        named, where = self.target.model is not None, shown(f"{self.target.base_url}{path}")
        if response.status_code in (401, 403):
            if named:
                return []
            raise refused(self.target.url, response.status_code)
        if response.status_code == PROXY_WANTS_LOGIN:
            raise login_wanted(where)
        if response.status_code == 429:
            raise rate_limited(where, body_text(response), response.headers.get("retry-after"))
        if response.has_redirect_location:
            if named:
                return []
            raise redirected(where, one_line(response.headers["location"]))
        if response.status_code in (404, 405):
            return []
        if response.status_code == 400 and (other := other_protocol(self.target.base_url)):
            raise other
        if named and response.status_code in NO_LIST:
            return []
        if response.status_code != 200:
            raise EndpointError(
                f"{where} answers {response.status_code}: {body_text(response).rstrip('.')}.",
                "Is it still starting? Try again when it is ready. What corral started is in: corral status"
                if response.status_code in STARTING
                else "Look at the server's log; what corral started is in: corral status",
            )
        listed = json_of(response)
        data = listed.get("data") if isinstance(listed, dict) else None
        if not isinstance(data, list) or not all(
            isinstance(each, dict) and is_name(each.get("id")) for each in data
        ):
            if named:
                return []
            raise not_an_api(where, response)
        return data

    @property
    def _models_path(self) -> str:
        """Where the list is: beside the API, with its query."""
        if self.target.path is None:
            return "/v1/models"
        query = urlsplit(self.target.path).query
        return f"/models?{query}" if query else "/models"

    def version(self) -> str | None:
        """vLLM's version; None for any other server."""
        answer = self._ask("GET", "/version")
        version = answer.get("version") if isinstance(answer, dict) else None
        return one_line(version, 40) if isinstance(version, str) else None

    def count_tokens(self, model: str, messages: list[dict[str, Any]]) -> int | None:
        """The prompt's tokens by the server's own tokenizer, template included; None where it does not say."""
        answer = self._ask("POST", self._api.count_path, {"model": model, **self._api.counted(messages)})
        count = answer.get(self._api.count_field) if isinstance(answer, dict) else None
        return count if isinstance(count, int) and 0 < count < 2**31 else None

    def metrics_page(self) -> Answer:
        """Its own page of metrics. Raises NoAnswer."""
        return self._door.ask("GET", "/metrics")

    def counters(self) -> dict[str, float]:
        """The server's own counters, summed over its engines; empty where it has none."""
        try:
            response = self._door.ask("GET", "/metrics")
        except NoAnswer:
            return {}
        return read_counters(response.text) if response.status_code == 200 else {}

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """The JSON answer, or None for any reason at all: these questions are optional."""
        try:
            response = self._door.ask(method, path, body)
        except NoAnswer:
            return None
        return json_of(response) if response.status_code == 200 else None

    def _first(self, path: str) -> Answer:
        """The answer to the question that finds out who is there. Raises EndpointError."""
        url = self.target.base_url
        try:
            if url.startswith("https:"):
                try:
                    return self._door.ask("GET", path, connect_s=min(SHAKE_HANDS_S, self._timeout_s))
                except NoAnswer as error:
                    if error.why != "connect time":
                        raise
                    if other := other_protocol(url):
                        raise other from None
            return self._door.ask("GET", path)
        except NoAnswer as error:
            raise untold(url, self._timeout_s, error) from None


class Patience:
    """For a server that says that it is not ready yet: bounded, and announced."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._end_s: float | None = None

    def allows(self, status: int, retry_after: str | None) -> bool:
        """Whether to ask again after that answer; waits before it says so."""
        if status not in STARTING:
            return False
        pause_s = max(0.5, wait_s(retry_after) or 0.0) if retry_after else 1.0
        now_s = time.monotonic()
        if self._end_s is None:
            self._end_s = now_s + STARTING_S
            if pause_s <= STARTING_S:
                self._say(f"HTTP {status}: it may be starting; asking again for {STARTING_S:g} s")
        if now_s + pause_s > self._end_s:
            return False
        time.sleep(pause_s)
        return True


def is_name(value: object) -> bool:
    """Whether it can be a model's name: one that can be printed, stored and sent."""
    return isinstance(value, str) and value.isprintable() and 0 < len(value) <= LONGEST_NAME


def untold(url: str, timeout_s: float, error: NoAnswer) -> EndpointError:
    """What to say where the first question has no answer."""
    reason, where = one_line(str(error)).rstrip("."), shown(url)
    if error.why in ("time", "connect time"):
        return EndpointError(
            f"{where} does not answer within {timeout_s:g} seconds.", "Is the server still loading its model?"
        )
    if error.why == "certificate":
        return EndpointError(
            f"The certificate of {url} is not trusted: {reason}.",
            "Trust its authority: --ca-file ca.pem, and use the name that is in the certificate.",
        )
    if error.why != "content" and (other := other_protocol(url)):
        return other
    if error.why in ("proxy", "unreachable") and (proxy := proxy_of(url)):
        return EndpointError(
            f"The proxy {proxy.url}, which the environment names, does not let us through to {url}: {reason}.",
            f"Go without it: NO_PROXY={urlsplit(url).hostname} corral ...; or name its user in that variable.",
        )
    if error.why == "unreachable":
        return EndpointError(
            f"{where} cannot be reached: {reason}.",
            "Check the address, and that the server runs: corral status",
        )
    return EndpointError(
        f"{where} does not speak HTTP as a model server does: {reason}.",
        "Check the port; is it another service's?",
    )


def refused(url: str, status: int) -> AuthError:
    """The server wants another key, or one at all."""
    return AuthError(
        f"{url} refuses the request: HTTP {status}.",
        "Give its key: --api-key-file key.txt, or in CORRAL_API_KEY.",
    )


def login_wanted(where: str) -> EndpointError:
    """HTTP 407: a proxy between wants to know who asks (RFC 9110, 15.5.8); it never comes from the server itself."""
    proxy = proxy_of(where)
    named = f"The proxy {proxy.url}, which the environment names, wants" if proxy else "A proxy between wants"
    return EndpointError(
        f"{named} a login before it lets us through to {where}: HTTP 407.",
        f"Go without it: NO_PROXY={urlsplit(where).hostname} corral ...; or name its user in that variable."
        if proxy
        else "Ask the server itself, or have the proxy let this machine through.",
    )


def rate_limited(where: str, words: str, retry_after: str | None) -> EndpointError:
    """HTTP 429: the endpoint works, but not for us now."""
    return EndpointError(
        f"{where} is rate-limited: HTTP 429: {words.rstrip('.')}.",
        f"Wait {wait_text(retry_after)} and try again, or measure with a key that has a higher limit.",
    )


def redirected(where: str, location: str) -> EndpointError:
    """A probe measures one server, so it follows nobody elsewhere."""
    return EndpointError(
        f"{where} redirects to {location}.", "Give the address it points to, if that is the server you mean."
    )


def not_an_api(where: str, response: Answer) -> EndpointError:
    """Something answers, but no model server."""
    kind = one_line(response.headers.get("content-type", "no content type").partition(";")[0], 60)
    return EndpointError(
        f"{where} answers with {kind} that is no list of models.",
        "Check the address: it should be an OpenAI-compatible server, e.g. http://127.0.0.1:8000",
    )


def json_of(response: Answer) -> Any:
    """The body as JSON, or None."""
    try:
        return response.json()
    except ValueError:
        return None


def body_text(response: Answer) -> str:
    """What an error answer says, in a line."""
    answer = json_of(response)
    return error_text(answer) if answer is not None else body_line(response.content)


def read_counters(text: str) -> dict[str, float]:
    """PURE: the counters we follow, from Prometheus text."""
    values = sums(text)
    return {key: values[name] for key, name in COUNTERS.items() if math.isfinite(values.get(name, math.nan))}


def settled(server: Server, before: dict[str, float]) -> dict[str, float]:
    """The counters once they stand still: the server adds a request's tokens a moment after its last byte."""
    if not before:
        return {}
    last: dict[str, float] = {}
    end_s = time.monotonic() + SETTLED_S
    for _ in range(10):
        now = server.counters()
        if now == last or (last and time.monotonic() > end_s):
            break
        last = now
        time.sleep(0.2)
    return last


def moved(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """PURE: by how much each counter moved."""
    return {name: after[name] - before.get(name, 0.0) for name in after} if before else {}
