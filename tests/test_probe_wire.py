"""The splitter: any cut of the bytes gives the same payloads; a peer that breaks the rules is named."""

import pytest

from serving.probe.wire import Response, WireFault

EVENTS = ['{"text": "a"}', '{"text": "é\u2028 b"}', "[DONE]"]
PAYLOADS = [event.encode() for event in EVENTS]


def stream(newline: str = "\n", space: str = " ", comments: bool = False) -> bytes:
    note = f": still here{newline}{newline}" if comments else ""
    return "".join(f"{note}data:{space}{event}{newline}{newline}" for event in EVENTS).encode()


def chunked(data: bytes, size: int) -> bytes:
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in [*pieces, b""])


def head(*lines: str, version: str = "1.1") -> bytes:
    return "\r\n".join([f"HTTP/{version} 200 OK", "Content-Type: text/event-stream", *lines, "", ""]).encode()


BODY = stream()
CHUNKED = "Transfer-Encoding: Chunked"
ANSWERS = {
    "one chunk an event": head("Transfer-Encoding: chunked")
    + b"".join(b"%x\r\n%s\n\n\r\n" % (len(part) + 2, part) for part in BODY.split(b"\n\n")[:-1])
    + b"0\r\n\r\n",
    "small chunks": head("Transfer-Encoding: chunked") + chunked(BODY, 7),
    "chunk extension and trailer": head("Transfer-Encoding: chunked")
    + b"%x;name=value\r\n%s\r\n0\r\nX-After: 1\r\n\r\n" % (len(BODY), BODY),
    "crlf": head("Transfer-Encoding: chunked") + chunked(stream("\r\n"), 50),
    "cr": head("Transfer-Encoding: chunked") + chunked(stream("\r"), 50),
    "no space, comments": head("Transfer-Encoding: chunked") + chunked(stream(space="", comments=True), 50),
    "content length": head(f"Content-Length: {len(BODY)}") + BODY,
    "until close": head(version="1.0") + BODY,
    "no last blank line": head(version="1.0") + BODY.rstrip(b"\n"),
    "after a 100": b"HTTP/1.1 100 Continue\r\n\r\n" + head(f"Content-Length: {len(BODY)}") + BODY,
    "after empty lines": b"\r\n\n\r\nHTTP/1.1 100 Continue\r\n\r\n\r\n" + head(CHUNKED) + chunked(BODY, 50),
    "headers that go on in the next line": (
        b"HTTP/1.1 200 OK\r\nContent-Type:\r\n text/event-stream;\n\tcharset=utf-8\r\nTransfer-Encoding:\r\n  chunked"
        b"\r\n\r\n" + chunked(BODY, 30)
    ),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_every_cut_gives_the_same_payloads(name: str) -> None:
    answer = ANSWERS[name]
    for cut in range(1, len(answer)):
        response = Response()
        payloads = response.feed(answer[:cut]) + response.feed(answer[cut:])
        payloads += [] if response.complete else response.end()
        assert (cut, payloads) == (cut, PAYLOADS)


@pytest.mark.parametrize("name", ANSWERS)
def test_byte_by_byte(name: str) -> None:
    response, payloads = Response(), []
    for byte in ANSWERS[name]:
        payloads += response.feed(bytes([byte]))
    payloads += [] if response.complete else response.end()
    assert payloads == PAYLOADS


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_an_event_is_told_with_the_byte_that_ends_it(newline: str) -> None:
    """A CR ends a line by itself, though an LF may follow: whoever waits for that dates each event by the next."""
    for event, payload in zip(EVENTS, PAYLOADS, strict=True):
        response = Response()
        response.feed(head(version="1.0"))
        whole = f"data: {event}{newline}{newline}".encode()
        last = len(whole) - (newline == "\r\n")  # the blank line's CR
        assert [response.feed(bytes([byte])) for byte in whole[:last]] == [[]] * (last - 1) + [[payload]]
        assert (response.feed(whole[last:]), response.is_cut, response.end()) == ([], False, [])


def test_the_short_way_and_the_long_way_agree() -> None:
    """One read with one chunk with one event takes the short way; cut in two it takes the long one."""
    frame = b"14\r\ndata: " + b'{"a": "bcde"}' + b"\n\n\r\n"
    frame = b"%x\r\n" % (len(frame) - 6) + frame[4:]
    short, long = Response(), Response()
    for response in (short, long):
        assert response.feed(head("Transfer-Encoding: chunked")) == []
    assert short.feed(frame) == [b'{"a": "bcde"}']
    assert long.feed(frame[:12]) + long.feed(frame[12:]) == [b'{"a": "bcde"}']


@pytest.mark.parametrize(
    ("answer", "error_class"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "bad_http"),
        (b"HTTP/1.1 OK\r\n\r\n", "bad_http"),
        (b"x" * 70_000, "bad_http"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"x" * 70_000, "bad_http"),
        (head("Transfer-Encoding: chunked") + b"zz\r\n", "bad_http"),
        (head("Transfer-Encoding: chunked") + b"-5\r\n", "bad_http"),
        (head("Transfer-Encoding: chunked") + b"2\r\nabc\r\n", "bad_http"),
        (head("Content-Length: -1"), "bad_http"),
        (head("Content-Length: \xb2"), "bad_http"),
        (head("Content-Length: " + "9" * 5000), "bad_http"),
        (head("Transfer-Encoding: chunked") + b"f" * 900 + b"\r\n", "bad_http"),
        ("HTTP/1.1 \xb2\xb2\xb2 OK\r\n\r\n".encode("latin-1"), "bad_http"),
        (b"HTTP/1.1 102 X\r\n\r\n" * 5000, "bad_http"),
        (head(version="1.0") + (b"data: " + b"x" * 2**20 + b"\n") * 17, "endless"),
        (head("Transfer-Encoding: chunked") + b"%x\r\n" % 2**26 + b"data: " + b"x" * 2**25, "endless"),
    ],
)
def test_what_is_no_answer_is_a_fault(answer: bytes, error_class: str) -> None:
    with pytest.raises(WireFault) as fault:
        Response().feed(answer)
    assert fault.value.error_class == error_class


