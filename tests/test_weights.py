"""Parameter counts, checkpoint sizes and the per-rank split."""

import pytest

from serving.model.models import Architecture, Scheme, Vision, model
from serving.model.weights import (
    TOWER,
    Part,
    Split,
    fraction,
    parts,
    rank_bytes,
    shapes,
    stage_of_layers,
    stages_of,
    total_bytes,
)

GIB = 2**30


def active_params(a: Architecture) -> int:
    """Parameters one token is multiplied with; the embedding is looked up, not multiplied."""
    routed = {
        part.layer: part.params * a.experts_per_token // a.experts
        for part in shapes(a)
        if part.component == "routed"
    }
    skipped = ("embedding", "routed", "norm", *TOWER)
    return sum(part.params for part in shapes(a) if part.component not in skipped) + sum(routed.values())


def count(name: str, *components: str) -> int:
    return sum(part.params for part in shapes(model(name).architecture) if part.component in components)


@pytest.mark.parametrize(
    ("name", "total", "routed", "tower", "active"),
    [
        ("scout", 108_641_793_536, 96_636_764_160, 871_932_416, 16_137_912_320),
        ("maverick", 401_583_781_376, 386_547_056_640, 871_932_416, 16_149_708_800),
    ],
)
def test_parameters_of_the_released_models(
    name: str, total: int, routed: int, tower: int, active: int
) -> None:
    """Totals: Llama4ForConditionalGeneration on torch's meta device, transformers 5.23."""
    a = model(name).architecture
    vision = count(name, "vision", "vision_replicated", "projector")
    everything = sum(part.params for part in shapes(a))
    assert (everything, count(name, "routed"), vision, active_params(a)) == (total, routed, tower, active)
    assert everything - vision == {"scout": 107_769_861_120, "maverick": 400_711_848_960}[name]


@pytest.mark.parametrize(
    ("name", "precision", "size"),
    [
        ("scout", "bf16", 217_283_587_072),
        ("scout", "fp8", 114_642_119_680),
        ("scout", "int4", 64_873_065_472),
        ("scout", "nvfp4", 69_686_029_312),
        ("maverick", "bf16", 803_167_562_752),
        ("maverick", "fp8", 416_620_506_112 + 132_120_576),
        ("maverick", "int4", 215_938_788_352),
        ("maverick", "nvfp4", 234_482_854_912),
    ],
)
def test_checkpoint_bytes(name: str, precision: str, size: int) -> None:
    known = model(name)
    assert total_bytes(parts(known.architecture, known.checkpoints[precision].scheme)) == size


def rank(name: str, precision: str, split: Split, text_only: bool = False) -> tuple[float, ...]:
    known = model(name)
    weights = parts(known.architecture, known.checkpoints[precision].scheme)
    return tuple(round(size / GIB, 3) for size in rank_bytes(weights, known.architecture, split, text_only))


def test_one_rank_holds_its_share_and_what_is_replicated() -> None:
    assert rank("scout", "bf16", Split(1)) == (202.361,)
    assert rank("scout", "bf16", Split(2)) == (101.186,)
    assert rank("scout", "bf16", Split(8)) == (25.304,)
    assert rank("scout", "bf16", Split(8), text_only=True) == (25.099,)


def test_a_pipeline_puts_the_embedding_first_and_the_head_last() -> None:
    first, last = rank("maverick", "bf16", Split(8, 2), text_only=True)
    assert first == last == 46.662
    assert rank("maverick", "bf16", Split(8, 2))[0] == 46.867


def test_experts_are_dealt_out_whole_with_ep_and_sliced_without() -> None:
    sliced, whole = rank("maverick", "bf16", Split(8)), rank("maverick", "bf16", Split(8, expert=True))
    assert sliced == whole
    assert rank("scout", "bf16", Split(8, data=2)) < rank("scout", "bf16", Split(8))


def test_with_dp_and_ep_every_rank_runs_the_whole_shared_expert() -> None:
    """Sequence-parallel MoE (vLLM 0.32.0 config/parallel.py): 11.25 GiB of shared expert, not an eighth of it."""
    difference = (
        rank("scout", "bf16", Split(8, data=2, expert=True))[0] - rank("scout", "bf16", Split(8, data=2))[0]
    )
    assert round(difference, 2) == round(6_039_797_760 * 2 * 7 / 8 / GIB, 2)


def test_layers_over_stages() -> None:
    assert stage_of_layers(6, 4) == (0, 1, 1, 2, 2, 3)
    assert stage_of_layers(48, 2) == (0,) * 24 + (1,) * 24
    assert stage_of_layers(7, 3) == (0, 0, 1, 1, 1, 2, 2)
    assert stage_of_layers(5, 1) == (0,) * 5


# By hand


