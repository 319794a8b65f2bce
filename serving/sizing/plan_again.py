"""PURE: what a plan was asked for, as far as it says that, for a command that plans the same elsewhere."""

from infra.argument import pasted
from infra.asked import again
from serving.model.models import models
from serving.sizing import cpu_pool, gpu_pool
from serving.sizing.plan import Plan
from serving.sizing.size_options import FurtherOptions, Options
from serving.vllm.versions import rules

PROPOSED = {*gpu_pool.LENGTHS, *cpu_pool.LENGTHS}


def size_again(plan: Plan, on: str | None = None) -> str:
    """`corral size` of that model and workload, on another machine or on every one."""
    known = plan.model in models()
    what = f"{plan.model} --precision {pasted(plan.precision)}" if known else pasted(plan.serve.model)
    where = f" --on {pasted(on)}" if on else "" if known else " --on 8xH100"
    return f"corral size {what}{where}{again(asked_for(plan))}"


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
