"""The doors that `status` asks, with somebody behind them: a server on loopback, and an ssh on the PATH."""

import gzip
import socketserver
import threading
from pathlib import Path

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
SAID = {
    b"/health": b"",
    b"/metrics": b"vllm:prompt_tokens_total 5\n",
    b"/v1/models": b'{"data": [{"id": "m"}]}',
    b"/v1/completions": b'{"model": "m", "choices": [{"text": "a", "finish_reason": "length"}], '
    b'"usage": {"prompt_tokens": 2, "completion_tokens": 1}}',
}
PACKED = gzip.compress(bytes(17 * 2**20), 1)
DRIP_S = 0.02
DEAF = ("silent", "elsewhere", "drip_headers")
"""Those who do so with /health already."""

# A host that has stopped its server, one that says things without an end, and so on, by its name.
SSH = r"""#!/bin/sh
for word; do last=$word; case $word in gpu-*) host=$word ;; esac; done
marker=$(printf %s "$last" | cut -c6-21)
case $host in
gpu-flood) exec yes "$marker" ;;
gpu-line) printf '%s\n' "$marker"; exec tr '\0' x </dev/zero ;;
gpu-silent) exec sleep 600 ;;
gpu-drip) while sleep 0.02; do printf x; done ;;
gpu-words) printf '\033]0;x\007\033[2Jgo away\r\n' >&2; exit 255 ;;
gpu-nothing) exit 0 ;;
*) printf '%s\n' "$marker"; case $(cat) in *os-release*) cat FACTS ;; *) echo ours; cat UNIT ;; esac ;;
esac
"""


class Server(socketserver.ThreadingTCPServer):
    """Serves the model `m` well, or is hostile in one way."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, way: str) -> None:
        super().__init__(("127.0.0.1", 0), Asked)
        self.way, self.over = way, threading.Event()
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def close(self) -> None:
        self.over.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, request: object, client_address: object) -> None:
        """Whoever asks may go away."""


class Asked(socketserver.StreamRequestHandler):
    """One question."""

    server: Server

    def handle(self) -> None:
        path, length = self.rfile.readline().split()[1], 0
        while line := self.rfile.readline().strip():
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        self.rfile.read(length)
        is_well = path == b"/health" and self.server.way not in DEAF
        getattr(self, "well" if is_well else self.server.way)(SAID.get(path, b""))

    def well(self, said: bytes) -> None:
        self.wfile.write(HEAD + b"content-length: %d\r\n\r\n" % len(said) + said)

    def silent(self, said: bytes) -> None:
        self.server.over.wait(60)

    def drip(self, said: bytes) -> None:
        self.wfile.write(HEAD + b"content-length: 1000000\r\n\r\n")
        while not self.server.over.wait(DRIP_S):
            self.wfile.write(b" ")

    def drip_headers(self, said: bytes) -> None:
        while not self.server.over.wait(DRIP_S):
            self.wfile.write(HEAD[:1])

    def endless(self, said: bytes) -> None:
        self.wfile.write(HEAD + b"\r\n")
        while not self.server.over.is_set():
            self.wfile.write(b"vllm:x 1\n" * 10_000)

    def packed(self, said: bytes) -> None:
        self.wfile.write(
            HEAD + b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(PACKED) + PACKED
        )

    def elsewhere(self, said: bytes) -> None:
        self.wfile.write(
            b"HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n"
        )

    def rude(self, said: bytes) -> None:
        self.wfile.write(b"\x1b[2J\x1b]0;x\x07 go away\r\n\r\n")


def ssh(folder: Path, facts: Path, unit: str) -> None:
    """Put the ssh there; a host that is well has these facts, and says this of the server's unit."""
    (folder / "unit").write_text(unit)
    program = folder / "ssh"
    program.write_text(SSH.replace("FACTS", str(facts)).replace("UNIT", str(folder / "unit")))
    program.chmod(0o755)
