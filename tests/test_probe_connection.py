"""One connection, byte by byte: when it connects, sends, hears, is used again, and as what its request ends.

The socket, the loop and the clock are stand-ins; test_probe_reader.py has real ones.
"""

import errno
import os
import socket
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from serving.probe import connection as connections
from serving.probe.apis import completions_event
from serving.probe.connection import Connection, Peer
from serving.probe.exchange import Answer, Shot
from serving.probe.tally import Tally

MS = 1_000_000
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
TOKEN = b'data: {"choices": [{"text": "a", "finish_reason": null}]}\n\n'
DONE = b"data: [DONE]\n\n"
USAGE = b'data: {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 1}}\n\n'
ERROR = b'event: error\ndata: {"error": "boom"}\n\n'


def chunked(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)


WHOLE = HEAD + chunked(TOKEN, DONE, b"")


class Sock:
    """A socket that takes what it is told to."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.closed = False
        self.options: list[tuple[int, ...]] = []

    def setblocking(self, blocks: bool) -> None:
        assert not blocks

    def setsockopt(self, *option: int) -> None:
        self.options.append(option)

    def getsockopt(self, *which: int) -> int:
        assert which == (socket.SOL_SOCKET, socket.SO_ERROR)
        return self._world.socket_error

    def connect_ex(self, address: object) -> int:
        assert address == ("127.0.0.1", 9)
        return self._world.connects

    def fileno(self) -> int:
        return -1 if self.closed else 7

    def send(self, data: bytes) -> int:
        takes = self._world.takes.pop(0) if self._world.takes else len(data)
        if isinstance(takes, Exception):
            raise takes
        self._world.wire += data[:takes]
        return min(takes, len(data))

    def close(self) -> None:
        self.closed = True


class Timer:
    """A call that is due later."""

    def __init__(self, call: Callable[..., None], words: tuple[Any, ...]) -> None:
        self.cancelled = False
        self._call, self._words = call, words

    def cancel(self) -> None:
        self.cancelled = True

    def ring(self) -> None:
        assert not self.cancelled
        self._call(*self._words)


class World:
    """The owner of one connection, its loop and its clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_ns = 1_000 * MS
        self.connects, self.socket_error = errno.EINPROGRESS, 0
        self.takes: list[int | Exception] = []
        self.wire = b""
        self.socks: list[Sock] = []
        self.writable: Callable[[], None] | None = None
        self.told: list[str] = []
        self.ended: list[Answer] = []
        self.tally, self.offset_ns, self.zero_ns = Tally(), 0, 0
        self.read_event, self.use_kernel_stamps = completions_event, False
        self.later: list[Timer] = []
        self.loop = SimpleNamespace(
            add_writer=self.add_writer, remove_writer=self.remove_writer, call_later=self.call_later
        )
        self.reader = SimpleNamespace(add=lambda listener, sock: None, remove=lambda sock, stream: None)
        monkeypatch.setattr(connections, "monotonic_ns", lambda: self.now_ns)
        monkeypatch.setattr("socket.socket", self.socket)
        self.connection = Connection(self, self, Peer(socket.AF_INET, ("127.0.0.1", 9), None, ""))  # type: ignore[arg-type]

    def socket(self, family: int, kind: int) -> Sock:
        assert (family, kind) == (socket.AF_INET, socket.SOCK_STREAM)
        self.socks.append(Sock(self))
        return self.socks[-1]

    def add_writer(self, number: int, call: Callable[[], None]) -> None:
        self.writable = call

    def remove_writer(self, number: int) -> None:
        self.writable = None

    def call_later(self, delay_s: float, call: Callable[..., None], *words: Any) -> "Timer":
        assert delay_s == connections.LAST_WORDS_S
        self.later.append(Timer(call, words))
        return self.later[-1]

    def idle(self, connection: Connection) -> None:
        self.told.append("idle")

    def down(self, connection: Connection) -> None:
        self.told.append("down")

    def finished(self, connection: Connection, answer: Answer) -> None:
        self.told.append("finished")
        self.ended.append(answer)

    def write(self) -> None:
        """The socket can take something."""
        assert self.writable is not None
        self.writable()

    def connected(self, after_ms: int = 2) -> None:
        self.now_ns += after_ms * MS
        self.write()

    def hear(self, data: bytes, after_ms: int = 3, late_ms: float = 0) -> None:
        """Bytes that came so long after, and were read so late."""
        self.now_ns += after_ms * MS
        stamp_ns = self.now_ns
        self.now_ns += round(late_ms * MS)
        self.connection.received(data, stamp_ns, self.now_ns)

    def open(self) -> None:
        self.connection.open()
        self.connected()

    def ask(self, index: int = 0, **fields: Any) -> None:
        self.connection.start(Shot(index, b"ask %d" % index, 2, **fields))


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


