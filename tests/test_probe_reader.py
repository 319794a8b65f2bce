"""What comes over a socket is told alike by the compiled reader and by Python's, whatever an event holds."""

import asyncio
import json
import socket
import stat
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import asking
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from serving.probe import compiled
from serving.probe.apis import APIS, ApiName
from serving.probe.connection import Connection, Peer
from serving.probe.exchange import Answer, Shot, around
from serving.probe.kernel_stamps import CONTROL_BYTES, ask_kernel_stamps, realtime_offset_ns
from serving.probe.reader import CompiledReader, PythonReader, new_reader
from serving.probe.run import run
from serving.probe.tally import Tally

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"
FRAMES: dict[ApiName, str] = {
    "completions": '{{"id": "cmpl-1", "choices": [{{"index": 0, "text": {}, "finish_reason": null}}]}}',
    "chat": '{{"id": "c", "choices": [{{"index": 0, "delta": {{"content": {}}}, "finish_reason": null}}]}}',
    "messages": '{{"type": "content_block_delta", "index": 0, "delta": {{"type": "text_delta", "text": {}}}}}',
}
CLOCKS_NS = 10_000
UNHURRIED: dict[str, Any] = {
    "max_examples": 100,
    "deadline": None,
    "suppress_health_check": [HealthCheck.too_slow],
}
TEXTS = st.text(min_size=1, max_size=8) | st.sampled_from(
    [" a", "text", "c", '"', "\\", '\\"', "\n", "é", "\x7f"]
)


Span = tuple[int, int]


class Desk:
    """The owner of one connection to a server that says what it is told to."""

    def __init__(self, api: ApiName, reader: str, stamps: bool = True) -> None:
        self.loop = asyncio.new_event_loop()
        self.tally = Tally()
        self.offset_ns, self.zero_ns = realtime_offset_ns(), 0
        self.read_event = APIS[api].read_event
        self.use_kernel_stamps = stamps
        self.reader = PythonReader(self) if reader == "python" else CompiledReader(self)
        self.answer: Answer | None = None
        self.sent_ns: list[Span] = []
        """Before and after each piece was sent."""
        self.read_ns: list[Span] = []
        """Before and after it was read."""

    def idle(self, connection: Connection) -> None:
        """Nobody asks."""

    def down(self, connection: Connection) -> None:
        """Nobody asks."""

    def finished(self, connection: Connection, answer: Answer) -> None:
        """Keep what has come."""
        self.answer = answer

    def turn(self) -> None:
        """One turn of the loop."""
        self.loop.call_soon(self.loop.stop)
        self.loop.run_forever()

    def turn_until_read(self, before: int) -> None:
        """Turn until one more read is done."""
        while self.tally.reads == before:
            self.turn()

    def hear(
        self, pieces: list[bytes], server: socket.socket, texts: list[str] | None = None, late_s: float = 0.0
    ) -> Answer:
        """One request; each piece is read before the next one is sent, so late after it was sent."""
        peer_address = Peer(socket.AF_INET, server.getsockname(), None, "")
        connection = Connection(self, self, peer_address)  # type: ignore[arg-type]
        connection.start(
            Shot(0, b"GET", 10_000, follow=None if texts is None else (lambda text: Shot(0, b"", 1)))
        )
        peer, _ = server.accept()
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with peer:
            while self.answer is None and connection.answer and not connection.answer.sent_ns:
                self.turn()
            for piece in pieces:
                before = self.tally.reads
                self.sent_ns.append(span_of(partial(peer.sendall, piece)))
                time.sleep(late_s)
                self.read_ns.append(span_of(partial(self.turn_until_read, before)))
            peer.setblocking(False)
            assert peer.recv(3) == b"GET"  # what is left unread would make its end a reset
        while self.answer is None:
            self.turn()
        connection.close()
        self.reader.close()
        self.loop.close()
        return self.answer


def span_of(step: Callable[[], object]) -> Span:
    """From when to when it took."""
    before_ns = time.monotonic_ns()
    step()
    return before_ns, time.monotonic_ns()


