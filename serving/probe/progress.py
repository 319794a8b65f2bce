"""PURE: how a run stands, for the line a person watches."""

from dataclasses import dataclass, field

from serving.probe.run_records import Result

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


def together(parts: list[Progress]) -> Progress:
    """The standing of all processes, as one."""
    return Progress(
        elapsed_s=max(part.elapsed_s for part in parts),
        sent=sum(part.sent for part in parts),
        done=sum(part.done for part in parts),
        failed=sum(part.failed for part in parts),
        in_flight=sum(part.in_flight for part in parts),
        chunks=sum(part.chunks for part in parts),
        chunks_per_s=sum(part.chunks_per_s for part in parts),
        requests_per_s=sum(part.requests_per_s for part in parts),
        ended_chunks=sum(part.ended_chunks for part in parts),
        ended_tokens=sum(part.ended_tokens for part in parts),
        ttft_us=[value for part in parts for value in part.ttft_us],
    )
