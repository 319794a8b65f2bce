"""PURE: the slow ones of a hundred requests: a choice is simulated at the planned peak, and takes what they need."""

from infra.catalog import machine
from serving.sizing.capacity import Choice, Question, Tail
from serving.sizing.capacity_load import MOST_MACHINES, monthly, options_of, per_s
from serving.sizing.server_sizes import ServerSizes
from serving.sizing.sized_model import named
from serving.sizing.tail_run import broken


def simulated(
    question: Question, choice: Choice, sizes: ServerSizes | None = None, at_most: int | None = None
) -> Choice:
    """The choice with its tail, on as many machines as that takes; or why no number of them keeps the promise.

    Where it takes more than `at_most` it is sought no further: the choice is on one more, without a tail.
    """
    replica = Replica(question, choice, sizes or ServerSizes(question.promise, question.traffic))
    most = None if at_most is None else max(at_most, choice.machines)
    if most and replica.breaks_on(most):
        return on(choice, most + 1, None)
    machines = fewest(replica, choice.machines, most)
    if machines is None:
        why = f"however many: {replica.broken_on(choice.machines)}"
        return choice.model_copy(update={"feasible": False, "why": why})
    return on(choice, machines, replica.tail(machines))


def at_worst_simulated(
    question: Question, choice: Choice, sizes: ServerSizes | None = None, at_most: int | None = None
) -> Choice:
    """The choice with as many machines at worst as slow requests take then, each started as it is planned.

    Where they are more than `at_most` they are sought no further: they are one more.
    """
    worst = choice.at_worst
    if worst is None or not question.promise.is_made_to(question.traffic):
        return choice
    sizes = sizes or ServerSizes(question.promise, question.traffic)
    replica = Replica(question, choice, sizes, at_worst=True)
    most = None if at_most is None else max(at_most, worst.machines)
    machines = most + 1 if most and replica.breaks_on(most) else fewest(replica, worst.machines, most)
    if machines is None:
        return choice.model_copy(update={"at_worst": None})
    more = {"machines": machines, "usd_per_month": monthly(choice.usd_per_hour, machines)}
    return choice.model_copy(update={"at_worst": worst.model_copy(update=more)})


def fewest(replica: "Replica", at_least: int, keep_it: int | None = None) -> int | None:
    """The fewest machines, from so many on, that keep the promise to slow requests too; None for no number of them.

    `keep_it` are known to.
    """
    if not replica.breaks_on(at_least):
        return at_least
    spare, low, high = replica.question.promise.spare_machines, at_least, at_least
    while high != keep_it and replica.breaks_on(high):
        low, high = high, spare + 2 * (high - spare)
        if high > MOST_MACHINES or high > spare + MOST_IDLE * (at_least - spare):
            return None
        high = min(high, keep_it or high)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if replica.breaks_on(middle) else (low, middle)
    return high


MOST_IDLE = 16
"""What is not kept by so many times the machines, each with so much less to do, is kept by none."""
FINE = 0.01
"""To what share of a machine's load it is sought how far it may be filled."""


def filled(question: Question, choice: Choice, sizes: ServerSizes | None = None) -> Choice:
    """The choice of a machine that is there, with its tail, filled no further than slow requests keep the promise too.

    Where they do not even when a MOST_IDLEth of the load comes it carries nothing.
    """
    replica = Replica(question, choice, sizes or ServerSizes(question.promise, question.traffic))
    full = question.promise.fill * choice.requests_per_s
    share = most_filled(replica, full)
    if share is None:
        why = f"however few: {replica.broken_at(full / MOST_IDLE)}"
        nothing = {"requests_per_s": 0.0, "requests_per_s_each": 0.0, "at_worst": None}
        return choice.model_copy(update={"feasible": False, "why": why, **nothing})
    return choice.model_copy(
        update={
            "tail": replica.at(share * full),
            "requests_per_s": per_s(share * choice.requests_per_s),
            "requests_per_s_each": per_s(share * choice.requests_per_s_each),
        }
    )


