"""What of adapters a plan's own flags set memory aside for, as vLLM reads them."""

import pytest

from serving.sizing.given_adapters import slots_of
from serving.vllm.serve_options import ServeOptions


@pytest.mark.parametrize(
    ("words", "slots"),
    [
        ("", (0, ())),
        ("--enable-lora", (16, ())),
        ("--enable-lora --max-lora-rank 32", (32, ())),
        ("--enable-lora --max-lora-rank=64 --max-lora-rank 8", (8, ())),
        ("--enable-lora --lora-target-modules q_proj v_proj --max-lora-rank 32", (32, ("q_proj", "v_proj"))),
        ("--lora-target-modules=q_proj --enable-lora", (16, ("q_proj",))),
        ("--enable-lora --no-enable-lora --max-lora-rank 32", (0, ())),
        ("--max-lora-rank 32", (0, ())),
    ],
)
def test_the_last_of_an_option_counts(words: str, slots: tuple[int, tuple[str, ...]]) -> None:
    serve = ServeOptions(model="m", served_model_name="m", extra_args=tuple(words.split()))
    assert slots_of(serve) == slots
