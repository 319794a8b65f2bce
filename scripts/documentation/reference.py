"""The pages of the reference, each made from the code that it describes."""

from typing import Any

from documentation import exit_codes, files, json_pages, metrics, settings, verbs


def pages() -> dict[str, str]:
    """Place in the site -> its text."""
    return {
        **verbs.pages(),
        **json_pages.pages(),
        "reference/exit-codes.md": exit_codes.text(),
        "reference/settings.md": settings.text(),
        "reference/files.md": files.text(),
        "reference/metrics.md": metrics.text(),
    }


def navigation() -> list[dict[str, Any]]:
    """What stands below Reference."""
    return [
        {"Verbs": verbs.navigation()},
        {"Exit codes": "reference/exit-codes.md"},
        {"Settings and variables": "reference/settings.md"},
        {"Files": "reference/files.md"},
        {"Metrics": "reference/metrics.md"},
        {"JSON": json_pages.navigation()},
    ]
