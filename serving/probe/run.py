"""One probe from beginning to end: ask the server, prepare, load it, keep every result, report."""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from infra.errors import AuthError, EndpointError, HostError, UsageError
from infra.printable import one_line
from serving.probe import results
from serving.probe.address import resolve
from serving.probe.apis import APIS
from serving.probe.attack import Attack, Hooks
from serving.probe.dataset import WORDS, Composer, Lexicon, Prompt, learn, message
from serving.probe.exchange import Shot
from serving.probe.fitting import Fitting, fitted, fitting
from serving.probe.headers import names
from serving.probe.metrics import report
from serving.probe.notes import length_note, notes_of
from serving.probe.prompts import check_blocks, check_sayable, file_notes, read
from serving.probe.questions import (
    PROXY_WANTS_LOGIN,
    STARTING,
    Patience,
    Server,
    login_wanted,
    moved,
    rate_limited,
    redirected,
    settled,
)
from serving.probe.report import ProbeReport
from serving.probe.request_maker import RequestMaker
from serving.probe.results import REPORT, Writer, new_writer
from serving.probe.run_records import Refused, Result, Run, ServerFacts
from serving.probe.sampling import Sampler, from_zero
from serving.probe.spec import Load, Slo, Target, Workload
from serving.probe.tokenizer_file import counter
from serving.probe.workers import Watch, attack
from serving.vllm.client import TooLate

