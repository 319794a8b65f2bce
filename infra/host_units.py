"""PURE: the systemd units of a host: the server's, and those of what prepares, watches and ends it."""

import json
from collections.abc import Mapping

from infra.host import (
    HostFile,
    HostSetup,
    asked_file,
    bring_unit,
    is_closed,
    is_hidden,
    is_loopback,
    lock_timer,
    own_root,
    prepare_unit,
    root,
    spot_unit,
    state_folder,
    stop_s,
    unit,
)

UNIT_FOLDER = "/etc/systemd/system"
PASSING_UNIT_FOLDER = "/run/systemd/system"
"""Of units that are gone after a boot."""


def server_unit(setup: HostSetup) -> str:
    """The server's unit: a user of its own, a read-only system, no core dumps, every process of it ended on stop."""
    here, own = root(setup.name), own_root(setup.name, setup.release)
    python = f"{own}/engine/bin/python"
    # The first without the engine's packages: it goes before any code of theirs.
    confined = [python, "-IS", f"{here}/bin/confine"]
    command = [*confined, python, "-m", "vllm.entrypoints.cli.main", *setup.argv]
    # The arguments of its rank, split at their spaces; without its file the unit does not start.
    rank = " $NODE_ARGUMENTS" if setup.nodes > 1 else ""
    conditions = [f"{here}/node.env"] * (setup.nodes > 1) + [f"!{here}/interrupted"] * setup.spot
    return SERVER_UNIT.format(
        name=setup.name,
        root=here,
        own=own,
        conditions="".join(f"ConditionPathExists={path}\n" for path in conditions),
        # Without the dash: where the file is lost, a server without a key is none.
        key=f"EnvironmentFile={here}/secrets.env\n" if setup.api_key == "generated" else "",
        command=" ".join(map(systemd_quoted, command)) + rank,
        idle="" if setup.rented else UNTIL_IDLE.format(command=until_idle(setup)),
        prepared=AFTER_PREPARATION.format(unit=prepare_unit(setup.name)) if setup.rented else "",
        stop_s=stop_s(setup.shutdown_timeout_s),
        network=CLOSED_NETWORK if is_closed(setup) else "",
        lock_timer=lock_timer(setup.name),
        # The ranks on several hosts may speak over it.
        hidden="" if setup.nodes > 1 else " -/dev/infiniband",
        state=state_folder(setup.name),
        readable="".join(f"BindReadOnlyPaths={_path_quoted(path)}\n" for path in _readable(setup)),
    )


def _readable(setup: HostSetup) -> tuple[str, ...]:
    """What the unit would hide, and is the server's to read."""
    return (*setup.read_only_paths, *([setup.weights] if is_hidden(setup.weights) else []))


def until_idle(setup: HostSetup) -> str:
    """What waits, for as long as its drain may take, until the server has no request (infra/onhost/idle.py)."""
    own = own_root(setup.name, setup.release)
    limit_s = str(setup.shutdown_timeout_s)
    words = ("/usr/bin/python3", "-ISB", f"{own}/bin/idle", server_url(setup), limit_s, root(setup.name))
    return " ".join(map(systemd_quoted, words))


def spot_watch(setup: HostSetup) -> HostFile:
    """The unit that waits for EC2's notice."""
    here = root(setup.name)
    command = ["/usr/bin/python3", f"{here}/bin/spot", "--root", here, "--unit", unit(setup.name)]
    content = SPOT_SERVICE.format(
        name=setup.name,
        command=" ".join(map(systemd_quoted, command)),
        sandbox=HELPER_FILES.format(root=here) + HELPER_SANDBOX.format(rights="", families=INTERNET),
    )
    return HostFile(path=f"{UNIT_FOLDER}/{spot_unit(setup.name)}", content=content)


def lock_units(setup: HostSetup) -> tuple[HostFile, HostFile]:
    """The timer that has the server's lock looked at while the server runs, and what it runs: that speaks no IP."""
    here = root(setup.name)
    rights = HELPER_SANDBOX.format(rights="CAP_NET_ADMIN", families="AF_UNIX AF_NETLINK")
    sandbox = HELPER_FILES.format(root=here) + rights
    service = LOCK_SERVICE.format(name=setup.name, root=here, sandbox=sandbox)
    timer = f"{UNIT_FOLDER}/{lock_timer(setup.name)}"
    return (
        HostFile(path=timer.replace(".timer", ".service"), content=service),
        HostFile(path=timer, content=LOCK_TIMER.format(name=setup.name)),
    )


def boot_preparation(setup: HostSetup, folder: str = UNIT_FOLDER) -> HostFile:
    """The unit that prepares the box again at every boot: what is there is not fetched twice."""
    own = own_root(setup.name, setup.release)
    content = PREPARE_SERVICE.format(name=setup.name, root=own, once=REMAINS)
    return HostFile(path=f"{folder}/{prepare_unit(setup.name)}", content=content)


