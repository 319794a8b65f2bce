"""What is kept of a gateway: what was asked of it, which says where it stands too."""

from datetime import datetime
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from deploy.gateway.gateway_options import GatewayOptions
from infra.record import Document, Record

DOCUMENT = "gateway.json"


class Listener(Record):
    """What ends TLS for a gateway on another host, before a server on its host's loopback."""

    server: str
    """As `gateway drain` takes it."""
    host: str
    """An SSH destination."""
    certificate_ends_at: datetime
    """The last moment of its certificate."""


class Gateway(Document):
    """What was asked of the gateway in front of a deployment."""

    kind: ClassVar[str] = "gateway"
    document: Literal["gateway"] = "gateway"
    schema_version: Literal[1] = 1

    name: str
    """The deployment's."""
    asked: GatewayOptions
    """The options that it was started with."""
    listeners: tuple[Listener, ...] = Field(default=(), exclude_if=lambda known: not known)
    """Those on other hosts; absent where it needs none."""
    client_certificate_ends_at: datetime | None = Field(default=None, exclude_if=lambda end: end is None)
    """The last moment of the certificate that it shows to them; absent where it needs none."""


def kept(folder: Path) -> Gateway | None:
    """The gateway of that folder; None where there is none. Raises DocumentError for one that cannot be read."""
    return Gateway.read(folder / DOCUMENT) if (folder / DOCUMENT).exists() else None
