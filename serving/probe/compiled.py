"""Door: the C compiler: reader.c as a library, made at its first use on a machine and kept."""

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from infra.home import home, make_folder, others_can_change

SOURCE = Path(__file__).with_name("reader.c")
COMPILER = "cc"
OPTIONS = ("-O2", "-shared", "-fPIC")
COMPILE_LIMIT_S = 60.0
# As in reader.c.
READS, ROOM_BYTES, STAMPS = 256, 1 << 20, 256


class Stream(ctypes.Structure):
    """What the library knows of one connection, and the events it has counted since they were last taken."""

    _fields_ = (
        ("number", ctypes.c_int64),
        ("last_ns", ctypes.c_int64),
        ("chars", ctypes.c_int64),
        ("fd", ctypes.c_int32),
        ("stamped", ctypes.c_int32),
        ("before_bytes", ctypes.c_int32),
        ("behind_bytes", ctypes.c_int32),
        ("before", ctypes.c_char_p),
        ("behind", ctypes.c_char_p),
        ("newest", ctypes.c_char_p),
        ("newest_bytes", ctypes.c_int64),
        ("stamps_ns", ctypes.c_int64 * STAMPS),
    )
    around = (b"", b"")
    newest_bytes: int

    def arm(self, around: tuple[bytes, bytes], newest: str = "") -> None:
        """Let it count what stands between these two in an event; nothing before means that it counts nothing.

        With a newest text, up to the first other: what holds it and goes on is not counted.
        """
        if around != self.around:
            self.around = around
            self.before, self.behind = around
            self.before_bytes, self.behind_bytes = map(len, around)
        if newest or self.newest_bytes:
            text = newest.encode(errors="surrogatepass")
            self.newest, self.newest_bytes = text, len(text)


class Handed(ctypes.Structure):
    """A read that Python must look at."""

    _fields_ = tuple((name, ctypes.c_int64) for name in ("number", "stamp_ns", "now_ns", "offset", "bytes"))


class Batch(ctypes.Structure):
    """What one call to drain() has read."""

    _fields_ = (
        ("counted", ctypes.c_int32),
        ("unstamped", ctypes.c_int32),
        ("handed", ctypes.c_int32),
        ("timer", ctypes.c_int32),
        ("looked_ns", ctypes.c_int64),
        ("heard_ns", ctypes.c_int64),
        ("due_ns", ctypes.c_int64),
        ("late_us", ctypes.c_int64),
        ("lags_us", ctypes.c_int64 * READS),
        ("reads", Handed * READS),
        ("data", ctypes.c_char * ROOM_BYTES),
    )


class NotCompiled(Exception):
    """There is no library; the text says why."""


@cache
def library() -> ctypes.CDLL:
    """The library, compiled first where there is none of this source that is surely ours. Raises NotCompiled."""
    if sys.platform != "linux" or sys.maxsize < 2**32:
        raise NotCompiled("it is for 64-bit Linux")
    source = SOURCE.read_bytes()
    mark = hashlib.sha256(source + f"{platform.machine()} {OPTIONS}".encode()).hexdigest()[:16]
    path = home() / "cache" / "probe" / f"reader-{mark}.so"
    try:
        if path.parent.exists() and (why := others_can_change(path.parent, home())):
            raise NotCompiled(why)
        if not path.is_file() or others_can_change(path, home()):
            compile_to(path)
        loaded = ctypes.CDLL(str(path))
    except OSError as error:
        raise NotCompiled(str(error)) from None
    loaded.watch.argtypes = (ctypes.c_int, ctypes.POINTER(Stream))
    loaded.begin.argtypes = (ctypes.c_int, ctypes.POINTER(Batch))
    loaded.drain.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int, ctypes.POINTER(Batch))
    loaded.drain.restype = None
    return loaded


def compile_to(path: Path) -> None:
    """Compile beside it and move it there whole, so that another process never loads half. Raises NotCompiled."""
    compiler = shutil.which(COMPILER)
    if compiler is None:
        raise NotCompiled(f"this machine has no C compiler ({COMPILER})")
    make_folder(path.parent)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        made = Path(folder) / path.name
        try:
            done = subprocess.run(
                [compiler, *OPTIONS, "-o", str(made), str(SOURCE)],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=COMPILE_LIMIT_S,
            )
        except subprocess.TimeoutExpired:
            raise NotCompiled(f"{COMPILER} was not done after {COMPILE_LIMIT_S:.0f} s") from None
        if done.returncode:
            reasons = done.stderr.strip().splitlines() or ["no reason given"]
            raise NotCompiled(f"{COMPILER} failed: {reasons[-1][:120]}")
        made.chmod(0o700)
        os.replace(made, path)
