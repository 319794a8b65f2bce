"""PURE: every file that a host gets, secrets excepted: those are made there."""

import re
import shlex
from collections.abc import Callable

from infra import egress_rules, host_judge
from infra.bare_python import SHEBANG, bare_python
from infra.data import shipped_text
from infra.host import HostFile, HostSetup, is_closed, is_watched, own_root, root, unit
from infra.host_units import (
    UNIT_FOLDER,
    boot_preparation,
    bring_preparation,
    environment_file,
    lock_units,
    server_unit,
    spot_watch,
    watch_units,
)


def host_files(setup: HostSetup) -> tuple[HostFile, ...]:
    """Every file the host gets, secrets excepted: those are made there. Of a release those that are its own."""
    if setup.release:
        return _of_release(setup)
    here = root(setup.name)
    return (
        HostFile(path=f"{here}/setup.env", content=setup_env(setup)),
        HostFile(path=f"{here}/server.env", content=environment_file(setup.environment)),
        *_engine_lock(setup, here),
        HostFile(
            path=f"{here}/egress.nft",
            content=egress_rules.rules(setup.name, setup.nodes > 1, not is_closed(setup)),
        ),
        *(_bare_if(setup.rented, _script(here, name), bare_script) for name in script_names(setup)),
        *(_library(here) if is_fetching(setup) and not setup.rented else ()),
        *(_bare_if(setup.rented, each, bare) for each in _units(setup)),
        # A rented box is brought it later: its user data has no room for more.
        *(host_judge.files(setup) if setup.served_model_name and not setup.rented else ()),
    )


def brought_later(setup: HostSetup) -> tuple[HostFile, ...]:
    """What a rented box is brought when it is told to serve, as its user data has no room for it.

    Of several what joins them, and the judge; and what ends it when nobody asks anything once more, as that of an
    earlier corral takes the judge's questions for somebody's.
    """
    here = root(setup.name)
    join = (_script(here, "join.sh"),) if setup.nodes > 1 else ()
    watch = (_script(here, "watch.py"), *watch_units(setup)) if is_watched(setup) else ()
    return (*join, *watch, *host_judge.files(setup))


def _of_release(setup: HostSetup) -> tuple[HostFile, ...]:
    """What prepares it in its own folder, and the unit that takes the place of the one that serves."""
    own = own_root(setup.name, setup.release)
    # One command to a rented box has no room for all of infra/fetch either.
    fetch = ("fetch.py",) if is_fetching(setup) else ()
    scripts = ("prepare.sh", "phase.sh", *(fetch if setup.rented else ("owned.sh", "idle.py")))
    return (
        HostFile(path=f"{own}/setup.env", content=setup_env(setup.model_copy(update={"api_key": "none"}))),
        HostFile(path=f"{own}/server.env", content=environment_file(setup.environment)),
        *_engine_lock(setup, own),
        *(_bare_if(setup.rented, _script(own, name), bare_script) for name in scripts),
        *(_library(own) if is_fetching(setup) and not setup.rented else ()),
        HostFile(path=f"{own}/units/{unit(setup.name)}", content=server_unit(setup)),
        # It asks by the name, at the port and within the time of what it judges.
        *(host_judge.of_release(setup, f"{own}/units") if setup.served_model_name else ()),
        # What prepares it on a rented box: now, beside what serves, and once it is kept at every boot.
        *((bring_preparation(setup), boot_preparation(setup, f"{own}/units")) if setup.rented else ()),
    )


def _engine_lock(setup: HostSetup, here: str) -> tuple[HostFile, ...]:
    return (
        (HostFile(path=f"{here}/engine.lock", content=setup.engine.lock.pins),) if setup.engine.lock else ()
    )


def _units(setup: HostSetup) -> tuple[HostFile, ...]:
    return (
        HostFile(path=f"{UNIT_FOLDER}/{unit(setup.name)}", content=server_unit(setup)),
        *lock_units(setup),
        *(watch_units(setup) if is_watched(setup) else ()),
        *((spot_watch(setup),) if setup.spot else ()),
        *((boot_preparation(setup),) if setup.rented else ()),
    )


def script_names(setup: HostSetup) -> tuple[str, ...]:
    """What the host gets to run, of the folder onhost."""
    join = ("join.sh",) if setup.nodes > 1 and not setup.rented else ()
    watch = ("extend.sh", "watch.py") if is_watched(setup) else ()
    # Another host gets all of infra/fetch: a box's user data has no room for it.
    fetch = ("fetch.py",) if is_fetching(setup) and setup.rented else ()
    return (
        "prepare.sh",
        "phase.sh",
        "lock.sh",
        "confine.py",
        *fetch,
        *(() if setup.rented else ("owned.sh", "idle.py")),
        *join,
        *watch,
        *(("spot.py",) if setup.spot else ()),
    )


def is_fetching(setup: HostSetup) -> bool:
    """Whether the host asks the Hub for anything."""
    return bool(setup.beside) or setup.weights.startswith("hf://")


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
        "BESIDE": "\n".join(f"{place} {address}" for place, address in setup.beside.items()),
        "SUMS": "\n".join(f"{wanted}  {path}" for path, wanted in setup.sums.items()),
        "HF_TOKEN_PARAMETER": setup.hf_token_parameter,
        "REGION": setup.region,
        "API_KEY": setup.api_key,
    }
    return "".join(f"{key}={shlex.quote(value)}\n" for key, value in values.items())


def _script(here: str, file_name: str) -> HostFile:
    content = shipped_text("infra.onhost", file_name)
    return HostFile(path=f"{here}/bin/{file_name.partition('.')[0]}", content=content, mode="0755")


LIBRARY = (
    "errors.py",
    *(
        f"fetch/{name}.py"
        for name in (
            "__main__", "adopting", "authorities", "checksums", "confirming", "crew", "discrepancies", "download",
            "hub_answers", "hub_wire", "layouts", "listing", "partial", "patience", "verifying", "walk",
        )
    ),
)  # fmt: skip
"""What of infra a host gets to fetch and to verify with."""


def _library(here: str) -> tuple[HostFile, ...]:
    return tuple(
        HostFile(path=f"{here}/lib/infra/{name}", content=shipped_text("infra", name)) for name in LIBRARY
    )


def _bare_if(is_rented: bool, file: HostFile, made_bare: Callable[[str], str]) -> HostFile:
    return file.model_copy(update={"content": made_bare(file.content)}) if is_rented else file


def bare_script(script: str) -> str:
    """A script of ours without what is only said to people, at the ends of its lines too; of Python without types."""
    return bare_python(script) if script.startswith(SHEBANG) else SAID_BESIDE.sub("", bare(script))


def bare(text: str) -> str:
    """A script or unit of ours without the lines that are only said to people: user data has no room for them."""
    first, _, rest = text.partition("\n")
    return f"{first}\n{ONLY_SAID.sub('', rest)}"


# A comment of a whole line, a docstring, an empty line.
ONLY_SAID = re.compile(r'^[ ]*(?:#.*|"""(?:[^"]|"(?!""))*""")?\n', re.MULTILINE)
# A comment after code. One that holds a quote stays: it might be the end of a text.
SAID_BESIDE = re.compile(r"""(?<=\S)[ ]+# [^'"\n]*$""", re.MULTILINE)
