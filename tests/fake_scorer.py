"""A vLLM whose model is a table of bigrams, strict about what it is asked: what it should have said can be reckoned.

A word is a token, token 0 begins every text, and of each word the next is as likely as a row of `logits` makes it.
"""

import base64
import io
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy
from numpy.typing import NDArray

WORDS = (
    "the", "horse", "fence", "gate", "ranch", "river", "valley", "grass", "wind", "cloud", "stone", "field", "water",
    "light", "night", "morning",
)  # fmt: skip
SIZE = len(WORDS) + 1
Logits = NDArray[numpy.float64]


def table(seed: int = 1, noise: float = 0.0) -> Logits:
    """A model; with noise, the same one damaged."""
    whole = numpy.random.default_rng(seed).normal(0, 2, (SIZE, SIZE))
    return whole + noise * numpy.random.default_rng(99).normal(0, 1, (SIZE, SIZE))


def log_softmax(logits: Logits) -> Logits:
    """Log-probabilities, row by row."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    whole: Logits = shifted - numpy.log(numpy.exp(shifted).sum(axis=-1, keepdims=True))
    return whole


@dataclass
class Fake:
    """How one endpoint behaves, and what it was asked."""

    logits: Logits = field(default_factory=table)
    name: str = "fake"
    longest: int = 512
    most_logprobs: int = 20
    scores: bool = True
    """Whether it says log-probabilities of a prompt; one that does not leaves the field unread, as others do."""
    first_id: int = 0
    """Added to every token's number: another tokenizer."""
    jitter: float = 0.0
    """Added, by turns, to what it thinks of every second prompt."""
    at_ids: bool = False
    counts: bool = True
    key: str = ""
    status: int = 200
    """Of every completion."""
    answers: tuple[str, ...] = ()
    """In place of its own, by turns."""
    url: str = ""
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def ids(self, text: str) -> list[int]:
        """The tokens of a text."""
        return [0, *(1 + WORDS.index(word) if word in WORDS else SIZE - 1 for word in text.split())]

    def thought(self, ids: list[int]) -> Logits:
        """The log-probabilities before each token but the first."""
        turn = sum(path == "/v1/completions" for path, _ in self.asked) % 2
        return log_softmax(self.logits[ids[:-1]] * (1 + self.jitter * turn))

    def answer(self, ids: list[int], tokens: int) -> str:
        """Word by word the likeliest."""
        if self.answers:
            return self.answers[
                sum(path.startswith("/v1/") for path, _ in self.asked) % len(self.answers) - 1
            ]
        said: list[int] = []
        for _ in range(tokens):
            said.append(1 + int(self.logits[(said or ids)[-1], 1:].argmax()))
        return " ".join(WORDS[each - 1] for each in said)

    def reply(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Status and answer."""
        if path == "/v1/models":
            return 200, {"data": [{"id": self.name, "owned_by": "vllm", "max_model_len": self.longest}]}
        if path == "/version":
            return 200, {"version": "0.32.0"}
        if body.get("model") != self.name:
            return 404, {"error": {"message": "no such model"}}
        if path == "/tokenize" and self.counts:
            text = body["prompt"] if "prompt" in body else body["messages"][-1]["content"]
            return 200, {"count": len(self.ids(text)) + 4 * ("messages" in body)}
        if path == "/v1/completions":
            return self.complete(body)
        if path == "/v1/chat/completions":
            assert body.keys() == {"model", "max_tokens", "messages", "temperature"}
            text = self.answer(self.ids(body["messages"][-1]["content"]), body["max_tokens"])
            return 200, {"choices": [{"message": {"role": "assistant", "content": text}}]}
        if path == "/v1/messages":
            assert body.keys() == {"model", "max_tokens", "messages"}
            text = self.answer(self.ids(body["messages"][-1]["content"]), body["max_tokens"])
            return 200, {"content": [{"type": "text", "text": text}]}
        if path == "/inference/v1/generate" and self.at_ids:
            return self.score_ids(body)
        return 404, {"detail": "Not Found"}

    def complete(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """A completion of one token, and what it thinks of the prompt."""
        assert body.keys() == {
            "model", "prompt", "max_tokens", "temperature", "prompt_logprobs", "return_token_ids",
        }  # fmt: skip
        if self.status != 200:
            return self.status, {"error": {"message": "EngineCore died"}}
        ids, count = self.ids(body["prompt"]), body["prompt_logprobs"]
        if self.scores and count > self.most_logprobs or len(ids) + 1 > self.longest:
            return 400, {"error": {"message": "greater than max allowed", "param": "prompt_logprobs"}}
        choice: dict[str, Any] = {"index": 0, "text": " ", "finish_reason": "length"}
        if self.scores:
            choice |= {
                "prompt_token_ids": [each + self.first_id for each in ids],
                "prompt_logprobs": [None, *map(self.row, self.thought(ids), ids[1:], [count] * len(ids))],
            }
        return 200, {"choices": [choice]}

    def row(self, thought: Logits, token: int, count: int) -> dict[str, Any]:
        """So many most likely tokens, and the one that stands there."""
        ranked = list(map(int, (-thought).argsort(kind="stable")))
        return {
            str(each + self.first_id): {"logprob": float(thought[each]), "rank": rank, "decoded_token": "x"}
            for rank, each in enumerate(ranked, 1)
            if rank <= count or each == token
        }

    def score_ids(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """What it thinks of tokens that are named."""
        rows = body["sampling_params"]["prompt_logprob_token_ids"]
        thought = log_softmax(self.logits[body["token_ids"][:-1]])
        assert len(rows) == len(thought)
        assert {len(row) for row in rows} == {min(len(rows[0]), self.most_logprobs)}
        array = numpy.array([thought[at, row] for at, row in enumerate(rows)], dtype=numpy.float32)
        file = io.BytesIO()
        numpy.save(file, array)
        return 200, {"prompt_token_id_logprobs": base64.b64encode(file.getvalue()).decode()}


@contextmanager
def serving(*fakes: Fake) -> Iterator[None]:
    """Let them answer at their `url`."""
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), handler(fake)) for fake in fakes]
    for fake, server in zip(fakes, servers, strict=True):
        fake.url = f"http://127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()


def handler(fake: Fake) -> type[BaseHTTPRequestHandler]:
    """One connection's."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # noqa: N802 - http.server's name
            self.do_POST()

        def do_POST(self) -> None:  # noqa: N802
            body = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))) or b"{}")
            fake.asked.append((self.path, body))
            known = f"Bearer {fake.key}" if fake.key else self.headers.get("authorization")
            status, said = (
                fake.reply(self.path, body)
                if self.headers.get("authorization") == known
                else (401, {"error": "Unauthorized"})
            )
            data = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler
