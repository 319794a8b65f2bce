# Also a file of hosts: see infra/host_files.py.
"""PURE: what to do about a server, from what was seen of it over time, and whether it is started once more.

The same file judges on this machine and beside a host's unit, so it takes the standard library alone. Every time is in
seconds by a clock that nobody sets. Any signal that moves is progress: a prompt of 250,000 tokens held every counter of
tokens still for 97 s while the KV cache filled (vLLM 0.32.0, measured 2026-11-28).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

Answer = Literal["ok", "slow", "hang", "error", "refuse"]
"""How a question ended: rightly, rightly but late, not in time, with anything else, or without a connection."""
RIGHT = ("ok", "slow")
Kind = Literal[
    "well", "lame", "busy", "denied", "loading", "late", "dead", "deaf", "frozen", "hung", "blind", "failing"
]  # fmt: skip
Action = Literal["leave", "wait", "restart"]

GENERATED = "vllm:generation_tokens_total"
SIGNALS = (
    GENERATED,
    "vllm:prompt_tokens_total",
    "vllm:kv_cache_usage_perc",
    "vllm:num_requests_running",
    "vllm:num_requests_waiting",
    "vllm:iteration_tokens_total_count",
)
"""What the engine says of its own work. What its front counts, requests that came or were given up say, moves in front
of a dead engine too."""

ALIVE: tuple[Kind, ...] = ("well", "lame", "busy", "denied", "loading")
"""What is no ground to end a server, however long it lasts; but for `loading`, which has a budget."""

STATES: Mapping[Kind, Literal["serving", "degraded", "starting", "dead", "hung"]] = {
    "well": "serving",
    "lame": "degraded",
    "busy": "degraded",
    "denied": "degraded",
    "loading": "starting",
    "late": "hung",
    "dead": "dead",
    "deaf": "hung",
    "frozen": "hung",
    "hung": "hung",
    "blind": "degraded",
    "failing": "degraded",
}
WORDS: Mapping[Kind, str] = {
    "well": "it answered a completion",
    "lame": "it completes, but /health or /v1/models does not answer as it should",
    "busy": "a completion of one token does not come, while others' work moves on",
    "denied": "it refuses the key it was started with",
    "loading": "it does not listen yet",
    "late": "it was not ready within its load budget",
    "dead": "/health says that the engine behind it has died",
    "deaf": "it takes no connection any more",
    "frozen": "it takes connections and answers nothing",
    "hung": "/health answers 200, but a completion of one token does not come",
    "blind": "a completion of one token does not come, and its metrics do not say whether anything moves",
    "failing": "its completions fail",
}


class Policy(NamedTuple):
    """How long each ill is borne without a sign of life, and how often a server is started again."""

    look_every_s: float = 30.0
    look_again_s: float = 5.0
    """After a look that found it ill."""
    looks: int = 2
    """No single look ends a server."""
    most_gap_s: float = 60.0
    """What counts between two looks at most: whoever looks may itself have been stopped for hours."""
    dead_s: float = 5.0
    """vLLM never takes back a 503 of /health."""
    deaf_s: float = 30.0
    """A process that closed its port is ending, which takes the real engine 8 s; or it never will."""
    frozen_s: float = 60.0
    """Reading 50 MB of a prompt kept the real one from answering /health for under 3 s."""
    still_s: float = 35.0
    """Completions hang and no signal moves: with two looks of 15 s it is ended within 70 s of the hang."""
    blind_s: float = 180.0
    """The same where nobody says what moves: twice the longest that healthy counters stood still."""
    failing_s: float = 180.0
    """Others are answered wrongly too, but perhaps not all."""
    unready_s: float = 30.0
    """At a start: it listens, so its engine has loaded, and yet it answers wrongly or as another's server."""
    unready_hang_s: float = 300.0
    """At a start: the first completion may compile; vLLM itself gives one step of several GPUs so long."""
    load_s: float = 600.0
    """For its whole start, as reckoned from its weights; vLLM's own default."""
    service_s: float = 3600.0
    """After so long a service what failed before is forgotten."""
    most_loads: int = 3
    """Starts without that service between that did not get ready, however long each took: a fourth would not either."""
    most_ends: int = 10
    """Ends of any kind without that service between: what gets ready may have met ten bad requests."""
    first_delay_s: float = 10.0
    longest_delay_s: float = 300.0
    """Delays double from the one to the other, as GPUStack's do (its source, read 2026-08-21)."""
    jitter: float = 0.2
    """The part of a delay that is drawn, so that the servers of a host do not all load at once."""
    gpu_s: float = 900.0
    """How long after the boot a GPU that is not there may yet appear."""


class Look(NamedTuple):
    """What one look found."""

    at_s: float
    """When it ended."""
    health: Answer
    models: Answer
    """`error` where the name it should serve is not listed."""
    metrics: Answer
    completion: Answer
    readings: Sequence[Mapping[str, float]] = ()
    """What /metrics said, in the order it was asked: see `signals`."""
    is_denied: bool = False
    """Whether the completion failed for the key, which is no fault of the server's."""


class Memory(NamedTuple):
    """What is kept of the looks so far at one life of a server; a new one begins empty."""

    was_ready: bool = False
    seen: Mapping[str, float] | None = None
    at_s: float | None = None
    age_s: float = 0.0
    quiet_s: float = 0.0
    """Since the last sign of life."""
    ill_looks: int = 0
    """Since then."""


class Verdict(NamedTuple):
    """What it is, what to do, and how long there was no sign of life."""

    kind: Kind
    action: Action
    quiet_s: float


