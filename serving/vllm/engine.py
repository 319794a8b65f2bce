"""The engine: finding a `vllm` to start, and installing vLLM's CPU build where there is none.

corral never imports vLLM: the engine lives in an environment of its own and is started as a process.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal

from infra import locks
from infra.data import shipped_table
from infra.errors import HostError, ServerError
from infra.fetch.authorities import bundle
from infra.home import make_folder, others_can_change
from infra.offline import is_offline
from infra.record import Record, write_text_atomically
from serving.vllm import cpu_engine_fixes
from serving.vllm.serve_options import folders

WITHOUT_AN_ENGINE = (
    "Point CORRAL_VLLM at a vllm executable, or use any OpenAI-compatible endpoint instead: "
    "corral probe http://127.0.0.1:8000"
)
# uv does not read pip's settings; where the machine has them, they hold for uv too.
PIP_SETTINGS = {
    "PIP_FIND_LINKS": "UV_FIND_LINKS",
    "PIP_INDEX_URL": "UV_DEFAULT_INDEX",
    "PIP_EXTRA_INDEX_URL": "UV_INDEX",
    "PIP_CERT": "SSL_CERT_FILE",
}
STAMP = "corral-engine.json"
"""The file an install writes last: without it a folder is half an install."""

# What decides which code an environment runs.
ENVIRONMENT = (
    "pyvenv.cfg", "bin/python", "lib/python3*/site-packages", "lib/python3*/site-packages/vllm",
    "lib/python3*/site-packages/vllm/__init__.py",
)  # fmt: skip
UV_MILESTONES = ("Resolved", "Downloading", "Downloaded", "Prepared", "Installed", "Bytecode compiled")


class Engine(Record):
    """A `vllm` executable, the version its metadata gives, and where it was found."""

    vllm: Path
    """The executable."""
    version: str
    """As its metadata says; `unknown` where they do not."""
    origin: Literal["CORRAL_VLLM", "from a bundle", "installed by corral", "PATH", "of its release"]
    """Who put it there, or how it was found."""

    @property
    def is_cpu(self) -> bool:
        """Whether this is a CPU build, which takes nearly all memory for KV unless told a size."""
        return self.version.endswith("+cpu")


class Recipe(Record):
    """What is installed as the CPU engine, from engine.toml."""

    version: str
    requirement: str
    disk_gib: float
    excludes: tuple[str, ...]


class NoEngine(ServerError):
    """There is none."""


def find(home: Path, environ: Mapping[str, str]) -> Engine:
    """Find the engine to start: $CORRAL_VLLM, else a bundle's, else the one corral installed, else `vllm` on PATH.

    Raises NoEngine when there is none, ServerError when somebody else can have written it.
    """
    engine = first(home, environ)
    require_ours(engine.vllm, home)
    return engine


def require_ours(vllm: Path, home: Path) -> None:
    """Raise ServerError where somebody but this user and root can have written what is run of an engine."""
    for path, top in run_of(vllm):
        in_home = top.resolve().is_relative_to(home.resolve())
        try:
            why = others_can_change(path, home if in_home else top)
        except OSError as error:
            why = f"{path} cannot be looked at: {error.strerror}"
        if why:
            raise ServerError(
                f"The vLLM at {vllm} is not run: {why}.",
                "Once you know that nobody changed it, make it yours (chown) and yours alone to write (chmod go-w).",
            )


def run_of(vllm: Path) -> Iterator[tuple[Path, Path]]:
    """What decides which code is run, each with the folder up to which it is an engine's; a link's target counts."""
    yield vllm, vllm.parent
    for prefix in dict.fromkeys((vllm.parent.parent, vllm.resolve().parent.parent)):
        if (prefix / "pyvenv.cfg").is_file():
            yield vllm, prefix
            yield from ((path, prefix) for pattern in ENVIRONMENT for path in sorted(prefix.glob(pattern)))


def first(home: Path, environ: Mapping[str, str]) -> Engine:
    """The first of these that there is."""
    named = environ.get("CORRAL_VLLM")
    if named:
        path = Path(named)
        if not os.access(path, os.X_OK) or path.is_dir():
            raise ServerError(
                f"CORRAL_VLLM names {path}, which is not an executable file.", "Correct or unset it."
            )
        return Engine(vllm=path, version=version_of(path), origin="CORRAL_VLLM")
    carried = bundled(home) / "bin" / "vllm"
    if carried.is_file():
        return Engine(vllm=carried, version=version_of(carried), origin="from a bundle")
    if is_installed(home):
        return Engine(
            vllm=executable(home), version=version_of(executable(home)), origin="installed by corral"
        )
    on_path = shutil.which("vllm", path=environ.get("PATH"))
    if on_path:
        return Engine(vllm=Path(on_path), version=version_of(Path(on_path)), origin="PATH")
    raise NoEngine(
        "There is no vLLM on this machine.", f"Install one: corral engine install. {WITHOUT_AN_ENGINE}"
    )


def version_of(vllm: Path) -> str:
    """Read a vLLM's version from the metadata beside its executable; "unknown" where there is none."""
    for root in (vllm.parent.parent, vllm.resolve().parent.parent):
        for metadata in sorted(root.glob("lib/python3*/*-packages/vllm-*.dist-info")):
            return metadata.name.removeprefix("vllm-").removesuffix(".dist-info")
    return "unknown"


