"""The Hugging Face token of whoever runs corral, found where `hf` finds it. It prints as its place, never as itself."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from infra.errors import UsageError
from infra.typed_path import typed_path

# As the Hub's own library reads them, in its order.
VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")


@dataclass(frozen=True, slots=True)
class Token:
    """A token and where it was found. No document holds it."""

    value: str = field(repr=False)
    place: str


def find(environ: Mapping[str, str], file: str = "") -> Token | None:
    """The token of the file that was named, else of the environment, else of the user's own `hf auth login`.

    Raises UsageError for a file that was named and cannot be read, and for what is no token, without repeating it.
    """
    if file:
        return checked(named(typed_path(file)), file)
    for name in VARIABLES:
        if environ.get(name, "").strip():
            return checked(environ[name].strip(), name)
    login = login_file(environ)
    try:
        text = login.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return checked(text, str(login)) if text else None


def named(path: Path) -> str:
    """The content of a file that must have some."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise UsageError(
            f"--hf-token-file {path} cannot be read: {error.strerror}.",
            "Name a file that holds the token and nothing else, and that only you can read.",
        ) from None
    except UnicodeDecodeError:
        return ""


def checked(text: str, place: str) -> Token:
    """One word of printable characters, as every token of the Hub is."""
    if not re.fullmatch(r"[!-~]{8,512}", text):
        raise UsageError(
            f"{place} holds no token of the Hugging Face Hub.",
            "It is one word such as hf_...; make one: https://huggingface.co/settings/tokens",
        )
    return Token(text, place)


def home(environ: Mapping[str, str]) -> Path:
    """The folder of the Hub's own library: HF_HOME, else below the user's cache."""
    cache = environ.get("XDG_CACHE_HOME") or "~/.cache"
    return typed_path(environ.get("HF_HOME") or f"{cache}/huggingface")


def login_file(environ: Mapping[str, str]) -> Path:
    """Where `hf auth login` puts the token."""
    return typed_path(environ.get("HF_TOKEN_PATH") or home(environ) / "token")


def cache(environ: Mapping[str, str]) -> Path:
    """Where the Hub's own library keeps what it has fetched."""
    given = environ.get("HF_HUB_CACHE") or environ.get("HUGGINGFACE_HUB_CACHE")
    return typed_path(given or home(environ) / "hub")