@pytest.fixture(scope="module")
def server() -> Iterator[socket.socket]:
    """A socket that listens."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


@pytest.fixture(scope="module", autouse=True)
def compiler(need: Any) -> None:
    """The library, as it is made on any machine with a compiler."""
    try:
        compiled.library()
    except compiled.NotCompiled as reason:
        need("cc", f"{reason}; on Debian: apt-get install gcc libc6-dev")


@pytest.fixture(scope="module", autouse=True)
def stamping() -> Iterator[None]:
    """The kernel begins to stamp a moment after a socket asks for it, and goes on while that is open."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as asks,
    ):
        peer, _ = server.accept()
        with peer:
            control: list[tuple[int, int, bytes]] = []
            while ask_kernel_stamps(asks) and not control:
                peer.sendall(b"x")
                _, control, _, _ = asks.recvmsg(1, CONTROL_BYTES)
            yield


def chunk(payload: bytes) -> bytes:
    """An event as one HTTP chunk."""
    event = b"data: " + payload + b"\n\n"
    return b"%x\r\n%b\r\n" % (len(event), event)


def told(answer: Answer, tally: Tally) -> dict[str, object]:
    """All that both readers must say alike."""
    return {
        "chunks": len(answer.stamps_ns),
        "in order": sorted(answer.stamps_ns) == answer.stamps_ns,
        "chars": answer.chars,
        "said again": (answer.retellings, answer.newest),
        "empty": answer.empty,
        "counts": answer.counts,
        "said": answer.said,
        "finish_reason": answer.finish_reason,
        "failure": answer.failure,
        "uncertain": answer.uncertain,
        "events": tally.events,
        "reads": tally.reads,
        "unstamped": tally.unstamped,
        "each has its lag": len(tally.lags_us) == tally.reads - tally.unstamped + tally.late_uncertain,
    }


def by_both(
    api: ApiName, pieces: list[bytes], server: socket.socket, stamps: bool = True
) -> tuple[dict[str, object], dict[str, object]]:
    """The same stream by both."""
    said = []
    for reader in ("c", "python"):
        desk = Desk(api, reader, stamps)
        said.append(told(desk.hear(pieces, server), desk.tally))
    return said[0], said[1]


@settings(**UNHURRIED)
@given(
    api=st.sampled_from(sorted(FRAMES)), texts=st.lists(TEXTS), escaped=st.booleans(), stamps=st.booleans()
)
@example(api="chat", texts=["a", '"}}', '\\", "b": "'], escaped=False, stamps=True)
def test_a_stream_is_read_as_json_would_be(
    server: socket.socket, api: ApiName, texts: list[str], escaped: bool, stamps: bool
) -> None:
    events = [chunk(FRAMES[api].format(json.dumps(text, ensure_ascii=escaped)).encode()) for text in texts]
    c, python = by_both(api, [HEAD, *events, chunk(b"[DONE]"), END], server, stamps)
    assert c == python
    assert (c["chunks"], c["chars"], c["events"]) == (len(texts), sum(map(len, texts)), len(texts))


@settings(**UNHURRIED)
@given(
    events=st.lists(
        st.sampled_from(
            [
                '{"choices": [{"text": "b", "finish_reason": null}]}',
                '{"choices": [{"text": "", "finish_reason": null}]}',
                '{"choices": [{"text": "b", "finish_reason": "stop"}]}',
                '{"choices": [{"text": "b", "finish_reason": null}], "usage": {"completion_tokens": 2}}',
                '{"choices": [{"text": "b\nc", "finish_reason": null}]}',
                '{"error": {"message": "no"}}',
                "{",
            ]
        )
    ),
    cuts=st.lists(st.integers(1, 400), max_size=4),
)
def test_whatever_else_comes_and_however_it_is_cut(
    server: socket.socket, events: list[str], cuts: list[int]
) -> None:
    plain = chunk(b'{"choices": [{"text": "a", "finish_reason": null}]}')
    whole = HEAD + b"".join(plain + chunk(event.encode()) for event in events) + chunk(b"[DONE]") + END
    edges = [0, *sorted({cut for cut in cuts if cut < len(whole)}), len(whole)]
    pieces = [whole[low:high] for low, high in zip(edges, edges[1:], strict=False)]
    c, python = by_both("completions", pieces, server)
    assert c == python


