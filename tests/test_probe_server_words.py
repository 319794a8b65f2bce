"""What a server said, for a line of ours."""

from datetime import UTC, datetime

import pytest

from infra.printable import one_line
from serving.vllm.server_words import body_line, wait_s, wait_text

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)


def test_a_line_is_one_line_that_can_be_printed_and_stored() -> None:
    assert one_line("a\r\n\tb\x00\x1b[31m c\ud800 é") == "a b\ufffd\ufffd[31m c\ufffd é"
    assert one_line("x" * 10_000) == "x" * 297 + "..."


@pytest.mark.parametrize(
    ("body", "encoding", "line"),
    [
        (b"", "", "an empty body"),
        (b"no\nmore", "", "no more"),
        (b"<p>hello", "", "an HTML page"),
        (b"<html><TITLE lang=en>502\n Bad</TITLE>", "", "an HTML page: 502 Bad"),
        (b"\x1f\x8b", "gzip", "a body in gzip"),
        (b"\xff" * 500, "", "\ufffd" * 117 + "..."),
    ],
)
def test_a_body_that_is_no_json(body: bytes, encoding: str, line: str) -> None:
    assert body_line(body, encoding) == line


@pytest.mark.parametrize(
    ("asked", "seconds", "words"),
    [
        ("7", 7.0, "7 s"),
        ("600", 600.0, "10 minutes"),
        ("Thu, 26 Nov 2026 12:00:30 GMT", 30.0, None),
        ("Thu, 26 Nov 2026 11:00:00 GMT", 0.0, None),
        ("-1", None, "a minute"),
        ("inf", None, "a minute"),
        ("nan", None, "a minute"),
        ("²", None, "a minute"),
        ("soon", None, "a minute"),
        ("", None, "a minute"),
        ("99999999999", 99999999999.0, "for it (Retry-After: 99999999999)"),
    ],
)
def test_how_long_to_wait(asked: str, seconds: float | None, words: str | None) -> None:
    assert wait_s(asked, NOON) == seconds
    assert words is None or wait_text(asked) == words


def test_a_line_is_as_long_as_it_may_be() -> None:
    assert [len(one_line("x" * size)) for size in (299, 300, 301)] == [299, 300, 300]
    assert [one_line("abcdef", most) for most in (5, 6)] == ["ab...", "abcdef"]
    assert one_line(" " * 1200 + "x") == ""


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (None, "a minute"),
        ("119", "119 s"),
        ("120", "2 minutes"),
        (str(7 * 86400), "10080 minutes"),
        (str(7 * 86400 + 1), "for it (Retry-After: 604801)"),
        ("9" * 60, f"for it (Retry-After: {'9' * 37}...)"),
    ],
)
def test_how_long_a_person_waits(asked: str | None, words: str) -> None:
    assert wait_text(asked) == words


def test_a_date_without_a_zone_is_in_utc() -> None:
    assert wait_s("26 Nov 2026 12:01:00 -0000", NOON) == 60.0
