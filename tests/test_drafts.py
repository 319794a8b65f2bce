"""Speculative decoding: what a draft takes of memory and of a step, how vLLM is told, and what cannot be meant."""

import json
import shlex
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import pytest
import refusals

from deploy.cli.main import run
from deploy.export.formats import export
from deploy.export.rendering import Ask
from deploy.targets.deployment import make
from deploy.targets.local import cached_weights
from infra.catalog import gpus
from infra.errors import DocumentError, UsageError
from infra.hardware import GIB
from serving.model import fetching, hub, precheck, tiny
from serving.model.bands import unfitted
from serving.model.draft import Drafting
from serving.model.families import families
from serving.model.models import Architecture, Scheme
from serving.model.roofline import Engine, pass_s, step_s
from serving.model.speculation import data
from serving.model.throughput import Load, decoding_at_once, kernels_s, speed
from serving.model.weights import Split
from serving.sizing import kept_calibrations
from serving.sizing.fit import best_outcome, pool_of
from serving.sizing.memory_pool import Case
from serving.sizing.plan import Plan
from serving.sizing.plan_again import asked_for
from serving.sizing.predict import Predictor
from serving.sizing.size import on, plan, plan_stored, stored
from serving.sizing.size_options import Options
from serving.sizing.sized_model import named
from serving.vllm.serve_options import ServeOptions, argv
from serving.vllm.versions import rules

COMMIT = "5c0c7a3e" * 5  # conftest's
SCOUTS = "lmsys/SGLang-EAGLE3-Llama-4-Scout-17B-16E-Instruct-SpecForge"
MAVERICKS = "lmsys/sglang-EAGLE3-Llama-4-Maverick-17B-128E-Instruct-v1"
NGRAM = '{"method": "ngram", "num_speculative_tokens": 3}'
PAGE = 16 * 2 * 1 * 128 * 2
"""Bytes of a block of one layer on one of eight GPUs."""


def eagle(model: object = SCOUTS, **more: object) -> str:
    return json.dumps({"model": str(model), "method": "eagle3", "num_speculative_tokens": 3} | more)


def sized(precision: str = "fp8", machine: str = "8xH100", **asked: Any) -> Plan:
    return plan(named("scout", precision), on(machine), Options.model_validate(asked), with_curve=True)


CONFIG = {
    "architectures": ["LlamaForCausalLMEagle3"], "model_type": "llama", "hidden_size": 5120,
    "intermediate_size": 32768, "num_hidden_layers": 1, "num_attention_heads": 40, "num_key_value_heads": 8,
    "vocab_size": 202048, "draft_vocab_size": 32000, "max_position_embeddings": 4096,
}  # fmt: skip
TENSORS: dict[str, tuple[str, tuple[int, ...]]] = {
    "midlayer.self_attn.q_proj.weight": ("BF16", (5120, 10240)),
    "midlayer.self_attn.k_proj.weight": ("BF16", (1024, 10240)),
    "midlayer.self_attn.v_proj.weight": ("BF16", (1024, 10240)),
    "midlayer.self_attn.o_proj.weight": ("BF16", (5120, 5120)),
    "midlayer.mlp.gate_proj.weight": ("BF16", (32768, 5120)),
    "midlayer.mlp.up_proj.weight": ("BF16", (32768, 5120)),
    "midlayer.mlp.down_proj.weight": ("BF16", (5120, 32768)),
    "midlayer.hidden_norm.weight": ("BF16", (5120,)),
    "midlayer.input_layernorm.weight": ("BF16", (5120,)),
    "midlayer.post_attention_layernorm.weight": ("BF16", (5120,)),
    "norm.weight": ("BF16", (5120,)),
    "fc.weight": ("BF16", (5120, 15360)),
    "lm_head.weight": ("BF16", (32000, 5120)),
    "d2t": ("I64", (32000,)),
    "t2d": ("BOOL", (202048,)),
}
EMBEDDING = {"embed_tokens.weight": ("BF16", (202048, 5120))}
WIDTH = {"BF16": 2, "I64": 8, "BOOL": 1, "F32": 4}


