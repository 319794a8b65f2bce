"""`corral demo`: the whole line here, step after step, on the real engine and a toy model."""

import os
import shlex
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

from deploy.costs.comparison import Comparison
from deploy.demo.steps import (
    MODEL,
    NAME,
    STOP,
    Step,
    catalogue_compare_step,
    catalogue_step,
    engine_step,
    probe_step,
    serve_steps,
    size_step,
    toy_compare_steps,
)
from deploy.targets import deployment as deployments
from infra.errors import CorralError, Interrupted, ServerError
from infra.home import make_folder
from infra.record import Record
from infra.say import progress
from serving.model import tiny
from serving.probe.report import ProbeReport
from serving.sizing.plan import Plan
from serving.vllm import client, server, stopping
from serving.vllm.endpoint import Endpoint

Corral = Callable[[Sequence[str]], int]
"""Runs the words of one command line and returns its exit code: the program itself, which imports this file."""


class Done(Record):
    """A step that was run."""

    command: str
    """As it would be typed."""
    exit_code: int
    """What it ended with."""
    duration_s: float
    """How long it took."""


class Demo(Record):
    """What the demo did and found. `planned_kv_tokens` is corral's prediction, `engine_kv_tokens` what vLLM made."""

    folder: Path
    """Where everything of it lies."""
    steps: tuple[Done, ...]
    """Each command, in order."""
    catalogue: Plan
    """A plan of the real model on a rented machine, made beside the toy's."""
    verdict: str
    """Of the catalogue's machine beside Claude."""
    planned_kv_tokens: int | None = None
    """Tokens of KV cache; null where nothing was planned for the engine."""
    engine_kv_tokens: int | None = None
    """As vLLM's own log line says; null where it said none."""
    probe: ProbeReport
    """What the probe measured of the toy."""
    duration_s: float
    """All of it."""


def run(corral: Corral) -> Demo:
    """Run the whole line on this machine. However it ends, no process is left."""
    begun, place, done = time.monotonic(), deployments.folder(NAME), list[Done]()
    forget_probe(place)
    keep_caches_inside(place)
    with nothing_left(place):
        play(corral, (engine_step(os.environ),), done)
        make_model(place)
        play(corral, (catalogue_step(place), size_step(place)), done)
        choose_port(place / "plan.json")
        play(corral, serve_steps(place), done)
        endpoint, engine_tokens = answering(place)
        play(corral, (probe_step(place, endpoint), STOP), done)
        play(corral, (*toy_compare_steps(place), catalogue_compare_step(place)), done)
    planned_tokens = Plan.read(place / "plan.json").kv.tokens
    return demo_of(place, done, begun).model_copy(
        update={"planned_kv_tokens": planned_tokens, "engine_kv_tokens": engine_tokens}
    )


def run_against(corral: Corral, endpoint: Endpoint) -> Demo:
    """The line from size to report against an endpoint that is there already; starts no server."""
    begun, place, done = time.monotonic(), deployments.folder(NAME), list[Done]()
    forget_probe(place)
    make_folder(place)
    play(corral, (catalogue_step(place), probe_step(place, endpoint), catalogue_compare_step(place)), done)
    return demo_of(place, done, begun)


def demo_of(place: Path, done: list[Done], begun: float) -> Demo:
    """What both kinds of demo have to show, from the documents their steps wrote; `begun` by time.monotonic()."""
    return Demo(
        folder=place,
        steps=tuple(done),
        probe=ProbeReport.read(place / "probe" / "probe.json"),
        catalogue=Plan.read(place / "catalogue-plan.json"),
        verdict=Comparison.read(place / "catalogue-report" / "comparison.json").verdict,
        duration_s=round(time.monotonic() - begun, 1),
    )


def forget_probe(place: Path) -> None:
    """Remove an earlier demo's results: a probe does not write over them."""
    shutil.rmtree(place / "probe", ignore_errors=True)


def keep_caches_inside(place: Path) -> None:
    """Let matplotlib, which draws the report, keep its font cache in the demo's folder and not in ~/.config."""
    os.environ.setdefault("MPLCONFIGDIR", str(place / "matplotlib"))


@contextmanager
def nothing_left(place: Path) -> Iterator[None]:
    """End what an earlier demo left; and, when this one is cut short, its server."""
    stopping.kill(place)
    try:
        yield
    except BaseException:
        stopping.kill(place)
        raise


def make_model(place: Path) -> None:
    """Write the toy: the layout of the published checkpoints, vision tower and all."""
    progress(f"\n== Model: a tiny Llama 4 with random weights, in {place / 'model'}")
    tiny.make(place / MODEL, "multimodal")


def choose_port(path: Path) -> None:
    """Put a free port into the plan: the usual one may be in use on a newcomer's machine."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    plan = Plan.read(path)
    plan.model_copy(update={"serve": plan.serve.model_copy(update={"port": port})}).write(path)


def answering(place: Path) -> tuple[Endpoint, int]:
    """Where the demo's server answers, and how many tokens its KV cache holds as vLLM itself says."""
    running = server.load(place)
    if running is None:
        raise ServerError("The demo's server left no record.", "Run it again: corral demo")
    return running.endpoint, int(client.cache_config(running.endpoint)["kv_cache_size_tokens"])


def play(corral: Corral, steps: tuple[Step, ...], done: list[Done]) -> None:
    """Run commands as a user would, their output on stderr. Raises an error of the first failure's class."""
    for step in steps:
        command = shlex.join(("corral", *step.words))
        progress(f"\n== {step.title}\n$ {command}")
        begun = time.monotonic()
        with redirect_stdout(sys.stderr):
            code = corral(step.words)
        done.append(Done(command=command, exit_code=code, duration_s=round(time.monotonic() - begun, 1)))
        if code not in step.goes_on:
            raise stopped(command, code)


def stopped(command: str, code: int) -> CorralError:
    """The error of a demo whose step failed; the step itself has said why."""
    kind = next((kind for kind in CorralError.__subclasses__() if kind.exit_code == code), CorralError)
    hint = "The step's own error is above. Where no engine can be installed: corral demo --endpoint http://127.0.0.1:8000"
    return kind(f"The demo stopped at: {command}", "" if kind is Interrupted else hint)
