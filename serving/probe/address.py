"""Door: the name service, the environment's proxy, the trust store: where the endpoint is, and whom to trust there."""

import errno
import selectors
import socket
import ssl
import time
from contextlib import ExitStack, suppress
from itertools import zip_longest
from typing import Any, cast
from urllib.parse import urlsplit

from infra.errors import DocumentError, EndpointError
from serving.probe.connection import Peer
from serving.probe.spec import Target
from serving.vllm.http_door import Way
from serving.vllm.proxy import Proxy, proxy_of
from serving.vllm.unix_url import socket_path
from serving.vllm.zone import host_of

NEXT_ADDRESS_S = 0.25
"""After so long without an answer the next address is tried beside it (RFC 8305, section 5)."""
ANY_ADDRESS_S = 10.0

Address = tuple[socket.AddressFamily, Any]


def resolve(target: Target) -> Peer:
    """The address behind the URL, or that of the proxy before it. Raises EndpointError or UsageError."""
    if (path := socket_path(target.base_url)) is not None:
        return Peer(socket.AF_UNIX, path, None, "")
    parts = urlsplit(target.base_url)
    host, secure = host_of(target.base_url), parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    proxy = proxy_of(target.base_url)
    family, address = address_of(proxy.host, proxy.port) if proxy else address_of(host, port)
    connect = connect_request(host, port, proxy) if proxy and secure else b""
    return Peer(family, address, tls_context(target) if secure else None, host.partition("%")[0], connect)


def address_of(host: str, port: int) -> Address:
    """The first of the host's addresses to answer; the first of all where none does. Raises EndpointError."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise EndpointError(
            f"{host} cannot be resolved: {error.strerror}.",
            "Check the interface behind the %: ip link" if "%" in host else "Check the host's name.",
        ) from None
    addresses: list[Address] = list(dict.fromkeys((family, address) for family, _, _, _, address in found))
    return (first_to_answer(addresses) if len(addresses) > 1 else None) or addresses[0]


def first_to_answer(addresses: list[Address]) -> Address | None:
    """The one that a connection to is made first; each is tried a moment after the one before, or when that failed."""
    waiting, end_s = in_turn(addresses), time.monotonic() + ANY_ADDRESS_S
    with selectors.DefaultSelector() as trying, ExitStack() as opened:
        while waiting or trying.get_map():
            if waiting:
                family, address = waiting.pop(0)
                with suppress(OSError):
                    sock = opened.enter_context(socket.socket(family, socket.SOCK_STREAM))
                    sock.setblocking(False)
                    if sock.connect_ex(address) in (0, errno.EINPROGRESS):
                        trying.register(sock, selectors.EVENT_WRITE, (family, address))
            left_s = end_s - time.monotonic()
            if left_s < 0:
                break
            for key, _ in trying.select(min(NEXT_ADDRESS_S, left_s) if waiting else left_s):
                if not cast(socket.socket, key.fileobj).getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                    return cast(Address, key.data)
                trying.unregister(key.fileobj)
    return None


def in_turn(addresses: list[Address]) -> list[Address]:
    """An address of each family in turn, the first one's first (RFC 8305, section 4)."""
    families = dict.fromkeys(family for family, _ in addresses)
    lists = ([each for each in addresses if each[0] == family] for family in families)
    return [each for row in zip_longest(*lists) for each in row if each is not None]


def any_of_its_family(host: str, port: int) -> str | None:
    """The address to connect from, so that only addresses are tried of the family that answers; None for any.

    For those who try a name's addresses one after another, each for as long as they wait at all.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:  # whoever asks there says so
        return None
    addresses: list[Address] = [(family, address) for family, _, _, _, address in found]
    answering = first_to_answer(addresses) if len({family for family, _ in addresses}) > 1 else None
    return answering and ("0.0.0.0" if answering[0] == socket.AF_INET else "::")


def way_to(target: Target) -> Way:
    """How questions get to the same endpoint. Raises UsageError."""
    parts = urlsplit(target.base_url)
    if socket_path(target.base_url) is not None:
        return Way()
    if proxy := proxy_of(target.base_url):
        return Way(proxy)
    return Way(
        None,
        any_of_its_family(host_of(target.base_url), parts.port or (443 if parts.scheme == "https" else 80)),
    )


def connect_request(host: str, port: int, proxy: Proxy) -> bytes:
    """What the proxy is asked for a tunnel (RFC 9110, section 9.3.6)."""
    name = f"[{host}]" if ":" in host else host
    lines = [f"CONNECT {name}:{port} HTTP/1.1", f"host: {name}:{port}"]
    if proxy.authorization:
        lines.append(f"proxy-authorization: {proxy.authorization}")
    return "\r\n".join([*lines, "", ""]).encode("ascii")


def tls_context(target: Target) -> ssl.SSLContext:
    """The system's trust, or the user's own authority. Raises DocumentError for a file that holds no certificate."""
    context = ssl.create_default_context()
    if target.ca_file is not None:
        try:
            if not target.ca_file.is_file():
                raise OSError("it is no regular file" if target.ca_file.exists() else "there is no such file")
            context = ssl.create_default_context(cafile=str(target.ca_file))
        except (OSError, ssl.SSLError) as error:
            raise DocumentError(
                f"{target.ca_file} holds no certificate that can be read: {error}.",
                "Give a PEM file: --ca-file ca.pem",
            ) from None
    return context
