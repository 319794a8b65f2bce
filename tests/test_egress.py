"""The egress lock and its proof as values: the rules, what the kernel says of them, and what follows."""

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import pytest

from deploy.targets.prove_egress import checked_destination
from infra import egress_rules
from infra.egress_proof import (
    LIMITS,
    Attempt,
    Egress,
    Look,
    Proof,
    Served,
    foreign,
    limits,
    look,
    moved,
    problems,
)
from infra.egress_rules import Count, Loaded
from infra.errors import DocumentError, HostError, UsageError
from infra.onhost import confine, heal, sums
from infra.onhost import egress_look as onhost

RULES = """\
table inet corral-scout {}
delete table inet corral-scout
table inet corral-scout {
    set ipv4_addr { type ipv4_addr; }
    set ipv6_addr { type ipv6_addr; }
    set begun { type inet_service . inet_service; flags dynamic; timeout 2m; size 65535; }
    set strangers { type inet_service; flags dynamic; timeout 1m; size 65535; }
    counter loopback {}
    counter peers {}
    counter replies {}
    counter dropped {}

    chain output {
        type filter hook output priority -10; policy accept;
        meta skuid $server goto server
    }

    chain answers {
        type filter hook output priority -10; policy accept;
        meta skuid $server return
        oifname "lo" tcp flags & (fin | syn | rst | ack) == syn | ack tcp dport . tcp sport @begun goto refused
    }

    chain refused {
        update @strangers { tcp sport }
        counter name dropped drop
    }

    chain server {
        udp dport 53 counter name dropped reject with icmpx admin-prohibited
        tcp dport 53 counter name dropped reject with icmpx admin-prohibited
        oifname "lo" fib daddr type local goto itself
        ip daddr @ipv4_addr counter name peers accept
        ip6 daddr @ipv6_addr counter name peers accept
        ct direction reply ct state established counter name replies accept
        counter name dropped reject with icmpx admin-prohibited
    }

    chain itself {
        tcp flags & (fin | syn | rst | ack) != syn counter name loopback accept
        tcp dport @strangers counter name dropped reject with tcp reset
        update @begun { tcp sport . tcp dport } counter name loopback accept
        counter name dropped reject with icmpx admin-prohibited
    }
}
"""
PEERS = ("10.0.0.6", "10.0.0.7", "fd00::6")
# As bin/lock adds them on the host.
ADDED = "".join(
    f"add element inet corral-scout ipv{6 if ':' in peer else 4}_addr {{ {peer} }}\n" for peer in PEERS
)


def test_the_rules_allow_loopback_the_peers_and_replies_and_touch_our_table_alone() -> None:
    assert egress_rules.rules("scout", has_peers=True, listens_outside=True) == RULES
    allowed = [
        line
        for line in egress_rules.rules("scout", has_peers=False, listens_outside=False).splitlines()
        if "accept" in line
    ]
    assert allowed == [
        "        type filter hook output priority -10; policy accept;",
        "        type filter hook output priority -10; policy accept;",
        "        tcp flags & (fin | syn | rst | ack) != syn counter name loopback accept",
        "        update @begun { tcp sport . tcp dport } counter name loopback accept",
    ]


