"""What is being sized: a model known by name at one precision, or a checkpoint that was read."""

from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

from infra.argument import is_line, is_value
from infra.errors import UsageError
from serving.model.families import Family
from serving.model.loaders import KvCache
from serving.model.models import PRECISIONS, Architecture, Checkpoint, Model, Scheme, model, models, published
from serving.model.weights import Part, Split, parts, rank_bytes, total_bytes

if TYPE_CHECKING:  # a model of the table is sized without what reads checkpoints
    from serving.model.checkpoint import Contents


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
    kv_cache_dtype: KvCache = "auto"
    """What vLLM takes `auto` for, because the checkpoint says so."""
    from_table: str = ""
    """Why its sizes are those of corral's table, where its files were to be read."""

    @property
    def weights_bytes(self) -> int:
        """The whole checkpoint."""
        return round(total_bytes(self.weights))


@cache
def rank_weights(subject: SizedModel, split: Split, text_only: bool) -> tuple[float, ...]:
    """Bytes of weights on one GPU of each pipeline stage; asked many times in a search."""
    return rank_bytes(subject.weights, subject.architecture, split, text_only)


@cache
def layer_weights(subject: SizedModel, split: Split) -> tuple[float, ...]:
    """The same of the layers alone."""
    layers = (part for part in subject.weights if part.layer is not None)
    return rank_bytes(layers, subject.architecture, split, False)


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
    return of_checkpoint(known, known.checkpoints[precision])


def of_checkpoint(known: Model, checkpoint: Checkpoint) -> SizedModel:
    """A model as one repository of a table holds it."""
    return SizedModel(
        name=known.name,
        title=known.title,
        repo=checkpoint.repo,
        revision=checkpoint.revision,
        served_name=known.family.served_name.format(name=known.name),
        precision=checkpoint.precision,
        family=known.family,
        architecture=known.architecture,
        scheme=checkpoint.scheme,
        weights=parts(known.architecture, checkpoint.scheme),
        weights_source=checkpoint.source,
        extra_bytes_at_most=checkpoint.extra_bytes_at_most,
    )


def from_table(repo: str, why: str) -> SizedModel | None:
    """A repository of the shipped table under its own name, as one that was read; None for any other."""
    if not (listed := published(repo)):
        return None
    name = repo.rpartition("/")[2]
    return replace(of_checkpoint(*listed), name=name, title=name, served_name=name, from_table=why)


def from_contents(contents: "Contents", name: str) -> SizedModel:
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
        kv_cache_dtype=contents.kv_cache_dtype,
    )


def scheme_like(contents: "Contents") -> Scheme:
    """How the throughput model is to see those weights."""
    quantized = () if contents.precision == "bf16" else ("routed", "shared", "dense")
    return Scheme(name=contents.precision, quantized=quantized, bytes_per_param=2.0)


def precisions(name: str) -> tuple[str, ...]:
    """The precisions of a known model, the most faithful first."""
    return tuple(precision for precision in PRECISIONS if precision in models()[name].checkpoints)
