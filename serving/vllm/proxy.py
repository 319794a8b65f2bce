"""The proxy that the environment names for a URL: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, but for what NO_PROXY names."""

import ipaddress
from base64 import b64encode
from contextlib import suppress
from typing import NamedTuple
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies_environment, proxy_bypass

from infra.errors import UsageError
from infra.printable import one_line
from serving.vllm.unix_url import socket_path


class Proxy(NamedTuple):
    """An HTTP proxy."""

    host: str
    port: int
    authorization: str | None
    """The value of the header proxy-authorization; a secret."""

    @property
    def url(self) -> str:
        """Without the secret."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


def proxy_of(url: str) -> Proxy | None:
    """The one that the environment names for this URL; none for what no other machine can reach: this one by its
    loopback, and an address of one of its links.

    Raises UsageError for one that is no plain HTTP proxy.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if socket_path(url) is not None or is_here(host) or "%" in host:
        return None
    named = getproxies_environment()
    text = named.get(parts.scheme) or named.get("all")
    if not text or proxy_bypass(parts.netloc) or is_within(host, named.get("no", "")):
        return None
    return parsed(text, host)


def is_here(host: str) -> bool:
    """Whether it is this machine by its loopback, as Go's net/http has it."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def is_within(host: str, excepted: str) -> bool:
    """Whether it is an address in a network that NO_PROXY names, as 10.0.0.0/8: curl and Go take those, too."""
    for each in excepted.split(","):
        with suppress(ValueError):
            if "/" in each and ipaddress.ip_address(host) in ipaddress.ip_network(each.strip(), strict=False):
                return True
    return False


def parsed(text: str, host: str) -> Proxy:
    """The proxy of that text. Raises UsageError."""
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        port = parts.port or 80
        known = parts.scheme == "http" and bool(parts.hostname)
    except ValueError:
        known = False
    if not known:
        said = urlsplit(text)._replace(netloc="...").geturl() if "@" in text else text
        raise UsageError(
            f"The environment names the proxy {one_line(said, 80)} for {host}: only an http:// proxy is spoken to.",
            f"Go without it: NO_PROXY={host} corral ...",
        )
    user = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    secret = f"Basic {b64encode(user.encode()).decode()}" if parts.username else None
    return Proxy(parts.hostname or "", port, secret)
