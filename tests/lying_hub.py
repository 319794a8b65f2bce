"""A Hub of three shards, and every way it can answer wrongly about one of them (tests/data/fake_hub.py serves it)."""

import hashlib
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from infra.errors import AuthError, CorralError, DocumentError, EndpointError
from infra.fetch.hub_answers import NoCommit
from infra.fetch.listing import Wanted
from infra.fetch.patience import Pace

CHUNK = 1 << 14
SHARD_BYTES = 5 * CHUNK + 123
SHARDS = [f"model-0000{number}-of-00003.safetensors" for number in (1, 2, 3)]
HASTE = Pace(chunk_bytes=CHUNK, workers=3, tries=2, questions=2, first_wait_s=0.0, look_every_s=0.02)
STALLING = {"stalls", "drips"}
"""Of these faults the patience must end; that with all others does not, however busy the machine."""


def repository(folder: Path, shard_bytes: int = SHARD_BYTES) -> Path:
    """A repository of made-up weights, and what is never fetched of one."""
    folder.mkdir()
    (folder / "original").mkdir()
    for number, name in enumerate(SHARDS):
        (folder / name).write_bytes(random.Random(number).randbytes(shard_bytes))
    weights = {f"layer.{number}": name for number, name in enumerate(SHARDS)}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weights}))
    (folder / "config.json").write_text(json.dumps({"architectures": ["Any"]}))
    (folder / "tokenizer.json").write_text("{}")
    for name in ("empty.txt", "empty_too.txt"):  # the same bytes: in a cache one file
        (folder / name).write_text("")
    (folder / "LICENSE").write_text("yes")
    for name in ("pytorch_model.bin", "consolidated.safetensors", "modeling.py", "original/a.safetensors"):
        (folder / name).write_bytes(b"not for us")
    return folder


FETCHED = {
    *SHARDS,
    "model.safetensors.index.json",
    "config.json",
    "tokenizer.json",
    "empty.txt",
    "empty_too.txt",
    "LICENSE",
}


def head(handler: Any, status: int, length: int, **headers: str) -> None:
    """Begin an answer."""
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("Content-Length", str(length))
    handler.end_headers()


def part(handler: Any, first: int, last: int, size: int, content: bytes, **headers: str) -> bool:
    """Answer a range as asked, with that content."""
    said = {"Content_Range": f"bytes {first}-{last}/{size}"} | headers
    head(handler, 206, last - first + 1, **said)
    handler.wfile.write(content)
    return True


def content_of(handler: Any, first: int, last: int) -> bytes:
    """What the range holds."""
    name = handler.path.rpartition("/")[2]
    whole: bytes = handler.server.files()[name].read_bytes()
    return whole[first : last + 1]


def flipped(handler: Any, first: int, last: int, size: int) -> bool:
    """One bit of the first byte."""
    content = bytearray(content_of(handler, first, last))
    content[0] ^= 1
    return part(handler, first, last, size, bytes(content))


def page(handler: Any, first: int, last: int, size: int) -> bool:
    """A web page of the right length, called one."""
    return part(handler, first, last, size, b"<html>".ljust(last - first + 1), Content_Type="text/html")


def page_called_bytes(handler: Any, first: int, last: int, size: int) -> bool:
    """The same, called bytes."""
    return part(handler, first, last, size, b"<!DOCTYPE html>".ljust(last - first + 1))


def cut_off(handler: Any, first: int, last: int, size: int) -> bool:
    """It ends before it should."""
    part(handler, first, last, size, content_of(handler, first, last)[:100])
    handler.close_connection = True
    return True


def too_short(handler: Any, first: int, last: int, size: int) -> bool:
    """Fewer bytes are announced than were asked for."""
    head(handler, 206, 9, Content_Range=f"bytes {first}-{last}/{size}")
    handler.wfile.write(b"123456789")
    return True


def another_part(handler: Any, first: int, last: int, size: int) -> bool:
    """Other bytes of the file."""
    return part(handler, first + 1, last + 1, size, content_of(handler, first + 1, last + 1))