CANARY_TIMEOUT_S = 120.0
BAD_REQUEST = (400, 422)
TOO_LARGE = 413
MOST_CORRECTED = 16
"""Tokens: what differs by more was counted by another tokenizer."""
SAME_TOKENIZER = 0.02
"""Of one text by the user's tokenizer and by the server's usage: within this share they are the same."""
LATE = ("timeout", "stalled")
"""What is said of a request that did not end in time, or got no byte for long (serving/probe/watching.py)."""
LEARN_LIMIT_S = 15.0
"""For some 130 questions to the server's tokenizer; and again for those that confirm what was learned."""

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

    `watch` is called once a second with how the run stands, `say` with each step before it. A run that must not be
    trusted comes back with `valid` False, an interrupted one with `interrupted` True; nothing is raised for either.
    Raises EndpointError or AuthError, before any load, when the endpoint is not there, refuses the key, or is no
    model server; UsageError when the request cannot work there; DocumentError for a file that cannot be read;
    HostError when results cannot be written at all. Files and folder are looked at before the first request.
    """
    further: tuple[str, ...] = ()
    if workload.prompts_file is not None:
        lines = read(workload.prompts_file)
        check_sayable(lines, target.api, workload.prompts_file)
        check_blocks(lines, workload.hash_block_tokens, workload.prompts_file)
        further = file_notes(lines, workload.tokenizer)
    if workload.tokenizer is not None:
        counter(workload.tokenizer)
    server = Server(target, load.timeout_s)
    try:
        writer = new_writer(output)
        try:
            maker, composer = prepare(server, workload, say)
            if workload.prompts_file is not None:
                fits = fit(server, maker, composer)
                maker, load = replace(maker, left_out=fits.left_out), fitted(load, fits.left_out)
                further = (*fits.note(lines, maker.facts.max_model_len), *further)
            sampler = Sampler(target, server.metrics_page)
            try:
                maker = calibrated(warm_up(maker, load, say), load, say)
                composer.learned(maker.lexicon)
                if workload.prompts_file is not None and maker.makes_texts:
                    further = (length_note(maker), *further)
                writer.run(record_of(maker, load, slo, (*further, *sampler.notes)))
                before = server.counters()
                sampler.start()
                ending, zero_ns = attack(maker, load, composer, writer, watch)
            finally:
                sampled = sampler.stop()
            ending.sampled = from_zero(sampled, zero_ns)
        except BaseException:
            writer.give_up()
            raise
        try:
            if not any(side.gave_up for side in ending.clients):
                ending.counters = moved(before, settled(server, before))
        except KeyboardInterrupt:  # what was measured is worth more than the counters
            ending.interrupted = True
        writer.close(ending)
    finally:
        server.close()
    return finish(output, writer)


def finish(output: Path, writer: Writer) -> ProbeReport:
    """Report from the file as it was written, so that the same report can be made again from it."""
    made = report(*results.read(writer.path, writer.kept))
    if writer.failure:
        lost = f"the results could not all be written ({writer.failure}): this report cannot be made again from them"
        made = made.model_copy(update={"warnings": (*made.warnings, lost), "results_lost": True})
    try:
        made.write(output / REPORT)
    except HostError:
        if not writer.failure:
            raise
    return made


# Before the load


def prepare(server: Server, workload: Workload, say: Say) -> tuple[RequestMaker, Composer]:
    """Learn of the server what its requests need."""
    facts, model, is_listed = meet(server, workload, say)
    target = server.target
    say(f"{target.url} serves {model}" + (f" with vLLM {facts.version}" if facts.version else ""))

    own = counter(workload.tokenizer) if workload.tokenizer is not None else None
    end_s = time.monotonic() + LEARN_LIMIT_S

    def count(text: str) -> int | None:
        return server.count_tokens(model, [message(text)]) if time.monotonic() < end_s else None

    lexicon = learn(count)
    if time.monotonic() > end_s:
        say(f"its tokenizer was not done after {LEARN_LIMIT_S:g} s: prompt lengths are approximate")
        lexicon = Lexicon()
    end_s = time.monotonic() + LEARN_LIMIT_S
    facts = facts.model_copy(update={"exact_lengths": lexicon.known})
    salt = f"corral-{time.time_ns():x}"
    maker = RequestMaker(
        target, server.api_key, model, workload, facts, lexicon, salt, is_listed, server.headers
    )
    composer = maker.composer(f"{workload.seed}")
    if lexicon.known:
        composer.count = count
    elif own is not None:
        maker = replace(maker, lexicon=learn(own))
        composer.learned(maker.lexicon)
    return maker, composer


def fit(server: Server, maker: RequestMaker, composer: Composer) -> Fitting:
    """What of the user's prompts the model's context has room for. Raises UsageError where it has for none."""
    path = maker.workload.prompts_file
    if path is None:
        return Fitting()
    end_s = time.monotonic() + LEARN_LIMIT_S

    def ask(messages: list[dict[str, Any]]) -> int | None:
        return server.count_tokens(maker.model, messages) if time.monotonic() < end_s else None

    return fitting(read(path), maker.workload, maker.facts.max_model_len, composer, ask, path)


def meet(server: Server, workload: Workload, say: Say = lambda text: None) -> tuple[ServerFacts, str, bool]:
    """Who answers there, under which model's name, and whether that is one it lists, where it lists any."""
    listed = server.models(say)
    model = server.target.model or (listed[0]["id"] if listed else None)
    if model is None:
        raise UsageError(
            f"{server.target.url} lists no models.",
            "Say which one, as the server calls it: --model scout",
        )
    known = {each["id"]: each for each in listed}
    entry: dict[str, Any] = known.get(model, {})
    every = [each.model for each in server.target.models] or [model]
    is_vllm = any(each.get("owned_by") == "vllm" for each in listed)
    limit = entry.get("max_model_len")
    facts = ServerFacts(
        is_vllm=is_vllm,
        version=server.version() if is_vllm else None,
        max_model_len=limit if isinstance(limit, int) and limit > 0 else None,
    )
    check_lengths(workload, facts)
    return facts, model, not listed or all(name in known for name in every)


def check_lengths(workload: Workload, facts: ServerFacts) -> None:
    """Raises UsageError when prompt and answer cannot be within the model's context."""
    wanted = workload.input_tokens.largest + workload.output_tokens.largest
    if facts.max_model_len is not None and workload.prompts_file is None and wanted > facts.max_model_len:
        raise UsageError(
            f"{workload.input_tokens} input and {workload.output_tokens} output tokens do not fit the"
            f" {facts.max_model_len} tokens this server allows.",
            "Ask for fewer, or start the server with a larger --max-model-len.",
        )