# Opening


def test_it_opens_without_delay_of_small_packets_and_says_that_it_is_free(world: World) -> None:
    assert not world.connection.is_open
    world.connection.open()
    assert (world.connection.is_open, world.told) == (True, [])
    world.connected(5)
    assert (world.told, world.tally.connect_us, world.writable) == (["idle"], [5000], None)
    assert world.socks[0].options == [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]


@pytest.mark.parametrize(
    ("wanted", "has", "stamps"), [(True, True, True), (True, False, False), (False, True, False)]
)
def test_kernel_stamps_are_told_where_they_are_wanted_and_had(
    world: World, monkeypatch: pytest.MonkeyPatch, wanted: bool, has: bool, stamps: bool
) -> None:
    monkeypatch.setattr(connections, "ask_kernel_stamps", lambda sock: has)
    world.use_kernel_stamps = wanted
    world.open()
    assert world.tally.kernel_stamps == stamps


@pytest.mark.parametrize(
    ("code", "error_class"),
    [
        (errno.ECONNREFUSED, "connect_refused"),
        (errno.ECONNRESET, "reset"),
        (errno.EPIPE, "reset"),
        (errno.ECONNABORTED, "reset"),
        (errno.ETIMEDOUT, "connect_timeout"),
        (errno.EHOSTUNREACH, "unreachable"),
        (errno.ENETUNREACH, "unreachable"),
        (errno.EMFILE, "client_limit"),
        (errno.ENFILE, "client_limit"),
        (errno.ENOSPC, "client_limit"),
        (errno.EADDRNOTAVAIL, "client_limit"),
        (errno.EPERM, "connection_failed"),
    ],
)
def test_a_connection_that_fails_fails_its_request_in_its_class(
    world: World, code: int, error_class: str
) -> None:
    world.connects = code
    world.ask()
    world.connects, world.socket_error = errno.EINPROGRESS, code
    world.ask()
    world.connected()
    assert [answer.failure for answer in world.ended] == [(error_class, os.strerror(code))] * 2
    assert (world.told, world.connection.is_open) == (["finished"] * 2, False)
    assert all(sock.closed for sock in world.socks)


def test_a_socket_or_a_reader_that_cannot_be_had(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*words: object) -> None:
        raise OSError(errno.EMFILE, "x")

    world.reader.add = refuse
    world.ask()
    world.connected()
    monkeypatch.setattr("socket.socket", refuse)
    world.ask()
    assert [answer.failure for answer in world.ended] == [("client_limit", os.strerror(errno.EMFILE))] * 2


def test_one_that_fails_and_carries_nothing_is_down(world: World) -> None:
    world.connects = errno.ECONNREFUSED
    world.connection.open()
    assert (world.told, world.connection.is_open) == (["down"], False)


# Sending


def test_a_request_on_an_open_connection_goes_at_once(world: World) -> None:
    world.open()
    world.now_ns += 7 * MS
    world.ask()
    assert world.wire == b"ask 0"
    world.hear(WHOLE)
    (answer,) = world.ended
    assert (answer.sent_ns, answer.done_ns, answer.connect_us) == (1009 * MS, 1012 * MS, None)
    assert (answer.stamps_ns, answer.status, answer.failure) == ([1012 * MS], 200, None)
    assert (world.told, world.connection.is_open) == (["idle", "finished"], True)


def test_a_request_on_a_closed_one_opens_it_and_goes_then(world: World) -> None:
    world.ask()
    assert (world.wire, world.connection.is_open) == (b"", True)
    world.connected(4)
    world.hear(WHOLE)
    (answer,) = world.ended
    assert (world.wire, answer.sent_ns, answer.connect_us) == (b"ask 0", 1004 * MS, 4000)


