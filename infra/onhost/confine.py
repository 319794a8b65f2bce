#!/usr/bin/env python3
"""Run COMMAND kept from the abstract sockets and from the processes that are not its own: confine COMMAND...

systemd runs it in the server's place and as its user; it becomes the server. An abstract socket has a name and no file,
so neither the rules nor what the unit hides keeps the server from another program's. Linux does from 6.12, by
Landlock; where it cannot, the server starts without, and its log says so. Standard library only, and no engine's code.
"""

import ctypes
import os
import struct
import sys

NO_NEW_PRIVS = 38
# Numbers that are the same on every architecture.
CREATE_RULESET, RESTRICT_SELF = 444, 446
ASK_VERSION = 1
SCOPES_SINCE = 6
# Which rights of files (0: none is taken), which of the network, which scopes: abstract sockets, signals.
RULESET = struct.pack("=QQQ", 0, 0, 1 | 2)
LIBC = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """Keep this process and all that come of it, then become the command. Raises OSError where Linux refuses."""
    if version() < SCOPES_SINCE:
        lacking = "this Linux lacks Landlock of 6.12 or newer"
        print(
            f"corral: {lacking}: abstract sockets of other programs are open to the server", file=sys.stderr
        )
    else:
        confine()
    sys.stderr.flush()
    os.execv(sys.argv[1], sys.argv[1:])


def version() -> int:
    """Which Landlock this kernel has; 0 where it has none, or it is off."""
    try:
        return call(CREATE_RULESET, None, 0, ASK_VERSION)
    except OSError:
        return 0


def confine() -> None:
    """Take the rights away, for good. Raises OSError."""
    ruleset = call(CREATE_RULESET, RULESET, len(RULESET), 0)
    if LIBC.prctl(NO_NEW_PRIVS, *map(ctypes.c_ulong, (1, 0, 0, 0))):
        raise OSError(ctypes.get_errno(), "no new privileges")
    call(RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)


def call(number: int, *arguments: "int | bytes | None") -> int:
    """One system call. Raises OSError."""
    words = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    done = LIBC.syscall(ctypes.c_long(number), *words)
    if done < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return int(done)


if __name__ == "__main__":
    main()
