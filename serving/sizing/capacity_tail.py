"""PURE: the slow ones of a hundred requests: a choice is simulated at the planned peak, and takes what they need."""

from collections.abc import Sequence
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


def simulated(question: Question, choice: Choice, sizes: ServerSizes | None = None) -> Choice:
    """The choice with its tail, on as many machines as that takes; or why no number of them keeps the promise."""
    replica = Replica(question, choice, sizes or ServerSizes(question.promise, question.traffic))
    planned = replica.tail(choice.machines)
    if broken(question.promise, question.traffic, planned) is None:
        return choice.model_copy(update={"tail": planned})
    spare, fewest = question.promise.spare_machines, choice.machines
    most = fewest
    while True:
        most = spare + 2 * (most - spare)
        if most > MOST_MACHINES or most > spare + MOST_IDLE * (fewest - spare):
            return choice.model_copy(
                update={
                    "feasible": False,
                    "why": f"however many: {broken(question.promise, question.traffic, planned)}",
                }
            )
        if broken(question.promise, question.traffic, replica.tail(most)) is None:
            break
    low, high = fewest, most
    while high - low > 1:
        middle = (low + high) // 2
        kept = broken(question.promise, question.traffic, replica.tail(middle)) is None
        low, high = (low, middle) if kept else (middle, high)
    return on(question, choice, high, replica.tail(high))


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

    def breaks(share: float) -> str | None:
        return broken(question.promise, question.traffic, replica.at(share * full))

    if breaks(1.0) is None:
        return choice.model_copy(update={"tail": replica.at(full)})
    low, high = 1 / MOST_IDLE, 1.0
    if why := breaks(low):
        nothing = {"requests_per_s": 0.0, "requests_per_s_each": 0.0, "at_worst": None}
        return choice.model_copy(update={"feasible": False, "why": f"however few: {why}", **nothing})
    while high - low > FINE:
        middle = (low + high) / 2
        low, high = (low, middle) if breaks(middle) else (middle, high)
    worst = choice.at_worst
    return choice.model_copy(
        update={
            "tail": replica.at(low * full),
            "requests_per_s": per_s(low * choice.requests_per_s),
            "requests_per_s_each": per_s(low * choice.requests_per_s_each),
            "at_worst": worst
            and worst.model_copy(update={"requests_per_s_each": per_s(low * worst.requests_per_s_each)}),
        }
    )


def on(question: Question, choice: Choice, machines: int, tail: Tail) -> Choice:
    """The choice on more machines than its means take."""
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


class Replica:
    """One replica of a choice, and what its requests wait for at the peak."""

    def __init__(self, question: Question, choice: Choice, sizes: ServerSizes) -> None:
        self.question, self.choice = question, choice
        whole = machine(choice.machine)
        cut = whole if whole.hosts > 1 else whole.model_copy(update={"gpus_per_host": choice.tensor})
        server = sizes.of(named(question.model, choice.precision), cut, options_of(question))
        self.steps, self.room = server.steps, server.room(choice.concurrency)

    def tail(self, machines: int) -> Tail:
        """What so many machines make of the peak."""
        replicas = (machines - self.question.promise.spare_machines) * self.choice.replicas_per_machine
        return self.at(self.question.traffic.peak_requests_per_s / replicas)

    def at(self, rate: float) -> Tail:
        """What one replica makes of so many requests a second."""
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
