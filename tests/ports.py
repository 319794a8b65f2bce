"""Ports for servers that a test starts later: nobody else takes one meanwhile, in this process or another.

Linux gives whoever asks for any port one of ip_local_port_range. So those of a test are below, and each of up to twelve
workers of a run has a thousand, of which each process begins elsewhere, as two runs on one machine do.
"""

import os
import socket
from itertools import cycle

LOWEST, EACH = 20_000, 1_000
FIRST = LOWEST + int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 12 * EACH
BEGIN = FIRST + os.getpid() % EACH
NEXT: "cycle[int]" = cycle([*range(BEGIN, FIRST + EACH), *range(FIRST, BEGIN)])


def free_port() -> int:
    """The next of this worker's ports that nobody listens on."""
    return next(port for port in NEXT if is_free(port))


def is_free(port: int) -> bool:
    """Whether a server could listen there."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True
