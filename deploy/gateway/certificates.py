"""The certificate of a gateway: the user's own, or one of an authority that corral makes, by the openssl program."""

import ipaddress
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from deploy.gateway import admin_socket, haproxy, on_host
from deploy.gateway.gateway_options import GatewayOptions
from deploy.gateway.haproxy_config import ADMIN, TLS
from infra import locks
from infra.errors import DocumentError, HostError, ServerError
from infra.record import read_bytes, refused, write_text_atomically

AUTHORITY, AUTHORITY_KEY = "ca.pem", "ca.key"
DAYS, AUTHORITY_DAYS = 90, 3650
RENEWED_BEFORE = timedelta(days=30)
P256 = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
NAMES = "names"
"""For which names and addresses corral's own certificate was made."""


def write(folder: Path, asked: GatewayOptions) -> None:
    """Put the certificate and its key where HAProxy reads them, as one file for its owner alone.

    Raises DocumentError for one that cannot be read or has ended, HostError where there is no openssl.
    """
    keep(folder, asked, prepared(folder, asked))


def prepared(folder: Path, asked: GatewayOptions) -> str | None:
    """The certificate and its key as they are to be served; None without TLS. Raises as `write` does.

    Nothing is kept of them: what the folder has is what was served, so that what is not taken is made again.
    """
    if not asked.has_tls:
        return None
    if asked.tls_cert is None or asked.tls_key is None:
        return signed(folder, asked) or (folder / TLS).read_text()
    parts = [
        read_bytes(path, "Name the PEM files: --tls-cert, --tls-key").decode()
        for path in (asked.tls_cert, asked.tls_key)
    ]
    ends = end_of(asked.tls_cert)
    if ends <= datetime.now(UTC):
        raise DocumentError(f"The certificate {asked.tls_cert} ended on {ends:%Y-%m-%d}.", "Renew it first.")
    return "\n".join(part.strip() for part in parts) + "\n"


def keep(folder: Path, asked: GatewayOptions, certificate: str | None) -> None:
    """Note what is served from now on, and for which names corral's own authority made it."""
    if certificate is not None:
        write_text_atomically(folder / TLS, certificate)
        write_text_atomically(folder / NAMES, names_of(asked) if is_own(asked) else "")


def names_of(asked: GatewayOptions) -> str:
    """For which names and addresses it is, as a certificate says them."""
    return " ".join(alternative(name) for name in (asked.tls_name or (asked.host,)))


def signed(folder: Path, asked: GatewayOptions) -> str | None:
    """A certificate for 90 days by corral's own authority; None where there is one for these names that lasts."""
    names, known = names_of(asked), folder / NAMES
    if (
        (folder / TLS).exists()
        and known.exists()
        and known.read_text() == names
        and not ends_soon(end_of(folder / TLS))
    ):
        return None
    authority, key = folder / AUTHORITY, folder / AUTHORITY_KEY
    if not has_authority(folder):
        request(
            folder,
            AUTHORITY,
            AUTHORITY_KEY,
            "/CN=corral's own authority",
            AUTHORITY_DAYS,
            AUTHORITY_EXTENSIONS,
        )
    extensions = (
        f"subjectAltName={names.replace(' ', ',')}", "basicConstraints=critical,CA:FALSE", "extendedKeyUsage=serverAuth"
    )  # fmt: skip
    request(
        folder, "gateway.pem", "gateway.key", "/CN=corral gateway", DAYS, extensions,
        "-CA", str(authority), "-CAkey", str(key),
    )  # fmt: skip
    parts = [folder / "gateway.pem", folder / "gateway.key"]
    made = "".join(part.read_text() for part in parts)
    for part in parts:
        part.unlink()
    return made


def has_authority(folder: Path) -> bool:
    """Whether this machine keeps one."""
    return (folder / AUTHORITY).exists() and (folder / AUTHORITY_KEY).exists()


