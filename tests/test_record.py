"""Documents: written whole or not at all, read back equal, and refused in one sentence."""

import os
import stat
from pathlib import Path
from typing import ClassVar, Literal

import pytest

from infra import record
from infra.errors import DocumentError, HostError
from infra.record import Document, Record, write_text_atomically


class Note(Document):
    kind: ClassVar[str] = "note"
    document: Literal["note"] = "note"
    schema_version: Literal[2] = 2

    count: int


def test_a_document_is_read_back_equal_and_is_its_owners_alone(tmp_path: Path) -> None:
    place = tmp_path / "made" / "on the way" / "note.json"
    Note(count=3).write(place)
    assert Note.read(place) == Note(count=3)
    assert place.read_text() == '{\n  "document": "note",\n  "schema_version": 2,\n  "count": 3\n}\n'
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    assert os.listdir(place.parent) == ["note.json"]


AGAIN = "Make it again with the command that wrote it, or look at it: head {0}"


def test_where_a_folder_is_missing_the_one_above_it_is_to_be_looked_at(tmp_path: Path) -> None:
    with pytest.raises(DocumentError) as raised:
        Note.read(tmp_path / "none" / "deeper" / "note.json")
    assert raised.value.hint == f"Check the path: ls -l {tmp_path}"


@pytest.mark.parametrize(
    ("text", "sentence", "hint"),
    [
        (None, "There is no note at {0}.", "Check the path: ls -l {0.parent}"),
        (b"\xff", "{0} is not text, so it is no note.", "See what it is: file {0}"),
        (
            b"{",
            "{0} is not a note this version can read: "
            "Invalid JSON: EOF while parsing an object at line 1 column 1.",
            AGAIN,
        ),
        (
            b'{"count": "many"}',
            "{0} is not a note this version can read: "
            "count: Input should be a valid integer, unable to parse string as an integer.",
            AGAIN,
        ),
        (
            b'{"schema_version": 1, "counts": 3}',
            "{0} was written by another version of corral (schema 1, this one reads 2).",
            AGAIN,
        ),
        (
            b'{"document": "plan", "schema_version": 1}',
            "{0} is not a note this version can read: it is a document of another kind (plan).",
            "Name a note in its place.",
        ),
        (
            b'{"schema_version": "new"}',
            "{0} is not a note this version can read: schema_version: Input should be 2.",
            AGAIN,
        ),
    ],
)
def test_what_cannot_be_read_is_one_sentence_and_a_next_step(
    text: bytes | None, sentence: str, hint: str, tmp_path: Path
) -> None:
    place = tmp_path / "note.json"
    if text is not None:
        place.write_bytes(text)
    with pytest.raises(DocumentError) as error:
        Note.read(place)
    assert (error.value.message, error.value.hint) == (sentence.format(place), hint.format(place))


def test_a_folder_is_no_document(tmp_path: Path) -> None:
    with pytest.raises(DocumentError) as error:
        Note.read(tmp_path)
    assert (error.value.message, error.value.hint) == (
        f"{tmp_path} is a folder, not a note.",
        f"Name the file: ls {tmp_path}",
    )


def test_what_replaces_the_file_is_on_the_disk_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, done = tmp_path / "file", []
    place.write_text("old")
    monkeypatch.setattr(
        os, "fsync", lambda handle: done.append(("fsync", os.pread(handle, 9, 0), place.read_text()))
    )
    write_text_atomically(place, "new")
    assert done == [("fsync", b"new", "old")]
    assert place.read_text() == "new"