def draft_folder(
    folder: Path,
    config: dict[str, Any] = CONFIG,
    tensors: Mapping[str, tuple[str, tuple[int, ...]]] = TENSORS,
) -> Path:
    """A draft of which the headers alone are written: the file has holes in place of weights."""
    folder.mkdir(parents=True, exist_ok=True)
    rows, end = {}, 0
    for name, (dtype, shape) in tensors.items():
        size = prod(shape) * WIDTH[dtype]
        rows[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    header = json.dumps(rows).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + end)
    (folder / "config.json").write_text(json.dumps(config))
    return folder


# Memory


def test_beside_chunked_attention_a_head_of_eagle_makes_every_layer_keep_the_whole_context() -> None:
    """One group of 48 layers and the draft's: vLLM turns its hybrid manager off, whose blocks are of 12 layers."""
    bare, made = sized(max_num_seqs=64), sized(max_num_seqs=64, speculative_config=eagle())
    assert (bare.kv.bytes_per_block, made.kv.bytes_per_block) == (12 * PAGE, 49 * PAGE)
    length = made.serve.max_model_len or 0
    assert made.kv.blocks_per_request == length // 16
    assert made.kv.num_blocks == pytest.approx(made.memory.kv_cache_gib * GIB / (49 * PAGE), rel=1e-3)
    assert made.kv.max_context_tokens < bare.kv.max_context_tokens / 3


