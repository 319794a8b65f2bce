"""Tries, waits and an eye on what stalls: how a fetch gets along with a Hub that is slow, busy or away."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Event, Thread
from typing import NamedTuple, TypeVar

from infra.fetch.hub_answers import Passing, Source, lies
from infra.fetch.hub_wire import Wire

T = TypeVar("T")


class Pace(NamedTuple):
    """How much at a time, and how patient."""

    chunk_bytes: int = 16 << 20
    workers: int = 8
    tries: int = 6
    """For a chunk."""
    questions: int = 3
    """For what is asked before any chunk: a Hub that is not there is told of soon."""
    first_wait_s: float = 1.0
    """Between two tries, twice as long each time; or what the Hub asks for."""
    stall_s: float = 45.0
    least_bytes: int = 4096
    """Of a connection in that time; one that brings less stalls."""
    look_every_s: float = 0.25


def tried(do: Callable[[], T], tries: int, pace: Pace, over: Event) -> T:
    """What comes of it, tried so often while what goes wrong may pass by. Raises the last Passing, and all else."""
    for number in range(tries - 1):
        try:
            return do()
        except Passing as passing:
            wait_s = pace.first_wait_s * 2**number if passing.wait_s is None else passing.wait_s
            if over.wait(wait_s):
                raise
    return do()


@contextmanager
def watched(wires: Sequence[Wire], pace: Pace) -> Iterator[None]:
    """Have what stalls cut off meanwhile."""
    over = Event()

    def watch() -> None:
        while not over.wait(pace.look_every_s):
            for wire in wires:
                wire.look(time.monotonic(), pace.stall_s, pace.least_bytes)

    thread = Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def answer(source: Source, url: str, what: str, most_bytes: int, pace: Pace) -> bytes:
    """A whole answer that is short. Raises CorralError."""
    wire = Wire(source)
    with watched([wire], pace):
        try:
            return tried(lambda: small(wire, url, what, most_bytes), pace.questions, pace, Event())
        finally:
            wire.close()


def small(wire: Wire, url: str, what: str, most_bytes: int) -> bytes:
    """The same, asked once. Raises Passing where it ends early."""
    response, _ = wire.ask(url, what)
    content, block = bytearray(), memoryview(bytearray(1 << 16))
    while count := wire.read(response, block, what):
        content += block[:count]
        if len(content) > most_bytes:
            raise lies(what, f"it says more than {most_bytes:,} bytes")
    if response.length:
        raise Passing(f"The Hub's answer about {what} ended early.")
    wire.done(response)
    return bytes(content)
