"""The models: architecture as data, and which checkpoint holds which precision."""

from functools import cache
from typing import Any, Literal, get_args

from infra.data import shipped_table
from infra.errors import UsageError
from infra.record import Record
from serving.model import families
from serving.model.families import Family

Precision = Literal["bf16", "fp8", "int4", "nvfp4"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
"""The most faithful first."""


class Vision(Record):
    """The image tower of a multimodal checkpoint."""

    hidden_size: int
    layers: int
    heads: int
    intermediate: int
    patch_size: int
    image_size: int
    projector_input: int
    projector_output: int
    pixel_shuffle_ratio: float = 0.5


class Architecture(Record):
    """What sizing needs of a checkpoint's config.json, named after it."""

    hidden_size: int
    layers: int
    attention_heads: int
    kv_heads: int
    head_dim: int
    qk_norm: bool = False
    """Queries and keys are normed with weights of their own."""
    expert_intermediate: int = 0
    dense_intermediate: int = 0
    experts: int = 0
    """Routed ones in each layer of `moe_layers`; 0 in a dense model."""
    experts_per_token: int = 0
    shared_experts: int = 0
    vocab_size: int
    attention_chunk_size: int | None = None
    global_layers: tuple[int, ...]
    """The layers whose attention sees the whole context; the others see one chunk."""
    moe_layers: tuple[int, ...]
    max_position_embeddings: int
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


def model(name: str) -> Model:
    """The model of that name. Raises UsageError for an unknown one."""
    if name not in models():
        raise UsageError(
            f"{name!r} is not a model corral knows.",
            f"Use {', '.join(models())}, or the path of a {families.titles()} checkpoint folder.",
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
        precision: Checkpoint(**(spec | {"scheme": schemes[spec["scheme"]]}))
        for precision, spec in row["checkpoint"].items()
    }
    family = families.families()[row["family"]]
    about = {key: row[key] for key in ("title", "maker", "licence") if key in row}
    return Model(
        name=name,
        family=family,
        architecture=architecture(family.otherwise | row),
        checkpoints=checkpoints,
        **about,
    )


def published(repo: str) -> tuple[Model, Checkpoint] | None:
    """The model and checkpoint of our table that a repository of the Hub holds; None for any other."""
    for known in models().values():
        for checkpoint in known.checkpoints.values():
            if checkpoint.repo == repo:
                return known, checkpoint
    return None


def architecture(fields: dict[str, Any]) -> Architecture:
    """The architecture of named fields: intervals, where there are any, become lists of layers."""
    layers = fields["layers"]
    known = {key: value for key, value in fields.items() if key in Architecture.model_fields}
    return Architecture(
        **{
            "global_layers": every(layers, fields.get("global_every", 1)),
            "moe_layers": every(layers, fields.get("moe_every", 1)) if fields.get("experts") else (),
        }
        | known
    )


def every(layers: int, step: int) -> tuple[int, ...]:
    """The layers whose one-based number is a multiple of the step."""
    return tuple(layer for layer in range(layers) if (layer + 1) % step == 0)