def bring_preparation(setup: HostSetup) -> HostFile:
    """The unit that prepares a release beside the one that serves: with the same rights, until the box starts again.

    The console stays that one's, by which `corral status` knows the box.
    """
    own = own_root(setup.name, setup.release)
    content = PREPARE_SERVICE.format(name=setup.name, root=own, once=NOT_ON_THE_CONSOLE)
    return HostFile(path=f"{PASSING_UNIT_FOLDER}/{bring_unit(setup.name)}", content=content)


def watch_units(setup: HostSetup) -> tuple[HostFile, HostFile]:
    """The timer that looks every minute whether time is up or nobody asks, and what it runs."""
    here = root(setup.name)
    command = [
        "/usr/bin/python3",
        f"{here}/bin/watch",
        "--root",
        here,
        "--unit",
        unit(setup.name),
        "--metrics",
        f"{server_url(setup)}/metrics",
        *(["--asked", asked_file(setup.name)] if setup.served_model_name else []),
        *(["--idle-minutes", str(setup.idle_minutes)] if setup.idle_minutes else []),
        *(["--poweroff"] if setup.rented else []),
    ]
    base = f"{UNIT_FOLDER}/corral-{setup.name}.watch"
    service = WATCH_SERVICE.format(
        name=setup.name,
        command=" ".join(map(systemd_quoted, command)),
        sandbox=HELPER_FILES.format(root=here) + HELPER_SANDBOX.format(rights="", families=INTERNET),
        # One of several asks after the first, whose address bin/join adds.
        network=network_of(setup),
    )
    return (
        HostFile(path=f"{base}.service", content=service),
        HostFile(path=f"{base}.timer", content=WATCH_TIMER.format(name=setup.name)),
    )


def server_url(setup: HostSetup) -> str:
    """Where the server is asked from its own host."""
    asked = asked_at(setup.host)
    return f"http://{f'[{asked}]' if ':' in asked else asked}:{setup.port}"


def network_of(setup: HostSetup) -> str:
    """What lets a unit speak with the server of its own host, and with nobody else."""
    asked = asked_at(setup.host)
    return CLOSED_NETWORK + ("" if is_loopback(asked) else f"IPAddressAllow={asked}\n")


def asked_at(host: str) -> str:
    """The address at which a server that listens there is asked from its own host."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)


def environment_file(environment: Mapping[str, str]) -> str:
    """The form systemd's EnvironmentFile= reads back equal."""
    return "".join(f"{key}={_environment_quoted(value)}\n" for key, value in sorted(environment.items()))


def _environment_quoted(value: str) -> str:
    escaped = "".join(f"\\{char}" if char in '\\"`$' else char for char in value)
    return f'"{escaped}"'


def systemd_quoted(argument: str) -> str:
    """One argument of ExecStart=, so that systemd passes exactly these characters on."""
    # JSON's escapes for quotes, backslashes and control characters are also systemd's; $ and % are doubled.
    return json.dumps(argument, ensure_ascii=False).replace("%", "%%").replace("$", "$$")


def _path_quoted(path: str) -> str:
    """A path for BindReadOnlyPaths=, where a colon would begin the destination."""
    return systemd_quoted(path.replace(":", "\\:")).replace("$$", "$")


INTERNET = "AF_UNIX AF_INET AF_INET6"

CLOSED_NETWORK = """\
# It has no business with any address but loopback's; bin/join adds a server's peers.
IPAddressDeny=any
IPAddressAllow=localhost
"""