@pytest.mark.parametrize("reader", ["c", "python"])
def test_the_end_of_a_connection_is_no_read(server: socket.socket, reader: str) -> None:
    """It has no stamp of the kernel's, which would make the run's times those of this process."""
    desk = Desk("completions", reader)
    token = b'data: {"choices": [{"text": "a", "finish_reason": null}]}\n\n'
    head = HEAD.replace(b"transfer-encoding: chunked\r\n", b"")
    answer = desk.hear([head, token, token, b"data: [DONE]\n\n"], server)
    assert (answer.failure, len(answer.stamps_ns)) == (None, 2)
    assert (desk.tally.reads, desk.tally.unstamped, len(desk.tally.lags_us)) == (4, 0, 4)


def test_text_behind_the_end_is_none(server: socket.socket) -> None:
    plain = chunk(b'{"choices": [{"text": "a", "finish_reason": null}]}')
    c, python = by_both("completions", [HEAD, plain, plain, chunk(b"[DONE]"), plain, plain, END], server)
    assert c == python
    assert (c["chunks"], c["events"], c["failure"]) == (2, 2, None)


@pytest.mark.parametrize("choices", ["0101", "0011", "1100", "0001"])
def test_answers_that_take_turns_are_told_alike(server: socket.socket, choices: str) -> None:
    """Those of a choice that comes back after another one."""
    texts = [
        chunk(b'{"choices": [{"index": %b, "text": "a", "finish_reason": null}]}' % each.encode())
        for each in choices
    ]
    c, python = by_both("completions", [HEAD, *texts, chunk(b"[DONE]"), END], server)
    assert c == python
    assert (c["failure"] is not None) == ("10" in choices)


@pytest.mark.parametrize(
    ("texts", "said_again"),
    [
        (["a", "ab", "abc", "abcd"], (4, "abcd")),
        (["a", "ab", "c", "cd"], (-1, "")),
        (["a", "a", "ab"], (-1, "")),
        (["ab", "a", "ab"], (-1, "")),
        (["a", "aé", "aéb"], (3, "aéb")),
    ],
)
def test_a_text_that_holds_the_one_before_is_looked_at(
    server: socket.socket, texts: list[str], said_again: tuple[int, str]
) -> None:
    """Up to the first that does not."""
    events = [chunk(FRAMES["chat"].format(json.dumps(text, ensure_ascii=False)).encode()) for text in texts]
    c, python = by_both("chat", [HEAD, *events, chunk(b"[DONE]"), END], server)
    assert c == python
    assert (c["said again"], c["chars"]) == (said_again, len("".join(texts)))


@pytest.mark.parametrize("size", [b"33", b"0x35", b"+35", b"g", b"fffffff", b""])
def test_a_chunk_of_another_size_is_no_event(server: socket.socket, size: bytes) -> None:
    plain = chunk(b'{"choices": [{"text": "a", "finish_reason": null}]}')
    assert plain.startswith(b"3b\r\n")
    c, python = by_both("completions", [HEAD, plain, plain, size + plain[2:]], server)
    assert c == python


def test_the_compiled_reader_counts_without_python(server: socket.socket) -> None:
    plain = chunk(b'{"choices": [{"text": "a", "finish_reason": null}]}')
    desk, looked = Desk("completions", "c"), []
    absorb = desk.read_event
    desk.read_event = lambda event: (looked.append(event), absorb(event))[1]  # type: ignore[func-returns-value]
    answer = desk.hear([HEAD, *[plain] * 600, chunk(b"[DONE]"), END], server)
    assert (len(answer.stamps_ns), answer.chars, len(looked)) == (600, 600, 1 + 2)  # 256 at a time
    assert len({*answer.stamps_ns}) == 600


@pytest.mark.parametrize("step_s", [-3600, 3600])
@pytest.mark.parametrize("reader", ["c", "python"])
def test_stamps_of_a_clock_that_was_set_are_not_believed(
    server: socket.socket, reader: str, step_s: int
) -> None:
    plain = chunk(b'{"choices": [{"text": "a", "finish_reason": null}]}')
    desk = Desk("completions", reader)
    desk.offset_ns += step_s * 1_000_000_000
    answer = desk.hear([HEAD, plain, plain, plain, END], server)
    assert (desk.tally.unstamped, len(desk.tally.lags_us)) == (5, 0)
    assert_within(answer.stamps_ns, desk.read_ns[1:4])


