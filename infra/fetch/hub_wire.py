"""The door to the Hub's bytes: one worker's connections, through the proxy that is set, kept for the next question.

The token goes to the endpoint alone. No address is followed from TLS to none.
"""

import http.client
import socket
import ssl
import time
from base64 import b64encode
from contextlib import suppress
from urllib.parse import SplitResult, unquote, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

from infra.errors import EndpointError
from infra.fetch.authorities import trusted
from infra.fetch.hub_answers import Passing, Source, Span, lies, refusal

PATIENCE_S = 30.0
"""For one step of a conversation: a connection, some bytes."""
MOST_REDIRECTS = 8
REDIRECTS = (301, 302, 303, 307, 308)
LARGEST_REFUSAL_BYTES = 1 << 20

Origin = tuple[str, str, int]
"""Scheme, host and port."""


class Wire:
    """What one worker asks with; another thread may cut it off."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.received = 0
        """Bytes of answers, so far."""
        self.asking_since: float | None = None
        """When the question began that is not answered in full yet."""
        self._seen: tuple[float, float, int] | None = None
        """The question that was seen last, when, and with how much."""
        self._is_cut = False
        self._kept: dict[Origin, http.client.HTTPConnection] = {}

    def ask(self, url: str, what: str, span: Span | None = None) -> tuple[http.client.HTTPResponse, str]:
        """The answer, and the address that gave it in the end.

        Raises Passing for what another try may mend, else EndpointError, AuthError or DocumentError.
        """
        self.asking_since, self._is_cut = time.monotonic(), False
        for _ in range(MOST_REDIRECTS):
            answer = self._exchange(url, what, span)
            if answer.status in (200, 206):
                return answer, url
            with suppress(OSError, http.client.HTTPException):  # so that the connection can be used again
                answer.read(LARGEST_REFUSAL_BYTES)
            if answer.status not in REDIRECTS:
                raise refusal(
                    self.source, what, answer.status, answer.headers, not self._is_endpoint(urlsplit(url))
                )
            url = onward(url, answer.headers.get("Location", ""), what)
        raise lies(what, "it leads from address to address without an end")

    def read(self, answer: http.client.HTTPResponse, into: memoryview, what: str) -> int:
        """Some bytes of an answer; 0 at its end. Raises Passing."""
        try:
            count = answer.readinto(into)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise self._broken(what, error) from None
        if not count and self._is_cut:
            raise self._broken(what, EOFError())
        self.received += count
        return count

    def done(self, answer: http.client.HTTPResponse) -> None:
        """The answer is read; what it holds beyond that is not wanted, and its connection neither."""
        self.asking_since = None
        if not answer.isclosed() and answer.length != 0:
            self.close()

    def look(self, now_s: float, stall_s: float, least_bytes: int) -> None:
        """Cut off a question that brought too little for that long; another thread looks, now and then."""
        asked, received, seen = self.asking_since, self.received, self._seen
        if asked is None:
            self._seen = None
        elif seen is None or seen[0] != asked or received - seen[2] >= least_bytes:
            self._seen = asked, now_s, received
        elif now_s - seen[1] >= stall_s:
            self._seen = None
            self.cut()

    def cut(self) -> None:
        """End the conversation from another thread, whatever it waits for."""
        self._is_cut = True
        for connection in list(self._kept.values()):
            with suppress(OSError, AttributeError):  # it has no socket yet, or any more
                connection.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Hang up."""
        self.asking_since = None
        for connection in list(self._kept.values()):
            connection.close()
        self._kept.clear()

    def _is_endpoint(self, parts: SplitResult) -> bool:
        return origin(parts) == origin(urlsplit(self.source.endpoint))

    def _exchange(self, url: str, what: str, span: Span | None) -> http.client.HTTPResponse:
        parts = urlsplit(url)
        headers = {"User-Agent": "corral", "Accept-Encoding": "identity"}
        if span and not span.is_whole:
            headers["Range"] = f"bytes={span.first}-{span.last}"
        if self.source.token and self._is_endpoint(parts):
            headers["Authorization"] = f"Bearer {self.source.token}"
        is_kept = origin(parts) in self._kept
        connection = self._connected(parts, what)
        path = parts._replace(scheme="", netloc="", fragment="").geturl() or "/"
        proxy = proxy_for(parts)
        if proxy and parts.scheme == "http":
            path = parts._replace(fragment="").geturl()
            headers.update(credentials(proxy))
        try:
            connection.request("GET", path, headers=headers)
            return connection.getresponse()
        except (OSError, http.client.HTTPException, ValueError) as error:
            self._kept.pop(origin(parts), connection).close()
            if is_kept and not self._is_cut:  # it was closed while nobody asked
                return self._exchange(url, what, span)
            raise self._broken(what, error) from None

    def _connected(self, parts: SplitResult, what: str) -> http.client.HTTPConnection:
        where = origin(parts)
        if where not in self._kept:
            connection = connection_to(parts)
            self._kept[where] = connection
            try:
                connection.connect()
            except (OSError, http.client.HTTPException, ValueError) as error:
                self._kept.pop(where)
                if self._is_cut:
                    raise self._broken(what, error) from None
                raise unreachable(parts, error) from None
        return self._kept[where]

    def _broken(self, what: str, error: BaseException) -> Passing:
        self.close()
        if self._is_cut:
            return Passing(f"The Hub stalls: too little of {what} comes.")
        if isinstance(error, TimeoutError):
            return Passing(f"The Hub does not answer about {what} within {PATIENCE_S:g} s.")
        if isinstance(error, OSError):
            return Passing(f"The connection to the Hub broke off at {what} ({reason(error)}).")
        return Passing(f"The Hub's answer about {what} broke off, or is no HTTP ({type(error).__name__}).")


