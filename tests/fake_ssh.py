"""The OpenSSH client for tests/fake_box.py: the host behind it is the folder $BOX, which may be reached by sudo.

A host whose name a folder beside that has is that one.

The real client ($REAL_SSH) judges the options, so that what it does not know is refused here too. What a command line
is given as a script on its input is run like the scripts the box holds: its absolute paths lead below the folder.
"""

import getopt
import hashlib
import os
import re
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path


def main() -> None:
    """Answer one call."""
    options, words = getopt.getopt(sys.argv[1:], "F:o:TfNML:O:G")
    first = Path(os.environ["BOX"])
    named = first.parent / words[0]
    box = named if (named / "facts").exists() else first
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


def judged(box: Path, arguments: list[str]) -> str:
    """What the real client makes of these options; asked once, as a look at a host takes many calls."""
    kept = box / f"ssh-{hashlib.sha256(repr(arguments).encode()).hexdigest()}"
    if not kept.exists():
        asked = [os.environ["REAL_SSH"], "-G", *arguments]
        done = subprocess.run(asked, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(refusal(done.stderr))
        kept.write_text(done.stdout)
    return kept.read_text()


def refusal(words: str) -> int:
    """What the client says when it fails, and its exit code."""
    print(words, file=sys.stderr, end="")
    return 255


def relay_file(box: Path, settings: str) -> Path:
    """Where the process of a forward is noted, by the socket that controls it."""
    (path,) = re.findall(r"^controlpath (.*)$", settings, re.MULTILINE)
    return box / f"forward-{Path(path).name}"


def control(box: Path, order: str, settings: str) -> int:
    """-O check or exit."""
    file = relay_file(box, settings)
    if order not in ("check", "exit"):
        return refusal("Invalid multiplex command.\n")
    if not file.exists():
        return refusal("Control socket connect: No such file or directory\n")
    if order == "exit":
        os.kill(int(file.read_text()), 15)
        file.unlink()
    return 0


def forward(box: Path, way: str, settings: str) -> None:
    """-L: go on in the background once it listens."""
    bind, local_port, host, port = way.split(":")
    listener = socket.create_server((bind, int(local_port)))
    if pid := os.fork():
        relay_file(box, settings).write_text(str(pid))
        return
    os.setsid()
    while True:
        near = listener.accept()[0]
        try:
            far = socket.create_connection((host, int((box / f"port-{port}").read_text())))
        except OSError:  # nothing listens there
            near.close()
            continue
        for source, target in ((near, far), (far, near)):
            threading.Thread(target=pump, args=(source, target), daemon=True).start()


def pump(source: socket.socket, target: socket.socket) -> None:
    """Carry bytes one way until they end, or are cut off."""
    with suppress(OSError):
        while data := source.recv(2**16):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def run(box: Path, line: str) -> None:
    """Run a command line: what the login says comes first, then our marker, then its output."""
    found = re.fullmatch(r"(echo [0-9a-f]{16}); exec (?:sudo -n -- )?(.*)", line, re.DOTALL)
    if not found:
        sys.exit(refusal(f"the login shell got {line!r}\n"))
    marker, command = found.groups()
    print("Authorised use only.", flush=True)
    subprocess.run(["sh", "-c", marker], check=True)
    if command == "sh -s":  # a look at the host
        sys.stdin.read()
        print((box / "facts").read_text(), end="")
        return
    stdin: bytes | None = None
    if command.startswith(("sh -s -- ", "python3 -I - ")):
        stdin = as_here(box, sys.stdin.read()).encode()
    is_unpacked = command.startswith("sh -c ") and command.endswith(" unpack /")
    mapped = f"{command[:-1]}{box}" if is_unpacked else as_here(box, command)
    done = subprocess.run(["sh", "-c", f"exec {mapped}"], env=environment(box), input=stdin, check=False)
    if is_unpacked:
        for script in box.glob("opt/corral/*/bin/*"):
            script.write_text(as_here(box, script.read_text()))
    sys.exit(done.returncode if done.returncode >= 0 else 255)


def environment(box: Path) -> dict[str, str]:
    """What a login gives."""
    came_from = "192.0.2.7 50000 192.0.2.8 22"
    return {"PATH": f"{box}/tools:/usr/bin:/bin", "BOX": str(box), "SSH_CONNECTION": came_from}


def as_here(box: Path, text: str) -> str:
    """As Box.as_here, for what was not mapped yet."""
    return re.sub(os.environ["ABSOLUTE"], f"{box}/", f" {text}")[1:]
