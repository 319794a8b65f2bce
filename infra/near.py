"""What was meant by a word that names nothing: the one most like it of those there are."""

import os
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from infra.argument import pasted

ALIKE = 0.75
"""The share of letters that two names have in common, in order, from which on one is offered for the other."""
MOST_LOOKED_AT = 10_000
"""Names of a folder: more are nobody's to compare."""


def near(word: str, names: Iterable[str]) -> str:
    """The name most like a word; empty where none is much like it, or one is the word."""
    from difflib import get_close_matches

    names = list(names)
    found = () if word in names else get_close_matches(word, names, n=1, cutoff=ALIKE)
    return next(iter(found), "")


def meant(word: str, names: Iterable[str]) -> str:
    """The same as a hint; empty for none."""
    found = near(word, names)
    return f"Did you mean {pasted(found)}?" if found else ""


def meant_file(path: Path) -> str:
    """The same of a file that is not there, and those beside it."""
    try:
        with os.scandir(path.parent) as there:
            names = [entry.name for entry in islice(there, MOST_LOOKED_AT) if entry.is_file()]
    except (OSError, ValueError):  # a name that no disk takes
        return ""
    found = near(path.name, names)
    return f"Did you mean {pasted(path.with_name(found))}?" if found else ""


def is_called_json(word: str) -> bool:
    """Whether a word ends as a JSON document's name does, misspelt or not: plan.json, plan.jsn."""
    return word.lower().endswith(".json") or bool(near(Path(word).suffix.lower(), [".json"]))
