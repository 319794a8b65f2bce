"""PURE: servers of each size, reckoned once for all machines that hold them and for every notch of a question."""

from functools import cached_property

from infra.hardware import Machine
from serving.model.throughput import Speed
from serving.sizing.batching import Room, StepTime
from serving.sizing.fit import best_outcome
from serving.sizing.memory_pool import Case
from serving.sizing.predict import Mixed, Predictor, room
from serving.sizing.size_options import Options, further_of
from serving.sizing.sized_model import SizedModel
from serving.sizing.tail_run import Arrivals, Runs
from serving.sizing.traffic import Promise, Traffic
from serving.sizing.traffic_class import mean


class ServerSizes:
    """Those of one promise for requests of given lengths, whatever machine they are on and however many come."""

    def __init__(self, promise: Promise, traffic: Traffic) -> None:
        self.promise, self.traffic = promise, traffic
        self.known: dict[tuple[object, ...], ServerSize] = {}
        self.speeds: dict[tuple[object, ...], dict[int, Speed]] = {}
        self._runs: dict[tuple[object, ...], Runs] = {}

    @cached_property
    def arrivals(self) -> Arrivals:
        """What is simulated."""
        return Arrivals(self.traffic, self.promise.percentile)

    def runs(self, key: tuple[object, ...], steps: StepTime, room: Room) -> Runs:
        """What is simulated of a server, by what decides it."""
        if key not in self._runs:
            self._runs[key] = Runs(self.promise, self.arrivals, steps, room)
        return self._runs[key]

    def of(self, subject: SizedModel, cut: Machine, options: Options) -> "ServerSize":
        """The server that takes all GPUs of a machine. Of a machine nothing else decides than what is named here."""
        gpu, network = cut.gpu and cut.gpu.name, cut.network_gb_per_s if cut.hosts > 1 else None
        key = (subject, gpu, cut.gpus_per_host, cut.hosts, network, options)
        if key not in self.known:
            self.known[key] = ServerSize(self, Case(subject, cut, options))
        return self.known[key]


class ServerSize:
    """A server of one size: how it fits, how fast it is, and how many requests at once keep the promise."""

    def __init__(self, sizes: ServerSizes, case: Case) -> None:
        self.sizes, self.case, self.outcome = sizes, case, best_outcome(case)

    @cached_property
    def predictor(self) -> Predictor:
        """Its speed; by that many requests at once it is the same whatever context it is started with."""
        made = Predictor(self.case, self.outcome)
        made.known = self.sizes.speeds.setdefault(self.steps_key, {})
        return made

    @cached_property
    def steps_key(self) -> tuple[object, ...]:
        """All that decides how long its steps are."""
        options, knobs, cut = self.case.options, self.outcome.knobs, self.case.machine
        return (
            self.case.subject,
            cut.gpu and cut.gpu.name,
            cut.network_gb_per_s if cut.hosts > 1 else None,
            self.outcome.split,
            (options.input_tokens, options.output_tokens),
            options.kv_cache_dtype,
            knobs.max_num_batched_tokens,
            self.outcome.rules.version,
            further_of(options),
        )

    @cached_property
    def steps(self) -> StepTime:
        """The time of its steps, for a simulation.

        A pipeline has a batch of its requests in each stage. They are taken to move in lockstep: a step of all batches
        lasts as long as one of a batch with all that a batch may prefill of what comes. That is the slow end: batches
        that do not wait for each other would take no longer each than their own.
        """
        of_batch, tokens = self.predictor.steps(mixture(self.sizes.traffic)), self.batch_tokens
        if self.outcome.split.pipeline == 1:
            return of_batch
        return lambda decoding, prefilled: of_batch(decoding, min(prefilled, tokens))

    @property
    def band(self) -> float:
        """By what factor every step takes longer at worst: of the most requests at once that keep the promise then."""
        return self.predictor.at(self.most_at_worst or 1).band

    @property
    def batch_tokens(self) -> int:
        """--max-num-batched-tokens."""
        return self.outcome.knobs.max_num_batched_tokens

    def room(self, max_num_seqs: int) -> Room:
        """What runs in it at once at most."""
        held = room(self.outcome, self.case.options, max_num_seqs)
        return held._replace(max_num_batched_tokens=self.batch_tokens * self.outcome.split.pipeline)

    @cached_property
    def broken_alone(self) -> str | None:
        """What of the promise one request alone breaks."""
        return broken_promise(self.predictor, self.sizes.promise, self.sizes.traffic, 1)

    @cached_property
    def most(self) -> int:
        """The most requests at once that keep the promise."""
        return most_concurrency(self.predictor, self.sizes.promise, self.sizes.traffic)

    @cached_property
    def most_at_worst(self) -> int | None:
        """The same when every step takes its band longer; None where one request alone breaks it then."""
        if broken_promise(self.predictor, self.sizes.promise, self.sizes.traffic, 1, at_worst=True):
            return None
        return most_concurrency(self.predictor, self.sizes.promise, self.sizes.traffic, at_worst=True)


def broken_promise(
    predictor: Predictor, promise: Promise, traffic: Traffic, concurrency: int, at_worst: bool = False
) -> str | None:
    """What of the promise that concurrency breaks, with the numbers; `at_worst` as slow as the band allows."""
    speed = predictor.at(concurrency)
    slower = speed.band if at_worst else 1.0
    tpot = speed.tpot_s * slower
    for part in traffic.parts:
        (ttft_s, tpot_s), whose = promise.to(part), f"{part.name}: " if part.name else ""
        if tpot_s is not None and tpot > tpot_s:
            return f"{whose}TPOT {tpot * 1000:.1f} ms, promised {tpot_s * 1000:g}"
        longest = part.input_tokens.largest
        first = predictor.first_token_s(longest, speed.tpot_s) * slower
        if ttft_s is not None and first > ttft_s:
            return f"{whose}TTFT {first:.2f} s for {longest:,} tokens, promised {ttft_s:g}"
    return None


def most_concurrency(predictor: Predictor, promise: Promise, traffic: Traffic, at_worst: bool = False) -> int:
    """The most requests at once that keep the promise and do not wait for KV cache."""
    low, high = 1, predictor.most_running
    while low < high:
        middle = (low + high + 1) // 2
        kept = broken_promise(predictor, promise, traffic, middle, at_worst) is None
        low, high = (middle, high) if kept else (low, middle - 1)
    return low


def concurrency_carrying(predictor: Predictor, tokens_per_s: float, most: int) -> int:
    """The least concurrency that delivers that many output tokens a second."""
    low, high = 1, most
    while low < high:
        middle = (low + high) // 2
        enough = predictor.at(middle).output_tokens_per_s >= tokens_per_s
        low, high = (low, middle) if enough else (middle + 1, high)
    return low


def mixture(traffic: Traffic) -> list[Mixed]:
    """Its classes as the steps of a server have them; none where all requests are of one."""
    return [Mixed(part.share, mean(part.input_tokens), mean(part.output_tokens)) for part in traffic.classes]