def renew(folder: Path, asked: GatewayOptions) -> None:
    """Have corral's own authority sign again what ends soon, and the running gateway serve it, cutting no stream.

    Raises HostError where openssl or the disk cannot, ServerError where the gateway does not take it.
    """
    if not ends_soon(end_of(folder / TLS)):
        return
    try:
        with locks.in_turn(folder / ".certificate.lock", lambda: None):
            if haproxy.is_running(folder) and (made := signed(folder, asked)):
                serve(folder, made)
                keep(folder, asked, made)
    except OSError as error:
        raise refused(folder, error) from None


def serve(folder: Path, certificate: str) -> None:
    """Have the running gateway show that certificate from now on, and its host keep it. Raises ServerError."""
    if there := on_host.of(folder):
        on_host.keep(there, on_host.keys(there), {f"files/{TLS}": certificate})
    swap(partial(admin_socket.ask, folder / ADMIN), TLS, certificate)


def swap(ask: Callable[[str], str], file: str, certificate: str) -> None:
    """Have a HAProxy that runs, which is asked so, use that certificate from now on. Raises ServerError."""
    ask(f"set ssl cert {file} <<\n{certificate}")
    answer = ask(f"commit ssl cert {file}")
    if not answer.endswith("Success!"):  # HAProxy gives no other sign of it
        raise ServerError(f"The gateway does not take its new certificate: {answer}", "Stop and start it.")


def is_own(asked: GatewayOptions) -> bool:
    """Whether corral's own authority makes it."""
    return asked.has_tls and asked.tls_cert is None


def ends_soon(end: datetime) -> bool:
    """Whether it is to be renewed."""
    return end - datetime.now(UTC) <= RENEWED_BEFORE


AUTHORITY_EXTENSIONS = ("basicConstraints=critical,CA:TRUE,pathlen:0", "keyUsage=critical,keyCertSign")


def request(
    folder: Path, certificate: str, key: str, subject: str, days: int, extensions: tuple[str, ...], *more: str
) -> None:
    """Have openssl make a certificate and its key. Raises HostError."""
    added = [word for extension in extensions for word in ("-addext", extension)]
    done = haproxy.run(
        openssl(), "req", "-x509", *P256, "-subj", subject, "-days", str(days), *added, *more,
        "-keyout", str(folder / key), "-out", str(folder / certificate),
    )  # fmt: skip
    if done.returncode:
        last = next(iter(reversed(done.stderr.strip().splitlines())), "it said nothing")
        raise HostError(f"openssl made no certificate: {last}.", "Or give one: --tls-cert, --tls-key")
    (folder / key).chmod(0o600)


def openssl() -> str:
    """The program. Raises HostError where there is none."""
    if program := shutil.which("openssl"):
        return program
    raise HostError(
        "openssl is not installed on this machine, and makes the certificates.",
        "Debian, Ubuntu: sudo apt-get install openssl; Fedora, RHEL: sudo dnf install openssl",
    )


def alternative(name: str) -> str:
    """A name or an address, as a certificate says it."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return f"DNS:{name}"
    return f"IP:{name}"


def end_of(certificate: Path) -> datetime:
    """When a certificate ends. Raises DocumentError for what is none."""
    done = haproxy.run(
        openssl(), "x509", "-noout", "-enddate", "-dateopt", "iso_8601", "-in", str(certificate)
    )
    said = done.stdout.strip().removeprefix("notAfter=")
    try:
        return datetime.fromisoformat(said)
    except ValueError:
        raise DocumentError(
            f"{certificate} is no certificate in PEM.", f"See: openssl x509 -in {certificate}"
        ) from None


def ends_at(folder: Path) -> datetime | None:
    """When the certificate that is served ends."""
    return end_of(folder / TLS) if (folder / TLS).exists() else None


def authority(folder: Path, asked: GatewayOptions) -> Path | None:
    """What clients must trust, where corral's own authority made the certificate."""
    return folder / AUTHORITY if is_own(asked) else None
