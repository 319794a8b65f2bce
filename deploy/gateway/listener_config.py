"""PURE: a listener as HAProxy's configuration: it ends TLS on a host for the gateway of another and hands the bytes on.

It answers whoever has the certificate of that gateway, and nobody else: so no path either that vLLM answers without a
key. It reads nothing of what it hands on, and so holds no token back.
"""

from typing import NamedTuple

from deploy.gateway.haproxy_config import ADMIN, BETWEEN_CA, BUFFER_BYTES, CONNECTIONS, TLS

HANDSHAKE_S = 10
"""How long somebody is waited for who has connected, and has shown no certificate."""
STREAM_S = 3600
"""How long a stream may say nothing: as long as the gateway waits for an engine."""


class Listens(NamedTuple):
    """Where it listens, and what it hands on to."""

    address: str
    port: int
    server_host: str
    server_port: int
    drain_s: float


def config(asked: Listens) -> str:
    """The whole file. It holds no secret."""
    host = f"[{asked.address}]" if ":" in asked.address else asked.address
    return "\n".join(
        [
            "# Written by corral; do not edit.",
            "global",
            "  nbthread 1",
            f"  fd-hard-limit {CONNECTIONS}",
            f"  tune.bufsize {BUFFER_BYTES}",
            f"  hard-stop-after {asked.drain_s:.0f}s",
            f"  stats socket unix@{ADMIN} mode 600 level admin expose-fd listeners",
            "  stats timeout 60s",
            "  log stdout format raw local0",
            "",
            "defaults",
            "  mode tcp",
            "  log global",
            "  option tcplog",
            "  option dontlog-normal",
            "  retries 0",
            "  timeout connect 2s",
            f"  timeout client {HANDSHAKE_S}s",
            f"  timeout server {STREAM_S}s",
            f"  timeout tunnel {STREAM_S}s",
            "",
            "listen engine",
            f"  bind {host}:{asked.port} ssl crt {TLS} ca-file {BETWEEN_CA} verify required ssl-min-ver TLSv1.3",
            f"  server engine {asked.server_host}:{asked.server_port}",
            "",
        ]
    )
