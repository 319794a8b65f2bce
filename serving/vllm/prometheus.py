"""PURE: Prometheus's text, in which a server answers /metrics.

The only reader of it on our side; `infra/onhost/watch.py` has its own, for it runs by itself on a box's bare Python.
"""

import re
from collections.abc import Iterator
from io import StringIO
from itertools import islice
from typing import NamedTuple

LINE = re.compile(r"(?P<name>[a-zA-Z_:][\w:]*)(?:\{(?P<labels>.*)\})?\s+(?P<value>\S+)(?:\s+-?\d+)?\s*")
"""A name, its labels, the value, and sometimes the millisecond it is from."""
MOST_LINES = 100_000
"""vLLM has some hundreds an engine."""
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


class Sample(NamedTuple):
    """One line: a metric's value under one set of labels."""

    name: str
    labels: str
    value: float


def samples(text: str) -> Iterator[Sample]:
    """The lines that hold a value; comments and what is broken are passed over, and so is what no server needs."""
    for match in map(LINE.fullmatch, islice(StringIO(text), MOST_LINES)):
        if match:
            try:
                yield Sample(match["name"], match["labels"] or "", float(match["value"]))
            except ValueError:
                continue


def sums(text: str) -> dict[str, float]:
    """Each metric's values, summed over its labels."""
    values: dict[str, float] = {}
    for sample in samples(text):
        values[sample.name] = values.get(sample.name, 0.0) + sample.value
    return values


def labels_of(text: str, name: str) -> dict[str, str] | None:
    """The labels of a metric's first line; None where it has none."""
    sample = next((sample for sample in samples(text) if sample.name == name), None)
    return None if sample is None else dict(LABEL.findall(sample.labels))