SMALL = Architecture(
    hidden_size=10,
    layers=2,
    attention_heads=4,
    kv_heads=2,
    head_dim=5,
    expert_intermediate=7,
    dense_intermediate=9,
    experts=3,
    experts_per_token=2,
    shared_experts=1,
    vocab_size=100,
    global_layers=(1,),
    moe_layers=(1,),
    max_position_embeddings=1000,
    vision=Vision(
        hidden_size=8,
        layers=2,
        heads=2,
        intermediate=6,
        patch_size=2,
        image_size=6,
        projector_input=4,
        projector_output=3,
        pixel_shuffle_ratio=0.5,
    ),
)
PARTS = (
    Part("embedding", None, 1000),
    Part("attention", 0, 2 * 10 * 20),
    Part("attention_kv", 0, 2 * 10 * 10),
    Part("norm", 0, 20),
    Part("dense", 0, 3 * 10 * 9, 2 * 9 + 10),
    Part("attention", 1, 400),
    Part("attention_kv", 1, 200),
    Part("norm", 1, 20),
    Part("router", 1, 30),
    Part("routed", 1, 3 * 10 * 7 * 3, (2 * 7 + 10) * 3),
    Part("shared", 1, 210, 24),
    Part("norm", 1, 10),
    Part("lm_head", None, 1000),
    # a layer: 4 x 8 x 8 and 2 x 8 x 6, biases of 3 x 8 and 6; then 32 x 4 and 4 x 3, and 3 x 2 x 2 x 8
    Part("vision", None, 2 * (256 + 96 + 24 + 6) + 128 + 12 + 96),
    # a layer: two norms and two biases; two norms more, the class and 9 + 1 positions
    Part("vision_replicated", None, 2 * (32 + 16) + 32 + 88),
    Part("projector", None, 30),
)  # fmt: skip


def test_every_part_of_a_small_model() -> None:
    assert tuple(shapes(SMALL)) == PARTS
    tied = SMALL.model_copy(update={"tied_embeddings": True, "vision": None, "shared_experts": 0})
    without = ("lm_head", "vision", "vision_replicated", "projector", "shared")
    assert tuple(shapes(tied)) == tuple(part for part in PARTS if part.component not in without)
    assert active_params(SMALL) == 270 + 2 * (400 + 200) + 30 + 630 * 2 // 3 + 210 + 1000


def test_what_a_scheme_quantizes_has_scales_and_the_rest_two_bytes() -> None:
    scheme = Scheme(name="fp8", quantized=("routed",), bytes_per_param=1.0, bytes_per_row=2.0)
    stored = {(part.component, part.layer): part.bytes for part in parts(SMALL, scheme)}
    assert (stored["routed", 1], stored["shared", 1]) == (630 + 2 * 72, 420)


@pytest.mark.parametrize(
    ("component", "split", "share"),
    [
        ("norm", Split(2), 1.0),
        ("router", Split(2), 1.0),
        ("vision_replicated", Split(2), 1.0),
        ("embedding", Split(2), 128 / 100 / 2),  # a vocabulary is padded to 64
        ("lm_head", Split(4), 128 / 100 / 4),
        ("attention", Split(2), 0.5),
        ("attention_kv", Split(2), 0.5),
        ("attention_kv", Split(4), 0.5),  # two heads for four ranks: each is held twice
        ("shared", Split(2, data=2, expert=True), 1.0),
        ("shared", Split(2, data=2), 0.5),
        ("shared", Split(2, expert=True), 0.5),
        ("shared", Split(1, data=2, expert=True), 1.0),
        ("routed", Split(2, data=2), 0.25),
        ("routed", Split(2, expert=True), 2 / 3),
        ("routed", Split(2, data=2, expert=True), 1 / 3),
        ("vision", Split(2, pipeline=3), 0.5),
    ],
)
def test_the_share_of_a_rank(component: str, split: Split, share: float) -> None:
    assert fraction(component, SMALL, split) == share
    assert Split(2, 3, 5).gpus == 30


@pytest.mark.parametrize(
    ("part", "stages", "tied"),
    [
        (Part("embedding", None, 1), (0,), (0, 2)),
        (Part("lm_head", None, 1), (2,), (2,)),
        (Part("vision", None, 1), (0, 1, 2), (0, 1, 2)),
        (Part("norm", 2, 1), (1,), (1,)),
    ],
)
def test_the_stages_that_hold_a_part(part: Part, stages: tuple[int, ...], tied: tuple[int, ...]) -> None:
    assert stages_of(part, (0, 1, 1, 2), SMALL) == stages
    assert stages_of(part, (0, 1, 1, 2), SMALL.model_copy(update={"tied_embeddings": True})) == tied
    assert stages_of(part, (0,) * 4, SMALL.model_copy(update={"tied_embeddings": True})) == (0,)