def another_size(handler: Any, first: int, last: int, size: int) -> bool:
    """Of a file that is longer than it told."""
    return part(handler, first, last, size + 1, content_of(handler, first, last))


def whole(handler: Any, first: int, last: int, size: int) -> bool:
    """All of it where a part was asked for."""
    head(handler, 200, size)
    handler.wfile.write(content_of(handler, 0, size - 1))
    return True


def packed(handler: Any, first: int, last: int, size: int) -> bool:
    """Compressed, which nobody asked for."""
    return part(handler, first, last, size, content_of(handler, first, last), Content_Encoding="gzip")


def stalls(handler: Any, first: int, last: int, size: int) -> bool:
    """Some bytes, and then none for ever."""
    part(handler, first, last, size, content_of(handler, first, last)[:10])
    handler.server.over.wait()
    handler.close_connection = True
    return True


def drips(handler: Any, first: int, last: int, size: int) -> bool:
    """A byte now and then."""
    head(handler, 206, last - first + 1, Content_Range=f"bytes {first}-{last}/{size}")
    for byte in content_of(handler, first, last):
        handler.wfile.write(bytes([byte]))
        handler.wfile.flush()
        if handler.server.over.wait(0.02):
            break
    return True


def says(status: int, **headers: str) -> Callable[..., bool]:
    """A refusal."""

    def refuse(handler: Any, *_: int) -> bool:
        head(handler, status, 0, **headers)
        return True

    return refuse


def round_and_round(handler: Any, *_: int) -> bool:
    """It leads to itself."""
    head(handler, 302, 0, Location=handler.path)
    return True


Fault = tuple[Callable[..., bool], type[CorralError], str]

OF_BYTES: dict[str, Fault] = {
    "flipped": (flipped, EndpointError, "what came has another checksum than it tells, twice"),
    "page": (page, EndpointError, "a web page came in its place"),
    "page called bytes": (page_called_bytes, EndpointError, "a web page came in its place"),
    "cut off": (cut_off, EndpointError, "ended early"),
    "too short": (too_short, EndpointError, "9 bytes are announced in place of"),
    "another part": (another_part, EndpointError, "other bytes came than were asked for"),
    "another size": (another_size, EndpointError, "of a file of another length"),
    "whole": (whole, EndpointError, "all of it came where a part was asked for"),
    "packed": (packed, EndpointError, "it is packed, which was not asked for"),
    "stalls": (stalls, EndpointError, "The Hub stalls: too little of"),
    "drips": (drips, EndpointError, "The Hub stalls: too little of"),
    "busy": (says(429, Retry_After="0"), EndpointError, "asks to be left alone for a while (HTTP 429)"),
    "down": (says(503), EndpointError, "The Hub fails at"),
    "storage": (says(403), EndpointError, "The Hub's storage refuses"),
    "no such bytes": (says(416), EndpointError, "it has no such bytes"),
    "circle": (round_and_round, EndpointError, "from address to address without an end"),
}
"""Where the bytes are: what is wrong, what it is told as."""

AT_DOOR: dict[str, Fault] = {
    "revoked": (says(401), AuthError, "The Hugging Face Hub does not know the token it was given."),
    "gated": (says(403, X_Error_Code="GatedRepo"), AuthError, "is gated: its licence must be accepted by"),
    "no longer": (says(403), AuthError, "The Hub does not let this token fetch"),
    "commit": (says(404, X_Error_Code="RevisionNotFound"), NoCommit, "has no commit of the name"),
    "entry": (says(404, X_Error_Code="EntryNotFound"), EndpointError, "does not have"),
    "repository": (says(404, X_Error_Code="RepoNotFound"), DocumentError, "There is no repository"),
    "nowhere": (says(302), EndpointError, "it leads on, and does not say where to"),
    "elsewhere": (says(302, Location="ftp://x/y"), EndpointError, "is no address of a Hub"),
}
"""Where the Hub says where a file is."""


def sha256(path: Path) -> str:
    """Of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def wanted(path: Path) -> Wanted:
    """A file of the Hub's storage, as it lists it."""
    return Wanted(path.name, path.stat().st_size, sha256(path), "")
