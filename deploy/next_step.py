"""The next step of a deployment, as a line to paste: sized -> provisioned -> serving -> probed -> compared -> down."""

from pathlib import Path
from typing import NamedTuple

from deploy.costs.machine_price import has_price
from deploy.newest import newest
from deploy.report.folder import PAGE
from deploy.targets.deployment import Deployment, folder, load, names
from deploy.targets.place import State
from infra.asked import again
from infra.errors import CorralError
from serving.probe.report import ProbeReport
from serving.probe.results import REPORT
from serving.probe.sweep_report import SWEEP, Sweep
from serving.sizing.plan import Workload

LEAST_MEASURED, ROUNDS = 200, 4
"""Requests of a first measurement: so many, and each place in the load taken so often."""

KEYS = "api-key*"
"""What lies in a deployment's folder as soon as its server has a key that is known here."""

WHEN_NOT_WELL: dict[State, str] = {
    "starting": "logs -f",
    "degraded": "logs",
    "hung": "logs",
    "dead": "logs",
    "interrupted": "status --history",
    "unknown": "status --history",
    "absent": "status --history",  # it may be gone, or be another operator's: not for us to take away unasked
}


class Step(NamedTuple):
    """A line to paste, and when."""

    command: str
    when: str = ""


class Known(NamedTuple):
    """What is known of a deployment."""

    name: str
    load: Workload
    """What it was planned for."""
    state: State | None
    """As its machine says; None where that was not asked."""
    is_probed: bool
    """And may be compared by that."""
    is_compared: bool
    """By its newest probe, else by what its plan predicts."""
    has_page: bool
    """Whether that comparison's page is written."""
    has_served: bool = False
    """Whether it was started from here once, so that it may serve now."""
    has_price: bool = True
    """Whether its plan says what its machine costs."""


def next_step(known: Known) -> Step:
    """PURE: what comes next. What was served and is not asked about now is looked at: to serve it may be no step on."""
    name, load = known.name, known.load
    if known.state in WHEN_NOT_WELL:
        return Step(f"corral {WHEN_NOT_WELL[known.state]} {name}")
    if not known.is_probed:
        if known.state is None and known.has_served:
            return Step(f"corral status {name}")
        return Step(probe(name, load) if known.state == "serving" else f"corral serve {name}")
    if known.has_page:
        return Step(f"corral down {name}", "when it is not needed any more: ")
    if known.is_compared:
        return Step(f"corral report {name}")
    if not known.has_price:
        return Step(f"corral compare {name} --price-per-hour 1", "with what its machine costs an hour: ")
    return Step(f"corral compare {name}")


def probe(name: str, load: Workload) -> str:
    """A first measurement, at the load that was planned for."""
    requests = max(LEAST_MEASURED, ROUNDS * load.concurrency)
    return (
        f"corral probe {name} --concurrency {load.concurrency} --requests {requests} "
        f"--input-tokens {load.input_tokens} --output-tokens {load.output_tokens}"
    )


def steps_here() -> tuple[str, ...]:
    """The next step of each deployment that is known here, a line each; none of their machines is asked."""
    return tuple(map(step_here, names()))


def step_here(name: str) -> str:
    """That of one; of what cannot be read, what says why."""
    try:
        step = next_step(known_of(load(name), None))
    except CorralError:
        return f"corral status {name}"
    return f"{step.command}  # {step.when.rstrip(': ')}" if step.when else step.command


def next_line(deployment: Deployment, state: State | None = None) -> str:
    """The line that ends what a verb says to a person."""
    step = next_step(known_of(deployment, state))
    return f"Next: {step.when}{step.command}{again()}"


def known_of(deployment: Deployment, state: State | None) -> Known:
    """What lies here of it."""
    probed, comparison = newest("probes", deployment.name), newest("comparisons", deployment.name)
    return Known(
        name=deployment.name,
        load=deployment.plan.workload,
        state=state,
        is_probed=probed is not None and is_sound(probed),
        is_compared=comparison is not None,
        has_page=comparison is not None and (comparison / PAGE).is_file(),
        has_served=any(folder(deployment.name).glob(KEYS)),
        has_price=has_price(deployment.plan),
    )


def is_sound(folder: Path) -> bool:
    """Whether a probe's report, or a step of a sweep, may be used."""
    try:
        if (folder / SWEEP).is_file():
            return any(point.verdict == "served" for point in Sweep.read(folder / SWEEP).points)
        return ProbeReport.read(folder / REPORT).valid
    except CorralError:
        return False