def figures() -> dict[str, Any]:
    """What engine.toml holds."""
    return shipped_table("serving.vllm", "engine.toml")


def recipe() -> Recipe:
    """Read what to install from engine.toml."""
    cpu = figures()["cpu"]
    return Recipe(**{name: cpu[name] for name in Recipe.model_fields})


def folder(home: Path) -> Path:
    """Where corral's own engine of this recipe lives."""
    return home / "engine" / recipe().version


def bundled(home: Path) -> Path:
    """The environment of the air-gap bundle that was installed last: a link to where it is."""
    return home / "engine" / "bundled"


def executable(home: Path) -> Path:
    """The `vllm` of corral's own engine."""
    return folder(home) / "bin" / "vllm"


def stamp(home: Path) -> Path:
    """The file an install writes last: without it the folder is half an install and is made again."""
    return folder(home) / STAMP


def is_installed(home: Path) -> bool:
    """Whether corral's own engine is there, whole, and of today's recipe."""
    path = stamp(home)
    return path.is_file() and path.read_text(encoding="utf-8") == recipe().model_dump_json()


def install(home: Path, progress: Callable[[str], None]) -> Engine:
    """Install the CPU engine into `home`; returns at once when it is there. A half install is made again.

    Raises HostError for a lack of disk, ServerError when the packages cannot be had or do not run.
    """
    with lock(home, progress):
        if not is_installed(home):
            check_disk(home)
            check_home(home)
            progress(
                f"engine: installing {recipe().requirement} into {folder(home)} (half a minute from a warm cache)"
            )
            make(home, progress)
            progress("engine: installed")
    return Engine(vllm=executable(home), version=version_of(executable(home)), origin="installed by corral")


def version_folder(home: Path, version: str) -> Path:
    """Where corral puts vLLM as its maker builds it for GPUs, of one version."""
    return home / "engine" / f"{version}-gpu"


def install_version(place: Path, version: str, disk_gib: float, progress: Callable[[str], None]) -> None:
    """Install that version for GPUs into a folder beside other engines; one that is there whole is left alone.

    Raises HostError for a lack of disk, ServerError when the packages cannot be had.
    """
    home = place.parent.parent
    with lock(home, progress):
        if (place / STAMP).is_file():
            return
        check_disk(home, disk_gib)
        check_home(home)
        progress(f"engine: installing vllm=={version} into {place}")
        shutil.rmtree(place, ignore_errors=True)
        python = ("--python", str(place / "bin" / "python"))
        for arguments in (
            ("venv", "--quiet", "--no-project", "--python", sys.executable, str(place)),
            (
                "pip",
                "install",
                "--no-config",
                "--no-progress",
                "--compile-bytecode",
                *python,
                f"vllm=={version}",
            ),
        ):
            if complaint := run_uv(arguments, progress):
                raise ServerError(f"vLLM {version} cannot be installed here: {complaint}", WITHOUT_AN_ENGINE)
        write_text_atomically(place / STAMP, f'{{"version": "{version}"}}')


def make(home: Path, progress: Callable[[str], None]) -> None:
    """Make the engine's folder: packages, fix-ups, a first run, and last the stamp."""
    shutil.rmtree(folder(home), ignore_errors=True)
    install_packages(home, progress)
    (site_packages,) = folder(home).glob("lib/python3*/site-packages")
    cpu_engine_fixes.apply(site_packages, recipe().version)
    progress("engine: asking it for its version (its first start takes ten seconds)")
    first_run(home)
    write_text_atomically(stamp(home), recipe().model_dump_json())


def install_packages(home: Path, progress: Callable[[str], None]) -> None:
    """Run uv until one way of getting a CPU build of torch works. Raises ServerError when none does."""
    run_uv(("venv", "--quiet", "--no-project", "--python", sys.executable, str(folder(home))), progress)
    complaint = ""
    for arguments in attempts(home, os.environ):
        complaint = run_uv(arguments, progress)
        if not complaint:
            return
        progress(f"engine: that way did not work: {complaint}")
    raise ServerError(f"The CPU engine cannot be installed here: {complaint}", WITHOUT_AN_ENGINE)