def test_the_kernel_takes_the_rules_and_says_them_back(need: Callable[[str, str], NoReturn]) -> None:
    """Twice, since a start replaces what an earlier one left; a foreign table stays as it was."""
    if not shutil.which("nft") or subprocess.run(["unshare", "-n", "true"], check=False).returncode:
        need("fleet", "nft and a network namespace of our own: scripts/ci-packages, as root")
    script = "nft add table inet foreign; for n in 1 2; do printf '%s' \"$0\" | nft -f - || exit 1; done"
    script += "; nft list table inet foreign >&2; nft --json list table inet corral-scout"
    done = subprocess.run(
        ["unshare", "-n", "sh", "-c", script, f"define server = 64999\n{RULES}{ADDED}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert egress_rules.loaded(done.stdout) == Loaded(
        uid=64999, counters={name: Count(packets=0, bytes=0) for name in egress_rules.COUNTERS}
    )
    assert done.stderr == "table inet foreign {\n}\n"


# In a network of its own: root's listener at 8001, the server's own at 8002, nobody at 8003, and a host that translates
# 127.0.0.1:8004 to a neighbour's address, as Kubernetes' hosts do.
LOOPBACK = """\
import encodings.idna, os, signal, socket, subprocess, sys, threading

def listening(port):
    listener = socket.create_server(("127.0.0.1", port))
    def answer():
        while True:
            with listener.accept()[0] as connection:
                connection.sendall(b"hello")
    threading.Thread(target=answer, daemon=True).start()

def tried(port):
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            return connection.recv(9).decode()
    except OSError as error:
        return type(error).__name__

listening(8001)
datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
datagrams.bind(("127.0.0.1", 8001))
datagrams.settimeout(0.2)
ready, go = os.pipe()
child = os.fork()
if not child:
    os.setresgid(64999, 64999, 64999)
    os.setresuid(64999, 64999, 64999)
    listening(8002)
    print(*[tried(port) for port in (8002, 8001, 8001, 8003, 8004)], flush=True)
    try:
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"prompt", ("127.0.0.1", 8001))
    except OSError as error:
        print(type(error).__name__, flush=True)
    os.write(go, b"x")
    signal.pause()
os.read(ready, 1)
print(tried(8001), tried(8002), flush=True)
try:
    print(datagrams.recv(9))
except TimeoutError:
    print("no datagram")
os.kill(child, 9)
"""
NEIGHBOUR = """\
ip link set lo up
ip link add near type veth peer name far; ip link set far up; ip link set near up
ip address add 10.98.0.1/24 dev near; ip neigh add 10.98.0.2 lladdr 02:00:00:00:00:01 dev near
echo 1 >/proc/sys/net/ipv4/conf/all/route_localnet
nft -f - <<END
table ip n {
    chain o {
        type nat hook output priority -100
        ip daddr 127.0.0.1 tcp dport 8004 dnat to 10.98.0.2:80
    }
}
table ip p {
    counter out {}
    chain o {
        type filter hook postrouting priority 300
        oifname "near" tcp dport 80 counter name out
    }
}
END
printf '%s' "$RULES" | nft -f - && "$PYTHON" -c "$LOOPBACK"
nft list counter ip p out | grep -o 'packets [0-9]*'
"""


def test_over_loopback_the_server_speaks_with_itself_alone(need: Callable[[str, str], NoReturn]) -> None:
    if not shutil.which("nft") or subprocess.run(["unshare", "-n", "true"], check=False).returncode:
        need("fleet", "nft and a network namespace of our own: scripts/ci-packages, as root")
    environ = {"RULES": f"define server = 64999\n{RULES}", "LOOPBACK": LOOPBACK, "PYTHON": sys.executable}
    done = subprocess.run(
        ["unshare", "-n", "sh", "-c", NEIGHBOUR],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environ,
        stdin=subprocess.DEVNULL,
    )
    refused = "ConnectionRefusedError"
    assert done.stdout.splitlines() == [
        f"hello {refused} {refused} {refused} OSError",
        "PermissionError",
        # Who listens to whom stays as it was: another's client of another's, and of the server.
        "hello hello",
        "no datagram",
        "packets 0",
    ], done.stderr


def listing(*expression: dict[str, Any]) -> str:
    counter = {"family": "inet", "name": "dropped", "table": "corral-scout", "packets": 3, "bytes": 180}
    rule = {"family": "inet", "table": "corral-scout", "chain": "output", "expr": list(expression)}
    return json.dumps({"nftables": [{"metainfo": {}}, {"counter": counter}, {"rule": rule}]})


MATCH = {"match": {"op": "==", "left": {"meta": {"key": "skuid"}}, "right": 64999}}


@pytest.mark.parametrize(
    ("expression", "uid"),
    [
        ((MATCH, {"goto": {"target": "server"}}), 64999),
        ((MATCH, {"accept": None}), None),
        (({"accept": None},), None),
    ],
)
def test_only_our_own_rule_says_whose_packets_are_judged(
    expression: tuple[dict[str, Any], ...], uid: int | None
) -> None:
    assert egress_rules.loaded(listing(*expression)) == Loaded(
        uid=uid, counters={"dropped": Count(packets=3, bytes=180)}
    )


def test_no_table_is_no_lock_and_nonsense_an_error() -> None:
    assert egress_rules.loaded("") is None
    with pytest.raises(HostError, match="cannot be read"):
        egress_rules.loaded("nftables v1.0.6")
    with pytest.raises(HostError, match="cannot be read"):
        look("no JSON")


def counted(loopback: int, dropped: int) -> Loaded:
    counts = {"loopback": loopback, "peers": 0, "replies": 0, "dropped": dropped}
    return Loaded(uid=64999, counters={name: Count(packets=n, bytes=60 * n) for name, n in counts.items()})


STOPPED = Attempt(target="192.0.2.1:443", tried=True, connected=False, said="No route to host", dropped=1)
AFTER = Look(
    hostname="gpu-1",
    boot_id="3e2f",
    kernel="6.1",
    pid=7,
    uid=64999,
    rules="the rules",
    rules_at_start="the rules",
    lock=counted(150, 2),
    sockets=("127.0.0.1 40000", "::ffff:127.0.0.1 40001", "10.0.0.6 29500"),
)


def proof(before: dict[str, Any] | None = None, after: dict[str, Any] | None = None, **changes: Any) -> Proof:
    start = AFTER.model_copy(update={"lock": counted(100, 2), "attempts": (STOPPED,)} | (before or {}))
    return Proof(
        host="gpu-1",
        unit="corral-scout.service",
        before=start,
        after=AFTER.model_copy(update=after or {}),
        rules_sha256=start.rules_sha256,
        **(dict[str, Any](peers=("10.0.0.6",), completions=5) | changes),
    )


def tried(**changes: Any) -> dict[str, Any]:
    return {"attempts": (STOPPED.model_copy(update=changes),)}


SERVED = Served(vllm_version="0.33.0", engine_sha256="ab", model={"config.json": "cd"}, rules_sha256="ef")
WRITTEN = SERVED.model_copy(update={"model": {"config.json": "cd", "model.safetensors": ""}})
WITH_DRAFT = SERVED.model_copy(update={"beside": {"draft": {"config.json": ""}}})
NO_LOCK = {"lock": None, "rules": "", "rules_at_start": ""}


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (proof(), ()),
        (
            proof(NO_LOCK | tried(connected=True, dropped=0), NO_LOCK),
            (
                "192.0.2.1:443 was reached from inside corral-scout.service on gpu-1",
                "the lock is not loaded on gpu-1",
            ),
        ),
        (
            proof(tried(said="Connection refused", dropped=0)),
            (
                "192.0.2.1:443 was not reached from gpu-1 (connection refused), "
                "but it was not the lock that stopped it",
                "on gpu-1 the lock was seen to stop nothing: give --target 1.1.1.1:443, or what it has a way to",
            ),
        ),
        (
            proof(tried(tried=False, said="Network is unreachable", dropped=0)),
            (
                "on gpu-1 the lock was seen to stop nothing: give --target 1.1.1.1:443, or what it has a way to",
            ),
        ),
        (
            proof(peers=()),
            ("corral-scout.service on gpu-1 has a connection to 10.0.0.6 29500",),
        ),
        (proof(peers=(), listens_outside=True), ()),
        (
            proof({"rules": "more rules"}),
            ("the rules of the lock on gpu-1 were changed since the server started",),
        ),
        (
            proof({"lock": Loaded(uid=64998, counters=counted(100, 2).counters)}),
            ("the lock on gpu-1 is not for the server's user",),
        ),
        (
            proof({"rules_at_start": "less"}, {"rules_at_start": "less"}),
            ("the rules of the lock on gpu-1 were changed since the server started",),
        ),
        (
            proof(after={"rules": "more rules"}),
            ("the rules of the lock on gpu-1 were changed since the server started",),
        ),
        (
            proof(after={"lock": Loaded(uid=64998, counters=counted(150, 2).counters)}),
            ("the lock on gpu-1 is not for the server's user",),
        ),
        (proof(after={"lock": None}), ("the lock is not loaded on gpu-1",)),
        (
            proof(after={"served": SERVED}),
            ("engine, weights or rules on gpu-1 were changed meanwhile",),
        ),
        (
            proof({"served": WRITTEN}, {"served": WRITTEN}),
            ("the weights on gpu-1 were written since their sums were noted: model.safetensors",),
        ),
        (
            proof({"served": WITH_DRAFT}, {"served": WITH_DRAFT}),
            ("the weights on gpu-1 were written since their sums were noted: draft/config.json",),
        ),
        (proof({"pid": 0}, {"pid": 0}), ("corral-scout.service does not run on gpu-1",)),
        (proof({"pid": 6}), ("the server on gpu-1 was started anew meanwhile",)),
        (proof(after={"boot_id": "another"}), ("the server on gpu-1 was started anew meanwhile",)),
        (
            proof({"sockets": ("203.0.113.2 443",)}, {"sockets": ("203.0.113.1 443", "203.0.113.2 443")}),
            (
                "corral-scout.service on gpu-1 has a connection to 203.0.113.1 443",
                "corral-scout.service on gpu-1 has a connection to 203.0.113.2 443",
            ),
        ),
        (proof(after={"lock": counted(100, 2)}, completions=0), ()),
        (
            proof(after={"lock": counted(150, 9)}),
            ("the server on gpu-1 tried to send out: the lock stopped 7 packets meanwhile",),
        ),
        (
            proof(after={"lock": counted(100, 9)}),
            (
                "the server on gpu-1 tried to send out: the lock stopped 7 packets meanwhile",
                "the lock on gpu-1 counted no packet of the answers, so it does not see the server",
            ),
        ),
        (
            proof(after={"lock": counted(100, 2)}),
            ("the lock on gpu-1 counted no packet of the answers, so it does not see the server",),
        ),
    ],
)
def test_what_a_proof_lacks_is_named(found: Proof, said: tuple[str, ...]) -> None:
    assert problems(found) == said


