"""`corral size`: which machine holds the model, how fast, at what price."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.cli.flags import All, Json
from serving.sizing.size_options import AnswerOptions, Options, RecipeOptions, WhichMachine

if TYPE_CHECKING:
    from serving.sizing.plan import Plan


def size(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="scout, maverick, a checkpoint folder, or OWNER/NAME on the Hub."
        ),
    ],
    options: Options,
    machine: WhichMachine,
    recipes: RecipeOptions,
    answer: AnswerOptions,
    show_all: All = False,
    as_json: Json = False,
) -> int:
    """Which machines hold the model, with which settings, how fast, at what price. Exit 0: it fits. 3: it does not.

    The options with vLLM's names are handed on to `vllm serve`; what you leave out is chosen for you.
    """
    from infra.output import refuse_another
    from infra.prices import trouble
    from infra.printable import sentence
    from infra.say import emit, progress, warn
    from serving.sizing import plan_plot
    from serving.sizing.plan import Plan
    from serving.sizing.plan_recipes import with_recipes
    from serving.sizing.plan_text import plan_text
    from serving.sizing.size import answer_for, ranking_for
    from serving.sizing.size_options import check_ranking

    warn(trouble())
    if machine.on is None:
        check_ranking(answer, recipes)
        from serving.sizing.ranking_text import ranking_text

        ranking = ranking_for(model, machine.precision, options)
        emit(ranking, ranking_text(ranking, options, show_all), as_json)
        return 0 if ranking.machines else 3
    if answer.output:
        refuse_another(answer.output, Plan)
    if answer.plot:
        plan_plot.check(answer.plot)
    plan = with_recipes(answer_for(model, machine.precision, machine.on, options), recipes)
    if answer.output and plan.fits:
        before = in_place_of(answer.output, plan)
        plan.write(answer.output)
        progress(f"plan written to {sentence(str(answer.output))}{before}")
    elif answer.output:  # a plan that lies there may be one that fits
        progress(f"not written, as it does not fit: {sentence(str(answer.output))}")
    if answer.plot:
        plan_plot.draw(plan, answer.plot)
    text = plan_text(plan, answer.output, options, recipes)
    if answer.explain:
        from serving.sizing.plan_explained import explained

        text += "\n\n" + explained(plan)
    emit(plan, text, as_json)
    return 0 if plan.fits else 3


def in_place_of(path: Path, plan: "Plan") -> str:
    """Of which machine or weights the plan is that is written over, where it is of others; empty where none is."""
    from infra.errors import DocumentError
    from infra.printable import sentence

    if not path.is_file():
        return ""
    try:
        before = type(plan).read(path)
    except DocumentError:
        return ""
    was, will_be = (f"{each.model} {each.precision} on {each.machine.name}" for each in (before, plan))
    return f", in place of one for {sentence(was)}" if was != will_be else ""
