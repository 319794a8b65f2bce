"""PURE: what another machine finds when it reads every byte of the weights that it serves."""

from typing import Any

from pydantic import TypeAdapter, ValidationError

from deploy.targets.abilities import VerifiedFolder
from infra import bounded_json, host_judge
from infra import host as hosts
from infra.errors import HostError

WITHIN_S = 6 * 3600.0
"""For a terabyte on a slow disk."""
FOUND: TypeAdapter[Any] = TypeAdapter(tuple[VerifiedFolder, ...])


def command(name: str) -> tuple[str, ...]:
    """What reads them, as root there."""
    return (*host_judge.PYTHON, f"{hosts.root(name)}/bin/heal", "verify", name)


def parsed(said: str, name: str, where: str) -> tuple[VerifiedFolder, ...]:
    """What it says, each folder with the machine's name. Raises HostError for a machine without what reads them."""
    try:
        last = next((line for line in reversed(said.splitlines()) if line.strip()), "")
        found = FOUND.validate_python(bounded_json.load(last.encode()))
    except (ValueError, ValidationError):
        raise HostError(
            f"{where} cannot verify its weights: it has not been brought what reads them.",
            f"That comes when it is served: corral serve {name}",
        ) from None
    return tuple(folder.model_copy(update={"at": f"{where}:{folder.at}"}) for folder in found)
