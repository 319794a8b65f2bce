"""PURE: what a host is told, as a value, and what everything of a deployment is called there.

A rented box (cloud-init) and an owned one (SSH) get the same files and run the same prepare script. Everything
lives below /opt/corral/NAME, in units called corral-NAME, and in the state folder systemd makes for the unit.
"""

import ipaddress
from datetime import date
from typing import Literal

from infra.errors import HostError
from infra.record import Record


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
    release: str = ""
    """Which release's engine, weights and environment these are, in a folder beside others'; empty: in the root."""
    argv: tuple[str, ...]
    """The arguments of `vllm`: ("serve", MODEL, "--port", ...)."""
    environment: dict[str, str] = {}
    host: str = "127.0.0.1"
    port: int = 8000
    served_model_name: str = ""
    """What the judge beside the server asks for; without it there is none."""
    load_budget_s: int = 600
    """How long a start may take; the judge ends one that takes longer."""
    gpus: int = 0
    """How many of NVIDIA's the host must have before its server is started; one may come minutes after the boot."""
    nodes: int = 1
    """How many hosts run the engine. One of several cannot know the others yet: it starts when it joins them."""
    engine: Engine
    weights: str = ""
    """hf://ORG/REPO@REVISION, s3://BUCKET/PREFIX, or a folder of the host (of its image), which is used where it
    lies; empty when the model is brought by other means."""
    beside: dict[str, str] = {}
    """What else comes from the Hub: its folder below the root (draft, adapters/NAME), and hf://ORG/REPO@REVISION."""
    sums: dict[str, str] = {}
    """Files below the root that others bring, and the SHA-256 that each must have."""
    weights_bytes: int = 0
    """How much is fetched, so that the host can say how far it is; 0 where that is not known."""
    read_only_paths: tuple[str, ...] = ()
    """What else the server may read although its unit hides that folder: a model kept at home, or in /var."""
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
    """Where it belongs."""
    content: str
    """Its text."""
    mode: str = "0644"
    """As chmod takes it."""


def root(name: str) -> str:
    """The folder on the host that holds all we bring."""
    return f"/opt/corral/{name}"


def own_root(name: str, release: str) -> str:
    """The folder of what is one release's own; out of the reach of the units that may write the root."""
    return f"/opt/corral/.releases/{name}/{release}" if release else root(name)


def model_folder(name: str, release: str = "") -> str:
    """Where the weights lie on the host: what `vllm serve` is given as MODEL."""
    return f"{own_root(name, release)}/model"


def shared_weights(repository: str, revision: str) -> str:
    """Where an owned host keeps the weights of a commit, for every deployment that serves them."""
    return f"/opt/corral/weights/{repository.replace('/', '--')}@{revision}"


def from_hub(repository: str, revision: str | None) -> str:
    """The address of a repository of the Hub at a commit; without one nothing is fetched."""
    return f"hf://{repository}@{revision}" if revision else f"hf://{repository}"


def state_folder(name: str) -> str:
    """The one folder the server may write: systemd makes it for the unit's own user, and removes it.

    By its own name: the link /var/lib/corral-NAME is not in every systemd's view of the unit.
    """
    return f"/var/lib/private/corral-{name}"


def is_hidden(path: str) -> bool:
    """Whether the server's unit hides what lies there, so that it is read only where it is named."""
    return path.startswith(("/home/", "/root/", "/var/"))


def unit(name: str) -> str:
    """The systemd unit of the server."""
    return f"corral-{name}.service"


def lock_timer(name: str) -> str:
    """The systemd unit that has the server's lock looked at while the server runs; the server needs it to run."""
    return f"corral-{name}.lock.timer"


def judge_unit(name: str) -> str:
    """The systemd unit of what judges the server while it runs."""
    return f"corral-{name}.judge.service"


def asked_file(name: str) -> str:
    """Where the judge writes how many tokens were its own, which are no request of anybody's."""
    return f"/run/corral-{name}.judge/asked"


def spot_unit(name: str) -> str:
    """The systemd unit that waits for EC2's notice on a spot box."""
    return f"corral-{name}.spot.service"


def prepare_unit(name: str) -> str:
    """The systemd unit that prepares a rented box at a later boot: after a stop its own disk is empty."""
    return f"corral-{name}.prepare.service"


def bring_unit(name: str) -> str:
    """The systemd unit that prepares the next release on a rented box, beside the one that serves."""
    return f"corral-{name}.bring.service"


def is_watched(setup: HostSetup) -> bool:
    """Whether the host ends its deployment by itself."""
    return bool(setup.ttl_minutes or setup.idle_minutes)


def guards(setup: HostSetup) -> tuple[str, ...]:
    """The units that run beside the server, from before the host is prepared."""
    watch = (f"corral-{setup.name}.watch.timer",) if is_watched(setup) else ()
    return (*watch, *((spot_unit(setup.name),) if setup.spot else ()))


def join_command(name: str, rank: int, addresses: tuple[str, ...]) -> tuple[str, ...]:
    """What starts one rank of an engine over the hosts with these addresses, now and at every boot; the first leads.

    Raises HostError for what is no address: it goes through shells.
    """
    for address in addresses:
        if not is_address(address):
            raise HostError(
                f"{address!r} is no address that a host can have.",
                "Nothing was started. Name each host by its IP address, --host ops@10.0.0.5, or give it one as "
                "HostName in ~/.ssh/config.",
            )
    return (f"{root(name)}/bin/join", str(rank), *addresses)


def is_address(text: str) -> bool:
    """Whether it is one IPv4 or IPv6 address and nothing else."""
    try:
        return "%" not in text and bool(ipaddress.ip_address(text))
    except ValueError:
        return False


def is_public(text: str) -> bool:
    """Whether it is an address of the open Internet: neither a private network's, nor a carrier's or an overlay's."""
    return is_address(text) and ipaddress.ip_address(text).is_global


def forget_ends(name: str) -> str:
    """What a shell runs so that a server which was given up is started again, and its ends are counted anew."""
    here = root(name)
    return f"rm -f {here}/gave-up {here}/ends {here}/first-cause /run/corral-{name}/ends"


def start_command(name: str) -> tuple[str, ...]:
    """What starts a server over one host, as root there, now and at every boot, whatever had given it up."""
    return ("sh", "-c", f"{forget_ends(name)}\n{START_SCRIPT}", "start", unit(name))


# Not waited for: it may wait for a GPU that is late.
START_SCRIPT = """\
systemctl reset-failed "$1" 2>/dev/null
systemctl enable "$1" && exec systemctl --no-block start "$1"
"""


def engine_mark(engine: Engine) -> str:
    """What the prepare script notes when an engine is in place; another engine has another mark."""
    return f"{engine.python} {engine.requirement} {engine.wheelhouse} {engine.archive}"


def is_closed(setup: HostSetup) -> bool:
    """Whether the server listens on loopback only, so that nobody outside is to get an answer of it."""
    return is_loopback(setup.host)


def is_loopback(host: str) -> bool:
    """Whether only the host itself can reach what listens there."""
    return host in ("127.0.0.1", "::1", "localhost")


def stop_s(shutdown_timeout_s: int) -> int:
    """How long a stop of the unit takes at most: systemd must wait longer than the server drains."""
    return shutdown_timeout_s + 30
