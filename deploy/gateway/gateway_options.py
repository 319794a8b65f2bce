"""What may be asked of a gateway: its record is the flags of `corral gateway`."""

import ipaddress
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, Field, model_validator

from infra.asked import Asked, Flag
from infra.errors import UsageError
from infra.ssh import checked_destination

Destination = Annotated[str, AfterValidator(checked_destination)]
Port = Annotated[int, Field(ge=1, le=65535)]
LOOPBACK_NAMES = ("localhost",)
EVERYWHERE = "0.0.0.0"
UNSAID: Any = None
"""Of what is settled by where it stands, whenever a record is made."""


class ListenOptions(Asked):
    """Where a gateway listens, and who is believed to be it."""

    heading: ClassVar[str] = "Address"

    on_host: Annotated[Destination | None, Flag(metavar="HOST")] = Field(default=None, examples=["gpu-1"])
    """The deployment's owned host to stand on, as a unit of systemd that starts at boot. [default: this machine]"""
    host: str = Field(default=UNSAID, pattern=r"^[0-9A-Za-z.:-]{1,253}$", examples=["10.0.0.5"])
    """The address to listen on; anything but loopback is served with TLS. [default: 127.0.0.1; on a host 0.0.0.0]"""
    port: Port = 8080
    """The port to listen on."""
    tls_cert: Path | None = None
    """The certificate with those that vouch for it, PEM; without one, an authority of corral's own makes it."""
    tls_key: Path | None = None
    """The certificate's key, PEM."""
    tls_name: tuple[str, ...] = ()
    """A name or address that clients use, for the certificate that corral makes; repeatable. [default: --host]"""
    metrics_port: Port | None = None
    """Answer Prometheus at this port of loopback, at /metrics."""

    @model_validator(mode="before")
    @classmethod
    def on_a_host(cls, given: Any) -> Any:
        """One on a host is there for other machines, where nobody says otherwise."""
        if not isinstance(given, dict) or given.get("host"):
            return given
        return {**given, "host": EVERYWHERE if given.get("on_host") else "127.0.0.1"}


class GatewayOptions(ListenOptions):
    """Where it listens, and what a request and a key may take."""

    heading: ClassVar[str] = "Limits"

    max_body_mib: int = Field(default=32, ge=1, le=1024)
    """The largest body of a request."""
    max_n: int = Field(default=16, ge=1, le=16384)
    """The most answers that one request may ask for (`n`, `best_of`)."""
    max_tokens: Annotated[int | None, Flag(kind=int)] = Field(default=None, ge=1)
    """The most tokens of an answer; each request must then say how many. [default: what the engine allows]"""
    requests_per_minute: int = Field(default=600, ge=1, le=1_000_000)
    """Of a key that has no limit of its own."""
    requests_at_once: int = Field(default=64, ge=1, le=100_000)
    """Of a key that has no limit of its own."""
    tokens_per_month: Annotated[int | None, Flag(kind=int)] = Field(default=None, ge=1)
    """Of a key that has no limit of its own, prompt and answer together. [default: no limit]"""
    max_in_flight: int = Field(default=256, ge=1, le=100_000)
    """Requests that one server is given at once; more wait in the gateway."""
    max_queue: int = Field(default=512, ge=0, le=100_000)
    """Requests that may wait; more are refused at once."""
    queue_s: float = Field(default=60, gt=0, le=3600, examples=["60s"])
    """How long a request waits for a server before it is refused."""
    drain_s: float = Field(default=3600, gt=0, le=86400, examples=["1h"])
    """How long streams may go on after a stop, or with the settings before a change."""

    @model_validator(mode="after")
    def together(self) -> Self:
        """A certificate needs its key. Raises UsageError."""
        if (self.tls_cert is None) != (self.tls_key is None):
            raise UsageError("A certificate and its key belong together.", "Give both: --tls-cert, --tls-key")
        if self.metrics_port == self.port:
            raise UsageError(
                "--metrics-port is the port that clients use.", f"Another: --metrics-port {self.port + 1}"
            )
        return self

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host in LOOPBACK_NAMES

    @property
    def has_tls(self) -> bool:
        """Whether clients speak TLS to it."""
        return self.tls_cert is not None or not self.is_loopback

    @property
    def base_url(self) -> str:
        """What clients are told, without the /v1: by the first name of the certificate, where names are said."""
        host = next(iter(self.tls_name), self.host)
        return f"{'https' if self.has_tls else 'http'}://{f'[{host}]' if ':' in host else host}:{self.port}"


class StopOptions(Asked):
    """How a gateway is ended."""

    within_s: float = Field(default=60, ge=0, le=86400, examples=["60s"])
    """How long its streams may go on."""


class RotateOptions(Asked):
    """How a key follows another."""

    overlap: str = "24h"
    """How long the old one stays good."""


class UsageOptions(Asked):
    """Which months are told."""

    month: str | None = Field(default=None, pattern=r"^\d{4}-(0[1-9]|1[0-2])$", examples=["2026-11"])
    """Only that one (UTC)."""
