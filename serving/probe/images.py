"""PURE: synthetic images, each different, small as files and large as pictures."""

import base64
import random
import struct
import zlib

BLOCK = 16


def data_url(size: tuple[int, int], rng: random.Random) -> str:
    """A PNG of coloured blocks as a data URL."""
    return "data:image/png;base64," + base64.b64encode(png(size, rng)).decode()


def png(size: tuple[int, int], rng: random.Random) -> bytes:
    """The image's file (PNG specification, sections 5 and 11: signature, IHDR, IDAT, IEND)."""
    width, height = size
    rows = []
    for top in range(0, height, BLOCK):
        blocks = b"".join(rng.randbytes(3) * BLOCK for _ in range(0, width, BLOCK))
        rows.append((b"\0" + blocks[: 3 * width]) * min(BLOCK, height - top))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(b"".join(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def chunk(kind: bytes, data: bytes) -> bytes:
    """One chunk: length, kind, data, checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
