"""Door: the process that loads: its event loop, and how many files it may open."""

import asyncio
import resource

from infra.errors import HostError

SPARE_FILES = 40
"""What a process has open beside its connections: results, libraries, the loop's own."""


def new_loop() -> asyncio.AbstractEventLoop:
    """uvloop's event loop, or the standard one where there is none."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


def raise_file_limit(connections: int) -> None:
    """Let this process have as many sockets as it may. Raises HostError where they are too few to begin with."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if 0 <= hard < connections + SPARE_FILES:
        raise HostError(
            f"A process may open only {hard} files here, and {connections} connections at once need more.",
            f"Allow more: ulimit -Hn {connections + SPARE_FILES}; or ask for fewer at once.",
        )
