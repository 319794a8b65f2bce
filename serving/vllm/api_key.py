"""The key of an endpoint: where it is kept, and what can be one."""

import os
from pathlib import Path

from infra.errors import AuthError, DocumentError

LONGEST_KEY = 16384


def key_in(path: Path) -> str:
    """The key in a file. Raises DocumentError for one that cannot be read, AuthError for what is no key."""
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(LONGEST_KEY + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise DocumentError(
            f"The API key file {path} cannot be read: {error}.", "Check the path and its owner."
        ) from None
    if not text.strip():
        raise AuthError(f"The API key file {path} is empty.", "Put the key into it, on one line.")
    if len(text) > LONGEST_KEY:
        raise AuthError(
            f"The API key file {path} is too large to be one.", "Put the key into it, on one line."
        )
    return as_key(text)


def key_of(path: Path | None, variable: str | None) -> str | None:
    """The key from its file or, without one, from its environment variable; None where neither holds one.

    Raises DocumentError for a file that cannot be read, AuthError for what is no key.
    """
    if path is not None:
        return key_in(path)
    return as_key(os.environ.get(variable, "") if variable else "") or None


def as_key(text: str) -> str:
    """The text as a header can carry it. Raises AuthError."""
    key = text.strip()
    if not key.isascii() or not key.isprintable() or " " in key:
        raise AuthError(
            "The API key holds characters a header cannot carry.", "The key is one line of printable ASCII."
        )
    return key
