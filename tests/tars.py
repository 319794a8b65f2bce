"""Tars made byte by byte, for what no program that makes tars would write."""

BLOCK = 512
END = bytes(2 * BLOCK)


def header(
    name: bytes = b"x",
    kind: bytes = b"0",
    size: int | bytes = 0,
    link: bytes = b"",
    magic: bytes = b"ustar\x0000",
) -> bytes:
    """One header with its sum; a size in bytes is the field as it is."""
    field = size if isinstance(size, bytes) else b"%011o\0" % size
    start = name[:100].ljust(100, b"\0") + b"0000644\0" * 3 + field + b"%011o\0" % 1_700_000_000
    rest = (kind + link[:100].ljust(100, b"\0") + magic).ljust(356, b"\0")
    return start + b"%06o\0 " % (sum(start) + sum(rest) + 8 * 32) + rest


def filled(content: bytes) -> bytes:
    """A content up to the end of its last block."""
    return content + bytes(-len(content) % BLOCK)


def file(name: bytes, content: bytes = b"") -> bytes:
    """A file."""
    return header(name, size=len(content)) + filled(content)


def record(key: bytes, value: bytes) -> bytes:
    """One record of POSIX's extended header."""
    rest = b" " + key + b"=" + value + b"\n"
    length = len(rest) + len(str(len(rest) + len(str(len(rest)))))
    return b"%d" % length + rest


def pax(data: bytes, kind: bytes = b"x") -> bytes:
    """An extended header with that data."""
    return header(b"pax", kind, len(data)) + filled(data)


def said(key: bytes, value: bytes, after: bytes | None = None) -> bytes:
    """A member of which an extended header says one thing."""
    return pax(record(key, value)) + (header() if after is None else after)
