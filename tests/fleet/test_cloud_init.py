"""The exact user data EC2 would get, executed by the real cloud-init: it ends with an answering endpoint.

The engine and the weights lie on the host, as they would on an image of one's own: a box without internet.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deploy import deployment as deployments
from deploy.ec2.options import Ec2Options
from deploy.ec2.order import host_setup
from deploy.plan import Plan
from infra import host as hosts
from infra.ssh import Host
from serving import client
from serving.endpoint import Endpoint
from serving.pack import pack

pytestmark = [pytest.mark.fleet, pytest.mark.engine, pytest.mark.slow]


def user_data(plan: Path) -> str:
    """What RunInstances would carry."""
    options = Ec2Options(engine="/srv/engine.tar", weights="/srv/model", ttl="8h", idle="30m")
    deployment = deployments.make(Plan.read(plan), "ec2", "tiny")
    return hosts.user_data(host_setup(deployment, options, "us-east-1"))


def test_the_box_prepares_itself_answers_and_ends_in_time(
    new_machine: Callable[..., Any], plan: Path, prefix: Path, tmp_path: Path, wait: Callable[..., Any]
) -> None:
    machine = new_machine()
    seed = machine.tree / "var/lib/cloud/seed/nocloud"
    seed.mkdir(parents=True)
    (seed / "user-data").write_bytes(hosts.packed(user_data(plan)))
    (seed / "meta-data").write_text("instance-id: i-0123456789abcdef0\n")
    # The image's own settings, not the user data's: the test knows the host by its key, and comes as root.
    (machine.tree / "etc/cloud/cloud.cfg.d/99-test-host.cfg").write_text(
        "ssh_deletekeys: false\ndisable_root: false\nnetwork: {config: disabled}\n"
    )
    with (machine.folder / "engine.tar").open("wb") as archive:
        pack(prefix, archive)
    document = json.loads(plan.read_text())["serve"]
    machine.binds = [
        f"--bind-ro={machine.folder}/engine.tar:/srv/engine.tar",
        f"--bind-ro={tmp_path}/model:/srv/model",
    ]
    Path(document["model"]).rename(tmp_path / "model")
    machine.power_on()

    phase = "cat /opt/corral/tiny/phase 2>/dev/null || true"
    wait(lambda: machine.ssh(phase) == "prepared\n", 300, lambda: machine.ssh(phase))
    assert machine.ssh("cloud-init status --wait").strip() == "status: done"

    # The end is set before anything else could fail, and nothing upgrades a driver under the server.
    lines = machine.ssh("cat /run/systemd/shutdown/scheduled").splitlines()
    scheduled = dict(line.split("=", 1) for line in lines)
    expires_at_s = int(machine.ssh("cat /opt/corral/tiny/expires-at"))
    assert scheduled["MODE"] == "poweroff"
    assert abs(int(scheduled["USEC"]) / 1e6 - expires_at_s) < 60
    assert machine.ssh("systemctl is-enabled apt-daily-upgrade.timer || true") == "masked\n"
    assert machine.ssh("systemctl is-enabled corral-tiny.watch.timer") == "enabled\n"

    host = Host(machine.name)
    key = tmp_path / "key"
    key.write_text(machine.ssh("cut -d= -f2 /opt/corral/tiny/secrets.env"))
    key.chmod(0o600)
    host.forward(18765, "127.0.0.1", 8000)
    try:
        endpoint = Endpoint(
            base_url="http://127.0.0.1:18765",
            served_model_name=document["served_model_name"],
            api_key_file=key,
        )
        journal = "journalctl --no-pager -o cat -u corral-tiny.service | tail -5"
        wait(lambda: answers(endpoint), 300, lambda: machine.ssh(journal))
        client.canary(endpoint, 30)
    finally:
        host.close_forward(18765)

    # Nobody asks: the watch reads vLLM's real counters, and half an hour later (by a clock of ours) ends the box.
    watch = "systemctl start corral-tiny.watch.service; cat /opt/corral/tiny/activity"
    since_s, _, seen = machine.ssh(watch).partition(" ")
    assert [float(count) > 0 for count in seen.split(",")] == [True, True]
    machine.ssh(f"printf '%s %s' {float(since_s) - 1801} {seen.strip()} > /opt/corral/tiny/activity")
    machine.ssh("systemctl start --no-block corral-tiny.watch.service")
    assert machine.ended_itself(120)


def answers(endpoint: Endpoint) -> bool:
    """Whether the endpoint lists its model."""
    from infra.errors import EndpointError

    try:
        return client.models(endpoint) == (endpoint.served_model_name,)
    except EndpointError:
        return False
