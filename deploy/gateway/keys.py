"""PURE: the keys of a gateway. A key itself is shown once and kept nowhere: what is kept is its SHA-256."""

import hashlib
import re
import secrets
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from deploy.gateway.gateway_options import GatewayOptions
from infra.asked import Asked, Flag
from infra.errors import UsageError
from infra.lifetime import minutes
from infra.record import Document, Record

PREFIX = "sk-corral-"
PERSON = r"^[a-z0-9][a-z0-9._@-]{0,39}$"
MODEL = r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}$"
SHOWN_DIGITS = 8
LONGEST_DAYS = 366
"""Of a key that ends by itself: one that is to be good for longer is rotated, or good until it is revoked."""

Model = Annotated[str, Field(pattern=MODEL)]
WholeOrNone = Annotated[int | None, Flag(kind=int)]


class KeyLimits(Asked):
    """What a key may do. None is what the gateway says for every key."""

    expires: str | None = None
    """How long it is good for, such as 8h or 90d, up to 366d. [default: until it is revoked]"""
    model: tuple[Model, ...] = ()
    """A model or adapter that it may ask for; repeatable. [default: all that are served]"""
    requests_per_minute: WholeOrNone = Field(default=None, ge=1, le=1_000_000)
    """Requests a minute. [default: the gateway's]"""
    requests_at_once: WholeOrNone = Field(default=None, ge=1, le=100_000)
    """Requests at once. [default: the gateway's]"""
    tokens_per_month: WholeOrNone = Field(default=None, ge=1)
    """Tokens of prompts and answers in a month, UTC. [default: the gateway's]"""


class Key(Record):
    """A key as it is kept: whose it is, what it may do, until when."""

    id: str = Field(pattern=r"^[a-z0-9._@-]{1,60}$")
    """What the audit calls it."""
    person: str = Field(pattern=PERSON)
    """Whose it is, as was said."""
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    """Of the key; the key itself is kept nowhere."""
    created_at: datetime
    """When it was made (UTC)."""
    expires_at: datetime | None = None
    """From when on it is refused; null for never."""
    revoked_at: datetime | None = None
    """When it was revoked; null where it is not."""
    models: tuple[Model, ...] = ()
    """The names that it may ask for; empty for all."""
    requests_per_minute: int | None = None
    """The most; null for the gateway's own limit."""
    requests_at_once: int | None = None
    """The most; null for the gateway's own limit."""
    tokens_per_month: int | None = None
    """The most, input and output, in a month (UTC); null for no budget."""

    def state(self, now: datetime) -> Literal["good", "expired", "revoked"]:
        """What a request with it would find."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now else "good"


class Keys(Document):
    """All keys of a gateway, those that are good for nothing any more too: the audit names them."""

    kind: ClassVar[str] = "list of keys"
    document: Literal["gateway-keys"] = "gateway-keys"
    schema_version: Literal[1] = 1

    keys: tuple[Key, ...] = ()
    """In the order in which they were made."""

    def named(self, key: str, deployment: str) -> tuple[Key, ...]:
        """The key of that id, or all of that person. Raises UsageError where that deployment's gateway has none."""
        found = tuple(each for each in self.keys if key in (each.id, each.person))
        if not found:
            raise UsageError(
                f"There is no key and nobody called {key!r}.",
                f"See which there are: corral keys list {deployment}",
            )
        return found


class NewKey(Record):
    """A key on the only occasion on which it is shown."""

    id: str
    """What the audit calls it."""
    person: str
    """Whose it is, as was said."""
    key: str
    """The key itself, which is kept nowhere."""
    expires_at: datetime | None
    """From when on it is refused; null for never."""


def checked_person(person: str) -> str:
    """The name. Raises UsageError for one that is none."""
    if re.fullmatch(PERSON[1:-1], person):
        return person
    raise UsageError(
        f"{person!r} cannot be the name of whose key it is.",
        "Use 1 to 40 of a-z, 0-9 and . _ @ -, the first a letter or digit: alice",
    )


def check_served(limits: KeyLimits, served: tuple[str, ...]) -> None:
    """Raise UsageError for a key that is for a name which nobody serves: each of its requests would be refused."""
    if others := [model for model in limits.model if model not in served]:
        raise UsageError(
            f"{others[0]} is not served here; what is: {', '.join(served)}.",
            f"Name what requests ask for: --model {served[0]}",
        )


def span(of_minutes: int) -> timedelta:
    """So many minutes."""
    return timedelta(minutes=of_minutes)


def hashed(key: str) -> str:
    """What is kept of a key."""
    return hashlib.sha256(key.encode()).hexdigest()


def made(person: str, limits: KeyLimits, now: datetime) -> tuple[Key, NewKey]:
    """A new key of 256 random bits: as it is kept, and as it is shown."""
    secret = f"{PREFIX}{secrets.token_urlsafe(32)}"
    digest = hashed(secret)
    until = now + span(minutes(limits.expires, "--expires", LONGEST_DAYS)) if limits.expires else None
    kept = Key(
        id=f"{person}-{digest[:SHOWN_DIGITS]}",
        person=person,
        sha256=digest,
        created_at=now,
        expires_at=until,
        models=limits.model,
        requests_per_minute=limits.requests_per_minute,
        requests_at_once=limits.requests_at_once,
        tokens_per_month=limits.tokens_per_month,
    )
    return kept, NewKey(id=kept.id, person=person, key=secret, expires_at=until)


def successor(key: Key, now: datetime) -> tuple[Key, NewKey]:
    """A key that may do what another may, for the same person."""
    kept, shown = made(key.person, KeyLimits(), now)
    limits = {"models", "requests_per_minute", "requests_at_once", "tokens_per_month"}
    return kept.model_copy(update={name: getattr(key, name) for name in limits}), shown


def entry(key: Key, asked: GatewayOptions) -> str:
    """What HAProxy finds under the key's hash."""
    expires = 0 if key.expires_at is None else int(key.expires_at.timestamp())
    fields = (
        key.id,
        expires,
        key.requests_per_minute or asked.requests_per_minute,
        key.requests_at_once or asked.requests_at_once,
        key.tokens_per_month or asked.tokens_per_month or 0,
        ",".join(key.models),
    )
    return "|".join(map(str, fields))


def merged(one: Keys, other: Keys) -> Keys:
    """All keys of both lists. One that is in both is good for no longer than either says."""
    found = {key.sha256: key for key in one.keys}
    for key in other.keys:
        known = found.get(key.sha256, key)
        found[key.sha256] = known.model_copy(
            update={
                "expires_at": earlier(known.expires_at, key.expires_at),
                "revoked_at": earlier(known.revoked_at, key.revoked_at),
            }
        )
    return Keys(keys=tuple(sorted(found.values(), key=lambda key: key.created_at)))


def earlier(one: datetime | None, other: datetime | None) -> datetime | None:
    """The first of two moments; None stands for never."""
    return min(filter(None, (one, other)), default=None)


def map_text(keys: Iterable[Key], asked: GatewayOptions) -> str:
    """The map of all keys that were not revoked; whether one has expired HAProxy sees itself."""
    return "".join(f"{key.sha256} {entry(key, asked)}\n" for key in keys if key.revoked_at is None)


def now_utc() -> datetime:
    """The second that it is."""
    return datetime.now(UTC).replace(microsecond=0)
