"""The OpenSSH client for tests/fake_box.py: the host behind it is the folder $BOX, which may be reached by sudo.

A host whose name a folder beside that has is that one.

The real client ($REAL_SSH) judges the options, so that what it does not know is refused here too. What a command line
is given as a script on its input is run like the scripts the box holds: its absolute paths lead below the folder.

It is started for each of hundreds of calls: what few of them need is imported there, as that is most of a start.
"""

from __future__ import annotations

import getopt
import os
import re
import sys

SIGPIPE = 13
"""Which Python ignores, and what it starts would too."""
TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket


def main() -> None:
    """Answer one call."""
    options, words = getopt.getopt(sys.argv[1:], "F:o:TfNML:O:G")
    first = os.environ["BOX"]
    named = f"{os.path.dirname(first)}/{words[0]}"
    box = named if os.path.exists(f"{named}/facts") else first
    given = [word for option, value in options for word in (option, value) if word and option in ("-F", "-o")]
    settings = judged(box, [*given, "--", words[0]])
    flags = dict(options)
    if "-G" in flags:
        print(settings, end="")
    elif "-O" in flags:
        sys.exit(control(box, flags["-O"], settings))
    elif "-L" in flags:
        forward(box, flags["-L"], settings)
    else:
        run(box, *words[1:])


def judged(box: str, arguments: list[str]) -> str:
    """What the real client makes of these options; asked once, as a look at a host takes many calls."""
    from binascii import crc32

    kept = f"{box}/ssh-{crc32(repr(arguments).encode()):08x}"
    if not os.path.exists(kept):
        import subprocess

        asked = [os.environ["REAL_SSH"], "-G", *arguments]
        done = subprocess.run(asked, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(refusal(done.stderr))
        write(kept, done.stdout)
    return read(kept)


def read(path: str) -> str:
    """The text of a file."""
    with open(path, encoding="utf-8") as file:
        return file.read()


def write(path: str, text: str) -> None:
    """Make it the text of a file."""
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def refusal(words: str) -> int:
    """What the client says when it fails, and its exit code."""
    print(words, file=sys.stderr, end="")
    return 255


def relay_file(box: str, settings: str) -> str:
    """Where the process of a forward is noted, by the socket that controls it."""
    (path,) = re.findall(r"^controlpath (.*)$", settings, re.MULTILINE)
    return f"{box}/forward-{os.path.basename(path)}"


def control(box: str, order: str, settings: str) -> int:
    """-O check or exit."""
    file = relay_file(box, settings)
    if order not in ("check", "exit"):
        return refusal("Invalid multiplex command.\n")
    if not os.path.exists(file):
        return refusal("Control socket connect: No such file or directory\n")
    if order == "exit":
        os.kill(int(read(file)), 15)
        os.unlink(file)
    return 0


def forward(box: str, way: str, settings: str) -> None:
    """-L: go on in the background once it listens."""
    import socket
    import threading

    bind, local_port, host, port = way.split(":")
    listener = socket.create_server((bind, int(local_port)))
    if pid := os.fork():
        write(relay_file(box, settings), str(pid))
        return
    os.setsid()
    while True:
        near = listener.accept()[0]
        try:
            far = socket.create_connection((host, int(read(f"{box}/port-{port}"))))
        except OSError:  # nothing listens there
            near.close()
            continue
        for source, target in ((near, far), (far, near)):
            threading.Thread(target=pump, args=(source, target), daemon=True).start()


def pump(source: socket.socket, target: socket.socket) -> None:
    """Carry bytes one way until they end, or are cut off."""
    from contextlib import suppress
    from socket import SHUT_WR

    with suppress(OSError):
        while data := source.recv(2**16):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(SHUT_WR)


def run(box: str, line: str) -> None:
    """Run a command line: what the login says comes first, then our marker, then its output."""
    found = re.fullmatch(r"echo ([0-9a-f]{16}); exec (?:sudo -n -- )?(.*)", line, re.DOTALL)
    if not found:
        sys.exit(refusal(f"the login shell got {line!r}\n"))
    marker, command = found.groups()
    print(f"Authorised use only.\n{marker}", flush=True)
    if command == "sh -s":  # a look at the host
        sys.stdin.read()
        print(read(f"{box}/facts"), end="")
        return
    if command.startswith(("sh -s -- ", "python3 -I - ")):
        give(as_here(box, sys.stdin.read()).encode())
    is_unpacked = command.startswith("sh -c ") and command.endswith(" unpack /")
    mapped = f"{command[:-1]}{box}" if is_unpacked else as_here(box, command)
    child = os.posix_spawn("/bin/sh", ["sh", "-c", f"exec {mapped}"], environment(box), setsigdef=[SIGPIPE])
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if is_unpacked:
        from glob import glob

        for script in glob(f"{box}/opt/corral/*/bin/*"):
            write(script, as_here(box, read(script)))
    sys.exit(code if code >= 0 else 255)


def give(data: bytes) -> None:
    """Let this be the standard input of what is started."""
    file = os.memfd_create("input")
    with open(file, "wb", closefd=False) as writing:
        writing.write(data)
    os.lseek(file, 0, os.SEEK_SET)
    os.dup2(file, 0)
    os.close(file)


def environment(box: str) -> dict[str, str]:
    """What a login gives."""
    came_from = "192.0.2.7 50000 192.0.2.8 22"
    return {"PATH": f"{box}/tools:/usr/bin:/bin", "BOX": box, "SSH_CONNECTION": came_from}


def as_here(box: str, text: str) -> str:
    """As Box.as_here, for what was not mapped yet."""
    return re.sub(os.environ["ABSOLUTE"], f"{box}/", f" {text}")[1:]
