"""`corral serve --unit` on a host whose systemd really runs units for a user, at boot too; its vLLM is a stand-in."""

import json
import shlex
import subprocess
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
import stubbed

pytestmark = [pytest.mark.fleet, pytest.mark.timeout(600)]

REPOSITORY = Path(__file__).parents[2]
LINGERS = "/var/lib/systemd/linger"
# What pam_systemd tells elsewhere; the host has no such package.
RUNTIME = "[Service]\nPAMName=\nEnvironment=XDG_RUNTIME_DIR=/run/user/%i\n"
CORRAL = "from deploy.cli.start import main; main()"
UNIT = "corral-tiny.service"
DEBIANS = "3.11"


def test_a_users_unit_serves_is_there_after_a_boot_and_leaves_nothing(
    new_machine: Callable[..., Any], wait: Callable[..., Any], need: Callable[[str, str], NoReturn]
) -> None:
    if sysconfig.get_python_version() != DEBIANS:
        need("fleet", f"the packages here are for another Python than Debian's {DEBIANS}")
    machine = new_machine()
    subprocess.run(["chroot", str(machine.tree), "useradd", "--create-home", "ada"], check=True)
    home = machine.tree / "home/ada"
    plan = stubbed.a_plan(home).text().replace(str(machine.tree), "")
    (home / "plan.json").write_text(plan)
    (home / "vllm").write_text(f"#!/usr/bin/python3\n{stubbed.STUB.read_text()}")
    (home / "vllm").chmod(0o755)
    (machine.tree / LINGERS[1:]).mkdir(parents=True)
    (machine.tree / LINGERS[1:] / "ada").touch()
    drop_in = machine.tree / "etc/systemd/system/user@.service.d"
    drop_in.mkdir()
    (drop_in / "runtime.conf").write_text(RUNTIME)
    subprocess.run(["chroot", str(machine.tree), "chown", "--recursive", "ada:", "/home/ada"], check=True)
    machine.binds += [
        f"--bind-ro={REPOSITORY}:/srv/corral",
        f"--bind-ro={sysconfig.get_path('purelib')}:/srv/packages",
    ]
    machine.power_on()

    def ada(*words: str) -> Any:
        """What a command of the user's says."""
        environment = ["PYTHONPATH=/srv/corral:/srv/packages", "CORRAL_VLLM=/home/ada/vllm", "HOME=/home/ada"]
        environment.append("XDG_RUNTIME_DIR=/run/user/1000")
        command = ["runuser", "-u", "ada", "--", "env", "-C", "/home/ada", *environment, *words]
        return str(machine.ssh(shlex.join(command)))

    def corral(*words: str) -> Any:
        return json.loads(ada("python3", "-Bc", CORRAL, *words, "--json"))

    def state() -> str:
        """Of the unit, as the user's own systemd has it."""
        return str(ada("sh", "-c", f"systemctl --user is-active {UNIT} || true")).strip()

    wait(lambda: state() in ("inactive", "active"), lambda: machine.ssh("journalctl --no-pager | tail -40"))
    served = corral("serve", "plan.json", "--name", "tiny", "--unit")
    assert (served["served_model_name"], state()) == ("tiny", "active")
    before = corral("status", "tiny")
    machine.power_cycle()
    shown = shlex.join(("python3", "-Bc", CORRAL, "status", "tiny"))
    wait(lambda: ": serving at " in ada("sh", "-c", f"{shown} || true"), lambda: str(before))
    assert state() == "active"
    assert corral("stop", "tiny")["state"] == "stopped"
    assert state() == "inactive"
    events = [each["event"] for each in corral("status", "tiny", "--history")]
    assert events == ["asked", "started", "ready", "died", "started", "ready", "stopped"]
    assert corral("down", "tiny")["left"] == []
    assert machine.ssh("find /home/ada -name '*corral-tiny*'") == ""