def reason(error: OSError) -> str:
    """The system's words for it."""
    return error.strerror or type(error).__name__


def origin(parts: SplitResult) -> Origin:
    """Whom an address belongs to. Raises EndpointError for none that can be asked."""
    try:
        port = parts.port
    except ValueError:
        port = -1
    if parts.scheme not in ("http", "https") or not parts.hostname or port == -1:
        raise EndpointError(
            f"{ascii(parts.geturl()[:200])} is no address of a Hub.",
            "Look at HF_ENDPOINT: https://huggingface.co, or that of a mirror.",
        )
    return parts.scheme, parts.hostname, port or (443 if parts.scheme == "https" else 80)


def onward(url: str, location: str, what: str) -> str:
    """Where an answer leads. Raises EndpointError for an address that is none, or without the TLS there was."""
    if not location:
        raise lies(what, "it leads on, and does not say where to")
    there = urlsplit(urljoin(url, location))
    if url.startswith("https:") and there.scheme == "http":
        raise lies(what, f"it leads to {ascii(there.hostname)} without TLS")
    origin(there)
    return there.geturl()


def proxy_for(parts: SplitResult) -> SplitResult | None:
    """The proxy that the environment names for an address; None for the straight way."""
    host = parts.hostname or ""
    named = getproxies().get(parts.scheme, "")
    if not named or proxy_bypass(host):
        return None
    return urlsplit(named if "://" in named else f"http://{named}")


def credentials(proxy: SplitResult) -> dict[str, str]:
    """What a proxy's address says of its user."""
    if proxy.username is None:
        return {}
    pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"Proxy-Authorization": f"Basic {b64encode(pair.encode()).decode()}"}


def connection_to(parts: SplitResult) -> http.client.HTTPConnection:
    """A connection that is not made yet. Raises EndpointError for a proxy of another kind."""
    proxy, (scheme, host, port) = proxy_for(parts), origin(parts)
    at_host, at_port = host, port
    if proxy:
        if proxy.scheme != "http" or not proxy.hostname:
            raise EndpointError(
                f"corral speaks to no proxy of the kind {ascii(proxy.scheme)}.",
                "Name an HTTP proxy: HTTPS_PROXY=http://proxy:3128, or exempt the Hub: NO_PROXY",
            )
        _, at_host, at_port = origin(proxy)
    if scheme == "http":
        return http.client.HTTPConnection(at_host, at_port, timeout=PATIENCE_S)
    connection = http.client.HTTPSConnection(at_host, at_port, timeout=PATIENCE_S, context=trusted())
    if proxy:
        connection.set_tunnel(host, port, credentials(proxy))
    return connection


def unreachable(parts: SplitResult, error: BaseException) -> EndpointError:
    """Why nobody is reached there: what may go by is worth another try."""
    proxy = proxy_for(parts)
    whom = f"The proxy {proxy.hostname}" if proxy else f"The Hub at {parts.hostname}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return EndpointError(
            f"The certificate of {parts.hostname} is not trusted: {error.verify_message.rstrip('.')}.",
            "Where a proxy inspects TLS, name its authority: SSL_CERT_FILE=/etc/ssl/company.pem; else compare date -u",
        )
    if isinstance(error, socket.gaierror):
        return Passing(f"{whom} has no address: the name cannot be resolved.")
    if isinstance(error, TimeoutError):
        return Passing(f"{whom} does not answer within {PATIENCE_S:g} s.")
    if proxy and isinstance(error, OSError) and error.errno is None:
        return Passing(f"{whom} does not let us through to {parts.hostname}.")
    said = reason(error) if isinstance(error, OSError) else type(error).__name__
    return Passing(f"{whom} cannot be reached: {said}.")
