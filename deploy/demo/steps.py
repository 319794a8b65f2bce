"""PURE: the commands of the demo, as a user would type them."""

from collections.abc import Mapping
from pathlib import Path

from infra.record import Record
from serving.vllm.endpoint import Endpoint

NAME, MODEL = "demo", "tiny-llama4"
# What the line is shown for beside the toy: a machine one can rent, its figures from the catalogue.
CATALOGUE_MODEL, CATALOGUE_PRECISION, CATALOGUE_MACHINE = "scout", "int4", "g5.12xlarge"
# Small enough for two cores and a minute, large enough for percentiles.
TOY_SIZE = ("--max-model-len", "4096", "--kv-cache-memory-bytes", str(64 * 2**20), "--enforce-eager")
TOY_LOAD = ("--concurrency", "4", "--requests", "48", "--input-tokens", "128", "--output-tokens", "64")
PROBE_INVALID = 9


class Step(Record):
    """One command of the demo: what it is for, its words after `corral`, and the exit codes that let it go on."""

    title: str
    words: tuple[str, ...]
    goes_on: tuple[int, ...] = (0,)


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