@pytest.mark.parametrize("fails", ["fsync", "chmod", "replace"])
def test_a_disk_that_refuses_leaves_the_old_file_alone(
    fails: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    place = tmp_path / "file"
    place.write_text("old")
    monkeypatch.setattr(os, fails, full)
    with pytest.raises(HostError) as error:
        write_text_atomically(place, "new")
    assert error.value.message == f"{place} cannot be written: No space left on device."
    assert (os.listdir(tmp_path), place.read_text()) == (["file"], "old")


def test_what_is_there_and_no_file_is_written_to(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_text_atomically(pipe, "new")
    assert (os.read(reader, 9), stat.S_ISFIFO(pipe.stat().st_mode)) == (b"new", True)
    os.close(reader)


def test_a_document_without_an_end_is_refused_at_its_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record, "LARGEST_BYTES", 1000)
    with pytest.raises(DocumentError) as error:
        Note.read(Path("/dev/zero"))
    assert (error.value.message, error.value.hint) == (
        "/dev/zero is larger than 1,000 bytes, so it is no note.",
        "See what it is: file /dev/zero",
    )


@pytest.mark.parametrize("number", ["9" * 4000, "-" + "9" * 4000, "1e999", "NaN", "9" * 5000, "1001"])
def test_a_version_that_is_none_is_one_sentence(number: str) -> None:
    with pytest.raises(DocumentError) as error:
        Note.parse(f'{{"schema_version": {number}}}', "x")
    assert error.value.message.startswith("x is not a note this version can read: ")


def test_a_name_of_a_field_moves_no_cursor() -> None:
    with pytest.raises(DocumentError) as error:
        Note.parse('{"count": 1, "\\u001b[2J\\nOK%s": 1}' % ("x" * 10_000), "x")
    assert error.value.message.isprintable()
    assert len(error.value.message) < 700


def test_a_pipe_or_a_device_in_a_folder_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(bytes(11))
    for path, why in (
        (tmp_path / "pipe", "cannot be read: it is no regular file"),
        (Path("/dev/zero"), "cannot be read: it is no regular file"),
        (tmp_path, "cannot be read: Is a directory"),
        (tmp_path / "none", "cannot be read: No such file or directory"),
        (tmp_path / "large", "is larger than 10 bytes"),
    ):
        with pytest.raises(DocumentError) as error:
            record.read_bytes(path, "Look.", 10)
        assert (error.value.message, error.value.hint) == (f"{path} {why}.", "Look.")
    assert record.read_bytes(tmp_path / "large", "", 11) == bytes(11)


@pytest.mark.parametrize("number", [2**63 + 1, -(2**63) - 1, 10**30, 2**64, f'"{"9" * 400}"'])
def test_a_number_that_nothing_is_reckoned_with(number: int | str) -> None:
    with pytest.raises(DocumentError) as error:
        Note.parse(f'{{"count": {number}}}', "x")
    assert error.value.message == "x is not a note this version can read: it holds a number beyond 9.2e+18."
    assert Note.parse('{"count": 9223372036854775807}', "x").count == 2**63 - 1


def test_a_document_of_wrong_values_is_told_by_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of a hundred thousand problems is put into words; with more values than any it is not even tried."""

    def never(*_: object) -> str:
        raise AssertionError

    class Many(Document):
        kind: ClassVar[str] = "many"
        document: Literal["many"] = "many"
        schema_version: Literal[1] = 1
        names: tuple[str, ...]

    text = (
        '{"document": "many", "schema_version": 1, "names": [' + ",".join("1" for _ in range(100_000)) + "]}"
    )
    monkeypatch.setattr(record, "other_version", never)
    with pytest.raises(DocumentError) as error:
        Many.parse(text, "m.json")
    assert error.value.message == (
        "m.json is not a many this version can read: 100,000 of its values do not belong there."
    )
    monkeypatch.setattr(Many, "model_validate_json", never)
    for tried in (text.replace("1,1", "1" + ",1" * 30), b"[" * 2_000_001):
        with pytest.raises(DocumentError) as error:
            Many.parse(tried, "m.json")
        assert error.value.message == (
            "m.json is not a many this version can read: it holds more than 1,000,000 values."
        )


def test_a_document_that_is_given_may_come_through_a_pipe(tmp_path: Path) -> None:
    """As `corral up <(corral size ...)` hands it over; one in corral's home is no document."""
    reading, writing = os.pipe()
    os.write(writing, b"words")
    os.close(writing)
    assert record.read_text(Path(f"/dev/fd/{reading}"), "plan") == "words"
    os.close(reading)


def test_what_a_run_never_makes_is_never_built() -> None:
    """A verb imports many records and makes few; to build the others took a tenth of `size`."""

    class Made(Record):
        value: int

    assert not Made.__pydantic_complete__
    assert Made(value=3).model_dump() == {"value": 3}
    assert Made.__pydantic_complete__


def test_what_cannot_be_removed_is_told_and_the_rest_is(tmp_path: Path) -> None:
    one, folder, two = tmp_path / "one", tmp_path / "folder", tmp_path / "two"
    one.touch()
    folder.mkdir()
    two.touch()
    assert record.removed([one, tmp_path / "nothing", folder, two]) == (f"file {folder}: Is a directory",)
    assert list(tmp_path.iterdir()) == [folder]
