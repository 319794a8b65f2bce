"""A host of several that lost its disk, as docs/how-to/behind-the-gap.md has it: what is said, and what puts it back.

The hosts are folders (tests/fake_box.py); a disk that is lost is a folder that is gone.
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fake_box import Box
from test_owned_line import Corral
from test_owned_line import box as box
from test_owned_line import corral as corral
from test_owned_line import plan as plan
from test_replicas import boxes as boxes
from test_replicas import engine as engine
from test_replicas import key_of, status
from test_replicas import provisioned as provisioned

from deploy.targets.deployment import folder

DISK, SYSTEM = "/opt/corral", "/etc/systemd/system"
PID = "corral-scout.service.pid"


def states(found: Any) -> list[tuple[str, str]]:
    return [(each["state"], each["detail"]) for each in found["endpoints"]]


def up(
    corral: Corral, plan: Path, engine: str, hosts: Sequence[str] = ("gpu-1", "gpu-2")
) -> tuple[int, str, str]:
    named = [word for host in hosts for word in ("--host", host)]
    given = ["--target", "ssh", *named, "--engine", engine, "--name", "scout", "--yes"]
    return corral("up", str(plan), *given)


def test_a_host_that_lost_its_disk_is_put_back_by_the_line_of_up_and_the_other_serves_on(
    provisioned: tuple[Box, Box], corral: Corral, plan: Path, engine: str
) -> None:
    assert corral("serve", "scout")[0] == 0
    dead, other = provisioned
    key, serving = (folder("scout") / "api-key").read_text().strip(), (other.folder / PID).read_text()

    # The disk is gone while the server runs: it is said to be absent all the same.
    shutil.rmtree(dead.path(DISK))
    well = ("serving", "it answered a completion")
    code, out, _ = corral("status", "scout", "--json")
    assert (code, states(json.loads(out))) == (7, [("absent", "nothing of that name on gpu-1"), well])

    # Installed anew, with another disk.
    dead.run(["systemctl", "stop", "corral-scout.service"])
    shutil.rmtree(dead.path(SYSTEM))
    dead.path(SYSTEM).mkdir()
    for line in (["serve", "scout"], ["roll", "scout"]):
        assert corral(*line)[0] != 0
    code, _, said = up(corral, plan, engine, ("gpu-3", "gpu-2"))
    assert (code, "error: 'scout' is already a deployment on gpu-1 gpu-2." in said) == (2, True)

    code, _, said = up(corral, plan, engine)
    assert code == 0, said
    assert states(status(corral)) == [well, well]
    assert [key_of(each) for each in provisioned] == [key, key]
    assert (other.folder / PID).read_text() == serving
    assert corral("down", "scout")[0] == 0
