"""Adapters by name: held to the served model before anything starts, told to vLLM, and refused in one sentence."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import adapters
import numpy as np
import pytest
import refusals
from adapters import HEADER, adapter, config, tensors
from test_hub import fake_hub_class

from deploy.cli.main import run
from deploy.targets.adapters import copied
from infra.errors import DocumentError, UsageError
from serving.model import checkpoint, fetching, tiny, tiny_tokenizer
from serving.model.lora_files import WEIGHTS, contents, folder_of
from serving.model.lora_shapes import Served
from serving.sizing.asked_adapters import least_rank, read
from serving.sizing.plan import Plan, check_probed
from serving.sizing.plan_again import asked_for, size_again
from serving.vllm.lora_modules import LoraModule
from serving.vllm.serve_options import argv
from serving.vllm.versions import rules

Make = Callable[[Path], object]
LOCAL = ("--on", "local", "--kv-cache-memory-bytes", "64M", "--max-model-len", "4096")
GPU = ("--on", "1xH100", "--concurrency", "1")


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return adapters.dense(tmp_path_factory.mktemp("base") / "toy")


@pytest.fixture(scope="module")
def served(dense: Path) -> Served:
    """What adapters of the toy are held to, where nobody says a rank."""
    toy = checkpoint.read(dense)
    return Served("toy", toy.family, toy.architecture, toy.nested_config, rules())


@pytest.fixture(scope="module")
def tuned(dense: Path) -> Path:
    return adapter(dense.parent / "tuned")


@pytest.fixture(scope="module")
def planned(dense: Path, tuned: Path) -> Plan:
    """The toy with an adapter beside it, on this machine."""
    path = dense.parent / "plan.json"
    assert run(["size", str(dense), *LOCAL, "--lora", f"tuned={tuned}", "-o", str(path)]) == 0
    return Plan.read(path)


def test_an_adapter_is_read_given_a_slot_and_told_to_vllm(planned: Plan, tuned: Path) -> None:
    found = contents(tuned)
    assert planned.serve.lora_modules == (
        LoraModule(
            name="tuned",
            path=str(tuned),
            rank=8,
            modules=("o_proj", "v_proj"),
            base="somebody/tiny-dense",
            config_sha256=found.config_sha256,
            weights_sha256=found.weights_sha256,
        ),
    )
    words = argv(planned.serve)
    told = words[words.index("--lora-modules") + 1]
    assert json.loads(told) == {"name": "tuned", "path": str(tuned), "base_model_name": "toy"}
    assert words[-5:] == ("--enable-lora", "--max-loras", "1", "--max-lora-rank", "8")
    assert asked_for(planned).lora == planned.serve.lora_modules
    assert f" --lora tuned={tuned} " in size_again(planned)
    assert Plan.parse(planned.text(), "a plan") == planned
    check_probed(planned, "tuned")


def test_slots_follow_the_adapters_unless_said(dense: Path, tmp_path: Path) -> None:
    adapter(tmp_path / "a", tensors(rank=12), config(r=12))
    adapter(tmp_path / "b", tensors(rank=4), config(r=2, rank_pattern={"o_proj": 4, "v_proj": 4}))
    both = ["--lora", f"a={tmp_path / 'a'}", "--lora", f"b={tmp_path / 'b'}"]
    for more, told in (((), "2 16"), (("--max-loras", "1", "--max-lora-rank", "64"), "1 64")):
        assert run(["size", str(dense), *GPU, *both, *more, "-o", str(tmp_path / "p.json")]) == 0
        made = Plan.read(tmp_path / "p.json")
        assert made.serve.extra_args[2::2] == tuple(told.split())
        assert [(module.name, module.rank) for module in made.serve.lora_modules] == [("a", 12), ("b", 4)]
    waits = "2 adapters share 1 slots: a request for one that has none waits until it is copied into one."
    assert waits in made.notes


def test_every_module_that_vllm_adapts_may_be_adapted(dense: Path, tmp_path: Path) -> None:
    held = tensors(adapters.SHAPES)
    words = len(tiny_tokenizer.token_ids())
    random = np.random.default_rng(0)
    held |= {
        f"{HEADER}model.embed_tokens.lora_embedding_A": tiny.normal(random, 8, words),
        f"{HEADER}model.embed_tokens.lora_embedding_B": tiny.normal(random, tiny.HIDDEN, 8),
        f"{HEADER}model.embed_tokens.base_layer.weight": tiny.normal(random, words, tiny.HIDDEN),
        f"{HEADER}lm_head.lora_A.weight": tiny.normal(random, 8, tiny.HIDDEN),
        f"{HEADER}lm_head.lora_B.weight": tiny.normal(random, words, 8),
    }
    adapter(tmp_path / "all", held)
    assert (
        run(["size", str(dense), *GPU, "--lora", f"all={tmp_path / 'all'}", "-o", str(tmp_path / "p.json")])
        == 0
    )
    made = Plan.read(tmp_path / "p.json")
    assert made.serve.lora_modules[0].modules == (
        *(
            "down_proj",
            "embed_tokens",
            "gate_proj",
            "k_proj",
            "lm_head",
            "o_proj",
            "q_proj",
            "up_proj",
            "v_proj",
        ),
    )
    assert made.serve.lora_modules[0].turned == "measured with vLLM 0.32.0 and transformers, 2026-11-29"
    assert any(note.startswith("all: vLLM turns the rows of q_proj and k_proj") for note in made.notes)


def without(name: str) -> Make:
    return lambda folder: (adapter(folder) / name).unlink()


def saying(**changed: Any) -> Make:
    return lambda folder: adapter(folder, None, config(**changed))


def holding(**changed: Any) -> Make:
    return lambda folder: adapter(folder, tensors(**changed))


def changed(change: Callable[[dict[str, Any]], object]) -> Make:
    """An adapter whose tensors were changed."""

    def make(folder: Path) -> None:
        held: dict[str, Any] = dict(tensors())
        change(held)
        adapter(folder, held)

    return make


FIRST = f"{HEADER}model.layers.0.self_attn.o_proj"
TOWER = f"{HEADER}vision_model.model.layers.0.self_attn.o_proj"


def bytes_changed(change: Callable[[bytes], bytes]) -> Make:
    """An adapter whose file of weights was changed."""

    def make(folder: Path) -> None:
        path = adapter(folder) / WEIGHTS
        path.write_bytes(change(path.read_bytes()))

    return make


def pickled(folder: Path) -> None:
    (adapter(folder) / WEIGHTS).rename(folder / "adapter_model.bin")


def a_pipe(folder: Path) -> None:
    (adapter(folder) / WEIGHTS).unlink()
    os.mkfifo(folder / WEIGHTS)


def zeroed(held: dict[str, Any]) -> None:
    """As before any training: what each B adds is zero, some of it with a minus."""
    for name in held:
        if ".lora_B." in name:
            held[name] = np.full_like(held[name], 0x8000)


def not_a_number(held: dict[str, Any]) -> None:
    held[f"{FIRST}.lora_A.weight"][3, 3] = 0x7FC0


def renamed(held: dict[str, Any], old: str, new: str) -> None:
    for name in list(held):
        held[name.replace(old, new)] = held.pop(name)


BAD: dict[str, Make] = {
    "no config": without("adapter_config.json"),
    "no weights": without(WEIGHTS),
    "a pickle": pickled,
    "a pipe": a_pipe,
    "config is no JSON": lambda folder: (adapter(folder) / "adapter_config.json").write_text("{"),
    "config is a list": lambda folder: (adapter(folder) / "adapter_config.json").write_text("[]"),
    "cut": bytes_changed(lambda data: data[:-100]),
    "longer": bytes_changed(lambda data: data + b"more"),
    "another type": bytes_changed(lambda data: data.replace(b'"BF16"', b'"I16" ')),
    "a page of HTML": bytes_changed(lambda data: b"<html>" * 200),
    "empty": bytes_changed(lambda data: b""),
    "another kind": saying(peft_type="IA3"),
    "no rank": saying(r=None),
    "rank 0": saying(r=0),
    "rank of text": saying(r="8"),
    "rank of a pattern": saying(rank_pattern={"o_proj": -1}),
    "patterns that are none": saying(rank_pattern=["o_proj"]),
    "alpha 0": saying(lora_alpha=0),
    "alpha of text": saying(lora_alpha="16"),
    "no target modules": saying(target_modules=None),
    "DoRA": saying(use_dora=True),
    "a bias": saying(bias="lora_only"),
    "a bias of LoRA": saying(lora_bias=True),
    "whole modules": saying(modules_to_save=["lm_head"]),
    "aLoRA": saying(alora_invocation_tokens=[1, 2]),
    "layers twice": saying(layer_replication=[[0, 2], [1, 3]]),
    "trained tokens": saying(trainable_token_indices=[5]),
    "PiSSA": saying(init_lora_weights="pissa"),
    "of Scout by name": saying(base_model_name_or_path="meta-llama/Llama-4-Scout-17B-16E-Instruct"),
    "rank of another training": saying(r=16),
    "more than vLLM has": lambda folder: adapter(folder, tensors(rank=600), config(r=600)),
    "keys of the nested model": holding(prefix=f"{HEADER}language_model.model."),
    "keys of transformers' nested model": holding(prefix=f"{HEADER}model.language_model."),
    "keys that match nothing": changed(lambda held: renamed(held, "self_attn", "attention")),
    "a layer too many": holding(layers=tiny.LAYERS + 1),
    "some that match nothing": changed(
        lambda held: held.update(
            {f"{TOWER}.lora_{half}.weight": held[f"{FIRST}.lora_{half}.weight"] for half in "AB"}
        )
    ),
    "of experts": changed(lambda held: renamed(held, "self_attn.o_proj", "feed_forward.experts.0.down_proj")),
    "of fused experts": changed(lambda held: renamed(held, "self_attn.o_proj", "feed_forward.experts")),
    "another name for a half": changed(lambda held: renamed(held, ".lora_A.", ".lora_A.default.")),
    "magnitudes": changed(lambda held: held.update({f"{FIRST}.lora_magnitude_vector": tiny.ones(tiny.HIDDEN)})),
    "a half missing": changed(lambda held: held.pop(f"{FIRST}.lora_B.weight")),
    "another size": changed(lambda held: held.update({f"{FIRST}.lora_A.weight": tiny.ones(8 * 64).reshape(8, 64)})),
    "turned": changed(lambda held: held.update({f"{FIRST}.lora_A.weight": held[f"{FIRST}.lora_A.weight"].T})),
    "no tensor": lambda folder: adapter(folder, {}),
    "zeros": changed(zeroed),
    "not a number": changed(not_a_number),
    "another vocabulary": changed(
        lambda held: held.update({f"{HEADER}model.embed_tokens.base_layer.weight": tiny.ones(9 * 9).reshape(9, 9)})
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_an_adapter_that_would_not_be_applied_as_it_was_trained_is_refused(
    case: str, served: Served, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    BAD[case](tmp_path / "bad")
    with pytest.raises((UsageError, DocumentError)) as caught:
        least_rank(read([LoraModule(name="bad", path=str(tmp_path / "bad"))], served))
    refusals.hold(f"error: {caught.value.message}\nhint: {caught.value.hint}", request, tmp_path)


@pytest.mark.parametrize(
    "asked",
    [
        "--lora tuned",
        "--lora tuned=",
        "--lora =FOLDER/tuned",
        "--lora two/words=FOLDER/tuned",
        "--lora=-o=FOLDER/tuned",
        "--lora tuned=-x",
        "--lora tuned=FOLDER/tuned/adapter_model.safetensors",
        "--lora tuned=FOLDER/nowhere",
        "--lora tuned=somebody/else",
        "--lora toy=FOLDER/tuned",
        "--lora a=FOLDER/tuned --lora a=FOLDER/tuned",
        "--lora tuned=FOLDER/tuned --max-lora-rank 1",
        "--lora tuned=FOLDER/tuned --lora-target-modules o_proj",
        "--lora tuned=FOLDER/patterned --vllm-version 0.28.0",
    ],
)
def test_what_cannot_be_meant_is_refused(
    asked: str,
    dense: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> None:
    adapter(tmp_path / "tuned")
    adapter(tmp_path / "patterned", None, config(alpha_pattern={"o_proj": 4}))
    words = ["size", str(dense), *GPU, *asked.replace("FOLDER", str(tmp_path)).split()]
    assert run(words) in (2, 4)
    out, err = capsys.readouterr()
    assert out == ""
    refusals.hold(err, request, tmp_path, words)


@pytest.mark.parametrize("path", ["~nobody-of-that-name/tuned", "/" + "x" * 300])
def test_a_path_that_cannot_be_looked_at_holds_no_adapter(path: str) -> None:
    with pytest.raises(DocumentError, match="There is no folder of the adapter tuned at "):
        folder_of(LoraModule(name="tuned", path=path))


def test_an_adapter_of_another_model_of_the_table_or_of_experts_on_the_cpu_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its vision tower makes Scout's text model a part of it."""
    tuned = adapter(tmp_path / "tuned")
    assert run(["size", "scout", "--on", "8xH100", "--lora", f"tuned={tuned}"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "error: vLLM would apply 0 of the 8 modules of the adapter tuned to Llama 4 Scout 17B-16E, which has no "
        "model.layers.0.self_attn.v_proj.",
        f"hint: Rename its keys: {HEADER}model.layers. is to be {HEADER}language_model.model.layers.",
    ]
    model = tiny.make(tmp_path / "moe")
    assert run(["size", str(model), *LOCAL, "--lora", f"tuned={tuned}"]) == 2
    assert capsys.readouterr().err.splitlines()[0] == (
        "error: vLLM's CPU build has no adapters for a model with experts, such as moe: its first request ends the "
        "engine (measured with vLLM 0.32.0, 2026-11-28)."
    )


def test_experts_have_adapters_together_or_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, random = tiny.make(tmp_path / "moe"), np.random.default_rng(5)
    held = {
        f"{HEADER}model.layers.1.feed_forward.experts.{expert}.{name}.lora_{half}.weight": tiny.normal(
            random, *shape
        )
        for expert in range(tiny.EXPERTS)
        for name in ("gate_proj", "up_proj", "down_proj")
        for half, shape in (("A", (8, 128)), ("B", (128, 8)))
    }
    words = ["size", str(model), "--on", "1xH100", "--concurrency", "1", "--lora", f"all={tmp_path / 'all'}"]
    adapter(tmp_path / "all", held)
    assert run([*words, "-o", str(tmp_path / "p.json")]) == 0
    assert Plan.read(tmp_path / "p.json").serve.lora_modules[0].modules == ("experts",)
    adapter(tmp_path / "all", dict(list(held.items())[2:]))
    capsys.readouterr()
    assert run(words) == 2
    assert capsys.readouterr().err.splitlines()[0] == (
        "error: The adapter all has 11 of the 12 projections of the experts of model.layers.1.feed_forward, of 1 ranks;"
        " vLLM takes all, of one rank, or none."
    )


def test_a_plan_is_given_other_adapters_where_it_has_slots(
    planned: Plan, tuned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan, other = str(tuned.parent / "plan.json"), adapter(tmp_path / "other", tensors(("self_attn.k_proj",)))
    capsys.readouterr()
    assert (
        run(
            [
                "serve",
                plan,
                "--lora",
                f"a={other}",
                "--lora",
                f"b={tuned}",
                "--dry-run",
                "--json",
            ]
        )
        == 0
    )
    words = json.loads(capsys.readouterr().out)[0]["argv"]
    begin = words.index("--lora-modules")
    assert [json.loads(word)["name"] for word in words[begin + 1 : begin + 3]] == ["a", "b"]
    adapter(tmp_path / "wide", tensors(rank=16), config(r=16))
    assert run(["serve", plan, "--lora", f"wide={tmp_path / 'wide'}", "--dry-run"]) == 2
    bare = planned.serve.model_copy(update={"extra_args": (), "lora_modules": ()})
    planned.model_copy(update={"serve": bare, "further": None}).write(tmp_path / "bare.json")
    assert run(["up", str(tmp_path / "bare.json"), "--lora", f"a={other}"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "error: The adapter wide has rank 16, and --max-lora-rank is 8."
    assert said[-2:] == [
        "error: The plan sets no memory aside for adapters.",
        f"hint: Plan with them: corral size {planned.serve.model} --on local --lora a={other} -o plan.json",
    ]


def test_an_exported_server_finds_its_adapters_where_the_notes_put_them(
    planned: Plan, tuned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = str(tuned.parent / "plan.json")
    there = "/opt/corral/toy-bf16/adapters/tuned"
    brings = f"mkdir -p {there} && cp {tuned}/adapter_config.json {tuned}/{WEIGHTS} {there}"
    assert copied(planned.serve.lora_modules, "/opt/corral/toy-bf16/adapters") == brings
    assert run(["export", plan, "--to", "systemd"]) == 0
    out, err = capsys.readouterr()
    assert (
        f'"{{\\"name\\": \\"tuned\\", \\"path\\": \\"{there}\\", \\"base_model_name\\": \\"toy\\"}}"' in out
    )
    assert f"{brings} && cp -r FOLDER/. /" in out + err
    on_gpus = planned.model_copy(
        update={"machine": planned.machine.model_copy(update={"gpu": "H100", "gpu_count": 1})}
    )
    on_gpus.write(tmp_path / "gpu.json")
    assert run(["export", str(tmp_path / "gpu.json"), "--to", "compose"]) == 0
    out, err = capsys.readouterr()
    assert '"path": "/model/adapters/tuned"' in out
    place = f"{planned.serve.model}/adapters/tuned"
    assert f"mkdir -p {place} && cp {tuned}/adapter_config.json {tuned}/{WEIGHTS} {place}" in " ".join(
        (out + err).split()
    )
    assert run(["export", str(tmp_path / "gpu.json"), "--to", "kubernetes"]) == 2
    assert run(["export", str(tmp_path / "gpu.json"), "--to", "kubernetes", "--lora", f"tuned={tuned}"]) == 2
    assert [line for line in capsys.readouterr().err.splitlines() if not line.startswith("warning")] == [
        "error: corral brings no adapter by kubernetes: tuned.",
        "hint: Use --to compose or quadlet or systemd or terraform.",
        "error: --lora is for --to compose, quadlet, systemd or terraform only.",
        "hint: Leave out --lora.",
    ]


def test_a_repository_of_an_adapter_is_fetched_and_served_from_the_cache(
    dense: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every file held against the Hub's own sum; what it holds beside the adapter stays there."""
    repository = adapter(tmp_path / "repository")
    for name in ("README.md", "adapter_model.bin", "optimizer.pt", "training_args.bin", "trainer_state.json"):
        (repository / name).write_text("{}")
    (repository / "LICENSE").write_text("as the base's")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with fake_hub_class()("somebody/tuned", repository) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        assert run(["fetch", "somebody/tuned", "--revision", hub.commit]) == 0
        hub.shutdown()
    fetching.note_newest("somebody/tuned", hub.commit, os.environ)
    snapshot = tmp_path / "hf/hub/models--somebody--tuned/snapshots" / hub.commit
    assert sorted(path.name for path in snapshot.iterdir()) == [
        "LICENSE",
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    for named in ("somebody/tuned", f"somebody/tuned@{hub.commit}"):
        plan = tmp_path / "p.json"
        assert run(["size", str(dense), *GPU, "--lora", f"tuned={named}", "-o", str(plan)]) == 0
        assert Plan.read(plan).serve.lora_modules[0].path == str(snapshot)
    capsys.readouterr()
    assert run(["size", str(dense), *GPU, "--lora", f"tuned=somebody/tuned@{'0' * 40}"]) == 4
    assert capsys.readouterr().err.splitlines()[1] == (
        f"hint: Fetch it: corral fetch somebody/tuned --revision {'0' * 40}"
    )
