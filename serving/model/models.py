"""The models: architecture as data, and which checkpoint holds which precision."""

from functools import cache
from typing import Annotated, Any, Literal, get_args

from pydantic import Field

from infra.argument import pasted
from infra.data import shipped_table
from infra.errors import UsageError
from infra.near import meant
from infra.record import Record
from serving.model import families
from serving.model.families import Family

Precision = Literal["bf16", "fp8", "int4", "nvfp4"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
"""The most faithful first."""


MOST_LAYERS = 4096
"""Each is gone through by itself."""

# Far beyond any model there is; sums of their products stay what a float can hold.
Width = Annotated[int, Field(ge=1, le=2**24)]
MaybeWidth = Annotated[int, Field(ge=0, le=2**24)]
Layers = Annotated[int, Field(ge=1, le=MOST_LAYERS)]
Layer = Annotated[int, Field(ge=0, lt=MOST_LAYERS)]
LayerList = Annotated[tuple[Layer, ...], Field(max_length=MOST_LAYERS)]
Tokens = Annotated[int, Field(ge=1, le=2**31)]


class Vision(Record):
    """The image tower of a multimodal checkpoint."""

    hidden_size: Width
    layers: Layers
    heads: Width
    intermediate: Width
    patch_size: Width
    image_size: Width
    projector_input: Width
    projector_output: Width
    pixel_shuffle_ratio: float = Field(default=0.5, ge=1 / 64, le=64)


class Architecture(Record):
    """What sizing needs of a checkpoint's config.json, named after it."""

    hidden_size: Width
    layers: Layers
    attention_heads: Width
    kv_heads: Width
    head_dim: Width
    qk_norm: bool = False
    """Queries and keys are normed with weights of their own."""
    expert_intermediate: MaybeWidth = 0
    dense_intermediate: MaybeWidth = 0
    experts: MaybeWidth = 0
    """Routed ones in each layer of `moe_layers`; 0 in a dense model."""
    experts_per_token: MaybeWidth = 0
    shared_experts: MaybeWidth = 0
    vocab_size: Width
    attention_chunk_size: Tokens | None = None
    global_layers: LayerList
    """The layers whose attention sees the whole context; the others see one chunk."""
    moe_layers: LayerList
    max_position_embeddings: Tokens
    tied_embeddings: bool = False
    vision: Vision | None = None


class Scheme(Record):
    """How a checkpoint stores its weights."""

    name: str
    quantized: tuple[str, ...]
    bytes_per_param: float
    bytes_per_row: float = 0.0


class Checkpoint(Record):
    """One published repository, or a folder, of a model."""

    repo: str
    precision: Precision
    revision: str | None = None
    """The full commit that is fetched; None where the Hub is to be asked."""
    gated: bool | None = None
    """Whether the Hub lets only those fetch it who accepted its licence; None where nobody looked."""
    scheme: Scheme
    source: str
    extra_bytes_at_most: int = 0
    """How much larger it may turn out, where its layout was not read."""


class Model(Record):
    """A model corral knows by name."""

    name: str
    title: str
    family: Family
    maker: str = ""
    """The owner, on the Hub, of the weights as their maker released them."""
    licence: str = ""
    architecture: Architecture
    checkpoints: dict[str, Checkpoint]
    variants: tuple[Checkpoint, ...] = ()
    """Other repositories of it, which are known by their names."""


def model(name: str) -> Model:
    """The model of that name. Raises UsageError for an unknown one."""
    if name not in models():
        raise UsageError(
            f"{name!r} is not a model corral knows.",
            meant(name, models())
            or f"Use {', '.join(models())}, or the path of a {families.titles()} checkpoint folder.",
        )
    return models()[name]


@cache
def models() -> dict[str, Model]:
    """The shipped models."""
    return parse(shipped_table("serving.model", "models.toml"))


def parse(table: dict[str, Any]) -> dict[str, Model]:
    """The models of a table like models.toml; a row may take what it does not say from a `base` table."""
    schemes = {name: Scheme(name=name, **row) for name, row in table["scheme"].items()}
    return {
        name: model_of(name, table.get(row.get("base", ""), {}) | row, schemes)
        for name, row in table["model"].items()
    }


def model_of(name: str, row: dict[str, Any], schemes: dict[str, Scheme]) -> Model:
    """One table of models.toml as a model."""
    checkpoints = {
        precision: Checkpoint(**(spec | {"precision": precision, "scheme": schemes[spec["scheme"]]}))
        for precision, spec in row["checkpoint"].items()
    }
    variants = [Checkpoint(**(spec | {"scheme": schemes[spec["scheme"]]})) for spec in row.get("variant", ())]
    family = families.families()[row["family"]]
    about = {key: row[key] for key in ("title", "maker", "licence") if key in row}
    return Model(
        name=name,
        family=family,
        architecture=architecture(family.otherwise | row),
        checkpoints=checkpoints,
        variants=tuple(variants),
        **about,
    )


def published(repo: str) -> tuple[Model, Checkpoint] | None:
    """The model and checkpoint of our table that a repository of the Hub holds; None for any other."""
    for known in models().values():
        for checkpoint in (*known.checkpoints.values(), *known.variants):
            if checkpoint.repo == repo:
                return known, checkpoint
    return None


def to_fetch(repo: str) -> str:
    """What is typed for a repository's weights: a model of our table with its precision, or the repository."""
    listed = published(repo)
    if listed is None or listed[1] not in listed[0].checkpoints.values():
        return pasted(repo)
    return f"{listed[0].name} --precision {listed[1].precision}"


def architecture(fields: dict[str, Any]) -> Architecture:
    """The architecture of named fields: intervals, where there are any, become lists of layers.

    Raises ValidationError, ValueError or TypeError for what is none.
    """
    layers = min(int(fields["layers"]), MOST_LAYERS)
    known = {key: value for key, value in fields.items() if key in Architecture.model_fields}
    return Architecture(
        **{
            "global_layers": every(layers, int(fields.get("global_every", 1))),
            "moe_layers": every(layers, int(fields.get("moe_every", 1))) if fields.get("experts") else (),
        }
        | known
    )


def every(layers: int, step: int) -> tuple[int, ...]:
    """The layers whose one-based number is a multiple of the step."""
    return tuple(layer for layer in range(layers) if (layer + 1) % step == 0)
