"""What of a probe its deployment's plan says where nobody typed it: how long requests are, and how many are at once."""

from pathlib import Path

from deploy.targets import deployment
from infra.say import progress
from serving.probe.probe_options import USUAL_LENGTHS, LoadOptions, WorkloadOptions
from serving.sizing.plan import Workload


def is_deployment(url: str) -> bool:
    """Whether a deployment is meant, and no address."""
    return "/" not in url and url in deployment.names()


def planned_for(urls: list[str]) -> tuple[str, Workload] | None:
    """The first that is a deployment, and what it was planned for; None where only addresses are given."""
    name = next(filter(is_deployment, urls), None)
    return None if name is None else (name, deployment.load(name).plan.workload)


def lengths_of(urls: list[str], asked: WorkloadOptions, replay: Path | None = None) -> tuple[int, int]:
    """Tokens of a prompt and of an answer where none were typed: what the first that is a deployment was planned for.

    What is taken of a plan is told.
    """
    if (found := planned_for(urls)) is None:
        return USUAL_LENGTHS
    name, planned = found
    said = []
    if asked.input_tokens is None and not (asked.prompts or replay):
        said.append(f"{planned.input_tokens:,} tokens in")
    if asked.output_tokens is None:
        said.append(f"{planned.output_tokens:,} tokens out")
    if said:
        progress(f"probe: {', '.join(said)}, as {name} was planned for")
    return planned.input_tokens, planned.output_tokens


def load_as_planned(urls: list[str], asked: LoadOptions, servers: int) -> LoadOptions:
    """The load; where none was typed, as many requests at once as each server of a deployment was planned for.

    What is taken of a plan is told.
    """
    if asked.concurrency or asked.request_rate or asked.replay or (found := planned_for(urls)) is None:
        return asked
    name, planned = found
    count = f"{planned.concurrency:,}" + (f" on each of {servers} servers" if servers > 1 else "")
    progress(f"probe: {count} at once, as {name} was planned for; another number: --concurrency")
    return asked.model_copy(update={"concurrency": planned.concurrency * servers})
