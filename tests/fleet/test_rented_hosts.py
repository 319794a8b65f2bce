"""Two rented machines, each with the user data EC2 was sent, run by the real cloud-init: one server over both.

EC2 is the strict fake, whose machines are real hosts here; Session Manager is an `aws` that goes to them by SSH. The
engine is a stub whose ranks must meet over the network, as vLLM's do: the real one is in test_several_hosts.py.
"""

import json
import os
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_aws import FakeAws
from lanes import port_of
from renting import door, fresh

from deploy.targets.deployment import folder
from deploy.targets.ec2 import documents
from infra import cloud_init
from serving.sizing.size import answer_for
from serving.sizing.size_options import Options

pytestmark = [pytest.mark.fleet, pytest.mark.slow, pytest.mark.timeout(1800)]

DATA = Path(__file__).parents[1] / "data"

SESSION = """\
#!{python}
import json, os, sys
parameters = json.loads(sys.argv[-1])
ssh = ["ssh", "-F", os.environ["CORRAL_SSH_CONFIG"], "-o", "ExitOnForwardFailure=yes"]
host = json.loads(os.environ["FAKE_HOSTS"])[sys.argv[sys.argv.index("--target") + 1]]
if "portNumber" in parameters:
    ports = parameters["localPortNumber"][0] + ":127.0.0.1:" + parameters["portNumber"][0]
    os.execvp("ssh", [*ssh, "-N", "-L", ports, host])
os.execvp("ssh", [*ssh, host, parameters["command"][0]])
"""


def engine_tar(path: Path) -> None:
    """The stub engine, as a packed one."""
    package = "lib/python3.11/site-packages/vllm"
    modules = {"entrypoints/cli/main.py": "stub_ranks.py", "stub_vllm.py": "stub_vllm.py"}
    with tarfile.open(path, "w") as archive:
        for place, name in modules.items():
            archive.add(DATA / name, f"{package}/{place}")


@pytest.fixture
def aws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tunnels: None) -> FakeAws:
    """The account, and an `aws` on the PATH."""
    aws, clock = fresh()
    clock.now_s = time.time()  # that of the hosts, which are real
    aws.quotas["L-417A185B"] = 1000.0
    region = aws.regions["us-east-1"]
    region.vcpu_limit, region.public_subnets = 1000, False
    monkeypatch.setattr(documents, "aws_for", lambda name: door(aws, clock, folder(name)))
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "aws").write_text(SESSION.format(python=sys.executable))
    (tools / "session-manager-plugin").write_text("#!/bin/sh\n")
    for tool in tools.iterdir():
        tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    return aws


def box(new_machine: Callable[..., Any], number: int, user_data: str, folder: Path) -> Any:
    """A host that starts with that user data."""
    machine = new_machine()
    seed = machine.tree / "var/lib/cloud/seed/nocloud"
    seed.mkdir(parents=True)
    (seed / "user-data").write_bytes(cloud_init.packed(user_data))
    (seed / "meta-data").write_text(f"instance-id: i-{number:017x}\n")
    (machine.tree / "etc/cloud/cloud.cfg.d/99-test-host.cfg").write_text(
        "ssh_deletekeys: false\ndisable_root: false\nnetwork: {config: disabled}\n"
    )
    machine.binds = [f"--bind-ro={folder}:/srv"]
    return machine


def test_two_rented_machines_serve_as_one_and_survive_a_reboot(
    aws: FakeAws,
    new_machine: Callable[..., Any],
    corral: Callable[..., Any],
    wait: Callable[..., Any],
    lane: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = answer_for("maverick", "bf16", "2xp5.48xlarge", Options())
    serve = plan.serve.model_copy(update={"port": port_of(lane)})
    plan.model_copy(update={"serve": serve}).write(tmp_path / "plan.json")
    (tmp_path / "srv/model").mkdir(parents=True)
    (tmp_path / "srv/model/config.json").write_text("{}")
    engine_tar(tmp_path / "srv/engine.tar")
    lies_there = ["--engine", "/srv/engine.tar", "--weights", "/srv/model", "--idle", "30m"]
    corral(
        "provision", str(tmp_path / "plan.json"), "--target", "ec2", "--name", "wide", "--yes", *lies_there
    )

    region = aws.regions["us-east-1"]
    (asked, ids) = next(iter(region.tokens.values()))
    boxes = {id: box(new_machine, n, asked["UserData"], tmp_path / "srv") for n, id in enumerate(ids)}
    first, second = boxes.values()
    for id, machine in boxes.items():
        region.instances[id]["address"] = machine.address
        machine.power_on()
    consoles = {id: machine.folder / "console" for id, machine in boxes.items()}
    monkeypatch.setattr(
        region,
        "get_console_output",
        lambda InstanceId, Latest: {"Output": consoles[InstanceId].read_text(errors="replace")},  # noqa: N803
    )
    monkeypatch.setenv("FAKE_HOSTS", json.dumps({id: machine.name for id, machine in boxes.items()}))
    phase = "cat /opt/corral/wide/phase 2>/dev/null || true"
    for machine in boxes.values():
        wait(lambda host=machine: host.ssh(phase) == "prepared\n", machine.console)
        assert machine.ssh(
            "systemctl start corral-wide.service; systemctl is-active corral-wide || true"
        ) == (
            "inactive\n"  # it knows no rank yet
        )

    corral("serve", "wide")
    interface = "GLOO_SOCKET_IFNAME=host0 NCCL_SOCKET_IFNAME=host0"
    for rank, machine in enumerate(boxes.values()):
        headless = " --headless" if rank else ""
        said = machine.ssh("journalctl --no-pager -o cat -u corral-wide.service")
        words = f"--nnodes 2 --node-rank {rank} --master-addr {first.address}{headless}"
        assert f"{words} VLLM_HOST_IP={machine.address} {interface}\n" in said
        # What systemd made of the unit and bin/join's addition: loopback and the machines, and nobody else.
        allowed = machine.ssh("systemctl show --value --property=IPAddressAllow corral-wide.service").split()
        ours = {"127.0.0.0/8", "::1/128", f"{first.address}/32", f"{second.address}/32"}
        assert {one if "/" in one else f"{one}/32" for one in allowed} == ours
    status = corral("status", "wide")
    assert (status["state"], status["detail"].count("serving")) == ("serving", 2), status
    before_s = int(time.time())
    corral("extend", "wide", "2d")
    after_s = int(time.time())
    ends = [int(machine.ssh("cat /opt/corral/wide/expires-at")) for machine in boxes.values()]
    assert [before_s <= end_s - 2 * 24 * 3600 <= after_s for end_s in ends] == [True, True]

    # Both lose power; both come back, and so does the server, without anybody telling them.
    for machine in boxes.values():
        machine.power_cycle()
    wait(
        lambda: corral_state(corral) == "serving",
        lambda: second.ssh("systemctl status corral-wide || true"),
    )

    # The first is gone: the other has nobody to work for, and after its idle time it ends itself.
    first.power_off()
    watch = "systemctl start corral-wide.watch.service; cat /run/corral-wide.watch/activity"
    wait(lambda: second.ssh(watch).endswith(" alone"), lambda: second.ssh(watch))
    since_s = float(second.ssh(watch).split()[0])
    second.ssh(f"printf '%s alone' {since_s - 1801} > /run/corral-wide.watch/activity")
    second.ssh("systemctl start --no-block corral-wide.watch.service")
    second.wait_until_it_ends_itself()
    assert corral("down", "wide")["left"] == []


def corral_state(corral: Callable[..., Any]) -> str:
    """How the deployment is, of all there are."""
    (status,) = corral("status")
    return str(status["state"])
