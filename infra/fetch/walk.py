"""What lies below a folder, links as links: nothing of where they lead, nor of what lies too deep."""

import os
from collections.abc import Collection
from pathlib import Path

DEEPEST = 64


def entries(folder: Path, besides: Collection[str] = ()) -> set[str]:
    """Everything below a folder but real folders and what is named.

    A folder that lies too deep, or cannot be looked into, counts as one thing.
    """
    found: set[str] = set()
    left = [""]
    while left:
        here = left.pop()
        try:
            for entry in os.scandir(folder / here):
                path = f"{here}/{entry.name}".lstrip("/")
                is_folder = entry.is_dir(follow_symlinks=False) and path.count("/") < DEEPEST
                if path not in besides:
                    (left.append if is_folder else found.add)(path)
        except OSError:
            found.add(here)
    return found - {""}
