#!/usr/bin/env python3
"""Run on a spot box until EC2 takes it back: on the notice say so, and let running requests end.

Standard library only: it runs with the host's own Python. The notice comes two minutes before the end, which is
longer than the server's unit takes to stop; what lies there afterwards keeps the unit from being started again.
"""

import argparse
import json
import subprocess
import sys
import time
from contextlib import suppress
from datetime import datetime
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from urllib.parse import urlsplit

METADATA = "http://169.254.169.254/latest"
# As often as AWS advises.
POLL_S = 5
TIMEOUT_S = 2
MOST_BYTES = 512


def main() -> None:
    """Ask until there is a notice; then act on it, once."""
    options = parsed(sys.argv[1:])
    while not (ends_at := notice(METADATA)):
        time.sleep(POLL_S)
    interrupt(options.root, options.unit, ends_at)


def parsed(arguments: list[str]) -> argparse.Namespace:
    """The options the unit passes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--unit", required=True)
    return parser.parse_args(arguments)


def notice(metadata: str) -> str:
    """When EC2 takes the box back, as it says it; nothing while it does not say so (404), or does not answer."""
    try:
        token = asked(f"{metadata}/api/token", "PUT", {"X-aws-ec2-metadata-token-ttl-seconds": "60"})
        action = asked(
            f"{metadata}/meta-data/spot/instance-action", "GET", {"X-aws-ec2-metadata-token": token}
        )
        return datetime.strptime(json.loads(action)["time"], "%Y-%m-%dT%H:%M:%SZ").strftime(
            "%Y-%m-%dT%H:%M:%SZ"
        )
    except (OSError, HTTPException, ValueError, KeyError, TypeError):
        return ""


def asked(url: str, method: str, headers: dict[str, str]) -> str:
    """One answer of the metadata service and of nobody else: no proxy, no redirect. Raises ValueError for a 404."""
    place = urlsplit(url)
    connection = HTTPConnection(place.hostname or "", place.port, timeout=TIMEOUT_S)
    try:
        connection.request(method, place.path, headers=headers)
        answer = connection.getresponse()
        if answer.status != 200:
            raise ValueError(answer.status)
        return answer.read(MOST_BYTES).decode()
    finally:
        connection.close()


def interrupt(root: Path, unit: str, ends_at: str) -> None:
    """Say it, and stop the server. One that works for the server of another box goes on for that one's requests."""
    words = f"interrupted by EC2: spot notice, ends at {ends_at}"
    with suppress(OSError):  # a full disk keeps no server from its end
        (root / "interrupted").write_text(f"{words}\n")
    # A console may be held up; a drain takes what is left of the two minutes.
    code = subprocess.run(["timeout", "5", root / "bin/phase", words], check=False).returncode
    if not (root / "first").exists():
        code |= subprocess.run(["timeout", "110", "systemctl", "stop", unit], check=False).returncode
    if code:
        sys.exit("corral: failed")  # systemd has us try again


if __name__ == "__main__":
    main()
