"""PURE: the slow ones of a hundred requests: a choice is simulated at the planned peak, and takes what they need."""

from collections.abc import Sequence
from math import ceil
from random import Random

from infra.catalog import machine
from serving.model.throughput import asked_s
from serving.sizing.batching import Request, Served, arriving, percentile, served
from serving.sizing.capacity import Choice, ClassTail, Question, Tail
from serving.sizing.capacity_load import MOST_MACHINES, monthly, options_of, per_s
from serving.sizing.server_sizes import ServerSizes
from serving.sizing.sized_model import named
from serving.sizing.traffic import Promise, Traffic

SIMULATED = 2000
MOST_SIMULATED = 10_000
LEAST_OF_A_CLASS = 200
LEAST_BEYOND = 20
SEED = 20261129
"""Of the arrivals and their lengths: the same question has the same answer."""


def simulated(
    question: Question, choice: Choice, sizes: ServerSizes | None = None, at_most: int | None = None
) -> Choice:
    """The choice with its tail, on as many machines as that takes; or why no number of them keeps the promise.

    Where it takes more than `at_most` it is sought no further: the choice is on one more, without a tail.
    """
    replica = Replica(question, choice, sizes or ServerSizes(question.promise, question.traffic))
    if at_most is not None and replica.broken_on(max(at_most, choice.machines)):
        return on(choice, max(at_most, choice.machines) + 1, None)
    machines = fewest(replica, choice.machines)
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
    is_beyond = at_most is not None and replica.broken_on(max(at_most, worst.machines))
    machines = max(at_most or 0, worst.machines) + 1 if is_beyond else fewest(replica, worst.machines)
    if machines is None:
        return choice.model_copy(update={"at_worst": None})
    more = {"machines": machines, "usd_per_month": monthly(choice.usd_per_hour, machines)}
    return choice.model_copy(update={"at_worst": worst.model_copy(update=more)})


def fewest(replica: "Replica", at_least: int) -> int | None:
    """The fewest machines, from so many on, that keep the promise to slow requests too; None for no number of them."""
    if replica.broken_on(at_least) is None:
        return at_least
    spare, most = replica.question.promise.spare_machines, at_least
    while replica.broken_on(most):
        most = spare + 2 * (most - spare)
        if most > MOST_MACHINES or most > spare + MOST_IDLE * (at_least - spare):
            return None
    low, high, halved = at_least, most, True
    while high - low > 1:
        halved = not halved
        middle = (low + high) // 2 if halved else between(replica, low, high)
        low, high = (middle, high) if replica.broken_on(middle) else (low, middle)
    return high


def between(replica: "Replica", low: int, high: int) -> int:
    """The most machines, of more than some that break the promise and fewer than some that keep it, to break it too.

    They are guessed: what requests wait for is taken to rise in a line with what comes to each machine.
    """
    spare = replica.question.promise.spare_machines
    (much, strained), (little, kept) = ((1 / (each - spare), replica.strain(each)) for each in (low, high))
    share = (1 - kept) / (strained - kept)
    return min(high - 1, max(low + 1, spare + ceil(1 / (little + share * (much - little))) - 1))


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
    if replica.broken_at(full) is None:
        return 1.0
    low, high = 1 / MOST_IDLE, 1.0
    if replica.broken_at(low * full):
        return None
    while high - low > FINE:
        middle = (low + high) / 2
        low, high = (low, middle) if replica.broken_at(middle * full) else (middle, high)
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


def broken(promise: Promise, traffic: Traffic, tail: Tail) -> str | None:
    """What of the promise the tail breaks, with the numbers; of several classes each by its own requests."""
    tails: Sequence[Tail | ClassTail] = tail.classes or (tail,)
    for part, of_part in zip(traffic.parts, tails, strict=True):
        (ttft_s, tpot_s), whose = promise.to(part), f"{part.name}: " if part.name else ""
        if tpot_s is not None and of_part.tpot_s > tpot_s:
            told = f"TPOT {of_part.tpot_s * 1000:.1f} ms, promised {tpot_s * 1000:g}"
            return f"{whose}p{tail.percentile:g} {told}"
        if ttft_s is not None and of_part.ttft_s > ttft_s:
            return f"{whose}p{tail.percentile:g} TTFT {of_part.ttft_s:.2f} s, promised {ttft_s:g}"
    return None


