"""The one switch that keeps corral off the internet: --offline, or CORRAL_OFFLINE=1."""

import os

from infra.errors import UsageError

VARIABLE = "CORRAL_OFFLINE"


def is_offline() -> bool:
    """Whether the user forbade the internet. Hosts and endpoints that the user names are not the internet."""
    return os.environ.get(VARIABLE) == "1"


def refuse(whom: str) -> None:
    """Raise UsageError, before anybody is asked, when the internet is forbidden; `whom` is who would be asked."""
    if is_offline():
        raise UsageError(
            f"This would ask {whom}, and --offline forbids it.",
            f"Leave out --offline (and unset {VARIABLE}), or bring what is needed along: a folder, wheels, a plan.",
        )
