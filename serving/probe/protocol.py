"""Door: which protocol a port speaks, asked when it does not speak the one in the URL."""

import socket
import ssl
from urllib.parse import urlsplit

from infra.errors import EndpointError
from serving.vllm.proxy import proxy_of
from serving.vllm.unix_url import socket_path
from serving.vllm.zone import host_of

TRIAL_S = 1.0


def other_protocol(url: str) -> EndpointError | None:
    """The error that says so, where the port speaks plain HTTP in place of TLS or the other way round."""
    parts = urlsplit(url)
    if socket_path(url) is not None or proxy_of(url) is not None:
        return None
    host, secure = host_of(url), parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    if secure and speaks_http(host, port):
        message, scheme = f"{url} speaks plain HTTP, not TLS.", "http"
    elif not secure and speaks_tls(host, port):
        message, scheme = f"{url} speaks TLS, not plain HTTP.", "https"
    else:
        return None
    return EndpointError(message, f"Say {parts._replace(scheme=scheme).geturl()}")


def speaks_http(host: str, port: int) -> bool:
    """Whether it answers a plain request as an HTTP server does."""
    try:
        with socket.create_connection((host, port), TRIAL_S) as sock:
            sock.sendall(b"GET /v1/models HTTP/1.0\r\nhost: %s\r\n\r\n" % host.encode("idna"))
            return sock.recv(5) == b"HTTP/"
    except (OSError, UnicodeError):
        return False


def speaks_tls(host: str, port: int) -> bool:
    """Whether it shakes hands, whoever it is: nothing is sent to it."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with socket.create_connection((host, port), TRIAL_S) as sock, context.wrap_socket(sock):
            return True
    except (OSError, ValueError):
        return False