def warm_up(maker: RequestMaker, load: Load, say: Say) -> RequestMaker:
    """One short request to each model, so that an endpoint that cannot work is found before the load; then those
    asked for. Returns the maker of requests that the endpoint takes.

    Raises EndpointError or AuthError for the first one's failure.
    """
    # Of a cache of its own: the user's prompts come again in the load, and must not be hit there.
    salt = maker.salt
    maker = replace(maker, salt=f"{salt}-warm-up")
    say("trying one request" + (f", then {load.warmup_requests} to warm up" if load.warmup_requests else ""))
    composer = maker.composer(f"{maker.workload.seed}/warm-up")
    prompts = maker.prompts(composer, f"{maker.workload.seed}/warm-up")
    trial, rest = loads_before(load)
    patience = Patience(say)
    for model in [each.model for each in maker.target.models] or [maker.model]:
        prompt = next(prompts)
        while not (result := tried(maker, trial, prompt, model)).ok:
            other = maker.without_refused(words_of(result)) if result.status in BAD_REQUEST else None
            if other is not None:
                maker, change = other
                say(f"the server refuses what it was asked: {change}")
            elif not patience.allows(result.status, result.refused and result.refused.retry_after):
                raise refusal(maker, result, model if maker.target.models else None)
        if maker.facts.exact_lengths:
            maker = replace(maker, lexicon=corrected(maker.lexicon, prompt.input_tokens, result.input_tokens))
    shots = [maker.shot(each, -1, maker.head()) for each in islice(prompts, load.warmup_requests)]
    if shots:
        results_of(maker, rest, shots)
    return replace(maker, salt=salt)


def corrected(lexicon: Lexicon, asked: int | None, counted: int | None) -> Lexicon:
    """PURE: the lexicon with what the server puts before a prompt of this API and does not count when it is asked.

    vLLM counts a chat by /tokenize; its /v1/responses put one token more before it (0.32.0, 2026-11-30).
    """
    more = (counted or 0) - (asked or 0)
    return lexicon.framed(more) if asked and counted and 0 < abs(more) <= MOST_CORRECTED else lexicon


def tried(maker: RequestMaker, trial: Load, prompt: Prompt, model: str | None = None) -> Result:
    """What becomes of one request for a short answer."""
    shot = maker.shot(prompt, -1, maker.head(), maker.api.trial_tokens, model)
    return results_of(maker, trial, [shot])[0]


def words_of(result: Result) -> str:
    """What was said of a refusal."""
    return result.refused.words if result.refused else result.message or ""


def calibrated(maker: RequestMaker, load: Load, say: Say) -> RequestMaker:
    """The maker with what the server's own count of two prompts tells of lengths, where it cannot be asked for more.

    With a tokenizer of the user's they tell what the server puts around each, and whether it counts as the server does.
    """
    if maker.facts.exact_lengths or not maker.makes_texts:
        return maker
    say("learning from the server's usage how long prompts are")
    lexicon, trial = maker.lexicon, loads_before(load)[0]
    own = maker.counter()
    # All that a prompt of ours is made of, so that their mean is known; in an order that no cache has seen. Which words
    # are the few is always the same: equal seeds are to send equal bytes.
    order, few_words = random.Random(maker.salt), WORDS[::8]
    few = " ".join(order.sample(few_words, len(few_words)))
    many = " ".join(order.sample(WORDS, len(WORDS)))
    told = []
    for text in (many, few):
        result = tried(maker, trial, Prompt([message(text)], maker.api.trial_tokens))
        if not result.ok or not result.input_tokens:
            return maker
        told.append((len(text.split()), result.input_tokens))
    if own is not None:
        counted, by_server = own(many) - own(few), told[0][1] - told[1][1]
        if abs(counted - by_server) <= SAME_TOKENIZER * by_server:
            return replace(maker, lexicon=lexicon.framed(max(0, told[0][1] - own(many))))
        say(
            f"the tokenizer in {maker.workload.tokenizer} counts {counted} tokens where the server does {by_server}"
        )
        lexicon = Lexicon()
    return replace(maker, lexicon=lexicon.measured(told[1], told[0]))


