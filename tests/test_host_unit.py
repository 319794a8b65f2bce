"""What systemd says of a server on a host, and what that means to whoever asks."""

from types import SimpleNamespace
from typing import Any

import pytest
from test_owned import deployment

from deploy.targets.deployment import Deployment
from deploy.targets.ssh import host_unit
from deploy.targets.ssh.host_unit import UnitState


class Host:
    """A host that answers a look at its unit with these lines."""

    destination = "gpu-1"

    def __init__(self, said: str) -> None:
        self.said = said

    def run(self, command: list[str], **_: Any) -> SimpleNamespace:
        assert command[:2] == ["sh", "-c"]
        return SimpleNamespace(stdout=self.said, code=0)


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ("", UnitState(active="absent")),
        ("ActiveState=active\n", UnitState(active="absent")),
        ("Record=\n", UnitState(active="", sub="", restarts=0, has_run=False, phase="")),
        (
            "Record=\nActiveState=activating\nSubState=auto-restart\nNRestarts=3\nHasRun=\nPhase=a=b\n",
            UnitState(active="activating", sub="auto-restart", restarts=3, has_run=True, phase="a=b"),
        ),
        ("Record=\nActiveState=inactive\nNRestarts=\n", UnitState(active="inactive")),
    ],
)
def test_what_systemd_says(said: str, state: UnitState) -> None:
    found = host_unit.state("scout", Host(said))  # type: ignore[arg-type]
    assert found.model_dump() == state.model_dump()
    defaults = {"sub": "", "restarts": 0, "has_run": False, "phase": ""}
    assert UnitState(active="active").model_dump() == {"active": "active", **defaults}


@pytest.mark.parametrize(
    ("said", "state", "detail"),
    [
        ("", "absent", "nothing of that name on gpu-1"),
        ("Record=\nActiveState=inactive\n", "provisioned", "not prepared"),
        ("Record=\nActiveState=inactive\nPhase=prepared\n", "provisioned", "prepared"),
        ("Record=\nActiveState=inactive\nHasRun=\nPhase=prepared\n", "stopped", "prepared"),
        (
            "Record=\nActiveState=inactive\nHasRun=\nPhase=failed: lock: the egress lock is gone\n",
            "stopped",
            "failed: lock: the egress lock is gone",
        ),
    ],
)
def test_what_that_means(said: str, state: str, detail: str) -> None:
    made: Deployment = deployment()
    found = host_unit.status(made, Host(said))  # type: ignore[arg-type]
    assert (found.name, found.target, found.state, found.detail, found.endpoint) == (
        made.name,
        "ssh",
        state,
        detail,
        None,
    )
