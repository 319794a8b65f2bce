"""PURE but for the home: a path that a user typed, in a flag, a variable of the environment or a document."""

import os
from pathlib import Path


def typed_path(text: str | Path) -> Path:
    """The path from the root on. `~` is a home where there is such a user, and otherwise a name like any other."""
    return Path(os.path.expanduser(text)).absolute()
