"""What a preflight says of the weights: all that is known, what is unknown as unknown, and when they cannot be had."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from deploy.targets import hub_weights
from deploy.targets.deployment import Deployment, folder
from deploy.targets.ec2.rental import HOW_TO_GIVE_A_TOKEN
from deploy.targets.hub_weights import OwnToken
from deploy.targets.place import Check
from infra.errors import AuthError, EndpointError
from serving.model import hub
from serving.model.hub_token import Token
from serving.sizing.plan import Plan

DATA = Path(__file__).parent / "data" / "hosts"
META = "meta-llama/Llama-4-Scout-17B-16E-Instruct"
RED_HAT = "RedHatAI/Llama-4-Scout-17B-16E-Instruct-quantized.w4a16"
OTHER = "someone/Llama-4-Tuned"
SCOUT = "92f3b1597a195b523d8d9e5700e57e4fbb8f20d3"
NOW = "a" * 40
LICENCE = "Llama 4 Community License"
MINE = Token("hf_CANARY", "HF_TOKEN")


def plan(repo: str, **serve: Any) -> Plan:
    found = Plan.read(DATA / "plan.json")
    update = {"model": repo} | serve
    return found.model_copy(
        update={"serve": found.serve.model_copy(update=update), "weights_bytes": 65_733_451_776}
    )


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The Hub: everything is at one commit and open, but for Meta's."""
    calls: list[object] = []

    def describe(repo: str, revision: str | None, token: object) -> hub.Repository:
        calls.append(("describe", repo, revision, token))
        gated = repo.startswith("meta-llama")
        return hub.Repository(
            repo=repo, revision=revision or NOW, gated=gated, licence="llama4", fetched_bytes=70_000_000_000
        )

    def check_access(repo: str, token: object) -> None:
        calls.append(("access", repo, token))

    monkeypatch.setattr(hub, "describe", describe)
    monkeypatch.setattr(hub, "check_access", check_access)
    return calls


def test_what_the_table_knows_is_not_asked(asked: list[object]) -> None:
    found = hub_weights.look(plan(META), None)
    assert asked == []
    assert hub_weights.check(found) == Check(
        name="weights",
        outcome="failed",
        found=f"{META} at {SCOUT}, 61.2 GiB, licence {LICENCE}, gated, and no token is there",
        fix=f"Accept its licence at https://huggingface.co/{META}; then `hf auth login`, or HF_TOKEN, or "
        "--hf-token-file token.txt.",
    )
    with pytest.raises(AuthError) as caught:
        hub_weights.require(found)
    assert caught.value.exit_code == 5


def test_a_token_of_ones_own_is_tried(asked: list[object]) -> None:
    found = hub_weights.look(plan(META), MINE)
    assert asked == [("access", META, MINE)]
    assert hub_weights.check(found) == Check(
        name="weights",
        outcome="ok",
        found=f"{META} at {SCOUT}, 61.2 GiB, licence {LICENCE}, gated, token from HF_TOKEN (let in by the Hub)",
    )
    assert "CANARY" not in found.model_dump_json()


def test_the_token_of_a_rented_box_is_named_and_cannot_be_tried(asked: list[object]) -> None:
    """One's own token is no help to a box, which has none of it."""
    refused = hub_weights.look(plan(META), MINE, OwnToken("", HOW_TO_GIVE_A_TOKEN))
    assert hub_weights.check(refused).fix.endswith("name it: --hf-token-parameter /hf/token")
    found = hub_weights.look(plan(META), MINE, OwnToken("/hf/token", HOW_TO_GIVE_A_TOKEN))
    assert hub_weights.check(found).found.endswith("gated, token from /hf/token (not tried)")
    assert hub_weights.refusal(found) is None
    assert asked == []


def test_a_third_partys_is_told_as_that_and_its_commit_is_asked_for(asked: list[object]) -> None:
    found = hub_weights.look(plan(RED_HAT), None)
    assert asked == [("describe", RED_HAT, None, None)]
    assert hub_weights.check(found) == Check(
        name="weights",
        outcome="ok",
        found=f"{RED_HAT} (a third party's, not meta-llama's) at {NOW}, 65.2 GiB, licence {LICENCE}, not gated",
    )


def test_a_repository_that_is_in_no_table_is_asked_about(asked: list[object]) -> None:
    found = hub_weights.look(plan(OTHER, revision="b" * 40), None)
    assert asked == [("describe", OTHER, "b" * 40, None)]
    assert hub_weights.check(found).found == f"{OTHER} at {'b' * 40}, 65.2 GiB, licence llama4, not gated"


def test_offline_nobody_is_asked_and_the_unknown_is_said_to_be_unknown(
    asked: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CORRAL_OFFLINE", "1")
    found = hub_weights.look(plan(OTHER), MINE)
    assert asked == []
    assert hub_weights.check(found) == Check(
        name="weights",
        outcome="warning",
        found=f"{OTHER} at a commit nobody knows, 61.2 GiB, licence unknown, gated or not is unknown; token from "
        "HF_TOKEN. The Hub was not asked: --offline",
        fix="What is unknown is found out when it is fetched.",
    )


def without_a_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object) -> None:
        raise EndpointError("The Hub cannot be asked about it: timed out.", "")

    monkeypatch.setattr(hub, "describe", unreachable)
    monkeypatch.setattr(hub, "check_access", unreachable)


def test_without_a_hub_no_branch_is_fetched_in_place_of_a_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    without_a_hub(monkeypatch)
    found = hub_weights.look(plan(RED_HAT), None)
    with pytest.raises(EndpointError) as caught:
        hub_weights.require(found)
    assert caught.value.message == (
        f"Which commit of {RED_HAT} to fetch is not known: The Hub cannot be asked about it: timed out."
    )
    known = hub_weights.look(plan(RED_HAT, revision=NOW), None)
    assert hub_weights.refusal(known) is None
    assert hub_weights.check(known).outcome == "warning"
    token = hub_weights.look(plan(META), MINE)
    assert hub_weights.check(token).found.endswith("timed out")
    assert hub_weights.refusal(token) is None


def test_what_is_here_needs_no_token_and_no_hub() -> None:
    found = hub_weights.told(plan(META)).model_copy(update={"at": "/srv/weights"})
    assert hub_weights.check(found).found.endswith("gated, and no token is there; here already: /srv/weights")
    assert hub_weights.refusal(found) is None


def deployment(serve: Plan) -> Deployment:
    made = datetime(2026, 11, 28, tzinfo=UTC)
    return Deployment(name="scout", target="local", plan=serve, created_at=made)


def test_a_commit_that_was_pinned_stays_while_the_model_is_the_same() -> None:
    def commit(given: Deployment) -> str | None:
        return hub_weights.kept(given).plan.serve.revision

    begun = deployment(plan(RED_HAT))
    assert commit(begun) is None
    hub_weights.pinned(begun, NOW).write(folder("scout") / "deployment.json")
    assert commit(begun) == NOW
    assert commit(deployment(plan(OTHER))) is None
    assert commit(deployment(plan(RED_HAT, revision="b" * 40))) == "b" * 40
    assert commit(deployment(plan(META))) == SCOUT
    assert hub_weights.kept(deployment(plan("/srv/model"))) == deployment(plan("/srv/model"))
