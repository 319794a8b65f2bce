"""What the Hub's refusals mean: each by its status and its own code, and the next step."""

from email.message import Message

import pytest

from infra.errors import AuthError, CorralError, DocumentError, EndpointError
from infra.fetch import hub_answers
from infra.fetch.hub_answers import NoCommit, Passing, Source

REPO = "meta-llama/a"
MISSING = f"There is no repository {REPO!r} on the Hub, or your token may not see it."
GATED = f"{REPO} is gated: its licence must be accepted by the owner of your Hugging Face token."
STRANGER = f"The Hub does not let nobody in particular fetch {REPO} (HTTP"
REFUSALS: dict[str, tuple[tuple[int, str, str, bool], type[CorralError], str]] = {
    "gated": ((403, "GatedRepo", "t", False), AuthError, GATED),
    "gated, nobody in particular": ((401, "GatedRepo", "", False), AuthError, GATED),
    "private, by 401": ((401, "RepoNotFound", "", False), DocumentError, MISSING),
    "private, by 404": ((404, "RepoNotFound", "t", False), DocumentError, MISSING),
    "no commit": ((404, "RevisionNotFound", "", False), NoCommit,
                  f"{REPO} has no commit of the name that the plan gives."),
    "no file": ((404, "", "", False), EndpointError, "The Hub does not have f (HTTP 404)."),
    "a token it does not know": ((401, "", "t", False), AuthError,
                                 "The Hugging Face Hub does not know the token it was given."),
    "a token that may not": ((403, "", "t", False), AuthError,
                             f"The Hub does not let this token fetch {REPO} (HTTP 403)."),
    "nobody in particular": ((401, "", "", False), AuthError, f"{STRANGER} 401)."),
    "storage whose address is over": ((403, "", "t", True), Passing,
                                      "The Hub's storage refuses f (HTTP 403)."),
    "storage that has lost it": ((404, "", "t", True), Passing, "The Hub's storage refuses f (HTTP 404)."),
    "too many questions": ((429, "", "t", False), Passing,
                           "The Hub asks to be left alone for a while (HTTP 429)."),
    "a fault of its own": ((500, "", "t", True), Passing, "The Hub fails at f (HTTP 500)."),
    "bytes beyond the end": ((416, "", "t", True), EndpointError,
                             "The Hub answers wrongly about f: it has no such bytes, of a length that it told itself."),
    "anything else": ((418, "", "t", False), EndpointError, "The Hub refuses f (HTTP 418)."),
}  # fmt: skip


@pytest.mark.parametrize(("answer", "kind", "message"), REFUSALS.values(), ids=REFUSALS)
def test_a_refusal_is_told_by_its_status_and_code(
    answer: tuple[int, str, str, bool], kind: type[CorralError], message: str
) -> None:
    status, code, token, is_storage = answer
    headers = Message()
    if code:
        headers["X-Error-Code"] = code
    source = Source(endpoint="https://hub", repository=REPO, commit="c", token=token)
    found = hub_answers.refusal(source, "f", status, headers, is_storage)
    assert (type(found), found.message) == (kind, message)


LOGIN = f"https://huggingface.co/{REPO}; a token: hf auth login"
AGAIN = "Again: what came is kept, and not fetched twice."
PROXY = "Is there a proxy or a mirror on the way (HTTPS_PROXY, HF_ENDPOINT)? Nothing of it was kept."
HINTS = {
    "gated": f"Accept it at https://huggingface.co/{REPO}, then run: hf auth login",
    "gated, nobody in particular": f"Accept it at https://huggingface.co/{REPO}, then run: hf auth login",
    "private, by 401": f"Look for it: {LOGIN}",
    "private, by 404": f"Look for it: {LOGIN}",
    "no commit": "Plan again, or set revision (under serve in the plan) to one of its commits.",
    "no file": "Is HF_ENDPOINT a model hub?",
    "a token it does not know": "It may be revoked or mistyped; make another: https://huggingface.co/settings/tokens",
    "a token that may not": f"Look who may: {LOGIN}",
    "nobody in particular": f"Look who may: {LOGIN}",
    "storage whose address is over": AGAIN,
    "storage that has lost it": AGAIN,
    "too many questions": AGAIN,
    "a fault of its own": AGAIN,
    "bytes beyond the end": PROXY,
    "anything else": AGAIN,
}