def test_looking_tokens_up_takes_no_memory_but_logits_and_plans_no_step_ahead() -> None:
    bare, made = sized(max_num_seqs=64), sized(max_num_seqs=64, speculative_config=NGRAM)
    assert (made.memory.draft_gib, made.kv.bytes_per_block) == (0.0, 12 * PAGE)
    assert made.memory.kv_cache_gib == bare.memory.kv_cache_gib
    assert made.memory.draft_logits_gib == pytest.approx(3 * 64 * 202_048 * 13.9 / GIB, abs=1e-3)
    length, batched = made.serve.max_model_len or 0, made.serve.max_num_batched_tokens or 0
    groups = [-(-min(8192 + batches * batched, length) // 16) for batches in (1, 2)]
    assert [each.kv.blocks_per_request for each in (made, bare)] == [length // 16 + 3 * one for one in groups]


WEIGHTS = 3 * 5120 * 32768 + 10240 * (5120 + 2 * 1024) + 5120 * 5120 + 15360 * 5120 + 32000 * 5120 + 4 * 5120
"""Parameters: 845.5 million and the table of words; its maker's headers have 846."""


def test_a_draft_of_the_table_is_as_large_as_its_files_make_it(tmp_path: Path) -> None:
    listed = sized(max_num_seqs=64, speculative_config=eagle())
    read = sized(max_num_seqs=64, speculative_config=eagle(draft_folder(tmp_path / "draft")))
    assert listed.drafts
    assert read.drafts
    assert listed.drafts.weights_bytes == read.drafts.weights_bytes == 2 * WEIGHTS + 8 * 32000
    assert listed.memory == read.memory
    # `fc`, the norms and the table of words are whole on each GPU; the rest is split by eight.
    whole = 2 * (15360 * 5120 + 4 * 5120) + 8 * 32000
    weights = whole + (2 * WEIGHTS + 8 * 32000 - whole) / 8
    length, batched = listed.serve.max_model_len or 0, listed.serve.max_num_batched_tokens or 0
    beside = max(length, 4096) * 128 * 2 + batched * (2 * 5120 * 2 + 3 * 5120 * 2 + 28)
    assert listed.memory.draft_gib == pytest.approx((weights + beside) / GIB, abs=1e-3)
    bare = sized(max_num_seqs=64, max_model_len=length)
    assert bare.memory.kv_cache_gib - listed.memory.kv_cache_gib == pytest.approx(
        listed.memory.draft_gib, abs=2e-3
    )


def test_an_embedding_that_may_be_the_models_own_is_in_doubt(tmp_path: Path) -> None:
    """vLLM compares it with the model's, and keeps it where it is another; headers do not tell."""
    folder = draft_folder(tmp_path / "draft", tensors=TENSORS | EMBEDDING)
    (without,), (term,) = (
        [term for term in made.terms if term.name == "draft"]
        for made in (sized(speculative_config=eagle()), sized(speculative_config=eagle(folder)))
    )
    embedding = 202_048 * 5120 * 2 / 8 / GIB
    assert term.gib - without.gib == pytest.approx(embedding, abs=2e-3)
    assert term.less_gib - without.less_gib == pytest.approx(embedding + 32000 * 5120 * 2 / 8 / GIB, abs=3e-3)


def test_logits_of_proposed_tokens_must_find_room_outside_the_budget() -> None:
    """1,024 sequences with three more each are 8 GiB, more than 8 % of an H100: no server of that size is planned."""
    made = sized(speculative_config=eagle())
    assert (made.fits, made.serve.max_num_seqs) == (True, 64)
    forced = sized(speculative_config=eagle(), max_num_seqs=1024)
    assert not forced.fits
    assert forced.reason.startswith(
        "The block tables and graphs outside vLLM's budget, and logits of drafts, need "
    )


# Speed


LLAMA_8B = Architecture(
    hidden_size=4096, layers=32, attention_heads=32, kv_heads=8, head_dim=128, dense_intermediate=14336,
    vocab_size=128256, global_layers=tuple(range(32)), moe_layers=(), max_position_embeddings=131072,
)  # fmt: skip
LAYER = 4096 * (2 * 4096 + 2 * 1024) + 3 * 4096 * 14336
EAGLE = {2: (2.1, 4.37), 3: (2.29, 4.29), 4: (2.39, 4.48), 5: (2.43, 4.71), 6: (2.45, 4.94), 7: (2.47, 5.2)}
EAGLE3 = {2: (2.36, 4.32), 3: (2.79, 4.09), 4: (3.08, 4.05), 5: (3.32, 4.13), 6: (3.46, 4.2), 7: (3.54, 4.29)}
"""Proposed tokens -> acceptance length, TPOT in ms: Llama 3.1 8B, one at once (vllm #20780); 7.07 ms without."""


def dense(tokens: int, accepted: float, layer: int, head_words: int) -> Engine:
    return Engine(
        gpu=gpus()["H100"],
        family=families()["llama4"],
        architecture=LLAMA_8B,
        scheme=Scheme(name="bf16", quantized=(), bytes_per_param=2.0),
        split=Split(1),
        rules=rules("0.9.1"),
        kv_bytes_per_value=2,
        max_num_batched_tokens=8192,
        host_gb_per_s=1.0,
        drafting=Drafting(
            tokens, accepted, tokens, 2.0 * layer, layer, 2.0 * head_words * 4096, 1, 2 * 8 * 128
        )
        if tokens
        else None,
    )


@pytest.mark.parametrize(
    ("cells", "layer", "words"),
    [
        (EAGLE, LAYER + 2 * 4096 * 4096, 128_256),
        (EAGLE3, LAYER + 4096 * (4096 + 2 * 1024) + 3 * 4096 * 4096, 32_000),
    ],
    ids=["eagle", "eagle3"],
)
def test_what_drafts_save_of_a_token_is_as_somebody_measured_it(
    cells: dict[int, tuple[float, float]], layer: int, words: int
) -> None:
    """The whole figures are of another model, whose own step is off; held here is what drafts make of it."""

    def tpot_ms(tokens: int, accepted: float) -> float:
        engine, load = dense(tokens, accepted, layer, words), Load(100, 200, 1)
        return 1e3 * speed(engine, load, 1, unfitted(engine, load)).tpot_s

    bare = tpot_ms(0, 1.0)
    for tokens, (accepted, measured) in cells.items():
        added = tpot_ms(tokens, accepted) * accepted - bare
        assert added / (measured * accepted - 7.07) == pytest.approx(1.0, abs=0.45), tokens
        assert (7.07 + added) / accepted == pytest.approx(measured, rel=0.20), tokens


def test_a_step_verifies_what_is_proposed_and_yields_what_is_accepted() -> None:
    """All proposed tokens are in the token budget and in the LM head; a request brings its prompt the sooner."""
    plain, drafts = dense(0, 1.0, LAYER, 32_000), dense(3, 2.5, LAYER, 32_000)
    load = Load(1000, 500, 64)
    assert decoding_at_once(plain, Load(8000, 192, 500), 500) == pytest.approx(192 + 8000 / 8192)
    assert decoding_at_once(drafts, Load(8000, 192, 500), 500) == pytest.approx(
        (8192 * 192 + 2.5 * 8000) / (2.5 * 8000 + 4 * 192)
    )
    found = speed(drafts, load, 64, unfitted(drafts, load))
    step = kernels_s(drafts, load, 64) + unfitted(drafts, load).overhead_s
    assert found.tpot_s == pytest.approx(step / 2.5)
    assert found.output_tokens_per_s == pytest.approx(64 * 500 / (found.ttft_s + 499 * found.tpot_s))
    figure = data()["overhead"]
    own = (figure["step_ms"] + 3 * figure["pass_ms"]) / 1e3
    read = 3 * (2 * 32_000 * 4096 / 0.8 + 8 * 100 * 2 * 8 * 128 * 2 / 0.6) / 3350e9
    others = 24 * 100 * 32 * 2 * 8 * 128 * 2 / (3350e9 * 0.6)
    verified = step_s(plain, 32, 100) - others
    passes = pass_s(drafts, 32) + 2 * pass_s(drafts, 8)
    assert step_s(drafts, 8, 100) == pytest.approx(verified + own + passes + read)


def test_tpot_is_the_less_the_more_is_accepted_and_nothing_is_assumed_in_silence() -> None:
    asked = [None, 1.0, 2.0, 4.0]
    made = [sized(speculative_config=eagle(), acceptance_length=length) for length in asked]
    speeds = [each.throughput for each in made]
    assert all(speeds)
    tpots = [each.tpot_s for each in speeds if each]
    assert tpots[0] == tpots[1] > tpots[2] > tpots[3]
    assert made[0].drafts
    assert made[2].drafts
    assert (made[0].drafts.acceptance_length, made[2].drafts.acceptance_length) == (1.0, 2.0)
    assert made[0].drafts.acceptance.startswith(
        "No proposed token is taken to be accepted, for nobody says how many"
    )
    assert made[2].drafts.acceptance == "A step is taken to yield 2 tokens a request, as you say"
    assert {(each.band, each.basis) for each in speeds if each} == {
        (2.0, "modelled, not validated: no figure of Llama 4 with drafts is public")
    }
    maverick = plan(named("maverick", "fp8"), on("8xH200"), Options(speculative_config=eagle(MAVERICKS)))
    assert maverick.drafts
    assert maverick.drafts.acceptance_length == 2.45
    assert (
        "as measured with its maker's benchmark: its card: 2.45 at 3-1-4 on SGLang"
        in maverick.drafts.acceptance
    )


def test_of_several_kinds_of_text_the_least_accepted_is_planned_with(tmp_path: Path) -> None:
    """Nothing here asks the Hub: the folder stands for what it would tell."""
    row = next(row for row in data()["draft"] if row["repo"].startswith("nvidia/"))
    assert {each["by_tokens"]["3"] for each in row["accepted"]} == {2.37, 2.94, 3.08}


def test_a_simulated_request_takes_its_share_of_each_step() -> None:
    """Of decoding alone a step lasts a token's share; what is prefilled beside takes what it takes."""
    options = Options(speculative_config=eagle(), acceptance_length=2.0)
    case = Case(named("scout", "fp8"), on("8xH100"), options)
    predictor = Predictor(case, best_outcome(case))
    steps, speed_of_16 = predictor.steps(), predictor.at(16)
    engine, bent = predictor.engine, predictor.bent
    whole = step_s(engine, 16, 1500) + bent.overhead_s
    assert steps(16, 0) == pytest.approx(whole / 2)
    assert steps(16, 512) - steps(16, 0) == pytest.approx(steps(16, 512) + whole / 2 - whole)
    assert steps(0, 512) > steps(16, 512) - steps(16, 0)
    assert speed_of_16.tpot_s == pytest.approx(steps(16, 0), rel=0.1)


# How vLLM is told


def test_vllm_is_told_and_the_plan_says_what_was_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = draft_folder(tmp_path / "a draft")
    asked = ["size", "scout", "--precision", "fp8", "--on", "8xH100", "--speculative-config", eagle(folder)]
    asked += ["--acceptance-length", "2.2"]
    first, again = tmp_path / "first.json", tmp_path / "again.json"
    assert run([*asked, "-o", str(first), "--explain"]) == 0
    out = capsys.readouterr().out
    assert "3 proposed a step, which yields 2.2 tokens a request" in out
    assert "ms a step / 2.2 tokens: 3 proposed (eagle3) and one sampled are verified together" in out
    assert "of a block's bytes one layer is the draft's, in full context" in out
    assert run(asked) == 0
    said = capsys.readouterr().out.rpartition("Next: corral ")[2].partition(" -o plan.json")[0]
    assert run([*shlex.split(said), "-o", str(again)]) == 0
    assert json.loads(again.read_text()) == json.loads(first.read_text())
    made = Plan.read(first)
    told = {"model": str(folder), "method": "eagle3", "num_speculative_tokens": 3}
    assert made.serve.speculative_config == told
    words = argv(made.serve)
    assert json.loads(words[words.index("--speculative-config") + 1]) == told
    assert asked_for(made).speculative_config == eagle(folder)
    assert asked_for(made).acceptance_length == 2.2


def test_names_are_as_vllm_spells_them_and_a_method_as_it_tells_it() -> None:
    spelled = json.dumps({"num-speculative-tokens": 2, "model": "[ngram]"})
    assert sized(speculative_config=spelled).serve.speculative_config == {
        "method": "ngram", "num_speculative_tokens": 2, "model": "[ngram]",
    }  # fmt: skip
    made = sized(speculative_config=json.dumps({"model": SCOUTS, "num_speculative_tokens": 2}))
    assert made.serve.speculative_config == {"method": "eagle3", "model": SCOUTS, "num_speculative_tokens": 2}


def test_beside_adapters_a_step_holds_all_that_is_proposed() -> None:
    """As vLLM wants it then: of 41 tokens each an A10G's step of 2,048 holds 49, fewer than are squeezed to."""
    asked: dict[str, Any] = {"speculative_config": NGRAM.replace("3", "40"), "enable_lora": True}
    case = Case(named("scout", "fp8"), on("8xA10G"), Options.model_validate(asked))
    assert {each.max_num_seqs for each in pool_of(case).ladder()} == {49}
    more = sized(max_num_seqs=2048, **asked).serve
    assert (more.max_num_seqs, more.max_num_batched_tokens) == (2048, 2048 * 41)


def test_a_draft_of_another_model_is_told(tmp_path: Path) -> None:
    made = plan(named("maverick", "fp8"), on("8xH200"), Options(speculative_config=eagle()))
    assert any(note.startswith(f"{SCOUTS} was trained for scout") for note in made.notes)


def test_on_a_machine_without_gpus_a_draft_is_planned_too(tmp_path: Path) -> None:
    """The toy's vocabulary and width, one layer of 2 x 32 keys; the blocks are of 128 tokens."""
    toy = stored(str(tiny.make(tmp_path / "toy")), None)
    words = toy.architecture.vocab_size
    config = {
        "architectures": ["LlamaForCausalLMEagle3"], "hidden_size": 128, "intermediate_size": 256,
        "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": words,
    }  # fmt: skip
    tensors = {"fc.weight": ("BF16", (128, 384)), "lm_head.weight": ("BF16", (words, 128))}
    folder = draft_folder(tmp_path / "draft", config, tensors)
    bare, made = (
        plan_stored(toy, "local", Options.model_validate(asked))
        for asked in ({}, {"speculative_config": eagle(folder)})
    )
    page = 128 * 2 * 2 * 32 * 2
    assert (bare.kv.bytes_per_block, made.kv.bytes_per_block) == (page, 5 * page)
    assert made.serve.speculative_config == json.loads(eagle(folder))


# Where it is served


def served(folder: str) -> ServeOptions:
    return sized(speculative_config=eagle()).serve.with_draft(folder)


def test_here_a_draft_is_taken_from_the_hubs_cache_and_else_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    serve = sized(speculative_config=eagle()).serve
    assert cached_weights.here(serve) == serve
    with pytest.raises(DocumentError) as caught:
        precheck.check(serve.model_copy(update={"port": 0}))
    assert caught.value.message == f"The draft {SCOUTS} is not on this machine."
    assert caught.value.hint == f"Fetch it, and start again: corral fetch {SCOUTS}"
    made, about = cached_weights.settled(make(sized(speculative_config=eagle()), "local", "a"))
    assert made.plan.serve.draft_revision == COMMIT  # at which it is fetched, before 114 GB of the model are
    assert about[0].found.startswith(f"{SCOUTS} at {COMMIT}, ")
    monkeypatch.setenv("CORRAL_OFFLINE", "1")
    with pytest.raises(DocumentError, match="is not on this machine"):
        cached_weights.settled(make(sized(speculative_config=eagle()), "local", "a"))
    monkeypatch.delenv("CORRAL_OFFLINE")
    kept = fetching.repository(SCOUTS, {"HF_HOME": str(tmp_path)})
    draft_folder(kept / "snapshots" / "abc")
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text("abc")
    assert cached_weights.here(serve).draft == str(kept / "snapshots" / "abc")


@pytest.mark.parametrize("to", ["compose", "kubernetes", "skypilot", "dstack", "quadlet"])
def test_an_export_brings_the_draft_beside_the_weights(to: str) -> None:
    made = sized(speculative_config=eagle())
    text = repr(export(to, Ask(plan=made, name="scout", claude_model="claude-sonnet-5-5")))
    assert "/model/draft" in text
    assert f"hf download {SCOUTS} --include" in text


def test_a_draft_in_a_folder_is_not_brought_beside_a_model_of_the_hub(tmp_path: Path) -> None:
    made = sized(speculative_config=eagle())
    there = made.model_copy(update={"serve": made.serve.with_draft("/srv/draft")})
    with pytest.raises(UsageError) as caught:
        export("compose", Ask(plan=there, name="scout", claude_model="claude-sonnet-5-5"))
    assert caught.value.message.startswith("The draft /srv/draft is a folder, and the model RedHatAI/")
    both = there.model_copy(update={"serve": there.serve.model_copy(update={"model": "/srv/model"})})
    for to in ("compose", "skypilot", "dstack"):
        text = repr(export(to, Ask(plan=both, name="scout", claude_model="claude-sonnet-5-5")))
        assert "The draft is expected in draft/ there: cp -r /srv/draft /srv/model/draft" in text


@pytest.mark.parametrize(
    "said",
    [{"method": "custom_class", "model": "x"}, {"model": "my_module.Proposer", "num_speculative_tokens": 2}],
)
def test_no_class_of_the_callers_is_imported_for_drafts(said: dict[str, object]) -> None:
    serve = sized(speculative_config=NGRAM).serve.model_copy(update={"speculative_config": said})
    plain = sized().serve
    as_words = (
        ("--speculative-config", json.dumps(said)),
        ("--spec-model", "my_module.Proposer"),
        ("--spec-method=custom_class",),
    )
    for options in (serve, *(plain.model_copy(update={"extra_args": words}) for words in as_words)):
        with pytest.raises(UsageError, match="it runs code that corral does not know"):
            argv(options)


def test_what_is_measured_with_drafts_does_not_bend_the_model() -> None:
    from test_calibration import PROBE, summary

    from serving.probe.report import ProbeReport

    made = sized(speculative_config=eagle())
    probe = ProbeReport.model_validate(PROBE | {"ttft_s": summary(0.1), "tpot_s": summary(0.01)})
    with pytest.raises(UsageError, match="The plan's server proposes tokens"):
        kept_calibrations.add(made, probe)


# What cannot be meant


def refused(
    asked: list[str], capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    assert run(asked) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert list(tmp_path.glob("*.json")) == []
    refusals.hold(err, request, tmp_path, asked)


def test_a_hub_that_does_not_answer_leaves_a_folder_and_look_up(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def away(repo: str, *_: object) -> None:
        raise hub.unreachable(repo, OSError("no route"))

    monkeypatch.setattr(hub, "headers", away)
    assert run(["size", "scout", "--on", "8xH100", "--speculative-config", eagle("some/draft")]) == 8
    assert capsys.readouterr().err == (
        "error: The Hub cannot be asked about some/draft: no route.\n"
        "hint: Name its folder, or propose by look-up. For example: --speculative-config "
        """'{"method": "ngram", "num_speculative_tokens": 3}'\n"""
    )


SAID = {
    "no JSON": "eagle3",
    "cut": '{"method": "ngram"',
    "a list": "[1, 2]",
    "nothing in it": "{}",
    "an unknown method": '{"method": "eagle4", "model": "a/b", "num_speculative_tokens": 3}',
    "a method that is not planned": '{"method": "medusa", "model": "a/b", "num_speculative_tokens": 3}',
    "a method of layers that it lacks": '{"method": "deepseek_mtp", "num_speculative_tokens": 3}',
    "a method of another package": '{"method": "suffix", "num_speculative_tokens": 3}',
    "no model": '{"method": "eagle3", "num_speculative_tokens": 3}',
    "no number": '{"method": "ngram"}',
    "none proposed": '{"method": "ngram", "num_speculative_tokens": 0}',
    "fewer than none": '{"method": "ngram", "num_speculative_tokens": -3}',
    "far too many": '{"method": "ngram", "num_speculative_tokens": 129}',
    "beyond numbers": '{"method": "ngram", "num_speculative_tokens": 1e30}',
    "a half": '{"method": "ngram", "num_speculative_tokens": 2.5}',
    "a text": '{"method": "ngram", "num_speculative_tokens": "3"}',
    "a switch": '{"method": "ngram", "num_speculative_tokens": true}',
    "a wrong name": '{"method": "ngram", "num_speculative_token": 3}',
    "a name of nobody's": '{"method": "ngram", "temperature": 3}',
    "vLLM's other name": '{"method": "ngram", "tensor_parallel_size": 1}',
    "a name that is not planned": '{"method": "ngram", "num_speculative_tokens": 3, "quantization": "fp8"}',
    "looked up backwards": NGRAM[:-1] + ', "prompt_lookup_min": 5, "prompt_lookup_max": 2}',
    "a model that is no name": '{"method": "eagle3", "model": 7, "num_speculative_tokens": 3}',
    "no folder": '{"method": "eagle3", "model": "./nowhere", "num_speculative_tokens": 3}',
    "no folder and no repository": '{"method": "eagle3", "model": "nowhere", "num_speculative_tokens": 3}',
}


@pytest.mark.parametrize("said", SAID.values(), ids=SAID)
def test_what_vllm_would_not_take_is_refused(
    said: str, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    refused(["size", "scout", "--on", "8xH100", "--speculative-config", said], capsys, request, tmp_path)


@pytest.mark.parametrize(
    "asked",
    [
        ["--acceptance-length", "2"],
        ["--acceptance-length", "0.5", "--speculative-config", NGRAM],
        ["--acceptance-length", "nan", "--speculative-config", NGRAM],
        ["--acceptance-length", "4.5", "--speculative-config", NGRAM],
        ["--speculative-config", ""],
        ["--speculative-config", eagle(), "--vllm-version", "0.9.1"],
        ["--speculative-config", eagle(draft_tensor_parallel_size=2)],
        ["--speculative-config", eagle(), "--tensor-parallel-size", "8", "--pipeline-parallel-size", "2"],
        [
            "--speculative-config",
            NGRAM,
            "--enable-lora",
            "--max-num-seqs",
            "64",
            "--max-num-batched-tokens",
            "255",
        ],
    ],
    ids=[
        "alone",
        "too small",
        "no number",
        "more than proposed",
        "empty",
        "too old",
        "split",
        "staged",
        "adapters",
    ],
)
def test_what_cannot_be_meant_is_refused(
    asked: list[str], capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    machine = "16xH100" if "--pipeline-parallel-size" in asked else "8xH100"
    refused(["size", "scout", "--precision", "fp8", "--on", machine, *asked], capsys, request, tmp_path)


UNSUITED: dict[str, tuple[dict[str, Any], dict[str, tuple[str, tuple[int, ...]]], str]] = {
    "another vocabulary": ({"vocab_size": 128256}, {}, "eagle3"),
    "another width": ({"hidden_size": 4096, "num_attention_heads": 32, "head_dim": 128}, {}, "eagle3"),
    "read from another width": ({"target_hidden_size": 4096}, {}, "eagle3"),
    "heads that cannot be split": ({"num_attention_heads": 5, "head_dim": 1024}, {}, "eagle3"),
    "too large": ({}, {"wide": ("BF16", (5120, 12_000_000))}, "eagle3"),
    "with experts": ({}, {"midlayer.mlp.experts.gate_up_proj": ("BF16", (4, 8, 8))}, "eagle3"),
    "a head for a model": ({}, {}, "draft_model"),
    "EAGLE-3 for EAGLE": ({}, {}, "eagle"),
    "EAGLE for EAGLE-3": ({}, {"fc.weight": ("BF16", (5120, 10240))}, "eagle3"),
}


@pytest.mark.parametrize("kind", UNSUITED)
def test_a_draft_that_does_not_suit_the_model_is_refused(
    kind: str, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    config, tensors, method = UNSUITED[kind]
    folder = draft_folder(tmp_path / "draft", CONFIG | config, TENSORS | tensors)
    asked = ["size", "scout", "--precision", "fp8", "--on", "8xH100", "--speculative-config"]
    asked += [eagle(folder, method=method), "--tensor-parallel-size", "8"]
    refused(asked, capsys, request, tmp_path)


WHOLE = {
    name: shape for name, shape in TENSORS.items() if name not in ("fc.weight", "d2t", "t2d")
} | EMBEDDING


def test_a_whole_model_for_a_draft_is_laid_out_with_the_hybrid_manager_where_layers_are_alike(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> None:
    """12 layers with the whole context and the draft's: groups of 13, and 36 local ones in three with padding."""
    folder = draft_folder(tmp_path / "whole", CONFIG, WHOLE)
    made = sized(speculative_config=eagle(folder, method="draft_model"), max_num_seqs=64)
    assert made.kv.bytes_per_block == 13 * PAGE
    other = draft_folder(tmp_path / "other", CONFIG | {"num_key_value_heads": 40}, WHOLE)
    asked = ["size", "scout", "--precision", "fp8", "--on", "8xH100"]
    asked += ["--speculative-config", eagle(other, method="draft_model")]
    assert run([*asked, "--disable-hybrid-kv-cache-manager"]) == 0
    capsys.readouterr()
    refused(asked, capsys, request, tmp_path)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        ({"hidden_size": "wide"}, "cannot be used: its sizes are no numbers"),
        ({"hidden_size": 0}, "cannot be used: hidden_size: Input should be greater than or equal to 1"),
        ({"num_attention_heads": None}, "cannot be used: its sizes are no numbers"),
    ],
)
def test_a_broken_draft_is_told(
    spoil: dict[str, Any], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = draft_folder(tmp_path / "draft", CONFIG | spoil)
    assert run(["size", "scout", "--on", "8xH100", "--speculative-config", eagle(folder)]) == 4
    assert said in capsys.readouterr().err


def test_offline_a_draft_that_is_not_in_the_table_is_not_asked_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = ["size", "scout", "--on", "8xH100", "--speculative-config"]
    assert run(["--offline", *asked, eagle()]) == 0
    capsys.readouterr()
    assert run(["--offline", *asked, eagle("someone/a-draft")]) == 2
    assert capsys.readouterr().err.startswith(
        "error: This would ask the model hub about someone/a-draft, and "
    )


def test_one_of_the_table_is_of_the_kind_that_it_is(
    capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    asked = ["size", "scout", "--on", "8xH100", "--speculative-config", eagle(method="draft_model")]
    refused(asked, capsys, request, tmp_path)


def test_capacity_is_planned_with_drafts_and_hands_them_on(capsys: pytest.CaptureFixture[str]) -> None:
    asked = [
        "capacity",
        "scout",
        "--requests-per-s",
        "20",
        "--ttft",
        "5",
        "--tpot",
        "0.2",
        "--precision",
        "fp8",
        "--on",
        "4xH100",
    ]
    drafts = ["--speculative-config", eagle(), "--acceptance-length", "2.5"]
    assert run([*asked, *drafts, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["further"]["speculative_config"] == eagle()
    assert answer["plan"]["serve"]["speculative_config"] == json.loads(eagle())
    assert answer["plan"]["drafts"]["acceptance_length"] == 2.5
    assert answer["choices"][0]["basis"].endswith("no figure of Llama 4 with drafts is public")
    assert run([*asked, *drafts]) == 0
    out = capsys.readouterr().out
    assert "A step is taken to yield 2.5 tokens a request, as you say." in " ".join(out.split())
    assert shlex.join(["corral", *asked, *drafts]) in out


def test_what_is_simulated_has_the_drafts_of_its_plan(capsys: pytest.CaptureFixture[str]) -> None:
    asked = [
        "simulate",
        "scout",
        "--precision",
        "fp8",
        "--on",
        "8xH100",
        "--requests-per-s",
        "0.5",
        "--hours",
        "0.05",
        "--json",
    ]
    found = []
    for drafts in ([], ["--speculative-config", eagle(), "--acceptance-length", "3"]):
        assert run([*asked, *drafts]) == 0
        found.append(json.loads(capsys.readouterr().out))
    bare, drafted = found
    assert drafted["tpot_s"]["p50"] < bare["tpot_s"]["p50"]
    assert drafted["basis"].endswith("no figure of Llama 4 with drafts is public")
