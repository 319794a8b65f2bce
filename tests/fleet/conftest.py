"""Real hosts for the fleet tests: a Debian tree booted by systemd-nspawn in a network namespace of its own.

A host has systemd as PID 1, an sshd, an address, and no way to anything but this machine. The tree is made once and
kept in $XDG_CACHE_HOME/corral-tests. A host lives in folders, control groups and an interface that are named after
it; its processes die with pytest, however that ends, and what a killed run left on the disk is removed by the next.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any, NoReturn

import pytest
from lanes import lane_of, port_of

from deploy.cli.main import run
from infra.ssh import Host
from serving.model import tiny
from serving.vllm.pack import prefix_of, python_of

PACKAGES = (
    *("systemd", "systemd-sysv", "dbus", "openssh-server", "iproute2", "python3", "python3-venv"),
    *("ca-certificates", "procps", "curl", "locales", "sudo", "libnuma1", "g++", "python3-dev", "nftables"),
)
SUITE, PYTHON = "bookworm", "3.11"

DATA = Path(__file__).parents[1] / "data"

NETWORK_UNIT = """\
[Unit]
Description=The address of this test host
Before=ssh.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/sbin/ip address replace {address}/24 dev host0
ExecStart=/usr/sbin/ip link set host0 up

[Install]
WantedBy=multi-user.target
"""

# The hosts of a test share a bridge, which nspawn makes for the first and removes with the last.
ZONE = f"ct{os.getpid()}"

MEMORY = Path("/dev/shm/corral-tests")

CGROUPS = ("/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd")

# Each host needs control groups of its own, or two of them would share systemd's.
IN_ITS_CGROUP = (
    f"for hierarchy in {' '.join(CGROUPS)}; do"
    """
    if [ -w "$hierarchy/cgroup.procs" ]; then
        mkdir -p "$hierarchy/$0" && echo $$ >"$hierarchy/$0/cgroup.procs"
    fi
