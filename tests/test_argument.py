"""Text of a document that becomes one argument of a program: a value there, and never an option."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from infra import argument

OPTION = "it begins with a hyphen, so a program would take it for an option"
CONTROL = "it holds a control character or the end of a line"
NUL = "it holds a NUL character, which no argument can"


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        (argument.Value, "a b", ""),
        (argument.Value, "", ""),
        (argument.Value, "a-b", ""),
        (argument.Value, "-a", OPTION),
        *((argument.Value, f"a{char}b", CONTROL) for char in "\n\t\0\x1b\x7f\x85\u2028\u2029\ud800"),
        (argument.Text, "a\nb\r\n\tc", ""),
        (argument.Text, "-a", OPTION),
        (argument.Text, "a\n\x1b[2J", CONTROL),
        (argument.Word, "-a\n", ""),
        (argument.Word, "a\0", NUL),
        (argument.Values, {"a": "b", "n": -1, "t": True}, ""),
        (argument.Values, {"a": "b", "c": "-d"}, OPTION),
        (argument.Values, {"a": "b\nc"}, CONTROL),
    ],
)
def test_what_may_be_an_argument(kind: Any, text: object, said: str) -> None:
    adapter: TypeAdapter[object] = TypeAdapter(kind)
    if not said:
        assert adapter.validate_python(text) == text
        return
    with pytest.raises(ValidationError) as error:
        adapter.validate_python(text)
    assert [each["msg"] for each in error.value.errors()] == [said]


def test_a_value_in_a_line_to_paste_is_one_word_and_no_option() -> None:
    pasted = {value: argument.pasted(value) for value in ("a", "a b", "-rf", "$(id)", "it's", 5)}
    assert pasted == {
        "a": "a", "a b": "'a b'", "-rf": "./-rf", "$(id)": "'$(id)'", "it's": "'it'\"'\"'s'", 5: "5",
    }  # fmt: skip
