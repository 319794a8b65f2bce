"""A deployment's servers out of its gateway's rotation for a while: whoever ends one does so then."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from deploy.gateway import gateway, haproxy, rotation
from infra.errors import CorralError
from infra.say import progress


def in_front(name: str) -> tuple[str, ...]:
    """The servers that its gateway has; none while none runs."""
    place = gateway.folder(name)
    if not gateway.exists(name) or not haproxy.members(place):
        return ()
    return tuple(server.name for server in rotation.in_front(place))


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
            progress(f"gateway: {server} gets no new requests")
    except CorralError as error:
        progress(f"gateway: {error.message}")
    try:
        yield
    finally:
        for server in taken:
            with suppress(CorralError):  # it has ended meanwhile
                rotation.take_in(place, server)
