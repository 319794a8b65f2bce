"""PURE: a request as it is sent, and its answer as it grows; the result is made from it when there is time."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from orjson import loads

from infra import bounded_json
from infra.printable import one_line
from serving.probe.apis import Beside, Delta, Thought
from serving.probe.run_records import Refused, Result
from serving.probe.stream_failures import SEVERAL_ANSWERS, OddEvent, StreamFailure, error_text
from serving.probe.tally import Tally
from serving.probe.token_counts import TokenCounts
from serving.probe.token_timeline import gaps, token_timeline
from serving.probe.wire import WHOLE, Response
from serving.vllm.server_words import body_line

# A stream with more chunks than this many times the tokens asked, and then some, will not end by itself.
ENDLESS_FACTOR, ENDLESS_SLACK = 4, 1024
NO_EVENT = (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError)
"""What reading an event raises that is not as it should be."""
FEWEST_RETOLD = 2
"""So many texts of which each holds the one before may be chance."""
UNDIVIDED = "events without an empty line between them, which are one (HTML standard, 9.2.6)"
EVENT_DATA = re.compile(rb"^data: ?(.+)$", re.MULTILINE)


@dataclass(slots=True)
class Shot:
    """One request, serialised, ready to send."""

    index: int
    request: bytes
    output_asked: int
    input_asked: int | None = None
    scheduled_ns: int | None = None
    """From the start; None in a closed loop."""
    follow: "Callable[[str], Shot] | None" = None
    """Makes the conversation's next request from the answer."""
    model: str | None = None
    """Whom it asks, where several models share the load."""


