"""What one rented machine is, by what EC2, its console, its unit and its server say: all of it as values."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from test_ec2_rented import machine
from test_owned import deployment

from deploy.targets.ec2 import boxes, documents, machine_status, tunnels
from infra.aws import session, stopped_costs
from infra.errors import HostError
from infra.phase import Phase
from serving.vllm import health
from serving.vllm.endpoint import Endpoint

MADE = deployment().model_copy(update={"target": "ec2"})
ONE: Any = SimpleNamespace(replicas=1, nodes=1, machines=1)
TWO_NODES: Any = SimpleNamespace(replicas=1, nodes=2, machines=2)
AWS: Any = SimpleNamespace(now=lambda: datetime(2026, 9, 21, 15, 0, tzinfo=UTC))
HERE = "i-1, on-demand g5.12xlarge in us-east-1a"
AGAIN = "When it is gone, rent anew with the same options: corral up plan.json --target ec2 --name scout"
ENDPOINT = Endpoint(base_url="http://127.0.0.1:1", served_model_name="m")


@pytest.fixture(autouse=True)
def doors(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the machine costs while it is stopped, and what an order costs an hour."""
    monkeypatch.setattr(stopped_costs, "told", lambda aws, found: f"{found.instance_id} costs")
    monkeypatch.setattr(machine_status, "hourly", lambda order: "5.672 USD per hour")
    monkeypatch.setattr(documents, "begun", lambda name: None)


@pytest.mark.parametrize(
    ("changes", "state", "detail"),
    [
        ({"end_reason": "Server.SpotInstanceTermination"}, "interrupted", f"interrupted by EC2. {AGAIN}"),
        ({"state": "stopped"}, "stopped", "stopped; i-1 costs; start it: corral serve scout"),
        ({"state": "stopping"}, "stopped", "stopping; i-1 costs; start it: corral serve scout"),
        ({"state": "pending"}, "provisioned", ""),
    ],
)
def test_one_that_does_not_run(changes: dict[str, str], state: str, detail: str) -> None:
    found = machine_status.of_machine(AWS, MADE, ONE, machine(**changes), leads=True)
    assert (found.name, found.target, found.state, found.detail, found.endpoint) == (
        "scout",
        "ec2",
        state,
        f"{HERE}: {detail}" if detail else HERE,
        None,
    )


