"""The pages of the reference, each made from the code that it describes."""

from typing import Any

from documentation import exit_codes, settings, verbs


def pages() -> dict[str, str]:
    """Place in the site -> its text."""
    return {
        **verbs.pages(),
        "reference/exit-codes.md": exit_codes.page(),
        "reference/settings.md": settings.page(),
    }


def navigation() -> list[dict[str, Any]]:
    """What stands below Reference."""
    return [
        {"Verbs": verbs.navigation()},
        {"Exit codes": "reference/exit-codes.md"},
        {"Settings": "reference/settings.md"},
    ]