done
exec "$@"
"""
)


FULL = "/run/full"
# Laid over a folder.
FILL = """\
set -eu
mkdir -p "$2" && mount -t tmpfs -o size=64k full "$2" && mkdir "$2/above" "$2/work"
mount -t overlay -o "lowerdir=$1,upperdir=$2/above,workdir=$2/work" full "$1"
! cat /dev/zero >"$2/above/all-of-it" 2>/dev/null
! echo x 2>/dev/null >"$1/more"
"""


PATIENCE_WITH_NSPAWN = 600
"""How often it is looked for, twenty times a second at most, before it is killed too."""


UNREACHED = 255
"""What ssh ends with when there is no connection."""


class Unreached(AssertionError):
    """A host let nobody in: while it boots cloud-init starts sshd anew, to have no passwords."""


class Machine:
    """One test host. `power_on` and `power_off` as often as you like; the disk stays."""

    def __init__(self, name: str, number: int, lane: int, folder: Path, ssh_folder: Path) -> None:
        self.name = name
        self.folder = folder
        self.tree = folder / "tree"
        self.address = f"10.99.{lane}.{number + 1}"
        self.ours = f"10.99.{lane}.1"
        self.ssh_folder = ssh_folder
        self.binds: list[str] = []
        self.process: subprocess.Popen[bytes] | None = None

    def begin_sooner(self, known: Path | None = None, forked: bool = False) -> None:
        """Before a boot: no server compiles parts of torch there, which takes a minute; test_bad_day's first does.

        What is `known` (conftest's engine_cache) none finds out by a process that imports all. Where its processes are
        forked, all but the first import nothing, which halves the rest (data/forking.py).
        """
        units, site = self.tree / "etc/systemd/system/service.d", self.tree / "usr/local/lib/forking"
        units.mkdir()
        lines = ["[Service]", "Environment=TORCH_COMPILE_DISABLE=1"]
        if known:
            there = self.tree / "usr/local/share/vllm"
            shutil.copytree(known / "vllm" / "modelinfos", there / "modelinfos")
            for path in (there / "modelinfos").iterdir():
                path.chmod(0o644)
            (there / "environment").write_text("VLLM_CACHE_ROOT=/usr/local/share/vllm\n")
            lines.append("EnvironmentFile=/usr/local/share/vllm/environment")  # read after the server's own
        if forked:
            site.mkdir()
            (site / "sitecustomize.py").write_text((DATA / "forking.py").read_text())
            # Threads that wait for one another take all of a core, where vLLM does not bind them.
            lines += ["Environment=PYTHONPATH=/usr/local/lib/forking", "Environment=OMP_NUM_THREADS=1"]
        (units / "sooner.conf").write_text("".join(f"{line}\n" for line in lines))

    def power_on(self) -> None:
        """Boot, and return when sshd greets."""
        command = [
            "systemd-nspawn",
            "--quiet",
            f"--directory={self.tree}",
            "--boot",
            f"--machine={self.name}",
        ]
        command += [f"--network-zone={ZONE}", "--register=no", "--keep-unit", *self.binds]
        # Else nspawn refuses systemd the call it filters addresses with, and IPAddressDeny= has no effect; and the
        # server those of Landlock.
        command += ["--system-call-filter=bpf landlock_create_ruleset landlock_restrict_self"]
        # The host shuts down with pytest, even with one that is killed.
        command = ["sh", "-c", IN_ITS_CGROUP, self.name, "setpriv", "--pdeathsig", "TERM", *command]
        with (self.folder / "console").open("ab") as console:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=console, stderr=console, start_new_session=True
            )
        self._wait(self._connected, "an interface")
        self._wait(self._greets, "a greeting of its sshd")

    def power_off(self) -> None:
        """Pull the plug."""
        kill(self.name)
        if self.process:
            self.process.wait()
            self.process = None

    def wait_until_it_ends_itself(self) -> None:
        """Return when the host has shut itself down."""
        assert self.process
        self.process.wait()

    def power_cycle(self) -> None:
        """Lose power, and boot again."""
        self.power_off()
        self.power_on()

    def remove(self) -> None:
        """Leave nothing: no process, control group, interface or file."""
        self.power_off()
        remove_groups(self.name)
        remove(self.folder)

    def ssh(self, script: str) -> str:
        """Run a script there, past everything of ours, for what a test wants to see with its own eyes."""
        config = self.ssh_folder / "config"
        command = ["ssh", "-F", str(config), self.name, script]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        failure = Unreached if done.returncode == UNREACHED else AssertionError
        if done.returncode:
            raise failure(f"{command} ended with {done.returncode}: {done.stderr}\n{self.console()}")
        return done.stdout

    def fill(self, folder: str) -> None:
        """Its disk has no byte left for that folder: what is there can be read, and nothing more is taken."""
        self.ssh(f"set -- {folder} {FULL}{folder}\n{FILL}")

    def give_room(self, folder: str) -> None:
        """The same folder takes something again."""
        self.ssh(f"umount --lazy {folder} && umount --lazy {FULL}{folder}")

    def console(self) -> str:
        """The end of what it said on its console."""
        return (self.folder / "console").read_text(errors="replace")[-2000:]

    def _connected(self) -> bool:
        if not Path(f"/sys/class/net/vz-{ZONE}").exists():
            return False
        subprocess.run(["ip", "address", "replace", f"{self.ours}/24", "dev", f"vz-{ZONE}"], check=True)
        subprocess.run(["ip", "link", "set", f"vz-{ZONE}", "up"], check=True)
        return True

    def _greets(self) -> bool:
        try:
            with socket.create_connection((self.address, 22), timeout=1) as connection:
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False

    def _wait(self, seen: Callable[[], bool], what: str) -> None:
        with told(f"{self.name}: waited for {what}; its console says:\n", self.console):
            while not seen():
                assert self.process is None or self.process.poll() is None, "the host has ended"
                time.sleep(0.05)


@contextmanager
def told(words: str, look: Callable[[], str]) -> Iterator[None]:
    """Add what can be seen to a failure; a wait that never ends is one by the test's own time limit."""
    try:
        yield
    except BaseException as failure:
        try:
            seen = look()
        except Exception as blind:
            seen = str(blind)
        failure.add_note(f"{words}{seen}")
        raise


def kill(name: str) -> None:
    """End every process of a host. nspawn comes last, and by itself: killed first, it would leave the host running."""
    for tries in count():
        found, inside = processes(name), processes(f"{name}/payload")
        if not found:
            return
        for number in inside or (found if tries > PATIENCE_WITH_NSPAWN else []):
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        time.sleep(0.05)


def processes(name: str) -> list[int]:
    """The living processes in a host's control groups."""
    return [int(path.name) for path in Path("/proc").glob("[0-9]*") if _lives_in(path, f"/{name}/")]


def _lives_in(process: Path, group: str) -> bool:
    try:
        groups = (process / "cgroup").read_text().splitlines()
        state = (process / "stat").read_text().rpartition(") ")[2][0]
    except OSError:
        return False
    return state != "Z" and any(group in f"{line}/" for line in groups)


def remove_groups(name: str) -> None:
    """Remove a host's control groups, the innermost first."""
    for base in CGROUPS:
        for group, _, _ in os.walk(f"{base}/{name}", topdown=False):
            os.rmdir(group)


@pytest.fixture(scope="session")
def cache() -> Path:
    """Where the tree is kept between runs."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "corral-tests"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def tree(cache: Path, need: Callable[[str, str], NoReturn]) -> Path:
    """The plain Debian tree, made by debootstrap once; cloud-init is in it, and does nothing without a seed."""
    if os.geteuid():
        need("fleet", "only root can boot hosts")
    for program in ("systemd-nspawn", "debootstrap", "setpriv", "ip", "ssh", "ssh-keygen"):
        if not shutil.which(program):
            need("fleet", f"{program} is missing: scripts/ci-packages")
    if subprocess.run(["unshare", "--net", "--pid", "--fork", "true"], check=False).returncode:
        need("fleet", "this machine has no namespaces for us")
    mark = hashlib.sha256(" ".join([SUITE, *PACKAGES]).encode()).hexdigest()[:12]
    kept = cache / f"{SUITE}-{mark}"
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            _make_tree(kept, need)
    return kept


def _make_tree(kept: Path, need: Callable[[str, str], NoReturn]) -> None:
    half = kept.with_suffix(".half")
    if half.exists():
        shutil.rmtree(half)
    include = ",".join(PACKAGES)
    command = ["debootstrap", "--variant=minbase", f"--include={include}", SUITE, str(half), mirror(need)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    # Not by debootstrap, whose simple resolver trips over its dependencies.
    install = "apt-get update -qq && apt-get install -qqy --no-install-recommends cloud-init && apt-get clean"
    if not done.returncode:
        environ = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        command = ["chroot", str(half), "sh", "-c", install]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environ)
    if done.returncode:
        need("fleet", f"no Debian tree could be made: {(done.stdout + done.stderr)[-500:]}")
    for key in half.glob("etc/ssh/ssh_host_*"):
        key.unlink()
    half.rename(kept)


def mirror(need: Callable[[str, str], NoReturn]) -> str:
    """The first Debian mirror this machine itself uses."""
    apt = Path("/etc/apt")
    text = "\n".join(
        path.read_text()
        for path in [*apt.glob("sources.list"), *sorted(apt.glob("sources.list.d/*"))]
        if path.suffix in (".list", ".sources")
    )
    found = re.search(r"^(?:URIs:|deb\s+(?:\[[^]]*\]\s+)?)\s*(\S+)", text, re.MULTILINE)
    if not found or SUITE not in text:
        need("fleet", f"this machine's apt sources name no mirror of Debian {SUITE}")
    return found[1]


@pytest.fixture(scope="module")
def lane(request: pytest.FixtureRequest) -> int:
    """Which of the networks the hosts of a file share."""
    return lane_of(request.path)


@pytest.fixture(scope="module")
def machines_folder(cache: Path, lane: int) -> Iterator[Path]:
    """The trees of a file's hosts; those of runs that were killed are removed."""
    places = [base / str(lane) for base in (cache / "machines", MEMORY)]
    with (cache / f"running-{lane}").open("w") as lock:
        # One file at a time on one machine: two would want the same addresses.
        fcntl.flock(lock, fcntl.LOCK_EX)
        for place in places:
            for old in place.glob("*/*"):
                kill(f"ct{old.parent.name}-{old.name}")
                remove_groups(f"ct{old.parent.name}-{old.name}")
                subprocess.run(
                    ["ip", "link", "delete", f"vz-ct{old.parent.name}"], capture_output=True, check=False
                )
            remove(place)
        folder = places[memory_suffices()] / str(os.getpid())
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            remove(folder.parent)


def memory_suffices() -> bool:
    """Whether the trees, with an engine unpacked in them, may live in memory: on a disk they take minutes."""
    free = os.statvfs(MEMORY.parent)
    available = re.search(r"MemAvailable: *(\d+)", Path("/proc/meminfo").read_text())
    return (
        free.f_bavail * free.f_frsize > 10 * 2**30
        and available is not None
        and int(available[1]) > 16 * 2**20
    )


def remove(folder: Path) -> None:
    """Remove a folder; Python's own way takes ten times as long."""
    subprocess.run(["rm", "--recursive", "--force", "--one-file-system", str(folder)], check=True)


@pytest.fixture(scope="session", autouse=True)
def ended_politely() -> Iterator[None]:
    """SIGTERM ends pytest like Ctrl-C, so that fixtures clean up."""

    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def ssh_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A key of ours, and the client's configuration that names the hosts of this test."""
    folder = tmp_path / "ssh"
    folder.mkdir()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "key")], check=True)
    (folder / "known_hosts").touch()
    (folder / "config").touch(mode=0o600)
    monkeypatch.setenv("CORRAL_SSH_CONFIG", str(folder / "config"))
    yield folder
    for line in (folder / "config").read_text().splitlines():
        if line.startswith("Host "):
            Host(line.removeprefix("Host ")).close()


