"""One probe from beginning to end: ask the server, prepare, load it, keep every result, report."""

import random
import socket
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson

from infra.errors import AuthError, EndpointError, UsageError
from serving.probe import results
from serving.probe.api import PATHS, headers, request_body
from serving.probe.attack import Attack, Progress
from serving.probe.connection import Peer, Shot
from serving.probe.dataset import Prompt, message, synthetic
from serving.probe.metrics import report
from serving.probe.pacing import schedule_s
from serving.probe.questions import Server, tls_context
from serving.probe.report import ProbeReport
from serving.probe.results import Ending, Result, Run, ServerFacts, Writer
from serving.probe.spec import Load, Slo, Target, Workload

RESULTS, REPORT = "results.jsonl", "probe.json"
PREPARED_BYTES = 256 * 1024 * 1024
"""Requests are serialised before the clock starts up to this much; a longer run serialises the rest on the way."""
CANARY_TIMEOUT_S = 120.0
MOST_OPEN_BEFORE = 256

Watch = Callable[[Progress], None]
Say = Callable[[str], None]


def run(
    target: Target,
    load: Load,
    workload: Workload,
    output: Path,
    slo: Slo = Slo(),  # noqa: B008 - frozen
    watch: Watch | None = None,
    say: Say = lambda text: None,
) -> ProbeReport:
    """Probe an endpoint and leave `results.jsonl` and `probe.json` in the folder `output`.

    `watch` is called once a second with how the run stands, `say` with each step before it. A run that was not to be
    trusted comes back with `valid` False, an interrupted one with `interrupted` True; nothing is raised for either.
    Raises EndpointError or AuthError, before any load, when the endpoint is not there, refuses the key, or is no
    model server; UsageError when the request cannot work there; HostError when results cannot be written.
    """
    server = Server(target)
    try:
        facts, model = meet(server, workload)
        say(f"{target.base_url} serves {model}" + (f" with vLLM {facts.version}" if facts.version else ""))
        maker = Maker(server, model, workload, facts, load.seed)
        prompts = list_or_stream(maker, load, say)
        peer = resolve(target)
        check_with_canary(peer, target, load, maker)
        run_record = record_of(target, model, load, workload, slo, maker)
        writer = Writer(output / RESULTS)
        writer.run(run_record)
        before = server.counters()
        ending = attack(peer, target, load, prompts, writer, watch)
        ending.counters = moved(before, settled(server, before, ending))
        writer.close(ending)
    finally:
        server.close()
    return finish(output, writer)


def finish(output: Path, writer: Writer) -> ProbeReport:
    """Report from the file as it was written, so that the report can be made again from it."""
    written, records = results.read(writer.path)
    made = report(written, records)
    made.write(output / REPORT)
    return made


# Before the load


def meet(server: Server, workload: Workload) -> tuple[ServerFacts, str]:
    """Who answers there, and under which model's name."""
    listed = server.models()
    model = server.target.model or (listed[0]["id"] if listed else None)
    if model is None:
        raise UsageError(f"{server.target.base_url} lists no models.", "Say which one: --model NAME")
    entry: dict[str, Any] = next((each for each in listed if each["id"] == model), {})
    is_vllm = any(each.get("owned_by") == "vllm" for each in listed)
    limit = entry.get("max_model_len")
    facts = ServerFacts(
        is_vllm=is_vllm,
        version=server.version() if is_vllm else None,
        max_model_len=limit if isinstance(limit, int) else None,
    )
    check_lengths(workload, facts)
    return facts, model


def check_lengths(workload: Workload, facts: ServerFacts) -> None:
    """Raises UsageError when prompt and answer cannot be within the model's context."""
    wanted = workload.input_tokens.largest + workload.output_tokens.largest
    if facts.max_model_len is not None and workload.prompts_file is None and wanted > facts.max_model_len:
        raise UsageError(
            f"{workload.input_tokens} input and {workload.output_tokens} output tokens do not fit the"
            f" {facts.max_model_len} tokens this server allows.",
            "Ask for fewer, or start the server with a larger --max-model-len.",
        )


class Maker:
    """Makes requests: prompts from the workload, bodies in the API's form, bytes for the wire."""

    def __init__(self, server: Server, model: str, workload: Workload, facts: ServerFacts, seed: int) -> None:
        self._server = server
        self._api = server.target.api
        self._workload = workload
        self.facts = facts
        self.model = model
        host = urlsplit(server.target.base_url)
        self._path = host.path.rstrip("/") + PATHS[self._api]
        lines = headers(self._api, host.netloc, server.api_key)
        self._head = "".join(f"{name}: {value}\r\n" for name, value in lines.items()).encode()
        self._extra = self._extras()
        self._prompts = synthetic(workload, self._count, random.Random(workload.seed))

    @property
    def ignores_eos(self) -> bool:
        """Whether the server is told to go on to the asked length."""
        asked = self._workload.ignore_eos
        return self.facts.is_vllm if asked is None else asked

    def prompt(self) -> Prompt:
        """The next prompt."""
        return next(self._prompts)

    def shot(self, index: int, prompt: Prompt, max_tokens: int | None = None) -> Shot:
        """The prompt as a request ready for the wire."""
        wanted = max_tokens or prompt.output_tokens
        body = orjson.dumps(request_body(self._api, self.model, [message(prompt.text)], wanted, self._extra))
        head = (
            f"POST {self._path} HTTP/1.1\r\ncontent-length: {len(body)}\r\n".encode() + self._head + b"\r\n"
        )
        return Shot(index, head + body, wanted, prompt.input_tokens)

    def _extras(self) -> dict[str, Any]:
        extra: dict[str, Any] = {}
        if self.ignores_eos:
            extra["ignore_eos"] = True
        if self.facts.is_vllm:
            extra["temperature"] = 0
            # Its own part of the prefix cache: nothing from an earlier run can be hit.
            extra["cache_salt"] = f"corral-{time.time_ns():x}"
            if self._workload.per_chunk_usage:
                extra["stream_options"] = {"include_usage": True, "continuous_usage_stats": True}
        return extra | self._workload.extra_body

    def _count(self, text: str) -> int | None:
        return self._server.count_tokens(self.model, [message(text)])


