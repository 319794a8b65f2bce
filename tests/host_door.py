"""A gateway on a booted host, by the real HAProxy in its real unit: what tests/fleet/test_judged_host.py does last."""

import json
import shutil
import ssl
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any, NoReturn

from deploy.targets.deployment import Deployment, folder
from serving.sizing.plan import Plan

DATA = Path(__file__).parent / "data"
NAME, PORT = "judged", 8443
UNIT = f"corral-{NAME}.gateway.service"
AUDIT = f"/var/log/corral/{NAME}.gateway.jsonl"
Corral = Callable[..., Any]


def install(tree: Path, need: Callable[[str, str], NoReturn]) -> None:
    """Put this machine's HAProxy into a host's tree, with the libraries that it lacks: as its package would."""
    program = shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin:/usr/bin")
    if program is None:
        need("haproxy", "HAProxy is not installed; scripts/ci-packages does it")
    linked = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    for path in (program, *(word for word in linked.split() if word.startswith("/"))):
        there = tree / path.lstrip("/")
        if not there.exists():
            there.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, there)


def known(machine: Any) -> None:
    """Have the deployment's document here and on its host, as provisioning leaves them."""
    plan = Plan.read(DATA / "hosts/plan.json")
    serve = plan.serve.model_copy(update={"port": 8000, "shutdown_timeout": 1})
    made = Deployment(
        name=NAME,
        target="ssh",
        plan=plan.model_copy(update={"serve": serve}),
        created_at=datetime(2026, 11, 24, tzinfo=UTC),
        hosts=(machine.name,),
    )
    made.write(folder(NAME) / "deployment.json")
    (machine.tree / f"opt/corral/{NAME}/record.json").write_text(made.text())


class Front:
    """What is asked from outside of the host."""

    def __init__(self, machine: Any, ca_file: str) -> None:
        self.address = machine.address
        self.trusting = ssl.create_default_context(cafile=ca_file)

    def asking(self, key: str, body: dict[str, Any] | None = None) -> HTTPSConnection:
        """A connection with a request sent."""
        connection = HTTPSConnection(self.address, PORT, context=self.trusting, timeout=60)
        head = {"Authorization": f"Bearer {key}"}
        if body is None:
            connection.request("GET", "/v1/models", headers=head)
        else:
            connection.request("POST", "/v1/completions", json.dumps(body), head)
        return connection

    def status(self, key: str) -> int:
        """What one request earns; 0 while nobody listens."""
        try:
            connection = self.asking(key)
        except OSError:
            return 0
        try:
            return connection.getresponse().status
        finally:
            connection.close()


def begun_stream(front: Front, key: str) -> tuple[threading.Thread, list[bytes]]:
    """A stream whose first event has come, and where the whole of it will be when its thread has ended."""
    said: list[bytes] = []
    begun = threading.Event()

    def read() -> None:
        connection = front.asking(key, {"model": "m", "prompt": "a", "stream": True, "max_tokens": 100_000})
        answer = connection.getresponse()
        said.append(answer.readline())
        begun.set()
        with suppress(OSError, HTTPException):  # it is cut
            while line := answer.readline():
                said.append(line)

    thread = threading.Thread(target=read)
    thread.start()
    assert begun.wait(60)
    return thread, said


def stands(machine: Any, corral: Corral, wait: Callable[..., None]) -> None:
    """It is started, changed under a stream, asked, keeps its keys over a reboot, and goes with the deployment."""
    known(machine)
    asked = ["gateway", NAME, "--on-host", machine.name, "--port", str(PORT)]
    began = corral(*asked)
    assert (began["state"], began["base_url"], began["on_host"], began["audit_file"]) == (
        "running", f"https://{machine.address}:{PORT}", machine.name, AUDIT)  # fmt: skip
    front = Front(machine, began["ca_file"])
    key = corral("keys", "add", NAME, "alice")["key"]
    wait(lambda: front.status(key) == 200, lambda: seen(machine))
    assert front.status("sk-nobody") == 401

    # A user of its own, whom the server's lock does not know, and a lock of its own.
    users = "for u in corral-judged.service corral-judged.gateway.service; do systemctl show --value -p UID $u; done"
    server, gateway = machine.ssh(users).split()
    assert len({server, gateway, "0"}) == 3
    rules = machine.ssh(f"nft --stateless list table inet corral-{NAME}.gateway")
    assert f"meta skuid {gateway} goto server" in rules
    assert 'ip daddr 127.0.0.1 tcp dport 8000 counter name "peers" accept' in rules

    # A change, a new key and a revoked one cut no stream but that key's.
    thread, said = begun_stream(front, key)
    changed = corral(*asked, "--max-n", "3")
    other = corral("keys", "add", NAME, "bob")["key"]
    assert (changed["state"], changed["keys"], front.status(other)) == ("running", 1, 200)
    assert [each["sessions"] for each in corral("gateway", "status", NAME)["servers"]] == [1]
    machine.ssh("curl --silent --fail http://127.0.0.1:8000/over")
    thread.join(60)
    *events, last = [line for line in said if line.strip()]
    assert events == [b'data: {"choices": [{"text": "%d"}]}\n' % number for number in range(len(events))]
    assert last == b"data: [DONE]\n"
    thread, said = begun_stream(front, other)
    corral("keys", "revoke", NAME, "bob")
    thread.join(60)
    assert b"data: [DONE]\n" not in said
    assert front.status(other) == 401

    (server_name,) = [each["name"] for each in changed["servers"]]
    assert corral("gateway", "drain", NAME, server_name)["servers"][0]["state"] == "DRAIN"
    corral("gateway", "ready", NAME, server_name)
    used = {
        each["person"]: each["estimated_output_tokens"] for each in corral("keys", "usage", NAME)["usage"]
    }
    assert used["alice"] == len(events)

    proof = corral("egress", NAME)
    assert proof["verdict"] == "proved", proof["problems"]

    assert (
        machine.ssh(f"stat -c '%a %U' {AUDIT} /opt/corral/{NAME}.gateway/files/haproxy.cfg")
        == "600 root\n600 root\n"
    )
    machine.power_cycle()
    wait(lambda: front.status(key) == 200, lambda: seen(machine))
    stopped = corral("gateway", "stop", NAME)
    assert (stopped["state"], stopped["keys"]) == ("stopped", 1)
    gone = corral("down", NAME)
    assert (gone["left"], gone["audit"]) == ([], f"{machine.name}:{AUDIT}")
    # Below /srv lies what a test lends the machine, its own corral's home among it.
    left = "find / -xdev -path /srv -prune -o -name '*corral*' -not -path '/var/log/*' -print"
    assert machine.ssh(left) == ""
    assert "alice" in machine.ssh(f"cat {AUDIT}")


def seen(machine: Any) -> str:
    """All there is to see, for a failure."""
    return str(machine.ssh(f"journalctl --no-pager -o short-monotonic -u {UNIT} | tail -40"))
