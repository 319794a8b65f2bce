"""Weights of the Hub on an owned host: a gated one with a token that is left nowhere, once for all deployments."""

from pathlib import Path

import pytest
from fake_box import Box
from ports import free_port
from test_owned_line import DATA, Corral, box, corral

from deploy.targets.deployment import load
from serving.model import hub
from serving.sizing.plan import Plan

__all__ = ["box", "corral"]  # the fixtures of the line
META = "meta-llama/Llama-4-Scout-17B-16E-Instruct"
SCOUT = "92f3b1597a195b523d8d9e5700e57e4fbb8f20d3"
SHARED = f"/opt/corral/weights/meta-llama--Llama-4-Scout-17B-16E-Instruct@{SCOUT}"
TOKEN = "hf_granted_CANARY"


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What provisions for Meta's own weights, which the Hub lets the token have."""
    monkeypatch.setattr(hub, "check_access", lambda repo, token: None)
    prefix = tmp_path / "engine"
    (prefix / "lib/python3.11/site-packages/vllm-0.33.0.dist-info").mkdir(parents=True)
    (prefix / "lib/vllm").mkdir()
    (prefix / "pyvenv.cfg").touch()
    found = Plan.read(DATA / "hosts/plan.json")
    serve = found.serve.model_copy(update={"model": META, "port": free_port(), "shutdown_timeout": 1})
    update = {"serve": serve, "weights_bytes": 217_283_738_720}
    found.model_copy(update=update).write(tmp_path / "plan.json")
    plan = str(tmp_path / "plan.json")
    return [
        "provision",
        plan,
        "--target",
        "ssh",
        "--host",
        "gpu-1",
        "--engine",
        str(prefix),
        "--yes",
        "--name",
    ]


def test_a_gated_one_is_fetched_once_for_all_deployments_and_the_token_is_left_nowhere(
    box: Box, corral: Corral, given: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, _, said = corral(*given, "scout")
    assert code == 5
    assert f"error: {META} is gated: without a token of somebody who accepted its licence" in said
    assert not box.path("/opt/corral").exists()

    monkeypatch.setenv("HF_TOKEN", TOKEN)
    code, _, said = corral(*given, "scout")
    assert code == 0, said
    assert f"weights: {META} at {SCOUT}" in said
    model = box.path("/opt/corral/scout/model")
    assert model.is_symlink()
    assert model.resolve() == box.path(SHARED).resolve()
    assert (model / "model.safetensors").exists()
    assert load("scout").plan.serve.revision == SCOUT
    places = (box.folder, tmp_path / "corral-home")
    files = [path for place in places for path in place.rglob("*") if path.is_file()]
    holding = [path for path in files if b"CANARY" in path.read_bytes()]
    assert holding == []
    assert TOKEN not in said

    # Another deployment needs neither the Hub nor a token.
    monkeypatch.delenv("HF_TOKEN")
    (box.folder / "hub.json").unlink()
    code, _, said = corral(*given, "another")
    assert code == 0, said
    assert f"here already: {SHARED}" in said
    assert not (box.folder / "hub.json").exists()

    for name in ("scout", "another"):
        code, out, complaint = corral("down", name)
        assert code == 0, complaint
        assert f"Kept, as other deployments may share it: gpu-1: weights {box.path(SHARED)} (" in out
    assert (box.path(SHARED) / "model.safetensors").exists()
    assert not box.path("/opt/corral/scout").exists()