@pytest.mark.parametrize(
    ("answer", "error_class"),
    [
        (b"", "no_response"),
        (b"HTTP/1.1 200 OK\r\n", "truncated"),
        (head("Transfer-Encoding: chunked") + b"20\r\ndata: {", "truncated"),
        (head("Content-Length: 100") + b"data: {", "truncated"),
    ],
)
def test_an_early_close_is_a_fault(answer: bytes, error_class: str) -> None:
    response = Response()
    response.feed(answer)
    with pytest.raises(WireFault) as fault:
        response.end()
    assert fault.value.error_class == error_class


def test_an_answer_that_is_no_stream_is_kept_as_a_body() -> None:
    response = Response()
    answer = b"HTTP/1.1 429 Slow\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nwaitHTTP/1.1"
    assert response.feed(answer) == []
    assert (response.status, response.body, response.headers["retry-after"]) == (429, b"wait", "7")
    assert (response.complete, response.keep_alive) == (True, False)  # bytes followed the end


def test_a_body_that_is_no_stream_is_read_no_further_than_it_is_kept() -> None:
    response = Response()
    response.feed(b"HTTP/1.1 500 X\r\n\r\n" + b"x" * 200_000)
    assert (len(response.body), response.complete, response.keep_alive) == (65536, True, False)


def test_a_stream_that_is_compressed_is_none() -> None:
    response = Response()
    response.feed(
        head("Transfer-Encoding: GZip", "Transfer-Encoding: chunked") + b"2\r\n\x1f\x8b\r\n0\r\n\r\n"
    )
    assert (response.is_stream, response.encoding, response.body) == (False, "gzip", b"\x1f\x8b")
    assert (response.complete, response.keep_alive) == (True, True)
    response = Response()
    response.feed(head("Content-Encoding: GZip", "Content-Length: 2") + b"\x1f\x8b")
    assert (response.is_stream, response.encoding, response.body) == (False, "gzip", b"\x1f\x8b")