def test_a_request_on_one_that_connects_waits_for_it(world: World) -> None:
    world.connection.open()
    world.ask()
    assert (len(world.socks), world.wire) == (1, b"")
    world.connected()
    assert world.wire == b"ask 0"


def test_what_the_socket_does_not_take_goes_when_it_can(world: World) -> None:
    world.open()
    world.takes = [2, BlockingIOError()]
    world.ask()
    assert world.wire == b"as"
    world.write()
    assert (world.wire, world.writable is None) == (b"as", False)
    world.write()
    assert (world.wire, world.writable) == (b"ask 0", None)


def test_a_socket_that_breaks_while_sending(world: World) -> None:
    world.open()
    world.takes = [BrokenPipeError(errno.EPIPE, "x")]
    world.ask()
    assert [answer.failure for answer in world.ended] == [("reset", os.strerror(errno.EPIPE))]


def test_one_whose_answer_comes_before_all_is_sent_takes_no_other_request(world: World) -> None:
    """As of a prompt that is longer than the server reads: the rest of it would go before the next one."""
    world.open()
    world.takes = [2, BlockingIOError()]
    world.ask()
    world.hear(b"HTTP/1.1 413 X\r\ncontent-length: 0\r\n\r\n")
    assert [answer.failure for answer in world.ended] == [("http_413", "an empty body")]
    assert (world.connection.is_open, world.writable) == (False, None)


def test_texts_are_kept_for_a_conversation_alone(world: World) -> None:
    world.open()
    world.ask(follow=lambda text: Shot(1, b"", 1))
    world.hear(WHOLE)
    world.ask()
    world.hear(WHOLE)
    assert [answer.text for answer in world.ended] == ["a", ""]


# Hearing


def test_a_connection_the_server_closes_after_its_answer_is_closed(world: World) -> None:
    world.open()
    world.ask()
    world.hear(WHOLE.replace(b"chunked\r\n", b"chunked\r\nconnection: close\r\n"))
    assert (world.ended[0].failure, world.connection.is_open, world.socks[0].closed) == (None, False, True)
    world.ask(1)
    world.connected()
    world.hear(HEAD.replace(b"transfer-encoding: chunked\r\n", b"") + TOKEN)
    world.hear(DONE)
    world.hear(b"")
    assert (world.ended[1].failure, world.ended[1].done_ns, world.told[-1]) == (
        None,
        world.now_ns,
        "finished",
    )


@pytest.mark.parametrize(("late_ms", "late"), [(1.0, 0), (1.1, 1)])
def test_of_chunks_read_together_late_ones_are_ours(world: World, late_ms: float, late: int) -> None:
    world.open()
    world.ask()
    world.hear(HEAD + chunked(TOKEN, TOKEN), late_ms=late_ms)
    assert (world.tally.uncertain, world.tally.late_uncertain) == (1, late)
    assert world.connection.last_ns == world.now_ns


@pytest.mark.parametrize(
    ("says", "failure"),
    [
        ([b""], ("no_response", "closed before an answer")),
        ([HEAD, b""], ("truncated", "the connection was closed in the middle of the response")),
        ([b"SSH-2.0\r\n"], ("bad_http", "the answer is not HTTP: b'SSH-2.0\\r\\n'")),
        (
            [HEAD + chunked(*[TOKEN] * 1033)],
            ("endless", "1033 chunks for 2 tokens asked, and no end"),
        ),
    ],
)
def test_an_answer_that_breaks_off(world: World, says: list[bytes], failure: tuple[str, str]) -> None:
    world.open()
    world.ask()
    for said in says:
        world.hear(said)
    (answer,) = world.ended
    assert (answer.failure, answer.done_ns, world.connection.is_open) == (failure, world.now_ns, False)
    assert answer.status == (200 if says[0].startswith(HEAD) else 0)


def test_an_answer_that_said_its_last_is_whole_however_the_connection_ends(world: World) -> None:
    world.open()
    world.ask()
    world.hear(HEAD + chunked(TOKEN, DONE))
    stamp_ns = world.now_ns
    world.hear(b"")
    (answer,) = world.ended
    assert (answer.failure, answer.done_ns) == (None, stamp_ns)


