"""PURE: whether a checkpoint is the model that a plan was made for: its shape, its precision and how large it is."""

from infra.argument import pasted
from infra.errors import UsageError
from serving.model.checkpoint import Contents
from serving.model.models import models, published
from serving.sizing.plan import Plan
from serving.sizing.sized_model import SizedModel, named, of_checkpoint

SHAPE = {
    "layers": "{} layers",
    "experts": "{} experts",
    "hidden_size": "hidden size {}",
    "attention_heads": "{} attention heads",
    "kv_heads": "{} KV heads",
    "head_dim": "head size {}",
    "expert_intermediate": "expert size {}",
    "dense_intermediate": "MLP size {}",
    "experts_per_token": "{} experts a token",
}
"""What no fine-tune and no quantization of a model changes; its words, its context and its vision tower may differ."""
MOST_TOLD = 3
# Third parties quantize attention or leave it: 7 % of Scout in four bits, which corral's table counts unquantized.
TABLE_BAND = 0.15
# By the headers of the files themselves, as the plan's size was read; tensors that an earlier corral did not count.
READ_BAND = 0.01


def check(plan: Plan, contents: Contents, hint: str = "") -> None:
    """Raise UsageError for a checkpoint that is not the plan's; the hint is how to make one for it, or this one."""
    if words := difference(plan, contents):
        said = (
            hint
            or f"Plan for what lies there: {anew(plan, contents.where)}; or put the plan's weights there."
        )
        raise UsageError(f"{contents.where} {words}.", said)


def anew(plan: Plan, folder: str) -> str:
    """The line that plans for what lies in a folder."""
    return f"corral size {pasted(folder)} --on {pasted(plan.machine.name)} -o plan.json"


def difference(plan: Plan, contents: Contents) -> str:
    """What a checkpoint has that the plan's model has not, as the end of a sentence; empty for the plan's.

    Its shape is known of models of the table alone. Of any other, and of what a bundle renamed, its size has to do.
    """
    if contents.precision != plan.precision:
        return f"holds {contents.precision} weights, and the plan is for {plan.precision}"
    table = known(plan)
    if table and (others := tuple(differing(table, contents))):
        return f"is another model than the plan's {plan.model}: {', '.join(others[:MOST_TOLD])}"
    there = round(sum(part.bytes for part in contents.weights))
    is_of_table = table is not None or plan.model in models()
    least, most = sizes(plan, table, TABLE_BAND if is_of_table else READ_BAND)
    if plan.weights_bytes and not least <= there <= most:
        return f"holds {there:,} bytes of weights, and the plan is for {plan.weights_bytes:,}"
    return ""


def known(plan: Plan) -> SizedModel | None:
    """The model of the table that a plan is for, by its repository, or by its name and its size; else None.

    A folder may be called as a model is: by its name alone a plan is of no table.
    """
    if listed := published(plan.serve.model):
        return of_checkpoint(*listed)
    if plan.model in models() and plan.precision in models()[plan.model].checkpoints:
        subject = named(plan.model, plan.precision)
        return subject if subject.weights_bytes == plan.weights_bytes else None
    return None


def sizes(plan: Plan, table: SizedModel | None, band: float) -> tuple[float, float]:
    """The fewest and the most bytes that the plan's weights may have."""
    more_bytes = table.extra_bytes_at_most if table else 0
    return plan.weights_bytes * (1 - band), plan.weights_bytes * (1 + band) + more_bytes


def differing(table: SizedModel, contents: Contents) -> list[str]:
    """Each thing of its shape that is another than the table's."""
    if contents.family.name != table.family.name:
        return [f"{contents.family.title} in place of {table.family.title}"]
    ours, theirs = table.architecture, contents.architecture
    return [
        f"{words.format(getattr(theirs, name))} in place of {getattr(ours, name)}"
        for name, words in SHAPE.items()
        if getattr(theirs, name) != getattr(ours, name)
    ]
