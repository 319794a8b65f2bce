"""`corral demo`: the whole line here, as the commands a user would type, on the real engine and a toy model."""

import os
import shlex
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

from deploy.costs.comparison import Comparison
from deploy.targets import deployment as deployments
from infra import interrupts
from infra.errors import CorralError, Interrupted, ServerError
from infra.record import Record
from infra.say import progress
from serving.model import tiny
from serving.probe.report import ProbeReport
from serving.sizing.plan import Plan
from serving.vllm import client, server, stopping
from serving.vllm.endpoint import Endpoint

NAME, MODEL = "demo", "tiny-llama4"
# What the line is shown for beside the toy: a machine one can rent, its figures from the catalogue.
CATALOGUE_MODEL, CATALOGUE_PRECISION, CATALOGUE_MACHINE = "scout", "int4", "g5.12xlarge"
# Small enough for two cores and a minute, large enough for percentiles.
TOY_SIZE = ("--max-model-len", "4096", "--kv-cache-memory-bytes", str(64 * 2**20), "--enforce-eager")
TOY_LOAD = ("--concurrency", "4", "--requests", "48", "--input-tokens", "128", "--output-tokens", "64")
PROBE_INVALID = 9


Corral = Callable[[Sequence[str]], int]
"""Runs the words of one command line and returns its exit code: the program itself, which imports this file."""


class Step(Record):
    """One command of the demo: what it is for, its words after `corral`, and the exit codes that let it go on."""

    title: str
    words: tuple[str, ...]
    goes_on: tuple[int, ...] = (0,)


class Done(Record):
    """A step that was run."""

    command: str
    exit_code: int
    duration_s: float


class Demo(Record):
    """What the demo did and found. `planned_kv_tokens` is corral's prediction, `engine_kv_tokens` what vLLM made."""

    folder: Path
    steps: tuple[Done, ...]
    catalogue: Plan
    verdict: str
    """Of the catalogue's machine beside Claude."""
    planned_kv_tokens: int | None = None
    engine_kv_tokens: int | None = None
    probe: ProbeReport
    duration_s: float


def engine_step(environ: Mapping[str, str]) -> Step:
    """The engine: the one CORRAL_VLLM names, else vLLM's CPU build, installed into an environment of its own."""
    if environ.get("CORRAL_VLLM"):
        return Step(title="Engine: the one CORRAL_VLLM names", words=("engine", "show"))
    return Step(title="Engine: vLLM's CPU build, in an environment of its own", words=("engine", "install"))


def size_step(place: Path) -> Step:
    """Plan the toy for this machine."""
    words = ("size", str(place / MODEL), "--on", "local", *TOY_SIZE, "--output", str(place / "plan.json"))
    return Step(title="Size: the toy on this machine, without a GPU", words=words)


def serve_steps(place: Path) -> tuple[Step, ...]:
    """From the plan to a server that answers."""
    provision = ("provision", str(place / "plan.json"), "--target", "local", "--name", NAME)
    return (
        Step(title="Provision: this machine, checked", words=provision),
        Step(title="Serve: vLLM itself, until it has answered a completion", words=("serve", NAME)),
        Step(title="Health: asked from the server, not remembered", words=("status", NAME)),
    )


def catalogue_step(place: Path) -> Step:
    """Size a model worth having on a machine one can rent: catalogue figures and arithmetic, nothing measured."""
    words = ("size", CATALOGUE_MODEL, "--precision", CATALOGUE_PRECISION, "--on", CATALOGUE_MACHINE)
    return Step(
        title=f"Size: Llama 4 {CATALOGUE_MODEL.title()} on {CATALOGUE_MACHINE}, from the catalogue",
        words=(*words, "--output", str(place / "catalogue-plan.json")),
    )


def probe_step(place: Path, endpoint: Endpoint) -> Step:
    """Measure an endpoint. A run that the probe calls invalid goes on: server and probe share the cores here."""
    key = ("--api-key-file", str(endpoint.api_key_file)) if endpoint.api_key_file else ()
    model = ("--model", endpoint.served_model_name) if endpoint.served_model_name else ()
    words = ("probe", endpoint.base_url, *TOY_LOAD, *model, *key, "--output", str(place / "probe"))
    return Step(title="Probe: what it really delivers", words=words, goes_on=(0, PROBE_INVALID))


def toy_compare_steps(place: Path) -> tuple[Step, ...]:
    """From the probe's figures to dollars and a page; the price is pretended, as nobody rents this machine out."""
    measured = ("--plan", str(place / "plan.json"), "--probe", str(place / "probe" / "probe.json"))
    output = str(place / "toy-report")
    return (
        Step(
            title="Compare: the toy, as if this machine cost $1 an hour (only the arithmetic is real)",
            words=("compare", *measured, "--price-per-hour", "1", "--allow-invalid", "--output", output),
        ),
        Step(title="Report: the page, made again from its documents", words=("report", output, "--json")),
    )


def catalogue_compare_step(place: Path) -> Step:
    """The question itself, from catalogue figures: what would the rented machine cost beside Claude?"""
    words = (
        "compare",
        "--plan",
        str(place / "catalogue-plan.json"),
        "--output",
        str(place / "catalogue-report"),
    )
    return Step(title=f"Compare: {CATALOGUE_MODEL.title()} on {CATALOGUE_MACHINE}, as predicted", words=words)


STOP = Step(title="Stop: nothing may be left", words=("stop", NAME))


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
    return Demo(
        folder=place,
        steps=tuple(done),
        planned_kv_tokens=Plan.read(place / "plan.json").kv.tokens,
        engine_kv_tokens=engine_tokens,
        probe=ProbeReport.read(place / "probe" / "probe.json"),
        catalogue=Plan.read(place / "catalogue-plan.json"),
        verdict=Comparison.read(place / "catalogue-report" / "comparison.json").verdict,
        duration_s=round(time.monotonic() - begun, 1),
    )


def run_against(corral: Corral, endpoint: Endpoint) -> Demo:
    """The line from size to report against an endpoint that is there already; starts no server."""
    begun, place, done = time.monotonic(), deployments.folder(NAME), list[Done]()
    forget_probe(place)
    play(corral, (catalogue_step(place), probe_step(place, endpoint), catalogue_compare_step(place)), done)
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
        interrupts.look()
        with redirect_stdout(sys.stderr):
            code = corral(step.words)
        done.append(Done(command=command, exit_code=code, duration_s=round(time.monotonic() - begun, 1)))
        if code not in step.goes_on:
            raise stopped(command, code)


def stopped(command: str, code: int) -> CorralError:
    """The error of a demo whose step failed; the step itself has said why."""
    kind = next((kind for kind in CorralError.__subclasses__() if kind.exit_code == code), CorralError)
    hint = "The step's own error is above. Where no engine can be installed: corral demo --endpoint URL"
    return kind(f"The demo stopped at: {command}", "" if kind is Interrupted else hint)
