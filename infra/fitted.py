"""PURE but for the terminal's width: prose wrapped at the terminal that it is shown on; a pipe gets whole lines.

What can be pasted is never broken: a command with its flags and values, an address, a path. It stands on a line of its
own where it is wider, and the terminal itself goes on with it.
"""

import re
import textwrap
from collections.abc import Iterator
from typing import TextIO

from infra import terminal

TOKEN = re.compile(r"(?:[^\s'\"=]*=)?(?:'[^']*'|\"[^\"]*\")\S*|\S+")
ENDS = (".", ",", ";", ":", ")")
ALWAYS = re.compile(
    r"\(?(?:corral|aws|curl|uv|pipx?|ssh|ssh-keygen|ssh-add|scp|sudo|systemctl|journalctl|apt-get|docker|kubectl|"
    r"nvidia-smi|vllm|git|python3?|scripts/\S+|--?[a-z]\S*)"
)
"""What begins a command wherever it stands; a flag stands for the rest of one."""
AFTER_A_COLON = re.compile(r"\(?(?:ls|mv|df|ss|file|head|cat|rm|cp|cd|chmod|chown|export|touch)")
"""What is a word of English too: a command at the start of a line, behind a colon, a comma or another command."""
PLAIN = re.compile(r"[a-z][a-z_-]*[.,;:)]?")
MOST_PLAIN = 3
"""Words that a command may have behind it that are no flag, and look like no value: a verb, one below it, a name."""
NARROWEST = 24
DEEPER = "  "
GLUE = "\N{NO-BREAK SPACE}"


def fitted(text: str, stream: TextIO | None, lead: int = 0) -> str:
    """The text, its lines no wider than that stream's terminal; before the first stand so many letters already."""
    room = terminal.width(stream)
    if room is None:
        return text
    first, *rest = text.split("\n")
    return "\n".join([in_room(first, room, lead), *(in_room(line, room) for line in rest)])


def in_room(line: str, room: int, lead: int = 0) -> str:
    """One line in as many as it takes; what goes on below it stands a little deeper."""
    if lead + len(line) <= room or GLUE in line:
        return line
    body = line.lstrip(" ")
    indent = line[: len(line) - len(body)]
    wrapped = textwrap.fill(
        glued(body),
        max(room, NARROWEST),
        initial_indent=" " * lead + indent,
        subsequent_indent=indent + DEEPER,
        break_long_words=False,
        break_on_hyphens=False,
        replace_whitespace=False,
        expand_tabs=False,
    )
    return wrapped[lead:].replace(GLUE, " ")


def glued(line: str) -> str:
    """The line, each command in it held together by what no line is broken at."""
    inside = set(within_commands(list(TOKEN.finditer(line))))
    return "".join(GLUE if letter == " " and at in inside else letter for at, letter in enumerate(line))


def within_commands(tokens: list[re.Match[str]]) -> Iterator[int]:
    """Where in a line it must not be broken: between the words of a command, and inside what is quoted there."""
    left, is_flag_seen, before, end = 0, False, ":", 0
    for token in tokens:
        word = token[0]
        begins = ALWAYS.fullmatch(word) or (before.endswith((*ENDS, "&&")) and AFTER_A_COLON.fullmatch(word))
        is_plain = PLAIN.fullmatch(word) and not before.startswith("-")
        is_inside = left > 0 and (begins or not is_plain or not is_flag_seen)
        if is_inside:
            yield from range(end, token.end())
        if begins and not (is_inside and word.startswith("-")):
            left, is_flag_seen = 1 + MOST_PLAIN, False
        elif not is_inside:
            left = 0
        left -= bool(is_inside and is_plain and not begins)
        is_flag_seen = is_flag_seen or word.startswith(("-", "(-"))
        if word.endswith(ENDS) and word != ".":
            left = 0
        before, end = word, token.end()
