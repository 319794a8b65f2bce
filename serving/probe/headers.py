"""What a user adds to every request: headers whose secrets are named, in a variable or a file, and never typed."""

import os
import re
from pathlib import Path

from infra.errors import DocumentError, UsageError
from serving.vllm.api_key import LONGEST_KEY

TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""What a header may be called (RFC 9110, 5.6.2)."""
OURS = (
    "content-length", "transfer-encoding", "content-type", "accept-encoding", "connection", "expect", "te", "upgrade",
)  # fmt: skip
"""Those that say how the probe itself speaks."""
SECRET = re.compile("key|token|secret|auth|cookie|passw|credential|session", re.IGNORECASE)
VARIABLE = re.compile(r"\$(?:\{(\w+)\}|([A-Za-z_]\w*))")
LONGEST_SCHEME = 16
"""Beside a secret's variable stands at most what says its kind: "Bearer ", "session="."""
EXAMPLE = "Say, e.g., --header 'api-key: $AZURE_API_KEY' or --header 'x-tenant: search'"


def parted(text: str) -> tuple[str, str]:
    """The name and the value of `NAME:VALUE`; nothing of it is said where it is none, for it may be a secret.

    Raises UsageError.
    """
    name, colon, value = text.partition(":")
    name, value = name.strip().lower(), value.strip()
    if not colon:
        raise UsageError("A --header is NAME:VALUE; one has no colon.", EXAMPLE)
    if not TOKEN.fullmatch(name):
        raise UsageError(f"A --header has a name that no header can have: {name[:60]!r}.", EXAMPLE)
    if not value:
        raise UsageError(f"--header {name} has no value.", EXAMPLE)
    if name in OURS:
        raise UsageError(f"--header {name} is the probe's own: it says how it speaks.", "Leave it out.")
    carried(name, value)
    if SECRET.search(name) and is_typed(value):
        raise UsageError(
            f"--header {name} may be a secret, and a command line is read by others.",
            f"Name where it is: --header '{name}: $VARIABLE', or a file: --header '{name}: @key.txt'",
        )
    return name, value


def is_typed(value: str) -> bool:
    """Whether a value stands there itself, and not where it is kept."""
    if value.startswith("@"):
        return False
    return not VARIABLE.search(value) or len(VARIABLE.sub("", value)) > LONGEST_SCHEME


def carried(name: str, value: str) -> str:
    """The value, when a header can carry it. Raises UsageError, and does not say it."""
    if not value.isascii() or not value.isprintable() or len(value) > LONGEST_KEY:
        raise UsageError(
            f"The value of --header {name} is nothing a header can carry.",
            "It is one line of printable ASCII.",
        )
    return value


def resolved(headers: tuple[str, ...]) -> dict[str, str]:
    """The headers as they are sent. Raises UsageError for a variable that is not set, DocumentError for a file."""
    return {name: carried(name, value_of(name, value)) for name, value in map(parted, headers)}


def value_of(name: str, value: str) -> str:
    """What a value stands for."""
    if value.startswith("@"):
        return text_in(Path(value[1:]).expanduser(), name)

    def variable(found: re.Match[str]) -> str:
        asked = found[1] or found[2]
        if not (kept := os.environ.get(asked, "").strip()):
            raise UsageError(
                f"--header {name} takes the environment variable {asked}, which is not set.",
                f"Set it: read -rs {asked}; export {asked}",
            )
        return kept

    return VARIABLE.sub(variable, value)


def text_in(path: Path, name: str) -> str:
    """The one line in a file. Raises DocumentError."""
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(LONGEST_KEY + 2).strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise DocumentError(
            f"The file {path} of --header {name} cannot be read: {reason}.", "Check the path and its owner."
        ) from None
    if not text:
        raise DocumentError(
            f"The file {path} of --header {name} is empty.", "Put the value into it, on one line."
        )
    return text


def checked(headers: tuple[str, ...]) -> tuple[str, ...]:
    """The same, when each is a header and none comes twice. Raises UsageError."""
    names = [parted(each)[0] for each in headers]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"--header {twice} is given twice.", "Give it once.")
    return headers


def names(headers: tuple[str, ...]) -> tuple[str, ...]:
    """What may be stored of them."""
    return tuple(parted(each)[0] for each in headers)
