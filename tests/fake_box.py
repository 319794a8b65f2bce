"""A host in a folder: the files corral puts there, and strict stand-ins for the programs that root's scripts call.

The scripts are the real ones and run for real; only the absolute paths in them lead below the folder.
"""

import json
import re
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from box_tools import start

from infra import host, host_units

NAMES = (
    "apt-get",
    "aws",
    "ip",
    "mountpoint",
    "nft",
    "nsenter",
    "python3",
    "python3.11",
    "shutdown",
    "systemctl",
)
# What of a host's own paths the scripts name; not what follows a variable, and not /dev/null.
ABSOLUTE = re.compile(
    r"(?<![\w$}.])/(?=(?:opt|etc/systemd|etc/passwd|var/lib|var/log|run|proc)\b|dev/console)"
)

NASTY = """it's "quoted" $(touch /tmp/owned) `id` $HOME 100% \\n ünïcode"""


def setup(**changes: Any) -> host.HostSetup:
    """A rented box for Scout, with weights from the Hub."""
    given = {
        "name": "scout",
        "argv": ("serve", "/opt/corral/scout/model", "--served-model-name", NASTY),
        "environment": {"VLLM_NO_USAGE_STATS": "1", "ODD": NASTY},
        "engine": host.Engine(requirement="vllm==0.33.0"),
        "weights": "hf://meta-llama/Llama-4-Scout-17B-16E-Instruct@abc",
        "hf_token_parameter": "/corral/hf-token",
        "region": "us-east-1",
        "ttl_minutes": 480,
        "idle_minutes": 30,
        "rented": True,
        "served_model_name": NASTY,
        "load_budget_s": 1800,
        "gpus": 8,
    }
    return host.HostSetup.model_validate(given | changes)


def commands(unit: str) -> list[tuple[str, str, list[str]]]:
    """What a unit runs, in order: the directive, its prefixes (+ is as root, - may fail), the words."""
    found = re.findall(r"^(Exec\w+)=([-+]*)(.*)$", unit, re.MULTILINE)
    return [(directive, prefixes, words(line)) for directive, prefixes, line in found]


def words(line: str) -> list[str]:
    """A command line as systemd splits it: quotes, backslashes, %% and $$."""
    return [word.replace("%%", "%").replace("$$", "$") for word in shlex.split(line)]


class Box:
    """One host. `calls` are the stand-ins' own, in order; `fail` makes one of them fail."""

    def __init__(self, folder: Path, files: Sequence[host.HostFile]) -> None:
        self.folder = folder
        for file in files:
            self.put(file)
        for place in ("dev", "run", "proc", "tools", "s3", "var/lib/private", host_units.UNIT_FOLDER[1:]):
            (folder / place).mkdir(parents=True, exist_ok=True)
        for name in NAMES:
            self.tool(name)

    def put(self, file: host.HostFile) -> None:
        """Install a file, its paths leading here where it is run."""
        path = self.path(file.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        is_run = "/bin/" in file.path
        content = file.content.replace(">/dev/console", ">>/dev/console")  # a file would lose what it held
        path.write_text(self.as_here(content) if is_run else file.content)
        path.chmod(int(file.mode, 8))

    def tool(self, name: str, program: str = "box_tools") -> None:
        """Make one stand-in; a program of coreutils is the real one, until it is told to fail."""
        path = self.folder / "tools" / name
        path.write_text(f'#!/bin/sh\nexec {start(program)} {name} "$@"\n')
        path.chmod(0o755)

    def path(self, of_the_host: str) -> Path:
        """Where a path of the host is."""
        return self.folder / of_the_host.lstrip("/")

    def run(self, command: Sequence[str], stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
        """Run a command line of the host; its absolute paths lead below the folder too."""
        done = subprocess.run(
            [self.as_here(word) for word in command],
            input=stdin,
            env={"PATH": f"{self.folder}/tools:/usr/bin:/bin", "BOX": str(self.folder)},
            capture_output=True,
            check=False,
        )
        said = (done.stdout.decode(), done.stderr.decode())
        return subprocess.CompletedProcess(command, done.returncode, *said)

    def as_here(self, text: str) -> str:
        """A script or command line of the host, its absolute paths leading below the folder."""
        return ABSOLUTE.sub(f"{self.folder}/", f" {text}")[1:]

    def fail(self, *beginnings: str) -> None:
        """Let each call that begins with one of these words fail from now on."""
        (self.folder / "fails").write_text("".join(f"{beginning}\n" for beginning in beginnings))

    def knows(self, **properties: object) -> None:
        """Let systemd say this of the server's unit from now on."""
        (self.folder / "known").write_text(
            json.dumps({name: str(value) for name, value in properties.items()})
        )

    @property
    def calls(self) -> list[str]:
        """What the stand-ins were called with, in the host's own paths."""
        path = self.folder / "calls"
        lines = path.read_text().replace(str(self.folder), "").splitlines() if path.exists() else []
        return [line for line in lines if not line.startswith("systemctl show ")]  # a look changes nothing

    def forget(self) -> None:
        """Begin the list of calls anew."""
        (self.folder / "calls").unlink(missing_ok=True)

    @property
    def console(self) -> str:
        """What was said on the machine's console, which EC2 shows."""
        path = self.folder / "dev/console"
        return path.read_text() if path.exists() else ""