def list_or_stream(maker: Maker, load: Load, say: Say) -> Iterator[Shot]:
    """The load's shots: serialised now as far as memory allows, the rest on the way."""
    times: Iterator[float | None] = schedule_s(load) if load.is_open else repeat(None, load.requests or 10**9)
    shots = (timed(maker.shot(index, maker.prompt()), time_s) for index, time_s in enumerate(times))
    prepared, size = [], 0
    wanted = load.requests if load.requests is not None else estimate(load)
    say("preparing the requests")
    for shot in islice(shots, wanted):
        prepared.append(shot)
        size += len(shot.request)
        if size > PREPARED_BYTES:
            break
    return chain(prepared, shots)


def estimate(load: Load) -> int:
    """How many requests to prepare for a run that ends by time."""
    if load.request_rate is not None and load.duration_s is not None:
        return int(load.duration_s * max(load.request_rate, load.end_request_rate or 0.0) * 1.2) + 16
    return 16 * (load.concurrency or 1)


def timed(shot: Shot, time_s: float | None) -> Shot:
    """The shot with its place in the schedule."""
    if time_s is not None:
        shot.scheduled_ns = round(time_s * 1e9)
    return shot


def resolve(target: Target) -> Peer:
    """The address behind the URL. Raises EndpointError."""
    parts = urlsplit(target.base_url)
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise EndpointError(
            f"{host} cannot be resolved: {error.strerror}.", "Check the host's name."
        ) from None
    context = tls_context(target) if parts.scheme == "https" else None
    return Peer(family, address, context, host)


def check_with_canary(peer: Peer, target: Target, load: Load, maker: Maker) -> None:
    """One short streamed request, so that an endpoint that cannot work is found before the load."""
    first: list[Result] = []
    shot = maker.shot(-1, maker.prompt(), max_tokens=2)
    one = Load(shape="concurrency", requests=1, concurrency=1, timeout_s=CANARY_TIMEOUT_S)
    canary = Attack(peer, target.api, one, iter([shot]), first.append)
    canary.run()
    if canary.interrupted:
        raise KeyboardInterrupt
    if not first[0].ok:
        raise refusal(target, first[0])


def refusal(target: Target, result: Result) -> EndpointError | AuthError:
    """The canary's failure as an error."""
    said = (result.message or result.error or "").rstrip(".")
    where = f"{target.base_url}{PATHS[target.api]}"
    if result.status in (401, 403):
        return AuthError(
            f"{where} refuses the request: HTTP {result.status}.",
            "Give its key: --api-key-file FILE, or the environment variable.",
        )
    status = f"HTTP {result.status}: " if result.status not in (0, 200) else ""
    hint = "Try another API: --api chat, completions or messages." if result.status in (400, 404, 405) else ""
    return EndpointError(
        f"{where} does not stream an answer: {status}{said}.", hint or "Look at the server's log."
    )


def record_of(target: Target, model: str, load: Load, workload: Workload, slo: Slo, maker: Maker) -> Run:
    """The first line of the results."""
    return Run(
        target=target,
        model=model,
        load=load,
        workload=workload,
        slo=slo,
        server=maker.facts,
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
        notes=notes_of(workload, maker),
    )


def notes_of(workload: Workload, maker: Maker) -> tuple[str, ...]:
    """How the requests were made."""
    return (
        "ignore_eos: every answer has the asked length"
        if maker.ignores_eos
        else "answers may end before the asked length",
        "prefix cache: this run has its own cache_salt; nothing is shared with earlier runs"
        if maker.facts.is_vllm
        else "prefix cache: prompts are random; the server offers no proof that nothing was cached",
    )


# The load


def attack(
    peer: Peer, target: Target, load: Load, shots: Iterator[Shot], writer: Writer, watch: Watch | None
) -> Ending:
    """Put the load on; every result goes to the writer."""
    engine = Attack(peer, target.api, load, shots, writer.result, watch, connections_before(load))
    side = engine.run()
    last_us = engine.last_done_us if not engine.interrupted else int(side.wall_s * 1e6)
    return Ending(
        duration_us=last_us, clients=[side], interrupted=engine.interrupted, unfinished=engine.unfinished
    )


def connections_before(load: Load) -> int:
    """How many connections to open before the clock starts: all of a closed loop's, a first share of an open one's."""
    if load.concurrency is not None and not load.is_open:
        return min(load.concurrency, load.requests or load.concurrency)
    if load.shape == "burst":
        return load.requests or 1
    return min(MOST_OPEN_BEFORE, load.requests or MOST_OPEN_BEFORE)


# After the load


def settled(server: Server, before: dict[str, float], ending: Ending) -> dict[str, float]:
    """The counters once they stand still: the server adds a request's tokens a moment after its last byte."""
    if not before:
        return {}
    last: dict[str, float] = {}
    for _ in range(10):
        now = server.counters()
        if now == last:
            break
        last = now
        time.sleep(0.2)
    return last


def moved(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """By how much each counter moved."""
    return {name: after[name] - before.get(name, 0.0) for name in after} if before else {}
