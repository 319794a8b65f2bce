"""The one switch that keeps corral off the internet: --offline, or CORRAL_OFFLINE=1."""

import os

from infra.errors import UsageError

VARIABLE = "CORRAL_OFFLINE"


def is_offline() -> bool:
    """Whether the user forbade the internet. Hosts and endpoints that the user names are not the internet."""
    return os.environ.get(VARIABLE) == "1"


def refuse(whom: str, bring: str = "", here: str = "") -> None:
    """Raise UsageError, before anybody is asked, when the internet is forbidden; `whom` is who would be asked.

    `bring` is the line that fetches what is needed where there is a network, `here` what is typed with that.
    """
    if is_offline():
        hint = f"Leave out --offline (and unset {VARIABLE}), or bring what is needed along: a folder, wheels, a plan."
        if bring:
            hint = f"Where there is a network: {bring}. Here {here}, or leave out --offline ({VARIABLE})."
        raise UsageError(f"This would ask {whom}, and --offline forbids it.", hint)