def test_a_report_is_read_back_equal_and_a_changed_one_is_refused(tmp_path: Path) -> None:
    report = Egress(
        name="scout",
        made_at=datetime(2026, 11, 26, tzinfo=UTC),
        verdict="proved",
        problems=(),
        hosts=(proof(),),
        completions=5,
        limits=LIMITS,
    ).sealed()
    path = tmp_path / "egress.json"
    report.write(path)
    assert Egress.read(path) == report
    assert "holds_abstract_sockets" not in path.read_text()  # as an older corral wrote and summed it
    path.write_text(path.read_text().replace('"dropped": 1', '"dropped": 2'))
    with pytest.raises(DocumentError, match="its sha256 is of something else"):
        Egress.read(path)
    path.write_text(json.dumps(json.loads(report.model_dump_json()) | {"sha256": ""}))
    with pytest.raises(DocumentError, match="sha256"):
        Egress.read(path)


@pytest.mark.parametrize(
    ("end", "readable"),
    [
        ("0100007F:1F40", "127.0.0.1 8000"),
        ("00000000000000000000000001000000:0050", "::1 80"),
        ("0000000000000000FFFF00000100007F:0050", "::ffff:127.0.0.1 80"),
    ],
)
def test_the_kernels_addresses_are_read(end: str, readable: str) -> None:
    assert onhost.readable(end) == readable


