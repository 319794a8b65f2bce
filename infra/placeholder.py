"""PURE: a word in capitals, as helps and pages have it where somebody's own belongs, that was typed as it stands."""

import re
from collections.abc import Sequence

WORDS = {
    "ADDRESS", "BUCKET", "CHECKSUM", "COMMIT", "COUNTRY", "ENV", "FILE", "FOLDER", "HOST", "KEY",
    "MACHINE", "MODEL", "NAME", "OWNER", "PLAN", "PORT", "PREFIX", "PROBE", "REGION", "REPO",
    "REPOSITORY", "RESULTS", "SECRET", "TIME", "TOKEN", "TYPE", "URL", "USER", "VALUE", "VERB",
    "VERSION",
}  # fmt: skip
"""What stands for somebody's own in a help, in README or on a page."""


def hint(typed: Sequence[str], message: str, said: str) -> str:
    """The hint of an error, with what such a word is where one was typed and is what the message is about."""
    there = [word for each in typed for word in re.findall(r"(?<![A-Za-z0-9])[A-Z]{3,}(?![A-Za-z0-9])", each)]
    meant = [word for word in dict.fromkeys(there) if word in WORDS and word in message]
    if not meant:
        return said
    what = f"{' and '.join(meant)} in capitals stand{'s' if len(meant) == 1 else ''} for your own: type that instead."
    return f"{what} {said}".rstrip()