@dataclass(slots=True)
class Answer:
    """What has come of one request so far."""

    shot: Shot
    texts: list[str] | None = None
    """Kept only where a conversation needs them."""
    sent_ns: int = 0
    done_ns: int = 0
    connect_us: int | None = None
    status: int = 0
    failure: tuple[str, str] | None = None
    """The error's class and what was said."""
    refused: Refused | None = None
    """The answer of a server that streams nothing."""
    stamps_ns: list[int] = field(default_factory=list)
    empty: list[tuple[int, bool]] = field(default_factory=list)
    """Which chunks held no text, and whether they closed the stream."""
    said: list[tuple[int, int]] = field(default_factory=list)
    """Each count of output tokens as it came, with the number of the chunk it came with or after."""
    counts: TokenCounts = (None, None, None, None)
    thought: bool = False
    """Its reasoning came as text."""
    beside: bool = False
    """Text of another choice than the first has come."""
    chars: int = 0
    """Of all texts together."""
    newest: str = ""
    retellings: int = 0
    """How many texts there were, while each began with the one before and went on: a server may say all of it again
    with each event. Less than 0 once one was a part of its own, as nearly always."""
    finish_reason: str | None = None
    uncertain: int = 0
    cuts: int = 0
    """Reads of several chunks that ended in the middle of an event, whose rest came later."""
    cut_ns: int = 0
    """The stamp of the last read, where it was such a one."""
    unwatched_us: int = 0
    """How long before a read of several chunks the sockets had last been looked at, at most."""
    resent: bool = False
    """The kept connection it was sent on died before a byte of an answer, so it was sent again on a new one."""
    ended: bool = False
    """[DONE], or its like, has come."""
    odd: str | None = None
    """What an event said that is no part of an answer."""
    around: tuple[bytes, bytes] = (b"", b"")
    """What stood before and behind the text of an event that held nothing else of interest, as most do."""

    def absorb(
        self,
        payloads: list[bytes],
        stamp_ns: int,
        read_event: Callable[[dict[str, Any]], Delta],
        tally: Tally,
        late: bool,
    ) -> None:
        """Take what the events of one read say; they share its stamp."""
        stamps = self.stamps_ns
        before, closing = len(stamps), 0
        for payload in payloads:
            if payload == b"[DONE]":
                self.ended = True
                continue
            if self.ended:
                self.take_late(payload, read_event)
                continue
            try:
                try:
                    event = loads(payload)
                except ValueError:
                    event = leniently(payload)
                text, finish_reason, counts, ended = read_event(event)
                if text:
                    self.chars += len(text)
                    is_ascii = text.isascii()  # which only a text can be asked
                    if self.retellings >= 0:
                        self.compare(text)
                    if type(text) is Thought:
                        self.thought = True
                    elif type(text) is Beside:
                        self.beside = True
                    elif self.beside:  # blocks of one answer follow each other; answers take turns
                        self.fail("stream_error", SEVERAL_ANSWERS)
                    if is_ascii and not (finish_reason or counts or ended):
                        self.around = around(payload, text)
                    if self.texts is not None and type(text) is not Thought:  # nobody sends that back
                        self.texts.append(text)
                    stamps.append(stamp_ns)
                elif text == "":
                    closing += bool(finish_reason)
                    self.empty.append((len(stamps), bool(finish_reason)))
                    stamps.append(stamp_ns)
                if finish_reason:
                    if not isinstance(finish_reason, str):
                        raise TypeError
                    self.finish_reason = finish_reason
                if counts:
                    self.take_counts(counts)
            except StreamFailure as failure:
                self.fail("stream_error", str(failure))
                continue
            except OddEvent as event:
                self.odd = self.odd or str(event)
                continue
            except NO_EVENT:
                self.take_odd(payload)
                continue
            if ended:
                self.ended = True
        chunks = len(stamps) - before - closing
        tally.events += chunks
        if chunks > 1:  # only the last one's stamp is certain
            self.uncertain += chunks - 1
            tally.uncertain += chunks - 1
            if late:
                tally.late_uncertain += chunks - 1
                since_ns = max(stamps[before - 1], tally.looked_ns) if before else stamp_ns
                tally.held_up(chunks, max(0, stamp_ns - since_ns) // 1000)

    def compare(self, text: str) -> None:
        """Look whether a text holds the one before."""
        if not self.retellings or (len(text) > len(self.newest) and text.startswith(self.newest)):
            self.newest, self.retellings = text, self.retellings + 1
        else:
            self.newest, self.retellings = "", -1

    def take_unread(self, stamps_ns: list[int], chars: int) -> None:
        """Take texts that the reader counted: parts of their own."""
        self.stamps_ns += stamps_ns
        self.chars += chars
        self.newest, self.retellings = "", -1

    def take_counts(self, after: TokenCounts) -> None:
        """Keep the newest counts; a 0 says nothing where something was said before."""
        prompt, output, cached, thought = self.counts
        self.counts = (
            after[0] or prompt or after[0],
            after[1] or output or after[1],
            after[2] or cached or after[2],
            after[3] or thought or after[3],
        )
        if after[1] is not None and self.stamps_ns:
            self.said.append((len(self.stamps_ns) - 1, after[1]))

    def take_late(self, payload: bytes, read_event: Callable[[dict[str, Any]], Delta]) -> None:
        """Take what follows the end, of which every client but a meter has stopped to read: the usage, if it is one."""
        try:
            _, _, counts, _ = read_event(loads(payload))
        except (StreamFailure, OddEvent, *NO_EVENT):
            return
        if counts:
            self.take_counts(counts)

    def take_odd(self, payload: bytes) -> None:
        """Take what is no event as it should be: an empty one, or null, is a sign of life; [DONE] may be dressed up."""
        bare = payload.strip().strip(b'"')
        if bare.strip(b"[]").upper() == b"DONE":
            self.ended = True
        elif bare not in (b"", b"null"):
            is_several = all(line.startswith((b"{", b"[DONE]")) for line in payload.split(b"\n"))
            what = UNDIVIDED if is_several and b"\n" in payload else "an event that is not as it should be"
            self.fail("bad_json", f"{what}: {payload[:80]!r}")

    def burst(self, stamp_ns: int, now_ns: int, tally: Tally, is_cut: bool) -> None:
        """Several events came at once, perhaps with a part of one more."""
        self.unwatched_us = max(self.unwatched_us, (now_ns - tally.looked_ns) // 1000)
        if is_cut:
            self.cut_ns = stamp_ns

    @property
    def endless(self) -> bool:
        """Whether it has far outgrown what was asked."""
        return len(self.stamps_ns) > self.shot.output_asked * ENDLESS_FACTOR + ENDLESS_SLACK

    @property
    def text(self) -> str:
        """What was said, where it was kept; of a server that says all of it again with each event, the last."""
        texts = self.texts or []
        steps = pairwise(texts)
        is_all = len(texts) > FEWEST_RETOLD and all(
            len(one) < len(more) and more.startswith(one) for one, more in steps
        )
        return whole_characters(texts[-1] if is_all else "".join(texts))

    def fail(self, error_class: str, message: str) -> None:
        """Fail it; the first reason stays."""
        self.failure = self.failure or (error_class, message)

    def complete(self, response: Response) -> None:
        """The response is whole: was it what it should be?"""
        self.status = response.status
        if response.status not in WHOLE:
            self.refused = refused_by(response)
            self.failure = (f"http_{response.status}", self.refused.message)
        elif not response.is_stream:
            kind = response.headers.get("content-type", "no content type")
            if encoding := response.encoding:
                kind += f" in {encoding}, which was not asked for"
            self.failure = ("not_a_stream", f"the answer is {kind}, not a stream: {words_in(response)}")
        elif self.odd is not None and not self.finish_reason:
            self.fail("stream_error", self.odd)
        elif not (self.ended or self.finish_reason):
            self.fail("truncated", "the stream ended without [DONE]")
        elif not self.stamps_ns:
            self.fail("no_tokens", "the answer holds no token")

    def result(self, zero_ns: int) -> Result:
        """The result, with times from the start of the run."""
        zero_us = zero_ns // 1000
        sent_us = self.sent_ns // 1000 - zero_us
        unsent = 0 if self.thought else self.counts[3] or 0
        stamps, chunk_tokens, output, hidden, unclear = token_timeline(
            self.stamps_ns, self.empty, self.said, self.counts[1], unsent, self.shot.output_asked
        )
        if not stamps:
            self.fail("no_tokens", "the answer holds no token")
        elif not self.chars and (self.counts[1] or 0) > len(self.stamps_ns):
            self.fail("no_tokens", f"the server counted {self.counts[1]} tokens, and no event holds a text")
        error_class, message = self.failure or (None, None)
        return Result(
            index=self.shot.index,
            model=self.shot.model,
            scheduled_us=sent_us if self.shot.scheduled_ns is None else self.shot.scheduled_ns // 1000,
            sent_us=sent_us,
            done_us=self.done_ns // 1000 - zero_us,
            connect_us=self.connect_us,
            status=self.status,
            error=error_class,
            message=message and one_line(message),
            refused=self.refused,
            gaps_us=gaps(self.sent_ns, stamps),
            chunk_tokens=chunk_tokens,
            input_asked=self.shot.input_asked,
            input_tokens=self.counts[0],
            output_asked=self.shot.output_asked,
            output_tokens=output,
            hidden_tokens=hidden,
            disbelieved=output is None and self.counts[1] == 0,
            unclear_counts=unclear,
            cached_tokens=self.counts[2],
            output_chars=len(self.newest) if self.retellings > FEWEST_RETOLD else self.chars,
            finish_reason=self.finish_reason and one_line(self.finish_reason, 40),
            uncertain=self.uncertain,
            cuts=self.cuts,
            unwatched_us=self.unwatched_us,
            resent=self.resent,
            empty_chunks=len(self.stamps_ns) - len(stamps),
        )


def leniently(payload: bytes) -> Any:
    """An event that is no strict JSON, as browsers and Python's clients read it: with halves of characters, as bytes or
    as \\ud83d, or with NaN. Raises ValueError.
    """
    return json.loads(payload.decode(errors="replace"))


def whole_characters(text: str) -> str:
    """The same with the halves of characters that came apart put together; nobody can be sent one alone."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def around(payload: bytes, text: str) -> tuple[bytes, bytes]:
    """What stands before and behind the text in an event of one line, its quotes with it; nothing if in doubt."""
    before, quoted, behind = payload.partition(b'"%b"' % text.encode())
    sure = quoted and quoted not in behind and b"\n" not in payload
    return (before + b'"', b'"' + behind) if sure else (b"", b"")


def refused_by(response: Response) -> Refused:
    """What the body of an error answer says; where the server sends us, and when it wants to be asked again."""
    event = EVENT_DATA.search(response.body) if not response.encoding else None
    body = event[1] if event else response.body
    try:
        words = error_text(bounded_json.load(body))
    except ValueError:
        words = body_line(body, response.encoding)
    location = response.headers.get("location") if 300 <= response.status < 400 else None
    return Refused(words, response.headers.get("retry-after") or None, location)


def words_in(response: Response) -> str:
    """What the body of an answer says that is no stream, in its own words where it has some."""
    try:
        said = bounded_json.load(response.body)
    except ValueError:
        return repr(response.body[:60])
    words = error_text(said)
    return words if words != one_line(str(said)) else repr(response.body[:60])


def failure_words(payload: bytes) -> str:
    """What an event of the type `error` says, JSON or not."""
    try:
        return error_text(bounded_json.load(payload))
    except ValueError:
        return body_line(payload)