@pytest.mark.parametrize(
    "text", ["host", ":80", "::1:80", "host:0", "host:65536", "host:http", "-x", "a b:1"]
)
def test_a_target_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not HOST:PORT"):
        checked_destination(text)


def test_a_target_may_be_a_name_or_an_address_of_either_kind() -> None:
    for text in ("example.org:443", "192.0.2.1:53", "[2001:db8::1]:443"):
        assert checked_destination(text) == text


@pytest.mark.parametrize(
    ("said", "outcome"),
    [
        ({"connected": True, "tried": True, "dropped": 1}, "reached"),
        ({"connected": False, "tried": False, "dropped": 1}, "no way"),
        ({"connected": False, "tried": True, "dropped": 1}, "stopped"),
        ({"connected": False, "tried": True, "dropped": 0}, "not stopped"),
    ],
)
def test_what_came_of_an_attempt(said: dict[str, Any], outcome: str) -> None:
    assert STOPPED.model_copy(update=said).outcome == outcome


@pytest.mark.parametrize(
    ("open_on", "more"),
    [
        ((), ()),
        (("gpu-1",), ("On gpu-1 a program with an abstract local socket could carry things out.",)),
        (("a", "b"), ("On a, b a program with an abstract local socket could carry things out.",)),
    ],
)
def test_what_a_report_does_not_show_names_the_hosts_that_hold_less(
    open_on: tuple[str, ...], more: tuple[str, ...]
) -> None:
    assert limits(open_on) == (*LIMITS, *more)