SERVER_UNIT = """\
[Unit]
Description=vLLM server of corral deployment {name}
Wants=network-online.target
After=network-online.target
# While it runs its lock is looked at: without that it does not run.
Requires={lock_timer}
{prepared}ConditionPathExists={own}/engine/.complete
{conditions}# Five failed starts within an hour are no accident; `corral status` says so.
StartLimitIntervalSec=3600
StartLimitBurst=5

[Service]
Type=exec
# As root: CUDA needs /dev/nvidia-uvm, which a host without a display makes on first use. Absent without a GPU.
ExecStartPre=-+/usr/bin/nvidia-modprobe -c 0 -u
# The egress lock, for the user this start has: loaded before the server, removed after all of it ended.
ExecStartPre=+{root}/bin/lock on {name}
ExecStopPost=+{root}/bin/lock off {name}
ExecStart={command}
{idle}EnvironmentFile={own}/server.env
{key}Environment=HOME={state}
WorkingDirectory={state}

# vLLM leaves with code 0 when its engine dies: any end that nobody asked for is a failure.
Restart=always
RestartSec=15
# SIGTERM to the server alone, so that it drains; then SIGKILL to every process of the unit.
KillMode=mixed
TimeoutStopSec={stop_s}

DynamicUser=yes
StateDirectory=corral-{name} corral-{name}/tmp
StateDirectoryMode=0700
UMask=0077
NoNewPrivileges=yes
CapabilityBoundingSet=
ProtectSystem=strict
ProtectHome=tmpfs
{readable}PrivateTmp=yes
# No socket or pipe of another program: a bus, a resolver's, docker's, a database's, the mail queue's; no memory or
# queue of one. What stays is what bin/lock asks systemd by, as root, whom alone it answers.
TemporaryFileSystem=/run /var /dev/shm:mode=1777,size=50%,nr_inodes=0
PrivateIPC=yes
BindReadOnlyPaths=/run/systemd/private /run/systemd/system
InaccessiblePaths=-/opt/datadog-agent{hidden}
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
RestrictSUIDSGID=yes
RestrictNamespaces=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
LockPersonality=yes
SystemCallArchitectures=native
# The one opens sockets of families that are denied; for a key Linux has a program of root's look up a name.
SystemCallFilter=~io_uring_setup:ENOSYS @keyring:ENOSYS
# A core dump would hold prompts; 0 would stop files alone, and not what is piped to a program of root's.
LimitCORE=1
LimitNOFILE=1048576
LimitMEMLOCK=infinity
{network}
[Install]
WantedBy=multi-user.target
"""

# Not on a rented box: what ends one that costs waits for nobody, and what stops one has waited before.
UNTIL_IDLE = """\
# As the server's own user: asked to end when it has no request, or does not say. TimeoutStopSec is this one's, and
# then the server's.
ExecStop=-{command}
"""

AFTER_PREPARATION = """\
Requires={unit}
After={unit}
"""

REMAINS = "RemainAfterExit=yes\n"
NOT_ON_THE_CONSOLE = "InaccessiblePaths=/dev/console\n"

# As root and with leave to install, as at the first boot; the two services are those that may bring the box's own disk.

PREPARE_SERVICE = """\
[Unit]
Description=Preparation of corral deployment {name}
Wants=network-online.target
After=network-online.target rc-local.service dlami-nvme.service

[Service]
Type=oneshot
{once}TimeoutStartSec=infinity
ExecStart={root}/bin/prepare
NoNewPrivileges=yes
CapabilityBoundingSet=CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER CAP_SETGID CAP_SETUID
PrivateTmp=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
ProtectProc=invisible
RestrictSUIDSGID=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service

[Install]
WantedBy=multi-user.target
"""

# What reads the network is root without a right of root's: it may write its notes, and ask systemd to stop the server
# or the box, which systemd allows to root's number alone. /dev/console is where the phase is said.
HELPER_FILES = """\
ReadWritePaths={root}
ReadOnlyPaths={root}/bin -{root}/engine -{root}/model {root}/setup.env {root}/server.env {root}/egress.nft
ReadOnlyPaths=-{root}/draft -{root}/adapters
ReadOnlyPaths=-{root}/loaded.nft -{root}/peers
InaccessiblePaths=-{root}/secrets.env
"""

HELPER_SANDBOX = """\
CapabilityBoundingSet={rights}
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
DevicePolicy=closed
DeviceAllow=/dev/console rw
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
RestrictSUIDSGID=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictAddressFamilies={families}
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM
"""

LOCK_SERVICE = """\
[Unit]
Description=Look at the egress lock of corral deployment {name}

[Service]
Type=oneshot
TimeoutStartSec=60
ExecStart={root}/bin/lock check {name}
# Of what is well each time nothing is said.
LogLevelMax=notice
SyslogLevel=warning
{sandbox}"""

LOCK_TIMER = """\
[Unit]
Description=Look at the egress lock of corral deployment {name} while its server runs
StopWhenUnneeded=yes

[Timer]
OnActiveSec=5s
OnUnitActiveSec=10s
AccuracySec=1s
"""

WATCH_SERVICE = """\
[Unit]
Description=Time limit and idle stop of corral deployment {name}

[Service]
Type=oneshot
# Whatever the server does to one look, there is a next.
TimeoutStartSec=60
ExecStart={command}
RuntimeDirectory=corral-{name}.watch
RuntimeDirectoryPreserve=yes
{sandbox}{network}"""

WATCH_TIMER = """\
[Unit]
Description=Look every minute at corral deployment {name}

[Timer]
OnBootSec=1min
OnUnitActiveSec=1min
AccuracySec=10s

[Install]
WantedBy=timers.target
"""

SPOT_SERVICE = """\
[Unit]
Description=Spot notices for corral deployment {name}

[Service]
ExecStart={command}
Restart=on-failure
RestartSec=5
{sandbox}IPAddressDeny=any
IPAddressAllow=169.254.169.254

[Install]
WantedBy=multi-user.target
"""
