"""A gateway on an owned host, over SSH to a host that is a folder: the real HAProxy and the real scripts of root.

On a booted host, under systemd and its lock, it was never run: docs/explanation/never-run.md.
"""

import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import pytest
from fake_box import Box
from ports import free_port
from stubbed import until
from test_listeners import it_stands_before_the_servers_of_two_hosts, status_of
from test_listeners import second as second
from test_owned import deployment, over
from test_owned_line import Corral, look, says, stopped
from test_owned_line import box as box
from test_owned_line import corral as corral
from test_owned_line import plan as plan
from test_owned_line import provisioned as provisioned
from test_owned_line import serving as serving
from told_places import in_place_of, told

from deploy import line
from deploy.gateway import (
    certificates,
    gateway,
    gateway_unit,
    host_haproxy,
    key_store,
    on_host,
    out_of_rotation,
)
from deploy.gateway.gateway_document import Gateway
from deploy.gateway.gateway_options import GatewayOptions
from deploy.gateway.haproxy_config import Server
from deploy.gateway.on_host import OnHost
from deploy.targets.deployment import folder
from deploy.targets.place import Teardown
from deploy.targets.ssh import at_work, operators
from deploy.targets.ssh.fleet import connected
from infra import egress_rules, host_gateway
from infra.errors import HostError, ServerError, UsageError
from infra.host_gateway import GatewaySetup
from infra.onhost import audit
from infra.ssh import Host

