"""The lock of a server that listens outside: there systemd filters no address, and the rules hold alone.

On the booted hosts of tests/fleet both hold, so that neither could be missed. Here are two namespaces and a wire.
"""

import json
import shutil
import subprocess
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import NoReturn

from infra import egress_rules

HOSTILE = (Path(__file__).parent / "data/hostile_server.py").read_text()
PYTHON = "/usr/bin/python3"  # one that everybody may run
NOBODY = "65534"
WAYS = (
    *("TCP over IPv4", "TCP over IPv6", "TCP to an IPv4 address in IPv6", "multipath TCP", "TCP Fast Open"),
    *("UDP over IPv4", "UDP over IPv6", "a ping", "a ping over IPv6", "DHCP", "DHCP over IPv6"),
    *("a broadcast", "multicast DNS", "multicast DNS over IPv6", "LLMNR", "SSDP", "a group"),
    *("a group of IPv6", "a name server outside"),
)

# A neighbour in a namespace of its own, at the addresses and the port of $TO; what it has seen of each frame that
# carries something, or only that it came to the end.
NEIGHBOUR = """\
import json, socket
ways = []
for family, address in ((socket.AF_INET, "10.99.0.1"), (socket.AF_INET6, "fd00:99::1")):
    way = socket.socket(family)
    way.bind((address, 4444))
    way.listen(99)
    ways.append(way)
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
wire.bind(("there", 0))
open("ready", "w").close()
carrying = []
while b"that was all" not in (frame := wire.recv(99999)):
    if b"prompt" in frame or bytes((0, 0, 239, 112, 114, 111)) in frame:
        carrying.append(frame.hex())
json.dump(carrying, open("carrying", "w"))
"""
SCRIPT = """\
set -eu
ip link set lo up
unshare --net sleep 120 &
there=$!
trap 'kill $there ${neighbour:-} 2>/dev/null || :' EXIT
until [ "$(readlink /proc/$there/ns/net)" != "$(readlink /proc/$$/ns/net)" ]; do kill -0 $there; done
ip link add host0 type veth peer name there
ip link set there netns $there
here() { ip address add "$1" dev "$3"; ip -6 address add "$2" dev "$3" nodad; ip link set "$3" up; }
here 10.99.0.2/24 fd00:99::2/64 host0
nsenter --target $there --net sh -euc 'ip link set lo up; ip address add 10.99.0.1/24 dev there
ip -6 address add fd00:99::1/64 dev there nodad; ip link set there up'
echo 0 2147483647 >/proc/sys/net/ipv4/ping_group_range
nsenter --target $there --net "$PYTHON" -c "$NEIGHBOUR" &
neighbour=$!
until [ -e ready ]; do kill -0 $neighbour; sleep 0.05; done
printf '%s\\n' "$RULES" | nft -f -
cd /
TO='10.99.0.1 fd00:99::1 4444' setpriv --reuid "$NOBODY" --regid "$NOBODY" --clear-groups \\
    "$@" "$PYTHON" - tries $WAYS <"$HERE/hostile" >"$HERE/outcomes"
"$PYTHON" -c "import socket; socket.socket(2, 2).sendto(b'that was all', ('10.99.0.1', 9))"
wait $neighbour
"""


def tried(place: Path, rules: str, before: tuple[str, ...]) -> "subprocess.Popen[bytes]":
    """The hostile program, begun as nobody under these rules, started by that."""
    place.mkdir()
    (place / "hostile").write_text(HOSTILE)
    environment = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "PYTHON": PYTHON,
        "NOBODY": NOBODY,
        "NEIGHBOUR": NEIGHBOUR,
        "RULES": rules,
        "HERE": str(place),
    }
    script = SCRIPT.replace("$WAYS", " ".join(f"'{way}'" for way in WAYS))
    command = ["unshare", "--net", "bash", "-c", script, "tried", *before]
    return subprocess.Popen(command, cwd=place, env=environment)


def test_the_rules_alone_hold_a_server_that_listens_outside(
    tmp_path: Path, need: Callable[[str, str], NoReturn]
) -> None:
    """Its seconds are waits: for what Linux tells of a group, and for answers that stay out."""
    programs = all(map(shutil.which, ("nft", "ip", "nsenter", "setpriv", PYTHON)))
    if not programs or subprocess.run(["unshare", "-n", "true"], check=False).returncode:
        need("fleet", "nft and a network namespace of our own: scripts/ci-packages, as root")
    confined = (PYTHON, "-IS", "-c", (files("infra.onhost") / "confine.py").read_text())
    rules = f"define server = {NOBODY}\n{egress_rules.rules('hostile', False, listens_outside=True)}"
    with tried(tmp_path / "free", "", ()) as free, tried(tmp_path / "locked", rules, confined) as locked:
        pass
    assert (free.returncode, locked.returncode) == (0, 0)
    outcomes = [json.loads((tmp_path / name / "outcomes").read_text()) for name in ("free", "locked")]
    carrying = [json.loads((tmp_path / name / "carrying").read_text()) for name in ("free", "locked")]
    assert outcomes[0] == dict.fromkeys(WAYS, "through")
    assert len(carrying[0]) >= len(WAYS)
    assert [name for name, outcome in outcomes[1].items() if outcome == "through"] == []
    assert (len(outcomes[1]), carrying[1]) == (len(WAYS), [])
