"""How much of a fleet is simulated in a pass, and what a sample stands for."""

from random import Random
from types import SimpleNamespace
from typing import Any

import numpy
import pytest

from infra.errors import UsageError
from serving.simulation import passes
from serving.simulation.arrivals import Span, Trace
from serving.simulation.passes import Way
from serving.sizing.batching import Request


def stream(requests: float, hours: int = 1) -> Any:
    """So many requests, evenly over the hours."""
    rate = requests / hours / 3600
    return SimpleNamespace(
        spans=[Span(hour * 3600.0, (hour + 1) * 3600.0, rate, hour) for hour in range(hours)]
    )


def trace(requests: int) -> Trace:
    """So many requests, one a second."""
    return Trace([Request(float(second), 1, 1) for second in range(requests)])


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pass takes a thousand requests, and ten thousand looks."""
    monkeypatch.setattr(passes, "MOST", 1000)
    monkeypatch.setattr(passes, "MOST_LOOKS", 10_000)


@pytest.mark.parametrize(
    ("source", "replicas", "router", "way"),
    [
        (stream(1000), 4, "random", Way(4, 1.0, True)),
        (stream(1000), 4, "least-requests", Way(4, 1.0, True)),
        # Looks at each of its replicas for each request: a group of the fleet.
        (stream(1000), 100, "least-requests", Way(31, 1.0, False)),
        (stream(1000), 100, "round-robin", Way(100, 1.0, True)),
        (stream(4000), 4, "random", Way(1, 1.0, False)),
        (stream(4000), 4, "least-requests", Way(4, 0.25, False)),
        (stream(20_000), 10, "random", Way(1, 0.5, False)),
        (trace(900), 2, "random", Way(2, 1.0, True)),
        (trace(4000), 8, "round-robin", Way(2, 1.0, False)),
        (trace(4000), 8, "least-requests", Way(2, 1.0, False)),
        (trace(1900), 1, "least-requests", Way(1, 1.0, False)),
    ],
)
def test_how_much_of_it_is_simulated(source: Any, replicas: int, router: Any, way: Way) -> None:
    assert passes.way(source, replicas, router) == way


@pytest.mark.parametrize(
    ("source", "replicas", "message", "hint"),
    [
        (trace(2002), 1, "2,002 requests are more than can be simulated on those replicas.",
         "Take fewer of its hours: --hours 0.5"),
        (stream(200_000), 1, "200,000 requests are more than can be simulated on those replicas.",
         "Take fewer hours (--hours 1), or more --replicas."),
    ],
)  # fmt: skip
def test_what_would_be_too_little_to_say_anything(
    source: Any, replicas: int, message: str, hint: str
) -> None:
    with pytest.raises(UsageError) as error:
        passes.way(source, replicas, "random")
    assert (error.value.message, error.value.hint) == (message, hint)


def test_what_a_sample_stands_for() -> None:
    hours = numpy.array([0, 0, 2, 0])
    assert passes.weights(hours, {0: 30.0, 1: 5.0, 2: 7.0}).tolist() == [10.0, 10.0, 7.0, 10.0]


@pytest.mark.parametrize(("router", "count"), [("random", 2), ("round-robin", 2), ("least-requests", 1)])
def test_of_a_trace_a_part_of_the_replicas_is_simulated_at_its_own_times(
    router: Any, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream is shortened; what came somewhere came when it did."""
    seen: list[tuple[int, int, float]] = []

    def columns(drawn: list[Request], _: object, replicas: int, spans: Any, time: float, *__: object) -> int:
        seen.append((len(drawn), replicas, time))
        return len(seen)

    class Sample:
        hour = numpy.array([0, 0])

        def _replace(self, weight: Any) -> list[float]:
            return list(weight)

    monkeypatch.setattr(passes, "columns", columns)
    monkeypatch.setattr(passes, "together", lambda parts: Sample())
    monkeypatch.setattr(Random, "random", lambda _: 0.3)
    monkeypatch.setattr(Random, "randrange", lambda _, stop: stop - 1)
    question: Any = SimpleNamespace(
        source=trace(4), replicas=4, router=router, death=None, servers=lambda slower: None
    )
    how = Way(2, 1.0, False)
    found: Any = passes.one(question, how, 1.0, 1)
    replicas = 2 if router == "least-requests" else 1
    assert [each[1:] for each in seen] == [(replicas, 1.0)] * count
    assert found == [2.0, 2.0]
