#!/usr/bin/env python3
"""Run COMMAND kept from ways to other programs that neither the rules nor the unit close: confine COMMAND...

systemd runs it in the server's place and as its user; it becomes the server. An abstract socket has a name and no file;
Linux keeps the server to its own from 6.12, by Landlock. Where it cannot, the server starts without, and its log says
so. Of netlink what asks for routes stays, and RDMA's. A group it joined would be told to the network by Linux itself,
and SMC is begun by Linux itself: such packets are nobody's, and the rules pass them. Standard library only, and no
engine's code.
"""

import ctypes
import errno
import os
import struct
import sys

NO_NEW_PRIVS, SECCOMP, FILTER = 38, 22, 2
# Numbers of system calls; Landlock's are the same on every architecture.
CREATE_RULESET, RESTRICT_SELF = 444, 446
SOCKET_CALLS = {"x86_64": (41, 54), "aarch64": (198, 208)}
ASK_VERSION = 1
SCOPES_SINCE = 6
# Which rights of files (0: none is taken), which of the network, which scopes: abstract sockets, signals.
RULESET = struct.pack("=QQQ", 0, 0, 1 | 2)
NETLINK, ROUTE, RDMA, SMC = 16, 0, 20, 256
# Options by which a group is joined or left, IPv4's and IPv6's; between first and last lie those of both.
IP, IPV6, JOIN_IPV6, FIRST_OF_GROUPS, LAST_OF_GROUPS = 0, 41, 20, 35, 48
# The option by which TCP becomes SMC.
TCP, TCP_ULP = 6, 31
LIBC = ctypes.CDLL(None, use_errno=True)
LACKING = (
    "this Linux lacks Landlock of 6.12 or newer: abstract sockets of other programs are open to the server"
)


def main() -> None:
    """Keep this process and all that come of it, then become the command. Raises OSError where Linux refuses."""
    asked("prctl", NO_NEW_PRIVS, 1, 0, 0, 0)
    close_calls(*SOCKET_CALLS[os.uname().machine])
    if version() < SCOPES_SINCE:
        print(f"corral: {LACKING}", file=sys.stderr, flush=True)
    else:
        close_scopes()
    os.execv(sys.argv[1], sys.argv[1:])


def version() -> int:
    """Which Landlock this kernel has; 0 where it has none, or it is off."""
    try:
        return asked("syscall", CREATE_RULESET, None, 0, ASK_VERSION)
    except OSError:
        return 0


def close_scopes() -> None:
    """No abstract socket and no process but those that come of this one. Raises OSError."""
    ruleset = asked("syscall", CREATE_RULESET, RULESET, len(RULESET), 0)
    asked("syscall", RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)


def close_calls(socket: int, setsockopt: int) -> None:
    """No netlink by which programs speak to one another, no group of IP, no SMC. Raises OSError."""
    load, equal, at_least, above, end = 0x20, 0x15, 0x35, 0x25, 0x06
    # Each with how many to skip: where it is so, and where not. The last two are where all of them lead.
    steps = (
        (load, 0, 0, 0),  # the number of the call
        (equal, 0, 7, socket),
        (load, 0, 0, 32),  # its third argument
        (equal, 16, 0, SMC),
        (load, 0, 0, 16),  # its first
        (equal, 0, 15, NETLINK),
        (load, 0, 0, 32),
        (equal, 13, 0, ROUTE),
        (equal, 12, 11, RDMA),
        (equal, 0, 11, setsockopt),
        (load, 0, 0, 24),  # its second
        (equal, 6, 0, TCP),
        (equal, 1, 0, IP),
        (equal, 0, 7, IPV6),
        (load, 0, 0, 32),
        (equal, 4, 0, JOIN_IPV6),
        (at_least, 0, 4, FIRST_OF_GROUPS),
        (above, 3, 2, LAST_OF_GROUPS),
        (load, 0, 0, 32),
        (equal, 0, 1, TCP_ULP),
        (end, 0, 0, 0x50000 | errno.EPROTONOSUPPORT),  # refused
        (end, 0, 0, 0x7FFF0000),  # as it was
    )
    program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    asked("prctl", SECCOMP, FILTER, struct.pack("@HP", len(steps), ctypes.addressof(program)))


def asked(call: str, *words: "int | bytes | None") -> int:
    """What the kernel answers to one of the C library's calls. Raises OSError where that is a refusal."""
    # Numbers as wide as it reads them.
    answer: int = getattr(LIBC, call)(
        *[ctypes.c_long(word) if isinstance(word, int) else word for word in words]
    )
    if answer < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return answer


if __name__ == "__main__":
    main()
