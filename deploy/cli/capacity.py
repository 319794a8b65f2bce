"""`corral capacity`: from traffic to machines and dollars a month."""

from typing import Annotated

import typer

from deploy.cli.flags import All, Json
from serving.sizing.size_options import AnswerOptions, FurtherOptions
from serving.sizing.traffic_options import FurtherOfTraffic, MachineOptions, PromiseOptions, TrafficOptions


def capacity(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="scout or maverick.")],
    traffic: TrafficOptions,
    promise: PromiseOptions,
    machines: MachineOptions,
    further: FurtherOfTraffic,
    answers: AnswerOptions,
    show_all: All = False,
    as_json: Json = False,
) -> int:
    """Which machines, how many of them, carry the traffic within the promise, and what they cost a month."""
    from deploy.targets.licence import left_out
    from infra.prices import trouble
    from infra.say import emit, warn
    from serving.model import models
    from serving.sizing.capacity import Question
    from serving.sizing.capacity_search import answer
    from serving.sizing.capacity_text import capacity_text

    further.check(traffic)
    warn(trouble())
    question = Question(
        model=model,
        traffic=traffic.traffic,
        promise=promise.promise,
        precision=machines.precision,
        machines=machines.machines,
        usd_per_hour=machines.usd_per_hour,
        context=machines.context,
        region=machines.region,
        have=machines.have,
        at_worst=machines.at_worst,
        kv_cache_dtype=machines.kv_cache_dtype,
        vllm_version=machines.vllm_version,
        further=FurtherOptions(**further.model_dump()),
    )
    planned = answer(question, answers.output, answers.plot)
    warn(left_out((model,), models.model(model).family.name, {"--region": machines.region}))
    asked = (traffic, promise, machines, further)
    emit(planned, capacity_text(planned, answers.explain, asked, answers.output, show_all), as_json)
    carried = planned.plan and not (planned.fleet and planned.fleet.missing_requests_per_s)
    return 0 if carried else 3