ROOT, UNIT = "/opt/corral/scout.gateway", "corral-scout.gateway.service"
SETUP = GatewaySetup(
    name="scout", haproxy="/usr/sbin/haproxy", servers=("127.0.0.1 8000",), is_loopback=False, drain_s=3600
)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every command line that a host is given."""
    on_host.reached.cache_clear()
    said: list[str] = []
    real = Host.run

    def run(self: Host, command: Sequence[str], **given: Any) -> Any:
        said.append(" ".join(command))
        return real(self, command, **given)

    monkeypatch.setattr(Host, "run", run)
    return said


@pytest.mark.usefixtures("has_haproxy")
def test_a_gateway_on_an_owned_host_from_its_start_to_down(
    serving: Box, second: Box, corral: Corral, asked: list[str]
) -> None:
    what_stands_against_one_changes_nothing(serving, corral)
    egress_shows_the_gateway_and_what_it_was_refused(serving, corral)
    port = free_port()
    begin = ["gateway", "scout", "--on-host", "gpu-1", "--host", "127.0.0.1", "--port", str(port)]

    def done(*words: str) -> Any:
        code, said, complaint = corral(*words, "--json")
        assert code == 0, complaint
        return json.loads(said)

    # From before it listens it is on record here.
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(host_haproxy, "begin", lambda there, host: interrupted())
        assert corral(*begin)[0] == 130
    assert json.loads(corral("gateway", "status", "scout", "--json")[1])["state"] == "stopped"
    began = done(*begin)
    assert (began["state"], began["base_url"], began["on_host"], began["audit_file"], began["keys"]) == (
        "running", f"http://127.0.0.1:{port}", "gpu-1", "/var/log/corral/scout.gateway.jsonl", 0)  # fmt: skip
    key = done("keys", "add", "scout", "alice")["key"]
    until(lambda: status_of(port, key)[0] == 200)
    assert status_of(port, "sk-nobody")[0] == 401
    completion = {"model": "m", "prompt": "a", "max_tokens": 1}
    assert status_of(port, key, completion)[0] == 200

    # A change and a revoked key, by the running HAProxy; what it reads next knows both, too.
    assert done(*begin, "--max-n", "2")["keys"] == 1
    assert status_of(port, key, completion | {"n": 3})[0] == 400
    bob = done("keys", "add", "scout", "bob")["key"]
    assert status_of(port, bob)[0] == 200
    done("keys", "revoke", "scout", "bob")
    assert status_of(port, bob)[0] == 401
    assert [
        line.split("|")[0] for line in (serving.path(ROOT) / "files/keys.map").read_text().splitlines()
    ] == [
        f"{each['sha256']} {each['id']}"
        for each in done("keys", "list", "scout")["keys"]
        if each["revoked_at"] is None
    ]
    assert done("gateway", "drain", "scout", "gpu-1")["servers"][0]["state"] == "DRAIN"
    assert done("gateway", "ready", "scout", "gpu-1")["servers"][0]["state"] in ("UP", "DOWN 1/1")
    with at_work.gateway_held("scout", connected("gpu-1")):
        code, _, complaint = corral(*begin, "--max-n", "3")
    assert (code, re.sub("since [0-9TZ:-]{20}", "since then", complaint)) == (
        2,
        f"error: {operators.who()}'s corral is changing the gateway of scout on gpu-1, since then.\n"
        "hint: See how far it is: corral gateway status scout; the host is free again as soon as that corral has "
        "ended.\n",
    )
    it_is_asked_where_it_stands_by_a_roll(corral)
    used = {each["person"]: each for each in done("keys", "usage", "scout")["usage"]}
    assert (used["alice"]["requests"], used["alice"]["output_tokens"]) == (3, 1)
    assert json.loads(corral("status", "scout", "--json")[1])["gateway"] == f"http://127.0.0.1:{port}"

    # No secret in a command line; what holds one is for root, or HAProxy, alone.
    secret = (serving.path("/opt/corral/scout/secrets.env")).read_text().strip().removeprefix("VLLM_API_KEY=")
    assert secret in (serving.path(ROOT) / "files/haproxy.cfg").read_text()
    assert not [line for line in asked if secret in line or key in line]
    state = serving.path("/var/lib/private/corral-scout.gateway")
    private = [*serving.path(ROOT).glob("files/*"), *state.iterdir(), serving.path(ROOT) / "keys.json"]
    assert {oct(path.stat().st_mode & 0o177) for path in private if not path.is_socket()} == {"0o0"}
    assert not list((folder("scout") / "gateway").glob("*.cfg"))

    # What somebody else has changed meanwhile is not written over.
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(on_host, "keys", lambda there: "")
        code, _, complaint = corral("keys", "add", "scout", "dave")
    assert (code, complaint) == (
        2,
        "error: Somebody else changed the keys of scout meanwhile.\n"
        "hint: See them, and run the command again: corral keys list scout\n",
    )
    a_key_that_is_revoked_meanwhile_stays_revoked(serving, corral, begin)
    one_that_does_not_answer_is_not_taken_for_none(corral)
    assert done("gateway", "stop", "scout")["state"] == "stopped"
    assert corral("gateway", "status", "scout")[0] == 7
    it_moves_and_a_revoked_key_stays_revoked(serving, corral, begin)
    done("gateway", "stop", "scout")
    done("keys", "add", "scout", "carol")  # while it is down
    here = in_place_of({"8443": str(port), "443": str(port)})
    for began in (
        done(*here(told("gateway scout --on-host gpu-1 --port 8443 --tls-name llm.example"))),
        done(*here(told("gateway start scout --on-host gpu-1 --port 443 --tls-name llm.example"))),
    ):
        found = began["base_url"], began["on_host"], began["keys"]
        assert found == (f"https://llm.example:{port}", "gpu-1", 2)
    a_certificate_that_its_host_did_not_take_is_renewed_the_next_time(serving)
    done("gateway", "stop", "scout")
    it_stands_before_the_servers_of_two_hosts(serving, second, corral, begin, asked)
    gone = done("down", "scout", "--now")
    audit_there = serving.path("/var/log/corral/scout.gateway.jsonl")
    audit_here = folder("scout") / "gateway-audit.jsonl"
    assert (gone["left"], gone["audit"]) == ([], f"{audit_here}, gpu-1:{audit_there}")
    assert not serving.path(ROOT).exists()
    assert not list(serving.path("/etc/systemd/system").glob("*gateway*"))
    assert b'"status":200' in audit_there.read_bytes()


def interrupted() -> NoReturn:
    raise KeyboardInterrupt


def a_key_that_is_revoked_meanwhile_stays_revoked(serving: Box, corral: Corral, begin: list[str]) -> None:
    """By another operator, after the list was read for a change and before the change is made."""
    place, files = folder("scout") / "gateway", serving.path(ROOT) / "files"
    key = json.loads(corral("keys", "add", "scout", "eve", "--json")[1])["key"]
    before = {path.name: path.read_bytes() for path in files.iterdir()}
    real = host_haproxy.bring

    def brought(there: OnHost, host: Host, texts: dict[str, str]) -> None:
        key_store.revoke(place, gateway.load("scout").asked, "eve")
        real(there, host, texts)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(host_haproxy, "bring", brought)
        code, _, complaint = corral(*begin, "--max-n", "3")
    assert (code, complaint.splitlines()[-2]) == (
        2, "error: Somebody else changed the keys of scout meanwhile.")  # fmt: skip
    without = before["keys.map"].replace(eves_line(before["keys.map"]), b"")
    assert {path.name: path.read_bytes() for path in files.iterdir()} == before | {"keys.map": without}
    assert not (serving.path(ROOT) / "next").exists()
    assert status_of(int(begin[-1]), key)[0] == 401


def eves_line(keys_map: bytes) -> bytes:
    (line,) = [each for each in keys_map.splitlines(keepends=True) if b" eve-" in each]
    return line


def it_is_asked_where_it_stands_by_a_roll(corral: Corral) -> None:
    code, said, complaint = corral("roll", "scout", "--json")
    assert (code, json.loads(said)["rolled"]) == (0, ["gpu-1"]), complaint
    lines = complaint.splitlines()
    out, back = "gateway on gpu-1: gpu-1 gets no new requests", "gateway on gpu-1: gpu-1 gets requests again"
    assert lines.index(out) < lines.index("roll: the canary") < lines.index(back)
    (waits,) = [line for line in lines if line.startswith("warning: ")]
    assert waits == (
        "warning: No other server of scout is well: requests wait in its gateway for up to 60 s, then get 503."
    )


def one_that_does_not_answer_is_not_taken_for_none(corral: Corral) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(on_host, "answers", lambda there, commands: [None for _ in commands])
        with pytest.raises(ServerError, match="The gateway does not answer on gpu-1"):
            out_of_rotation.in_front("scout")
        code, _, complaint = corral("gateway", "scout", "--port", str(free_port()))
    assert (code, complaint.splitlines()[0]) == (2, "error: scout's gateway runs on gpu-1.")


def it_moves_and_a_revoked_key_stays_revoked(serving: Box, corral: Corral, begin: list[str]) -> None:
    """Here and back, to a host that has an old list still."""
    here, port, kept = ["gateway", "scout", "--port", str(free_port())], int(begin[-1]), serving.path(ROOT)
    key = json.loads(corral("keys", "add", "scout", "frank", "--json")[1])["key"]
    of_old = (kept / "keys.json").read_text()
    code, _, complaint = corral(*here)
    assert code == 0, complaint
    assert status_of(int(here[-1]), key)[0] == 200
    assert [name for name in ("keys.json", "gateway.json", "files", "next") if (kept / name).exists()] == []
    assert corral("keys", "revoke", "scout", "frank")[0] == 0
    assert status_of(int(here[-1]), key)[0] == 401
    assert corral(*begin)[2].startswith("error: scout's gateway runs on this machine.\n")
    assert corral("gateway", "stop", "scout")[0] == 0
    (kept / "keys.json").write_text(of_old)  # as an earlier corral left it
    assert (kept / "loaded.from").exists()
    code, _, complaint = corral(*begin)
    assert code == 0, complaint
    assert status_of(port, key)[0] == 401
    listed = json.loads(corral("keys", "list", "scout", "--json")[1])["keys"]
    assert [each["revoked_at"] is not None for each in listed if each["person"] == "frank"] == [True]
    assert not (folder("scout") / "gateway/keys.json").exists()
    assert not (kept / "loaded.from").exists(), "a start loads the rules of its lock anew"


def a_certificate_that_its_host_did_not_take_is_renewed_the_next_time(serving: Box) -> None:
    here, there = folder("scout") / "gateway/tls.pem", serving.path(ROOT) / "files/tls.pem"
    first = here.read_text()
    assert there.read_text() == first

    def away(there: OnHost, was: str, files: dict[str, str]) -> None:
        raise HostError("gpu-1 did not keep it.", "")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(certificates, "ends_soon", lambda end: True)
        with pytest.MonkeyPatch.context() as broken:
            broken.setattr(on_host, "keep", away)
            gateway.keep_certificate("scout")
        assert (here.read_text(), there.read_text()) == (first, first)
        gateway.keep_certificate("scout")
    assert here.read_text() == there.read_text() != first


def what_stands_against_one_changes_nothing(serving: Box, corral: Corral) -> None:
    begin = ["gateway", "scout", "--on-host"]
    assert corral(*begin, "gpu-2") == (
        2, "",
        "error: scout is not on gpu-2.\nhint: It is on: gpu-1. Such as: --on-host gpu-1\n")  # fmt: skip
    assert corral(*begin, "-oProxyCommand=x")[0] == 2
    at_22 = "error: A gateway cannot listen on gpu-1 port 22: somebody does already.\n"
    assert corral(*begin, "gpu-1", "--port", "22")[2].startswith(at_22)
    assert not serving.path(ROOT).exists()
    code, said, _ = corral(*begin, "gpu-1", "--dry-run")
    assert (code, "server gpu-1 127.0.0.1:" in said, "bind 0.0.0.0:8080 ssl" in said) == (0, True, True)
    record, owners = (serving.path("/opt/corral/scout") / name for name in ("record.json", "owners"))
    kept = record.read_text(), owners.read_text()
    record.unlink()
    owners.write_text("0 other@host 2026-11-29T00:00:00Z\n")
    assert corral(*begin, "gpu-1")[2].startswith("error: scout on gpu-1 is another operator's: ")
    record.write_text(kept[0])
    owners.write_text(kept[1])

    class Bare(Host):
        def run(self, command: Sequence[str], **given: Any) -> Any:
            return super().run([word.replace("haproxy", "no-haproxy") for word in command], **given)

    with pytest.raises(HostError) as refused:
        host_haproxy.found(Bare("gpu-1"))
    assert (refused.value.message, refused.value.hint) == (
        "HAProxy is not installed on gpu-1.",
        "Debian, Ubuntu: sudo apt-get install haproxy; Fedora, RHEL 10: sudo dnf install haproxy",
    )


@pytest.mark.parametrize(
    ("listens", "hosts", "wanted", "told"),
    [
        ("127.0.0.1", ("gpu-1",), (Server("gpu-1", "127.0.0.1", 8000),), ""),
        ("0.0.0.0", ("ops@gpu-1", "10.0.0.6"),
         (Server("gpu-1", "127.0.0.1", 8000), Server("10.0.0.6", "10.0.0.6", 8000)),
         "warning: Between ops@gpu-1 and 10.0.0.6 prompts, answers and the engine's key go in the clear, and vLLM "
         "answers some paths without a key: keep these hosts on a network of their own.\n"),
        ("localhost", ("gpu-1", "ops@10.0.0.6", "fd00::6"),
         (Server("gpu-1", "127.0.0.1", 8000),
          Server("10.0.0.6", "10.0.0.6", 8443, is_tunnelled=True, tls_name="10.0.0.6"),
          Server("fd00--6", "fd00::6", 8443, is_tunnelled=True, tls_name="fd00--6")),
         ""),
    ],
)  # fmt: skip
def test_which_servers_it_stands_before(
    listens: str,
    hosts: tuple[str, ...],
    wanted: tuple[Server, ...],
    told: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    made = deployment(hosts=hosts, host=listens, port=8000)
    assert gateway_unit.servers_at(made, hosts[0], 8443) == wanted
    assert capsys.readouterr().err == told


def test_a_server_known_by_a_name_alone_is_refused() -> None:
    with pytest.raises(HostError, match="gpu-2 is known by a name, gpu-2, and a gateway's lock by addresses"):
        gateway_unit.address("gpu-2")


def test_another_machines_authority_is_not_replaced(tmp_path: Path) -> None:
    asked, there = GatewayOptions(on_host="gpu-1"), OnHost("scout", "gpu-1")
    before = Gateway(name="scout", asked=asked)
    mine = asked.model_copy(update={"tls_cert": Path("a.pem"), "tls_key": Path("a.key")})
    refuse = gateway_unit.refuse_anothers_authority
    for now, known in ((asked, None), (mine, before), (asked, Gateway(name="scout", asked=mine))):
        refuse(now, there, known, tmp_path)
    with pytest.raises(UsageError) as refused:
        refuse(asked, there, before, tmp_path)
    assert (refused.value.message, refused.value.hint) == (
        "The certificate of scout's gateway on gpu-1 is of an authority that another machine keeps.",
        f"Type it there, or bring ca.pem and ca.key of there to {tmp_path}, or a certificate: --tls-cert, --tls-key",
    )
    for name in ("ca.pem", "ca.key"):
        (tmp_path / name).touch()
    refuse(asked, there, before, tmp_path)


def test_down_forgets_one_on_a_host_only_once_the_host_has_nothing_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = deployment(hosts=("gpu-1",)).model_copy(update={"name": "scout", "target": "ssh"})
    made.write(folder("scout") / "deployment.json")
    place = folder("scout") / "gateway"
    Gateway(name="scout", asked=GatewayOptions(on_host="gpu-1")).write(place / "gateway.json")
    (place / "ca.key").touch()

    def away(name: str, target: str | None, region: str | None) -> Teardown:
        raise HostError("gpu-1 does not answer.", "")

    monkeypatch.setattr(line, "end_gateway", lambda name, is_now: None)
    monkeypatch.setattr(line, "taken_away", away)
    with pytest.raises(HostError):
        line.down("scout")
    assert sorted(path.name for path in place.iterdir()) == ["ca.key", "gateway.json"]
    left = Teardown(name="scout", counts={}, left=("path /opt/corral/scout.gateway",))
    for found, remains in ((left, True), (left.model_copy(update={"left": ()}), False)):
        monkeypatch.setattr(line, "taken_away", lambda *asked, found=found: found)
        assert line.down("scout").left == found.left
        assert place.exists() == remains


def test_an_engine_over_several_hosts_has_it_where_it_answers() -> None:
    made = over(2, hosts=("a", "b"))
    assert gateway_unit.asked_host(made, GatewayOptions(on_host="a")) == "a"
    with pytest.raises(UsageError, match="answers on a alone"):
        gateway_unit.asked_host(made, GatewayOptions(on_host="b"))


def test_its_unit_is_one_that_systemd_reads_and_that_may_do_little(
    tmp_path: Path, need: Callable[[str, str], NoReturn]
) -> None:
    if not shutil.which("systemd-analyze"):
        need("systemd-analyze", "systemd is not installed")
    listener = SETUP.model_copy(update={"kind": "listener"})
    for file in (
        *host_gateway.files(SETUP),
        *host_gateway.files(listener),
        *host_gateway.scripts("scout.gateway"),
    ):
        path = tmp_path / Path(file.path).name
        content = re.sub(r"/opt/corral/scout\.(gateway|listener)/bin", str(tmp_path), file.content)
        path.write_text(content.replace("/usr/sbin/haproxy", "/bin/true"))
        path.chmod(int(file.mode, 8))
    assert "StandardOutput=journal\n" in (tmp_path / "corral-scout.listener.service").read_text()
    units = sorted(map(str, [*tmp_path.glob("*.service"), *tmp_path.glob("*.timer")]))
    verify = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True, check=False
    )
    assert (verify.returncode, verify.stderr) == (0, "")
    for unit in (each for each in units if each.endswith(".service")):
        said = subprocess.run(
            ["systemd-analyze", "security", "--offline=true", "--no-pager", "--json=off", unit],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        found = re.search(r"exposure level for \S+: ([\d.]+)", said.stdout)
        assert found, said.stderr
        assert float(found[1]) < 5.0


def test_an_audit_of_any_length_is_summed_up_before_it_starts() -> None:
    assert "\nTimeoutStartSec=infinity\n" in host_gateway.gateway_unit(SETUP)


def test_on_loopback_its_unit_speaks_with_loopback_alone() -> None:
    def networks(setup: GatewaySetup) -> list[str]:
        return [
            line for line in host_gateway.gateway_unit(setup).splitlines() if line.startswith("IPAddress")
        ]

    assert networks(SETUP) == []
    closed = SETUP.model_copy(update={"is_loopback": True})
    assert networks(closed) == ["IPAddressDeny=any", "IPAddressAllow=localhost"]


# In a network of its own: root's listeners at 8000 and 8001, and the gateway's at 8443; the user is the gateway's.
LOCKED = """\
import encodings.idna, os, socket, subprocess, sys, threading

