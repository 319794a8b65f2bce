"""PURE: how a host is prepared: files, systemd units and cloud-init user data, all as values.

A rented box (cloud-init) and an owned one (SSH) get the same files and run the same prepare script. Everything
lives below /opt/corral/NAME, in units called corral-NAME, and in the state folder systemd makes for the unit.
"""

import gzip
import ipaddress
import json
import shlex
from collections.abc import Mapping
from datetime import date
from typing import Literal

from infra import egress_rules
from infra.data import shipped_text
from infra.errors import HostError, UsageError
from infra.record import Record
from infra.yaml_text import dumped

# EC2 refuses more than 16 KB before base64; the rest is room for a longer command line.
USER_DATA_LIMIT_BYTES = 16 * 1024

UNIT_FOLDER = "/etc/systemd/system"


class Lock(Record):
    """Every package that pip installs, at its version, and what all of their files must be."""

    python: str
    """The minor version of Python it is for: 3.12"""
    platform: str
    locked_on: date
    sha256: str
    """Over the sorted SHA-256 of all wheels, a line each: one digest holds them all, and fits into user data."""
    size_bytes: int
    pins: str
    """NAME==VERSION, a line each."""


class Engine(Record):
    """Where the host gets vLLM from; the archive wins over pip."""

    requirement: str = ""
    """What pip installs, pinned: vllm==0.33.0"""
    wheelhouse: str = ""
    """A folder of wheels on the host, or an s3:// prefix: pip then asks no index."""
    archive: str = ""
    """A tar of a packed engine (`corral engine pack`) on the host, at s3://, or - for the prepare script's input:
    needs no pip and no network."""
    python: str = "python3"
    """The host's interpreter; a packed engine needs the minor version it was packed with."""
    lock: Lock | None = None
    """What pip may install, and nothing else; None for whatever the index has."""


class HostSetup(Record):
    """Everything a host is told. Holds no secret: keys are made on the host, the Hub's token is fetched by name."""

    name: str
    argv: tuple[str, ...]
    """The arguments of `vllm`: ("serve", MODEL, "--port", ...)."""
    environment: dict[str, str] = {}
    host: str = "127.0.0.1"
    port: int = 8000
    nodes: int = 1
    """How many hosts run the engine. One of several cannot know the others yet: it starts when it joins them."""
    engine: Engine
    weights: str = ""
    """hf://ORG/REPO@REVISION, s3://BUCKET/PREFIX, or a folder of the host (of its image), which is used where it
    lies; empty when the model is brought by other means."""
    weights_bytes: int = 0
    """How much is fetched, so that the host can say how far it is; 0 where that is not known."""
    read_only_paths: tuple[str, ...] = ()
    """What else the server may read although it lies in a home folder: a model the owner keeps there."""
    hf_token_parameter: str = ""
    """The name of an SSM SecureString, or the ARN of a Secrets Manager secret; never the token."""
    region: str = ""
    api_key: Literal["none", "generated"] = "none"
    ttl_minutes: int | None = None
    idle_minutes: int | None = None
    rented: bool = False
    """A box that exists for this deployment only: it may be powered off, and its automatic upgrades are masked."""
    spot: bool = False
    """Whether EC2 may take the box back, two minutes after it says so."""
    shutdown_timeout_s: int = 60


class HostFile(Record):
    """One file we put on a host."""

    path: str
    content: str
    mode: str = "0644"


def root(name: str) -> str:
    """The folder on the host that holds all we bring."""
    return f"/opt/corral/{name}"


def model_folder(name: str) -> str:
    """Where the weights lie on the host: what `vllm serve` is given as MODEL."""
    return f"{root(name)}/model"


def shared_weights(repository: str, revision: str) -> str:
    """Where an owned host keeps the weights of a commit, for every deployment that serves them."""
    return f"/opt/corral/weights/{repository.replace('/', '--')}@{revision}"


