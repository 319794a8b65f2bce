"""The formats by name, and what each can carry."""

from collections.abc import Callable
from typing import NamedTuple

from deploy.export import (
    compose,
    dstack,
    kserve,
    kubernetes,
    litellm,
    production_stack,
    quadlet,
    skypilot,
    systemd,
    terraform,
    vllm_router,
    watch_files,
    weights_notes,
)
from deploy.export.rendering import Ask, Export
from infra.catalog import check_nvidia
from infra.errors import DoesNotFit, UsageError
from serving.sizing.plan import Plan
from serving.sizing.plan_again import size_again
from serving.vllm import chat_template


class Format(NamedTuple):
    """A renderer, and whether it can put one server on several hosts, have replicas, or do without a GPU."""

    render: Callable[[Ask], Export]
    hosts: bool = False
    replicas: bool = False
    cpu: bool = False
    in_front: bool = False
    """It serves nothing itself: it stands before servers that run."""
    guarded: bool = False
    """It says whose pods may ask the server."""
    rents: bool = False
    """It asks for the machine, too."""
    adapters: bool = False
    """It says how the files of adapters come to the server."""
    watches: bool = False
    """It looks at servers that run, and answers nobody."""
    falls_back: bool = False
    """Another answers where the servers do not."""


FORMATS = {
    "compose": Format(compose.render, adapters=True),
    "quadlet": Format(quadlet.render, adapters=True),
    "systemd": Format(systemd.render, cpu=True, adapters=True),
    "kubernetes": Format(kubernetes.render, hosts=True, replicas=True, guarded=True),
    "kserve": Format(kserve.render, replicas=True, guarded=True),
    "production-stack": Format(production_stack.render, replicas=True, guarded=True),
    "skypilot": Format(skypilot.render, hosts=True),
    "dstack": Format(dstack.render, hosts=True, replicas=True),
    "terraform": Format(terraform.render, rents=True, adapters=True),
    "litellm": Format(litellm.render, hosts=True, cpu=True, in_front=True, falls_back=True),
    "vllm-router": Format(vllm_router.render, hosts=True, cpu=True, in_front=True),
    "prometheus": Format(watch_files.render, hosts=True, cpu=True, in_front=True, watches=True),
}


def export(name: str, ask: Ask) -> Export:
    """Render. Raises DoesNotFit for a plan that cannot work, UsageError for what the format cannot carry."""
    if name not in FORMATS:
        raise UsageError(f"{name!r} is not a format corral knows.", f"Use {', '.join(FORMATS)}.")
    if not ask.plan.fits:
        raise DoesNotFit(
            f"This plan does not fit: {ask.plan.reason}", f"See what holds it: {size_again(ask.plan)}"
        )
    if not FORMATS[name].in_front:
        check_nvidia(ask.plan.machine.gpu)
    refuse(name, FORMATS[name], ask)
    if FORMATS[name].in_front:
        return FORMATS[name].render(ask)
    plan = with_template(weights_notes.pinned(ask.plan))
    made = FORMATS[name].render(ask.model_copy(update={"plan": plan}))
    *first, next_step = made.notes
    return made.model_copy(update={"notes": (*first, *weights_notes.notes(plan), next_step)})


def with_template(plan: Plan) -> Plan:
    """The plan with the text of its chat template in place of the file, which is nowhere else. Raises UsageError."""
    update = {"chat_template": chat_template.text_of(plan.serve.chat_template)}
    return plan.model_copy(update={"serve": plan.serve.model_copy(update=update)})


def refuse(name: str, form: Format, ask: Ask) -> None:
    """Raise UsageError, naming a format that can, for what this one cannot carry."""
    plan = ask.plan
    several = plan.machine.hosts > 1
    if several and not form.hosts:
        raise UsageError(
            f"{name} describes one host, and this plan's server spans {plan.machine.hosts}.",
            "Use --to kubernetes, skypilot or dstack; on hosts you own: corral up plan.json --target ssh "
            "--host gpu-1 --host gpu-2",
        )
    if several and plan.parallel.data > 1 and not form.in_front:
        raise UsageError(
            "This plan has data parallelism across hosts, which corral renders for no platform.",
            f"Plan with pipeline stages instead: {size_again(plan, plan.machine.name)} --pipeline-parallel-size "
            f"{plan.machine.hosts}",
        )
    if not plan.machine.gpu_count and not form.cpu:
        raise UsageError(
            f"{name} would take vLLM's CUDA image, and this plan has no GPU.", "Use --to systemd."
        )
    if ":" in plan.serve.model or not plan.serve.model.isprintable():
        raise UsageError(
            f"{plan.serve.model!r} cannot be mounted: it has a colon or a control character in its name.",
            "Rename the folder, and plan again.",
        )
    if plan.serve.lora_modules and not (form.in_front or form.adapters):
        able = " or ".join(each for each, other in FORMATS.items() if other.adapters)
        raise UsageError(
            f"corral brings no adapter by {name}: {plan.serve.adapters[0]}.", f"Use --to {able}."
        )
