"""PURE: whether a run may be used, and what its reader must know."""

from serving.probe.report import Client
from serving.probe.run_records import Ending, Run
from serving.probe.samples import Samples

# Above this share of a core the probe is its own bottleneck: nothing is left for a burst.
BUSY_FRACTION = 0.90
# A clock or a schedule that is off by more than this, and by more than this share of the median TTFT, spoils figures.
LATE_S, LATE_SHARE = 0.010, 0.10
# Chunks whose stamp is only an upper bound because the probe came late.
LATE_FRACTION = 0.05
COUNTERS_AGREE = 0.005
TIMELINE_AGREES = 0.005
COLD_HIT_RATE = 0.05


def reasons_to_reject(run: Run, client: Client, samples: Samples, ttft_p50_s: float) -> tuple[str, ...]:
    """Why the figures must not be used; none when they may."""
    output = sum(samples.output_tokens)
    limit_s = max(LATE_S, LATE_SHARE * ttft_p50_s)
    rules = (
        (
            client.cpu_fraction > BUSY_FRACTION,
            f"the probe itself was the bottleneck: {client.cpu_fraction:.0%} of a core; use --processes",
        ),
        (
            run.load.is_open and client.late_sends_p99_s > limit_s,
            f"requests were sent late: p99 {client.late_sends_p99_s * 1e3:.1f} ms after their time",
        ),
        (
            client.stamps == "user" and client.p99_lag_s > limit_s,
            f"client-limited: the clock was late, p99 {client.p99_lag_s * 1e3:.1f} ms,"
            " without kernel stamps to correct it",
        ),
        (
            client.late_fraction > LATE_FRACTION and not samples.is_buffered,
            f"client-limited: {client.late_fraction:.0%} of the chunks were read late, together with later ones",
        ),
        (
            samples.is_buffered,
            f"buffered on the way: {samples.buffered} of {samples.can_tell} answers came in one or few bursts, so TTFT,"
            " TPOT and ITL are not the server's. Look at what stands between: nginx (proxy_buffering off, or the header"
            " X-Accel-Buffering: no), a gateway or load balancer that collects or compresses answers",
        ),
        (
            "client_limit" in samples.errors,
            "this machine has no more sockets or ports for it",
        ),
        (
            abs(samples.timeline_tokens - output) > TIMELINE_AGREES * output,
            f"the chunks of the answers hold {samples.timeline_tokens:,.0f} output tokens, but their totals are"
            f" {output:,}: no rate over time can be right",
        ),
    )
    return tuple(reason for applies, reason in rules if applies)


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
        (ok < sent, f"{sent - ok} of {sent} requests failed{uncompared(ending.counters)}"),
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
            samples.split_tokens > 0,
            f"{samples.split_tokens} of {ok} answers have more chunks than the server counted tokens: it cuts tokens,"
            " or its usage is too low",
        ),
        (
            samples.short_outputs > 0,
            f"{samples.short_outputs} of {ok} answers are shorter than asked (finish reasons:"
            f" {', '.join(f'{name} {count}' for name, count in sorted(samples.finish_reasons.items()))})",
        ),
        *counter_warnings(run, samples, ending.counters, output),
    )
    return tuple(text for applies, text in rules if applies)


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
