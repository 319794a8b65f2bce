"""PURE: a request as it is sent, what is known at its end, and the result made from that when there is time."""

from collections.abc import Callable
from dataclasses import dataclass

from serving.probe.results import Result


@dataclass(slots=True)
class Shot:
    """One request, serialised, ready to send."""

    index: int
    request: bytes
    output_asked: int
    input_asked: int | None = None
    scheduled_ns: int | None = None
    """From the start; None in a closed loop."""
    follow: "Callable[[str], Shot | None] | None" = None
    """Makes the conversation's next request from the answer."""


@dataclass(slots=True)
class Outcome:
    """All that is known when a request ends. Made into a Result later, so that the next request need not wait."""

    shot: Shot
    sent_ns: int
    done_ns: int
    connect_us: int | None
    status: int
    failure: tuple[str, str] | None
    stamps_ns: list[int]
    empty: list[tuple[int, bool]]
    """Which chunks held no text, and whether they closed the stream."""
    chunk_tokens: list[int] | None
    usage: tuple[int | None, int | None, int | None]
    chars: int
    finish_reason: str | None
    uncertain: int
    text: str

    def result(self, zero_ns: int) -> Result:
        """The result, with times from the start of the run."""
        zero_us = zero_ns // 1000
        sent_us = self.sent_ns // 1000 - zero_us
        stamps, chunk_tokens = token_chunks(self.stamps_ns, self.chunk_tokens, self.empty, self.usage[1])
        kind, message = self.failure or (None, None)
        return Result(
            index=self.shot.index,
            scheduled_us=sent_us if self.shot.scheduled_ns is None else self.shot.scheduled_ns // 1000,
            sent_us=sent_us,
            done_us=self.done_ns // 1000 - zero_us,
            connect_us=self.connect_us,
            status=self.status,
            error=kind,
            message=message,
            gaps_us=gaps(self.sent_ns, stamps),
            chunk_tokens=chunk_tokens,
            input_asked=self.shot.input_asked,
            input_tokens=self.usage[0],
            output_asked=self.shot.output_asked,
            output_tokens=self.usage[1],
            cached_tokens=self.usage[2],
            output_chars=self.chars,
            finish_reason=self.finish_reason,
            uncertain=self.uncertain,
            empty_chunks=len(self.stamps_ns) - len(stamps),
        )


def gaps(sent_ns: int, stamps_ns: list[int]) -> list[int]:
    """The distance of each stamp from the one before, in microseconds; rounded so that they add up."""
    times_us = [sent_ns // 1000, *(stamp_ns // 1000 for stamp_ns in stamps_ns)]
    return [later - earlier for earlier, later in zip(times_us, times_us[1:], strict=False)]


def token_chunks(
    stamps_ns: list[int], tokens: list[int] | None, empty: list[tuple[int, bool]], output_tokens: int | None
) -> tuple[list[int], list[int] | None]:
    """Leave out the chunks that carried no token, as far as the server's usage tells them from withheld text."""
    told = [*tokens, *[0] * (len(stamps_ns) - len(tokens))] if tokens else None
    if not empty:
        return stamps_ns, told
    drop = empty_to_drop(empty, len(stamps_ns), output_tokens)
    kept = [number for number in range(len(stamps_ns)) if number not in drop]
    return [stamps_ns[number] for number in kept], told and [told[number] for number in kept]


def empty_to_drop(empty: list[tuple[int, bool]], chunks: int, output_tokens: int | None) -> set[int]:
    """Which empty chunks held no token.

    A token may show no text yet (half a UTF-8 character), and a closing chunk may hold the end token or nothing.
    Only the server's token count tells: all empty chunks are tokens when it needs them all; else the closing ones
    are not; else none is.
    """
    everything = {number for number, _ in empty}
    closing = {number for number, closes in empty if closes}
    if output_tokens is None:
        return everything
    for drop in (set[int](), closing, everything):
        if chunks - len(drop) == output_tokens:
            return drop
    return closing if chunks - len(closing) <= output_tokens else everything
