"""The line on a machine somebody owns: the real engine brought over SSH to a host without internet, and back again."""

import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deploy.cli.main import run
from infra.egress_proof import Egress
from serving.vllm import client
from serving.vllm.endpoint import Endpoint

pytestmark = [pytest.mark.fleet, pytest.mark.engine, pytest.mark.slow, pytest.mark.timeout(1800)]


def plan_name(plan: Path) -> str:
    """The name the plan serves its model by."""
    return str(json.loads(plan.read_text())["serve"]["served_model_name"])


def files_of(machine: Any) -> set[str]:
    """Every file of the host that is not the system's own diary."""
    diaries = r"^/(var/log|var/cache|var/tmp|var/lib/systemd|proc|sys|run|dev|tmp)(/|$)"
    return set(machine.ssh(f"find / -xdev -printf '%p\\n' | grep -vE '{diaries}'").splitlines())


def test_a_server_is_brought_survives_a_power_cut_and_leaves_nothing(
    new_machine: Callable[..., Any],
    corral: Callable[..., Any],
    plan: Path,
    prefix: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    machine = new_machine()
    machine.power_on()
    before = files_of(machine)
    users = machine.ssh("cat /etc/passwd")

    brought = [
        "--target",
        "ssh",
        "--host",
        machine.name,
        "--engine",
        str(prefix),
        "--name",
        "tiny",
    ]
    corral("provision", str(plan), *brought, "--yes")
    assert corral("status", "tiny")["state"] == "provisioned"
    endpoint = Endpoint.model_validate(corral("serve", "tiny"))
    assert client.models(endpoint) == (plan_name(plan),)

    # Its own user, nothing but loopback, no secret where others can read it.
    pid = machine.ssh("systemctl show --value --property=MainPID corral-tiny.service").strip()
    assert machine.ssh(f"stat -c %U /proc/{pid}").strip() not in ("root", "nobody")
    assert machine.ssh("ss -Hltn 'sport = :8000'").split()[3] == "127.0.0.1:8000"
    key = (endpoint.api_key_file or Path()).read_text().strip()
    assert key not in machine.ssh(f"tr '\\0' ' ' < /proc/{pid}/cmdline; systemctl show corral-tiny.service")
    assert machine.ssh("stat -c %a:%U /opt/corral/tiny/secrets.env").strip() == "600:root"

    nothing_leaves(machine, corral, tmp_path / "egress.json")
    assert "error: Not proved: 10.99.0.1:" in capsys.readouterr().err

    machine.power_cycle()
    status = wait_until_serving(corral)
    client.canary(Endpoint.model_validate(status["endpoint"]), 600)
    # The boot loaded the lock that was removed by hand. An air-gapped host has a way to us alone.
    (proof,) = corral("egress", "tiny")["hosts"]
    found = {one["target"]: (one["tried"], one["dropped"] > 0) for one in proof["before"]["attempts"]}
    assert found == {
        "1.1.1.1:443": (False, False),
        "8.8.8.8:53": (False, False),
        "[2606:4700:4700::1111]:443": (False, False),
        "10.99.0.1:9": (True, True),
    }

    # Everything is asked from the host, so another laptop knows as much.
    document = machine.ssh("cat /opt/corral/tiny/record.json")
    assert json.loads(document)["name"] == "tiny"
    assert key not in document

    assert corral("down", "tiny") == {
        "name": "tiny",
        "counts": {"path": 0, "unit": 0, "table": 0, "process": 0},
        "left": [],
        "account": "",
        "kept": [],
    }
    assert files_of(machine) == before
    assert machine.ssh("cat /etc/passwd") == users
    assert machine.ssh("systemctl list-units --all --plain --no-legend 'corral*'") == ""
    assert machine.ssh("systemctl --failed --plain --no-legend") == ""


def nothing_leaves(machine: Any, corral: Callable[..., Any], report: Path) -> None:
    """A listener outside cannot be reached from the server's unit; without lock and filter it is, and that is said."""
    with socket.create_server(("10.99.0.1", 0)) as listener:
        target = f"10.99.0.1:{listener.getsockname()[1]}"
        command = ["egress", "tiny", "--target", target, "--output", str(report)]
        corral(*command)
        found = Egress.read(report)
        assert (found.verdict, found.problems, found.completions) == ("proved", (), 5)
        (attempt,) = found.hosts[0].before.attempts
        assert (attempt.outcome, attempt.said) == ("stopped", "No route to host")

        # Without the lock systemd's own filter still holds, which nobody counts, so it proves nothing. The look that
        # would stop the server is one at nothing until the next boot.
        machine.ssh(
            "cd /run/systemd/system && mkdir corral-tiny.lock.service.d && "
            "printf '[Service]\nExecStart=\nExecStart=/bin/true\n' >corral-tiny.lock.service.d/test.conf && "
            "systemctl daemon-reload"
        )
        machine.ssh("nft delete table inet corral-tiny")
        assert run(command) == 11
        assert Egress.read(report).problems == (
            f"{target} was not reached from {machine.name} (timed out), but it was not the lock that stopped it",
            f"the lock is not loaded on {machine.name}",
        )
        filters = "IPAddressDeny= IPAddressAllow="
        machine.ssh(f"systemctl set-property --runtime corral-tiny.service {filters}")
        assert run(command) == 11
        assert Egress.read(report).problems == (
            f"{target} was reached from inside corral-tiny.service on {machine.name}",
            f"the lock is not loaded on {machine.name}",
        )


def wait_until_serving(corral: Callable[..., Any]) -> Any:
    """After a boot nobody calls `serve`: the service must come back by itself."""
    while (status := corral("status", "tiny"))["state"] != "serving":
        time.sleep(1)
    return status