@pytest.mark.parametrize(
    ("phase", "state", "detail"),
    [
        (Phase(state="interrupted", words="interrupted: EC2 takes it back"), "interrupted",
         f"interrupted: EC2 takes it back. {AGAIN}"),
        (Phase(state="failed", words="failed: installing the engine"), "dead", "failed: installing the engine"),
        (Phase(state="failed", words="failed: start: gave up"), "dead",
         "failed: start: gave up: its log; again: corral serve scout; it still costs 5.672 USD per hour: corral down "
         "scout"),
        (Phase(state="preparing", words="weights"), "starting", "weights (5 of at most M minutes)"),
        (Phase(), "starting", "booting (5 of at most M minutes)"),
        (Phase(state="prepared", words="prepared"), "provisioned", "not reached"),
    ],
)  # fmt: skip
def test_one_that_runs_is_what_it_says_of_itself(
    phase: Phase, state: str, detail: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def of_server(*_: object) -> None:
        raise HostError("not reached")

    monkeypatch.setattr(boxes, "phase", lambda *_: phase)
    monkeypatch.setattr(boxes, "death", lambda *_: SimpleNamespace(cause="its log"))
    monkeypatch.setattr(machine_status, "of_server", of_server)
    rented = machine(launched_at=datetime(2026, 9, 21, 14, 55, tzinfo=UTC))
    minutes = f"{boxes.prepared_within_s(MADE) / 60:.0f}"
    found = machine_status.of_machine(AWS, MADE, ONE, rented, leads=True)
    assert (found.state, found.detail) == (state, f"{HERE}: {detail.replace(' M ', f' {minutes} ')}")


def test_what_failed_is_told_without_the_ways_on_where_the_box_has_no_engine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(boxes, "death", lambda *_: None)
    for words, told in (
        ("failed: weights: no such file", "failed: weights: no such file"),
        (
            "failed: lock: the egress lock is gone",
            "failed: lock: the egress lock is gone; again: corral serve scout; it still costs 5.672 USD per hour: "
            "corral down scout",
        ),
    ):
        phase = Phase(state="failed", words=words)
        assert machine_status.failure(MADE, ONE, machine(), phase) == told


@pytest.mark.parametrize(
    ("unit", "leads", "state", "detail"),
    [
        ("inactive", True, "provisioned", "W: start it: corral serve scout"),
        ("failed", False, "dead", "W: its unit has failed"),
        ("active", False, "serving", "W: works for the first machine"),
        ("activating", False, "serving", "W: works for the first machine"),
        ("active", True, "starting", "W: loads"),
    ],
)
def test_one_of_several_nodes_is_what_its_unit_is(
    unit: str, leads: bool, state: str, detail: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, ...]] = []

    def run(*words: str) -> SimpleNamespace:
        asked.append(words)
        return SimpleNamespace(text=f"{unit}\n")

    judged = SimpleNamespace(state="starting", detail="loads")
    monkeypatch.setattr(session, "run", run)
    monkeypatch.setattr(tunnels, "endpoint", lambda *_: ENDPOINT)
    monkeypatch.setattr(health, "look", lambda endpoint: endpoint)
    monkeypatch.setattr(health, "judge", lambda look, name: judged if look is ENDPOINT else None)
    found = machine_status.of_server(MADE, TWO_NODES, machine(), leads, "W")
    assert (found.state, found.detail, found.endpoint) == (
        state,
        detail,
        ENDPOINT if state == "starting" else None,
    )
    assert asked == [("i-1", "us-east-1", "systemctl is-active corral-scout.service")]
    # A server of one machine is asked itself, and not its unit.
    asked.clear()
    assert machine_status.of_server(MADE, ONE, machine(), leads, "W").detail == "W: loads"
    assert asked == []


@pytest.mark.parametrize("said", ["", "unknown", "active\ninactive", "Connection reset"])
def test_a_machine_that_tells_nothing_of_its_unit(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "run", lambda *_: SimpleNamespace(text=said))
    with pytest.raises(HostError) as error:
        machine_status.unit_state(MADE, machine())
    assert (error.value.message, error.value.hint) == (
        "i-1 does not tell how its unit is.",
        "Try again in a minute.",
    )


@pytest.mark.parametrize(
    ("order", "left", "reasons", "state", "detail"),
    [
        ((1, 1), 0, [], "absent", "no machine carries its tag"),
        ((1, 1), 0, ["Server.SpotInstanceTermination"], "interrupted",
         f"interrupted by EC2: its machine was taken back. {AGAIN}"),
        ((1, 1), 0, ["Client.UserInitiatedShutdown"], "absent", "no machine carries its tag"),
        ((1, 2), 1, ["", "Server.SpotInstanceTermination"], "interrupted",
         f"interrupted by EC2: 1 of 2 machines was taken back. {AGAIN}"),
        ((1, 2), 1, [""], "dead", f"1 of 2 machines ended. {AGAIN}"),
        ((3, 1), 1, [""], "dead", "2 of 3 machines are not there; rented anew by: corral serve scout"),
        ((3, 1), 0, [""], "absent", "no machine carries its tag"),
    ],
)  # fmt: skip
def test_what_is_missing(
    order: tuple[int, int], left: int, reasons: list[str], state: str, detail: str
) -> None:
    replicas, nodes = order
    ordered: Any = SimpleNamespace(replicas=replicas, nodes=nodes, machines=replicas * nodes)
    machines = tuple(machine(end_reason=reason) for reason in reasons)
    found = machine_status.gone(MADE, ordered, machines, left)
    assert (found.state, found.detail) == (state, detail)
