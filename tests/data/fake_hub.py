"""A Hugging Face Hub on loopback: serves one folder as one repository, with ranges, and misbehaves when told to."""

import hashlib
import re
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread


class FakeHub(ThreadingHTTPServer):
    """Knows `repo` as the content of `folder`. `mood`: well, gated, missing, broken or silent."""

    def __init__(self, repo: str, folder: Path, mood: str = "well") -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repo, self.folder, self.mood = repo, folder, mood
        self.bytes_sent = 0
        self.over = Event()
        Thread(target=self.serve_forever, daemon=True).start()

    def shutdown(self) -> None:
        """Serve nobody any more."""
        self.over.set()
        super().shutdown()

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    """HEAD and GET of REPO/resolve/main/FILE."""

    server: FakeHub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:  # noqa: N802
        self.answer(body=False)

    def do_GET(self) -> None:  # noqa: N802
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        """The file, the range of it, or the Hub's own way to refuse."""
        match = re.fullmatch(rf"/{self.server.repo}/resolve/[^/]+/([^?]+)(\?.*)?", self.path)
        if self.server.mood == "silent":
            self.server.over.wait()
        if self.server.mood == "gated":
            return self.refuse(403, "GatedRepo")
        if self.server.mood == "broken":
            return self.refuse(503, "")
        if not match or self.server.mood == "missing":
            return self.refuse(404, "RepoNotFound")
        path = self.server.folder / match[1]
        if not path.is_file():
            return self.refuse(404, "EntryNotFound")
        return self.send(path, body)

    def send(self, path: Path, body: bool) -> None:
        """Send a file or a range of it."""
        size = path.stat().st_size
        first, last = 0, size - 1
        ranged = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("range", ""))
        if ranged:
            first, last = int(ranged[1]), min(int(ranged[2] or last), last)
        self.send_response(206 if ranged else 200)
        self.send_header("Content-Length", str(last - first + 1))
        if ranged:
            self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        self.send_header("ETag", f'"{hashlib.sha256(str(path).encode()).hexdigest()}"')
        self.send_header("X-Repo-Commit", "0" * 40)
        self.end_headers()
        if body:
            with path.open("rb") as file:
                file.seek(first)
                content = file.read(last - first + 1)
            self.server.bytes_sent += len(content)
            self.wfile.write(content)

    def refuse(self, status: int, code: str) -> None:
        """An error as the Hub says it."""
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def handle(self) -> None:
        """A client that went away while we were silent is no news."""
        with suppress(BrokenPipeError, ConnectionResetError):
            super().handle()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""
