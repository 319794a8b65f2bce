"""The keys of a gateway: its list on the disk, and what the running HAProxy knows of it, changed together."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
    with changing(folder, asked) as known:
        known.append(kept)
        put(folder, asked, kept)
    return shown


def revoke(folder: Path, asked: GatewayOptions, key: str) -> tuple[Key, ...]:
    """End a key, or all of a person: no request is taken any more, and their streams are cut. Raises UsageError."""
    now, gone = keys.now_utc(), []
    with changing(folder, asked) as known:
        for old in Keys(keys=tuple(known)).named(key):
            if old.revoked_at is None:
                ended = old.model_copy(update={"revoked_at": now})
                known[known.index(old)] = ended
                gone.append(ended)
        for ended in gone:
            take(folder, ended)
    return tuple(gone)


def rotate(folder: Path, asked: GatewayOptions, key: str, overlap: str) -> NewKey:
    """A key in place of another, which stays good for the overlap. Raises UsageError."""
    now = keys.now_utc()
    with changing(folder, asked) as known:
        old = one(Keys(keys=tuple(known)), key)
        new, shown = keys.successor(old, now)
        until = now + keys.span(minutes(overlap, "--overlap"))
        ending = old.model_copy(update={"expires_at": min(old.expires_at or until, until)})
        known[known.index(old)] = ending
        known.append(new)
        for each in (ending, new):
            put(folder, asked, each)
    return shown


def one(known: Keys, key: str) -> Key:
    """The one good key that is meant. Raises UsageError where it is none, or one of several."""
    now = keys.now_utc()
    found = [each for each in known.named(key) if each.state(now) == "good"]
    if len(found) != 1:
        which = ", ".join(each.id for each in found)
        raise UsageError(
            f"{key!r} has {len(found)} keys that are good.",
            f"Name one: {which}" if found else "Add one: corral keys add",
        )
    return found[0]


@contextmanager
def changing(folder: Path, asked: GatewayOptions) -> Iterator[list[Key]]:
    """The list, to be changed by one corral at a time; written with its map when all was done. Raises HostError."""

    def waiting() -> None:
        progress("keys: another corral changes them now; waiting")

    try:
        make_folder(folder)
        with locks.in_turn(folder / ".keys.lock", waiting):
            there = on_host.of(folder)
            was = on_host.keys(there) if there else ""
            known = list((parsed(was, there.host) if there else read(folder)).keys)
            yield known
            kept = Keys(keys=tuple(known))
            if there:
                files = {DOCUMENT: kept.text(), f"files/{KEYS_MAP}": keys.map_text(known, asked)}
                on_host.keep(there, was, files)
            else:
                kept.write(folder / DOCUMENT)
                write_map(folder, asked)
    except OSError as error:
        raise refused(folder, error) from None


def write_map(folder: Path, asked: GatewayOptions) -> None:
    """The map that HAProxy reads at its start."""
    write_text_atomically(folder / KEYS_MAP, keys.map_text(read(folder).keys, asked))


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
