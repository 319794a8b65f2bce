#!/usr/bin/env python3
"""idle URL SECONDS ROOT: wait until a server has no request, before systemd asks it to end.

vLLM's own drain refuses nobody cleanly: it answers a new request with 500, or with 200 and nothing where the prompt is
token ids (measured, vLLM 0.32.0). So it is asked to end once it has nothing to do. What cannot be told is not waited
for: whoever stops a server must be able to. Standard library only: it runs with the host's own Python.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from urllib.parse import urlsplit

LOOKS = 5
"""So often in a row none must run or wait: one whose prompt becomes token ids is in neither number."""
EVERY_S = 0.5
PATIENCE_S = 5.0
MOST_BYTES = 2**24
GAUGES = ("vllm:num_requests_running", "vllm:num_requests_waiting")


def main() -> None:
    """Wait, and say in the journal for how many. The file `now` in that folder ends it: corral was told --now."""
    url, seconds, root = sys.argv[1:]
    wait(lambda: requests_at(url), float(seconds), (Path(root) / "now").exists, say)


def wait(
    requests: Callable[[], float | None],
    within_s: float,
    is_hurried: Callable[[], bool],
    tell: Callable[[str], None],
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> bool:
    """Whether none ran or waited, so often in a row, within that time; at once where there is no telling.

    `requests` says how many there are, infinitely many where the answer is late, None where nobody says.
    """
    end_s, idle, told = clock() + within_s, 0, False
    while not is_hurried():
        left = requests()
        if left is None:
            return False
        idle = 0 if left else idle + 1
        if idle == LOOKS:
            return True
        if left and clock() >= end_s:
            tell(
                f"{words(left)} after {within_s:g} s; they have the server's own --shutdown-timeout from here"
            )
            return False
        if left and not told:
            told = True
            tell(f"{words(left)}; waiting up to {within_s:g} s until there are none")
        sleep(EVERY_S)
    tell("not waiting for requests")
    return False


def words(left: float) -> str:
    """How many there are."""
    if math.isinf(left):
        return "it does not say how many requests it has"
    return "1 request runs or waits" if left == 1 else f"{left:g} requests run or wait"


def say(text: str) -> None:
    """Into the journal of the unit."""
    print(f"corral: {text}", flush=True)


def requests_at(url: str) -> float | None:
    """How many a server of this host has, by its /metrics; no proxy is asked, and no redirect followed."""
    place = urlsplit(url)
    connection = HTTPConnection(place.hostname or "", place.port, timeout=PATIENCE_S)
    try:
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        text = answer.read(MOST_BYTES)
        return in_metrics(text.decode(errors="replace")) if answer.status == 200 else None
    except TimeoutError:
        return math.inf
    except (OSError, HTTPException):
        return None
    finally:
        connection.close()


def in_metrics(text: str) -> float | None:
    """How many run or wait, of whichever engine behind that address; None where nothing says so."""
    samples = [line.rpartition(" ") for line in text.splitlines()]
    values = [value for name, _, value in samples if name.partition("{")[0] in GAUGES]
    try:
        return sum(map(float, values)) if values else None
    except ValueError:
        return None


if __name__ == "__main__":
    main()
