"""Others' words on a terminal: nothing moves its cursor, sets its title, or turns a line around."""

import json
import unicodedata

import pytest

from infra.columns import table
from infra.errors import CorralError
from infra.printable import as_printed, printable, printable_json, refusal, sentence
from infra.say import emit, fail, progress, say, warn
from serving.vllm.endpoint import Endpoint

HOSTILE = {
    "a colour": ("\x1b[1;31mred\x1b[0m", "red"),
    "clear the screen": ("\x1b[2J", "�[2J"),
    "the clipboard": ("\x1b]52;c;cm0gLXJm\x07", "�]52;c;cm0gLXJm�"),
    "the title": ("\x1b]0;root\x1b\\", "�]0;root�\\"),
    "a link": ("\x1b]8;;http://x\x07y", "�]8;;http://x�y"),
    "C1": ("\x9b2J\x85", "�2J�"),
    "DEL": ("a\x7fb", "a�b"),
    "back over what stands there": ("no\b\bOK", "no��OK"),
    "NUL": ("\0", "�"),
    "bidi overrides": ("\u202agpj.\u202eexe\u202c", "�gpj.�exe�"),
    "bidi isolates": ("\u2066a\u2067b\u2068c\u2069", "�a�b�c�"),
    "marks": ("\u200e\u200f\u061c\ufeff\u200b", "�����"),
    "line and paragraph": ("a\u2028b\u2029c", "a�b�c"),
    "half a letter": ("\ud83d", "�"),
    "tags nobody sees": ("\U000e0041", "�"),
    "no letter": ("\ue000\uffff", "��"),
    "letters": ("naïve 模型 \u00a0\u202f€ 🐎", "naïve 模型 \u00a0\u202f€ 🐎"),
    "lines and tabs": ("a\tb\nc", "a\tb\nc"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_directs_a_terminal_is_not_printed(name: str) -> None:
    text, shown = HOSTILE[name]
    assert printable(text) == shown
    assert sentence(text) == shown.replace("\n", " ")


def test_a_sentence_is_one_line_whatever_ends_lines() -> None:
    assert (printable("no\rOK"), sentence("a\r\nb\rc\n")) == ("no�OK", "a b c ")


def test_no_control_letter_of_unicode_gets_through() -> None:
    hostile = [chr(code) for code in range(0x110000) if unicodedata.category(chr(code))[0] == "C"]
    through = [letter for letter in hostile if as_printed(letter) == letter]
    assert (through, len(hostile) > 100_000) == ([], True)
    assert (printable("\n\t"), as_printed("\n")) == ("\n\t", "�")


def test_json_keeps_its_value_and_loses_its_controls() -> None:
    values = [text for text, _ in HOSTILE.values() if text != "\ud83d"]
    shown = printable_json(json.dumps(values, ensure_ascii=False))
    assert json.loads(shown) == values
    assert printable(shown) == shown
    assert printable_json('"\U000e0041\x7f"') == '"\\udb40\\udc41\\u007f"'


def test_all_that_is_said_is_printable(capsys: pytest.CaptureFixture[str]) -> None:
    words = "a\x1b[2J\nOK: forged\u202e"
    endpoint = Endpoint(base_url="http://x", served_model_name="m\x7f")
    say(words)
    progress(words)
    warn(words)
    emit(endpoint, words, as_json=False)
    emit(endpoint, words, as_json=True)
    assert fail(CorralError(words, words), as_json=False) == 1
    out, err = capsys.readouterr()
    said, line = "a�[2J\nOK: forged�", "a�[2J OK: forged�"
    assert err == f"{said}\nwarning: {line}\nerror: {line}\nhint: {line}\n"
    first, second, record = out.split("�\n", 2)
    assert (f"{first}�", f"{second}�", json.loads(record)) == (
        said,
        said,
        json.loads(endpoint.model_dump_json()),
    )
    assert printable(record) == record


def test_a_cell_of_a_table_is_no_second_row() -> None:
    assert table([("name", "state"), ("a\nOK", "\x1b[2J")]) == "  name  state\n  a OK  �[2J"


def test_a_refusal_has_an_end() -> None:
    assert refusal("short\nand\x1b[2Jodd") == sentence("short\nand\x1b[2Jodd")
    told = refusal("a" * 3000 + "b" * 10**6 + "c" * 3000)
    assert told == "a" * 2000 + " [...] " + "c" * 2000
