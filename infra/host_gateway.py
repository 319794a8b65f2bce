"""PURE: what stands on an owned host beside its deployment's server: its unit, its lock and its scripts.

That is a gateway, or, on another host, the listener that ends TLS for it: HAProxy both.
"""

from typing import Literal

from infra import egress_rules
from infra.data import shipped_text
from infra.host import HostFile, lock_timer, root, state_folder, unit
from infra.host_judge import OUTSIDE, PYTHON
from infra.host_units import CLOSED_NETWORK, HELPER_SANDBOX, LOCK_SERVICE, LOCK_TIMER, UNIT_FOLDER
from infra.record import Record

AUDITS = "/var/log/corral"
"""Root's: they outlive the gateways."""
DAEMON_MARGIN_S = 10
Kind = Literal["gateway", "listener"]
"""A listener stands before a server on loopback and answers the gateway of another host alone."""
KINDS: tuple[Kind, ...] = ("gateway", "listener")


class GatewaySetup(Record):
    """What a host is told of a gateway or a listener. Holds no secret: those go the way of what HAProxy reads."""

    name: str
    """The deployment's."""
    kind: Kind = "gateway"
    haproxy: str
    """The program, by its path there."""
    servers: tuple[str, ...]
    """What it may reach: ADDRESS PORT each, and nobody else."""
    is_loopback: bool
    """Whether nobody but the host's own programs may reach it."""
    drain_s: float


def called(name: str, kind: Kind = "gateway") -> str:
    """What units, folder and table are called for; no deployment's name has a dot."""
    return f"{name}.{kind}"


def audit_file(name: str) -> str:
    """Where its requests are noted on the host."""
    return f"{AUDITS}/{called(name)}.jsonl"


def title_of(name: str, unit_name: str) -> str:
    """What that unit of a deployment is called for; the gateway, where it is neither."""
    return next((title for kind in KINDS if unit(title := called(name, kind)) == unit_name), called(name))


def servers_file(title: str) -> str:
    """What it may reach, ADDRESS PORT a line."""
    return f"{root(title)}/servers"


def keeper(title: str, order: str, *words: str) -> tuple[str, ...]:
    """What has an order done there, as root (infra/onhost/gatekeeper.py)."""
    return (*PYTHON, f"{root(title)}/bin/gatekeeper", order, title, *words)


def scripts(title: str) -> tuple[HostFile, ...]:
    """What it is asked by; nothing that runs depends on these."""
    here = root(title)
    return (
        HostFile(path=f"{here}/setup.env", content=f"NAME={title}\nRENTED=no\nAPI_KEY=none\n"),
        *(
            HostFile(path=f"{here}/bin/{script.partition('.')[0]}", content=_text(script), mode="0755")
            for script in ("lock.sh", "phase.sh", "gatekeeper.py")
        ),
        HostFile(path=f"{here}/bin/audit.py", content=_text("audit.py")),
    )


def files(setup: GatewaySetup) -> tuple[HostFile, ...]:
    """Its lock and its units."""
    title = called(setup.name, setup.kind)
    here, timer = root(title), f"{UNIT_FOLDER}/{lock_timer(title)}"
    sandbox = LOCK_FILES.format(root=here) + HELPER_SANDBOX.format(
        rights="CAP_NET_ADMIN", families="AF_UNIX AF_NETLINK"
    )
    return (
        HostFile(path=servers_file(title), content="".join(f"{server}\n" for server in setup.servers)),
        HostFile(path=f"{here}/egress.nft", content=egress_rules.gateway_rules(title, setup.servers)),
        HostFile(path=f"{UNIT_FOLDER}/{unit(title)}", content=gateway_unit(setup)),
        HostFile(
            path=timer.replace(".timer", ".service"),
            content=LOCK_SERVICE.format(name=title, root=here, sandbox=sandbox),
        ),
        HostFile(path=timer, content=LOCK_TIMER.format(name=title)),
    )


def gateway_unit(setup: GatewaySetup) -> str:
    """HAProxy as a user of its own, which may reach its servers and answer those who reach it."""
    title = called(setup.name, setup.kind)
    outside = " ".join(OUTSIDE)
    return GATEWAY_UNIT.format(
        what="Gateway" if setup.kind == "gateway" else "Listener",
        name=setup.name,
        title=title,
        root=root(title),
        lock_timer=lock_timer(title),
        haproxy=setup.haproxy,
        state=state_folder(title),
        begin=f"{outside} {' '.join(keeper(title, 'begin'))}",
        again=f"{outside} {' '.join(keeper(title, 'again'))}",
        output=AUDITED.format(audit=audit_file(setup.name)) if setup.kind == "gateway" else "journal",
        stop_s=f"{setup.drain_s + DAEMON_MARGIN_S:.0f}",
        network=CLOSED_NETWORK if setup.is_loopback else "",
    )


def _text(name: str) -> str:
    return shipped_text("infra.onhost", name)


AUDITED = "append:{audit}"
"""Root's file, which systemd opens: HAProxy can neither read it nor open it."""

GATEWAY_UNIT = """\
[Unit]
Description={what} of corral deployment {name}
Wants=network-online.target
After=network-online.target
# While it runs its lock is looked at: without that it does not run.
Requires={lock_timer}
# In no order with the server: it says that none is there, and on a reboot its streams end when the server's drain does.
StartLimitIntervalSec=0

[Service]
Type=notify
# To sum up a long audit takes minutes; ended at that, it would never start.
TimeoutStartSec=infinity
ExecStartPre=+{root}/bin/lock on {title}
ExecStartPre=+{begin}
ExecStart={haproxy} -Ws -C {state} -S unix@master.sock,mode,600 -f haproxy.cfg
ExecReload=+{again}
ExecReload=/bin/kill -USR2 $MAINPID
ExecStopPost=+{root}/bin/lock off {title}
StandardOutput={output}
StandardError=journal
Restart=always
RestartSec=2
# To the first process alone, which has the others finish their streams; then SIGKILL to every process of the unit.
KillMode=mixed
KillSignal=SIGUSR1
TimeoutStopSec={stop_s}

DynamicUser=yes
StateDirectory=corral-{title}
StateDirectoryMode=0700
UMask=0077
NoNewPrivileges=yes
# Its one right: to listen at 443.
AmbientCapabilities=CAP_NET_BIND_SERVICE
CapabilityBoundingSet=CAP_NET_BIND_SERVICE
ProtectSystem=strict
ProtectHome=tmpfs
PrivateTmp=yes
PrivateDevices=yes
# No socket or pipe of another program, but those by which bin/lock asks systemd and HAProxy says that it is ready.
TemporaryFileSystem=/run /var
PrivateIPC=yes
BindReadOnlyPaths=/run/systemd/private /run/systemd/system /run/systemd/notify
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
RestrictSUIDSGID=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
LockPersonality=yes
SystemCallArchitectures=native
# Not MemoryDenyWriteExecute: its regular expressions are compiled to machine code.
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @keyring io_uring_setup
SystemCallErrorNumber=EPERM
LimitCORE=1
LimitNOFILE=65536
{network}
[Install]
WantedBy=multi-user.target
"""

LOCK_FILES = """\
ReadWritePaths={root}
ReadOnlyPaths={root}/bin {root}/setup.env {root}/egress.nft
ReadOnlyPaths=-{root}/loaded.nft
InaccessiblePaths=-{root}/files -{root}/next -{root}/keys.json
"""
