"""What judges a server beside it on a booted host: what it ends, counts and gives up, and what it leaves alone.

In vLLM's place is data/stub_vllm.py, which misbehaves on request. The patience of the judge is made short there.
"""

import json
import re
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import host_door
import pytest

from infra import host, host_files
from infra.onhost import history, judge

pytestmark = [pytest.mark.fleet, pytest.mark.slow, pytest.mark.timeout(900)]

DATA = Path(__file__).parents[1] / "data"
ROOT = "/opt/corral/judged"
UNIT, JUDGE = "corral-judged.service", "corral-judged.judge.service"
SHORT = {
    **{name: 1.0 for name in ("look_every_s", "look_again_s", "dead_s", "deaf_s", "frozen_s", "still_s")},
    **{name: 3.0 for name in ("blind_s", "failing_s", "unready_s", "first_delay_s", "longest_delay_s")},
}


@pytest.fixture
def judged(new_machine: Callable[..., Any], tmp_path: Path) -> Any:
    """A booted host with a server that is judged, and is not started yet."""
    machine = new_machine()
    with tarfile.open(tmp_path / "engine.tar", "w") as archive:
        archive.add(DATA / "stub_vllm.py", "lib/python3.11/site-packages/vllm/entrypoints/cli/main.py")
    machine.binds = [f"--bind-ro={tmp_path}:/srv"]
    machine.power_on()
    setup = host.HostSetup(
        name="judged",
        argv=("serve", "/srv", "--served-model-name", "it's 100% ü", "--port", "8000"),
        served_model_name="it's 100% ü",
        engine=host.Engine(archive="/srv/engine.tar", requirement="vllm==0"),
        api_key="generated",
    )
    for file in host_files.host_files(setup):
        path = machine.tree / file.path.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(impatient(file.content) if path.name == "judge.py" else file.content)
        path.chmod(int(file.mode, 8))
    machine.ssh(f"{ROOT}/bin/prepare")
    return machine


def impatient(text: str) -> str:
    """The judge's source with short times."""
    for name, value in SHORT.items():
        text, found = re.subn(
            rf"^    {name}: float = [\d.]+$", f"    {name}: float = {value}", text, flags=re.M
        )
        assert found == 1, name
    return text


def misbehave(machine: Any, how: str) -> None:
    """Let the server do that from its next start on."""
    (machine.tree / ROOT[1:] / "server.env").write_text(f'STUB="{how}"\n')


def told(machine: Any) -> list[tuple[str, str]]:
    """What its history says, without when."""
    path = machine.tree / ROOT[1:] / "history.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [(line["event"], line["cause"]) for line in map(json.loads, lines)]


def ready(machine: Any) -> int:
    """How often it was ready."""
    return [event for event, _ in told(machine)].count("ready")


def users(machine: Any) -> list[str]:
    """Whose the server is and its judge; root's, while one of them starts."""
    owner = "stat -c %u /proc/$(systemctl show --value --property=MainPID $unit)/ 2>/dev/null || echo 0"
    return str(machine.ssh(f"for unit in {UNIT} {JUDGE}; do {owner}; done")).split()


def seen(machine: Any) -> str:
    """All there is to see, for a failure."""
    log = machine.ssh(f"journalctl --no-pager -o short-monotonic -u {UNIT} -u {JUDGE} | tail -50")
    return f"{log}{told(machine)}"


