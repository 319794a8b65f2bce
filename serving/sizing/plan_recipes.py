"""`corral size --recipe`: the options that go with a model, in its plan; and a chat template there."""

from pathlib import Path

from infra.argument import pasted
from infra.errors import UsageError
from infra.printable import one_line
from infra.typed_path import typed_path
from serving.sizing.plan import Plan
from serving.sizing.size_options import RecipeOptions
from serving.vllm import chat_template, recipes
from serving.vllm.recipes import Recipe


def with_recipes(plan: Plan, asked: RecipeOptions) -> Plan:
    """The plan with what its recipes tell vLLM, and with that template.

    Raises UsageError for a recipe that is none of its model, machine and version, or needs a template and has none.
    """
    if not asked.recipe and asked.chat_template is None:
        return plan
    chosen = [of_plan(plan, name) for name in dict.fromkeys(asked.recipe)]
    words = [word for each in chosen for word in each.words(plan.serve.max_num_seqs)]
    update: dict[str, object] = {"extra_args": (*plan.serve.extra_args, *words)}
    if asked.chat_template is not None:
        path = typed_path(asked.chat_template)
        require_template(path)
        update["chat_template"] = str(path)
    elif needs := next((each for each in chosen if each.chat_template), None):
        version = plan.vllm_version.removeprefix("v")
        raise UsageError(
            f"--recipe {needs.name} needs vLLM's own chat template of {version}, which is not in its wheel.",
            f"curl -O {pasted(recipes.REPOSITORY.format(version=version) + needs.chat_template)}; then add: "
            f"--chat-template {needs.chat_template.rpartition('/')[2]}",
        )
    return plan.model_copy(update={"serve": plan.serve.model_copy(update=update)})


def require_template(path: Path) -> None:
    """Raise UsageError for a file that is no chat template."""
    try:
        chat_template.read(path)
    except UsageError as error:
        error.hint = "Name a file that holds one."  # there is no plan yet
        raise


def of_plan(plan: Plan, name: str) -> Recipe:
    """The recipe of that name. Raises UsageError where it is none of the plan's."""
    there = {
        each.name: each
        for each in recipes.of(plan.model, plan.precision, plan.machine.gpu, plan.vllm_version)
    }
    if name in there:
        return there[name]
    raise UsageError(
        f"--recipe {one_line(name, 40)!r} is none for {plan.model} on {plan.machine.name} with vLLM "
        f"{plan.vllm_version}.",
        f"There are: {', '.join(there)}." if there else "There is none.",
    )
