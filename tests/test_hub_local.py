"""Weights of the Hub on this machine: one copy in the user's own cache, a gated one too; then the Hub is asked no more.

The Hub is the stand-in on loopback; what fetches is the real client library, what serves is the stub of vLLM.
"""

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import stubbed
from stubbed import Patience
from test_hub import GRANTED, REPO, STRANGER, WRONG, fake_hub_class

from deploy import launch as door
from deploy.bundle import sources
from deploy.cli.main import run
from deploy.targets import hub_weights
from deploy.targets.deployment import Deployment, folder, load, make
from deploy.targets.local import cached_weights
from deploy.targets.local import place as local
from infra.errors import AuthError, DocumentError, EndpointError, UsageError
from infra.fetch.patience import Pace
from serving.model import fetching, tiny
from serving.sizing.plan import Plan
from serving.vllm import server
from serving.vllm.lora_modules import LoraModule

Served = Callable[..., Deployment]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model, and what a repository may hold besides."""
    found = tiny.make(tmp_path_factory.mktemp("hub") / "tiny")
    (found / "pytorch_model.bin").write_bytes(b"pickle" * 100)
    (found / "original").mkdir()
    (found / "original" / "consolidated.00.safetensors").write_bytes(b"again" * 100)
    return found


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """Of the same model by the name it has on the Hub; nobody has said which commit."""
    found = stubbed.a_plan(tmp_path_factory.mktemp("plan"))
    return found.model_copy(update={"serve": found.serve.model_copy(update={"model": REPO})})


@pytest.fixture
def hub(
    checkpoint: Path, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    """The Hub, and a user whose cache is empty."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with fake_hub_class()(REPO, checkpoint, getattr(request, "param", "well")) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub
        hub.shutdown()


@pytest.fixture
def deployment(plan: Plan, hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployment]:
    made = stubbed.a_deployment(plan, tmp_path, monkeypatch)
    Patience(made, monkeypatch)
    yield made
    stubbed.kill(made)


def snapshot(hub: Any, tmp_path: Path) -> Path:
    """Where the user's own cache has the one commit."""
    found: Path = tmp_path / "hf" / "hub" / "models--someone--Tiny-Llama-4" / "snapshots" / hub.commit
    return found


def environ(deployment: Deployment) -> dict[str, str]:
    """The environment of the server as the kernel has it."""
    record = server.load(folder(deployment.name))
    assert record
    found = Path(f"/proc/{record.leader.pid}/environ").read_text().split("\0")
    return dict(word.split("=", 1) for word in found if word)


def argument(deployment: Deployment) -> str:
    """The model the server was given."""
    record = server.load(folder(deployment.name))
    assert record
    return record.arguments[1]


