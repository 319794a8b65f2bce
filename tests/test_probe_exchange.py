"""An answer as it grows: which chunks count, when, and as what it ends."""

from array import array
from typing import Any

import orjson
import pytest

from serving.probe.apis import completions_event
from serving.probe.exchange import Answer, Shot, around, refused_by
from serving.probe.run_records import Refused, Result
from serving.probe.tally import Tally
from serving.probe.token_timeline import empty_to_drop, gaps
from serving.probe.wire import Response, State

MS = 1_000_000
NEWLINE = b"\n"
SHOT = Shot(index=3, request=b"", output_asked=2, input_asked=10)


def event(text: str | list[str] | None = "a", **fields: Any) -> bytes:
    return orjson.dumps({"choices": [{"text": text, "finish_reason": fields.pop("reason", None)}], **fields})


def usage(prompt: int, completion: int) -> dict[str, int]:
    return {"prompt_tokens": prompt, "completion_tokens": completion}


def answer(
    *reads: tuple[list[bytes], int], late: bool = False, tally: Tally | None = None, **fields: Any
) -> Answer:
    """An answer after those reads: payloads, and milliseconds of their stamp."""
    made = Answer(SHOT, **fields)
    for payloads, stamp_ms in reads:
        made.absorb(payloads, stamp_ms * MS, completions_event, tally or Tally(), late)
    return made


# Chunks


def test_every_chunk_has_the_stamp_of_its_read_and_only_a_reads_last_is_certain() -> None:
    tally = Tally()
    made = answer(([event("ab")], 5), ([event(), event("cde"), event()], 9), ([b"[DONE]"], 10), tally=tally)
    assert (made.stamps_ns, made.chars, made.ended) == ([5 * MS, 9 * MS, 9 * MS, 9 * MS], 7, True)
    assert (made.uncertain, tally.events, tally.uncertain, tally.late_uncertain) == (2, 4, 2, 0)


def test_of_a_late_read_the_earlier_chunks_waited_as_if_come_evenly() -> None:
    """Three chunks since the one 8 ms before, the last of which waited 2 ms: the others 8/3 and 16/3 ms more."""
    tally = Tally(lags_us=array("i", [2000]))
    answer(([event()], 10), ([event(), event(), event()], 18), late=True, tally=tally)
    assert (tally.uncertain, tally.late_uncertain) == (2, 2)
    assert list(tally.lags_us) == [2000, 2000 + 2666, 2000 + 5333]
    tally = Tally(lags_us=array("i", [2000]))
    answer(([event(), event()], 18), late=True, tally=tally)
    assert list(tally.lags_us) == [2000, 2000]
    tally = Tally()
    answer(([event(), event()], 18), late=True, tally=tally)
    assert (list(tally.lags_us), tally.late_uncertain) == ([], 1)


def test_an_empty_chunk_is_noted_and_a_closing_one_is_no_event() -> None:
    tally = Tally()
    made = answer(([event(""), event("", reason="stop")], 5), tally=tally)
    assert (made.empty, made.stamps_ns, made.finish_reason) == ([(0, False), (1, True)], [5 * MS] * 2, "stop")
    assert (tally.events, tally.uncertain) == (1, 0)


def test_each_count_is_kept_with_the_number_of_its_chunk_and_the_newest_that_is_not_0_holds() -> None:
    made = answer(([event()], 1), ([event(usage=usage(9, 3)), event(usage=usage(9, 5))], 2), ([event()], 3))
    assert (made.counts, made.said) == ((9, 5, None, None), [(1, 3), (2, 5)])
    whole = orjson.dumps({"choices": [], "usage": usage(9, 4)})
    nothing = orjson.dumps({"choices": [], "usage": usage(0, 0)})
    made = answer(([nothing], 0), ([event()], 1), ([whole, nothing], 2))
    assert (made.counts, made.said, made.stamps_ns) == ((9, 4, None, None), [(0, 4), (0, 0)], [1 * MS])
    assert answer(([nothing], 0)).counts == (0, 0, None, None)
    part = orjson.dumps({"choices": [], "usage": {"prompt_tokens_details": {"cached_tokens": 2}}})
    assert answer(([whole], 1), ([part], 2)).counts == (9, 4, 2, None)


def test_texts_are_kept_only_for_a_conversation() -> None:
    reads = ([event("ab"), event("c")], 1)
    assert (answer(reads).text, answer(reads, texts=[]).text) == ("", "abc")


