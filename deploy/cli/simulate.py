"""`corral simulate`: what replicas make of a traffic, request by request."""

from typing import Annotated

import typer

from deploy.cli.flags import All, Json, deployed_or_path
from serving.simulation.simulate_options import ComingOptions, FleetOptions, ServerOptions
from serving.sizing.size_options import WhichMachine
from serving.sizing.traffic_options import LatencyOptions


def simulate(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL|PLAN|NAME",
            help="A plan.json, or a deployment; or scout, maverick, a folder, OWNER/NAME, with --on.",
            autocompletion=deployed_or_path,
        ),
    ],
    coming: ComingOptions,
    fleet: FleetOptions,
    promise: LatencyOptions,
    machine: WhichMachine,
    server: ServerOptions,
    show_all: All = False,
    as_json: Json = False,
) -> int:
    """What requests wait for on so many replicas, hour by hour, and what is lost. Exit 3: the promise is not kept.

    Continuous batching over the planner's step times, with the API process before it. What is too much to be simulated
    whole is sampled, the same for the same seed. Of unequal machines one kind is simulated at a time.
    """
    from deploy.by_name import plan_of_deployment
    from infra.prices import trouble
    from infra.say import emit, warn
    from serving.simulation.simulated_plan import answered, is_sized
    from serving.simulation.simulation_text import simulation_text

    warn(trouble())
    deployed_plan = None if is_sized(machine, server) else plan_of_deployment(model)
    found = answered(model, coming, fleet, promise, machine, server, deployed_plan)
    asked = (coming, fleet, promise, machine, server)
    emit(found, simulation_text(found, model, asked, show_all), as_json)
    return 0 if found.promise is None or found.promise.kept else 3
