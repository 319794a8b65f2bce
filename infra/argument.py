"""PURE: text of a document that becomes one argument of a program: it is a value there, and never an option."""

import shlex
import unicodedata
from typing import Annotated

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

# Control characters, the separators of lines and paragraphs, and half characters, which are none.
NOT_IN_A_LINE = ("Cc", "Zl", "Zp", "Cs")
OF_A_TEXT = "\n\r\t"


def pasted(value: object) -> str:
    """A value in a line for people to paste: for a shell one word, of which nothing is run, and no option."""
    text = str(value)
    return shlex.quote(text if is_value(text) else f"./{text}")


def is_value(text: str) -> bool:
    """Whether no program takes it for an option."""
    return not text.startswith("-")


def is_line(text: str) -> bool:
    """Whether it is one line, which a terminal shows and does not obey."""
    return not any(unicodedata.category(char) in NOT_IN_A_LINE for char in text)


def value(text: str) -> str:
    """The text. Raises what pydantic says of one that would be an option."""
    if is_value(text):
        return text
    raise PydanticCustomError("option", "it begins with a hyphen, so a program would take it for an option")


def line(text: str) -> str:
    """The text. Raises what pydantic says of one with control characters."""
    if is_line(text):
        return text
    raise PydanticCustomError("control_character", "it holds a control character or the end of a line")


def text_of_lines(text: str) -> str:
    """The text. Raises what pydantic says of control characters but for the ends of lines and tabs."""
    line("".join(char for char in text if char not in OF_A_TEXT))
    return text


def without_nul(text: str) -> str:
    """The text. Raises what pydantic says of a NUL, which ends an argument."""
    if "\0" in text:
        raise PydanticCustomError("nul", "it holds a NUL character, which no argument can")
    return text


def of_values(said: dict[str, object]) -> dict[str, object]:
    """The object. Raises what pydantic says of a text in it that is none of one line, or would be an option."""
    for each in said.values():
        if isinstance(each, str):
            line(value(each))
    return said


Value = Annotated[str, AfterValidator(value), AfterValidator(line)]
"""One line that follows an option, or stands alone."""
Text = Annotated[str, AfterValidator(value), AfterValidator(text_of_lines)]
"""The same, of several lines."""
Values = Annotated[dict[str, object], AfterValidator(of_values)]
"""An object, each text of which may be an argument of a program."""
Word = Annotated[str, AfterValidator(without_nul)]
"""Any argument, an option too."""