def test_what_stands_around_a_text_is_learned_from_an_event_that_says_nothing_else() -> None:
    plain = event("b")
    before, behind = plain.split(b'"b"')
    assert answer(([plain], 1)).around == (before + b'"', b'"' + behind)
    for other in (event("é"), event("b", reason="stop"), event("b", usage=usage(1, 1)), event("")):
        assert answer(([other], 1)).around == (b"", b"")
    assert around(b'{"a":"b"}', "c") == (b"", b"")


def test_of_texts_that_each_hold_the_one_before_the_last_is_all() -> None:
    """A server may say all of it again with each event; of two texts nobody knows."""
    texts = [event(text) for text in ("a", "ab", "abc")]
    for heard, newest, chars in ((texts[:1], "a", 1), (texts[:2], "ab", 3), (texts, "abc", 3)):
        made = answer((heard, 1))
        assert (made.newest, made.result(0).output_chars) == (newest, chars)
    for other, chars in (("c", 4), ("ab", 5), ("xabc", 7)):
        made = answer(([*texts[:2], event(other), event("d")], 1))
        assert (made.newest, made.result(0).output_chars) == ("", chars + 1)
    made = answer((texts, 1))
    made.take_unread([2 * MS, 3 * MS], 4)
    assert (made.newest, made.stamps_ns, made.result(0).output_chars) == ("", [MS] * 3 + [2 * MS, 3 * MS], 10)


@pytest.mark.parametrize(
    ("payload", "failure"),
    [
        (b"{", ("bad_json", "an event that is not as it should be: b'{'")),
        (b"x" * 200, ("bad_json", f"an event that is not as it should be: {b'x' * 80!r}")),
        (
            event("a", reason=5),
            ("bad_json", f"an event that is not as it should be: {event('a', reason=5)!r}"),
        ),
        (
            NEWLINE.join((event("a"), event("b"), b"[DONE]")),
            (
                "bad_json",
                "events without an empty line between them, which are one (HTML standard, 9.2.6):"
                f" {(event('a') + NEWLINE + event('b'))[:80]!r}",
            ),
        ),
        (event(["a"]), ("bad_json", f"an event that is not as it should be: {event(['a'])!r}")),
        (b"{\n1", ("bad_json", r"an event that is not as it should be: b'{\n1'")),
        (b'{"error": {"message": "no memory"}}', ("stream_error", "no memory")),
    ],
)
def test_an_event_that_is_none_fails_the_answer_for_its_first_reason(
    payload: bytes, failure: tuple[str, str]
) -> None:
    made = answer(([payload, event(), b"]"], 1))
    assert made.failure == failure
    assert len(made.stamps_ns) == 1 + (payload == event("a", reason=5))


def test_an_answer_is_endless_at_four_times_what_was_asked_and_a_thousand() -> None:
    assert [Answer(SHOT, stamps_ns=[0] * count).endless for count in (1032, 1033)] == [False, True]


# Its end


def response(status: int = 200, is_stream: bool = True, **fields: Any) -> Response:
    made = Response()
    made.state, made.status, made.is_stream = State.COMPLETE, status, is_stream
    for name, value in fields.items():
        setattr(made, name, value)
    return made


NO_STREAM = "the answer is text/html, not a stream: b'hi'"
JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    ("fields", "came", "failure"),
    [
        ({"ended": True, "stamps_ns": [5]}, response(), None),
        ({"finish_reason": "stop", "stamps_ns": [5]}, response(), None),
        ({"stamps_ns": [5]}, response(), ("truncated", "the stream ended without [DONE]")),
        ({"ended": True}, response(), ("no_tokens", "the answer holds no token")),
        ({"ended": True, "stamps_ns": [5]}, response(201), None),
        ({"ended": True, "stamps_ns": [5]}, response(206), ("http_206", "an empty body")),
        ({"failure": ("bad_json", "x")}, response(), ("bad_json", "x")),
        ({}, response(500, body=b'{"error": "boom"}'), ("http_500", "boom")),
        (
            {"failure": ("bad_json", "x")},
            response(is_stream=False, body=b"hi", headers={"content-type": "text/html"}),
            ("not_a_stream", NO_STREAM),
        ),
        (
            {},
            response(is_stream=False, body=b'{"error": {"message": "overloaded"}}', headers=JSON),
            ("not_a_stream", "the answer is application/json, not a stream: overloaded"),
        ),
        (
            {},
            response(is_stream=False, body=b'{"choices": []}', headers=JSON),
            ("not_a_stream", "the answer is application/json, not a stream: b'{\"choices\": []}'"),
        ),
        (
            {},
            response(is_stream=False, body=b"x" * 99, encoding="gzip"),
            (
                "not_a_stream",
                "the answer is no content type in gzip, which was not asked for, not a stream: "
                f"{b'x' * 60!r}",
            ),
        ),
    ],
)
def test_what_a_whole_response_is(
    fields: dict[str, Any], came: Response, failure: tuple[str, str] | None
) -> None:
    made = Answer(SHOT, **fields)
    made.complete(came)
    assert (made.status, made.failure) == (came.status, failure)


