"""A server is ready only where each adapter changes what it says; what is sent to a host, and what was planned for."""

from collections.abc import Callable, Iterator
from pathlib import Path

import adapters
import pytest
import stubbed
from adapters import adapter, config, tensors
from stubbed import Patience, members
from test_owned import deployment as on_hosts

from deploy import line
from deploy.targets.deployment import Deployment
from deploy.targets.local import place as local
from deploy.targets.show_server import status
from deploy.targets.ssh import host_setup, host_unit
from infra.errors import CorralError, DocumentError, EndpointError, UsageError
from infra.ssh import Host
from serving.model import checkpoint, lora_files
from serving.sizing.plan import Plan
from serving.sizing.size import answer_for
from serving.sizing.size_options import Options
from serving.vllm import lora_proof
from serving.vllm.endpoint import Endpoint
from serving.vllm.lora_modules import LoraModule
from serving.vllm.serve_options import ServeOptions

ENDPOINT = Endpoint(base_url="http://127.0.0.1:1", served_model_name="base")


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """An all-dense toy with an adapter, for this machine."""
    place = tmp_path_factory.mktemp("plan")
    module = LoraModule(name="tuned", path=str(adapter(place / "tuned")))
    options = Options(kv_cache_memory_bytes=2**26, lora=(module,))
    made = answer_for(str(adapters.dense(place / "toy")), None, "local", options)
    return made.model_copy(update={"serve": made.serve.model_copy(update={"shutdown_timeout": 1})})


@pytest.fixture
def deployment(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployment]:
    made = stubbed.a_deployment(plan, tmp_path, monkeypatch)
    Patience(made, monkeypatch)
    yield made
    stubbed.kill(made)


