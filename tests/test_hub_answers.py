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