@pytest.mark.parametrize("reader", ["c", "python"])
@pytest.mark.parametrize("stamps", [True, False])
def test_a_late_read_has_its_lag_and_the_kernels_time(
    server: socket.socket, reader: str, stamps: bool
) -> None:
    """Without the kernel's stamps it has the time of its reading, and no lag."""
    plain = chunk(b'{"choices": [{"text": "a", "finish_reason": null}]}')
    desk = Desk("completions", reader, stamps)
    pieces = [HEAD, *[plain] * 3, plain * 3, chunk(b"[DONE]") + END]
    answer, tally = desk.hear(pieces, server, late_s=0.005), desk.tally
    late = 2 if stamps else 0
    assert (tally.events, tally.uncertain, tally.late_uncertain) == (6, 2, late)
    assert (len(tally.lags_us), tally.unstamped) == ((6 + late, 0) if stamps else (0, 6))
    assert all(lag_us >= 5_000 for lag_us in tally.lags_us)
    spans_ns = desk.sent_ns if stamps else desk.read_ns
    assert_within(answer.stamps_ns, [*spans_ns[1:4], *spans_ns[4:5] * 3])
    assert_within([answer.done_ns], spans_ns[5:])


def assert_within(moments_ns: list[int], spans_ns: list[Span]) -> None:
    """Each lies in its span, as far as the two clocks' distance is known."""
    pairs = list(zip(moments_ns, spans_ns, strict=True))
    outside = [(at, span) for at, span in pairs if not span[0] - CLOCKS_NS <= at <= span[1] + CLOCKS_NS]
    assert outside == []


def test_a_conversation_keeps_every_text(server: socket.socket) -> None:
    events = [chunk(FRAMES["chat"].format(json.dumps(text)).encode()) for text in "abc"]
    answer = Desk("chat", "c").hear([HEAD, *events, chunk(b"[DONE]"), END], server, texts=[])
    assert answer.text == "abc"


def test_the_report_says_who_read(fake_llm: Callable[..., str], tmp_path: Path) -> None:
    told = [
        run(
            asking.target_of(fake_llm()),
            asking.load_of(concurrency=2, requests=10, compiled_reader=wanted),
            asking.workload_of("32", "20", "completions"),
            tmp_path / str(wanted),
        )
        for wanted in (True, False)
    ]
    assert [(report.client.reader, report.succeeded, report.output_tokens) for report in told] == [
        ("c", 10, 200),
        ("python", 10, 200),
    ]
    note = "the probe read by Python, for twice the CPU or more: it was not wanted"
    assert [note in report.notes for report in told] == [False, True]


def test_a_text_that_stands_twice_tells_nothing_of_its_place() -> None:
    assert around(b'{"text": "b"}', "b") == (b'{"text": "', b'"}')
    assert around(b'{"text": "text"}', "text") == (b"", b"")
    assert around(b'{"text": "\\u0062"}', "b") == (b"", b"")
    assert around(b'{"text": "b",\n"c": 1}', "b") == (b"", b"")


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (None, "this machine has no C compiler (absent-cc)"),
        (
            "echo reader.c:1: error: no headers >&2; exit 1",
            "failing-cc failed: reader.c:1: error: no headers",
        ),
    ],
)
def test_without_a_compiler_python_reads_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str | None, reason: str
) -> None:
    name = reason.split()[0] if script else "absent-cc"
    if script:
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("CORRAL_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(compiled, "COMPILER", name)
    monkeypatch.setattr(compiled, "library", compiled.library.__wrapped__)
    monkeypatch.setattr("serving.probe.reader.library", compiled.library)
    desk = Desk("chat", "python")
    reader, said = new_reader(desk, compiled=True)
    desk.loop.close()
    assert (reader.name, said) == ("python", reason)
    assert [path.name for path in (tmp_path / "home").rglob("*") if path.is_file()] == []