def from_hub(repository: str, revision: str | None) -> str:
    """The address of a repository of the Hub at a commit; without one nothing is fetched."""
    return f"hf://{repository}@{revision}" if revision else f"hf://{repository}"


def state_folder(name: str) -> str:
    """The one folder the server may write: systemd makes it for the unit's own user, and removes it."""
    return f"/var/lib/corral-{name}"


def unit(name: str) -> str:
    """The systemd unit of the server."""
    return f"corral-{name}.service"


def spot_unit(name: str) -> str:
    """The systemd unit that waits for EC2's notice on a spot box."""
    return f"corral-{name}.spot.service"


def prepare_unit(name: str) -> str:
    """The systemd unit that prepares a rented box at a later boot: after a stop its own disk is empty."""
    return f"corral-{name}.prepare.service"


def is_watched(setup: HostSetup) -> bool:
    """Whether the host ends its deployment by itself."""
    return bool(setup.ttl_minutes or setup.idle_minutes)


def guards(setup: HostSetup) -> tuple[str, ...]:
    """The units that run beside the server, from before the host is prepared."""
    watch = (f"corral-{setup.name}.watch.timer",) if is_watched(setup) else ()
    return (*watch, *((spot_unit(setup.name),) if setup.spot else ()))


def host_files(setup: HostSetup) -> tuple[HostFile, ...]:
    """Every file the host gets, secrets excepted: those are made there."""
    here = root(setup.name)
    return (
        HostFile(path=f"{here}/setup.env", content=setup_env(setup)),
        HostFile(path=f"{here}/server.env", content=environment_file(setup.environment)),
        *(
            [HostFile(path=f"{here}/engine.lock", content=setup.engine.lock.pins)]
            if setup.engine.lock
            else []
        ),
        HostFile(
            path=f"{here}/egress.nft",
            content=egress_rules.rules(setup.name, setup.nodes > 1, not is_closed(setup)),
        ),
        *(_script(here, name) for name in script_names(setup)),
        HostFile(path=f"{UNIT_FOLDER}/{unit(setup.name)}", content=server_unit(setup)),
        *(watch_units(setup) if is_watched(setup) else ()),
        *((spot_watch(setup),) if setup.spot else ()),
        *((boot_preparation(setup),) if setup.rented else ()),
    )


def script_names(setup: HostSetup) -> tuple[str, ...]:
    """What the host gets to run, of the folder onhost."""
    join = ("join.sh",) if setup.nodes > 1 else ()
    watch = ("extend.sh", "watch.py") if is_watched(setup) else ()
    # A rented box fetches without it: its user data has no room for more.
    fetch = ("fetch.py",) if setup.weights.startswith("hf://") and not setup.rented else ()
    return ("prepare.sh", "phase.sh", "lock.sh", *fetch, *join, *watch, *(("spot.py",) if setup.spot else ()))


def join_command(name: str, rank: int, addresses: tuple[str, ...]) -> tuple[str, ...]:
    """What starts one rank of an engine over the hosts with these addresses, now and at every boot; the first leads.

    Raises HostError for what is no address: it goes through shells.
    """
    for address in addresses:
        if not is_address(address):
            raise HostError(f"{address!r} is no address that a host can have.", "Nothing was started.")
    return (f"{root(name)}/bin/join", str(rank), *addresses)


def is_address(text: str) -> bool:
    """Whether it is one IPv4 or IPv6 address and nothing else."""
    try:
        return "%" not in text and bool(ipaddress.ip_address(text))
    except ValueError:
        return False


