"""Every call to AWS goes through here: retries that never make a thing twice, and the ledger before and after."""

import math
import random
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from infra import deadline
from infra.aws.failures import ApiFailure, LostResponse, Refused, kind_of, plain_code
from infra.aws.ledger import Ledger
from infra.aws.request import Request
from infra.aws.unsent import LOST, NOT_AWS, UNREACHABLE
from infra.errors import HostError
from infra.wait import Pace

Answer = dict[str, Any]

RETRIED = ("throttle", "server", "lost", "eventual")
RETRY_FOR_S = 120.0
EVENTUAL_FOR_S = 60.0
EVENTUAL_WAIT_S = 8.0
ASK_FOR_S, ASK_WITHIN_S = 5.0, 20.0
FIRST_ANSWER_FOR_S = 1.0
FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 15.0

# Neither a client token nor a name makes these the same call when they are sent again.
NEVER_REPEATED = ("PurchaseCapacityBlock",)


class Transport(Protocol):
    """Sends one request, once. Raises ApiFailure or LostResponse."""

    def send(self, request: Request) -> Answer:
        """Send it and return the answer."""
        ...


@dataclass
class Aws:
    """AWS as the rest of corral sees it."""

    transport: Transport
    ledger: Ledger | None = None
    """Without one, only reads are allowed."""
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.time
    say: Callable[[str], None] = field(default=lambda text: None)
    """Where progress goes."""
    answered: bool = False
    """Whether AWS was ever reached: until then no route is no hiccup to wait out."""

    @property
    def folder(self) -> Path:
        """The deployment's own folder."""
        assert self.ledger is not None
        return self.ledger.path.parent

    def now(self) -> datetime:
        """The time, to the second."""
        return datetime.fromtimestamp(int(self.clock()), UTC)

    def pace(self, within_s: float, every_s: float) -> Pace:
        """How long to wait for something there, and how often to look."""
        return Pace(within_s, every_s, self.sleep, self.clock)

    def call(self, request: Request) -> Answer:
        """Send a request, again when that is safe and may help. Raises Refused when it comes to nothing."""
        if not request.changes:
            return self.insist(request)
        if self.ledger is None:
            raise AssertionError(f"{request.operation} changes something and there is no ledger")
        number = 0
        with excused(request):
            number = self.ledger.intend(request, self.now())
        try:
            answer = self.insist(request)
        except Refused as refused:
            with excused(request):
                self.ledger.failed(request, number, refused.code, self.now())
            raise
        with excused(request):
            self.ledger.done(request, number, answer, self.now())
        return answer

    def ask(self, request: Request) -> Answer:
        """Send a read that we can do without, not for long. Raises Refused."""
        assert not request.changes
        with deadline.within(ASK_WITHIN_S):
            return self.insist(request, ASK_FOR_S)

    def insist(self, request: Request, retry_for_s: float = RETRY_FOR_S) -> Answer:
        """Send a request until it is answered, refused for good, or the time for retries is over.

        The request stays the same, client token included, so a launch whose answer was lost is not a second launch.
        """
        started, backoff_s = self.clock(), FIRST_WAIT_S
        while True:
            try:
                answer = self.transport.send(request)
                self.answered = True
                return answer
            except ApiFailure as failure:
                code, message = plain_code(failure), failure.message
                self.answered |= code not in (UNREACHABLE, NOT_AWS)
            except LostResponse as lost:
                code, message = LOST, str(lost)
            eventual = kind_of(code) == "eventual"
            wait_s = EVENTUAL_WAIT_S if eventual else backoff_s
            patience_s = EVENTUAL_FOR_S if eventual else retry_for_s
            if code in (UNREACHABLE, NOT_AWS) and not self.answered:
                patience_s = FIRST_ANSWER_FOR_S
            over = self.clock() + wait_s - started > patience_s or wait_s > deadline.left_s(math.inf)
            if kind_of(code) not in RETRIED or over or request.operation in NEVER_REPEATED:
                raise Refused(request, code, message)
            # Full jitter keeps several of us from coming back at the same moment.
            self.sleep(wait_s * random.uniform(0.5, 1.0))
            backoff_s = min(2 * backoff_s, LONGEST_WAIT_S)

    def pages(self, request: Request, key: str, retry_for_s: float = RETRY_FOR_S) -> Iterator[Any]:
        """The items under one key of every page of a listing."""
        assert not request.changes
        while True:
            answer = self.insist(request, retry_for_s)
            yield from answer.get(key, [])
            following = answer.get("NextToken")
            if not following:
                return
            request = request.model_copy(update={"parameters": request.parameters | {"NextToken": following}})


def excused(request: Request) -> AbstractContextManager[None]:
    """A disk that is full must not keep a machine alive: what takes away is done without its line in the ledger."""
    return suppress(HostError) if request.removes else nullcontext()