def test_an_answer_that_said_its_last_is_not_waited_for(world: World) -> None:
    """OpenAI's own client ends at [DONE]; the connection that stays open is of no use to anybody."""
    world.open()
    world.ask()
    world.hear(HEAD + chunked(TOKEN, DONE))
    stamp_ns = world.now_ns
    world.hear(chunked(USAGE))
    (last_words,) = world.later
    world.now_ns += 100 * MS
    last_words.ring()
    (answer,) = world.ended
    assert (answer.failure, answer.done_ns, answer.counts[:2]) == (None, stamp_ns, (3, 1))
    assert (world.connection.is_open, world.connection.answer) == (False, None)
    world.ask(1)
    world.connected()
    world.hear(WHOLE)
    assert (world.ended[1].failure, len(world.later), world.connection.is_open) == (None, 1, True)


def test_where_no_response_ends_after_its_last_word_none_is_waited_for(world: World) -> None:
    """Its place in a closed loop is free at once; the first three tell."""
    for index in range(3):
        world.ask(index)
        world.connected()
        world.hear(HEAD + chunked(TOKEN, USAGE, DONE))
        world.later[index].ring()
    world.ask(3)
    world.connected()
    world.hear(HEAD + chunked(TOKEN, USAGE, DONE))
    assert (len(world.ended), len(world.later), world.connection.is_open) == (4, 3, False)
    world.ask(4)
    world.connected()
    world.hear(HEAD + chunked(TOKEN, DONE))  # its usage may still come
    assert (len(world.ended), len(world.later)) == (4, 4)
    world.hear(chunked(USAGE))
    assert [(each.failure, each.counts[1]) for each in world.ended] == [(None, 1)] * 5


def test_responses_that_go_on_among_those_that_end_are_no_habit(world: World) -> None:
    world.ask()
    world.connected()
    world.hear(WHOLE)
    for index in range(4):
        world.ask(index)
        if index:
            world.connected()
        world.hear(HEAD + chunked(TOKEN, USAGE, DONE))
        world.later[index].ring()
    assert (len(world.ended), len(world.later)) == (5, 4)


def test_one_whose_end_follows_its_last_word_keeps_the_connection(world: World) -> None:
    world.open()
    world.ask()
    world.hear(HEAD + chunked(TOKEN, DONE))
    world.hear(b"0\r\n\r\n")
    (last_words,) = world.later
    assert (last_words.cancelled, world.connection.is_open, world.ended[0].failure) == (True, True, None)


@pytest.mark.parametrize("why", ["timeout", "unfinished"])
def test_what_is_given_up_after_its_last_word_is_whole(world: World, why: str) -> None:
    world.open()
    world.ask()
    world.hear(HEAD + chunked(TOKEN, DONE))
    world.connection.abort(why, "")
    assert ([each.failure for each in world.ended], world.later[0].cancelled) == ([None], True)


@pytest.mark.parametrize(
    ("says", "failure"),
    [
        ([DONE + ERROR], None),
        ([DONE, ERROR], None),
        ([DONE, b'data: {"error": "late"}\n\n', b"data: what?\n\n"], None),
        ([ERROR + DONE], ("stream_error", "boom")),
        ([ERROR, DONE], ("stream_error", "boom")),
    ],
)
def test_after_its_last_word_an_answer_is_over(
    world: World, says: list[bytes], failure: tuple[str, str] | None
) -> None:
    world.open()
    world.ask()
    world.hear(HEAD + chunked(TOKEN))
    for each in says:
        world.hear(chunked(each))
    world.hear(b"0\r\n\r\n")
    assert [each.failure for each in world.ended] == [failure]


def test_bytes_that_nobody_asked_for_end_the_connection(world: World) -> None:
    world.open()
    world.hear(b"surprise")
    assert (world.told, world.connection.is_open) == (["idle", "down"], False)


# A connection that went stale


@pytest.mark.parametrize("idle_ms", [0, 6000])
def test_a_kept_one_that_dies_before_a_byte_is_opened_again_and_asked_again(
    world: World, idle_ms: int
) -> None:
    world.open()
    world.ask()
    world.hear(WHOLE)
    world.now_ns += idle_ms * MS
    world.ask(1)
    sent_ns = world.now_ns
    world.hear(b"")
    assert (len(world.ended), world.tally.reconnects) == (1, 1)
    world.connected()
    world.hear(WHOLE)
    world.ask(2)
    world.hear(WHOLE)
    assert (world.ended[1].failure, world.ended[1].sent_ns, world.wire) == (
        None,
        sent_ns,
        b"ask 0ask 1ask 1ask 2",
    )
    assert [answer.resent for answer in world.ended] == [False, True, False]
    assert (world.tally.reconnects, world.tally.reused) == (1, 1)


