"""The keys of a gateway: its list on the disk, and what the running HAProxy knows of it, changed together."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from deploy.gateway import admin_socket, haproxy, keys, on_host
from deploy.gateway.gateway_options import GatewayOptions
from deploy.gateway.haproxy_config import ADMIN, KEYS_MAP, MASTER
from deploy.gateway.keys import Key, KeyLimits, Keys, NewKey
from infra import locks
from infra.errors import UsageError
from infra.home import make_folder
from infra.lifetime import minutes
from infra.record import refused, write_text_atomically
from infra.say import progress

DOCUMENT = on_host.KEYS


def read(folder: Path) -> Keys:
    """All keys. Raises DocumentError where their list cannot be read."""
    if there := on_host.of(folder):
        return parsed(on_host.keys(there), there.host)
    return Keys.read(folder / DOCUMENT) if (folder / DOCUMENT).exists() else Keys()


def parsed(text: str, host: str) -> Keys:
    """The list as a host keeps it. Raises DocumentError."""
    return Keys.parse(text, f"{host}:{DOCUMENT}") if text else Keys()


def good(folder: Path) -> tuple[Key, ...]:
    """Those that a request may have now."""
    now = keys.now_utc()
    return tuple(key for key in read(folder).keys if key.state(now) == "good")


def add(folder: Path, asked: GatewayOptions, person: str, limits: KeyLimits) -> NewKey:
    """A new key, good from now on. Raises UsageError for a name that is none."""
    kept, shown = keys.made(keys.checked_person(person), limits, keys.now_utc())
    with changing(folder, asked) as change:
        change.known.append(kept)
        change.told.append(kept)
    return shown


def revoke(folder: Path, asked: GatewayOptions, key: str) -> tuple[Key, ...]:
    """End a key, or all of a person: no request is taken any more, and their streams are cut. Raises UsageError.

    HAProxy is told of one that was revoked before, too: it may not have heard.
    """
    now, gone = keys.now_utc(), []
    with changing(folder, asked) as change:
        for old in Keys(keys=tuple(change.known)).named(key, deployment_of(folder)):
            ended = old if old.revoked_at else old.model_copy(update={"revoked_at": now})
            change.known[change.known.index(old)] = ended
            change.told.append(ended)
            if ended is not old:
                gone.append(ended)
    return tuple(gone)


def rotate(folder: Path, asked: GatewayOptions, key: str, overlap: str) -> NewKey:
    """A key in place of another, which stays good for the overlap. Raises UsageError."""
    now = keys.now_utc()
    with changing(folder, asked) as change:
        old = one(Keys(keys=tuple(change.known)), key, deployment_of(folder))
        new, shown = keys.successor(old, now)
        until = now + keys.span(minutes(overlap, "--overlap"))
        ending = old.model_copy(update={"expires_at": min(old.expires_at or until, until)})
        change.known[change.known.index(old)] = ending
        change.known.append(new)
        change.told.extend((ending, new))
    return shown


def deployment_of(folder: Path) -> str:
    """Whose gateway's folder it is."""
    return folder.parent.name


def one(known: Keys, key: str, deployment: str) -> Key:
    """The one good key that is meant. Raises UsageError where it is none, or one of several."""
    now = keys.now_utc()
    all_of_it = known.named(key, deployment)
    found = [each for each in all_of_it if each.state(now) == "good"]
    if len(found) != 1:
        which = ", ".join(each.id for each in found)
        raise UsageError(
            f"{key!r} has {len(found)} keys that are good.",
            f"Name one: {which}" if found else f"Add one: corral keys add {deployment} {all_of_it[0].person}",
        )
    return found[0]


class Change(NamedTuple):
    """The list of keys while it is changed."""

    known: list[Key]
    """All, to be kept."""
    told: list[Key]
    """Those of which HAProxy is told then."""


@contextmanager
def changing(folder: Path, asked: GatewayOptions) -> Iterator[Change]:
    """The list, to be changed by one corral at a time. Raises HostError.

    It is written with its map before the running HAProxy is told, which may read the map anew at any moment.
    """
    try:
        make_folder(folder)
        with turn(folder):
            there = on_host.of(folder)
            was = on_host.keys(there) if there else ""
            change = Change(list((parsed(was, there.host) if there else read(folder)).keys), [])
            yield change
            kept = Keys(keys=tuple(change.known))
            if there:
                files = {DOCUMENT: kept.text(), f"files/{KEYS_MAP}": keys.map_text(kept.keys, asked)}
                on_host.keep(there, was, files)
            else:
                kept.write(folder / DOCUMENT)
                write_map(folder, asked)
            tell(folder, asked, change.told)
    except OSError as error:
        raise refused(folder, error) from None


@contextmanager
def turn(folder: Path) -> Iterator[None]:
    """Keep the keys from being changed by another corral of this machine, once none does. Raises OSError."""

    def waiting() -> None:
        progress("keys: another corral changes them now; waiting")

    with locks.in_turn(folder / ".keys.lock", waiting):
        yield


def write_map(folder: Path, asked: GatewayOptions) -> None:
    """The map that HAProxy reads at its start."""
    write_text_atomically(folder / KEYS_MAP, keys.map_text(read(folder).keys, asked))


def mapped(folder: Path, asked: GatewayOptions) -> Keys:
    """Write the map before a start or a change; the list that it was written from. Raises HostError."""
    try:
        with turn(folder):
            known = read(folder)
            write_map(folder, asked)
            return known
    except OSError as error:
        raise refused(folder, error) from None


def catch_up(folder: Path, asked: GatewayOptions, known: Keys) -> None:
    """After a start or a change, tell HAProxy of what has changed since the map that it began with."""
    before = {key.id: key for key in known.keys}
    tell(folder, asked, [key for key in read(folder).keys if before.get(key.id) != key])


def tell(folder: Path, asked: GatewayOptions, changed: Iterable[Key]) -> None:
    """Have the running HAProxy know these as they are now."""
    for key in changed:
        if key.revoked_at is None:
            put(folder, asked, key)
        else:
            take(folder, key)


def put(folder: Path, asked: GatewayOptions, key: Key) -> None:
    """Have the running HAProxy know a key as it is now; one that is started later reads the map."""
    if haproxy.is_running(folder):
        admin_socket.ask(folder / ADMIN, f"del map {KEYS_MAP} {key.sha256}")
        admin_socket.ask(folder / ADMIN, f"add map {KEYS_MAP} {key.sha256} {keys.entry(key, asked)}")


def take(folder: Path, key: Key) -> None:
    """Have the running HAProxy forget a key and cut its streams, those from before a change too."""
    if haproxy.is_running(folder):
        admin_socket.ask(folder / ADMIN, f"del map {KEYS_MAP} {key.sha256}")
        admin_socket.ask_all(folder / MASTER, f"corral revoke {key.id}")
