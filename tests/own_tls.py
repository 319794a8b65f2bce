"""A server with a certificate of its own making, as a proxy that inspects TLS shows one."""

import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Answer(BaseHTTPRequestHandler):
    """Nothing is found here, and nobody is told on stderr."""

    def do_GET(self) -> None:
        self.send_response(404)
        self.send_header("content-length", "0")
        self.end_headers()

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *arguments: object) -> None:
        pass


def made(certificate: Path, key: Path, *more: str) -> None:
    """A certificate and its key."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        + ["-keyout", str(key), "-out", str(certificate), "-days", "1", *more],
        check=True,
        capture_output=True,
    )


@contextmanager
def https(folder: Path) -> Iterator[tuple[str, Path]]:
    """Its address, and the file that must be trusted for it."""
    authority, key = folder / "authority.pem", folder / "authority.key"
    made(authority, key, "-subj", "/CN=a company")
    made(
        folder / "server.pem", folder / "server.key",
        *("-subj", "/CN=localhost", "-CA", str(authority), "-CAkey", str(key)),
        *("-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE"),
    )  # fmt: skip
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"https://localhost:{server.server_address[1]}", authority
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