# What follows an answer, and when the connection can be used again


@pytest.mark.parametrize(
    ("answer", "complete", "keep_alive"),
    [
        (head(CHUNKED) + chunked(BODY, 50), True, True),
        (head(CHUNKED, "Connection: Close") + chunked(BODY, 50), True, False),
        (head(CHUNKED, "Connection: foo, Close") + chunked(BODY, 50), True, False),
        (head(CHUNKED, "Connection: close", "Connection: foo") + chunked(BODY, 50), True, False),
        (head(CHUNKED, "Connection: foo, closed") + chunked(BODY, 50), True, True),
        (head(CHUNKED, "Connection: foo ,Keep-Alive", version="1.0") + chunked(BODY, 50), True, True),
        (head(CHUNKED) + chunked(BODY, 50) + b"more", True, False),
        (head(CHUNKED) + chunked(BODY, 50) + b"\r\n", True, True),
        (head(CHUNKED) + chunked(BODY, 50) + b"\r\nmore", True, False),
        (head(f"Content-Length: {len(BODY)}") + BODY + b"\r\n\n", True, True),
        (head(CHUNKED, version="1.0") + chunked(BODY, 50), True, False),
        (head(CHUNKED, "Connection: Keep-Alive", version="1.0") + chunked(BODY, 50), True, True),
        (head(f"Content-Length: {len(BODY)}") + BODY, True, True),
        (head(f"Content-Length: {len(BODY)}") + BODY + b"m", True, False),
        (head(f"Content-Length: {len(BODY)}") + BODY[:-1], False, True),
        (head("Content-Length: 0"), True, True),
        (head("Content-Length: 0") + b"m", True, False),
        (head(), False, False),
        (b"HTTP/1.1 204 X\r\n\r\n", True, True),
        (b"HTTP/1.1 304 X\r\n\r\n", True, True),
        (b"HTTP/1.1 205 X\r\n\r\n", False, False),
        (b"HTTP/1.1 103 X\r\n\r\n", False, False),
    ],
)
def test_a_whole_answer_after_which_another_can_be_asked(
    answer: bytes, complete: bool, keep_alive: bool
) -> None:
    response = Response()
    response.feed(answer)
    assert (response.complete, response.keep_alive) == (complete, keep_alive)


def test_lines_may_end_in_a_bare_lf() -> None:
    whole = (head(CHUNKED) + chunked(stream(), 50)).replace(b"\r\n", b"\n")
    for cut in range(len(whole)):
        response = Response()
        assert [*response.feed(whole[:cut]), *response.feed(whole[cut:])] == PAYLOADS
        assert (response.complete, response.keep_alive) == (True, True)


def test_headers_are_read_without_their_case() -> None:
    response = Response()
    response.feed(b"HTTP/1.1 418 I'm\r\nX-One:  two \r\nCONTENT-encoding: Identity\r\nno colon\r\n\r\n")
    assert (response.status, response.headers, response.encoding, response.is_stream) == (
        418,
        {"x-one": "two", "content-encoding": "Identity", "no colon": ""},
        "",
        False,
    )


@pytest.mark.parametrize(
    ("status", "kind", "encoding", "is_stream"),
    [
        (200, "Text/Event-Stream; charset=utf-8", "", True),
        (200, "text/event-stream", "identity", True),
        (200, "text/event-stream", "br", False),
        (200, "application/json", "", False),
        *((status, "text/event-stream", "", True) for status in (201, 202, 203)),
        *((status, "text/event-stream", "", False) for status in (199, 204, 206)),
    ],
)
def test_what_is_a_stream_of_events(status: int, kind: str, encoding: str, is_stream: bool) -> None:
    response = Response()
    response.feed(
        f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-encoding: {encoding}\r\n\r\n".encode()
    )
    assert response.is_stream == is_stream


