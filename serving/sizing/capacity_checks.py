"""What of a capacity question cannot be meant: a model that is not in the table, this machine, a request too long."""

from infra.argument import pasted
from infra.asked import either
from infra.catalog import machine, meant
from infra.errors import UsageError
from serving.model.models import model, models
from serving.sizing.capacity import Question
from serving.sizing.owned import Owned
from serving.sizing.size import as_seen, is_checkpoint
from serving.sizing.size_options import LONGEST, Options, check_precision
from serving.sizing.sized_model import named, precisions

HERE = "local"


def check(question: Question) -> None:
    """Raise UsageError for what no machine could answer."""
    check_model(question.model)
    check_precision(question.precision, question.model)
    check_machines((*question.machines, *(owned.machine for owned in question.have)))
    for owned in question.have:
        check_owned(owned)
    check_lengths(seen(question))


def seen(question: Question) -> Question:
    """The question with its images among the tokens of prompts.

    Raises UsageError for images or adapters that the model, or that vLLM, does not have.
    """
    subject = named(question.model, precisions(question.model)[0])
    options = Options(vllm_version=question.vllm_version, **question.further.model_dump())
    more = as_seen(subject, options).input_tokens - options.input_tokens
    return question.model_copy(update={"traffic": question.traffic.with_longer_prompts(more)})


def check_model(name: str) -> None:
    """Raise UsageError for a model that is not in the table, as a checkpoint is not."""
    if name not in models():
        known = either(tuple(models()))
        by_itself = (
            f"A checkpoint is planned on one machine at a time: corral size {pasted(name)} --on g5.12xlarge"
        )
        raise UsageError(
            f"{name!r} is not a model that capacity is planned for.",
            by_itself if is_checkpoint(name) else f"Use {known}: corral capacity scout --requests-per-s 5",
        )


def check_machines(names: tuple[str, ...]) -> None:
    """Raise UsageError for the machine that corral runs on, which is not counted."""
    if HERE in names:
        raise UsageError(
            "Capacity counts machines of a shape, and local is the one that is here.",
            "Name its shape, for example 2xA100-80GB.",
        )


def check_owned(owned: Owned) -> None:
    """Raise UsageError for a shape that nobody has, with a hint of what --have takes."""
    try:
        machine(owned.machine)
    except UsageError as error:
        if choices := meant(owned.machine):
            hint = f"Say which: --have {owned.model_copy(update={'machine': choices[0]})}"
            raise UsageError(str(error), hint) from None
        raise


def check_lengths(question: Question) -> None:
    """Raise UsageError where the longest likely request of a class is beyond the context or the model."""
    asked, traffic = model(question.model), question.traffic
    limit = asked.architecture.max_position_embeddings
    if question.context is not None and question.context > limit:
        raise UsageError(
            f"--context {question.context:,} is beyond {asked.title}, which ends at {limit:,} tokens.",
            f"Use at most {limit}.",
        )
    if max(traffic.mean_input, traffic.mean_output) > LONGEST:
        return  # which the flag refuses itself
    for part in traffic.parts:
        whose = f"A request of class {part.name}" if part.name else "A request"
        prompt, answer = part.input_tokens.largest, part.output_tokens.largest
        if prompt + answer > limit:
            raise UsageError(
                f"{whose} may have {prompt:,} + {answer:,} tokens, more than {asked.title}'s {limit:,}.",
                "Plan for shorter requests.",
            )
        if question.context is not None and prompt + answer > question.context:
            raise UsageError(
                f"{whose} may have {prompt:,} + {answer:,} tokens, more than --context {question.context:,}.",
                f"Raise it to --context {prompt + answer}, or plan for shorter requests.",
            )
