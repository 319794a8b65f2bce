"""PURE: URLs of IPv6 addresses that are somebody's on one link alone, and name the interface to it, their zone.

http://[fe80::1%25eth0]:8000, as curl has it (RFC 6874), or http://[fe80::1%eth0]:8000, as people type it (RFC 9844).
"""

import re
from ipaddress import AddressValueError, IPv6Address
from urllib.parse import urlsplit

IN_BRACKETS = re.compile(r"(\[[0-9A-Fa-f:.]+)%(?:25(?=[^\]]))?([^\]]*)\]")
"""An address and its zone, behind a percent sign that may be written as %25."""


def host_of(url: str) -> str:
    """The host of a URL as getaddrinfo(3) takes it: fe80::1%eth0; "" where it has none. Raises ValueError."""
    return urlsplit(typed(url)).hostname or ""


def canonical(url: str) -> str:
    """The URL with its zone as RFC 6874 writes it."""
    return IN_BRACKETS.sub(r"\1%25\2]", url, count=1)


def typed(url: str) -> str:
    """The URL with its zone as people type it, and as the socket functions take it."""
    return IN_BRACKETS.sub(r"\1%\2]", url, count=1)


def without_zone(url: str) -> str:
    """What anybody else is told: a zone means nothing on another machine (RFC 6874, section 4)."""
    return IN_BRACKETS.sub(r"\1]", url, count=1)


def wants_zone(host: str) -> bool:
    """Whether it is an address of which nobody knows on which link it is."""
    try:
        address = IPv6Address(host)
    except AddressValueError:
        return False
    return address.is_link_local and address.scope_id is None
