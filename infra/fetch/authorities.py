"""Whose certificates are trusted: those of the authorities that this system trusts, and of files that are named."""

import os
import ssl
from collections.abc import Iterable
from contextlib import suppress
from functools import cache

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
    # OpenSSL reads SSL_CERT_FILE in place of its own file.
    if any(named) or not context.cert_store_stats()["x509_ca"]:
        add(context, (ssl.get_default_verify_paths().openssl_cafile, *AUTHORITIES))
    for place in filter(None, named):
        try:
            context.load_verify_locations(cafile=place)
        except OSError as error:
            raise EndpointError(
                f"{place} holds no certificates: {error.strerror or type(error).__name__}.",
                f"Look at {' and '.join(NAMED)}.",
            ) from None
    return context


def bundle() -> str:
    """The system's, for a program that takes a file in place of its own; empty where this system keeps none."""
    return next(filter(os.path.isfile, AUTHORITIES), "")


def trust_named(context: ssl.SSLContext) -> None:
    """Trust those of the files that are named, besides."""
    add(context, (os.environ.get(name, "") for name in NAMED))


def add(context: ssl.SSLContext, places: Iterable[str]) -> None:
    """Trust those of these files, too; one that is not there or holds none adds none."""
    for place in filter(None, places):
        with suppress(OSError):
            context.load_verify_locations(cafile=place)
