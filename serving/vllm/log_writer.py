"""Run as a process of its own, with the standard library alone: a server's output, from a pipe, into bounded files.

NAME holds the beginning, where the cause of a failed start is; NAME.OFFSET what came from that byte on, of which the
last two are kept. The server never waits for the disk and never dies of it: what comes is read all the same, and what
could not be written is counted in the log. It ends when the last process of the server has.
"""

import os
import signal
import sys
from contextlib import suppress

BEGINNING_BYTES = 4 << 20
PART_BYTES = 8 << 20
PARTS = 2
OPENED = os.O_WRONLY | os.O_CREAT | os.O_APPEND


class Log:
    """The files of one run's output."""

    def __init__(self, path: str, beginning: int = BEGINNING_BYTES, part: int = PART_BYTES) -> None:
        self.path, self.name, self.part = path, path, part
        self.limit = self.room = beginning
        self.came = self.lost = 0
        self.why = b""
        self.file = -1
        self.later: list[str] = []

    def open(self) -> None:
        """Have the file of now. Raises OSError."""
        if self.file < 0:
            self.file = os.open(self.name, OPENED, 0o600)

    def take(self, data: bytes) -> None:
        """Write what came; at the end of a file it goes on in the next one, with a whole line where there is one."""
        while data:
            cut = len(data)
            if cut > self.room:
                cut = data.rfind(b"\n", 0, self.room) + 1 or (0 if self.room < self.limit else self.room)
            self.write(data[:cut])
            self.came += cut
            self.room -= cut
            data = data[cut:]
            if data:
                self.turn()

    def write(self, data: bytes) -> None:
        """Write all of it, or count what is lost."""
        words = b"\ncorral: %d bytes of this log could not be written: %s\n" % (self.lost, self.why)
        note = words if self.lost else b""
        done = 0
        try:
            self.open()
            while done < len(note + data):
                done += os.write(self.file, (note + data)[done:])
            self.lost = 0
        except OSError as error:
            self.lost += len(data) - max(0, done - len(note))
            self.why = os.strerror(error.errno or 0).encode()

    def turn(self) -> None:
        """Go on in another file; the oldest but the beginning goes first, so that there is room."""
        self.limit = self.room = self.part
        self.name = f"{self.path}.{self.came}"
        self.later.append(self.name)
        for name in self.later[:-PARTS]:
            with suppress(OSError):
                os.unlink(name)
        del self.later[:-PARTS]
        if self.file >= 0:
            os.close(self.file)
        self.file = -1


def main(path: str) -> None:
    """Copy standard input until its end."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    log = Log(path)
    try:
        log.open()
    except OSError:
        sys.exit(1)
    if os.fork():  # whoever started us need not wait for us
        os._exit(0)
    while data := os.read(0, 1 << 16):
        log.take(data)


if __name__ == "__main__":
    main(sys.argv[1])
