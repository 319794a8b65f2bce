"""Whose certificates are trusted: those of the authorities that this system trusts, and of files that are named."""

import os
import ssl
from functools import cache
from pathlib import Path

from infra.errors import EndpointError

NAMED = ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")
# Where systems keep the authorities that they trust, should the interpreter's own place be empty.
AUTHORITIES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")


def trusted() -> ssl.SSLContext:
    """TLS with the authorities that this system trusts, and with those of the files that are named.

    Raises EndpointError for a file that holds none.
    """
    return trusting(*(os.environ.get(name, "") for name in NAMED))


@cache
def trusting(*named: str) -> ssl.SSLContext:
    """The same, read once: that takes longer than a question."""
    context = ssl.create_default_context()
    for place in filter(None, named):
        try:
            context.load_verify_locations(cafile=place)
        except OSError as error:
            raise EndpointError(
                f"{place} holds no certificates: {error.strerror or type(error).__name__}.",
                f"Look at {' and '.join(NAMED)}.",
            ) from None
    if not context.cert_store_stats()["x509_ca"]:
        for place in filter(os.path.isfile, AUTHORITIES):
            context.load_verify_locations(cafile=Path(place))
    return context


def bundle() -> str:
    """The file for a program that takes one in place of its own authorities; empty where this system keeps none."""
    named = (os.environ.get(name, "") for name in NAMED)
    return next((place for place in (*named, *AUTHORITIES) if os.path.isfile(place)), "")