def attempts(home: Path, environ: Mapping[str, str]) -> tuple[tuple[str, ...], ...]:
    """The uv commands to try in turn: this machine's own wheels first, then PyTorch's CPU index."""
    install_them = (
        "pip", "install", "--no-config", "--no-progress", "--compile-bytecode",
        "--python", str(folder(home) / "bin" / "python"), "--excludes", str(excludes_file(home)),
        recipe().requirement,
    )  # fmt: skip
    from_pytorch = (*install_them, "--torch-backend", "cpu")
    has_wheels = environ.get("UV_FIND_LINKS") or environ.get("PIP_FIND_LINKS")
    return (install_them, from_pytorch) if has_wheels else (from_pytorch,)


def excludes_file(home: Path) -> Path:
    """The file that tells uv which packages to leave out."""
    path = folder(home) / "excludes.txt"
    write_text_atomically(path, "\n".join(recipe().excludes) + "\n")
    return path


def run_uv(arguments: tuple[str, ...], progress: Callable[[str], None]) -> str:
    """Run the uv that came with corral, with pip's settings of this machine; return what it complains of, or ""."""
    from uv import find_uv_bin

    said = []
    with subprocess.Popen(
        [find_uv_bin(), *arguments],
        env=uv_environment(os.environ),
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        close_fds=False,
        umask=0o022,
    ) as uv:
        try:
            for line in uv.stderr or ():
                said.append(line)
                if line.lstrip().startswith(UV_MILESTONES):
                    progress(f"engine: {line.strip()}")
        except BaseException:
            uv.kill()
            raise
    return reason(said) if uv.returncode else ""


def uv_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """This environment, with pip's settings under uv's names wherever uv has none of its own."""
    settings = {
        uv: environ[pip] for pip, uv in PIP_SETTINGS.items() if environ.get(pip) and not environ.get(uv)
    }
    kept = {name: value for name, value in environ.items() if name != "VIRTUAL_ENV"}
    # Where a proxy inspects TLS, its authority is among the system's and not among those that uv brings.
    store = {"UV_SYSTEM_CERTS": "1"} if bundle() else {}
    return store | kept | settings | ({"UV_OFFLINE": "1"} if is_offline() else {})


def reason(said: Sequence[str]) -> str:
    """What uv's error says, on one line and without its drawing."""
    lines = [line.strip(" ╰─▶│├×\n") for line in said if not line.lstrip().startswith(UV_MILESTONES)]
    text = " ".join(line for line in lines if line)
    return text.split("hint:")[0].strip()[:400] or "uv failed without a word."


def first_run(home: Path) -> None:
    """Ask the new engine for its version. Raises ServerError with its last line when it does not start."""
    written = folder(home) / "first-run"
    written.mkdir(exist_ok=True)
    environ = {**os.environ, **folders(str(written)), "TMPDIR": str(written)}
    done = subprocess.run(
        [executable(home), "--version"],
        env=environ,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    shutil.rmtree(written, ignore_errors=True)
    if done.returncode != 0 or recipe().version not in done.stdout:
        lines = done.stderr.strip().splitlines() or ["it said nothing"]
        raise ServerError(f"The engine was installed but does not start: {lines[-1]}", WITHOUT_AN_ENGINE)


def check_disk(home: Path, disk_gib: float | None = None) -> None:
    """Raise HostError when the disk cannot hold the engine; corral's own, where no size is given."""
    make_folder(home)
    disk_gib = recipe().disk_gib if disk_gib is None else disk_gib
    free_gib = shutil.disk_usage(home).free / 2**30
    if free_gib < disk_gib:
        raise HostError(
            f"The engine needs {disk_gib:.0f} GiB of disk, and {home} has {free_gib:.1f} GiB free.",
            "Free some, or set CORRAL_HOME to a folder on a larger disk.",
        )


def check_home(home: Path) -> None:
    """Raise HostError where others could change the engine that is about to be put there."""
    if why := others_can_change(home, home):
        raise HostError(
            f"No engine is put there: {why}.",
            "Make it yours alone: chmod go-w; or set CORRAL_HOME to another folder.",
        )


def lock(home: Path, progress: Callable[[str], None]) -> AbstractContextManager[None]:
    """Let one install run at a time; a second one waits and then finds the work done."""
    words = "engine: another install is at work here; waiting for it"
    return locks.in_turn(home / "engine" / ".lock", lambda: progress(words))
