"""The answers that have ended, made into results when there is time, and what they come to."""

from collections import deque
from collections.abc import Callable

from serving.probe.exchange import Answer
from serving.probe.progress import Progress
from serving.probe.run_records import Result

RESULTS_AT_ONCE = 8


class Outcome:
    """Hands each result to its sink; the sockets come first."""

    def __init__(self, sink: Callable[[Result], None]) -> None:
        self._sink = sink
        self._owed: deque[Answer] = deque()
        self.zero_ns = 0
        """The moment that results count from."""
        self.progress = Progress()
        self.unfinished = 0
        self.last_done_us = 0

    def owe(self, answer: Answer) -> bool:
        """Keep an answer that has ended; whether it is the only one, so that somebody must hand it out."""
        self._owed.append(answer)
        return len(self._owed) == 1

    def hand_out(self) -> bool:
        """Hand out a few; whether more are owed."""
        for _ in range(min(RESULTS_AT_ONCE, len(self._owed))):
            self._hand_out(self._owed.popleft())
        return bool(self._owed)

    def hand_out_all(self) -> None:
        """The run is over, and there is time."""
        while self.hand_out():
            pass

    def _hand_out(self, answer: Answer) -> None:
        if answer.failure and answer.failure[0] == "unfinished":
            self.unfinished += 1
            return
        result = answer.result(self.zero_ns)
        self.last_done_us = max(self.last_done_us, result.done_us)
        self.progress.ended(result)
        self._sink(result)