def test_each_refusal_has_a_next_step() -> None:
    found = {}
    for name, ((status, code, token, is_storage), _, _) in REFUSALS.items():
        headers = Message()
        headers["X-Error-Code"] = code
        source = Source(endpoint="https://hub", repository=REPO, commit="c", token=token)
        found[name] = hub_answers.refusal(source, "f", status, headers, is_storage).hint
    assert found == HINTS


@pytest.mark.parametrize(
    ("said", "wait_s"),
    [
        (None, None),
        ("0", 0.0),
        (" 17 ", 17.0),
        ("300", 300.0),
        ("301", 300.0),
        ("9999999999", None),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 90.0),
        ("Thu, 01 Jan 1970 00:00:05 GMT", 0.0),
        ("Fri, 02 Jan 1970 00:00:00 GMT", 300.0),
        ("Thu, 99 Jan 1970 00:00:00 GMT", None),
    ],
)
def test_how_long_the_hub_asks_to_be_left_alone(
    said: str | None, wait_s: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: 10.0)
    assert hub_answers.waited_s(said) == wait_s
    headers = Message()
    if said is not None:
        headers["Retry-After"] = said
    for status in (429, 503):
        refusal = hub_answers.refusal(
            Source("https://hub", REPO, "c"), "f", status, headers, is_storage=False
        )
        assert isinstance(refusal, Passing)
        assert refusal.wait_s == wait_s


PART, ALL = hub_answers.Span(5, 9, 20), hub_answers.Span(0, 19, 20)


@pytest.mark.parametrize(
    ("span", "status", "headers", "how"),
    [
        (PART, 206, {"Content-Range": "bytes 5-9/20"}, ""),
        (PART, 206, {"Content-Range": "bytes 5-9/20", "Content-Length": "5", "Content-Encoding": "identity"}, ""),
        (ALL, 200, {"Content-Length": "20", "Content-Type": "application/octet-stream"}, ""),
        (ALL, 206, {"Content-Range": "bytes 0-19/20"}, ""),
        (PART, 206, {"Content-Range": "bytes 5-9/20", "Content-Encoding": "gzip"},
         "it is packed, which was not asked for"),
        (ALL, 200, {"Content-Type": "text/html; charset=utf-8"}, "a web page came in its place"),
        (PART, 200, {}, "all of it came where a part was asked for"),
        (PART, 206, {"Content-Range": "bytes 5-9/21"},
         "other bytes came than were asked for, or of a file of another length"),
        (PART, 206, {}, "other bytes came than were asked for, or of a file of another length"),
        (PART, 204, {}, "HTTP 204 came where bytes were asked for"),
        (ALL, 200, {"Content-Length": "21"}, "21 bytes are announced in place of 20"),
        (ALL, 200, {"Content-Length": "9" * 300}, "9" * 200),
    ],
)  # fmt: skip
def test_what_is_not_the_bytes_that_were_asked_for(
    span: hub_answers.Span, status: int, headers: dict[str, str], how: str
) -> None:
    given = Message()
    for name, value in headers.items():
        given[name] = value
    if not how:
        hub_answers.check_part("f", status, given, span)
        return
    with pytest.raises(EndpointError) as error:
        hub_answers.check_part("f", status, given, span)
    assert (error.value.message, error.value.hint) == (f"The Hub answers wrongly about f: {how}.", PROXY)
    assert (PART.bytes, PART.is_whole, ALL.bytes, ALL.is_whole) == (5, False, 20, True)


def test_a_source_prints_without_its_token() -> None:
    source = Source("https://hub", REPO, "c", "hf_secret")
    assert repr(source) == "Source(endpoint='https://hub', repository='meta-llama/a', commit='c')"
