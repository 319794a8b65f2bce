"""PURE: the traffic that a planned server is to carry, and the machines it takes beside it: what a plan hands on."""

from collections.abc import Iterable, Sequence
from typing import Annotated

from pydantic import AfterValidator, Field

from infra.money import Usd, reckonable
from infra.record import Line, Record
from serving.sizing.traffic import Promise, Traffic

MOST = 10_000
Number = Annotated[int, Field(ge=1, le=MOST, strict=True)]
Times = Annotated[float, Field(gt=0), AfterValidator(reckonable)]


class OfKind(Record):
    """What is predicted of each machine of one kind, filled as far as the promise says."""

    requests_at_once: Annotated[int, Field(ge=1, strict=True)]
    """That each of its servers takes on at most."""
    ttft_s: Annotated[float, Field(ge=0), AfterValidator(reckonable)]
    """That so many of a hundred requests as the promise names do not exceed, simulated."""
    tpot_s: Annotated[float, Field(ge=0), AfterValidator(reckonable)]
    """The same between two tokens of an answer."""
    basis: Line
    """What its speed is taken from."""


class Machines(Record):
    """So many machines of one kind."""

    name: Line
    """The EC2 type, or COUNTxGPU."""
    count: Number
    """How many."""
    servers: Number
    """Replicas on each."""
    times: Times
    """What one of them carries, over what the planned replica carries."""
    usd_per_hour: Annotated[Usd, Field(gt=0), AfterValidator(reckonable)] | None = None
    """Of each, where the user said it."""
    predicted: Annotated[OfKind | None, Field(exclude_if=lambda said: said is None)] = None
    """Of machines beside which there are others of another kind; a plan of before it was kept has none."""


class Predicted(Record):
    """What is predicted of the machines at their peak, the spare ones left out."""

    carries_requests_per_s: Times
    """That they carry together, filled as far as the promise says."""
    at_worst_requests_per_s: Annotated[float, Field(ge=0), AfterValidator(reckonable)]
    """The same if the speed is at the bad end of its band."""
    ttft_s: Annotated[float, Field(ge=0), AfterValidator(reckonable)] | None = None
    """That so many of a hundred requests as the promise names do not exceed, simulated; null where none were.

    Of several kinds of machines, those of the kind on which they wait the longest.
    """
    tpot_s: Annotated[float, Field(ge=0), AfterValidator(reckonable)] | None = None
    """The same between two tokens of an answer."""


class Carried(Record):
    """A traffic, and the machines that carry it together, the spare ones included."""

    traffic: Traffic
    """What they carry."""
    machines: tuple[Machines, ...] = Field(min_length=1)
    """Of each kind."""
    spare_machines: int = Field(default=0, ge=0, le=MOST)
    """Of these, whose loss is borne."""
    missing_requests_per_s: Annotated[float, Field(ge=0), AfterValidator(reckonable)] = 0.0
    """Of the peak, where machines that are there do not carry all of it."""
    are_there: Annotated[bool, Field(exclude_if=lambda there: not there)] = False
    """Whether the user said that they have them: a price an hour of these is paid in every hour of a month."""
    promise: Annotated[Promise | None, Field(exclude_if=lambda said: said is None)] = None
    """What is promised to the requests; a plan of before it was kept has none."""
    predicted: Annotated[Predicted | None, Field(exclude_if=lambda said: said is None)] = None
    """What is predicted of the peak; a plan of before it was kept has none."""

    @property
    def count(self) -> int:
        """All machines."""
        return sum(each.count for each in self.machines)

    @property
    def servers(self) -> int:
        """All replicas."""
        return sum(each.count * each.servers for each in self.machines)

    @property
    def are_alike(self) -> bool:
        """Whether all are of one kind."""
        return len(self.machines) == 1

    def serving(self, spares: int) -> tuple[Machines, ...]:
        """The machines without so many spare ones, which are the largest; none where all are spare."""
        left = list(self.machines)
        for index in sorted(range(len(left)), key=lambda index: -left[index].times):
            gone = min(spares, left[index].count)
            spares -= gone
            # A count of 0, which no document has, is left out below.
            left[index] = left[index].model_copy(update={"count": left[index].count - gone})
        return tuple(each for each in left if each.count)

    def __str__(self) -> str:
        """The machines as they are counted."""
        return counted(self.machines)


def counted(machines: Iterable[Machines]) -> str:
    """So many of each kind, in words."""
    return " + ".join(f"{each.count}x {each.name}" for each in machines)


def mean_times(machines: Sequence[Machines]) -> float:
    """What one of these carries on average, over what the planned replica carries; of at least one."""
    return sum(each.count * each.times for each in machines) / sum(each.count for each in machines)


def one_of(carried: Carried) -> str:
    """That a plan is one server of several, for who starts it; empty where it is the only one."""
    if carried.servers == 1:
        return ""
    equal = "equal " if carried.are_alike else ""
    spare = f", {carried.spare_machines} spare" if carried.spare_machines else ""
    peak = f"{carried.traffic.peak_requests_per_s:.3g} requests/s at peak"
    return f"This is one of {carried.servers:,} {equal}servers that the plan counts on: {carried}{spare}, for {peak}."