class Ends(NamedTuple):
    """How often a server ended since it last served for long."""

    loads: int = 0
    """Those before it was ready."""
    all: int = 0


def signals(values: Mapping[str, float]) -> dict[str, float]:
    """What moves, of the values of /metrics summed over their labels; what is no number never moved."""
    return {name: values[name] for name in SIGNALS if name in values and math.isfinite(values[name])}


def judge(memory: Memory, look: Look, policy: Policy) -> tuple[Verdict, Memory]:
    """The verdict after one more look, and what to remember."""
    passed_s = 0.0 if memory.at_s is None else min(look.at_s - memory.at_s, policy.most_gap_s)
    age_s = memory.age_s + passed_s
    kind = kind_of(memory, look)
    serves = kind == "well" or serves_others(memory, look)
    if not memory.was_ready and not serves and age_s >= policy.load_s:
        kind = "late"
    is_alive = kind in ALIVE
    quiet_s = 0.0 if is_alive else memory.quiet_s + passed_s
    ill_looks = 0 if is_alive else memory.ill_looks + 1
    is_over = ill_looks >= policy.looks and quiet_s >= patience_s(kind, memory.was_ready, policy)
    action: Action = "restart" if is_over or kind == "late" else "wait" if needs_patience(kind) else "leave"
    kept = Memory(
        was_ready=memory.was_ready or serves,
        seen=next((reading for reading in reversed(look.readings) if reading), memory.seen),
        at_s=look.at_s,
        age_s=age_s,
        quiet_s=quiet_s,
        ill_looks=ill_looks,
    )
    return Verdict(kind, action, quiet_s), kept


def is_hang(kind: Kind) -> bool:
    """Whether it is there, and does nothing."""
    return kind in ("deaf", "frozen", "hung", "blind")


def needs_patience(kind: Kind) -> bool:
    """Whether it is to become something else in time."""
    return kind == "loading" or kind not in ALIVE


def kind_of(memory: Memory, look: Look) -> Kind:
    """What it is, by this look and what moved since the last. A right completion proves more than all else."""
    kind = kind_of_wrong(memory, look) if look.completion not in RIGHT else kind_of_right(look)
    # Before it was ever ready, what answers so may be another's server, and never becomes ours.
    return "failing" if kind in ("lame", "denied") and not memory.was_ready else kind


def kind_of_right(look: Look) -> Kind:
    """What it is that completes."""
    return "well" if look.health in RIGHT and look.models in RIGHT else "lame"


def kind_of_wrong(memory: Memory, look: Look) -> Kind:
    """What it is whose completion did not come, or was none."""
    if look.health == "refuse" and not memory.was_ready:
        return "loading"
    if look.is_denied:
        return "denied"
    if moved(memory, look, SIGNALS if look.completion == "hang" else (GENERATED,)):
        return "busy"
    if look.health == "error":
        return "dead"
    if look.completion == "error":
        return "failing"
    if look.health == "refuse":
        return "deaf"
    if look.health == "hang":
        return "frozen"
    if look.completion == "refuse":
        return "failing"
    return "hung" if any(look.readings) else "blind"


def moved(memory: Memory, look: Look, names: Sequence[str]) -> bool:
    """Whether one of these signals changed during the look, or since the last.

    Where completions fail outright, requests that come and go do not count: only tokens that somebody gets.
    """
    readings = [reading for reading in (memory.seen, *look.readings) if reading]
    return any(
        before.get(name) != after.get(name)
        for before, after in zip(readings, readings[1:], strict=False)
        for name in names
    )


def serves_others(memory: Memory, look: Look) -> bool:
    """Whether our completion waits behind those of others, who get theirs: all come at once to one that starts anew."""
    is_in_line = look.completion == "hang" and look.health in RIGHT and look.models in RIGHT
    return is_in_line and moved(memory, look, (GENERATED,))


def patience_s(kind: Kind, was_ready: bool, policy: Policy) -> float:
    """How long that is borne."""
    starting, serving = {
        "dead": (policy.dead_s, policy.dead_s),
        "deaf": (math.inf, policy.deaf_s),
        # What stands between takes connections for it long before it listens: a tunnel.
        "frozen": (math.inf, policy.frozen_s),
        "hung": (policy.unready_hang_s, policy.still_s),
        "blind": (policy.unready_hang_s, policy.blind_s),
        "failing": (policy.unready_s, policy.failing_s),
    }.get(kind, (math.inf, math.inf))
    return serving if was_ready else starting


def ended(ends: Ends, served_s: float | None, policy: Policy) -> Ends:
    """The count after one more end: of a server that served so long, None for one that did not get ready."""
    if served_s is not None and served_s >= policy.service_s:
        ends = Ends()
    return Ends(ends.loads + (served_s is None), ends.all + 1)


def delay_s(ends: Ends, drawn: float, policy: Policy) -> float | None:
    """How long to wait before the next start; None to give up. `drawn` is a chance from 0 to 1."""
    if ends.loads >= policy.most_loads or ends.all >= policy.most_ends:
        return None
    doublings = min(max(ends.all - 1, 0), 30)
    whole_s = min(policy.first_delay_s * (1 << doublings), policy.longest_delay_s)
    return whole_s * (1 - policy.jitter * drawn)


def gave_up(ends: Ends, policy: Policy) -> str:
    """In words, why it is not started again."""
    if ends.loads >= policy.most_loads:
        return f"{ends.loads} starts that did not get ready, without an hour of service between"
    return f"{ends.all} ends without an hour of service between"