def test_which_other_ends_are_foreign() -> None:
    ends = (
        "127.0.0.9 1",
        "::1 2",
        "::ffff:127.0.0.1 3",
        "fe80::1%eth0 4",
        "10.0.0.6 5",
        "::ffff:10.0.0.6 6",
        "10.0.0.8 7",
    )
    assert foreign(ends, ("10.0.0.6",)) == ("fe80::1%eth0 4", "10.0.0.8 7")
    assert foreign(ends, ("fe80::1", "10.0.0.8")) == ("10.0.0.6 5", "::ffff:10.0.0.6 6")
    nobody = ("gpu-2 8", "", "10.0.0 9")
    assert foreign(nobody, ("gpu-2", "10.0.0")) == nobody


def test_counters_that_are_in_one_look_only_did_not_move() -> None:
    def counts(**packets: int) -> dict[str, Count]:
        return {name: Count(packets=n, bytes=0) for name, n in packets.items()}

    assert moved(counts(a=1, b=5), counts(a=4, c=9)) == {"a": 3}


def test_what_a_host_says_is_read_whole() -> None:
    said = json.loads(AFTER.model_dump_json(exclude={"lock", "attempts"}))
    attempts = [json.loads(STOPPED.model_dump_json())]
    more = {"nft": "", "attempts": attempts, "holds_abstract_sockets": True}
    assert look(json.dumps(said | more)) == AFTER.model_copy(
        update={"lock": None, "attempts": (STOPPED,), "holds_abstract_sockets": True}
    )
    for text in ("[]", "{}", json.dumps(said | {"nft": "", "pid": "x"})):
        with pytest.raises(HostError) as caught:
            look(text)
        assert caught.value.message == "The host's answer about its egress lock cannot be read."
        assert caught.value.hint == "Its python3 must be 3.9 or newer; look there: python3 --version"


def test_what_the_kernel_notes_by_itself_is_no_part_of_the_rules() -> None:
    rules = (
        "table inet x {\n\tset ipv4_addr {\n\t\ttype ipv4_addr\n\t\telements = { 10.0.0.6 }\n\t}\n\n"
        "\tset begun {\n\t\ttype inet_service . inet_service\n\t\tflags dynamic,timeout\n\t\ttimeout 2m{}\n\t}\n}\n"
    )
    noted = "\n\t\telements = { 40000 . 25 expires 1m,\n\t\t\t     40001 . 3128 expires 59s }"
    assert onhost.without_what_it_notes(rules.replace("{}", noted)) == rules.replace("{}", "")


# --- the script that runs on the host, run here

SYSTEMCTL = """\
#!/bin/sh
case "$*" in
"show --value --property=MainPID corral-scout.service") cat "$HOST/pid" ;;
"show --value --property=ExecStart corral-scout.service") cat "$HOST/started" ;;
*) exit 64 ;;
esac
"""
# It counts one dropped packet more each time it is asked.
NFT = """\
#!/bin/sh
[ ! -e "$HOST/broken" ] || kill -KILL $$
case "$*" in
"list tables") cat "$HOST/tables" ;;
"--numeric --stateless list table inet corral-scout") echo "the rules" ;;
"--json list table inet corral-scout") echo x >>"$HOST/asked"
    sed "s/DROPPED/$(wc -l <"$HOST/asked")/" "$HOST/listing" ;;
*) echo "Error: syntax error" >&2; exit 1 ;;
esac
"""


