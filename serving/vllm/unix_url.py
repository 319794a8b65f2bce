"""PURE: URLs of servers that listen on a Unix socket, as `vllm serve --uds` does: http+unix://%2Frun%2Fvllm.sock/path."""

from urllib.parse import quote, unquote, urlsplit

SCHEME = "http+unix"
LONGEST_PATH_BYTES = 107
"""Of a socket (unix(7): sun_path has 108 bytes, the last one 0)."""


def spelt_out(url: str) -> str:
    """The same for unix:/run/vllm.sock, and for unix:/run/vllm.sock:/path, as nginx writes it; others as they are."""
    if not url.startswith("unix:"):
        return url
    socket, _, path = url.removeprefix("unix:").partition(":")
    socket = "/" + socket.lstrip("/")
    return f"{SCHEME}://{quote(socket, safe='')}{path}"


def shown(url: str) -> str:
    """A URL as a user writes it: of a socket unix:/run/vllm.sock, or unix:/run/vllm.sock:/path; others as they are."""
    socket = socket_path(url)
    if socket is None or ":" in socket or not socket.isprintable():
        return url
    path = urlsplit(url)._replace(scheme="", netloc="").geturl()
    return f"unix:{socket}:{path}" if path else f"unix:{socket}"


def socket_path(url: str) -> str | None:
    """The path of the socket; None for a URL of another kind."""
    return unquote(urlsplit(url).netloc) if url.startswith(f"{SCHEME}://") else None


def is_socket(url: str) -> bool:
    """Whether it names a socket that there can be."""
    path = socket_path(url) or ""
    return path.startswith("/") and "\0" not in path and len(path.encode()) <= LONGEST_PATH_BYTES


def over_tcp(url: str) -> str:
    """The URL as its server is told it: a socket's is of this machine."""
    if socket_path(url) is None:
        return url
    return urlsplit(url)._replace(scheme="http", netloc="localhost").geturl()
