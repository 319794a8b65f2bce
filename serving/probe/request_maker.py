"""PURE: prompts as requests ready for the wire, in the API's form."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
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
from serving.probe.spec import Load, Share, Target, Workload
from serving.probe.tokenizer_file import counter
from serving.vllm.proxy import proxy_of
from serving.vllm.unix_url import over_tcp, shown
from serving.vllm.zone import without_zone


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
    headers: dict[str, str] = field(default_factory=dict)
    """The user's own, with their values."""
    length_field: str | None = None
    """What this server calls the answer's length, where it refuses the API's usual name."""
    refused_fields: tuple[str, ...] = ()
    """Of the body, which this server does not take."""
    left_out: frozenset[int] = frozenset()
    """The user's prompts that do not fit the model's context, by their place in the file."""

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

    def without_refused(self, words: str) -> "tuple[RequestMaker, str] | None":
        """A maker that does without what a refusal names, and what it does; None where that is nothing of ours."""
        other = self.api.other_length_field
        if self.length_field is None and other and other in words:
            return replace(
                self, length_field=other
            ), f"asking for {other} in place of {self.api.length_field}"
        ours = set(self.api.fields) - set(self.refused_fields) - set(self.workload.extra_body)
        for name in sorted(ours):
            if name in words:
                return replace(self, refused_fields=(*self.refused_fields, name)), f"asking without {name}"
        return None

    @property
    def url(self) -> str:
        """Where its requests go, as a user writes it."""
        parts = urlsplit(self.target.base_url)
        return shown(f"{parts.scheme}://{parts.netloc}{self.path}")

    @property
    def path(self) -> str:
        """The same below the host."""
        return self.target.path or urlsplit(self.target.base_url).path + self.api.path

    @property
    def makes_texts(self) -> bool:
        """Whether prompts of some length are made up, and of nothing but text."""
        file = self.workload.prompts_file
        return not self.workload.images and (file is None or any(not line.messages for line in read(file)))

    def counter(self) -> Callable[[str], int] | None:
        """What counts by the user's tokenizer, where there is one."""
        path = self.workload.tokenizer
        return None if path is None else counter(path)

    def composer(self, seed: str) -> Composer:
        """A composer of texts; equal seeds give equal texts."""
        made = Composer(self.lexicon, random.Random(seed))
        made.own = self.counter()
        return made

    def prompts(
        self, composer: Composer, seed: str, process: int = 0, processes: int = 1
    ) -> Iterator[Prompt]:
        """One process's share of the workload's prompts, without end."""
        rng = random.Random(seed)
        if self.workload.prompts_file is not None:
            every = read(self.workload.prompts_file)
            lines = [line for place, line in enumerate(every) if place not in self.left_out]
            return prompts(lines, composer, self.workload, rng, process, processes)
        return synthetic(self.workload, composer, rng)

    def shots(self, load: Load, composer: Composer, process: int = 0) -> Iterator[Shot]:
        """The shots of one process: every `processes`-th one of the load's."""
        own = self.prompts(composer, f"{self.workload.seed}/{process}", process, load.processes)
        head = self.head()
        turns = self.workload.turns
        models = shared_out(self.target.models)
        for index, time_s in enumerate(times(load, turns)):
            model = next(models)
            if index % load.processes == process:
                shot = self.shot(next(own), index * turns, head, model=model)
                shot.scheduled_ns = None if time_s is None else round(time_s * 1e9)
                yield shot

    def shot(
        self,
        prompt: Prompt,
        index: int,
        head: bytes,
        output_tokens: int | None = None,
        model: str | None = None,
    ) -> Shot:
        """One request, and the way to its conversation's next; of one model where several share the load."""
        wanted = output_tokens or prompt.output_tokens
        asked = self.api.body(model or self.model, prompt.messages, wanted, self.extra(), self.length_field)
        body = orjson.dumps(asked)
        request = head + b"content-length: %d\r\n\r\n" % len(body) + body
        shot = Shot(index, request, wanted, prompt.input_tokens, model=model)
        if prompt.later:

            def follow(answer: str) -> Shot:
                talk = [*prompt.messages, {"role": "assistant", "content": answer}, message(prompt.later[0])]
                later = Prompt(talk, prompt.output_tokens, None, prompt.later[1:])
                return self.shot(later, index + 1, head, model=model)

            shot.follow = follow
        return shot

    def head(self) -> bytes:
        """The request line and headers, but for the length."""
        parts = urlsplit(without_zone(over_tcp(self.target.base_url)))
        lines = self.api.headers(parts.netloc, self.api_key) | self.headers
        path = self.path
        if parts.scheme == "http" and (proxy := proxy_of(self.target.base_url)):
            path = f"http://{parts.netloc}{path}"
            lines |= {"proxy-authorization": proxy.authorization} if proxy.authorization else {}
        first = f"POST {path} HTTP/1.1\r\n"
        return (first + "".join(f"{name}: {value}\r\n" for name, value in lines.items())).encode()

    def extra(self) -> dict[str, Any]:
        """The fields that vLLM takes and others may refuse, and the user's own over them."""
        extra: dict[str, Any] = dict.fromkeys(self.refused_fields)
        if self.ignores_eos:
            extra["ignore_eos"] = True
        if self.salted:
            extra["cache_salt"] = self.salt
            if self.workload.per_chunk_usage and "stream_options" in {*self.api.fields} - {
                *self.refused_fields
            }:
                extra["stream_options"] = {"include_usage": True, "continuous_usage_stats": True}
        return extra | self.workload.extra_body


def shared_out(models: tuple[Share, ...]) -> Iterator[str | None]:
    """Whose turn it is: at any time each model has had its share, to one request; None where there is but one."""
    had = dict.fromkeys((each.model for each in models), 0.0)
    while True:
        owed = {each.model: (had[each.model] + 1) / each.share for each in models}
        model = min(owed, key=lambda name: owed[name], default=None)
        if model is not None:
            had[model] += 1
        yield model


def times(load: Load, turns: int) -> Iterator[float | None]:
    """The schedule, or as many Nones as a closed loop sends; a conversation counts for all its turns."""
    conversations = None if load.requests is None else -(-load.requests // turns)
    if load.is_open:
        return iter(schedule_s(load.model_copy(update={"requests": conversations})))
    return (None for _ in (count() if conversations is None else range(conversations)))
