"""PURE: whether a run may be used, and what its reader must know."""

from serving.probe.buffering import STEP_TOKENS
from serving.probe.bursts import ENGINE_FACTOR
from serving.probe.report import Client
from serving.probe.run_records import Ending, Run
from serving.probe.samples import Samples
from serving.probe.spoiled import Cause

# Above this share of a core the probe is its own bottleneck: nothing is left for a burst.
BUSY_FRACTION = 0.90
# A clock or a schedule that is off by more than this, and by more than this share of the median TTFT, spoils figures.
LATE_S, LATE_SHARE = 0.010, 0.10
# Chunks whose stamp is only an upper bound because the probe came late.
LATE_FRACTION = 0.05
PROMPT_FRACTION = 0.3
COUNTERS_AGREE = 0.005
TIMELINE_AGREES = 0.005
COLD_HIT_RATE = 0.05
SEVERAL = 1.5
"""Tokens a chunk that are worth a word."""


def reasons_to_reject(
    run: Run, client: Client, samples: Samples, ttft_p50_s: float
) -> tuple[tuple[Cause, str], ...]:
    """Why the figures must not be used, each reason with its kind; none when they may."""
    output = sum(samples.output_tokens)
    limit_s = max(LATE_S, LATE_SHARE * ttft_p50_s)
    # Short answers say nothing where the probe came late: tokens that came one by one within that time look alike.
    is_buffered = samples.is_buffered and (samples.can_tell > 0 or client.late_fraction < PROMPT_FRACTION)
    rules: tuple[tuple[Cause, bool, str], ...] = (
        ("buffered", is_buffered, buffered_words(samples) if is_buffered else ""),
        (
            "client",
            client.cpu_fraction > BUSY_FRACTION,
            f"the probe itself was the bottleneck: {client.cpu_fraction:.0%} of a core; use --processes",
        ),
        (
            "client",
            run.load.is_open and client.late_sends_p99_s > limit_s,
            f"requests were sent late: p99 {client.late_sends_p99_s * 1e3:.1f} ms after their time",
        ),
        (
            "client",
            client.stamps == "user" and client.p99_lag_s > limit_s,
            f"client-limited: the clock was late, p99 {client.p99_lag_s * 1e3:.1f} ms,"
            " without kernel stamps to correct it",
        ),
        (
            "client",
            # Events that came together are late together, whoever reads them.
            client.late_fraction > LATE_FRACTION and not is_buffered and samples.in_bursts is False,
            f"client-limited: {client.late_fraction:.0%} of the chunks were read late, together with later ones",
        ),
        (
            "clock",
            samples.clock_fell,
            "this machine's clock was set back meanwhile: chunks seem to have come before those before them",
        ),
        (
            "sockets",
            "client_limit" in samples.errors,
            "this machine has no more sockets or ports for it",
        ),
        (
            "tokens",
            abs(samples.timeline_tokens - output) > TIMELINE_AGREES * output,
            f"the chunks of the answers hold {samples.timeline_tokens:,.0f} output tokens, but their totals are"
            f" {output:,}: no rate over time can be right",
        ),
    )
    return tuple((cause, reason) for cause, applies, reason in rules if applies)


def buffered_words(samples: Samples) -> str:
    """That answers were buffered on the way, and how they came."""
    buffered, of = samples.told
    came = (
        f"in bursts, {bursts_words(samples)}{engine_words(samples)}"
        if samples.in_bursts
        else "in one or few bursts"
    )
    return f"buffered on the way: {buffered} of {of} answers came {came}, so TTFT, TPOT and ITL are not the server's"


def engine_words(samples: Samples) -> str:
    """What the engine says of its own gaps, where it does."""
    gap_s = samples.engine_gap_s
    return f" (the engine's own ITL: {gap_s * 1e3:.1f} ms)" if gap_s else ""


