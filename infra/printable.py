"""PURE: words that others chose (servers, hosts, files, their names), made fit for a terminal.

A letter that is no letter moves the cursor, sets the title, fills the clipboard, or turns the rest of the line around.
"""

import re
import unicodedata

LONGEST_LINE = 300
LONGEST_SENTENCE = 4000
"""What a refusal repeats of what it was given may have no end; ours are much shorter."""
COLOUR = re.compile("\x1b\\[[0-9;:]*m")
"""What sets a colour, and nothing else: it goes without a trace."""
LINE_ENDS = re.compile("[\r\n]+")
UNUSUAL = re.compile("[^\n\t -~]")
UNPRINTED = "\N{REPLACEMENT CHARACTER}"


def printable(text: str) -> str:
    """The text with its lines and tabs; colours are left out, and each other letter that does not print is replaced."""
    return UNUSUAL.sub(lambda letter: as_printed(letter[0]), COLOUR.sub("", text))


def as_printed(letter: str) -> str:
    """A letter as it may be printed: blanks of any width are, what directs a terminal or the eye is not."""
    return letter if letter.isprintable() or unicodedata.category(letter) == "Zs" else UNPRINTED


def sentence(text: str) -> str:
    """The same as one line, however long: no line of it can pass for one of ours."""
    return printable(LINE_ENDS.sub(" ", text))


def refusal(text: str) -> str:
    """A sentence with the middle left out of one that has no end."""
    if len(text) > LONGEST_SENTENCE:
        text = f"{text[: LONGEST_SENTENCE // 2]} [...] {text[-LONGEST_SENTENCE // 2 :]}"
    return sentence(text)


def one_line(text: str, most: int = LONGEST_LINE) -> str:
    """The text without line breaks, terminal codes and what no file can hold, at most so long."""
    words = " ".join(text[: 4 * most].split())
    line = "".join(letter if letter.isprintable() else UNPRINTED for letter in words)
    return line if len(line) <= most else f"{line[: most - 3]}..."


def printable_json(text: str) -> str:
    """JSON that means the same, each letter that does not print written as its number."""
    return UNUSUAL.sub(lambda letter: escaped(letter[0]), text)


def escaped(letter: str) -> str:
    """A letter of a JSON string as it may be printed."""
    return letter if as_printed(letter) == letter else as_number(letter)


def as_number(letter: str) -> str:
    """A letter as JSON spells it where it cannot be written."""
    units = letter.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
