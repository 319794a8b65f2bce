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
    response.feed(head("Content-Encoding: GZip", "Content-Length: 2") + b"\x1f\x8b")
    assert (response.is_stream, response.encoding, response.body) == (False, "gzip", b"\x1f\x8b")
