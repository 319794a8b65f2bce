"""What is kept of a gateway: what was asked of it, which says where it stands too."""

from pathlib import Path
from typing import ClassVar, Literal

from deploy.gateway.gateway_options import GatewayOptions
from infra.record import Document

DOCUMENT = "gateway.json"


class Gateway(Document):
    """What was asked of the gateway in front of a deployment."""

    kind: ClassVar[str] = "gateway"
    document: Literal["gateway"] = "gateway"
    schema_version: Literal[1] = 1

    name: str
    """The deployment's."""
    asked: GatewayOptions
    """The options that it was started with."""


def kept(folder: Path) -> Gateway | None:
    """The gateway of that folder; None where there is none. Raises DocumentError for one that cannot be read."""
    return Gateway.read(folder / DOCUMENT) if (folder / DOCUMENT).exists() else None
