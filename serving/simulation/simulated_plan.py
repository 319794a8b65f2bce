"""`corral simulate` as it was asked: the plan that is simulated, and the trace, read before anything is reckoned."""

from math import ceil
from pathlib import Path

from infra.asked import Asked, flag_names
from infra.errors import UsageError
from infra.near import is_called_json
from serving.model.models import model
from serving.simulation import trace
from serving.simulation.arrivals import Stream, Trace
from serving.simulation.as_planned import AsPlanned, as_planned
from serving.simulation.replica import image_tokens_of
from serving.simulation.simulate import longest_of, simulate, source_of, traffic_of
from serving.simulation.simulate_options import ComingOptions, FleetOptions, ServerOptions, unsaid
from serving.simulation.simulation import Simulation
from serving.sizing.asked_images import image_tokens
from serving.sizing.plan import Plan
from serving.sizing.size import answer_for, check_stored, is_checkpoint, plan_stored, stored
from serving.sizing.size_options import Options, WhichMachine, check_named
from serving.sizing.sized_model import SizedModel, named, precisions
from serving.sizing.traffic import CONTEXT_STEP
from serving.sizing.traffic_options import LatencyOptions


def answered(
    name: str,
    coming: ComingOptions,
    fleet: FleetOptions,
    promise: LatencyOptions,
    machine: WhichMachine,
    server: ServerOptions,
    deployed: Plan | None = None,
) -> Simulation:
    """The simulation, of a deployment's plan where one is given.

    Raises UsageError, DocumentError for a plan or a trace, DoesNotFit.
    """
    given = deployed or (read_plan(name, machine, server) if is_plan(name) else None)
    asked = (
        as_planned(name, given, coming, fleet, promise)
        if given
        else AsPlanned(coming, None, fleet, promise.before(None), (), None)
    )
    if not asked.coming.is_said:
        raise unsaid()
    source = source_of(asked.coming, trace.read(coming.trace) if coming.trace else None, asked.traffic)
    plan = given or planned(name, source, machine, server)
    if coming.input_tokens or "lengths" not in asked.said:  # what a plan is for has them already
        source = source.with_longer_prompts(image_tokens_of(plan))
    found = simulate(plan, asked.coming, source, asked.fleet, asked.promise)
    return found.model_copy(update={"of_plan": asked.said, "replicas_there": asked.there})


def read_plan(path: str, machine: WhichMachine, server: ServerOptions) -> Plan:
    """A plan. Raises UsageError for what is asked beside it, DocumentError."""
    for asked in (machine, server):
        if flag := said(asked):
            raise UsageError(f"The plan says what {flag} does.", f"Leave out {flag}, or name the model.")
    return Plan.read(Path(path))


def is_sized(machine: WhichMachine, server: ServerOptions) -> bool:
    """Whether a machine is named, or how a model is served: then a model is meant, and no plan."""
    return bool(said(machine) or said(server))


def planned(name: str, source: Stream | Trace, machine: WhichMachine, server: ServerOptions) -> Plan:
    """The plan for the model of that name on the machine that is named."""
    if machine.on is None:
        raise UsageError("No machine is named.", "For example: --on 8xH100, or the plan.json of one.")
    check_named(name)
    if is_checkpoint(name):
        subject = stored(name, server.vllm_version)
        check_stored(machine.precision, subject)
        return plan_stored(subject, machine.on, options_for(subject, source, server))
    any_precision = named(name, precisions(model(name).name)[0])
    return answer_for(name, machine.precision, machine.on, options_for(any_precision, source, server))


def options_for(subject: SizedModel, source: Stream | Trace, server: ServerOptions) -> Options:
    """What is planned for: average requests, and a context that holds the longest, its images with it.

    Raises UsageError where the model holds no such request, and nobody says which are to be refused.
    """
    limit, traffic = subject.architecture.max_position_embeddings, traffic_of(source)
    longest = longest_of(source) + image_tokens(subject, server)
    if server.max_model_len is None and longest > limit:
        usual = traffic.mean_input + traffic.mean_output + image_tokens(subject, server)
        raise UsageError(
            f"A request may have {longest:,} tokens, more than {subject.title}'s {limit:,}.",
            "Simulate shorter ones."
            if usual > limit
            else f"Have longer ones refused: --max-model-len {limit}",
        )
    asked = {
        "input_tokens": traffic.mean_input,
        "output_tokens": traffic.mean_output,
        "max_model_len": server.max_model_len or min(limit, ceil(longest / CONTEXT_STEP) * CONTEXT_STEP),
    }
    return server.model_copy(update=asked)


def is_plan(name: str) -> bool:
    """Whether MODEL is meant as a file."""
    return is_called_json(name) or Path(name).is_file()


def said(asked: Asked) -> str | None:
    """The first flag that was given."""
    for field, value in asked:
        if field not in asked.not_asked and value != type(asked).model_fields[field].default:
            return flag_names(type(asked), field)[0]
    return None
