"""A script for a host without what is only said to people or to a checker."""

from infra.bare_python import bare_python

SCRIPT = '''#!/usr/bin/env python3
"""What it is."""

import os  # the system


def first(one: int, /, two: str = "a", *rest: int, three: bool, **named: str) -> int:
    """What it does."""
    if one:
        return 1
    return two


class Kept:
    """A thing."""

    field: int = 5
'''
BARE = """#!/usr/bin/env python3
import os

def first(one, /, two='a', *rest, three, **named):
 if one:
  return 1
 return two

class Kept:
 field: int = 5
"""


def test_the_program_is_the_same_without_its_words() -> None:
    assert bare_python(SCRIPT) == BARE


def said_by(script: str) -> object:
    """What its f returns, once it is bare."""
    namespace: dict[str, object] = {}
    exec(bare_python(f"{script}\nsaid = f()\n"), namespace)
    return namespace["said"]


def test_a_text_of_several_lines_keeps_its_blanks() -> None:
    script = "def f():\n    '''It.'''\n    return 'a\\n    b' + '\\n' * 2\n"
    assert said_by(script) == "a\n    b\n\n"
    quoted = "def f():\n    return '''\n    b'''\n"
    assert said_by(quoted) == "\n    b"
