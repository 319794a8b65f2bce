"""One truth for context: the longest request that is spoken of is the longest --max-model-len that is planned for."""

from dataclasses import replace
from typing import Any

import pytest

from infra.hardware import Gpu, Machine
from serving.model.kv import Layout
from serving.model.memory import Budget, Sizes, budget
from serving.model.models import Architecture, models
from serving.model.weights import Split
from serving.sizing import fit, gpu_pool
from serving.sizing.fit import Outcome, at_length, best_outcome, longest_request
from serving.sizing.memory_pool import Case, Knobs, Pool
from serving.sizing.plan_explained import explained
from serving.sizing.plan_text import plan_text
from serving.sizing.ranking_text import ranking_row
from serving.sizing.size import on, plan
from serving.sizing.size_options import Options
from serving.sizing.sized_model import named, precisions
from serving.vllm.serve_options import argv
from serving.vllm.versions import Rules

MACHINES = (
    "g5.12xlarge",
    "g6e.12xlarge",
    "g7e.2xlarge",
    "p4d.24xlarge",
    "p5.4xlarge",
    "p5.48xlarge",
    "p6-b200.48xlarge",
    "2xp5.48xlarge",
    "1xA100-80GB",
    "2xA100-80GB",
    "8xL40S",
    "1xRTX-PRO-6000",
)
ASKED = (
    Options(),
    Options(kv_cache_dtype="fp8", concurrency=300),
    Options(vllm_version="0.10.1", input_tokens=6000),
    Options(vllm_version="0.8.3", kv_cache_dtype="fp8", enforce_eager=True),
    Options(vllm_version="0.24.0", max_num_seqs=100),
    Options(kv_cache_memory_bytes=3 << 30, disable_hybrid_kv_cache_manager=True),
    Options(language_model_only=True, gpu_memory_utilization=0.9, max_num_batched_tokens=4096),
)
WAYS = [
    (name, precision, machine, ASKED[number % len(ASKED)])
    for number, (name, precision, machine) in enumerate(
        (name, precision, machine)
        for name in models()
        for precision in precisions(name)
        for machine in MACHINES
    )
]


def works(case: Case, length: int) -> bool:
    asked = case.options.model_copy(update={"max_model_len": length})
    return best_outcome(replace(case, options=asked)).verdict != "does not fit"


@pytest.mark.parametrize("machine", MACHINES)
def test_the_longest_request_is_planned_for_and_a_token_more_is_not(machine: str) -> None:
    """Whatever --max-model-len was said, the same: it is of the machine, not of the plan."""
    found: Machine = on(machine)
    for name, precision, where, options in WAYS:
        if where != machine:
            continue
        case = Case(named(name, precision), found, options)
        longest, limit = longest_request(case), case.subject.architecture.max_position_embeddings
        said = (name, precision, options, longest)
        assert longest == 0 or works(case, longest), said
        assert longest == limit or not works(case, longest + 1), said
        short = options.model_copy(update={"max_model_len": 8192})
        assert longest_request(replace(case, options=short)) == longest, said


@pytest.mark.parametrize(
    ("precision", "machine", "longest"), [("int4", "g5.12xlarge", 200_208), ("int4", "p5.4xlarge", 245_872)]
)
def test_it_is_quoted_everywhere(precision: str, machine: str, longest: int) -> None:
    short = plan(named("scout", precision), on(machine), Options())
    long = plan(named("scout", precision), on(machine), Options(max_model_len=longest))
    over = plan(named("scout", precision), on(machine), Options(max_model_len=longest + 16))
    assert (short.kv.max_context_tokens, long.kv.max_context_tokens) == (longest, longest)
    assert (long.fits, long.serve.max_model_len, over.fits) == (True, longest, False)
    squeezed = "--max-num-seqs 64, --gpu-memory-utilization 0.95, --language-model-only"
    assert over.notes[:2] == (
        f"--max-model-len {longest} would fit, with {squeezed} in place of vLLM's defaults. It takes no images then.",
        "The figures above are of the best attempt, with the same options.",
    )
    assert f"  longest request = {longest:,} tokens" in explained(short)
    assert ranking_row(short)[-1] == f"{longest:,}"


SQUEEZED = ("--gpu-memory-utilization", "0.95", "--max-num-seqs", "64", "--language-model-only")