def strain(promise: Promise, traffic: Traffic, tail: Tail) -> float:
    """The largest of all times over what is promised of them; 0.0 where nothing is."""
    tails: Sequence[Tail | ClassTail] = tail.classes or (tail,)
    of_promises = (
        waited / promised
        for part, each in zip(traffic.parts, tails, strict=True)
        for waited, promised in zip((each.ttft_s, each.tpot_s), promise.to(part), strict=True)
        if promised is not None
    )
    return max(of_promises, default=0.0)


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
        self.known, self.key = sizes.tails, (server.steps_key, self.room, slower)

    def broken_on(self, machines: int) -> str | None:
        """What of the promise so many machines break at the peak."""
        return broken(self.question.promise, self.question.traffic, self.tail(machines))

    def strain(self, machines: int) -> float:
        """What slow requests wait for at the peak, over what is promised: the most of it; above 1 it is broken."""
        return strain(self.question.promise, self.question.traffic, self.tail(machines))

    def broken_at(self, rate: float) -> str | None:
        """What of it one replica breaks at so many requests a second."""
        return broken(self.question.promise, self.question.traffic, self.at(rate))

    def tail(self, machines: int) -> Tail:
        """What so many machines make of the peak."""
        replicas = (machines - self.question.promise.spare_machines) * self.choice.replicas_per_machine
        return self.at(self.question.traffic.peak_requests_per_s / replicas)

    def at(self, rate: float) -> Tail:
        """What one replica makes of so many requests a second."""
        key = (*self.key, rate)
        if key not in self.known:
            self.known[key] = self.simulated(rate)
        return self.known[key]

    def simulated(self, rate: float) -> Tail:
        """The same, reckoned."""
        traffic, promise = self.question.traffic, self.question.promise
        requests, whose = stream(traffic, rate, promise.percentile)
        warm = len(requests) // 10
        counted = list(zip(whose, served(requests, self.steps, self.room), strict=True))[warm:]
        every = slow([waited for _, waited in counted], promise.percentile)
        return Tail(
            percentile=promise.percentile,
            requests=len(requests),
            classes=tuple(
                ClassTail(name=part.name, requests=len(own), **slow(own, promise.percentile))
                for index, part in enumerate(traffic.classes)
                if (own := [waited for which, waited in counted if which == index])
            ),
            **every,
        )


def slow(counted: Sequence[Served], percent: float) -> dict[str, float]:
    """What so many of a hundred do not exceed."""
    ttft, tpot, pause = (percentile([each[index] for each in counted], percent) for index in range(3))
    return {
        "ttft_s": round(ttft + asked_s(), 4),
        "tpot_s": round(tpot, 5),
        "longest_pause_s": round(pause, 4),
    }


def stream(traffic: Traffic, rate_per_s: float, percent: float = 95.0) -> tuple[list[Request], list[int]]:
    """The requests of a Poisson stream, and of which class each is. The same for the same traffic and percentile.

    So many that some are of the rarest class, and some beyond the percentile.
    """
    rarest = min(part.share for part in traffic.parts)
    wanted = max(LEAST_OF_A_CLASS / rarest if traffic.classes else 0, LEAST_BEYOND * 100 / (100 - percent))
    count = min(MOST_SIMULATED, max(SIMULATED, round(wanted)))
    if not traffic.classes:
        lengths = traffic.input_tokens, traffic.output_tokens
        return arriving(rate_per_s, count, *lengths, SEED), [0] * count
    dice, at_s, requests = Random(SEED), 0.0, []
    whose = dice.choices(range(len(traffic.classes)), [part.share for part in traffic.classes], k=count)
    for which in whose:
        part, at_s = traffic.classes[which], at_s + dice.expovariate(rate_per_s)
        requests.append(Request(at_s, part.input_tokens.draw(dice), part.output_tokens.draw(dice)))
    return requests, whose
