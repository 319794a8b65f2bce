"""A Hugging Face Hub on loopback: serves one folder as one repository, and refuses as the Hub does.

Held against the client library (huggingface_hub 2.4): the info of a model, its tree, auth-check and the files, with
the headers that library reads. A branch is a commit; large files (LFS) are elsewhere, under their sha256. Files of a
gated repository are for tokens that were granted access; its info is for everybody. A token it does not know is
refused wherever it comes up; a repository it does not know is 401 to a stranger and 404 to a user.
"""

import hashlib
import json
import re
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

GRANTED, STRANGER = "hf_granted_CANARY_0001", "hf_stranger_CANARY_0002"
"""Two tokens it knows; the first one's owner has accepted the licence."""


class FakeHub(ThreadingHTTPServer):
    """Knows `repo` as the content of `folder`. `mood`: well, gated, missing, broken or silent."""

    def __init__(self, repo: str, folder: Path, mood: str = "well") -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repo, self.folder, self.mood = repo, folder, mood
        self.bytes_sent = 0
        self.faults: dict[str, Callable[[Handler, int, int, int], bool]] = {}
        """File -> what answers in place of it, told the first and last byte and the size; False for what it lets be."""
        self.doors: dict[str, Callable[[Handler], bool]] = {}
        """File -> what answers in place of the Hub that says where it is; False for what it lets be."""
        self.told: Callable[[dict[str, Any]], Any] = lambda info: info
        """What becomes of the info of the repository."""
        self.asked: list[tuple[str, str, str]] = []
        """Method, path and token of every request."""
        self.over = Event()
        Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def shutdown(self) -> None:
        """Serve nobody any more."""
        self.over.set()
        super().shutdown()

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def commit(self) -> str:
        """What `main` is now; it moves when a file is added or changes its size."""
        names = [f"{name} {path.stat().st_size}" for name, path in self.files().items()]
        return hashlib.sha1("\n".join(names).encode()).hexdigest()

    def files(self) -> dict[str, Path]:
        """Every file by its name in the repository."""
        found = sorted(path for path in self.folder.rglob("*") if path.is_file())
        return {path.relative_to(self.folder).as_posix(): path for path in found}


def is_large(path: Path) -> bool:
    """Whether the Hub keeps it by LFS."""
    return path.suffix in (".safetensors", ".bin", ".pth")


def blob_id(path: Path) -> str:
    """git's own name of a small file."""
    return summed(path, path.stat().st_mtime_ns, is_large=False)


def sha256(path: Path) -> str:
    """The name of a large one."""
    return summed(path, path.stat().st_mtime_ns, is_large=True)


