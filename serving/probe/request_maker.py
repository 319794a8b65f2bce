"""PURE: prompts as requests ready for the wire, in the API's form."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any
from urllib.parse import urlsplit

import orjson

from serving.probe.apis import APIS, Api
from serving.probe.dataset import Composer, Lexicon, Prompt, message, synthetic
from serving.probe.exchange import Shot
from serving.probe.pacing import schedule_s
from serving.probe.prompts import prompts, read
from serving.probe.run_records import ServerFacts
from serving.probe.spec import Load, Target, Workload


@dataclass
class RequestMaker:
    """Makes one process's shots; everything in it can be handed to another process."""

    target: Target
    api_key: str | None
    model: str
    workload: Workload
    facts: ServerFacts
    lexicon: Lexicon
    salt: str
    """The run's own part of the prefix cache."""
    is_listed: bool = True
    """Whether the server lists the model; true where it lists none."""

    @property
    def api(self) -> Api:
        """The API its requests are written for."""
        return APIS[self.target.api]

    @property
    def ignores_eos(self) -> bool:
        """Whether the server is told to go on to the asked length."""
        if not self.api.takes_vllm_fields:
            return False
        return self.facts.is_vllm if self.workload.ignore_eos is None else self.workload.ignore_eos

    @property
    def salted(self) -> bool:
        """Whether the server keeps this run's prefix cache apart."""
        return self.facts.is_vllm and self.api.takes_vllm_fields

    def composer(self, seed: str) -> Composer:
        """A composer of texts; equal seeds give equal texts."""
        return Composer(self.lexicon, random.Random(seed))

    def prompts(
        self, composer: Composer, seed: str, process: int = 0, processes: int = 1
    ) -> Iterator[Prompt]:
        """One process's share of the workload's prompts, without end."""
        rng = random.Random(seed)
        if self.workload.prompts_file is not None:
            lines = read(self.workload.prompts_file)
            return prompts(lines, composer, self.workload.output_tokens, rng, process, processes)
        return synthetic(self.workload, composer, rng)

    def shots(self, load: Load, composer: Composer, process: int = 0) -> Iterator[Shot]:
        """The shots of one process: every `processes`-th one of the load's."""
        own = self.prompts(composer, f"{self.workload.seed}/{process}", process, load.processes)
        head = self.head()
        turns = self.workload.turns
        for index, time_s in enumerate(times(load, turns)):
            if index % load.processes == process:
                shot = self.shot(next(own), index * turns, head)
                shot.scheduled_ns = None if time_s is None else round(time_s * 1e9)
                yield shot

    def shot(self, prompt: Prompt, index: int, head: bytes, output_tokens: int | None = None) -> Shot:
        """One request, and the way to its conversation's next."""
        wanted = output_tokens or prompt.output_tokens
        body = orjson.dumps(self.api.body(self.model, prompt.messages, wanted, self.extra()))
        request = head + b"content-length: %d\r\n\r\n" % len(body) + body
        shot = Shot(index, request, wanted, prompt.input_tokens)
        if prompt.later:

            def follow(answer: str) -> Shot:
                talk = [*prompt.messages, {"role": "assistant", "content": answer}, message(prompt.later[0])]
                return self.shot(Prompt(talk, prompt.output_tokens, None, prompt.later[1:]), index + 1, head)

            shot.follow = follow
        return shot

    def head(self) -> bytes:
        """The request line and headers, but for the length."""
        parts = urlsplit(self.target.base_url)
        lines = self.api.headers(parts.netloc, self.api_key)
        first = f"POST {parts.path}{self.api.path} HTTP/1.1\r\n"
        return (first + "".join(f"{name}: {value}\r\n" for name, value in lines.items())).encode()

    def extra(self) -> dict[str, Any]:
        """The fields that vLLM takes and others may refuse, and the user's own over them."""
        extra: dict[str, Any] = {}
        if self.ignores_eos:
            extra["ignore_eos"] = True
        if self.salted:
            extra["cache_salt"] = self.salt
            if self.workload.per_chunk_usage:
                extra["stream_options"] = {"include_usage": True, "continuous_usage_stats": True}
        return extra | self.workload.extra_body


def times(load: Load, turns: int) -> Iterator[float | None]:
    """The schedule, or as many Nones as a closed loop sends; a conversation counts for all its turns."""
    conversations = None if load.requests is None else -(-load.requests // turns)
    if load.is_open:
        return iter(schedule_s(load.model_copy(update={"requests": conversations})))
    return (None for _ in (count() if conversations is None else range(conversations)))