@pytest.mark.parametrize(
    ("precision", "machine", "options", "longest", "args"),
    [
        ("bf16", "8xH100", Options(), 7_739_712, SQUEEZED),
        ("fp8", "8xH200", Options(), 10_485_760, ("--max-num-seqs", "64")),
        ("int4", "g5.12xlarge", Options(), 200_208, ()),
        ("bf16", "8xH100", Options(max_model_len=7_739_712), 7_739_712, ()),
        ("int4", "g4dn.metal", Options(), 0, ()),
    ],
)
def test_it_names_the_settings_that_it_takes_where_the_plan_has_others(
    precision: str, machine: str, options: Options, longest: int, args: tuple[str, ...]
) -> None:
    """More than the cache that is printed with it; with those settings it is planned for, as if they were typed."""
    made = plan(named("scout", precision), on(machine), options)
    assert (made.kv.max_context_tokens, made.kv.max_context_args) == (longest, args)
    taken = f"with {' '.join(args)}" if args else ""
    if made.fits:
        rows = plan_text(made).partition("  longest request  ")[2].partition("\n\n")[0].splitlines()
        assert [row.strip() for row in rows] == [
            f"{longest:,} tokens, were --max-model-len raised to it",
            *filter(None, [taken]),
        ]
        line = f"  longest request = {longest:,} tokens{f', {taken}' if taken else ''}"
        assert line in explained(made).splitlines()
    if longest:
        long = plan(named("scout", precision), on(machine), Options(max_model_len=longest))
        assert long.fits
        assert {*args} <= {*argv(long.serve)}


def test_the_note_of_doing_without_the_hybrid_manager_names_them_too() -> None:
    made = plan(named("scout", "bf16"), on("8xH100"), Options())
    (note,) = [each for each in made.notes if "hybrid KV manager" in each]
    assert note.endswith(f" and requests could still be 2,012,992 tokens long, with {' '.join(SQUEEZED)}.")
    without = Options(disable_hybrid_kv_cache_manager=True, max_model_len=2_012_992)
    long = plan(named("scout", "bf16"), on("8xH100"), without)
    assert (long.fits, long.serve.gpu_memory_utilization, long.serve.max_num_seqs) == (True, 0.95, 64)


def test_a_refusal_quotes_the_way_that_came_nearest() -> None:
    """Not vLLM's defaults, of which 6,230 blocks were left."""
    over = plan(named("scout", "int4"), on("g5.12xlarge"), Options(max_model_len=203_696))
    assert over.reason == (
        "A request of 203,696 tokens needs 15,036 KV blocks, vLLM's null block among them, and 14,813 are left "
        "(2.7 GiB per GPU)."
    )
    assert (over.serve.max_num_seqs, over.serve.gpu_memory_utilization) == (64, 0.95)


def test_a_workload_between_two_proposals_is_planned_for_as_long_as_it_is() -> None:
    """131,072 + 69,000 tokens: the next whole 1,024 are too many, the request itself is not."""
    found = plan(
        named("scout", "int4"), on("g5.12xlarge"), Options(input_tokens=131_072, output_tokens=69_000)
    )
    assert (found.fits, found.serve.max_model_len) == (True, 200_072)
    over = plan(
        named("scout", "int4"), on("g5.12xlarge"), Options(input_tokens=131_072, output_tokens=69_200)
    )
    assert (over.fits, over.notes[0]) == (
        False,
        "Requests of up to 200,208 tokens, in and out together, would fit, with --max-num-seqs 64, "
        "--gpu-memory-utilization 0.95, --language-model-only in place of vLLM's defaults. It takes no images then.",
    )


def said_of(precision: str, machine: str, **asked: Any) -> tuple[str, ...]:
    """The notes of a plan that does not fit, as far as they are of its memory."""
    found = plan(named("scout", precision), on(machine), Options(**asked))
    assert not found.fits
    return found.notes[: next(at for at, note in enumerate(found.notes) if note.startswith("EC2 sells"))]


def test_a_refusal_says_what_its_best_attempt_changed_and_that_a_cache_of_8_bits_would_do() -> None:
    """In fp8 on two A100s of 80 GB: 790,448 tokens were told as if images could be among them."""
    of_cache = (
        "It would fit with --kv-cache-dtype fp8.",
        "--kv-cache-dtype fp8 on compute capability 8.0 goes through FlashInfer, which has an open Llama 4 crash "
        "(vllm #49980): leave it at auto, or test it.",
    )
    squeezed = "--max-num-seqs 64, --gpu-memory-utilization 0.95, --language-model-only"
    alone = {"concurrency": 1, "max_model_len": 1 << 20, "output_tokens": 500}
    assert said_of("fp8", "2xA100-80GB", input_tokens=1_000_000, **alone) == (
        "Requests of up to 790,448 tokens, in and out together, would fit, with "
        f"{squeezed} in place of vLLM's defaults. It takes no images then.",
        "The figures above are of the best attempt, with the same options.",
        *of_cache,
    )
    fixed = {"max_num_seqs": 64, "gpu_memory_utilization": 0.95, "language_model_only": True}
    assert said_of("fp8", "2xA100-80GB", input_tokens=1000, **alone, **fixed) == (
        "--max-model-len 790448 would fit.",
        *of_cache,
    )
    long = said_of("fp8", "2xA100-80GB", max_model_len=10_000_000)
    assert not [note for note in long if "--kv-cache-dtype" in note]
    eight_bits = said_of("fp8", "2xA100-80GB", max_model_len=10_000_000, kv_cache_dtype="fp8")
    assert not [note for note in eight_bits if "It would fit with" in note]


