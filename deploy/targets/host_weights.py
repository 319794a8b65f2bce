"""PURE: what another machine finds when it reads every byte of the weights that it serves."""

import shlex
from typing import Any

from pydantic import TypeAdapter, ValidationError

from deploy.targets.abilities import VerifiedFolder
from infra import bounded_json, host_judge
from infra import host as hosts
from infra.errors import HostError
from infra.printable import one_line

WITHIN_S = 6 * 3600.0
"""For a terabyte on a slow disk."""
NO_SCRIPT = 2
"""With what Python ends where it cannot open the script that it is given."""
FOUND: TypeAdapter[Any] = TypeAdapter(tuple[VerifiedFolder, ...])


def command(name: str) -> tuple[str, ...]:
    """What reads them, as root there."""
    return (*host_judge.PYTHON, f"{hosts.root(name)}/bin/heal", "verify", name)


def parsed(said: str, code: int, name: str, where: str) -> tuple[VerifiedFolder, ...]:
    """What it says as it ends with that code, each folder with the machine's name.

    Raises HostError for a machine without what reads them, or where that fails.
    """
    last = next((line for line in reversed(said.splitlines()) if line.strip()), "")
    if code not in (0, NO_SCRIPT):
        why = one_line(last).rstrip(".") or f"it said nothing and ended with {code}"
        raise HostError(
            f"{where} cannot verify its weights: {why}.",
            f"See all that it says there: sudo {shlex.join(command(name))}",
        )
    try:
        found = FOUND.validate_python(bounded_json.load(last.encode()))
    except (ValueError, ValidationError):  # an earlier corral's says nothing, or other things
        raise HostError(
            f"{where} cannot verify its weights: it has not been brought what reads them.",
            f"That comes when it is served: corral serve {name}",
        ) from None
    return tuple(folder.model_copy(update={"at": f"{where}:{folder.at}"}) for folder in found)
