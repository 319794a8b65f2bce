"""PURE: what the Hub's answers mean, told by their status, headers and codes, and never by their words."""

import email.utils
import re
import time
from dataclasses import dataclass, field
from email.message import Message
from typing import NamedTuple

from infra.errors import AuthError, CorralError, DocumentError, EndpointError

AGAIN = "Again: what came is kept, and not fetched twice."
LONGEST_WAIT_S = 300.0
"""However long the Hub asks to be left alone, one wait is no longer."""


@dataclass(frozen=True)
class Source:
    """A repository at a commit, and who asks for it. It prints without the token."""

    endpoint: str
    repository: str
    commit: str
    token: str = field(default="", repr=False)
    """Empty for none; it goes to the endpoint and nowhere else."""


class Span(NamedTuple):
    """Some bytes of a file."""

    first: int
    last: int
    """The last of them, as in HTTP's Range."""
    of: int
    """The size of the file."""

    @property
    def bytes(self) -> int:
        """How many."""
        return self.last - self.first + 1

    @property
    def is_whole(self) -> bool:
        """Whether it is all of the file."""
        return self.bytes == self.of


class Passing(EndpointError):
    """What may go by: worth another try, after a while."""

    def __init__(self, message: str, wait_s: float | None = None) -> None:
        super().__init__(message, AGAIN)
        self.wait_s = wait_s
        """How long the Hub asks to be left alone; None where it does not say."""


def gated(repo: str) -> CorralError:
    """The licence has not been accepted, or no token was given."""
    return AuthError(
        f"{repo} is gated: its licence must be accepted by the owner of your Hugging Face token.",
        f"Accept it at https://huggingface.co/{repo}, then run: hf auth login",
    )


def unknown_token() -> CorralError:
    """A token that was mistyped, revoked or has expired."""
    return AuthError(
        "The Hugging Face Hub does not know the token it was given.",
        "It may be revoked or mistyped; make another: https://huggingface.co/settings/tokens",
    )


class NoCommit(DocumentError):
    """A repository has no commit of the name that is asked for."""


def no_commit(repo: str) -> NoCommit:
    """The commit the plan names is not in the repository, or not any more."""
    return NoCommit(
        f"{repo} has no commit of the name that the plan gives.",
        "Plan again, or set revision (under serve in the plan) to one of its commits.",
    )


def lies(what: str, how: str) -> CorralError:
    """An answer that cannot be true."""
    return EndpointError(
        f"The Hub answers wrongly about {what}: {how}.",
        "Is there a proxy or a mirror on the way (HTTPS_PROXY, HF_ENDPOINT)? Nothing of it was kept.",
    )


def refusal(source: Source, what: str, status: int, headers: Message, is_storage: bool) -> CorralError:
    """Why a question was refused; `is_storage` where large files are, which know no token."""
    code = headers.get("X-Error-Code") or ""
    if status == 429:
        return Passing(
            "The Hub asks to be left alone for a while (HTTP 429).", waited_s(headers.get("Retry-After"))
        )
    if status >= 500:
        return Passing(f"The Hub fails at {what} (HTTP {status}).", waited_s(headers.get("Retry-After")))
    if is_storage and status in (401, 403, 404):
        return Passing(f"The Hub's storage refuses {what} (HTTP {status}).")
    if status in (401, 403):
        return not_let_in(source, status, code)
    if status == 404:
        return not_there(source, what, code)
    if status == 416:
        return lies(what, "it has no such bytes, of a length that it told itself")
    return EndpointError(f"The Hub refuses {what} (HTTP {status}).", AGAIN)


def not_let_in(source: Source, status: int, code: str) -> CorralError:
    """The token, or that there is none."""
    if code == "GatedRepo":
        return gated(source.repository)
    if code == "RepoNotFound":
        return missing(source.repository)
    if status == 401 and source.token:
        return unknown_token()
    return AuthError(
        f"The Hub does not let {'this token' if source.token else 'nobody in particular'} fetch "
        f"{source.repository} (HTTP {status}).",
        f"Look who may: https://huggingface.co/{source.repository}; a token: hf auth login",
    )


def not_there(source: Source, what: str, code: str) -> CorralError:
    """The repository, the commit or the file."""
    if code == "RepoNotFound":
        return missing(source.repository)
    if code == "RevisionNotFound":
        return no_commit(source.repository)
    return EndpointError(f"The Hub does not have {what} (HTTP 404).", "Is HF_ENDPOINT a model hub?")


def missing(repo: str) -> CorralError:
    """No such repository, or a private one."""
    return DocumentError(
        f"There is no repository {repo!r} on the Hub, or your token may not see it.",
        f"Look for it: https://huggingface.co/{repo}; a token: hf auth login",
    )


def waited_s(said: str | None) -> float | None:
    """A Retry-After, seconds or a date, in seconds from now and within bounds; None where nothing is said."""
    if said is None:
        return None
    if re.fullmatch(r"[0-9]{1,9}", said.strip()):
        return min(float(said), LONGEST_WAIT_S)
    try:
        until_s = email.utils.parsedate_to_datetime(said).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(0.0, until_s - time.time()), LONGEST_WAIT_S)


def check_part(what: str, status: int, headers: Message, span: Span) -> None:
    """Raise EndpointError for an answer that does not bring those bytes and no others."""
    if headers.get("Content-Encoding", "identity") not in ("", "identity"):
        raise lies(what, "it is packed, which was not asked for")
    if headers.get("Content-Type", "").startswith("text/html"):
        raise lies(what, "a web page came in its place")
    if status == 200 and not span.is_whole:
        raise lies(what, "all of it came where a part was asked for")
    if status == 206:
        if headers.get("Content-Range") != f"bytes {span.first}-{span.last}/{span.of}":
            raise lies(what, "other bytes came than were asked for, or of a file of another length")
    elif status != 200:
        raise lies(what, f"HTTP {status} came where bytes were asked for")
    length = headers.get("Content-Length")
    if length is not None and length != str(span.bytes):
        raise lies(what, f"{length} bytes are announced in place of {span.bytes}"[:200])