def filled_at_worst(question: Question, choice: Choice, sizes: ServerSizes | None = None) -> Choice:
    """The same at worst, where it is filled no further than without: with nothing where even little breaks it then."""
    worst = choice.at_worst
    if worst is None or not question.promise.is_made_to(question.traffic):
        return choice
    replica = Replica(
        question, choice, sizes or ServerSizes(question.promise, question.traffic), at_worst=True
    )
    each = min(worst.requests_per_s_each, choice.requests_per_s_each)
    share = most_filled(replica, question.promise.fill * each / choice.replicas_per_machine)
    if share is None:
        return choice.model_copy(update={"at_worst": None})
    slow = worst.model_copy(update={"requests_per_s_each": per_s(share * each)})
    return choice.model_copy(update={"at_worst": slow})


def most_filled(replica: "Replica", full: float) -> float | None:
    """The largest share of so many requests a second at which the promise is kept to slow requests too.

    None where a MOST_IDLEth breaks it.
    """
    if not replica.breaks_at(full):
        return 1.0
    low, high = 1 / MOST_IDLE, 1.0
    if replica.breaks_at(low * full):
        return None
    while high - low > FINE:
        middle = (low + high) / 2
        low, high = (low, middle) if replica.breaks_at(middle * full) else (middle, high)
    return low


def on(choice: Choice, machines: int, tail: Tail | None) -> Choice:
    """The choice on that many machines, and on no fewer at worst."""
    worst = choice.at_worst
    if worst and worst.machines < machines:
        usd = monthly(choice.usd_per_hour, machines)
        worst = worst.model_copy(update={"machines": machines, "usd_per_month": usd})
    elsewhere = choice.usd_per_month_elsewhere
    return choice.model_copy(
        update={
            "machines": machines,
            "tail": tail,
            "at_worst": worst,
            "usd_per_month": monthly(choice.usd_per_hour, machines),
            "usd_per_month_elsewhere": elsewhere and elsewhere * machines / choice.machines,
        }
    )


class Replica:
    """One replica of a choice, as it is started, and what its requests wait for."""

    def __init__(
        self, question: Question, choice: Choice, sizes: ServerSizes, at_worst: bool = False
    ) -> None:
        self.question, self.choice = question, choice
        whole = machine(choice.machine)
        cut = whole if whole.hosts > 1 else whole.model_copy(update={"gpus_per_host": choice.tensor})
        server = sizes.of(named(question.model, choice.precision), cut, options_of(question))
        self.room, self.steps = server.room(choice.concurrency), server.steps
        slower = server.band if at_worst else 1.0
        if at_worst:
            self.steps = lambda decoding, prefilled: slower * server.steps(decoding, prefilled)
        self.runs = sizes.runs((server.steps_key, self.room, slower), self.steps, self.room)

    def breaks_on(self, machines: int) -> bool:
        """Whether so many machines break the promise at the peak."""
        return self.breaks_at(self.rate_on(machines))

    def broken_on(self, machines: int) -> str | None:
        """What of the promise so many machines break at the peak."""
        return broken(self.question.promise, self.question.traffic, self.tail(machines))

    def breaks_at(self, rate: float) -> bool:
        """Whether one replica breaks it at so many requests a second."""
        return self.runs.breaks(rate)

    def broken_at(self, rate: float) -> str | None:
        """What of it one replica breaks at so many requests a second."""
        return broken(self.question.promise, self.question.traffic, self.at(rate))

    def tail(self, machines: int) -> Tail:
        """What so many machines make of the peak."""
        return self.at(self.rate_on(machines))

    def at(self, rate: float) -> Tail:
        """What one replica makes of so many requests a second."""
        return self.runs.at(rate).tail

    def rate_on(self, machines: int) -> float:
        """Requests a second at one replica of so many machines, at the peak."""
        replicas = (machines - self.question.promise.spare_machines) * self.choice.replicas_per_machine
        return self.question.traffic.peak_requests_per_s / replicas
