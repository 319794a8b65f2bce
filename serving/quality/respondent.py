"""Door: one of two endpoints that are compared: what it thinks of a text, and what it answers to it."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from infra.errors import CorralError, EndpointError, UsageError
from infra.printable import one_line
from serving.probe.address import tls_context
from serving.probe.apis import APIS, Api
from serving.probe.dataset import message
from serving.probe.questions import Server, body_text, json_of, rate_limited, redirected, refused, untold
from serving.probe.spec import Target
from serving.quality.answers import text_of
from serving.quality.scored import Scored, array_of, most_likely, scored_from
from serving.vllm.http_door import Answer, HttpDoor, NoAnswer

LONGEST_S = 600.0
"""For one text: the log-probabilities of a long one are seconds of a server's Python."""
MOST_BYTES = 64 * 1024 * 1024
MOST_ALTERNATIVES = 400_000
"""Of one text: some 100 bytes each; more would not come whole, and would stop the server's other requests."""
TRIAL = "The quick brown fox"
FEWER = (20, 10, 5, 1, 0)
AT_IDS = "/inference/v1/generate"
COMPLETIONS = "/v1/completions"


class Respondent:
    """One endpoint, A or B; meet it first, close it after use."""

    def __init__(self, letter: str, target: Target) -> None:
        self.letter, self.target = letter, target
        self.model = target.model or ""
        self.version: str | None = None
        self.longest: int | None = None
        """Tokens of a prompt and its answer, where the server says it."""
        self._scores_ids, self._is_listed = True, True
        self._refused_with, self._words = 200, ""
        """The status and the words of the last refusal to say log-probabilities."""
        with own_options(letter):
            self._server = Server(target)
            self.api_key = self._server.api_key
            headers = APIS[target.api].own_headers(urlsplit(target.base_url).netloc, self.api_key)
            self._door = HttpDoor(target.base_url, headers, LONGEST_S, tls_context(target), MOST_BYTES)

    def close(self) -> None:
        """Let the connections go."""
        self._server.close()
        self._door.close()

    def __str__(self) -> str:
        return f"{self.letter} ({self.target.base_url})"

    def meet(self, say: Callable[[str], None]) -> None:
        """Learn its model's name and limit. Raises EndpointError, AuthError or UsageError."""
        with own_options(self.letter):
            listed = self._server.models(say)
        if not self.model and (not listed or self.target.api == "messages"):
            raise UsageError(
                f"Which model of {self} is asked is not said.", f"Say it: --model-{self.letter.lower()} NAME"
            )
        self.model = self.model or listed[0]["id"]
        entry: dict[str, Any] = next((each for each in listed if each["id"] == self.model), {})
        self._is_listed = bool(entry) or not listed
        limit = entry.get("max_model_len")
        self.longest = limit if type(limit) is int and limit > 0 else None
        self.version = self._server.version()
        say(f"{self} serves {self.model}" + (f" with vLLM {self.version}" if self.version else ""))

    def check_scores(self, count: int) -> None:
        """Raise UsageError where it does not say so many log-probabilities of a prompt."""
        if self._scored(TRIAL, count) is not None:
            return
        if self._refused_with == 404 and not self._is_listed:
            raise UsageError(
                f"{self} has no model of the name {self.model}: {self._words}.",
                f"Leave --model-{self.letter.lower()} out to take the first that it lists.",
            )
        least = next((fewer for fewer in FEWER if fewer < count and self._scored(TRIAL, fewer)), None)
        if least is None:
            raise UsageError(
                f"{self} says no log-probabilities of a prompt.",
                "Let a person compare the answers of both: add --blind.",
            )
        raise UsageError(
            f"{self} refuses the log-probabilities of the {count} most likely tokens.",
            f"Ask for fewer, --logprobs {least}, or start it with --max-logprobs {count}.",
        )

    def check_length(self, number: int, text: str, count: int, answer_tokens: int) -> None:
        """Raise UsageError for a text that does not fit its context, or whose log-probabilities would be too many.

        A server that does not count tokens is not asked.
        """
        tokens = self._tokens(text)
        if tokens is None:
            return
        asked = self._server.count_tokens(self.model, [message(text)]) or 0 if answer_tokens else 0
        needed = max(tokens + 1, asked + answer_tokens)
        if self.longest is not None and needed > self.longest:
            raise UsageError(
                f"Text {number} needs {needed:,} tokens of context with its answer; {self} has {self.longest:,}.",
                "Shorten that text, leave it out, or start the server with a larger --max-model-len.",
            )
        if tokens * (count + 1) > MOST_ALTERNATIVES:
            fits = MOST_ALTERNATIVES // tokens - 1
            raise UsageError(
                f"Text {number} is {tokens:,} tokens long: {count + 1} log-probabilities of each are too many to send.",
                f"Ask for fewer, --logprobs {fits}, or shorten it." if fits >= 0 else "Shorten that text.",
            )

    def scored(self, text: str, count: int) -> Scored:
        """What it thinks of a text, with so many alternatives at each token. Raises EndpointError or AuthError."""
        found = self._scored(text, count)
        if found is None:
            raise EndpointError(
                f"{self} says the log-probabilities of a trial, and none of a text: {self._words or 'nothing'}.",
                "Look at the server's log; what corral started is in: corral status",
            )
        return found

    def at_ids(self, of: Scored, count: int) -> tuple[dict[int, float], ...] | None:
        """Its log-probabilities of another's most likely tokens, place by place; None where it cannot say them.

        vLLM from 0.32.0 can, with --enable-scale-out, on a GPU.
        """
        if not self._scores_ids or not of.likely or not count:
            return None
        wanted = [most_likely(row, count) for row in of.likely]
        width = max(map(len, wanted))
        sampling = {"max_tokens": 1, "temperature": 0, "prompt_logprob_token_ids": wanted}
        body = {"model": self.model, "token_ids": list(of.token_ids), "sampling_params": sampling}
        answer = self._ask(AT_IDS, body)
        said = json_of(answer) if answer.status_code == 200 else None
        try:
            array = array_of(
                said.get("prompt_token_id_logprobs") if isinstance(said, dict) else None, (len(wanted), width)
            )
        except ValueError:
            self._scores_ids = False
            return None
        return tuple(
            {token: float(value) for token, value in zip(ids, row, strict=False)}
            for ids, row in zip(wanted, array, strict=True)
        )

    def answer(self, text: str, tokens: int) -> str:
        """What it answers to a text, the likeliest word each time where it heeds that. Raises EndpointError."""
        api: Api = APIS[self.target.api]
        # Anthropic's newer models refuse a temperature; there the answers are compared by a person.
        greedy: dict[str, Any] = {} if self.target.api == "messages" else {"temperature": 0}
        body = api.body(
            self.model, [message(text)], tokens, greedy | {"stream": None, "stream_options": None}
        )
        answer = self._good(api.path, body)
        found = text_of(json_of(answer), self.target.api)
        if found is None:
            raise EndpointError(
                f"{self} answers something else than its API says: {one_line(answer.text, 120)}.",
                f"Try another API: --api-{self.letter.lower()} completions, chat or messages.",
            )
        return found

    def _scored(self, text: str, count: int) -> Scored | None:
        """What it thinks of a text; None where it refuses to say that much, or says nothing."""
        body = {"model": self.model, "prompt": text, "max_tokens": 1, "temperature": 0}
        answer = self._ask(COMPLETIONS, body | {"prompt_logprobs": count, "return_token_ids": True})
        if answer.status_code != 200:
            self._check_status(COMPLETIONS, answer, refusals=(400, 404, 405, 422, 501))
            self._refused_with, self._words = answer.status_code, body_text(answer).rstrip(".")
            return None
        try:
            choices = answer.json()["choices"]
            return scored_from(choices[0])
        except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            raise EndpointError(
                f"{self} says log-probabilities that make no sense: {one_line(str(error))}.",
                "Is it a vLLM server, and the same for every request?",
            ) from None

    def _tokens(self, text: str) -> int | None:
        """The tokens of a text by its own tokenizer; None where it does not say."""
        answer = self._ask("/tokenize", {"model": self.model, "prompt": text})
        said = json_of(answer) if answer.status_code == 200 else None
        count = said.get("count") if isinstance(said, dict) else None
        return count if type(count) is int and 0 < count < 2**31 else None

    def _good(self, path: str, body: dict[str, Any]) -> Answer:
        """The answer to a request that must succeed. Raises EndpointError or AuthError."""
        answer = self._ask(path, body)
        self._check_status(path, answer)
        return answer

    def _ask(self, path: str, body: dict[str, Any]) -> Answer:
        """Whatever is answered. Raises EndpointError where nothing is."""
        try:
            return self._door.ask("POST", path, body)
        except NoAnswer as error:
            with own_options(self.letter):
                raise untold(self.target.base_url, LONGEST_S, error) from None

    def _check_status(self, path: str, answer: Answer, refusals: Sequence[int] = ()) -> None:
        """Raise AuthError or EndpointError for a status that is neither 200 nor a refusal of what was asked."""
        status, where = answer.status_code, f"{self.target.base_url}{path}"
        if status in (401, 403):
            with own_options(self.letter):
                raise refused(self.target.base_url, status)
        if status == 429:
            raise rate_limited(where, body_text(answer), answer.headers.get("retry-after"))
        if answer.has_redirect_location:
            raise redirected(where, one_line(answer.headers["location"]))
        if status != 200 and status not in refusals:
            raise EndpointError(
                f"{where} answers {status}: {body_text(answer).rstrip('.')}.",
                "Look at the server's log; what corral started is in: corral status",
            )


PROBES_OPTIONS = re.compile(r"--(?:api-key-file|ca-file|model)\b|CORRAL_API_KEY\b")


@contextmanager
def own_options(letter: str) -> Iterator[None]:
    """What the probe's parts say of its options is said of this endpoint's own."""
    try:
        yield
    except CorralError as error:
        endings = {"-": f"-{letter.lower()}", "C": f"_{letter}"}
        error.hint = PROBES_OPTIONS.sub(lambda option: option[0] + endings[option[0][0]], error.hint)
        raise
