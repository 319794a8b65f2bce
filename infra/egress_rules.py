"""PURE: the egress lock as nftables rules, and what the kernel says of them.

The rules match the server by its user, which is its alone while it runs: that holds with either version of control
groups, for every child, and for TCP and UDP alike. The base chains come before others of the host (priority -10), so
that what is stopped is counted here; addresses are translated earlier (-100), so they are the real ones, which the
interface then no longer is: what is local is told by the address too.

Over loopback the server may speak TCP with itself. Who listens at a port is known when he answers: an answer of
another user to what the server began is dropped, and that port refused from then on, for as long as it is tried.
"""

from infra import bounded_json
from infra.errors import HostError
from infra.record import Record

COUNTERS = ("loopback", "peers", "replies", "dropped")
# The peers, by nftables' family and type of address.
SETS = (("ip", "ipv4_addr"), ("ip6", "ipv6_addr"))

# What the kernel notes by itself: the connections the server begins over loopback (its port, the other's), and the
# ports where somebody else has answered.
SEEN = (("begun", "inet_service . inet_service", "2m"), ("strangers", "inet_service", "1m"))


class Count(Record):
    """One named counter of the lock."""

    packets: int
    """Since the lock was loaded."""
    bytes: int
    """Since the lock was loaded."""


class Loaded(Record):
    """The lock as the kernel has it."""

    uid: int | None
    """Whose packets it judges; None when no rule says."""
    counters: dict[str, Count]
    """By name: loopback, peers, replies, and `dropped`, which were refused."""


def table(name: str) -> str:
    """The nftables table of a deployment."""
    return f"inet corral-{name}"


def rules(name: str, has_peers: bool, listens_outside: bool) -> str:
    """The file `nft -f` loads, once `server` is defined: in one step it replaces our table, and no other.

    Who the peers are is added on the host, once it has joined them.
    """
    allowed = (
        [f"{family} daddr @{kind} counter name peers accept" for family, kind in SETS] if has_peers else []
    )
    if listens_outside:
        # Only of connections that somebody else began.
        allowed.append("ct direction reply ct state established counter name replies accept")
    heads = [f"set {kind} {{ type {kind}; }}" for _, kind in SETS] if has_peers else []
    heads += [
        f"set {name} {{ type {kind}; flags dynamic; timeout {time}; size 65535; }}"
        for name, kind, time in SEEN
    ]
    heads += [f"counter {counter} {{}}" for counter in COUNTERS]
    return RULES.format(
        table=table(name),
        heads="".join(f"    {head}\n" for head in heads),
        allowed="".join(f"        {rule}\n" for rule in allowed),
    )


def gateway_rules(name: str, servers: tuple[str, ...]) -> str:
    """The same for a gateway of that name: it may reach its servers, ADDRESS PORT each, and answer whoever reached it.

    Who listens at a server's port is not asked: a server has another user at each start.
    """
    reached = [
        f"{'ip6' if ':' in address else 'ip'} daddr {address} tcp dport {port} counter name peers accept"
        for address, _, port in (server.partition(" ") for server in servers)
    ]
    return GATEWAY_RULES.format(
        table=table(name),
        heads="".join(f"    counter {counter} {{}}\n" for counter in COUNTERS),
        reached="".join(f"        {rule}\n" for rule in reached),
    )


def loaded(text: str) -> Loaded | None:
    """Read `nft --json list table`; None when there is no such table. Raises HostError for what is no such list."""
    if not text.strip():
        return None
    try:
        items = bounded_json.load(text.encode())["nftables"]
        counters = [item["counter"] for item in items if "counter" in item]
        by_name = {
            counter["name"]: Count(packets=counter["packets"], bytes=counter["bytes"]) for counter in counters
        }
        judged = [rule for item in items if "rule" in item and (rule := item["rule"])["chain"] == "output"]
        return Loaded(uid=_uid(judged[0]["expr"]) if len(judged) == 1 else None, counters=by_name)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        raise HostError(
            "What nft says of the lock cannot be read.", "See it there: nft --json list ruleset"
        ) from None


def _uid(expression: list[dict[str, dict[str, object]]]) -> int | None:
    """Whose packets a rule is for, where it is one of ours: `meta skuid UID goto server`."""
    uid = expression[0].get("match", {}).get("right")
    ours = [{"match": {"op": "==", "left": {"meta": {"key": "skuid"}}, "right": uid}}, *GOTO]
    return uid if expression == ours and isinstance(uid, int) else None


GOTO = [{"goto": {"target": "server"}}]

# Refused rather than swallowed, so that nothing in the server waits for what cannot come. A name server on loopback
# would ask outside on the server's behalf, a proxy or a mail server carry things out.
RULES = """\
table {table} {{}}
delete table {table}
table {table} {{
{heads}
    chain output {{
        type filter hook output priority -10; policy accept;
        meta skuid $server goto server
    }}

    chain answers {{
        type filter hook output priority -10; policy accept;
        meta skuid $server return
        oifname "lo" tcp flags & (fin | syn | rst | ack) == syn | ack tcp dport . tcp sport @begun goto refused
    }}

    chain refused {{
        update @strangers {{ tcp sport }}
        counter name dropped drop
    }}

    chain server {{
        udp dport 53 counter name dropped reject with icmpx admin-prohibited
        tcp dport 53 counter name dropped reject with icmpx admin-prohibited
        oifname "lo" fib daddr type local goto itself
{allowed}        counter name dropped reject with icmpx admin-prohibited
    }}

    chain itself {{
        tcp flags & (fin | syn | rst | ack) != syn counter name loopback accept
        tcp dport @strangers counter name dropped reject with tcp reset
        update @begun {{ tcp sport . tcp dport }} counter name loopback accept
        counter name dropped reject with icmpx admin-prohibited
    }}
}}
"""

GATEWAY_RULES = """\
table {table} {{}}
delete table {table}
table {table} {{
{heads}
    chain output {{
        type filter hook output priority -10; policy accept;
        meta skuid $server goto server
    }}

    chain server {{
        ct direction reply ct state established counter name replies accept
{reached}        counter name dropped reject with icmpx admin-prohibited
    }}
}}
"""