def test_it_is_fetched_once_into_the_users_cache_and_served_without_the_hub(
    deployment: Deployment, hub: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    door.launch(deployment)
    here = snapshot(hub, tmp_path)
    said = capsys.readouterr().err
    assert f"weights: {REPO} at {hub.commit}, 0.0 GiB, licence llama4, not gated" in said
    names = {path.name for path in hub.folder.iterdir() if path.is_file()}
    assert {path.name for path in here.iterdir()} == names - {"pytorch_model.bin"}
    assert argument(deployment) == str(here)
    assert load(deployment.name).plan.serve.revision == hub.commit
    given = environ(deployment)
    assert (given["HF_HUB_OFFLINE"], given["TRANSFORMERS_OFFLINE"]) == ("1", "1")
    assert given["HF_HOME"] == str(folder(deployment.name) / "huggingface")

    # Started again, and by another deployment: nobody is asked.
    local.stop(deployment)
    hub.asked.clear()
    door.launch(load(deployment.name))
    local.stop(deployment)
    other = make(load(deployment.name).plan, "local", "another")
    Patience(other, pytest.MonkeyPatch())
    try:
        door.launch(other)
        assert f"weights: {REPO} at {hub.commit}" in capsys.readouterr().err
    finally:
        local.stop(other)
    assert hub.asked == []

    assert run(["down", "another"]) == 0
    assert here.is_dir()
    assert f"Kept, as other deployments may share it: weights {here} (0.0 GiB)" in capsys.readouterr().out


@pytest.mark.parametrize("hub", ["gated"], indirect=True)
@pytest.mark.parametrize("place", ["HF_TOKEN", "HF_TOKEN_PATH", "login", "file"])
def test_a_gated_one_is_served_and_the_token_reaches_the_fetching_process_alone(
    place: str,
    deployment: Deployment,
    hub: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    kept = tmp_path / "kept-token"
    if place == "HF_TOKEN":
        monkeypatch.setenv("HF_TOKEN", GRANTED)
    else:
        kept.write_text(f"{GRANTED}\n")
    if place == "HF_TOKEN_PATH":
        monkeypatch.setenv("HF_TOKEN_PATH", str(kept))
    if place == "login":
        (tmp_path / "hf").mkdir()
        (tmp_path / "hf" / "token").symlink_to(kept)
    if place == "file":
        deployment = deployment.model_copy(update={"hf_token_file": str(kept)})
    door.launch(deployment)
    assert "gated, token from " in (said := capsys.readouterr().err)
    assert environ(deployment).get("HF_TOKEN") is None
    assert GRANTED not in said + "".join(environ(deployment).values())
    holding = [
        path for path in tmp_path.rglob("*") if path.is_file() and GRANTED in path.read_text("latin-1")
    ]
    assert {path.resolve() for path in holding} == ({kept} if kept.exists() else set())
    files = [token for _, path, token in hub.asked if "/resolve/" in path]
    assert set(files) == {GRANTED}
    assert {token for _, path, token in hub.asked if path.startswith("/cdn/")} == {""}


@pytest.mark.parametrize("hub", ["gated"], indirect=True)
@pytest.mark.parametrize(
    ("token", "message"),
    [
        (None, f"{REPO} is gated: without a token of somebody who accepted its licence nothing is fetched."),
        (STRANGER, f"{REPO} is gated: its licence must be accepted by the owner of your Hugging Face token."),
        (WRONG.value, "The Hugging Face Hub does not know the token it was given."),
    ],
)
def test_without_a_token_that_is_let_in_nothing_is_fetched_or_started(
    token: str | None,
    message: str,
    deployment: Deployment,
    hub: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(AuthError) as caught:
        door.launch(deployment)
    assert caught.value.message == message
    assert not folder(deployment.name).exists()
    assert not (tmp_path / "hf").exists()


def test_offline_what_is_here_is_served_and_what_is_not_is_refused(
    deployment: Deployment, hub: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CORRAL_OFFLINE", "1")
    with pytest.raises(
        UsageError, match=f"This would ask the model hub for {REPO}, and --offline forbids it"
    ):
        door.launch(deployment)
    assert hub.asked == []
    monkeypatch.delenv("CORRAL_OFFLINE")
    fetching.fetch(REPO, hub.commit, None)
    refs = fetching.repository(REPO, os.environ) / "refs"
    refs.mkdir(exist_ok=True)
    (refs / "main").write_text(hub.commit)
    hub.asked.clear()
    monkeypatch.setenv("CORRAL_OFFLINE", "1")
    door.launch(deployment)
    assert hub.asked == []
    assert environ(deployment)["HF_HUB_OFFLINE"] == "1"


def test_a_fetch_that_ends_early_is_told_and_goes_on_where_it_ended(
    deployment: Deployment, hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = hub.commit
    hub.mood = "broken"
    with pytest.raises(EndpointError, match=r"The Hub fails at someone/Tiny-Llama-4 \(HTTP 503\)"):
        fetching.fetch(REPO, commit, None, pace=Pace(first_wait_s=0.0))
    hub.mood = "well"
    here = fetching.fetch(REPO, commit, None).folder
    assert fetching.is_whole(here)
    assert here == snapshot(hub, tmp_path)
    shard = next(here.glob("*.safetensors"))
    shard.unlink()
    assert not fetching.is_whole(here)


def test_a_shard_that_was_changed_is_told_and_fetched_again_before_a_start(
    deployment: Deployment,
    hub: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    door.launch(deployment)
    local.stop(deployment)
    shard = next(snapshot(hub, tmp_path).glob("*.safetensors"))
    right = shard.read_bytes()
    shard.write_bytes(right[:-1] + b"?")
    monkeypatch.setenv("CORRAL_OFFLINE", "1")
    with pytest.raises(DocumentError) as caught:
        door.launch(load(deployment.name))
    assert caught.value.message == (
        f"{shard} is changed: its sha256 is another: these are not the weights that were fetched."
    )
    monkeypatch.delenv("CORRAL_OFFLINE")
    capsys.readouterr()
    door.launch(load(deployment.name))
    assert (
        f"weights: {shard.name} is changed: its sha256 is another; it is fetched again"
        in capsys.readouterr().err
    )
    assert shard.read_bytes() == right


def test_a_cache_that_another_tool_filled_is_verified_once_and_served_without_the_hub(
    deployment: Deployment,
    hub: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from huggingface_hub import snapshot_download

    snapshot_download(REPO, cache_dir=tmp_path / "hf" / "hub", endpoint=hub.url)  # with pickles
    hub.asked.clear()
    monkeypatch.setenv("CORRAL_OFFLINE", "1")
    door.launch(deployment)
    local.stop(deployment)
    verifying = f"weights: verifying what lies in {snapshot(hub, tmp_path)}"
    assert verifying in capsys.readouterr().err
    door.launch(load(deployment.name))
    assert verifying not in capsys.readouterr().err
    assert hub.asked == []


@pytest.mark.parametrize("mood", ["well", "broken"])
def test_what_another_tool_left_out_is_fetched_before_a_start_where_the_hub_answers(
    mood: str, deployment: Deployment, hub: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from huggingface_hub import snapshot_download

    snapshot_download(
        REPO,
        cache_dir=tmp_path / "hf" / "hub",
        endpoint=hub.url,
        allow_patterns=["model*", "config.json", "tokenizer.json"],
    )
    here, commit = snapshot(hub, tmp_path), hub.commit
    before, hub.bytes_sent, hub.mood = {path.name for path in here.iterdir()}, 0, mood
    cached_weights.bring(hub_weights.pinned(deployment, commit))
    names = {path.name for path in hub.folder.iterdir() if path.is_file()} - {"pytorch_model.bin"}
    assert {path.name for path in here.iterdir()} == (names if mood == "well" else before)
    left = sum((hub.folder / name).stat().st_size for name in names - before)
    assert hub.bytes_sent == (left if mood == "well" else 0)
    told = "weights: whether more belongs to someone/Tiny-Llama-4 was not found out: "
    assert (told in capsys.readouterr().err) == (mood == "broken")


def test_a_hub_that_does_not_answer_holds_no_start_up_for_long(
    deployment: Deployment,
    hub: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A firewall that drops what is sent: each question would wait for its own time-out."""
    from huggingface_hub import snapshot_download

    snapshot_download(REPO, cache_dir=tmp_path / "hf" / "hub", endpoint=hub.url)
    monkeypatch.setattr(cached_weights, "HUB_TELLS_WITHIN_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        cached_weights.bring(hub_weights.pinned(deployment, hub.commit))
    assert (
        f"weights: whether more belongs to {REPO} was not found out: The Hub cannot be asked about {REPO}: it did not "
        "answer within 0.2 s.\n" in capsys.readouterr().err
    )


def test_the_weights_of_a_deployment_are_read_where_a_server_here_reads_them(
    deployment: Deployment, hub: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = hub_weights.pinned(deployment, hub.commit)
    made.write(folder(made.name) / "deployment.json")
    here = snapshot(hub, tmp_path)
    assert run(["fetch", "--verify", made.name]) == 4
    assert f"error: There is no folder {here}." in capsys.readouterr().err
    cached_weights.bring(made)
    capsys.readouterr()
    assert run(["fetch", "--verify", made.name]) == 0
    files = len(list(here.iterdir()))
    said = f"{here}: {files} files, 0.00 GiB, every checksum right by the Hub's sums\n"
    assert capsys.readouterr().out == said
    blob = (here / "config.json").resolve()
    blob.write_bytes(blob.read_bytes() + b" ")
    assert run(["fetch", "--verify", made.name]) == 4
    out, err = capsys.readouterr()
    assert (out, err.splitlines()[-2:]) == (
        f"{here}: config.json is too long: 794 of 793 bytes\n",
        [
            f"error: {made.name} must not be started with these weights: 1 problem(s).",
            "hint: What lies in the Hub's cache comes again with the next start, a folder of your own is to be fetched "
            f"into again (--to): corral stop {made.name}; corral serve {made.name}",
        ],
    )


def test_a_cache_that_takes_no_file_is_served_as_it_lies(
    deployment: Deployment, hub: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from huggingface_hub import snapshot_download

    snapshot_download(REPO, cache_dir=tmp_path / "hf" / "hub", endpoint=hub.url)
    (snapshot(hub, tmp_path).parent.parent / ".corral").write_text("in the way")
    cached_weights.bring(hub_weights.pinned(deployment, hub.commit))
    assert "was not found out: The weights cannot be written to" in capsys.readouterr().err


@pytest.mark.parametrize("hub", ["gated"], indirect=True)
def test_the_file_is_named_on_the_command_line_and_only_its_place_is_kept(
    deployment: Deployment, hub: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan, token = tmp_path / "plan.json", tmp_path / "token"
    deployment.plan.write(plan)
    token.write_text(GRANTED)
    words = ["serve", str(plan), "--name", deployment.name, "--hf-token-file"]
    assert run([*words, str(tmp_path / "none")]) == 2
    assert f"error: --hf-token-file {tmp_path}/none cannot be read: No such file" in capsys.readouterr().err
    assert run([*words, str(token)]) == 0
    assert load(deployment.name).hf_token_file == str(token)
    assert run(["provision", str(plan), "--target", "ec2", "--hf-token-file", str(token)]) == 2
    assert "a rented box reads its token from AWS." in capsys.readouterr().err


def test_a_bundle_of_a_repository_is_made_of_what_is_fetched_into_the_cache(
    deployment: Deployment, hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    here = sources.model_for(deployment, None, said.append)
    assert here == snapshot(hub, tmp_path)
    assert said == [f"weights: {REPO} at {hub.commit}, 0.0 GiB, licence llama4, not gated"]
    names = {path.name for path in sources.model_files(here)}
    assert names == {path.name for path in here.iterdir()}
    # What is there is not fetched again, and is what was fetched.
    shard = next(here.glob("*.safetensors"))
    right = shard.read_bytes()
    shard.write_bytes(right[:-1] + b"?")
    hub.bytes_sent = 0
    assert sources.model_for(deployment, None, said.append) == here
    assert shard.read_bytes() == right
    assert hub.bytes_sent == len(right)
    monkeypatch.setenv("CORRAL_OFFLINE", "1")
    shard.unlink()
    with pytest.raises(UsageError, match="This would ask the model hub"):
        sources.model_for(deployment, None, said.append)


def test_a_draft_of_the_hub_is_fetched_at_its_commit_before_the_model(
    deployment: Deployment, hub: Any, tmp_path: Path
) -> None:
    proposing = {"method": "eagle3", "model": REPO, "num_speculative_tokens": 3}
    serve = deployment.plan.serve.model_copy(
        update={"model": str(hub.folder), "speculative_config": proposing}
    )
    plan = deployment.plan.model_copy(update={"serve": serve})
    made, (check,) = cached_weights.settled(deployment.model_copy(update={"plan": plan}))
    assert (check.name, check.outcome) == ("draft", "ok")
    assert made.plan.serve.draft_revision == hub.commit
    cached_weights.bring(made)
    here = cached_weights.here(made.plan.serve)
    assert here.draft == str(snapshot(hub, tmp_path))
    hub.asked.clear()
    assert cached_weights.settled(made) == (made, ())
    cached_weights.bring(made)
    assert hub.asked == []


@pytest.mark.parametrize("part", ["model", "draft", "adapter"])
def test_what_an_earlier_corral_made_without_a_commit_is_read_at_the_newest_that_came(
    part: str, deployment: Deployment, hub: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its repository is no folder of where corral happens to be run."""
    parts: dict[str, dict[str, Any]] = {
        "model": {"model": REPO},
        "draft": {"speculative_config": {"method": "eagle3", "model": REPO, "num_speculative_tokens": 1}},
        "adapter": {"lora_modules": (LoraModule(name="tuned", path=REPO),)},
    }
    toy = tiny.make(tmp_path / "toy")
    serve = deployment.plan.serve.model_copy(update={"model": str(toy), "revision": None} | parts[part])
    made = deployment.model_copy(update={"plan": deployment.plan.model_copy(update={"serve": serve})})
    made.write(folder(made.name) / "deployment.json")
    assert run(["fetch", "--verify", made.name]) == 4
    assert capsys.readouterr().err == (
        f"error: Nothing of {REPO} is on this machine, and nobody noted at which commit it would be.\n"
        f"hint: Fetch it: corral fetch {REPO}\n"
    )
    assert run(["fetch", REPO]) == 0
    capsys.readouterr()
    assert run(["fetch", "--verify", made.name]) == (
        0 if part == "model" else 4
    )  # nothing vouches for the toy
    assert f"{snapshot(hub, tmp_path)}: " in capsys.readouterr().out