@pytest.mark.parametrize("kind", ["text/plain; charset=utf-8", "", "Application/Octet-Stream"])
@pytest.mark.parametrize("first", ["", "\ufeff", ": hello\n\n", "event: x\n", "id: 1\n", "retry: 9\n"])
def test_a_stream_of_events_by_another_name_is_known_by_its_first_bytes(kind: str, first: str) -> None:
    """Nobody's client looks at what it is called."""
    whole = f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\n\r\n{first}".encode() + BODY
    for cut in range(len(whole)):
        response = Response()
        found = response.feed(whole[:cut]) + response.feed(whole[cut:]) + response.end()
        assert (found, response.is_stream, response.body) == (PAYLOADS, True, b"")


@pytest.mark.parametrize(
    ("status", "kind", "body"),
    [
        (200, "text/plain", b'{"error": "data: x"}\n'),
        (200, "text/plain", b" data: x\n\n"),
        (200, "application/json", b"data: x\n\n"),
        (500, "text/plain", b"data: x\n\n"),
    ],
)
def test_what_begins_otherwise_or_is_called_something_else_is_none(
    status: int, kind: str, body: bytes
) -> None:
    response = Response()
    response.feed(f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\n\r\n".encode() + body)
    assert (response.is_stream, response.body) == (False, body)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"SSH-2.0-" + b"x" * 40, f"the answer is not HTTP: {b'SSH-2.0-' + b'x' * 32!r}"),
        (b"HTTP/1.1 two" + b"x" * 40 + b"\r\n\r\n", f"the answer is not HTTP: 'HTTP/1.1 two{'x' * 28}'"),
        (b"HTTP/1.1 200 OK\r\n" + b"x" * 65536, "headers without an end"),
        (b"\r\n" * 32769, "empty lines without an end"),
        (b"HTTP/1.1 102 X\r\n\r\n" * 101, "more than 100 interim answers, and no end"),
        (head("Content-Length: 5x"), "content-length '5x'"),
        (head("Content-Length: " + "9" * 50), f"content-length {'9' * 40!r}"),
        (head(CHUNKED) + b"+5\r\n", "a chunk size that is none: b'+5'"),
        (head(CHUNKED) + b"1_0\r\n", "a chunk size that is none: b'1_0'"),
        (head(CHUNKED) + b";x\r\n", "a chunk size that is none: b';x'"),
        (head(CHUNKED) + b"0" * 16 + b"\r\n", f"a chunk size that is none: {b'0' * 16!r}"),
        (head(CHUNKED) + b"z" * 50 + b"\r\n", f"a chunk size that is none: {b'z' * 40!r}"),
        (head(CHUNKED) + b"2\r\nabcde\r\n", "a chunk longer than it said: b'cde'"),
        (head(CHUNKED) + b"2\r\nabc", "a broken chunk: b'c'"),
        (head(CHUNKED) + b"1" * 1025, f"a broken chunk: {b'1' * 40!r}"),
        (head(version="1.0") + b"x" * (2**24 + 1), "a line without an end"),
        (head(version="1.0") + b"data: x\ndata: " + b"x" * (2**24 - 6) + b"\n", "an event without an end"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(answer: bytes, message: str) -> None:
    with pytest.raises(WireFault) as fault:
        Response().feed(answer)
    assert str(fault.value) == message


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\n" + b"x" * (65536 - 17),
        b"\r\n" * 32768,
        b"HTTP/1.1 102 X\r\n\r\n" * 100,
        head("Content-Length: " + "9" * 15),
        head(CHUNKED) + b"0" * 14 + b"5\r\n",
        head(CHUNKED) + b"2\r\nab\r",
        head(CHUNKED) + b"1" * 1024,
        head(version="1.0") + b"x" * 2**24,
        head(version="1.0") + b"data: x\n" + b"data: " + b"x" * (2**24 - 13) + b"\n",
    ],
)
def test_what_is_just_within_bounds_is_waited_for(answer: bytes) -> None:
    response = Response()
    response.feed(answer)
    assert not response.complete


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"", "closed before an answer"),
        (b"\r\n", "closed before an answer"),
        (b"HTTP/1.1 102 X\r\n\r\n", "closed before an answer"),
        (b"HTTP/1.1 2", "closed in the headers"),
        (head(CHUNKED) + b"0\r\n", "the connection was closed in the middle of the response"),
        (head("Content-Length: 5") + b"data", "the connection was closed in the middle of the response"),
    ],
)
def test_what_an_early_close_is_called(answer: bytes, message: str) -> None:
    response = Response()
    response.feed(answer)
    with pytest.raises(WireFault) as fault:
        response.end()
    assert str(fault.value) == message