def test_a_server_is_ended_started_anew_and_at_last_given_up(
    judged: Any, wait: Callable[..., Any], corral: Callable[..., Any], need: Callable[[str, str], NoReturn]
) -> None:
    machine = judged
    host_door.install(machine.tree, need)
    machine.ssh(f"systemctl enable --now {UNIT}")
    wait(lambda: ready(machine) == 1, lambda: seen(machine))
    wait(lambda: len({*users(machine), "0", "65534"}) == 4, lambda: seen(machine))

    machine.ssh(f"systemctl kill --signal=STOP {UNIT}")
    wait(lambda: ready(machine) == 2, lambda: seen(machine))
    machine.ssh(f"kill -KILL $(systemctl show --value -p MainPID {UNIT})")
    wait(lambda: ready(machine) == 3, lambda: seen(machine))
    assert told(machine) == [
        ("started", ""),
        ("ready", ""),
        ("ended", judge.WORDS["frozen"]),
        ("started", "again, after 1 end"),
        ("ready", ""),
        ("died", "it was killed by SIGKILL"),
        ("started", "again, after 2 ends"),
        ("ready", ""),
    ]

    # A full disk keeps it from nothing; what it did not take of the history comes to it later.
    machine.fill(ROOT)
    machine.ssh(f"kill -KILL $(systemctl show --value -p MainPID {UNIT})")
    waits = f"grep -c ready /run/corral-judged/{history.FILE} || true"
    wait(lambda: machine.ssh(waits) == "1\n", lambda: seen(machine))
    machine.give_room(ROOT)
    assert len(told(machine)) == 8

    # A wish is no death: neither the judge nor systemd starts it again.
    machine.ssh(f"systemctl stop {UNIT}; ! systemctl is-active {UNIT} {JUDGE}")
    assert told(machine)[8:] == [
        ("died", "it was killed by SIGKILL"),
        ("started", "again, after 3 ends"),
        ("ready", ""),
        ("stopped", ""),
    ]

    misbehave(machine, "dies")
    machine.ssh(f"rm {ROOT}/ends; rm -r /run/corral-judged; systemctl start --no-block {UNIT}")
    wait(lambda: told(machine)[-1][0] == "gave up", lambda: seen(machine))
    died = ("died", "it ended with exit code 0")
    words = f"gave up after 3 starts that did not get ready, without an hour of service between; the first: {died[1]}"
    starts = [("started", ""), ("started", "again, after 1 end"), ("started", "again, after 2 ends")]
    assert told(machine)[12:] == [*[each for start in starts for each in (start, died)], ("gave up", words)]
    machine.power_cycle()
    assert (
        machine.ssh(f"systemctl is-enabled {UNIT}; systemctl is-active {UNIT} || true")
        == "enabled\ninactive\n"
    )
    assert machine.ssh(f"cat {ROOT}/gave-up {ROOT}/phase") == f"{words}\nfailed: start: {words}\n"
    assert "CUDA out of memory" in machine.ssh(f"cat {ROOT}/first-death.log")
    assert told(machine)[-1][0] == "gave up"

    misbehave(machine, "")
    machine.ssh(f"{host.forget_ends('judged')}; systemctl start --no-block {UNIT}")
    wait(lambda: ready(machine) == 5, lambda: seen(machine))
    assert machine.ssh(f"cat {ROOT}/phase") == "prepared\n"

    # What ends it waits for its requests, as its own user and through its lock; whoever is in a hurry says so.
    misbehave(machine, "busy")
    machine.ssh(f"systemctl restart {UNIT}")
    wait(lambda: ready(machine) == 6, lambda: seen(machine))
    machine.ssh(f"systemctl stop --no-block {UNIT}")
    waits = "corral: 1 request runs or waits; waiting up to 60 s until there are none"
    wait(lambda: waits in journal(machine), lambda: seen(machine))
    assert machine.ssh(f"systemctl show --value -p SubState {UNIT}") == "stop\n"
    machine.ssh(f"touch {ROOT}/now")
    wait(lambda: "corral: not waiting for requests" in journal(machine), lambda: seen(machine))
    wait(lambda: machine.ssh(f"systemctl is-active {UNIT} || true") == "inactive\n", lambda: seen(machine))

    misbehave(machine, "")
    machine.ssh(f"rm {ROOT}/now; systemctl start --no-block {UNIT}")
    wait(lambda: ready(machine) == 7, lambda: seen(machine))
    host_door.stands(machine, corral, wait)


def journal(machine: Any) -> str:
    """What the server's unit has said."""
    return str(machine.ssh(f"journalctl --no-pager --output=cat --unit={UNIT}"))