def test_where_each_kept_one_dies_none_is_kept_any_more(world: World) -> None:
    """As llama.cpp's server has it: it closes after each answer without saying so."""
    world.open()
    world.ask()
    world.hear(WHOLE)
    for index in (1, 2, 3):
        world.ask(index)
        world.hear(b"")
        world.connected()
        world.hear(WHOLE)
    assert (world.tally.reconnects, world.connection.is_open) == (3, False)
    world.ask(4)
    world.connected()
    world.hear(WHOLE)
    assert [answer.resent for answer in world.ended] == [False, True, True, True, False]
    assert [answer.failure for answer in world.ended] == [None] * 5


def test_one_dead_connection_among_those_that_answer_is_no_habit(world: World) -> None:
    world.open()
    world.ask()
    world.hear(WHOLE)
    world.ask()
    world.hear(WHOLE)
    for index in range(4):
        world.ask(index)
        world.hear(b"")
        world.connected()
        world.hear(WHOLE)
    assert (world.tally.reconnects, world.connection.is_open) == (4, True)


def test_each_request_may_have_a_connection_of_its_own(world: World) -> None:
    world.tally.keeps_none = True
    world.open()
    for index in (0, 1):
        world.ask(index)
        if index:
            world.connected()
        world.hear(WHOLE)
        assert not world.connection.is_open
    assert (len(world.socks), [answer.failure for answer in world.ended]) == (2, [None, None])


def test_it_is_asked_again_once(world: World) -> None:
    world.open()
    world.ask()
    world.hear(WHOLE)
    world.now_ns += 600 * MS
    world.ask(1)
    world.connection.lost_by(errno.ECONNRESET)
    world.connected()
    world.connection.lost_by(errno.ECONNRESET)
    assert world.ended[1].failure == ("reset", os.strerror(errno.ECONNRESET))


@pytest.mark.parametrize("code", [errno.ECONNREFUSED, errno.ETIMEDOUT])
def test_another_failure_is_what_it_is_however_long_it_was_idle(world: World, code: int) -> None:
    world.open()
    world.ask()
    world.hear(WHOLE)
    world.now_ns += 600 * MS
    world.ask(1)
    world.connection.lost_by(code)
    assert (len(world.ended), world.tally.reconnects) == (2, 0)


def test_a_new_connection_is_not_stale(world: World) -> None:
    world.open()
    world.now_ns += 600 * MS
    world.ask()
    world.hear(b"")
    assert [answer.failure for answer in world.ended] == [("no_response", "closed before an answer")]


def test_an_answer_that_began_is_not_asked_for_again(world: World) -> None:
    world.open()
    world.ask()
    for index, first in enumerate((HEAD, HEAD[:5]), 1):
        world.hear(WHOLE)
        world.ask(index)
        world.hear(first)
        world.connection.lost_by(errno.ECONNRESET)
        assert world.ended[-1].failure == ("reset", os.strerror(errno.ECONNRESET))
        world.ask()
        world.connected()


# Giving up


def test_a_request_that_is_given_up_fails_for_that_reason_and_is_not_tried_again(world: World) -> None:
    world.open()
    world.ask()
    world.hear(WHOLE)
    world.now_ns += 600 * MS
    world.ask(1)
    world.connection.abort("reset", "given up")
    world.ask(2)
    world.connected()
    world.hear(HEAD + chunked(TOKEN))
    world.connection.abort("timeout", "too long")
    assert [answer.failure for answer in world.ended] == [
        None,
        ("reset", "given up"),
        ("timeout", "too long"),
    ]
    assert (world.tally.reconnects, world.connection.is_open) == (0, False)


def test_closing_says_nothing(world: World) -> None:
    world.open()
    world.ask()
    world.connection.close()
    assert (world.told, world.connection.is_open, world.connection.answer) == (["idle"], False, None)
    assert world.socks[0].closed
    world.connection.close()