@cache
def summed(path: Path, mtime_ns: int, is_large: bool) -> str:
    """The name of a file as it was then."""
    if is_large:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """HEAD and GET."""

    server: FakeHub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:  # noqa: N802
        self.answer(body=False)

    def do_GET(self) -> None:  # noqa: N802
        self.answer(body=True)

    @property
    def token(self) -> str:
        """The token of the request; empty for none."""
        return self.headers.get("authorization", "").removeprefix("Bearer ")

    def answer(self, body: bool) -> None:
        """What was asked for, or the Hub's own way to refuse."""
        parts = urlsplit(self.path)
        path, query = unquote(parts.path), parse_qs(parts.query)
        self.server.asked.append((self.command, path, self.token))
        if self.server.mood == "silent":
            self.server.over.wait()
        if self.server.mood == "broken":
            return self.refuse(503, "")
        if path.startswith("/cdn/"):  # signed addresses: no token is asked for, and none is to come along
            return self.send_large(path.removeprefix("/cdn/"), body)
        if self.token not in ("", GRANTED, STRANGER):
            return self.refuse(401, "", "Invalid credentials in Authorization header")
        if self.server.mood == "missing" or not re.match(
            rf"/(api/models/)?{re.escape(self.server.repo)}(/|$)", path
        ):
            return self.refuse(404 if self.token else 401, "RepoNotFound", "Repository not found")
        about, _, rest = path.partition(self.server.repo)
        if about == "/api/models/":
            return self.tell(rest.strip("/").split("/"), query)
        return self.give(rest.strip("/"), body)

    def tell(self, words: list[str], query: dict[str, list[str]]) -> None:
        """The API: the info, the tree, or whether this token may have the files."""
        if words == ["auth-check"]:
            return self.refuse_gated() if self.is_kept_from() else self.send_json({})
        verb, revision = words[0] if words[0] else "revision", words[1] if len(words) > 1 else "main"
        if revision not in ("main", self.server.commit):
            return self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        if verb == "tree":
            return self.send_json([entry(name, path) for name, path in self.server.files().items()])
        if verb != "revision":
            return self.refuse(404, "")
        blobs = query.get("blobs") == ["true"]
        return self.send_json(
            self.server.told(
                {
                    "id": self.server.repo,
                    "sha": self.server.commit,
                    "gated": "manual" if self.server.mood == "gated" else False,
                    "cardData": {"license": "other", "license_name": "llama4"},
                    "siblings": [sibling(name, path, blobs) for name, path in self.server.files().items()],
                }
            )
        )

    def is_kept_from(self) -> bool:
        """Whether the files are not for this token."""
        return self.server.mood == "gated" and self.token != GRANTED

    def refuse_gated(self) -> None:
        """401 for nobody, 403 for a user who has not been let in."""
        self.refuse(
            403 if self.token else 401, "GatedRepo", f"Access to model {self.server.repo} is restricted."
        )

    def give(self, rest: str, body: bool) -> None:
        """A file at a commit: itself, or where the large ones are."""
        match = re.fullmatch(r"resolve/([^/]+)/(.+)", rest)
        if self.is_kept_from():
            return self.refuse_gated()
        if not match or match[1] not in ("main", self.server.commit):
            return self.refuse(404, "RevisionNotFound")
        path = self.server.files().get(match[2])
        if (door := self.server.doors.get(match[2])) and door(self):
            return None
        if path is None:
            return self.refuse(404, "EntryNotFound")
        if is_large(path):
            self.send_response(302)
            place = self.server.url.replace("127.0.0.1", "localhost")  # another host, as the Hub's is
            self.send_header("Location", f"{place}/cdn/{match[2]}")
            self.send_header("X-Repo-Commit", self.server.commit)
            self.send_header("X-Linked-Etag", f'"{sha256(path)}"')
            self.send_header("X-Linked-Size", str(path.stat().st_size))
            self.send_header("Content-Length", "0")
            return self.end_headers()
        return self.send(path, body, blob_id(path))

    def send_large(self, name: str, body: bool) -> None:
        """The place of the large files knows no token; one that arrives went to a stranger."""
        if self.token:
            return self.refuse(400, "", "Only one auth mechanism allowed")
        return self.send(self.server.files()[name], body, sha256(self.server.files()[name]))

    def send(self, path: Path, body: bool, etag: str) -> None:
        """Send a file or a range of it."""
        size = path.stat().st_size
        first, last = 0, size - 1
        ranged = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("range", ""))
        if ranged:
            first, last = int(ranged[1]), min(int(ranged[2] or last), last)
        if (fault := self.server.faults.get(path.name)) and fault(self, first, last, size):
            return
        self.send_response(206 if ranged else 200)
        self.send_header("Content-Length", str(last - first + 1))
        if ranged:
            self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", f'"{etag}"')
        self.send_header("X-Repo-Commit", self.server.commit)
        self.end_headers()
        if body:
            self.server.bytes_sent += last - first + 1
            self.content(path, first, last)

    def content(self, path: Path, first: int, last: int) -> None:
        """The bytes of a range."""
        with path.open("rb") as file:
            file.seek(first)
            self.wfile.write(file.read(last - first + 1))

    def send_json(self, value: Any) -> None:
        """An answer of the API."""
        content = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def refuse(self, status: int, code: str, message: str = "") -> None:
        """An error as the Hub says it."""
        self.send_response(status)
        for header, value in (("X-Error-Code", code), ("X-Error-Message", message)):
            if value:
                self.send_header(header, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def handle(self) -> None:
        """A client that went away while we were silent is no news."""
        with suppress(BrokenPipeError, ConnectionResetError):
            super().handle()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def entry(name: str, path: Path) -> dict[str, Any]:
    """A file in the tree."""
    large = {"lfs": {"oid": sha256(path), "size": path.stat().st_size, "pointerSize": 135}}
    found = {"type": "file", "oid": blob_id(path), "size": path.stat().st_size, "path": name}
    return found | (large if is_large(path) else {})


def sibling(name: str, path: Path, blobs: bool) -> dict[str, Any]:
    """A file in the info; its size only where it was asked for."""
    large = {"lfs": {"sha256": sha256(path), "size": path.stat().st_size, "pointerSize": 135}}
    details = {"size": path.stat().st_size, "blobId": blob_id(path)} | (large if is_large(path) else {})
    return {"rfilename": name} | (details if blobs else {})
