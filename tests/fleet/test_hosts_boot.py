"""The hosts themselves, what the SSH door makes of them, and hosts that are not what they were."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deploy.targets.ssh import owned_hosts
from infra.errors import AuthError, HostError
from infra.ssh import Host

pytestmark = pytest.mark.fleet


def test_a_host_is_read_loses_power_and_changes_its_key(
    new_machine: Callable[..., Any], tmp_path: Path
) -> None:
    machine = new_machine()
    machine.power_on()
    host = Host(machine.name)
    facts = host.facts()
    assert (facts.hostname, facts.privilege, facts.gpu.gpus) == (machine.name, "root", ())
    assert facts.interfaces[machine.address] == "host0"
    assert {"python3-venv", "tar", "libnuma"} <= facts.tools
    assert 22 in facts.ports_in_use

    # A login that talks before it runs anything, as many do.
    (machine.tree / "root/.bashrc").write_text("echo 'clock_s 1'; echo Authorised use only\n")
    assert Host(machine.name).run(["echo", "it's", "$(id)"]).stdout == "it's $(id)\n"
    (found,) = owned_hosts.inventory([machine.name]).hosts
    assert (found.facts.boot_id, found.deployments) == (facts.boot_id, {})
    host.close()

    machine.power_cycle()
    assert Host(machine.name).facts().boot_id != facts.boot_id
    Host(machine.name).close()

    key = machine.tree / "etc/ssh/ssh_host_ed25519_key"
    key.unlink()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    with pytest.raises(HostError, match="is not the one you know"):
        Host(machine.name).run(["true"])

    (machine.ssh_folder / "known_hosts").write_text("")
    with pytest.raises(HostError, match="is not in your known_hosts"):
        Host(machine.name).run(["true"])

    public = key.with_suffix(".pub").read_text()
    (machine.ssh_folder / "known_hosts").write_text(f"{machine.address} {public}")
    (machine.tree / "root/.ssh/authorized_keys").write_text("")
    with pytest.raises(AuthError, match="refuses your key"):
        Host(machine.name).run(["true"])
