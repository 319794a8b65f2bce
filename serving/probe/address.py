"""Door: the name service and the trust store: where the endpoint's address is, and whom to trust there."""

import socket
import ssl
from urllib.parse import urlsplit

from infra.errors import DocumentError, EndpointError
from serving.probe.connection import Peer
from serving.probe.spec import Target


def resolve(target: Target) -> Peer:
    """The address behind the URL. Raises EndpointError."""
    parts = urlsplit(target.base_url)
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise EndpointError(
            f"{host} cannot be resolved: {error.strerror}.", "Check the host's name."
        ) from None
    return Peer(family, address, tls_context(target) if parts.scheme == "https" else None, host)


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