def test_a_precision_that_a_gpu_refuses_holds_nothing() -> None:
    found = plan(named("scout", "int4"), on("g4dn.metal"), Options())
    assert (found.fits, found.kv.max_context_tokens) == (False, 0)
    assert not [note for note in found.notes if "would fit" in note]


@pytest.mark.parametrize("machine", ["8xH200", "p6-b200.48xlarge"])
def test_where_block_tables_are_the_limit_it_is_found_by_halving(
    machine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1,024 sequences of ten million tokens need tables beside the budget: 21 GiB of a share of 8 %."""
    looked_at: list[int] = []

    def counted(pool: Pool, split: Split, knobs: Knobs, kv: Layout, length: int) -> Outcome:
        looked_at.append(length)
        return at_length(pool, split, knobs, kv, length)

    monkeypatch.setattr(fit, "at_length", counted)
    case = Case(named("scout", "bf16"), on(machine), Options(max_num_seqs=1024))
    longest = longest_request(case)
    assert 1_000_000 < longest < 10_000_000
    assert len(looked_at) < 100
    assert (works(case, longest), works(case, longest + 1)) == (True, False)


LOADS = (1, 16, 40, 64, 65, 200, 256, 1000, 5000)


@pytest.mark.parametrize(
    ("name", "precision", "machine", "options"),
    [
        ("scout", "int4", "g5.12xlarge", Options()),
        ("scout", "int4", "p5.4xlarge", Options()),
        ("scout", "fp8", "2xH100", Options(input_tokens=4000)),
        ("scout", "int4", "g6e.12xlarge", Options(max_model_len=131_072, kv_cache_dtype="fp8")),
        ("maverick", "int4", "p4d.24xlarge", Options(input_tokens=8000, vllm_version="0.10.0")),
        ("maverick", "fp8", "8xH100", Options(data_parallel_size=8, tensor_parallel_size=1)),
    ],
    ids=lambda value: None if isinstance(value, Options) else value,
)
def test_more_load_is_never_slower_and_never_fits_worse(
    name: str, precision: str, machine: str, options: Options
) -> None:
    made = [
        plan(named(name, precision), on(machine), options.model_copy(update={"concurrency": load}))
        for load in LOADS
    ]
    speeds = [each.throughput.output_tokens_per_s if each.throughput else 0.0 for each in made]
    assert (speeds, {each.fits for each in made}) == (sorted(speeds), {made[0].fits})


@pytest.mark.parametrize("seqs", [64, 128, 256])
def test_no_number_of_sequences_said_by_hand_is_faster_than_the_planners(seqs: int) -> None:
    for machine in ("g5.12xlarge", "p5.4xlarge", "g6e.12xlarge"):
        asked = Options(concurrency=256)
        by_hand = plan(named("scout", "int4"), on(machine), asked.model_copy(update={"max_num_seqs": seqs}))
        chosen = plan(named("scout", "int4"), on(machine), asked)
        assert by_hand.throughput is not None
        assert chosen.throughput is not None
        assert chosen.throughput.output_tokens_per_s >= by_hand.throughput.output_tokens_per_s


def test_on_a_machine_without_a_gpu_too() -> None:
    machine = on("g5.12xlarge").model_copy(update={"gpu": None, "ram_gib": 256.0})
    longest = plan(named("scout", "bf16"), machine, Options()).kv.max_context_tokens
    made = [plan(named("scout", "bf16"), machine, Options(max_model_len=longest + more)) for more in (0, 1)]
    assert [(each.fits, each.kv.max_context_tokens) for each in made] == [(True, longest), (False, longest)]


def test_a_load_of_any_size_is_planned_for_with_few_looks_at_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What a sequence takes is found from two; no number of sequences is tried out."""
    looks: list[int] = []

    def counted(gpu: Gpu, a: Architecture, version: Rules, sizes: Sizes) -> Budget:
        looks.append(sizes.max_num_seqs)
        return budget(gpu, a, version, sizes)

    monkeypatch.setattr(gpu_pool, "budget", counted)
    found = {}
    for load in (16, 300, 5000):
        looks.clear()
        plan(named("scout", "int4"), on("g5.12xlarge"), Options(concurrency=load))
        found[load] = len(looks)
    assert max(found.values()) < 80, found
