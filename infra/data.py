"""What is shipped beside the modules: the tables of figures, the scripts for a host, the parts of a page."""

import tomllib
from functools import cache
from importlib.resources import files
from typing import Any


@cache
def shipped_table(package: str, name: str) -> dict[str, Any]:
    """A TOML file of a package, parsed once: everybody gets the same one, so nobody changes it.

    Raises FileNotFoundError.
    """
    return tomllib.loads(shipped_text(package, name))


def table_of(text: str) -> dict[str, Any]:
    """A TOML text that a user wrote. Raises ValueError, which says where it is none."""
    return tomllib.loads(text)


def shipped_text(package: str, name: str) -> str:
    """A file of a package as it is. Raises FileNotFoundError."""
    return files(package).joinpath(name).read_text(encoding="utf-8")