def listening(port):
    listener = socket.create_server(("127.0.0.1", port))
    def answer():
        while True:
            with listener.accept()[0] as connection:
                connection.sendall(b"hello")
    threading.Thread(target=answer, daemon=True).start()
    return listener

def tried(port):
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            return connection.recv(9).decode()
    except OSError as error:
        return "refused"

subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
subprocess.run(["nft", "-f", "-"], input=sys.argv[1].encode(), check=True)
for port in (8000, 8001):
    listening(port)
receiving, sending = os.pipe()
staying, going = os.pipe()
if not os.fork():
    os.setresuid(64999, 64999, 64999)
    listening(8443)
    os.write(sending, f"{tried(8000)} {tried(8001)}".encode())
    os.close(going)
    os.read(staying, 1)
    os._exit(0)
os.close(sending)
print(os.read(receiving, 99).decode(), tried(8443))
"""


def test_its_lock_lets_it_reach_its_servers_and_answer_and_nothing_else(
    need: Callable[[str, str], NoReturn],
) -> None:
    if not shutil.which("nft") or subprocess.run(["unshare", "-n", "true"], check=False).returncode:
        need("fleet", "nft and a network namespace of our own: scripts/ci-packages, as root")
    rules = egress_rules.gateway_rules("scout.gateway", ("127.0.0.1 8000", "fd00::6 8000"))
    done = subprocess.run(
        ["unshare", "-n", "/usr/bin/python3", "-c", LOCKED, f"define server = 64999\n{rules}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "hello refused hello\n"


def egress_shows_the_gateway_and_what_it_was_refused(serving: Box, corral: Corral) -> None:
    rules = egress_rules.gateway_rules("scout.gateway", ("127.0.0.1 8000",))
    served = {
        "vllm_version": "",
        "engine_sha256": "",
        "model": {},
        "rules_sha256": hashlib.sha256(rules.encode()).hexdigest(),
    }
    serving.path(ROOT).mkdir()
    (serving.path(ROOT) / "servers").write_text("127.0.0.1 8000\n")
    says(serving, look(*map(stopped, ("1.1.1.1:443",))), look(packets=150))
    of_it = serving.folder / "gateway-look"
    of_it.write_text(look(stopped("1.1.1.1:443"), pid=9, served=served))
    report = serving.folder / "egress.json"
    code, said, _ = corral("egress", "scout", "--target", "1.1.1.1:443", "--output", str(report))
    assert code == 0
    assert (
        "  gateway: corral-scout.gateway.service, which may reach 127.0.0.1 8000 and nobody else; from inside it:\n"
        "    1.1.1.1:443: stopped (no route to host, 1 packet counted)\n"
    ) in said
    assert (
        "  On gpu-1 a gateway hands the server's answers to whoever has a key and asked for them.\n" in said
    )
    verified = corral("egress", "verify", str(report))[1]
    assert "gpu-1's gateway: those that this corral writes" in verified
    reached = {"target": "1.1.1.1:443", "tried": True, "connected": True, "said": "connected", "dropped": 0}
    of_it.write_text(look(reached, pid=9, served=served))
    says(serving, look(*map(stopped, ("1.1.1.1:443",))), look(packets=150))
    code, said, _ = corral("egress", "scout", "--target", "1.1.1.1:443")
    assert code != 0
    assert "problem: 1.1.1.1:443 was reached from inside corral-scout.gateway.service on gpu-1" in said
    of_it.unlink()
    shutil.rmtree(serving.path(ROOT))


def test_what_was_spent_is_what_a_budget_starts_from() -> None:
    counts = dict.fromkeys(audit.COUNTED, 0) | {
        "input_tokens": 3,
        "output_tokens": 4,
        "estimated_output_tokens": 5,
    }
    found = {"2026-11": {"b": counts, "a": counts}, "2026-12": {"a": counts}}
    assert audit.spent(found, "2026-11") == "a 2026-11 12\nb 2026-11 12\n"
    assert audit.spent(found, "2026-10") == ""
