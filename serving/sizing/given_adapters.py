"""Adapters given to a plan that is there: held to its model, and to the memory that it sets aside for them."""

from collections.abc import Sequence

from infra.errors import UsageError
from serving.model.models import published
from serving.sizing.asked_adapters import read, served_by
from serving.sizing.plan import Plan
from serving.sizing.plan_again import size_again
from serving.sizing.size import stored
from serving.sizing.sized_model import SizedModel, of_checkpoint
from serving.vllm import extra_args
from serving.vllm.lora_modules import LoraModule, check_names
from serving.vllm.serve_options import ServeOptions

VLLM_RANK = 16
"""--max-lora-rank where nobody says it."""


def given(plan: Plan, modules: tuple[LoraModule, ...]) -> Plan:
    """The plan with those adapters in place of its own; the same without any.

    Raises UsageError for a plan that has no room for them, and for an adapter of another model; DocumentError.
    """
    if not modules:
        return plan
    require_slots(plan, modules)
    rank, targets = slots_of(plan.serve)
    asked = plan.serve.model_copy(update={"lora_modules": modules})
    found = read(modules, served_by(subject_of(plan), plan.vllm_version, rank, targets))
    return plan.model_copy(update={"serve": asked.model_copy(update={"lora_modules": found})})


def require_slots(plan: Plan, modules: tuple[LoraModule, ...]) -> None:
    """Raise UsageError for a plan without memory for these, and for names that a client could mean otherwise."""
    check_names(modules, plan.serve.served_model_name)
    if modules and not slots_of(plan.serve)[0]:
        asked = plan.serve.model_copy(update={"lora_modules": modules})
        again = size_again(plan.model_copy(update={"serve": asked}), plan.machine.name)
        raise UsageError(
            "The plan sets no memory aside for adapters.", f"Plan with them: {again} -o plan.json"
        )


def slots_of(serve: ServeOptions) -> tuple[int, tuple[str, ...]]:
    """The rank of the slots that vLLM is told to set aside, 0 for none, and the modules that have some; () for all.

    Of an option that is said twice the last counts, as it does for vLLM.
    """
    rank, is_enabled, targets = VLLM_RANK, False, list[str]()
    words = serve.extra_args
    for place, word in enumerate(words):
        (said,) = extra_args.read((word,)) if extra_args.is_option(word) else (None,)
        options = said.options if said else ()
        _, equals, value = word.partition("=")
        values = [value] if equals else following(words[place + 1 :])
        if options == ("enable_lora",):
            is_enabled = not word.startswith("--no")
        if options == ("max_lora_rank",) and values and values[0].isdecimal():
            rank = int(values[0][:9])
        if options == ("lora_target_modules",):
            targets = values
    return (rank if is_enabled else 0), tuple(targets)


def following(words: Sequence[str]) -> list[str]:
    """The words before the next option."""
    end = next((place for place, word in enumerate(words) if extra_args.is_option(word)), len(words))
    return list(words[:end])


def subject_of(plan: Plan) -> SizedModel:
    """The model of a plan: as corral's table has it, or read where it lies."""
    if listed := published(plan.serve.model):
        return of_checkpoint(*listed)
    return stored(plan.serve.model, plan.vllm_version)
