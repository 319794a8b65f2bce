"""An engine as one stream: what a host without internet is given instead of an index."""

import errno
import os
import re
import signal
import stat
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import IO

from infra.archive import Kind, Member, wrong
from infra.argument import pasted
from infra.beneath import Beneath
from infra.errors import HostError, ServerError, UsageError
from infra.output import another, holds_something
from infra.record import Record
from serving.vllm.engine import Engine

# They hold the absolute paths of this machine; the host makes its own.
OF_EACH_MACHINE = {"bin", "pyvenv.cfg"}
KINDS: dict[int, Kind] = {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "link"}
# What bin/prepare looks for when all was read.
WHOLE = ".whole"
LEFT_HERE = {*OF_EACH_MACHINE, WHOLE, ".lock", "corral-engine.json", "excludes.txt"}
# GNU tar's exit code for an archive that is whole, of files that changed meanwhile.
FILES_DIFFER = 1
# More than tar writes at once.
ASKED_BYTES = 2**20


class Packed(Record):
    """A packed engine. The host's Python must be of the same minor version."""

    path: Path
    """The archive."""
    version: str
    """Of vLLM in it."""
    python: str
    """The minor version that the host needs."""
    gib: float
    """Of the archive."""


def prefix_of(vllm: Path) -> Path:
    """The environment a `vllm` executable belongs to. Raises ServerError when it is not in one."""
    prefix = vllm.parent.parent
    if not (prefix / "pyvenv.cfg").is_file():
        raise ServerError(
            f"{vllm} is not in a virtual environment, so it cannot be packed.",
            "Name one that is: CORRAL_VLLM=/path/to/venv/bin/vllm",
        )
    return prefix


def python_of(prefix: Path) -> str:
    """The Python version an environment is for, as in 3.11. Raises ServerError when it says none."""
    minors = [
        int(path.name.removeprefix("python3."))
        for path in prefix.glob("lib/python3.*")
        if re.fullmatch("python3\\.[0-9]{1,2}", path.name, re.ASCII)
    ]
    if not minors:
        raise ServerError(
            f"{prefix} holds no Python packages.", "Install the engine again: corral engine install"
        )
    return f"3.{max(minors)}"


def pack_file(engine: Engine, path: Path) -> Packed:
    """Pack an engine into a file, which is there whole or not at all.

    Raises HostError when the disk refuses, UsageError while another pack writes that file, or where one of another
    kind lies there.
    """
    if holds_something(path) and not tarfile.is_tarfile(path):
        raise another(path, "packed engine")
    prefix = prefix_of(engine.vllm)
    half = f".{path.name}.half"
    try:
        with Beneath(path.parent) as below, below.new(half) as made:
            try:
                # tar writes to it meanwhile, so it is read by no other buffer.
                with open(os.dup(made.fileno()), "wb") as file, told_by_the_disk(file):
                    pack(prefix, file)
                below.rename(half, path.name)
            except BaseException:
                below.remove(half)
                raise
    except BlockingIOError:
        raise UsageError(
            f"Another corral engine pack writes {path}.", "Let it end, or name another file."
        ) from None
    except OSError as error:
        raise HostError(f"{path} cannot be written: {error.strerror}.", "Check the folder: df -h") from None
    gib = path.stat().st_size / 2**30
    return Packed(path=path, version=engine.version, python=python_of(prefix), gib=gib)


@contextmanager
def told_by_the_disk(file: IO[bytes]) -> Iterator[None]:
    """Where tar failed: it says in words alone whether to read or to write. Raises OSError where nothing is taken."""
    try:
        yield
    except ServerError:
        file.write(bytes(ASKED_BYTES))
        file.flush()
        os.fsync(file.fileno())
        raise


