"""The certificates by which a gateway on a host and its listeners on other hosts know each other.

An authority of the deployment's own signs them, and no client trusts it: each listener's is for the name of its
server, the gateway's is a client's. The authority's key stays on the machine that this was typed on; each other key
goes over SSH to the host whose it is, and is not kept here.
"""

import tempfile
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from deploy.gateway import certificates, on_host
from deploy.gateway.haproxy_config import BETWEEN_CA
from deploy.gateway.on_host import OnHost
from infra.errors import UsageError

AUTHORITY, AUTHORITY_KEY = BETWEEN_CA, "between-ca.key"


class Issued(NamedTuple):
    """A certificate and its key."""

    pem: str
    """Both, as HAProxy reads them."""
    ends_at: datetime


def issued(folder: Path, server: str | None) -> Issued:
    """A certificate for 90 days: of the listener before that server, or (None) of the gateway. Raises HostError."""
    if not (folder / AUTHORITY).exists() or not (folder / AUTHORITY_KEY).exists():
        certificates.request(
            folder, AUTHORITY, AUTHORITY_KEY, "/CN=corral between hosts", certificates.AUTHORITY_DAYS,
            certificates.AUTHORITY_EXTENSIONS,
        )  # fmt: skip
    of_whom, usage = ("listener", "serverAuth") if server else ("gateway", "clientAuth")
    extensions = (
        "basicConstraints=critical,CA:FALSE",
        f"extendedKeyUsage={usage}",
        *((f"subjectAltName=DNS:{server}",) if server else ()),
    )
    with tempfile.TemporaryDirectory(prefix=".between.", dir=folder) as scratch:
        made = Path(scratch)
        certificates.request(
            made, "made.pem", "made.key", f"/CN=corral {of_whom}", certificates.DAYS, extensions,
            "-CA", str(folder / AUTHORITY), "-CAkey", str(folder / AUTHORITY_KEY),
        )  # fmt: skip
        pem = "".join((made / part).read_text() for part in ("made.pem", "made.key"))
        return Issued(pem, certificates.end_of(made / "made.pem"))


def authority(folder: Path) -> str:
    """What each side trusts the other by, PEM."""
    return (folder / AUTHORITY).read_text()


def refuse_anothers(there: OnHost, folder: Path) -> None:
    """Raise UsageError where another machine's authority signed what the gateway there, which runs, has.

    Signed by another, its listeners would know it no more until all of them and it had been changed.
    """
    theirs = on_host.read(there, f"files/{AUTHORITY}")
    ours = (folder / AUTHORITY).read_text() if (folder / AUTHORITY).exists() else ""
    if theirs and theirs != ours:
        raise UsageError(
            f"What {there.name}'s gateway on {there.host} and its listeners know each other by is of an authority "
            "that another machine keeps.",
            f"Type it there, or bring {AUTHORITY} and {AUTHORITY_KEY} of there to {folder}, or end it first: "
            f"corral gateway stop {there.name}",
        )