def test_a_server_is_ready_when_its_adapters_change_what_it_says(
    deployment: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    endpoint = local.serve(deployment)
    assert "the adapter tuned changes what the model says" in capsys.readouterr().err
    now = line.status(deployment)
    assert (now.state, now.adapters) == ("serving", ("tuned",))
    assert f"serving at {endpoint.base_url} with tuned: " in status(now)
    assert local.serve(deployment) == endpoint


@pytest.mark.parametrize("starts", [local.serve, local.turn_to])
def test_a_server_that_does_not_apply_an_adapter_is_ended_and_says_why(
    starts: Callable[[Deployment], Endpoint], deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUB", "ignores-adapters")
    with pytest.raises(lora_proof.NotApplied) as caught:
        starts(deployment)
    assert caught.value.exit_code == 7
    assert caught.value.message == (
        "The server does not apply the adapter tuned: by that name it answers as toy does."
    )
    assert members(deployment) == ()


def test_an_adapter_that_was_changed_since_it_was_planned_for_is_not_started(
    deployment: Deployment, plan: Plan
) -> None:
    folder = Path(plan.serve.lora_modules[0].path)
    try:
        adapter(folder, tensors(("self_attn.q_proj",)))
        with pytest.raises(UsageError, match="adapter_model.safetensors has changed"):
            local.serve(deployment)
        adapter(folder, None, config(lora_alpha=32))
        with pytest.raises(UsageError, match="adapter_config.json has changed"):
            local.serve(deployment)
        with pytest.raises(DocumentError, match="names no full path of the adapter tuned: tuned"):
            lora_files.check_planned(
                (plan.serve.lora_modules[0].model_copy(update={"path": "tuned"}),),
                checkpoint.read(Path(plan.serve.model)),
            )
        (folder / "adapter_config.json").unlink()
        with pytest.raises(DocumentError, match=r"has no adapter_config\.json"):
            local.serve(deployment)
    finally:
        adapter(folder)
    assert members(deployment) == ()


# --- what counts as a change


@pytest.mark.parametrize(
    ("answers", "applied"),
    [
        ([(-1.0, -2.0)] * 4, False),
        ([(-1.0, -2.0)] * 3 + [(-1.0, -2.001)], True),
        # A GPU that sums in another order each time.
        ([(-1.0, -2.0), (-1.0, -2.01), (-1.0, -1.99), (-1.0, -2.015)], False),
        ([(-1.0, -2.0), (-1.0, -2.01), (-1.0, -1.99), (-1.5, -2.0)], True),
        ([(-1.0, -2.0)] * 3 + [(float("nan"), -2.0)], False),
        ([(-1.0, -2.0)] * 3 + [(-1.0,)], False),
        ([()] * 4, False),
    ],
)
def test_an_adapter_changes_more_than_the_noise(
    answers: list[tuple[float, ...]], applied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def likelihoods(endpoint: Endpoint, name: str) -> tuple[float, ...]:
        asked.append(name)
        return answers[len(asked) - 1]

    monkeypatch.setattr(lora_proof, "likelihoods", likelihoods)
    if applied:
        lora_proof.require(ENDPOINT, ["tuned"])
    else:
        with pytest.raises(lora_proof.NotApplied):
            lora_proof.require(ENDPOINT, ["tuned"])
    assert asked == ["base", "base", "base", "tuned"]


def test_without_adapters_nobody_is_asked_and_with_one_an_answer_is_needed() -> None:
    lora_proof.require(ENDPOINT, [])
    with pytest.raises(EndpointError):
        lora_proof.require(ENDPOINT, ["tuned"])


# --- on a host


def test_a_host_is_sent_the_two_files_and_served_from_their_place_there(plan: Plan, tmp_path: Path) -> None:
    engine = tmp_path / "engine"
    (engine / "lib/python3.11/site-packages/vllm-0.33.0.dist-info").mkdir(parents=True)
    (engine / "pyvenv.cfg").touch()
    modules = plan.serve.lora_modules
    (Path(modules[0].path) / "id_rsa").write_text("secret")
    given = on_hosts(
        engine=str(engine), model=plan.serve.model, lora_modules=modules, extra_args=plan.serve.extra_args
    )
    bring = host_setup.brought(given)
    assert bring.adapters == modules
    (line_of_adapter,) = [line for line in host_setup.sent(given, bring) if line.endswith("/adapters/tuned")]
    assert line_of_adapter.endswith(
        f"bytes, of {modules[0].path} (adapter_config.json, adapter_model.safetensors), to "
        "gpu-1:/opt/corral/scout/adapters/tuned"
    )
    words = host_setup.host_setup(given, bring).argv
    assert '"path": "/opt/corral/scout/adapters/tuned"' in words[words.index("--lora-modules") + 1]


def test_a_unit_whose_server_does_not_apply_an_adapter_is_stopped(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, stopped = on_hosts(lora_modules=plan.serve.lora_modules), list[str]()
    monkeypatch.setattr(lora_proof, "likelihoods", lambda endpoint, name: (-1.0, -2.0))
    monkeypatch.setattr(host_unit, "stop", lambda deployment, host: stopped.append(host.destination))
    with pytest.raises(lora_proof.NotApplied):
        host_unit.prove_adapters(given, Host("gpu-1"), ENDPOINT)
    assert stopped == ["gpu-1"]


def test_a_link_to_something_else_is_not_sent(plan: Plan, tmp_path: Path) -> None:
    secret = tmp_path / "secret.json"
    folder = adapter(tmp_path / "linked")
    (folder / "adapter_config.json").rename(secret)
    (folder / "adapter_config.json").symlink_to(secret)
    module = plan.serve.lora_modules[0].model_copy(update={"path": str(folder)})
    with pytest.raises(DocumentError, match="which is no part of the checkpoint"):
        host_setup.brought(
            on_hosts(model=plan.serve.model, lora_modules=(module,), extra_args=plan.serve.extra_args)
        )


def test_an_adapter_beside_a_model_that_is_on_the_host_alone_is_the_planned_one_or_not_sent(
    plan: Plan, tmp_path: Path
) -> None:
    (module,) = plan.serve.lora_modules
    there = on_hosts(
        engine=str(tmp_path), model="/models/there", lora_modules=(module,), extra_args=plan.serve.extra_args
    )
    other = module.model_copy(update={"weights_sha256": "0" * 64})
    with pytest.raises(CorralError, match="is neither an engine's environment"):
        host_setup.brought(there)
    with pytest.raises(UsageError, match="is not the one that was planned for"):
        host_setup.brought(
            on_hosts(model="/models/there", lora_modules=(other,), extra_args=plan.serve.extra_args)
        )


@pytest.mark.parametrize("text", ["-o", "a b", "a/b", "é", "", "a" * 65, ".hidden", "a\nb"])
def test_no_name_of_an_adapter_in_a_document_is_anything_else(text: str) -> None:
    said = {"model": "/m", "served_model_name": "m", "lora_modules": [{"name": text, "path": "/a"}]}
    with pytest.raises(ValueError, match="lora_modules"):
        ServeOptions.model_validate(said)
