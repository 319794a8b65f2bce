"""A host in a folder: the files corral puts there, and strict stand-ins for the programs that root's scripts call.

The scripts are the real ones and run for real; only the absolute paths in them lead below the folder.
"""

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from infra import host

STAND_INS = Path(__file__).with_name("data") / "box_tools.py"
NAMES = ("apt-get", "aws", "ip", "mountpoint", "nft", "python3", "shutdown", "systemctl")
# What of a host's own paths the scripts name; not what follows a variable, and not /dev/null.
ABSOLUTE = re.compile(r"(?<![\w$}.])/(?=(?:opt|etc/systemd|var/lib|run|proc)\b|dev/console)")


class Box:
    """One host. `calls` are the stand-ins' own, in order; `fail` makes one of them fail."""

    def __init__(self, folder: Path, files: Sequence[host.HostFile]) -> None:
        self.folder = folder
        for file in files:
            self.put(file)
        for place in ("dev", "run", "proc", "tools", "s3", "var/lib/private", host.UNIT_FOLDER[1:]):
            (folder / place).mkdir(parents=True, exist_ok=True)
        for name in NAMES:
            self.tool(name)

    def put(self, file: host.HostFile) -> None:
        """Install a file, its paths leading here where it is run."""
        path = self.path(file.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        is_run = "/bin/" in file.path
        content = file.content.replace(">/dev/console", ">>/dev/console")  # a file would lose what it held
        path.write_text(ABSOLUTE.sub(f"{self.folder}/", content) if is_run else file.content)
        path.chmod(int(file.mode, 8))

    def tool(self, name: str) -> None:
        """Make one stand-in; a program of coreutils is the real one, until it is told to fail."""
        path = self.folder / "tools" / name
        path.write_text(f'#!/bin/sh\nexec {sys.executable} -IS {STAND_INS} {name} "$@"\n')
        path.chmod(0o755)

    def path(self, of_the_host: str) -> Path:
        """Where a path of the host is."""
        return self.folder / of_the_host.lstrip("/")

    def run(self, command: Sequence[str], stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
        """Run a command line of the host; its absolute paths lead below the folder too."""
        done = subprocess.run(
            [ABSOLUTE.sub(f"{self.folder}/", f" {word}")[1:] for word in command],
            input=stdin,
            env={"PATH": f"{self.folder}/tools:/usr/bin:/bin", "BOX": str(self.folder)},
            capture_output=True,
            timeout=60,
            check=False,
        )
        said = (done.stdout.decode(), done.stderr.decode())
        return subprocess.CompletedProcess(command, done.returncode, *said)

    def fail(self, *beginnings: str) -> None:
        """Let each call that begins with one of these words fail from now on."""
        (self.folder / "fails").write_text("".join(f"{beginning}\n" for beginning in beginnings))

    @property
    def calls(self) -> list[str]:
        """What the stand-ins were called with, in the host's own paths."""
        path = self.folder / "calls"
        return path.read_text().replace(str(self.folder), "").splitlines() if path.exists() else []

    def forget(self) -> None:
        """Begin the list of calls anew."""
        (self.folder / "calls").unlink(missing_ok=True)

    @property
    def console(self) -> str:
        """What was said on the machine's console, which EC2 shows."""
        path = self.folder / "dev/console"
        return path.read_text() if path.exists() else ""