@pytest.fixture
def on_the_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Run the script as `corral egress` has it run, beside a systemd and an nftables of the test's."""
    for name, text in (("systemctl", SYSTEMCTL), ("nft", NFT)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("HOST", str(tmp_path))
    (tmp_path / "pid").write_text("0\n")
    (tmp_path / "started").write_text("")
    (tmp_path / "tables").write_text("table inet corral-scout-2\n")
    (tmp_path / "listing").write_text(
        listing(MATCH, {"goto": {"target": "server"}}).replace(": 3,", ": DROPPED,")
    )

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-I", "-", "scout", *arguments]
        script = Path(onhost.__file__).read_text()
        return subprocess.run(command, input=script, capture_output=True, text=True, check=False)

    return run


OnTheHost = Callable[..., "subprocess.CompletedProcess[str]"]


def test_a_host_without_server_and_lock_says_so_whatever_its_neighbour_has(on_the_host: OnTheHost) -> None:
    done = on_the_host("192.0.2.1:443")
    found = look(done.stdout)
    assert (found.pid, found.uid, found.lock, found.rules, found.rules_at_start) == (0, 0, None, "", "")
    assert (found.attempts, found.sockets) == ((), ())
    assert found.served is not None
    assert (found.served.vllm_version, found.served.model, found.served.rules_sha256) == ("", {}, "")
    assert (found.hostname, found.kernel) == (os.uname().nodename, os.uname().release)


def test_the_lock_of_this_deployment_is_read_from_the_kernel(on_the_host: OnTheHost, tmp_path: Path) -> None:
    (tmp_path / "tables").write_text("table inet corral-scout-2\ntable inet corral-scout\n")
    found = look(on_the_host().stdout)
    assert (found.rules, found.lock) == (
        "the rules\n",
        Loaded(uid=64999, counters={"dropped": Count(packets=1, bytes=180)}),
    )


# As systemd says it.
STARTED = (
    "{{ path=/opt/corral/scout/engine/bin/python ; argv[]=/opt/corral/scout/engine/bin/python {} ; pid=7 }}\n"
)


@pytest.mark.parametrize(
    ("arguments", "is_confined"),
    [
        ("-IS /opt/corral/scout/bin/confine /opt/corral/scout/engine/bin/python -m vllm serve", True),
        ("-m vllm serve /opt/corral/scout/bin/confined", False),  # by an older corral
    ],
)
def test_whether_the_server_is_kept_from_abstract_sockets_is_told(
    on_the_host: OnTheHost,
    tmp_path: Path,
    arguments: str,
    is_confined: bool,
    need: Callable[[str, str], NoReturn],
) -> None:
    if confine.version() < confine.SCOPES_SINCE:
        need("landlock", "this Linux lacks Landlock of 6.12 or newer")
    (tmp_path / "started").write_text(STARTED.format(arguments))
    assert look(on_the_host().stdout).holds_abstract_sockets == is_confined


def test_what_serves_is_named_by_what_sha256sum_makes_of_its_lists(tmp_path: Path) -> None:
    """An auditor makes the same with the shell that the page shows."""
    site = tmp_path / "engine/lib/python3.11/site-packages"
    for name, text in (("vllm-0.33.0+cpu", "vllm/__init__.py,sha256=x,0\n"), ("torch-2.9.1", "")):
        (site / f"{name}.dist-info").mkdir(parents=True)
        (site / f"{name}.dist-info/RECORD").write_text(text)
    model = tmp_path / "model"
    model.mkdir()
    for name, text in (("config.json", "{}"), ("model.safetensors", "weights")):
        (model / name).write_text(text)
    notes = tmp_path / "weights.sums"
    assert sums.changed(model, notes, is_doubted=False) == ""

    def by_shell(folder: Path, files: str) -> str:
        script = f"sha256sum {files} | LC_ALL=C sort | sha256sum"
        done = subprocess.run(script, shell=True, cwd=folder, capture_output=True, text=True, check=True)
        return done.stdout.split()[0]

    assert onhost.engine_of(tmp_path / "engine") == ("0.33.0+cpu", by_shell(site, "*.dist-info/RECORD"))
    known = onhost.model_of(model, notes)
    assert list(known) == ["config.json", "model.safetensors"]
    assert onhost.over(known) == by_shell(model, "*")
    os.utime(model / "config.json", ns=(1, 1))
    (model / "model.safetensors").unlink()
    assert onhost.model_of(model, notes) == {"config.json": "", "model.safetensors": ""}
    assert onhost.model_of(model, tmp_path / "nothing") == {}
    assert onhost.engine_of(model)[0] == ""


def test_a_draft_and_adapters_are_named_as_their_sums_were_noted(tmp_path: Path) -> None:
    for place in ("model", "draft", "adapters/my-model", "adapters/unread"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "config.json").write_text(place)
    assert {folder for folder, _ in heal.summed(tmp_path)} == {"model", *onhost.beside_of(tmp_path)}
    for folder, notes in heal.summed(tmp_path)[:3]:
        assert sums.changed(tmp_path / folder, tmp_path / notes, is_doubted=False) == ""
    known = {
        name: {"config.json": hashlib.sha256(name.encode()).hexdigest()}
        for name in ("draft", "adapters/my-model")
    }
    assert onhost.beside_of(tmp_path) == known | {"adapters/unread": {}}
    (tmp_path / "draft/config.json").write_text("another")
    assert onhost.beside_of(tmp_path)["draft"] == {"config.json": ""}


def test_an_nft_that_fails_is_not_a_host_without_a_lock(on_the_host: OnTheHost, tmp_path: Path) -> None:
    (tmp_path / "broken").touch()
    done = on_the_host()
    assert (done.returncode, done.stdout) == (1, "")
    assert "CalledProcessError" in done.stderr


def test_an_attempt_is_made_with_the_servers_user_and_what_was_stopped_is_counted(
    on_the_host: OnTheHost, tmp_path: Path, need: Callable[[str, str], NoReturn]
) -> None:
    if os.getuid():
        need("root", "only root takes on another user")
    (tmp_path / "tables").write_text("table inet corral-scout\n")
    with (
        subprocess.Popen(["sleep", "600"], user=65534, group=65534) as server,
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_server(("127.0.0.1", 0)) as closed,
    ):
        (tmp_path / "pid").write_text(f"{server.pid}\n")
        targets = [f"127.0.0.1:{one.getsockname()[1]}" for one in (listener, closed)]
        closed.close()
        try:
            found = look(on_the_host(*targets).stdout)
        finally:
            server.kill()
    assert (found.pid, found.uid) == (server.pid, 65534)
    reached, refused = found.attempts
    assert reached == Attempt(target=targets[0], tried=True, connected=True, said="connected", dropped=1)
    assert refused == Attempt(
        target=targets[1], tried=True, connected=False, said="Connection refused", dropped=1
    )


def test_an_attempt_enters_every_group_of_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a host with both generations, of which the second is mounted where a host of that alone has it, or below."""
    groups = {"systemd/a": "1:name=systemd:/a", "cpu,cpuacct/b": "2:cpu,cpuacct:/b", "unified/c": "0::/c"}
    (tmp_path / "proc" / "7").mkdir(parents=True)
    for place in (*groups, "d"):
        (tmp_path / "sys/fs/cgroup" / place).mkdir(parents=True)
        (tmp_path / "sys/fs/cgroup" / place / "cgroup.procs").touch()
    here = f"{tmp_path}/"
    monkeypatch.setattr(onhost, "Path", lambda first, *rest: Path(here, first.lstrip("/"), *rest))

    def joined(*lines: str) -> list[str]:
        (tmp_path / "proc/7/cgroup").write_text("\n".join(lines))
        onhost.join_groups(7)
        found = []
        for file in (tmp_path / "sys/fs/cgroup").rglob("cgroup.procs"):
            if file.read_text():
                assert file.read_text() == str(os.getpid())
                found.append(file.parent.relative_to(tmp_path / "sys/fs/cgroup").as_posix())
                file.write_text("")
        return sorted(found)

    assert joined(*groups.values(), "4:gone:/e") == sorted(groups)
    assert joined("0::/d") == ["d"]
    assert not (tmp_path / "sys/fs/cgroup/gone").exists()
