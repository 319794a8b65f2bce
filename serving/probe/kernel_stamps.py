"""The kernel's receive time stamps, on the monotonic clock.

Linux stamps every TCP segment when the network stack takes it in. Reading that stamp with the data frees the
figures from how late this process was. A stamp belongs to the last byte of a read (kernel commit 98aaa913b4ed), so
where one read holds several events only the last one's time is certain.
"""

import socket
import struct
import sys
import time
from contextlib import suppress

# include/uapi/asm-generic/socket.h: SO_TIMESTAMPNS_OLD, a struct timespec of two 64-bit words. Not in Python's socket.
SO_TIMESTAMPNS = 35
unpack_timespec = struct.Struct("@qq").unpack
CONTROL_BYTES = 64
# A stamp further from the reading is no stamp: somebody set the clock, or the machine was asleep.
MOST_AHEAD_NS, MOST_LAG_NS = 1_000_000, 600_000_000_000


def ask_kernel_stamps(sock: socket.socket) -> bool:
    """Ask for kernel receive stamps on that socket; say whether the system has them."""
    if sys.platform != "linux" or struct.calcsize("@l") != 8:
        return False
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    except OSError:
        return False
    return True


def await_stamps(within_s: float = 1.0) -> bool:
    """Wait until the kernel stamps what comes, and say whether it does.

    It begins a while after the first socket has asked for it, on a busy machine many ms, and until then stamps nothing.
    """
    with (
        suppress(OSError),
        socket.create_server(("127.0.0.1", 0)) as door,
        socket.create_connection(door.getsockname(), within_s) as here,
        door.accept()[0] as there,
    ):
        there.settimeout(within_s)
        end_ns = time.monotonic_ns() + int(within_s * 1e9)
        while ask_kernel_stamps(there) and time.monotonic_ns() < end_ns:
            here.send(b".")
            if there.recvmsg(1, CONTROL_BYTES)[1]:
                return True
            time.sleep(0.001)
    return False


def realtime_offset_ns() -> int:
    """CLOCK_REALTIME minus CLOCK_MONOTONIC, the best of five tries. Moves when NTP slews: ask again during a run."""
    best_ns, offset_ns = sys.maxsize, 0
    for _ in range(5):
        before = time.monotonic_ns()
        real = time.time_ns()
        after = time.monotonic_ns()
        if after - before < best_ns:
            best_ns, offset_ns = after - before, real - (before + after) // 2
    return offset_ns
