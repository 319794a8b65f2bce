"""Before a machine is rented: which weights it will fetch, whether it may, and whether they have room."""

import gzip
from base64 import b64decode
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_aws import FakeAws
from renting import door, fresh

from deploy.cli.main import run
from deploy.targets.deployment import folder, load
from deploy.targets.ec2 import documents
from infra.aws.order import Order
from infra.say import progress
from serving.sizing.size import answer_for
from serving.sizing.size_options import Options
from serving.vllm.lora_modules import LoraModule

COMMIT = "5c0c7a3e" * 5
"""What the tests' Hub says of every repository (conftest)."""
SCOUT = "92f3b1597a195b523d8d9e5700e57e4fbb8f20d3"
PLAIN = {"ImageId": "ami-00000000000000aa", "Name": "ubuntu-noble-24.04-amd64-server"}

Corral = Callable[..., tuple[int, str]]


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> FakeAws:
    """An account with room for every type, which corral talks to."""
    aws, clock = fresh()
    aws.regions["us-east-1"].vcpu_limit = 1000
    aws.quotas |= {"L-DB2E81BA": 1000.0}
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.setattr(
        documents, "aws_for", lambda name: replace(door(aws, clock, folder(name)), say=progress)
    )
    return aws


@pytest.fixture
def provision(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Corral:
    """Rent for Scout at a precision: the exit code, and what was said."""

    def call(precision: str, machine: str, *options: str) -> tuple[int, str]:
        plan = tmp_path / "plan.json"
        answer_for("scout", precision, machine, Options()).write(plan)
        code = run(["provision", str(plan), "--target", "ec2", "--name", "t1", "--yes", *options])
        return code, capsys.readouterr().err

    return call


def fetched(name: str) -> str:
    """What the box is told to fetch, in its user data."""
    data = Order.read(folder(name) / "order.json").user_data
    text = data if data.startswith("#") else gzip.decompress(b64decode(data)).decode()
    return next(line.strip() for line in text.splitlines() if line.strip().startswith("WEIGHTS="))


def test_what_will_be_fetched_is_said_first_and_pinned_in_all_that_is_kept(
    aws: FakeAws, provision: Corral
) -> None:
    code, said = provision("int4", "g5.12xlarge")
    assert code == 0, said
    repo = "RedHatAI/Llama-4-Scout-17B-16E-Instruct-quantized.w4a16"
    first, *others = [line for line in said.splitlines() if line.startswith(("ok ", "warning ", "failed "))]
    assert first == (
        f"ok       weights: {repo} (a third party's, not meta-llama's) at {COMMIT}, 60.4 GiB, "
        "licence Llama 4 Community License, not gated"
    )
    (disk,) = [line for line in others if " disk us-east-1: " in line]
    assert "60.4 GiB of weights on the instance's own NVMe (3539 GiB)" in disk
    (price,) = [line for line in others if " price us-east-1: " in line]
    assert others.index(disk) < others.index(price)
    assert load("t1").plan.serve.revision == COMMIT
    assert fetched("t1") == f"WEIGHTS=hf://{repo}@{COMMIT}"


def test_a_gated_repository_without_a_token_is_refused_before_aws_hears_of_it(
    aws: FakeAws, provision: Corral
) -> None:
    """It was rented at $16.57/h and found out there."""
    code, said = provision("bf16", "g7e.24xlarge")
    assert code == 5
    assert said.splitlines()[-2:] == [
        "error: meta-llama/Llama-4-Scout-17B-16E-Instruct is gated: without a token of somebody who accepted its "
        "licence nothing is fetched.",
        "hint: Accept its licence at https://huggingface.co/meta-llama/Llama-4-Scout-17B-16E-Instruct; then put a "
        "token into SSM (aws ssm put-parameter --type SecureString --name /hf/token --value file://token.txt) and name "
        "it: --hf-token-parameter /hf/token",
    ]
    assert aws.calls == []
    assert not folder("t1").exists()


def test_with_the_name_of_one_it_is_rented_at_metas_commit(aws: FakeAws, provision: Corral) -> None:
    code, said = provision("bf16", "g7e.24xlarge", "--hf-token-parameter", "/hf/token")
    assert code == 0, said
    assert f"at {SCOUT}, 202.4 GiB" in said
    assert "gated, token from /hf/token (not tried)" in said
    assert fetched("t1") == f"WEIGHTS=hf://meta-llama/Llama-4-Scout-17B-16E-Instruct@{SCOUT}"


def test_a_plain_image_without_room_for_the_weights_is_refused_before_anything_is_made(
    aws: FakeAws, provision: Corral
) -> None:
    aws.regions["us-east-1"].other_images = [PLAIN]
    image = ["--hf-token-parameter", "/hf/token", "--ami", PLAIN["ImageId"]]
    code, said = provision("bf16", "g7e.24xlarge", *image)
    assert code == 2
    assert said.splitlines()[-2:] == [
        "error: This cannot be launched. disk: us-east-1: image, engine and weights need up to 289 of the root "
        "volume's 150 GiB.",
        "hint: Use --volume-gib 290",
    ]
    assert [call.operation for call in aws.calls if call.changes] == []


def test_weights_of_ones_own_bucket_are_told_and_need_no_token(aws: FakeAws, provision: Corral) -> None:
    objects = aws.s3.have("models")
    objects |= {"scout/config.json": 9, "scout/a.safetensors": 217_321_000_000, "scout/old/b.safetensors": 9}
    code, said = provision("bf16", "g7e.24xlarge", "--weights", "s3://models/scout/")
    assert code == 0, said
    assert "ok       weights: s3://models/scout/, 202.4 GiB as planned" in said.splitlines()
    assert "ok       bucket us-east-1: s3://models/scout/ holds 202.4 GiB of weights" in said.splitlines()


DRAFT = {"model": "/srv/draft", "method": "eagle3", "num_speculative_tokens": 3}
SHARD, CONFIG = {"model.safetensors": 60 * 2**30}, {"config.json": 9}
ADAPTER = {"adapter_config.json": 9, "adapter_model.safetensors": 9}


@pytest.mark.parametrize(
    ("weights", "draft", "adapter", "said"),
    [
        (SHARD | CONFIG, SHARD | CONFIG, ADAPTER, ""),
        (SHARD, SHARD | CONFIG, ADAPTER, "s3://models/scout/ has no config.json"),
        (SHARD | CONFIG, {}, ADAPTER, "s3://models/scout/draft/ has no config.json"),
        (SHARD | CONFIG, CONFIG, ADAPTER, "s3://models/scout/draft/ has no *.safetensors"),
        (SHARD | CONFIG, SHARD | CONFIG, {}, "s3://models/scout/adapters/tuned/ has no adapter_config.json"),
    ],
    ids=["all", "no config", "no draft", "half a draft", "no adapter"],
)
def test_what_must_lie_in_a_bucket_is_looked_at_before_anything_is_rented(
    weights: dict[str, int],
    draft: dict[str, int],
    adapter: dict[str, int],
    said: str,
    aws: FakeAws,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folders = {"scout": weights, "scout/draft": draft, "scout/adapters/tuned": adapter}
    objects = aws.s3.have("models")
    objects |= {f"{folder}/{name}": size for folder, names in folders.items() for name, size in names.items()}
    plan = answer_for("scout", "int4", "g5.12xlarge", Options())
    tuned = (LoraModule(name="tuned", path="/srv/tuned", config_sha256="a" * 64, weights_sha256="b" * 64),)
    update = {"speculative_config": DRAFT, "lora_modules": tuned}
    plan.model_copy(update={"serve": plan.serve.model_copy(update=update)}).write(tmp_path / "plan.json")
    words = ["--target", "ec2", "--name", "t1", "--yes", "--weights", "s3://models/scout/"]
    assert run(["provision", str(tmp_path / "plan.json"), *words]) == (2 if said else 0)
    told = capsys.readouterr().err
    rented = [call for call in aws.calls if call.operation == "run_instances"]
    if said:
        assert f"error: This cannot be launched. bucket: us-east-1: {said}.\n" in told
        assert rented == []
    else:
        assert "ok       bucket us-east-1: s3://models/scout/draft/ holds 60.0 GiB of weights" in told


def test_another_size_than_planned_for_is_told(aws: FakeAws, provision: Corral) -> None:
    aws.s3.have("models").update({"scout/config.json": 9, "scout/a.safetensors": 2**30})
    code, said = provision("int4", "g5.12xlarge", "--weights", "s3://models/scout/")
    assert code == 0, said
    assert (
        "warning  bucket us-east-1: s3://models/scout/ holds 1.0 GiB of weights, and 60.4 GiB are planned for  (See "
        "whether they are the plan's: aws s3 ls s3://models/scout/)" in said.splitlines()
    )


def test_a_second_wish_for_other_adapters_or_another_draft_is_none_that_was_begun(
    aws: FakeAws, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A box is told once what it serves: the second `provision` said nothing, and changed nothing."""
    plan = answer_for("scout", "int4", "g5.12xlarge", Options())

    def provision(**serve: Any) -> int:
        changed = plan.model_copy(update={"serve": plan.serve.model_copy(update=serve)})
        changed.write(tmp_path / "plan.json")
        words = ["--target", "ec2", "--name", "t1", "--yes"]
        return run(["provision", str(tmp_path / "plan.json"), *words])

    def tuned(commit: str) -> tuple[LoraModule, ...]:
        path = f"/somewhere/models--somebody--tuned/snapshots/{commit}"
        return (LoraModule(name="tuned", path=path, config_sha256="a" * 64, weights_sha256="b" * 64),)

    drafts = [{"model": "somebody/draft", "method": "eagle3", "num_speculative_tokens": n} for n in (3, 4)]
    first = {"lora_modules": tuned(COMMIT), "speculative_config": drafts[0]}
    assert provision(**first) == 0, capsys.readouterr().err
    assert provision(**first) == 0, capsys.readouterr().err
    launched = [call for call in aws.calls if call.operation == "run_instances"]
    for other in (
        {"lora_modules": tuned("e" * 40)},
        {"speculative_config": drafts[1]},
        {"max_model_len": 4096},
    ):
        capsys.readouterr()
        assert provision(**(first | other)) == 2
        assert capsys.readouterr().err.splitlines()[-2:] == [
            "error: 't1' was begun with other options.",
            "hint: Take it away first (corral down t1), or choose another --name.",
        ]
    assert [call for call in aws.calls if call.operation == "run_instances"] == launched


def test_a_chat_template_that_leaves_this_machine_is_told(
    aws: FakeAws, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    template = tmp_path / "mine.jinja"
    template.write_text("{{ messages }}")
    plan = answer_for("scout", "int4", "g5.12xlarge", Options())
    serve = plan.serve.model_copy(update={"chat_template": str(template)})
    plan.model_copy(update={"serve": serve}).write(tmp_path / "plan.json")
    words = ["provision", str(tmp_path / "plan.json"), "--target", "ec2", "--name", "t1"]
    assert run(words) == 2
    said = capsys.readouterr().err.splitlines()
    assert f"leaves this machine: 1 file, 14 bytes, {template}, in the user data of EC2" in said
    assert "error: Nobody is there to confirm what is sent." in said
    assert not folder("t1").exists()
    assert run([*words, "--yes"]) == 0
    assert "{{ messages }}" in Order.read(folder("t1") / "order.json").user_data
