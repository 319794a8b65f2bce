#!/usr/bin/env python3
"""Run every minute on the host: end a deployment whose time is up, or that nobody has asked anything.

Standard library only: it runs with the host's own Python. Idle is judged by the server's own request counters;
a server that is still loading is not idle, one that will not come is.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from urllib.parse import urlsplit

COUNTERS = ("vllm:prompt_tokens_total", "vllm:generation_tokens_total")
GAUGES = ("vllm:num_requests_running", "vllm:num_requests_waiting")
# The last words of a preparation: from then on a server that is not started is not on its way.
FINAL = ("prepared", "failed", "interrupted")
DISCARD_PORT = 9
# What a server may say and how long it may take: a look that does not end would be the last.
MOST_BYTES = 4 * 2**20
PATIENCE_S = 10
# A question of the judge's takes 15 s at most.
ASKING_S, LOOK_AGAIN_S = 20.0, 1.0
NONE = (0, 0)
# A box that was stopped may have been given more time meanwhile; it is told so when it runs again.
TOLD_WITHIN_S = 900.0


def main() -> None:
    """Look once; act when it is time."""
    options = parsed(sys.argv[1:])
    reason = reason_to_end(options, time.time(), time.clock_gettime(time.CLOCK_BOOTTIME))
    if reason:
        print(f"corral: ending: {reason}", flush=True)
        command = (
            ["systemctl", "poweroff"] if options.poweroff else ["systemctl", "disable", "--now", options.unit]
        )
        sys.exit(subprocess.run(command, check=False).returncode)  # said by it; there is a next look


def parsed(arguments: list[str]) -> argparse.Namespace:
    """The options the unit passes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--unit", required=True)
    parser.add_argument("--metrics", required=True)
    parser.add_argument("--asked", type=Path)
    parser.add_argument("--idle-minutes", type=int, default=0)
    parser.add_argument("--poweroff", action="store_true")
    return parser.parse_args(arguments)


def reason_to_end(options: argparse.Namespace, now_s: float, up_s: float) -> str:
    """Why the deployment is to end now, or nothing. `up_s` is how long ago the host has booted."""
    if is_over(options.root / "expires-at", now_s, up_s):
        return "its time limit is reached"
    if not options.idle_minutes:
        return ""
    seen = activity(options.metrics, options.unit, options.root, options.asked)
    # In memory where the unit has a folder there: a full disk keeps no idle box from its end.
    notes = with_room(Path(os.environ.get("RUNTIME_DIRECTORY") or options.root), options.root)
    idle_s = idle_for(notes / "activity", seen, now_s, up_s)
    return f"no request for {idle_s / 60:.0f} minutes" if idle_s >= options.idle_minutes * 60 else ""


def with_room(folder: Path, other: Path) -> Path:
    """The folder, or the other one where its disk, or its memory, is full."""
    with suppress(OSError):
        disk = os.statvfs(folder)
        return folder if disk.f_bavail else other
    return other


def is_over(limit: Path, now_s: float, up_s: float) -> bool:
    """Whether the time limit is reached; one that was set before the host has booted counts a little later."""
    try:
        end_s = float(limit.read_text())
    except (OSError, ValueError):
        return False  # none is set, or the disk was full when it was
    if now_s < end_s:
        return False
    return is_since_boot(limit, now_s, up_s) or up_s >= TOLD_WITHIN_S


def is_since_boot(note: Path, now_s: float, up_s: float) -> bool:
    """Whether it was written since the host has booted."""
    return note.stat().st_mtime >= now_s - up_s


def idle_for(note: Path, seen: str, now_s: float, up_s: float) -> float:
    """Seconds since the activity last changed. The note holds when that was, and what was seen."""
    # A note from before the boot means that the host was stopped, one from the future that the clock was set back:
    # counting begins again.
    is_ours = note.exists() and is_since_boot(note, now_s, up_s)
    old_s, is_whole, old_seen = note.read_text().partition(" ") if is_ours else ("", "", "")
    if is_whole and old_seen == seen and seen != "busy" and float(old_s) <= now_s:
        return now_s - float(old_s)
    with suppress(OSError):  # counting begins when it can be noted
        note.write_text(f"{now_s} {seen}")
    return 0.0


def activity(metrics: str, unit: str, root: Path, asked: Path | None = None) -> str:
    """What the server has done for others so far, as a text that changes when it does something; `busy` when it is at
    work.

    The judge's questions are nobody's: what they took is counted off, and one that runs is waited for.
    """
    until_s = time.monotonic() + ASKING_S
    try:
        while True:
            own = own_tokens(asked)
            seen = work_done(said_at(metrics), own or NONE)
            if own is not None and own == own_tokens(asked):
                return seen
            if time.monotonic() >= until_s:
                return "busy"
            time.sleep(LOOK_AGAIN_S)
    except (OSError, HTTPException, ValueError):
        return hopeless(unit, root) or "busy"


def own_tokens(asked: Path | None) -> tuple[int, int] | None:
    """How many tokens of prompts and of answers the judge's questions took; None while he asks one."""
    try:
        words = asked.read_text().split() if asked else ["0", "0"]
        return None if len(words) != 2 else (int(words[0]), int(words[1]))
    except FileNotFoundError:
        return NONE
    except (OSError, ValueError):
        return None


def said_at(url: str) -> str:
    """What is said there and nowhere else: no proxy is asked, no redirect followed, by which root would carry data."""
    place = urlsplit(url)
    connection = HTTPConnection(place.hostname or "", place.port, timeout=PATIENCE_S)
    # The connection's own patience is for one byte; this is for all of them.
    signal.signal(signal.SIGALRM, too_late)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE_S)
    try:
        connection.request("GET", place.path)
        answer = connection.getresponse()
        text = answer.read(MOST_BYTES + 1)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        connection.close()
    if answer.status != 200 or len(text) > MOST_BYTES:
        raise ValueError("no metrics")
    return text.decode()


def too_late(*_: object) -> None:
    """Raise TimeoutError."""
    raise TimeoutError


def hopeless(unit: str, root: Path) -> str:
    """Why a server that does not answer will not do so by itself; nothing while it may."""
    active, phase, first = state(unit), root / "phase", root / "first"
    if active == "failed":
        return "failed"
    if active == "inactive" and phase.exists() and phase.read_text().startswith(FINAL):
        return "not started"
    # It works for the server of another box, and has none of its own to ask.
    return "alone" if first.exists() and not is_there(first.read_text().strip()) else ""


def is_there(address: str) -> bool:
    """Whether another host is up: it lets us in at a port nobody uses, or says that nobody does."""
    try:
        socket.create_connection((address, DISCARD_PORT), timeout=5).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return True


def work_done(text: str, own: tuple[int, int] = NONE) -> str:
    """The counters of vLLM's /metrics without our own tokens, or `busy` while a request runs or waits.

    Prometheus's text is read here a second time: a box's bare Python has nothing of ours but this file.
    """
    samples = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    named = [(name.partition("{")[0], float(value)) for name, _, value in samples if name]
    if any(value > 0 for name, value in named if name in GAUGES):
        return "busy"
    counted = [[value for name, value in named if name == counter] for counter in COUNTERS]
    return ",".join(f"{sum(values) - ours:.0f}" for values, ours in zip(counted, own, strict=True) if values)


def state(unit: str) -> str:
    """What systemd says of the unit: active, activating, failed. Its exit code says no more than its word."""
    done = subprocess.run(["systemctl", "is-active", unit], capture_output=True, text=True, check=False)
    return done.stdout.strip()


if __name__ == "__main__":
    main()