def warnings(run: Run, client: Client, samples: Samples, ending: Ending, output: float) -> tuple[str, ...]:
    """What does not spoil the run but must be read with it."""
    sent, ok = samples.sent, samples.succeeded
    rules = (
        (
            ending.interrupted and not ending.cut,
            "the run was interrupted; figures are of what was measured until then",
        ),
        (
            ending.cut,
            f"the last line of the results was cut; figures are of the {sent} complete requests before it",
        ),
        (
            any(side.gave_up for side in ending.clients),
            f"the run was ended early: nobody got a byte for {run.load.silence_limit_s:g} s, so the server hangs; if it"
            " is only slow, raise --stall-timeout-s",
        ),
        (ok < sent, f"{sent - ok} of {sent} requests failed{uncompared(ending.counted)}"),
        (ok == 0, "no request succeeded"),
        (
            client.stamps == "user",
            "times were taken by this process, not by the kernel: they include the probe's own lag",
        ),
        (
            client.stamps == "kernel" and client.p99_lag_s > LATE_S,
            f"the probe was kept from its core (lag p99 {client.p99_lag_s * 1e3:.1f} ms); kernel stamps correct for it",
        ),
        (
            samples.resent > 0,
            f"{samples.resent} requests were sent again on a new connection, since the kept one died before a byte of"
            " an answer: the server closes connections without saying so; their times are from the first sending",
        ),
        (
            samples.without_usage > 0,
            "the server gave no usage for some requests: their chunks are counted as tokens",
        ),
        (
            samples.disbelieved > 0,
            f"the server counted 0 output tokens of {samples.disbelieved} answers with text: their chunks are counted"
            " as tokens",
        ),
        (
            samples.unclear_counts > 0,
            f"the server's counts of {samples.unclear_counts} answers, one with each chunk and none for all, are taken"
            " for totals; if each is its chunk's own, there were several times as many tokens",
        ),
        (
            samples.split_tokens > 0,
            f"{samples.split_tokens} of {ok} answers have more chunks than the server counted tokens: it cuts tokens,"
            " or its usage is too low",
        ),
        (
            samples.short_outputs > 0,
            f"{samples.short_outputs} of {ok} answers are shorter than asked (finish reasons:"
            f" {', '.join(f'{name} {count}' for name, count in sorted(samples.finish_reasons.items()))})",
        ),
        (
            samples.in_bursts is None,
            f"tokens come in bursts, {bursts_words(samples)}: several tokens a step, each sent by itself, or collected"
            " on the way; a probe of the server itself tells which",
        ),
        (
            is_collected(samples),
            f"chunks hold {samples.tokens_a_chunk:.1f} tokens on average{engine_words(samples)}: the server collects"
            " them (vLLM: --stream-interval), or a gateway does; a probe of the server itself tells which",
        ),
        (
            samples.long_outputs > 0,
            f"the server counted more output tokens than asked for in {samples.long_outputs} of {ok} answers: hidden"
            " reasoning, or a count that is not to be believed; TPOT and tokens/s take it as it is",
        ),
        (
            any(samples.hidden_tokens),
            f"{sum(samples.hidden_tokens):,} of {sum(samples.output_tokens):,} output tokens are reasoning that was"
            " counted and not sent: tokens/s holds it, TTFT its time; TPOT and ITL are of what was sent",
        ),
        (
            ending.fell,
            "the server's own counters fell: it began anew during the run, or several servers answer at its address;"
            " nothing is taken from them",
        ),
        *counter_warnings(run, samples, ending.counted, output),
    )
    return tuple(text for applies, text in rules if applies)


def bursts_words(samples: Samples) -> str:
    """How many events come at once, and how often."""
    bursts = samples.bursts
    return f"{bursts.events:.1f} events every {bursts.period_s * 1e3:.0f} ms" if bursts.answers else ""


def is_collected(samples: Samples) -> bool:
    """Whether chunks hold more tokens than an engine makes in a step."""
    gap_s, chunks = samples.engine_gap_s, samples.chunks - samples.succeeded
    if samples.tokens_a_chunk < 2 or chunks < 1:
        return False
    if gap_s:
        return sum(samples.gaps) / 1e6 / chunks >= ENGINE_FACTOR * gap_s
    return samples.tokens_a_chunk > STEP_TOKENS


def chunk_note(samples: Samples) -> tuple[str, ...]:
    """How many tokens a chunk holds, where it is more than one."""
    tokens = samples.tokens_a_chunk
    return (
        (
            f'chunks hold {tokens:,.1f} tokens on average: ITL is between chunks, and TPOT and "ITL a token" are a'
            " token's",
        )
        if tokens >= SEVERAL
        else ()
    )


def uncompared(counters: dict[str, float]) -> str:
    """That the server's count of tokens says nothing then: it holds those of the failed requests too."""
    known = "generation_tokens" in counters
    return "; the server's count of tokens holds theirs too and was not compared" if known else ""


def counter_warnings(
    run: Run, samples: Samples, counters: dict[str, float], output: float
) -> tuple[tuple[bool, str], ...]:
    """Where the server's own counters say something else."""
    generated = counters.get("generation_tokens")
    queries = counters.get("prefix_cache_queries", 0.0)
    hit_rate = counters.get("prefix_cache_hits", 0.0) / queries if queries else 0.0
    cold = run.workload.prefix_tokens == 0 and run.workload.turns == 1 and run.workload.prompts_file is None
    apart = abs(generated - output) if generated is not None else 0.0
    return (
        (
            generated is not None
            and apart > COUNTERS_AGREE * max(output, 1.0)
            and samples.succeeded == samples.sent,
            f"the server counted {generated or 0:.0f} output tokens, the probe {output:.0f}: is there other traffic?",
        ),
        (
            cold and hit_rate > COLD_HIT_RATE,
            f"{hit_rate:.0%} of the prompt tokens came from the prefix cache although the prompts share nothing",
        ),
    )
