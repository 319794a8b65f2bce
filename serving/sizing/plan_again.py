"""PURE: what a plan was asked for, as far as it says that, for a command that plans the same elsewhere."""

from contextlib import suppress
from pathlib import Path

from infra.argument import pasted
from infra.asked import again
from infra.catalog import machine
from infra.errors import UsageError
from serving.model.models import models
from serving.sizing import cpu_pool, gpu_pool
from serving.sizing.carried import Carried
from serving.sizing.owned import Owned
from serving.sizing.plan import Plan
from serving.sizing.size_options import FurtherOptions, Options, RecipeOptions
from serving.sizing.traffic import Promise
from serving.sizing.traffic_options import FurtherOfTraffic, MachineOptions, PromiseOptions, TrafficOptions
from serving.vllm import recipes
from serving.vllm.versions import rules

OTHERWISE = "8xH100"
"""Where a checkpoint is sized, of which no machine is named: it cannot be ranked."""
LENGTHS_OF_ALL = ("input_tokens", "output_tokens")
PROPOSED = {*gpu_pool.LENGTHS, *cpu_pool.LENGTHS}


def size_again(plan: Plan, on: str | None = None) -> str:
    """`corral size` of that model and workload, on another machine or on every one.

    With the recipes that hold there too; a ranking of every machine takes none.
    """
    known = plan.model in models()
    place = on or ("" if known else OTHERWISE)
    what = f"{plan.model} --precision {pasted(plan.precision)}" if known else pasted(plan.serve.model)
    asked = (asked_for(plan), told(plan, place)) if place else (asked_for(plan),)
    return f"corral size {what}{f' --on {pasted(place)}' if place else ''}{again(*asked)}"


def capacity_again(plan: Plan, carried: Carried, requests_per_s: float, of_those_there: bool) -> str:
    """`corral capacity` of such requests in the plan's weights, so many a second on average.

    Of the machines that the plan counts on, as ones that are there, or of what is to be rented.
    """
    of_images = plan.images.per_request * plan.images.tokens_each if plan.images else 0
    traffic, promise = carried.traffic.with_longer_prompts(-of_images), carried.promise or Promise()
    lengths = {} if traffic.classes else {each: getattr(traffic, each) for each in LENGTHS_OF_ALL}
    length, version = plan.serve.max_model_len, plan.vllm_version
    have = tuple(
        Owned(machine=each.name, count=each.count, usd_per_hour=each.usd_per_hour)
        for each in carried.machines
    )
    asked = (  # a document's word, which may be beyond what may be asked
        TrafficOptions.model_construct(
            requests_per_s=requests_per_s,
            peak_factor=traffic.peak_factor,
            classes=traffic.classes,
            **lengths,
        ),
        PromiseOptions.model_construct(
            ttft=promise.ttft_s,
            tpot=promise.tpot_s,
            percentile=None if promise.percentile == Promise().percentile else promise.percentile,
            spare=promise.spare_machines,
            fill=promise.fill,
        ),
        MachineOptions.model_construct(
            precision=plan.precision,
            context=None if length == carried.traffic.longest else length,
            have=have if of_those_there else (),
            kv_cache_dtype=plan.serve.kv_cache_dtype,
            vllm_version=None if version == rules().version else version,
        ),
        FurtherOfTraffic.model_construct(**(plan.further or FurtherOptions()).model_dump()),
    )
    return f"corral capacity {pasted(plan.model)}{again(*asked)}"


def told(plan: Plan, on: str) -> RecipeOptions:
    """The recipes and the template that a plan was made with, as far as they hold on that machine."""
    gpu = ""
    with suppress(UsageError):  # it is named as it is typed, which may be wrong
        gpu = plan.machine.gpu if on in (plan.machine.name, "local") else machine(on).gpu_name
    words = plan.serve.extra_args
    starts = {
        each.name: place
        for each in recipes.of(plan.model, plan.precision, gpu, plan.vllm_version)
        for place in range(len(words))
        if words[place : place + len(each.options)] == each.words(plan.serve.max_num_seqs)
    }
    template = plan.serve.chat_template
    return RecipeOptions.model_construct(
        recipe=tuple(sorted(starts, key=starts.__getitem__)),
        chat_template=Path(template) if template else None,
    )


def asked_for(plan: Plan) -> Options:
    """What is no choice of the planner's: its workload, region and version, and what it takes from nobody else.

    A context that the planner proposes is left to it.
    """
    said, length, load = plan.serve, plan.serve.max_model_len, plan.workload.model_dump()
    if plan.images:
        of_images = plan.images.per_request * plan.images.tokens_each
        load["input_tokens"] = max(1, load["input_tokens"] - of_images)  # a document's word
    return Options.model_construct(  # a document's word, which may be beyond what may be asked
        **load,
        **(plan.further or FurtherOptions()).model_dump(),
        region=plan.region,
        vllm_version=None
        if plan.vllm_version == rules().version or not plan.machine.gpu_count
        else plan.vllm_version,
        max_model_len=None if length in PROPOSED else length,
        kv_cache_dtype=said.kv_cache_dtype,
        disable_hybrid_kv_cache_manager=said.disable_hybrid_kv_cache_manager,
        enforce_eager=said.enforce_eager,
        lora=said.lora_modules,
    )
