"""What is being sized: a model known by name at one precision, or a checkpoint that was read."""

from dataclasses import dataclass
from functools import cache

from infra.argument import is_line, is_value
from infra.errors import UsageError
from serving.model.checkpoint import Contents
from serving.model.families import Family
from serving.model.models import PRECISIONS, Architecture, Model, Scheme, model, models
from serving.model.weights import Part, Split, parts, rank_bytes, total_bytes


@dataclass(frozen=True, eq=False, slots=True)
class SizedModel:
    """A model with its weights; compared by identity, because its weights may be long."""

    name: str
    title: str
    repo: str
    """What `vllm serve` is given."""
    revision: str | None
    """The commit of it, where one is known."""
    served_name: str
    precision: str
    family: Family
    architecture: Architecture
    scheme: Scheme
    weights: tuple[Part, ...]
    weights_source: str
    extra_bytes_at_most: int = 0
    nested_config: bool = True
    dtype: str = "bfloat16"

    @property
    def weights_bytes(self) -> int:
        """The whole checkpoint."""
        return round(total_bytes(self.weights))


@cache
def rank_weights(subject: SizedModel, split: Split, text_only: bool) -> tuple[float, ...]:
    """Bytes of weights on one GPU of each pipeline stage; asked many times in a search."""
    return rank_bytes(subject.weights, subject.architecture, split, text_only)


@cache
def named(name: str, precision: str) -> SizedModel:
    """A model of the shipped table at a precision. Raises UsageError for what is not in it."""
    return of_model(model(name), precision)


def of_model(known: Model, precision: str) -> SizedModel:
    """A model of a table at one of its precisions."""
    if precision not in known.checkpoints:
        raise UsageError(
            f"There is no {precision} checkpoint of {known.name} in corral's table.",
            f"Use --precision {'|'.join(known.checkpoints)}.",
        )
    checkpoint = known.checkpoints[precision]
    return SizedModel(
        name=known.name,
        title=known.title,
        repo=checkpoint.repo,
        revision=checkpoint.revision,
        served_name=known.family.served_name.format(name=known.name),
        precision=precision,
        family=known.family,
        architecture=known.architecture,
        scheme=checkpoint.scheme,
        weights=parts(known.architecture, checkpoint.scheme),
        weights_source=checkpoint.source,
        extra_bytes_at_most=checkpoint.extra_bytes_at_most,
    )


def from_contents(contents: Contents, name: str) -> SizedModel:
    """A checkpoint that was read, under that name. Raises UsageError for a name that no argument can have."""
    if not (is_value(name) and is_line(contents.where + name)):
        raise UsageError(
            f"{name!r} cannot be the name of a model: it begins with a hyphen or holds a control character.",
            "Rename the folder, or make a link of another name to it: ln -s",
        )
    return SizedModel(
        name=name,
        title=name,
        repo=contents.where,
        revision=contents.revision,
        served_name=name,
        precision=contents.precision,
        family=contents.family,
        architecture=contents.architecture,
        scheme=scheme_like(contents),
        weights=contents.weights,
        weights_source=f"safetensors headers of {contents.where}",
        nested_config=contents.nested_config,
        dtype=contents.dtype,
    )


def scheme_like(contents: Contents) -> Scheme:
    """How the throughput model is to see those weights."""
    quantized = () if contents.precision == "bf16" else ("routed", "shared", "dense")
    return Scheme(name=contents.precision, quantized=quantized, bytes_per_param=2.0)


def precisions(name: str) -> tuple[str, ...]:
    """The precisions of a known model, the most faithful first."""
    return tuple(precision for precision in PRECISIONS if precision in models()[name].checkpoints)
