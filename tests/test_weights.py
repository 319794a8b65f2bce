"""Parameter counts, checkpoint sizes and the per-rank split."""

import pytest

from serving.models import model
from serving.weights import Split, active_params, parts, rank_bytes, shapes, stage_of_layers, total_bytes

GIB = 2**30


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
