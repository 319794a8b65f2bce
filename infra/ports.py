"""Door: the ports of this machine, at loopback."""

import socket
from collections.abc import Collection

from infra.errors import HostError

MOST_TRIED = 100


def free_port(wanted: int, taken: Collection[int] = ()) -> int:
    """The wanted port, or one of the hundred after it, which people remember; none of `taken`. Raises HostError."""
    for port in range(wanted, wanted + MOST_TRIED):
        if port not in taken and is_free(port):
            return port
    raise HostError(f"No port from {wanted} on is free on this machine.", "See what uses them: ss -ltn")


def is_free(port: int) -> bool:
    """Whether nobody listens there."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except (OSError, OverflowError):
        return False
    return True
