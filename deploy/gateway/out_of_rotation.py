"""A deployment's servers out of its gateway's rotation for a while: whoever ends one does so then."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from deploy.gateway import gateway, rotation
from infra.errors import CorralError
from infra.say import progress
from infra.wait import Pace, until

SEEN_WELL_WITHIN_S = 60.0


def in_front(name: str) -> tuple[str, ...]:
    """The servers that its gateway has; none while none runs."""
    place = gateway.folder(name)
    if not gateway.exists(name) or not gateway.is_there(name):
        return ()
    return tuple(server.name for server in rotation.in_front(place))


def drain(name: str, server: str, within_s: float) -> None:
    """Have its gateway give one server nothing new, and wait for so long until that has finished what it has."""
    rotation.take_out(gateway.folder(name), server)
    left = until(lambda: requests(name, server), lambda count: not count, pace(within_s))
    progress(f"{called(name)}: {server} gets no new requests" + (f"; {left} go on" if left else ""))


def put_in(name: str, server: str) -> bool:
    """Have its gateway give that server requests again; whether its own checks found it well by now."""
    rotation.take_in(gateway.folder(name), server)
    is_up = until(lambda: server in up(name), bool, pace(SEEN_WELL_WITHIN_S))
    progress(f"{called(name)}: {server} {'gets requests again' if is_up else 'is not well yet'}")
    return is_up


def called(name: str) -> str:
    """Its gateway, for people: where it stands, unless that is here."""
    on_host = gateway.load(name).asked.on_host
    return f"gateway on {on_host}" if on_host else "gateway"


def up(name: str) -> tuple[str, ...]:
    """The servers that its gateway gives requests to now."""
    return tuple(each.name for each in rotation.in_front(gateway.folder(name)) if each.state == "UP")


def without_requests(name: str) -> tuple[str, ...]:
    """The servers to which its gateway gives none now; one whose last check alone failed has some. None: no gateway."""
    if not in_front(name):
        return ()
    seen = rotation.in_front(gateway.folder(name))
    return tuple(each.name for each in seen if each.state.split()[0] != "UP")


def requests(name: str, server: str) -> int:
    """How many requests a server has of its gateway."""
    return sum(each.sessions for each in rotation.in_front(gateway.folder(name)) if each.name == server)


def pace(within_s: float) -> Pace:
    """How often its gateway is asked."""
    return Pace(within_s, 0.1, time.sleep, time.monotonic)


@contextmanager
def out_of_rotation(name: str) -> Iterator[None]:
    """Have its gateway, where one runs, give all of its servers nothing new, but finish what they have.

    They are back in the end, whatever became of them: the gateway's own checks tell. Where it cannot be asked, what is
    ended is ended all the same.
    """
    place, taken = gateway.folder(name), []
    try:
        for server in in_front(name):
            rotation.take_out(place, server)
            taken.append(server)
            progress(f"{called(name)}: {server} gets no new requests")
    except CorralError as error:
        progress(f"gateway: {error.message}")
    try:
        yield
    finally:
        for server in taken:
            with suppress(CorralError):  # it has ended meanwhile
                rotation.take_in(place, server)
