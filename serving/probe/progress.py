"""PURE: how a run stands, for the line a person watches."""

from dataclasses import dataclass, field

from serving.probe.results import Result

SHORTEST_LOOK_S = 0.1
"""Rates over less say nothing."""


@dataclass(slots=True)
class Progress:
    """Counts from the start, and rates since the last look."""

    elapsed_s: float = 0.0
    """At the last look, as are the rates."""
    sent: int = 0
    done: int = 0
    failed: int = 0
    in_flight: int = 0
    chunks: int = 0
    chunks_per_s: float = 0.0
    requests_per_s: float = 0.0
    done_before: int = 0
    ended_chunks: int = 0
    """Of the requests that ended; with their tokens it says how many a chunk holds."""
    ended_tokens: int = 0
    ttft_us: list[int] = field(default_factory=list)
    """Of the requests that ended since the last look."""

    def ended(self, result: Result) -> None:
        """Count a request's end."""
        self.done += 1
        self.failed += not result.ok
        if result.ok:
            self.ttft_us.append(result.gaps_us[0])
            self.ended_chunks += len(result.gaps_us)
            self.ended_tokens += result.output_tokens or len(result.gaps_us)

    def look(self, elapsed_s: float, chunks: int, in_flight: int) -> bool:
        """Take the rates since the last look; False, and nothing taken, where that is too short ago."""
        since_s = elapsed_s - self.elapsed_s
        if since_s <= SHORTEST_LOOK_S:
            return False
        self.chunks_per_s = (chunks - self.chunks) / since_s
        self.requests_per_s = (self.done - self.done_before) / since_s
        self.elapsed_s, self.chunks, self.done_before, self.in_flight = (
            elapsed_s,
            chunks,
            self.done,
            in_flight,
        )
        return True


def together(each: list[Progress]) -> Progress:
    """The processes' standing as one."""
    return Progress(
        elapsed_s=max(one.elapsed_s for one in each),
        sent=sum(one.sent for one in each),
        done=sum(one.done for one in each),
        failed=sum(one.failed for one in each),
        in_flight=sum(one.in_flight for one in each),
        chunks=sum(one.chunks for one in each),
        chunks_per_s=sum(one.chunks_per_s for one in each),
        requests_per_s=sum(one.requests_per_s for one in each),
        ended_chunks=sum(one.ended_chunks for one in each),
        ended_tokens=sum(one.ended_tokens for one in each),
        ttft_us=[value for one in each for value in one.ttft_us],
    )
