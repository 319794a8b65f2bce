"""The hosts themselves: what the other fleet tests stand on."""

from collections.abc import Callable
from typing import Any

import pytest

from infra.ssh import Host

pytestmark = pytest.mark.fleet


def test_a_host_boots_whole_and_answers_over_ssh(new_machine: Callable[..., Any]) -> None:
    machine = new_machine()
    machine.power_on()
    host = Host(machine.name)
    facts = host.facts()
    assert (facts.hostname, facts.privilege, facts.systemd is not None) == (machine.name, "root", True)
    machine.power_cycle()
    assert Host(machine.name).facts().boot_id != facts.boot_id
