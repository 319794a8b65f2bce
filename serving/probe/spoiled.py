"""PURE: what can spoil a run, and where to look then."""

from collections.abc import Sequence
from typing import Literal

Cause = Literal["buffered", "client", "clock", "sockets", "tokens"]
"""What stands between server and probe held answers back; the probe itself was too slow or late; this machine's clock
was set back; it has no more sockets or ports; the tokens of the answers do not add up."""

WHERE_TO_LOOK: dict[Cause, str] = {
    "buffered": (
        "Look at what stands between: nginx (proxy_buffering off, or the header X-Accel-Buffering: no), a gateway's"
        " flush interval or compression. Probing the server itself shows what it costs."
    ),
    "client": "Run it on a free machine, or with --processes.",
    "clock": "Run it again while nobody sets the clock: chrony, ntpd or a hypervisor.",
    "sockets": "Raise the limit, ulimit -n 65536, or ask for fewer at a time.",
    "tokens": "Look at the usage that the server sends, and at what rewrites it on the way.",
}


def where_to_look(causes: Sequence[Cause]) -> str:
    """Where, by the first cause; reports of before 2026-12 name none, and knew of the probe itself above all."""
    return WHERE_TO_LOOK[causes[0] if causes else "client"]
