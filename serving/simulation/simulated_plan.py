"""`corral simulate` as it was asked: the plan that is simulated, and the trace, read before anything is reckoned."""

from math import ceil
from pathlib import Path

from infra.asked import Asked, flag_names
from infra.errors import UsageError
from serving.simulation import trace
from serving.simulation.arrivals import Stream, Trace
from serving.simulation.simulate import longest_of, mean_lengths, simulate, source_of
from serving.simulation.simulate_options import ComingOptions, FleetOptions, Promised, ServerOptions
from serving.simulation.simulation import Simulation
from serving.sizing.plan import Plan
from serving.sizing.size import answer_for
from serving.sizing.size_options import WhichMachine
from serving.sizing.traffic import CONTEXT_STEP


def answered(
    model: str,
    coming: ComingOptions,
    fleet: FleetOptions,
    promise: Promised,
    machine: WhichMachine,
    server: ServerOptions,
) -> Simulation:
    """The simulation. Raises UsageError, DocumentError for a plan or a trace, DoesNotFit."""
    source = source_of(coming, trace.read(coming.trace) if coming.trace else None)
    return simulate(planned(model, source, machine, server), coming, source, fleet, promise.promise)


def planned(model: str, source: Stream | Trace, machine: WhichMachine, server: ServerOptions) -> Plan:
    """The plan that is named, or one for the model on the machine that is."""
    if is_plan(model):
        for asked in (machine, server):
            if flag := said(asked):
                raise UsageError(f"The plan says what {flag} does.", f"Leave out {flag}, or name the model.")
        return Plan.read(Path(model))
    if machine.on is None:
        raise UsageError("No machine is named.", "For example: --on 8xH100, or the plan.json of one.")
    inputs, outputs = mean_lengths(source)
    needed = ceil(longest_of(source) / CONTEXT_STEP) * CONTEXT_STEP
    asked_for = {
        "input_tokens": inputs,
        "output_tokens": outputs,
        "max_model_len": server.max_model_len or needed,
    }
    return answer_for(model, machine.precision, machine.on, server.model_copy(update=asked_for))


def is_plan(model: str) -> bool:
    """Whether MODEL is meant as a file."""
    return model.endswith(".json") or Path(model).is_file()


def said(asked: Asked) -> str | None:
    """The first flag that was given."""
    for field, value in asked:
        if field not in asked.not_asked and value != type(asked).model_fields[field].default:
            return flag_names(type(asked), field)[0]
    return None
