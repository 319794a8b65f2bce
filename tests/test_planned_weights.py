"""Weights that are not the plan's model are refused wherever a plan is carried out with a folder, before all else."""

from collections.abc import Callable
from pathlib import Path

import pytest
from bundling import a_checkpoint, a_plan, an_engine, checkpoint, tree

from deploy.cli.main import run
from deploy.targets.deployment import Deployment, make
from deploy.targets.local import cached_weights
from deploy.targets.local import place as local
from deploy.targets.ssh import place as ssh
from infra.errors import UsageError
from serving.model.checkpoint import Contents, read
from serving.sizing import planned_weights
from serving.sizing.plan import Plan
from serving.sizing.size import answer_for
from serving.sizing.size_options import Options

SHAPE = "4 layers in place of 48, 4 experts in place of 16, hidden size 128 in place of 5120"


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny checkpoint."""
    return a_checkpoint(tmp_path_factory.mktemp("toy"))


def of_folder(folder: Path) -> Plan:
    """The plan that was made for it."""
    plan = checkpoint()[1]
    serve = plan.serve.model_copy(update={"model": str(folder)})
    return plan.model_copy(update={"serve": serve})


def by_name(folder: Path) -> Plan:
    """One of Scout, of which that folder is said to be the weights, as an installed bundle has it."""
    plan = answer_for("scout", "bf16", "8xH100", Options())
    return plan.model_copy(update={"serve": plan.serve.model_copy(update={"model": str(folder)})})


def of_another_folder(folder: Path) -> Plan:
    """One of another folder, whose weights were twice as large."""
    return of_folder(folder).model_copy(update={"weights_bytes": 2 * checkpoint()[1].weights_bytes})


def of_another_precision(folder: Path) -> Plan:
    """One of a folder of other weights."""
    return of_folder(folder).model_copy(update={"precision": "int4"})


def refused(plan: Callable[[Path], Plan], folder: Path) -> str:
    """The sentence for each."""
    planned = checkpoint()[1].weights_bytes
    sentences: dict[Callable[[Path], Plan], str] = {
        by_name: f"{folder} is another model than the plan's scout: {SHAPE}.",
        of_another_folder: f"{folder} holds {planned:,} bytes of weights, and the plan is for {2 * planned:,}.",
        of_another_precision: f"{folder} holds bf16 weights, and the plan is for int4.",
    }
    return sentences[plan]


LOOKS: dict[tuple[str, str], Callable[[Deployment], object]] = {
    ("local", "to serve"): cached_weights.settled,
    ("local", "a dry run"): local.requests,
    ("ssh", "to serve"): ssh.settled,
    ("ssh", "a dry run"): ssh.requests,
}
"""Each place, and what looks at the weights there."""


@pytest.mark.parametrize("where", LOOKS)
@pytest.mark.parametrize("plan", [by_name, of_another_folder, of_another_precision])
def test_a_folder_of_another_model_is_refused_before_anything_is_started_or_sent(
    where: tuple[str, str],
    plan: Callable[[Path], Plan],
    toy: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CORRAL_VLLM", str(an_engine(tmp_path / "engine") / "bin" / "vllm"))
    target, look = where[0], LOOKS[where]
    on_hosts = {"hosts": ("gpu-1",)} if target == "ssh" else {}
    made = make(plan(toy), target).model_copy(update=on_hosts)
    with pytest.raises(UsageError) as error:
        look(made)
    assert error.value.message == refused(plan, toy)
    assert error.value.hint == (
        f"Plan for what lies there: corral size {toy} --on {made.plan.machine.name} -o plan.json; "
        "or put the plan's weights there."
    )
    look(make(of_folder(toy), target).model_copy(update=on_hosts))


def test_a_toy_is_not_packed_as_maverick(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    an_engine(tmp_path / "engine", "0.33.0")
    a_plan(tmp_path)
    plan = str(tmp_path / "plan.json")
    assert run(["size", "maverick", "--precision", "bf16", "--on", "16xH200", "-o", plan]) == 0
    before = tree(tmp_path)
    line = ["bundle", "create", plan, "-o", str(tmp_path / "bundle"), "--engine", str(tmp_path / "engine")]
    capsys.readouterr()
    model = tmp_path / "model"
    assert run([*line, "--without-corral", "--model", str(model)]) == 2
    shape = SHAPE.replace("of 16", "of 128")
    assert capsys.readouterr().err.splitlines()[-2:] == [
        f"error: {model} is another model than the plan's maverick: {shape}.",
        "hint: Name the checkpoint the plan was made for, as it lies here, with --model: "
        f"meta-llama/Llama-4-Maverick-17B-128E-Instruct; or plan for this one: corral size {model} --on 16xH200 "
        "-o plan.json",
    ]
    assert tree(tmp_path) == before


def scout(**changes: object) -> Contents:
    """What a folder of Scout's holds, as an own quantization may have it: no vision, more words, a shorter context."""
    toy = read(Path(str(changes.pop("folder"))))
    known = planned_weights.known(answer_for("scout", "int4", "8xH100", Options()))
    assert known is not None
    words = {"vision": None, "vocab_size": 202_112, "max_position_embeddings": 131_072}
    shape = known.architecture.model_copy(update=words | changes)
    fields = {name: getattr(toy, name) for name in ("where", "dtype", "kv_cache_dtype", "nested_config")}
    return Contents(
        **fields, family=known.family, architecture=shape, precision="int4", weights=known.weights
    )


def test_a_tuned_or_otherwise_quantized_one_of_the_same_shape_is_taken(toy: Path) -> None:
    plan = answer_for("scout", "int4", "8xH100", Options())
    planned_weights.check(plan, scout(folder=toy), "")
    for off, is_taken in ((0.9, True), (1.1, True), (0.8, False), (1.2, False)):
        other = plan.model_copy(update={"weights_bytes": round(plan.weights_bytes / off)})
        found = planned_weights.difference(other, scout(folder=toy))
        assert (found == "") == is_taken, off
    for name, words in (("kv_heads", "4 KV heads in place of 8"), ("layers", "4 layers in place of 48")):
        with pytest.raises(UsageError, match=words):
            planned_weights.check(plan, scout(folder=toy, **{name: 4}), "")


def test_a_plan_of_an_earlier_corral_says_no_size(toy: Path) -> None:
    planned_weights.check(of_folder(toy).model_copy(update={"weights_bytes": 0}), read(toy), "")
