"""PURE: whether what stands between server and probe held an answer back, so that its text came in bursts.

Three signs of an answer, each of which no engine has that streams, several tokens a step among them (what only many
answers together show is in serving/probe/bursts.py):

- All of it came at once, at its very end, although its tokens had time to be made one by one.
- Its bursts end in the middle of an event, and the rest comes with the next burst: a buffer was full. Measured behind
  nginx 1.22 with proxy_buffering on, before a server that ends its answer by closing: bursts of 4 KiB or 16 KiB.
- Many more chunks came at once, again and again, than an engine makes in a step.

The probe's own pauses look alike, so it says how long before a read it had last looked at its sockets: what came within
that time may have come one by one.
"""

from serving.probe.run_records import Result

FEWEST_TOKENS = 16
"""Shorter answers say nothing: they may be one step of an engine."""
FEWEST_IN_ONE_EVENT = 32
"""The same for one that came as a few events."""
FEWEST_OF_SHORT = 3
SHORT_TTFT_S = 0.040
"""Where all answers are shorter: so many events at once, each of one token and so long after the request, are no
engine's. The first is of the step that read the prompt, the others took at least one step more."""
FASTEST_S = 0.0005
"""A token. No answer that came faster had to wait for anybody; faster than what is measured of any engine for one user
is what came at once."""
AT_ONCE_S = 0.0002
END_SHARE = 0.95
STEP_TOKENS = 16
"""The most that an engine makes in a step, by several steps at a time or by speculation."""
CHUNKS_A_BURST = 4
PAUSE_NS = 5_000_000
"""What follows a cut sooner was in the same burst, and cut by the network."""


def can_tell(result: Result, tokens: int) -> bool:
    """Whether the answer is long enough to tell."""
    return tokens >= (FEWEST_TOKENS if len(result.gaps_us) > STEP_TOKENS // 2 else FEWEST_IN_ONE_EVENT)


def is_short(result: Result, tokens: int) -> bool:
    """Whether it can tell where no longer one is there."""
    return FEWEST_OF_SHORT <= tokens == len(result.gaps_us)


def came_at_once(result: Result, tokens: int) -> bool:
    """Whether all of a succeeded answer came at its end, although its tokens had time to be made one by one."""
    ttft_s, span_s = result.gaps_us[0] / 1e6, sum(result.gaps_us[1:]) / 1e6
    return (
        span_s <= AT_ONCE_S * tokens
        and ttft_s >= END_SHARE * (ttft_s + span_s)
        and ttft_s >= max(FASTEST_S * tokens, 1.5 * result.unwatched_us / 1e6)
    )


def short_came_at_once(result: Result, tokens: int) -> bool:
    """The same of a short answer."""
    return result.gaps_us[0] >= SHORT_TTFT_S * 1e6 and came_at_once(result, tokens)


def is_buffered(result: Result, tokens: int) -> bool:
    """Whether a succeeded answer of that many tokens, long enough to tell, has one of the signs."""
    if came_at_once(result, tokens):
        return True
    span_s, unwatched_s = sum(result.gaps_us[1:]) / 1e6, result.unwatched_us / 1e6
    bursts = 1 + sum(gap_us > 0 for gap_us in result.gaps_us[1:])
    if result.cuts and 2 * result.cuts >= bursts - 1 and len(result.gaps_us) >= CHUNKS_A_BURST * bursts:
        return True
    return bursts > 1 and len(result.gaps_us) > STEP_TOKENS * bursts and span_s >= 2 * bursts * unwatched_s
