"""A machine that somebody owns: the real engine is brought to it over SSH, has its bad day, and leaves nothing.

The bad day is everything that goes wrong with a server, one thing after another, while twenty clients stream and nobody
is awake. Where it differs from a day of yours: the next release is a stand-in, which answers the canary with an error;
the clock is moved for all that systemd starts, by a library that it loads, for systemd's own and Linux's are this
machine's; the disk is full where the deployment's own folders are; the judge looks every five seconds and not thirty;
no start waits longer than ten; and after the first start all but the engine's first process are forked.
"""

import json
import re
import socket
import struct
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from streaming_clients import CLEAN, Clients, streaming

from deploy.cli.main import run
from infra import host_judge
from infra.data import shipped_text
from infra.egress_proof import Egress
from infra.onhost import judge
from serving.vllm import client
from serving.vllm.endpoint import Endpoint

pytestmark = [pytest.mark.fleet, pytest.mark.engine, pytest.mark.slow, pytest.mark.timeout(2400)]

DATA = Path(__file__).parents[1] / "data"
ROOT, UNIT, STATE = "/opt/corral/tiny", "corral-tiny.service", "/var/lib/private/corral-tiny"
CLOCK, SERVICES = "/usr/local/lib/moved-clock", "etc/systemd/system/service.d"
HASTE = {"look_every_s": 5.0, "longest_delay_s": 10.0}
SHARD, HOUR_S = "model.safetensors", 3600


def plan_name(plan: Path) -> str:
    """The name the plan serves its model by."""
    return str(json.loads(plan.read_text())["serve"]["served_model_name"])


def files_of(machine: Any) -> set[str]:
    """Every file of the host that is not the system's own diary, or of what its timers do at some hour of the day."""
    of_timers = "var/backups|var/lib/apt/daily_lock"
    diaries = rf"^/(var/log|var/cache|var/tmp|var/lib/systemd|{of_timers}|proc|sys|run|dev|tmp)(/|$)"
    return set(machine.ssh(f"find / -xdev -printf '%p\\n' | grep -vE '{diaries}'").splitlines())