@pytest.fixture
def new_machine(
    tree: Path, lane: int, machines_folder: Path, ssh_folder: Path
) -> Iterator[Callable[..., Machine]]:
    """Make a host (not yet booted); whatever happens, it is gone after the test."""
    made: list[Machine] = []

    def make(**options: Callable[[Machine], None]) -> Machine:
        number = len(made) + 1
        machine = Machine(f"{ZONE}-{number}", number, lane, machines_folder / str(number), ssh_folder)
        made.append(machine)
        machine.folder.mkdir()
        subprocess.run(["cp", "--archive", "--reflink=auto", str(tree), str(machine.tree)], check=True)
        _acquaint(machine)
        return machine

    try:
        yield make
    finally:
        for machine in made:
            machine.remove()


def _acquaint(machine: Machine) -> None:
    """Give the tree its address and host key, let our key in, and know the host by its key."""
    etc = machine.tree / "etc"
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(etc / "ssh/ssh_host_ed25519_key")],
        check=True,
    )
    unit = etc / "systemd/system/test-network.service"
    unit.write_text(NETWORK_UNIT.format(address=machine.address))
    (etc / "systemd/system/multi-user.target.wants/test-network.service").symlink_to(
        unit.relative_to(machine.tree)
    )
    (etc / "hostname").write_text(f"{machine.name}\n")
    keys = machine.tree / "root/.ssh"
    keys.mkdir(mode=0o700, exist_ok=True)
    (keys / "authorized_keys").write_text((machine.ssh_folder / "key.pub").read_text())
    public = (etc / "ssh/ssh_host_ed25519_key.pub").read_text().rsplit(" ", 1)[0]
    with (machine.ssh_folder / "known_hosts").open("a") as known:
        known.write(f"{machine.address} {public}\n")
    with (machine.ssh_folder / "config").open("a") as config:
        config.write(
            f"Host {machine.name}\n  HostName {machine.address}\n  User root\n"
            f"  IdentityFile {machine.ssh_folder}/key\n  IdentitiesOnly yes\n"
            f"  UserKnownHostsFile {machine.ssh_folder}/known_hosts\n"
            "  Ciphers aes128-gcm@openssh.com\n"  # what sends an engine computes a third as long
        )


