"""PURE: the systemd units of a host: the server's, and those of what prepares, watches and ends it."""

import json
from collections.abc import Mapping

from infra.host import HostFile, HostSetup, is_closed, prepare_unit, root, spot_unit, stop_s, unit

UNIT_FOLDER = "/etc/systemd/system"


def server_unit(setup: HostSetup) -> str:
    """The server's unit: a user of its own, a read-only system, no core dumps, every process of it ended on stop."""
    here = root(setup.name)
    command = [f"{here}/engine/bin/python", "-m", "vllm.entrypoints.cli.main", *setup.argv]
    # The arguments of its rank, split at their spaces; without its file the unit does not start.
    rank = " $NODE_ARGUMENTS" if setup.nodes > 1 else ""
    conditions = [f"{here}/node.env"] * (setup.nodes > 1) + [f"!{here}/interrupted"] * setup.spot
    return SERVER_UNIT.format(
        name=setup.name,
        root=here,
        conditions="".join(f"ConditionPathExists={path}\n" for path in conditions),
        # Without the dash: where the file is lost, a server without a key is none.
        key=f"EnvironmentFile={here}/secrets.env\n" if setup.api_key == "generated" else "",
        command=" ".join(map(systemd_quoted, command)) + rank,
        prepared=AFTER_PREPARATION.format(unit=prepare_unit(setup.name)) if setup.rented else "",
        stop_s=stop_s(setup.shutdown_timeout_s),
        network=CLOSED_NETWORK if is_closed(setup) else "",
        readable="".join(f"BindReadOnlyPaths={_path_quoted(path)}\n" for path in setup.read_only_paths),
    )


def spot_watch(setup: HostSetup) -> HostFile:
    """The unit that waits for EC2's notice."""
    here = root(setup.name)
    command = ["/usr/bin/python3", f"{here}/bin/spot", "--root", here, "--unit", unit(setup.name)]
    content = SPOT_SERVICE.format(
        name=setup.name,
        command=" ".join(map(systemd_quoted, command)),
        sandbox=HELPER_SANDBOX.format(root=here),
    )
    return HostFile(path=f"{UNIT_FOLDER}/{spot_unit(setup.name)}", content=content)


def boot_preparation(setup: HostSetup) -> HostFile:
    """The unit that prepares the box again at every boot: what is there is not fetched twice."""
    content = PREPARE_SERVICE.format(name=setup.name, root=root(setup.name))
    return HostFile(path=f"{UNIT_FOLDER}/{prepare_unit(setup.name)}", content=content)


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
        f"http://{'127.0.0.1' if setup.host == '0.0.0.0' else setup.host}:{setup.port}/metrics",
        *(["--idle-minutes", str(setup.idle_minutes)] if setup.idle_minutes else []),
        *(["--poweroff"] if setup.rented else []),
    ]
    base = f"{UNIT_FOLDER}/corral-{setup.name}.watch"
    service = WATCH_SERVICE.format(
        name=setup.name,
        command=" ".join(map(systemd_quoted, command)),
        sandbox=HELPER_SANDBOX.format(root=here),
        # One of several asks after the first, whose address is known only after a join.
        network=CLOSED_NETWORK if setup.nodes == 1 and asks_loopback(setup) else "",
    )
    return (
        HostFile(path=f"{base}.service", content=service),
        HostFile(path=f"{base}.timer", content=WATCH_TIMER.format(name=setup.name)),
    )


def asks_loopback(setup: HostSetup) -> bool:
    """Whether the server's metrics are asked for at a loopback address."""
    return is_closed(setup) or setup.host == "0.0.0.0"


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
{prepared}ConditionPathExists={root}/engine/.complete
{conditions}# Five failed starts within an hour are no accident; `corral status` says so.
StartLimitIntervalSec=3600
StartLimitBurst=5

[Service]
Type=exec
# As root: CUDA needs /dev/nvidia-uvm, which a host without a display makes on first use. Absent without a GPU.
ExecStartPre=-+/usr/bin/nvidia-modprobe -c 0 -u
# The egress lock, for the user this start has: loaded before the server, removed after all of it ended.
ExecStartPre=/bin/sh -c 'id -u >/var/lib/corral-{name}/uid'
ExecStartPre=+{root}/bin/lock on {name}
ExecStopPost=+{root}/bin/lock off {name}
ExecStart={command}
EnvironmentFile={root}/server.env
{key}Environment=HOME=/var/lib/corral-{name}
WorkingDirectory=/var/lib/corral-{name}

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
# A core dump would hold prompts.
LimitCORE=0
LimitNOFILE=1048576
LimitMEMLOCK=infinity
{network}
[Install]
WantedBy=multi-user.target
"""

AFTER_PREPARATION = """\
Requires={unit}
After={unit}
"""

# As root and with leave to install, as at the first boot; the two services are those that may bring the box's own disk.
PREPARE_SERVICE = """\
[Unit]
Description=Preparation of corral deployment {name}
Wants=network-online.target
After=network-online.target rc-local.service dlami-nvme.service

[Service]
Type=oneshot
RemainAfterExit=yes
TimeoutStartSec=infinity
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
HELPER_SANDBOX = """\
CapabilityBoundingSet=
NoNewPrivileges=yes
ProtectSystem=strict
ReadWritePaths={root}
ReadOnlyPaths={root}/bin -{root}/engine -{root}/model {root}/setup.env {root}/server.env {root}/egress.nft
InaccessiblePaths=-{root}/secrets.env
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
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM
"""

WATCH_SERVICE = """\
[Unit]
Description=Time limit and idle stop of corral deployment {name}

[Service]
Type=oneshot
ExecStart={command}
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
