"""The lines of README and docs, typed one after the other by somebody who has set nothing: each means what is there."""

import re
import shlex
from pathlib import Path

import pytest

from infra.catalog import ec2_types

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
MAKING = ("up", "provision", "doctor")
OF_A_NAME = (
    *("status", "logs", "stop", "down", "extend", "report", "connect", "ssh", "roll", "upgrade", "gateway"),
    *("probe", "compare", "serve", "keys", "egress"),
)
"""Whose first word, where it is one, is a deployment."""
WORD = re.compile(r"[a-z0-9][a-z0-9-]*")
OTHER_WORDS = {
    "sweep",
    "diff",
    "report",
    "verify",
    "add",
    "list",
    "revoke",
    "rotate",
    "usage",
    "stop",
    "status",
    "drain",
    "ready",
}


def lines(page: Path) -> list[list[str]]:
    """Each corral that is typed there, in a block of its own or between backticks."""
    text = page.read_text().replace("\\\n", " ")
    blocks = "\n".join(re.findall(r"^```\w*\n(.*?)^```", text, re.S | re.M))
    typed = re.findall(r"^(?:\$ )?corral ((?:[a-z-]+)(?: .*)?)$", blocks, re.M)
    return [shlex.split(line, comments=True) for line in typed]


def value(words: list[str], flag: str) -> str:
    """What follows the flag; "" where it is not there."""
    return words[words.index(flag) + 1] if flag in words else ""


def rents(words: list[str]) -> bool:
    """Whether the line is about EC2: as it says, or as its machine is sold there."""
    target = value(words, "--target")
    return target == "ec2" or (not target and value(words, "--on") in ec2_types())


def called(words: list[str]) -> str:
    """What the line makes: by --name, or as its model is called."""
    return value(words, "--name") or words[1].removesuffix(".json")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_is_rented_has_a_region_and_what_is_named_was_made(page: Path) -> None:
    made: set[str] = set()
    for words in lines(page):
        if words[0] in MAKING and rents(words):
            assert "--region" in words, f"{page.name}: it would end with No AWS region is named: {words}"
        if words[0] in ("up", "provision"):
            made.add(called(words))
        named = next((word for word in words[1:2] if WORD.fullmatch(word)), "")
        if made and words[0] in OF_A_NAME and named and named not in OTHER_WORDS:
            assert named in made | {"demo"}, f"{page.name}: nothing above makes {named}: {words}"


def test_readme_has_the_whole_line_under_one_name() -> None:
    ours = [words for words in lines(ROOT / "README.md") if words[0] in (*MAKING, "probe", "compare", "down")]
    of_a_name = [words for words in ours if not words[1].startswith("-")]
    assert [(words[0], words[1]) for words in of_a_name] == [
        (verb, "scout") for verb in ("doctor", "up", "probe", "compare", "down")
    ]
