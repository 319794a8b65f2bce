"""What the reader of a plan is told beside its figures: each sentence with its numbers, and none where none is due."""

from datetime import date, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from infra.catalog import machine
from infra.prices import price_of
from serving.sizing import plan_notes


def knobs(*squeezed: str) -> Any:
    return SimpleNamespace(squeezed=squeezed)


@pytest.mark.parametrize(
    ("squeezed", "kv_gib", "lacks"),
    [
        (("--enforce-eager", "--max-num-seqs 8"), -1.26,
         ["With --enforce-eager, --max-num-seqs 8 it still lacks 1.3 GiB per GPU."]),
        (("--enforce-eager",), 0.0, []),
        (("--enforce-eager",), 0.5, []),
        ((), -1.26, []),
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    ("verdict", "longest", "longest_asked", "said"),
    [
        ("fits", 4096, 8192, []),
        ("tight", 4096, 8192, []),
        ("does not fit", 0, 8192, []),
        ("does not fit", 4096, 8192, ["Requests of up to 4,096 tokens, in and out together, would fit."]),
        ("does not fit", 8192, 8192, ["--max-model-len 8192 would fit."]),
        ("does not fit", 9000, 8192, ["--max-model-len 9000 would fit."]),
    ],
)
def test_how_far_it_is_from_fitting(
    squeezed: tuple[str, ...],
    kv_gib: float,
    lacks: list[str],
    verdict: str,
    longest: int,
    longest_asked: int,
    said: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A cache of exactly nothing lacks nothing that can be told."""
    last = SimpleNamespace(knobs=knobs(*squeezed), kv_gib=kv_gib)
    case: Any = SimpleNamespace(options=SimpleNamespace(request_tokens=longest_asked))
    outcome: Any = SimpleNamespace(verdict=verdict, knobs=knobs())
    monkeypatch.setattr(plan_notes, "most_squeezed", lambda asked: last if asked is case else None)
    monkeypatch.setattr(
        plan_notes, "longest_alone", lambda asked, tokens: asked if tokens == longest else None
    )
    monkeypatch.setattr(plan_notes, "best_outcome", lambda asked: outcome if asked is case else None)
    monkeypatch.setattr(plan_notes, "smaller_cache_notes", lambda asked: [])
    assert plan_notes.failing_notes(case, outcome, longest) == [*lacks, *said]


def fitting(squeezed: tuple[str, ...], positions: int, extra_bytes: int) -> list[str]:
    """Of a model of 1,048,576 positions with heads of 128."""
    architecture = SimpleNamespace(max_position_embeddings=1_048_576, head_dim=128)
    subject: Any = SimpleNamespace(
        architecture=architecture, extra_bytes_at_most=extra_bytes, repo="a/b", weights_source="a guess"
    )
    outcome: Any = SimpleNamespace(knobs=knobs(*squeezed), max_position_embeddings=positions)
    return plan_notes.fitting_notes(subject, outcome)


def test_what_the_launch_changes_and_why() -> None:
    assert fitting((), 1_048_576, 0) == []
    assert fitting(("--enforce-eager", "-x"), 1_048_576, 0) == [
        "Fits with --enforce-eager, -x in place of vLLM's defaults."
    ]
    assert fitting(("--language-model-only",), 524_288, 1_240_000_000) == [
        "Fits with --language-model-only in place of vLLM's defaults. It takes no images then.",
        "--hf-overrides sets max_position_embeddings to 524288: without it every GPU holds a rotary table for "
        "1,048,576 positions, 0.12 GiB more.",
        "a/b may be up to 1.2 GB larger than planned (a guess).",
    ]
    # 0.005 GiB are 20,971.5 positions.
    assert fitting((), 1_048_576 - 20_971, 0) == []
    assert len(fitting((), 1_048_576 - 20_972, 0)) == 1


@pytest.mark.parametrize(
    ("repo_from", "own", "asked", "said"),
    [
        ("", "auto", "auto", []),
        ("", "fp8", "auto", []),
        ("", "fp8", "fp8", ["fp8"]),
        ("", "auto", "fp8", []),
        ("no network", "auto", "auto", ["table"]),
    ],
)
def test_what_the_checkpoint_itself_settles(repo_from: str, own: str, asked: str, said: list[str]) -> None:
    subject: Any = SimpleNamespace(from_table=repo_from, weights_source="read in May", kv_cache_dtype=own)
    options: Any = SimpleNamespace(kv_cache_dtype=asked)
    sentences = {
        "table": "The Hub was not asked (no network): sizes are those of corral's own table, read in May.",
        "fp8": "The checkpoint says that its KV cache is FP8, for which vLLM takes --kv-cache-dtype auto: "
        "--kv-cache-dtype bfloat16 keeps 16 bits, and holds half as much.",
    }
    assert plan_notes.stored_notes(subject, options) == [sentences[word] for word in said]


@pytest.mark.parametrize(
    ("used", "said"),
    [(2, ["2 of 4 GPUs stay idle: this plan uses 2."]), (3, ["1 of 4 GPUs stay idle: this plan uses 3."]), (4, [])],
)  # fmt: skip
def test_gpus_that_are_paid_for_and_not_used(used: int, said: list[str]) -> None:
    outcome: Any = SimpleNamespace(split=SimpleNamespace(gpus=used))
    assert plan_notes.idle_notes(machine("g5.12xlarge"), outcome) == said


def test_an_old_price_or_none() -> None:
    here, of_a_region = (SimpleNamespace(region=region) for region in (None, "eu-west-1"))
    g5 = machine("g5.12xlarge")
    price: Any = price_of(g5)

    def said(options: Any, age_days: int, whose: Any = g5) -> list[str]:
        return plan_notes.price_notes(whose, price, options, price.checked_on + timedelta(days=age_days))

    assert said(here, 90) == []
    assert said(here, 91) == ["The price is 91 days old; ask AWS for today's: corral prices --refresh"]
    assert said(of_a_region, 100) == [
        "The price is 100 days old; ask AWS for today's: corral prices --refresh --region eu-west-1"
    ]
    assert said(here, 100, machine("8xH100")) == []
    today = date(2026, 1, 1)
    for options, region in ((here, "us-east-1"), (of_a_region, "eu-west-1")):
        asked: Any = options
        assert plan_notes.price_notes(g5, None, asked, today) == [
            f"corral has no price for g5.12xlarge in {region}, where it may not be sold at all; ask AWS: "
            f"corral prices --refresh --region {region}"
        ]
    block = price.model_copy(update={"purchase": "capacity-block"})
    asked = here
    assert plan_notes.price_notes(g5, block, asked, block.checked_on) == [
        "g5.12xlarge has no on-demand price: it is rented as a Capacity Block, paid ahead."
    ]


def test_adapters_that_share_slots_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_notes, "misapplied", {"b": "b is read otherwise."}.get)
    three: Any = SimpleNamespace(lora_slots=(2, 16), lora=("a", "b", "c"))
    assert plan_notes.adapter_notes(three) == [
        "3 adapters share 2 slots: a request for one that has none waits until it is copied into one.",
        "b is read otherwise.",
    ]
    two: Any = SimpleNamespace(lora_slots=(2, 16), lora=("a", "c"))
    assert plan_notes.adapter_notes(two) == []


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("g5.12xlarge", []),
        ("4xA10G", []),
        ("4xRTX-4090", []),
    ],
)
def test_what_ec2_rents_is_not_told_of_a_shape_that_it_rents_or_of_a_gpu_that_it_has_not(
    name: str, said: list[str]
) -> None:
    found = machine(name)
    assert found.gpu is not None
    assert plan_notes.sold_notes(found, found.gpu) == said


def test_what_ec2_rents_of_a_gpu_is_told_of_a_shape_that_it_does_not_rent() -> None:
    h200, a10g = machine("2xH200"), machine("2xA10G")
    assert h200.gpu is not None
    assert a10g.gpu is not None
    (said,) = plan_notes.sold_notes(h200, h200.gpu)
    assert said.startswith("EC2 sells H200s only by eight: ")
    (said,) = plan_notes.sold_notes(a10g, a10g.gpu)
    assert said.startswith("EC2 sells A10Gs only by 1 or 4 or 8: g5.")


def test_an_ec2_type_with_its_gpus_and_price(monkeypatch: pytest.MonkeyPatch) -> None:
    assert plan_notes.offer(machine("g5.12xlarge")) == "g5.12xlarge (4xA10G, $5.672/h)"
    monkeypatch.setattr(plan_notes, "price_of", lambda _: None)
    assert plan_notes.offer(machine("g5.12xlarge")) == "g5.12xlarge (4xA10G, no on-demand price)"


@pytest.mark.parametrize(
    ("groups", "tokens", "verdict", "taken", "said"),
    [
        ((1, 1), 8192, "fits", (), ["123,456 tokens long."]),
        ((0, 2), 100, "fits", ("--max-num-seqs", "64"), ["123,456 tokens long, with --max-num-seqs 64."]),
        ((1, 0), 8192, "fits", (), []),
        ((1, 1), 8193, "fits", (), []),
        ((1, 1), 8192, "tight", (), []),
    ],
)  # fmt: skip
def test_short_requests_gain_nothing_from_the_hybrid_kv_manager(
    groups: tuple[int, int], tokens: int, verdict: str, taken: tuple[str, ...], said: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    changed: list[dict[str, object]] = []

    def model_copy(update: dict[str, object]) -> str:
        changed.append(update)
        return "without"

    options = SimpleNamespace(request_tokens=tokens, model_copy=model_copy)
    case: Any = SimpleNamespace(
        subject=SimpleNamespace(architecture=SimpleNamespace(attention_chunk_size=8192)), options=options
    )
    layout = SimpleNamespace(full_groups=groups[0], local_groups=groups[1])
    outcome: Any = SimpleNamespace(layout=layout, verdict=verdict)
    monkeypatch.setattr(plan_notes, "replace", lambda _, options: options)
    monkeypatch.setattr(plan_notes, "longest_request", {"without": 123_456}.get)
    monkeypatch.setattr(plan_notes, "taken_for", lambda without, longest, way: taken)
    begun = (
        "Requests of up to 8,192 tokens gain nothing from the hybrid KV manager. --disable-hybrid-kv-cache-manager "
        "was measured 1 to 2 ms a token faster (vllm #21761, #46553), and requests could still be "
    )
    assert plan_notes.hybrid_notes(case, outcome) == [f"{begun}{end}" for end in said]
    assert changed == ([{"disable_hybrid_kv_cache_manager": True}] if said else [])