def user_data(setup: HostSetup) -> str:
    """The cloud-init user data of a rented box. Raises UsageError when it would be more than EC2 takes."""
    config = {
        # Before anything else runs: no driver may change under the server.
        "bootcmd": [["systemctl", "mask", "--now", *UPGRADE_UNITS]],
        "locale": "C.UTF-8",
        "package_update": False,
        "package_upgrade": False,
        "ssh_pwauth": False,
        "write_files": [
            {"path": file.path, "permissions": file.mode, "content": file.content}
            for file in host_files(setup)
        ],
        "runcmd": _first_boot(setup),
    }
    text = "#cloud-config\n" + dumped(config)
    size = len(packed(text))
    if size > USER_DATA_LIMIT_BYTES:
        raise UsageError(
            f"The user data would be {size} bytes; EC2 takes {USER_DATA_LIMIT_BYTES}.",
            "Shorten the vLLM options: put long ones (chat template, overrides) beside the weights.",
        )
    return text


def packed(text: str) -> bytes:
    """User data as it is sent: EC2 counts what is sent, and cloud-init unpacks it. The same bytes for the same text."""
    return gzip.compress(text.encode(), mtime=0)


UPGRADE_UNITS = ("unattended-upgrades.service", "apt-daily.timer", "apt-daily-upgrade.timer")


def _first_boot(setup: HostSetup) -> list[list[str]]:
    """The limit comes first, so that a box whose preparation fails ends all the same."""
    here = root(setup.name)
    limit: list[list[str]] = []
    if setup.ttl_minutes:
        minutes = str(setup.ttl_minutes)
        limit = [["shutdown", "-P", f"+{minutes}"], [f"{here}/bin/extend", minutes]]
    beside = [["systemctl", "enable", "--now", name] for name in guards(setup)]
    at_boot = [prepare_unit(setup.name), *([unit(setup.name)] if setup.nodes == 1 else [])]
    beside.append(["systemctl", "enable", *at_boot])
    prepare = f"{here}/bin/prepare"
    then = f" && systemctl enable --now {unit(setup.name)}" if setup.nodes == 1 else ""
    return [*limit, *beside, ["bash", "-c", prepare + then]]


def engine_mark(engine: Engine) -> str:
    """What the prepare script notes when an engine is in place; another engine has another mark."""
    return f"{engine.python} {engine.requirement} {engine.wheelhouse} {engine.archive}"


def setup_env(setup: HostSetup) -> str:
    """The values the scripts source, quoted once."""
    values = {
        "NAME": setup.name,
        "RENTED": "yes" if setup.rented else "no",
        "ENGINE_PYTHON": setup.engine.python,
        "ENGINE_REQUIREMENT": setup.engine.requirement,
        "ENGINE_WHEELHOUSE": setup.engine.wheelhouse,
        "ENGINE_ARCHIVE": setup.engine.archive,
        "ENGINE_LOCK_PYTHON": setup.engine.lock.python if setup.engine.lock else "",
        "ENGINE_LOCK_SHA256": setup.engine.lock.sha256 if setup.engine.lock else "",
        "WEIGHTS": setup.weights,
        "WEIGHTS_BYTES": str(setup.weights_bytes),
        "HF_TOKEN_PARAMETER": setup.hf_token_parameter,
        "REGION": setup.region,
        "API_KEY": setup.api_key,
    }
    return "".join(f"{key}={shlex.quote(value)}\n" for key, value in values.items())


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


def is_closed(setup: HostSetup) -> bool:
    """Whether the server listens on loopback only, so that nobody outside is to get an answer of it."""
    return setup.host in ("127.0.0.1", "::1", "localhost")


def asks_loopback(setup: HostSetup) -> bool:
    """Whether the server's metrics are asked for at a loopback address."""
    return is_closed(setup) or setup.host == "0.0.0.0"


def stop_s(shutdown_timeout_s: int) -> int:
    """How long a stop of the unit takes at most: systemd must wait longer than the server drains."""
    return shutdown_timeout_s + 30


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


def _script(here: str, file_name: str) -> HostFile:
    content = shipped_text("infra.onhost", file_name)
    return HostFile(path=f"{here}/bin/{file_name.partition('.')[0]}", content=content, mode="0755")


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