def pack(prefix: Path, into: IO[bytes]) -> None:
    """Write an engine's packages as a tar; the host unpacks it over a fresh environment of its own Python.

    `into` is a real file or pipe. Raises BrokenPipeError when its reader left, ServerError when tar did not end well,
    or the engine cannot be looked at.
    """
    try:
        names = sorted(entry.name for entry in prefix.iterdir() if is_packed(entry))
    except OSError as error:
        raise not_packed(prefix, str(error.strerror)) from None
    # The program, not Python's module: an engine has 55,000 files, 2.5 s against 16 s.
    # Whatever the umask it was installed under: a host's server is another user, and only root writes there.
    command = ["tar", "--create", "--mode=u+rwX,go=rX", "--file=-", "--directory", str(prefix), "--", *names]
    environ = os.environ | {"LC_ALL": "C"}
    try:
        done = subprocess.run(
            command,
            stdout=into,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            check=False,
            env=environ,
        )
    except OSError as error:
        raise not_packed(prefix, f"tar cannot be started: {error.strerror}") from None
    if done.returncode == -signal.SIGPIPE:
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
    # uv hard-links an engine's files from its cache: another install changes their link count, not their bytes.
    said = done.stderr.splitlines()
    real = [line for line in said if "file changed as we read it" not in line]
    if done.returncode and not (done.returncode == FILES_DIFFER and said and not real):
        why = real[0] if real else f"tar ended with {done.returncode}"
        raise not_packed(prefix, why)
    into.write(last_word())


def not_packed(prefix: Path, why: str) -> ServerError:
    """The engine cannot be read."""
    return ServerError(
        f"The engine at {prefix} cannot be packed: {why}.", f"Look at it: ls -l {pasted(prefix)}"
    )


def check_members(prefix: Path) -> None:
    """Raise UsageError for an engine whose tar nobody would unpack; its names are looked at, and nothing is written.

    Raises ServerError for one that cannot be looked at.
    """
    needed = f"lib/python{python_of(prefix)}/site-packages/vllm/__init__.py"
    try:
        for why in wrong(members_of(prefix), OF_EACH_MACHINE, [needed]):
            raise UsageError(
                f"The engine at {prefix} cannot be packed: {why}.",
                "Name an environment with nothing but vLLM: python3 -m venv vllm-env && vllm-env/bin/pip install vllm",
            )
    except OSError as error:
        raise not_packed(prefix, f"{error.filename}: {error.strerror}") from None


def members_of(prefix: Path) -> Iterator[Member]:
    """The members of an engine's tar, as `pack` will write them."""
    first: dict[tuple[int, int], str] = {}
    for path in paths_of(prefix):
        status, name = path.lstat(), path.relative_to(prefix).as_posix()
        kind = KINDS.get(stat.S_IFMT(status.st_mode), "special")
        target = os.readlink(path) if kind == "link" else ""
        if kind != "folder" and status.st_nlink > 1 and status[1:3] in first:
            kind, target = "hard link", first[status[1:3]]
        first.setdefault(status[1:3], name)
        if not stat.S_ISSOCK(status.st_mode):  # which tar leaves out
            yield Member(f"{name}/" if kind == "folder" else name, kind, status.st_mode, 0, 0, target)


def paths_of(prefix: Path) -> Iterator[Path]:
    """Everything that is packed, a folder before what is in it. Raises OSError for one that cannot be looked into."""
    for top in sorted(entry for entry in prefix.iterdir() if is_packed(entry)):
        yield top
        if not top.is_symlink():
            for folder, folders, files in os.walk(top, onerror=raised):
                yield from (Path(folder, name) for name in sorted((*folders, *files)))


def raised(error: OSError) -> None:
    """Raise it."""
    raise error


def is_packed(entry: Path) -> bool:
    """Whether it is of the packages: an environment may lie in a project's own folder, among its files and secrets."""
    return entry.is_dir() and entry.name not in LEFT_HERE and not entry.name.startswith((".", "-"))


def last_word() -> bytes:
    """A second archive after the first, with an empty file: a tar that was cut between two members looks whole."""
    written = BytesIO()
    with tarfile.open(fileobj=written, mode="w") as tar:
        tar.addfile(tarfile.TarInfo(WHOLE))
    return written.getvalue()