@pytest.mark.parametrize(
    ("came", "text"),
    [
        (response(302, headers={"location": "http://b"}), "it redirects to http://b"),
        (response(400, headers={"location": "http://b"}, body=b"no"), "no"),
        (response(299, headers={"location": "http://b"}, body=b"no"), "no"),
        (response(304), "an empty body"),
        (
            response(429, headers=JSON | {"retry-after": "7"}, body=b'{"error": "slow"}'),
            "slow (Retry-After: 7)",
        ),
        (response(500, body=b"x", encoding="gzip"), "a body in gzip"),
        (response(500, body=b'data: {"error": {"message": "no slot"}}\n\ndata: [DONE]\n\n'), "no slot"),
        (response(503, body=b"event: error\r\ndata:no slot\r\n\r\n"), "no slot"),
        (response(500, body=b"metadata: x"), "metadata: x"),
    ],
)
def test_what_an_error_says(came: Response, text: str) -> None:
    assert refused_by(came).message == text


def test_what_to_do_about_an_error_is_in_its_headers() -> None:
    slow = response(429, headers=JSON | {"retry-after": "7"}, body=b'{"error": "slow (Retry-After: 9)"}')
    assert refused_by(slow) == Refused("slow (Retry-After: 9)", "7")
    made = Answer(SHOT)
    made.complete(slow)
    assert made.result(0).refused == made.refused == Refused("slow (Retry-After: 9)", "7")
    assert refused_by(response(302, headers={"location": "http://b"})) == Refused(
        "an empty body", None, "http://b"
    )


# Its result


def test_a_result_has_times_from_the_start_in_microseconds() -> None:
    made = Answer(
        SHOT,
        sent_ns=12_000_999,
        done_ns=20_000_000,
        connect_us=7,
        status=200,
        stamps_ns=[13_500_000, 15_000_000, 16_000_000],
        empty=[(2, True)],
        said=[(0, 4), (1, 5)],
        counts=(9, 5, 2, None),
        chars=11,
        finish_reason="st\nop",
        uncertain=1,
    )
    assert made.result(10_000_000) == Result(
        index=3,
        scheduled_us=2000,
        sent_us=2000,
        done_us=10_000,
        connect_us=7,
        status=200,
        gaps_us=[1500, 1500],
        chunk_tokens=[4, 1],
        input_asked=10,
        input_tokens=9,
        output_asked=2,
        output_tokens=5,
        cached_tokens=2,
        output_chars=11,
        finish_reason="st op",
        uncertain=1,
        empty_chunks=1,
    )


def test_a_failed_one_of_an_open_loop_has_its_time_and_what_was_said() -> None:
    shot = Shot(index=0, request=b"", output_asked=2, scheduled_ns=1_500_999)
    made = Answer(shot, sent_ns=12_000_000, done_ns=13_000_000, failure=("reset", "a\nb"))
    assert made.result(10_000_000) == Result(
        index=0, scheduled_us=1500, sent_us=2000, done_us=3000, error="reset", message="a b", output_asked=2
    )


def test_gaps_add_up() -> None:
    assert gaps(1999, [3000, 4999]) == [2, 1]


def test_of_more_tokens_than_chunks_only_the_closing_chunk_held_none() -> None:
    assert empty_to_drop([(2, False), (9, True)], 10, 50) == {9}
    assert empty_to_drop([(2, False), (3, False), (9, True)], 10, 8) == {2, 3, 9}


def test_a_read_is_counted_with_its_lag_or_as_unstamped() -> None:
    tally = Tally()
    tally.read(5_000_000, 7_500_999)
    tally.read(0, 8_000_000)
    assert (tally.reads, list(tally.lags_us), tally.unstamped) == (2, [2500], 1)