def results_of(maker: RequestMaker, load: Load, shots: list[Shot]) -> list[Result]:
    """Send those, and wait for what becomes of them. Raises KeyboardInterrupt."""
    ended: list[Result] = []
    trial = Attack(
        resolve(maker.target),
        maker.target.api,
        load,
        iter(shots),
        Hooks(ended.append),
        connections=load.concurrency or 1,
    )
    trial.run()
    if trial.interrupted:
        raise KeyboardInterrupt
    return ended


def loads_before(load: Load) -> tuple[Load, Load]:
    """PURE: the trial and the warm-up, both within the time limits of the load itself."""
    slots = min(load.concurrency or 1, load.warmup_requests or 1)
    once = Load(
        shape="concurrency",
        concurrency=slots,
        timeout_s=load.timeout_s,
        stall_timeout_s=load.stall_timeout_s,
        compiled_reader=load.compiled_reader,
    )
    return once.model_copy(
        update={"concurrency": 1, "timeout_s": min(CANARY_TIMEOUT_S, load.timeout_s)}
    ), once


def refusal(maker: RequestMaker, result: Result, model: str | None = None) -> EndpointError | AuthError:
    """The trial's failure as an error; with the model's name where several share the load."""
    where = maker.url + (f" with {model}" if model else "")
    refused = result.refused or Refused(result.message or result.error or "")
    if result.status in (401, 403):
        return AuthError(
            f"{where} refuses the request: HTTP {result.status}.",
            "Give its key: --api-key-file key.txt, or in CORRAL_API_KEY.",
        )
    if result.status == PROXY_WANTS_LOGIN:
        return login_wanted(maker.url)
    if result.status == 429:
        return rate_limited(where, refused.words, refused.retry_after)
    if refused.redirects_to is not None:
        return redirected(where, one_line(refused.redirects_to))
    status = f"HTTP {result.status}: " if result.status not in (0, 200) else ""
    kind = TooLate if result.error in LATE else EndpointError
    return kind(
        f"{where} does not stream an answer: {status}{refused.words.rstrip('.')}.",
        NO_STREAM if result.error == "not_a_stream" else hint_for(result.status, maker),
    )


NO_STREAM = (
    "A stream is text/event-stream, uncompressed: look at the server's settings for streaming, and at what stands"
    " between."
)


def hint_for(status: int, maker: RequestMaker) -> str:
    """What to try after an answer that is no stream."""
    if status == 404 and not maker.is_listed:
        return "Leave --model out to take the first model the server lists."
    if status in (400, 404, 405):
        *most, last = sorted(set(APIS) - {maker.target.api})
        return f"Try another API: --api {', '.join(most)} or {last}."
    if status == TOO_LARGE:
        return "Ask for shorter prompts, or let what stands between take longer ones (nginx: client_max_body_size)."
    if status in STARTING:
        return "Is it still starting? Try again when it is ready, or look at its log."
    return "Look at the server's log."


def record_of(maker: RequestMaker, load: Load, slo: Slo, further: Sequence[str] = ()) -> Run:
    """The first line of the results."""
    return Run(
        target=maker.target.model_copy(update={"headers": names(maker.target.headers)}),
        model=", ".join(each.model for each in maker.target.models) or maker.model,
        load=load.model_copy(update={"trace": ()}),
        workload=maker.workload,
        slo=slo,
        server=maker.facts,
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
        notes=(*notes_of(maker), *further),
    )
