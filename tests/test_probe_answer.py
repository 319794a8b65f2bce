"""An answer as it grows: the events that are read without parsing say what parsing would say."""

import json

from hypothesis import example, given, settings
from hypothesis import strategies as st

from serving.probe.answer import Answer, Shot, Tally, around
from serving.probe.api import DELTAS, Api

FRAMES: dict[Api, str] = {
    "completions": '{{"id": "cmpl-1", "choices": [{{"index": 0, "text": {}, "finish_reason": null}}]}}',
    "chat": '{{"id": "c", "choices": [{{"index": 0, "delta": {{"content": {}}}, "finish_reason": null}}]}}',
    "messages": '{{"type": "content_block_delta", "index": 0, "delta": {{"type": "text_delta", "text": {}}}}}',
}


@settings(max_examples=200, deadline=None)
@given(
    api=st.sampled_from(sorted(FRAMES)),
    texts=st.lists(
        st.text(min_size=1, max_size=8)
        | st.sampled_from([" a", "text", "c", '"', "\\", '\\"', "\n", "é", "\x7f"])
    ),
    escaped=st.booleans(),
)
@example(api="chat", texts=["a", '"}}', '\\", "b": "'], escaped=False)
def test_a_stream_is_read_as_json_would_be(api: Api, texts: list[str], escaped: bool) -> None:
    answer, tally = Answer(Shot(0, b"", 64), texts=[]), Tally()
    for at, text in enumerate(texts):
        payload = FRAMES[api].format(json.dumps(text, ensure_ascii=escaped)).encode()
        answer.absorb([payload], at, DELTAS[api], tally, late=False)
    assert (answer.texts, answer.stamps_ns, answer.chars, answer.failure, tally.events) == (
        texts,
        list(range(len(texts))),
        sum(map(len, texts)),
        None,
        len(texts),
    )


def test_what_else_an_event_says_is_never_passed_over() -> None:
    answer, tally = Answer(Shot(0, b"", 64)), Tally()
    event = '{"choices": [{"text": "%s", "finish_reason": %s}]%s}'
    for text, reason, rest in (
        ("a", "null", ""),
        ("b", "null", ', "usage": {"completion_tokens": 2}'),
        ("c", '"stop"', ""),
        ("d", "null", ""),
    ):
        answer.absorb([(event % (text, reason, rest)).encode()], 0, DELTAS["completions"], tally, late=False)
    assert (answer.usage[1], answer.finish_reason, answer.chars) == (2, "stop", 4)


def test_a_text_that_stands_twice_tells_nothing_of_its_place() -> None:
    assert around(b'{"text": "b"}', "b") == (b'{"text": "', b'"}')
    assert around(b'{"text": "text"}', "text") == (b"", b"")
    assert around(b'{"text": "\\u0062"}', "b") == (b"", b"")