@pytest.fixture(scope="session")
def prefix(engine: Path, need: Callable[[str, str], NoReturn]) -> Path:
    """The environment of the real engine, to be brought to hosts whose Python is Debian's."""
    found = prefix_of(engine)
    if python_of(found) != PYTHON:
        need("fleet", f"the engine here is for Python {python_of(found)}, and Debian {SUITE} has {PYTHON}")
    return found


# Every character that a shell, systemd or a log could take for its own.
SERVED_NAME = "it's $(hostname) 100% ünï"


@pytest.fixture
def plan(tmp_path: Path, lane: int, capsys: pytest.CaptureFixture[str]) -> Path:
    """A plan for the CPU engine, of a tiny model in a folder whose name is full of traps."""
    folder = tiny.make(tmp_path / "a 'tiny' $(model) ü")
    assert run(["size", str(folder), "--on", "local", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    document["serve"] |= {
        "served_model_name": SERVED_NAME,
        "port": port_of(lane),
        "kv_cache_memory_bytes": 64 * 2**20,
        "max_num_seqs": 4,
        "enforce_eager": True,
    }
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(document))
    return path


@pytest.fixture
def corral(capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Run a command that must succeed; give what it printed as JSON."""

    def call(*arguments: str) -> Any:
        code = run([*arguments, "--json"])
        said = capsys.readouterr()
        assert code == 0, said.err
        return json.loads(said.out)

    return call


@pytest.fixture(scope="session")
def wait() -> Callable[[Callable[[], bool], Callable[[], str]], None]:
    """Wait until something is so; where it never is, the failure holds what `look` shows.

    A look that logs in to a host, or runs a command of corral's, computes, and what is waited for does too.
    """

    def until(so: Callable[[], bool], look: Callable[[], str]) -> None:
        with told("seen last: ", look):
            while (looked_s := reached_in_s(so)) is not None:
                time.sleep(min(max(0.5, 4 * looked_s), 1.5))

    def reached_in_s(so: Callable[[], bool]) -> float | None:
        """How long it took to see that it is not so; None where it is."""
        began_s = time.monotonic()
        return None if reached(so) else time.monotonic() - began_s

    def reached(so: Callable[[], bool]) -> bool:
        with suppress(Unreached):
            return so()
        return False

    return until