def test_a_server_has_its_bad_day_and_leaves_nothing(
    new_machine: Callable[..., Any],
    corral: Callable[..., Any],
    plan: Path,
    prefix: Path,
    wait: Callable[..., Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hasten(monkeypatch)
    machine = new_machine()
    machine.begin_sooner(forked=True)
    sooner = machine.tree / SERVICES / "sooner.conf"
    begun_sooner = sooner.read_text()
    sooner.write_text("")
    load_a_clock(machine)
    machine.power_on()
    before = files_of(machine)
    users = machine.ssh("cat /etc/passwd")

    brought = ["--target", "ssh", "--host", machine.name, "--engine", str(prefix), "--name", "tiny"]
    corral("provision", str(plan), *brought, "--yes")
    assert corral("status", "tiny")["state"] == "provisioned"
    endpoint = Endpoint.model_validate(corral("serve", "tiny"))
    assert client.models(endpoint) == (plan_name(plan),)
    keeps_to_itself(machine, endpoint, json.loads(plan.read_text())["serve"]["port"])
    sooner.write_text(begun_sooner)
    machine.ssh("systemctl daemon-reload")

    accepted = corral("status", "tiny")["release"]
    day = Day(machine, wait)
    # One that freezes before its judge has found it ready is given longer.
    day.until(lambda: day.lives() == 1)
    with streaming(endpoint) as clients:
        its_processes_go_wrong(day, clients)
        a_prompt_is_too_long(clients)
        its_disk_is_full(day)
        the_clock_moves(day)
        its_weights_change(day)
        assert run(["status", "tiny"]) == 7
        assert f"dead: {GAVE_UP}" in capsys.readouterr().out
        corral("provision", str(plan), *brought, "--yes")
        assert run(["upgrade", "tiny", "--engine", str(failing_engine(tmp_path / "next")), "--yes"]) == 7
        assert f"The accepted release, {accepted}, serves again." in capsys.readouterr().err
        nothing_leaves(machine, corral, tmp_path / "egress.json")
        assert f"error: Not proved: {machine.ours}:" in capsys.readouterr().err
        machine.power_cycle()
        status = wait_until_serving(corral)
    assert set(clients.ends) <= CLEAN, clients.ends
    assert min(clients.ends[each] for each in CLEAN) > 0, clients.ends
    assert status["release"] == accepted
    client.canary(Endpoint.model_validate(status["endpoint"]), 600)
    happened = corral("status", "tiny", "--history")
    causes = [(each["event"], each["cause"]) for each in happened if each["event"] in ILL]
    assert [
        (event, re.sub("^[0-9a-f]{12}", "ID", re.sub(r"1:\d+", "1:N", cause))) for event, cause in causes
    ] == CAUSES
    # The boot loaded the lock that was removed by hand. An air-gapped host has a way to us alone.
    (proof,) = corral("egress", "tiny")["hosts"]
    found = {one["target"]: (one["tried"], one["dropped"] > 0) for one in proof["before"]["attempts"]}
    assert found == {
        "1.1.1.1:443": (False, False),
        "8.8.8.8:53": (False, False),
        "[2606:4700:4700::1111]:443": (False, False),
        f"{machine.ours}:9": (True, True),
    }

    # Everything is asked from the host, so another laptop knows as much.
    document = machine.ssh("cat /opt/corral/tiny/record.json")
    assert json.loads(document)["name"] == "tiny"
    assert (endpoint.api_key_file or Path()).read_text().strip() not in document

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


CHANGED = f"the weights have changed on the disk: {SHARD} is not what was brought"
GAVE_UP = (
    f"gave up after 3 starts that did not get ready, without an hour of service between; the first: {CHANGED}"
)
WRONG = '{"error": {"message": "something went wrong"}}'
ILL = ("ended", "died", "gave up", "rolled back")
CAUSES = [
    ("ended", judge.WORDS["hung"]),
    ("died", "it ended with exit code 0: engine core exited unexpectedly"),
    ("died", "it ended with exit code 0: Worker proc VllmWorker-0 died unexpectedly"),
    ("died", "it was killed by SIGKILL"),
    *[("died", CHANGED)] * 3,
    ("gave up", GAVE_UP),
    ("rolled back", f"ID, vLLM 0.33.0: http://127.0.0.1:N/v1/completions answered 500: {WRONG}"),
]


def load_a_clock(machine: Any) -> None:
    """Before a boot: what systemd starts reads a clock that can be moved."""
    folder = machine.tree / CLOCK[1:]
    folder.mkdir()
    (folder / "ahead").write_bytes(struct.pack("=q", 0))
    (folder / "clock.c").write_text((DATA / "moved_clock.c").read_text())
    built = ["gcc", "-O1", "-shared", "-fPIC", "-o", f"{CLOCK}/clock.so", f"{CLOCK}/clock.c"]
    subprocess.run(["chroot", str(machine.tree), *built], check=True)
    drop_in = machine.tree / SERVICES / "clock.conf"
    drop_in.write_text(f"[Service]\nEnvironment=LD_PRELOAD={CLOCK}/clock.so\n")


def hasten(monkeypatch: pytest.MonkeyPatch) -> None:
    """The policy of the judge that is brought, with shorter times; each `serve` would bring another anew."""
    text = shipped_text("infra.onhost", "judge.py")
    for name, value in HASTE.items():
        text, found = re.subn(
            rf"^    {name}: float = [\d.]+$", f"    {name}: float = {value}", text, flags=re.M
        )
        assert found == 1, name
    monkeypatch.setattr(
        host_judge,
        "shipped_text",
        lambda package, name: text if name == "judge.py" else shipped_text(package, name),
    )


def keeps_to_itself(machine: Any, endpoint: Endpoint, port: int) -> None:
    """Its own user, nothing but loopback, no secret where others can read it."""
    pid = machine.ssh(f"systemctl show --value --property=MainPID {UNIT}").strip()
    assert machine.ssh(f"stat -c %U /proc/{pid}").strip() not in ("root", "nobody")
    assert machine.ssh(f"ss -Hltn 'sport = :{port}'").split()[3] == f"127.0.0.1:{port}"
    key = (endpoint.api_key_file or Path()).read_text().strip()
    assert key not in machine.ssh(f"tr '\\0' ' ' < /proc/{pid}/cmdline; systemctl show {UNIT}")
    assert machine.ssh(f"stat -c %a:%U {ROOT}/secrets.env").strip() == "600:root"


class Day:
    """The server's lives on one host, as that keeps them."""

    def __init__(self, machine: Any, wait: Callable[..., Any]) -> None:
        self.machine, self.wait = machine, wait

    def told(self) -> list[tuple[str, str]]:
        """What happened, without when."""
        path = self.machine.tree / ROOT[1:] / "history.jsonl"
        return [(line["event"], line["cause"]) for line in map(json.loads, path.read_text().splitlines())]

    def until(self, so: Callable[[], bool]) -> None:
        """Wait for that."""
        self.wait(so, lambda: str(self.told()))

    def signal(self, name: str, title: str, clients: Clients) -> None:
        """Send a signal to the process that calls itself so, while it streams; it serves again after that."""
        lives = self.lives()
        with clients.with_one_under_way():
            self.machine.ssh(f"pkill -{name} -f 'VLLM::{title[:-1]}[{title[-1]}]'")
            self.until(lambda: self.lives() > lives)

    def lives(self) -> int:
        """How often it was ready."""
        return [event for event, _ in self.told()].count("ready")

    def is_looked_at(self) -> None:
        """Wait until the judge has looked at it once more from beginning to end; nothing comes of it."""
        told, seen = self.told(), set[str]()

        def has_looked() -> bool:
            seen.add(self.machine.ssh("cat /run/corral-tiny.judge/asked"))
            return len({each for each in seen if "and more" not in each}) == 3

        self.until(has_looked)
        assert self.told() == told


def its_processes_go_wrong(day: Day, clients: Clients) -> None:
    """The engine freezes, then each process is killed; the one that systemd started once its weights have changed."""
    day.signal("STOP", "EngineCore", clients)
    day.signal("KILL", "EngineCore", clients)
    day.signal("KILL", "Worker", clients)


def a_prompt_is_too_long(clients: Clients) -> None:
    """It is told so; a long one that the model takes is answered."""
    status, said = clients.said({"prompt": [5] * 250_000, "max_tokens": 1})
    assert (status, json.loads(said)["error"]["type"]) == (400, "BadRequestError")
    status, said = clients.said({"prompt": [5] * 8_000, "max_tokens": 1})
    assert (status, json.loads(said)["usage"]["prompt_tokens"]) == (200, 8_000)


def its_disk_is_full(day: Day) -> None:
    """Neither what it may write nor what is kept of it has a byte left; it serves on."""
    for folder in (ROOT, STATE):
        day.machine.fill(folder)
    day.is_looked_at()
    for folder in (ROOT, STATE):
        day.machine.give_room(folder)


def the_clock_moves(day: Day) -> None:
    """An hour ahead, for good."""
    with (day.machine.tree / CLOCK[1:] / "ahead").open("r+b") as file:
        file.write(struct.pack("=q", HOUR_S))
    day.is_looked_at()


def its_weights_change(day: Day) -> None:
    """One byte of a shard, before the last of its processes is killed and it is to start again."""
    spoilt = f"printf X | dd of={ROOT}/model/{SHARD} bs=1 seek=20000 conv=notrunc status=none"
    day.machine.ssh(f"{spoilt}; kill -KILL $(systemctl show --value --property=MainPID {UNIT})")
    day.until(lambda: day.told()[-1][0] == "gave up")


def failing_engine(prefix: Path) -> Path:
    """An engine of a next version that starts, and answers what is longer than one token with an error."""
    packages = prefix / "lib/python3.11/site-packages"
    (packages / "vllm/entrypoints/cli").mkdir(parents=True)
    (packages / "vllm-0.33.0.dist-info").mkdir()
    (packages / "vllm/__init__.py").touch()
    (prefix / "pyvenv.cfg").touch()
    stub = (DATA / "stub_vllm.py").read_text()
    (packages / "vllm/entrypoints/cli/main.py").write_text(
        stub.replace('get("STUB", "")', 'get("STUB", "fails-at-length")')
    )
    return prefix


def nothing_leaves(machine: Any, corral: Callable[..., Any], report: Path) -> None:
    """A listener outside cannot be reached from the server's unit; without lock and filter it is, and that is said."""
    with socket.create_server((machine.ours, 0)) as listener:
        target = f"{machine.ours}:{listener.getsockname()[1]}"
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
        time.sleep(3)  # a look computes for long, and it has imports to do
    return status
