"""A file on its way: which of its chunks have come, whoever fetches them, and what they come to."""

import hashlib
from pathlib import Path

import pytest

from infra.fetch.hub_answers import Span
from infra.fetch.listing import Wanted
from infra.fetch.partial import Partial, Sums, sums_of

CONTENT = b"0123456789"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
BLOB = hashlib.sha1(b"blob 10\0" + CONTENT).hexdigest()


def wanted(sha256: str = SHA256, size: int = 10) -> Wanted:
    return Wanted("f", size, sha256, BLOB)


def bring(partial: Partial, *indexes: int) -> None:
    for index in indexes:
        span = partial.span(index)
        partial.write(memoryview(CONTENT[span.first : span.last + 1]), span.first)
        partial.mark(index)


def test_what_came_is_kept_and_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "f.part"
    first = Partial(path, wanted(), 4)
    assert [first.span(index) for index in first.missing()] == [
        Span(0, 3, 10),
        Span(4, 7, 10),
        Span(8, 9, 10),
    ]
    bring(first, 1)
    assert (list(first.missing()), first.there, first.is_summed()) == ([0, 2], 4, False)
    first.write(memoryview(b"01"), 0)  # and was killed in the middle of that chunk
    first.close()
    first.close()
    again = Partial(path, wanted(), 4)
    assert (list(again.missing()), again.there) == ([0, 2], 4)
    bring(again, 2, 0)
    assert (again.there, again.beginning()[:10], again.is_summed()) == (10, CONTENT, True)
    assert (again.sums.are_right(), again.sums.sha256, again.is_summed()) == (True, SHA256, False)
    assert path.stat().st_size == 10 + 8 + 3
    again.finish()
    again.close()
    assert path.read_bytes() == CONTENT
    whole = Partial(path, wanted(), 4)
    assert (list(whole.missing()), whole.there, whole.is_summed(), whole.sums.are_right()) == (
        [],
        10,
        True,
        True,
    )
    whole.close()


@pytest.mark.parametrize(
    ("content", "chunk"),
    [
        (b"", 4),
        (b"short", 4),
        (CONTENT + (5).to_bytes(8, "little") + b"\1\1\1", 4),  # of other chunks
        (CONTENT + (4).to_bytes(8, "little") + b"\1\1", 4),
        (CONTENT + (4).to_bytes(8, "little") + b"\1\1\1\1", 4),
    ],
)
def test_what_is_no_earlier_one_is_begun_anew(content: bytes, chunk: int, tmp_path: Path) -> None:
    path = tmp_path / "f.part"
    path.write_bytes(content)
    partial = Partial(path, wanted(), chunk)
    assert (list(partial.missing()), partial.there) == ([0, 1, 2], 0)
    partial.close()
    assert path.read_bytes() == bytes(10) + (4).to_bytes(8, "little") + bytes(3)


def test_one_that_is_wrong_is_fetched_once_more(tmp_path: Path) -> None:
    partial = Partial(tmp_path / "f.part", wanted(), 4)
    bring(partial, 0, 1, 2)
    partial.write(memoryview(b"x"), 0)
    assert (partial.is_summed(), partial.sums.are_right(), partial.is_tried_again) == (True, False, False)
    partial.restart()
    assert (list(partial.missing()), partial.there, partial.is_tried_again) == ([0, 1, 2], 0, True)
    bring(partial, 0, 1, 2)
    assert (partial.is_summed(), partial.sums.are_right()) == (True, True)
    partial.close()


def test_a_file_of_nothing_has_come_at_once(tmp_path: Path) -> None:
    partial = Partial(tmp_path / "f.part", Wanted("f", 0, hashlib.sha256().hexdigest(), ""), 4)
    assert (list(partial.missing()), partial.is_summed(), partial.sums.are_right()) == ([], True, True)
    partial.finish()
    partial.close()


def test_no_link_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "f.part").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="Too many levels"):
        Partial(tmp_path / "f.part", wanted(), 4)


@pytest.mark.parametrize(
    ("sha256", "blob", "content", "is_right"),
    [
        (SHA256, "other", CONTENT, True),
        (SHA256, BLOB, CONTENT[::-1], False),
        ("", BLOB, CONTENT, True),
        ("", BLOB, CONTENT[::-1], False),
    ],
)
def test_bytes_are_right_by_what_the_hub_tells(
    sha256: str, blob: str, content: bytes, is_right: bool, tmp_path: Path
) -> None:
    file = Wanted("f", 10, sha256, blob)
    sums = Sums(file)
    for at in range(0, 10, 3):
        sums.update(content[at : at + 3])
    assert (sums.are_right(), sums.sha256) == (is_right, hashlib.sha256(content).hexdigest())
    (tmp_path / "f").write_bytes(content)
    read: list[int] = []
    assert sums_of(tmp_path / "f", file, read.append).are_right() is is_right
    assert read == [10]
