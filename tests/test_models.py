"""The table of models: what a row takes from its base, and a name nobody knows."""

import tomllib

import pytest

from infra.errors import UsageError
from serving.model import models
from serving.model.families import check_version, families
from serving.model.models import Architecture, Checkpoint, Model, Scheme

TABLE = """
[small]
family = "llama4"
hidden_size = 8
layers = 6
attention_heads = 4
kv_heads = 2
head_dim = 2
expert_intermediate = 16
dense_intermediate = 32
experts_per_token = 1
shared_experts = 1
vocab_size = 64
global_every = 4

[model.small]
base = "small"
title = "Small"
experts = 2
moe_every = 2
max_position_embeddings = 100
checkpoint.fp8 = { repo = "a/b", scheme = "fp8", source = "read", extra_bytes_at_most = 7 }

[scheme.fp8]
quantized = ["routed"]
bytes_per_param = 1.0
bytes_per_row = 2.0
"""


def test_a_row_is_its_own_words_over_those_of_its_base() -> None:
    assert models.parse(tomllib.loads(TABLE)) == {
        "small": Model(
            name="small",
            title="Small",
            family=families()["llama4"],
            architecture=Architecture(
                hidden_size=8,
                layers=6,
                attention_heads=4,
                kv_heads=2,
                head_dim=2,
                expert_intermediate=16,
                dense_intermediate=32,
                experts=2,
                experts_per_token=1,
                shared_experts=1,
                vocab_size=64,
                global_layers=(3,),
                moe_layers=(1, 3, 5),
                max_position_embeddings=100,
            ),
            checkpoints={
                "fp8": Checkpoint(
                    precision="fp8",
                    repo="a/b",
                    scheme=Scheme(name="fp8", quantized=("routed",), bytes_per_param=1.0, bytes_per_row=2.0),
                    source="read",
                    extra_bytes_at_most=7,
                )
            },
        )
    }


def test_a_model_nobody_knows_is_answered_with_those_that_are_known() -> None:
    with pytest.raises(UsageError) as caught:
        models.model("llama-5")
    assert caught.value.message == "'llama-5' is not a model corral knows."
    assert caught.value.hint == "Use scout, maverick, or the path of a Llama 4 checkpoint folder."
    assert [models.model(name).title for name in models.models()] == [
        "Llama 4 Scout 17B-16E",
        "Llama 4 Maverick 17B-128E",
    ]


def test_a_vllm_from_before_llama_4_has_none() -> None:
    with pytest.raises(UsageError) as caught:
        check_version(families()["llama4"], "0.8.2")
    assert caught.value.message == "vLLM 0.8.2 has no Llama 4; it came with 0.8.3."
    assert caught.value.hint == "Leave out --vllm-version to plan for 0.33.0."


def test_a_prompt_of_llama_4_may_carry_five_images() -> None:
    assert families()["llama4"].images == 5