# Events


@pytest.mark.parametrize(
    ("body", "payloads", "comments"),
    [
        (b"data: a\n\n", [b"a"], 0),
        (b"data:a\n\n", [b"a"], 0),
        (b"data:  a\n\n", [b" a"], 0),
        (b"data: a\ndata: b\n\n", [b"a\nb"], 0),
        (b"data:\n\n", [b""], 0),
        (b"event: x\nid: 5\ndata: a\n\n", [b"a"], 0),
        (b": one\n:\n\n\ndata: a\n\n: three", [b"a"], 3),
        (b"data: a\n\ndata: b", [b"a", b"b"], 0),
        (b"data: a\r", [b"a"], 0),
        (b"data: a\r\rdata: b\r\n\r\n", [b"a", b"b"], 0),
        (b"database: a\n\n", [], 0),
    ],
)
def test_events_as_the_standard_says_them(body: bytes, payloads: list[bytes], comments: int) -> None:
    response = Response()
    found = response.feed(head(version="1.0") + body) + response.end()
    assert (found, response.comments, response.complete) == (payloads, comments, True)


def test_an_event_may_be_as_long_as_any_before_it() -> None:
    """The limit is one event's."""
    big = b"data: " + b"x" * 2**23 + b"\n\n"
    response = Response()
    assert [len(each) for each in response.feed(head(version="1.0") + big * 3)] == [2**23] * 3


@pytest.mark.parametrize(
    ("frame", "payloads", "between"),
    [
        (b"10\r\ndata: {'a': 1}\n\n\r\n", [b"{'a': 1}"], True),
        (b"11\r\ndata: {'a': 1}\n\n\r\n", None, False),  # it says one more than it holds
        (b"b\r\ndata: a\rb\n\n\r\n", [b"a"], True),
        (b"b\r\ndata: a\nb\n\n\r\n", [b"a"], True),
        (b"a\r\ndata: ab\n\n\r\n9\r\ndata: c\n\n\r\n", [b"ab", b"c"], True),
        (b"9\r\ndata: a\n\n\r\n0\r\n\r\n", [b"a"], False),
        (b"7\r\ndata: a\r\n", [], False),
        (b"9\r\ndata: a\n\n", [b"a"], False),
        (b"9\r\n: dat a\n\n\r\n", [], True),
    ],
)
def test_whether_the_next_read_may_be_one_chunk_with_one_event(
    frame: bytes, payloads: list[bytes] | None, between: bool
) -> None:
    response = Response()
    assert response.feed(head(CHUNKED)) == []
    assert response.between
    if payloads is None:
        with pytest.raises(WireFault):
            response.feed(frame + b"\r\n")
    else:
        assert (response.feed(frame), response.between) == (payloads, between)


def test_a_body_is_kept_to_its_limit_and_whole_below_it() -> None:
    for size, kept, complete in ((65535, 65535, False), (65536, 65536, True), (65537, 65536, True)):
        response = Response()
        response.feed(b"HTTP/1.1 500 X\r\n\r\n" + b"x" * (size - 9) + b"y" * 9)
        assert (len(response.body), response.complete) == (kept, complete), size
    response = Response()
    for _ in range(3):
        response.feed(b"HTTP/1.1 500 X\r\n\r\n" if response.status == 0 else b"ab")
    assert (response.body, response.end(), response.complete) == (b"abab", [], True)
