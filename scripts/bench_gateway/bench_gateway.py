"""The gateway beside a direct connection, in one run.

Server: scripts/bench_probe/fake_llm.c, with a log of when each token was sent on the client's clock. Client: `corral
probe`. They share core 0, the server before the client: the client takes its times from the kernel's stamps, and the
server notes what it really sent, so that neither clock waits for the other. Gateway: `corral gateway`, its HAProxy
alone on core 1, as it has a core wherever it is used. For root all three come before all else that the machine does.
Ways: direct, through the gateway with one key and with 10,000, in turn in every round, each with all loads, with the
same times of arrival. Delays are of all rounds together, other figures the medians of the rounds.
Delay: of each request's first token, what the client said less what the server's log of that request says: the way
there and back. What the gateway adds is its median less that of the direct connection.
Load: requests that come at random times, so many a second that 1, 16 and 64 streams run on average, of 64 tokens (at 1
stream of 32), 20 ms apart.
Throughput: 256 streams in a closed loop, answers of 32 to 96 tokens. With equal lengths all end and begin at once;
through any door they do so no more, which is no loss of the door's.
CPU: of HAProxy's processes, per 1,000 tokens, requests included, during those loads.
"""

import argparse
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import clients
import real_engine
from bench import compared, machine, truth
from in_front import cpu_s, opened
from table import DIRECT, THROUGHPUT, Measured, delays_ms, page, together

SERVER = (50, 20, 0, 0)
CLIENT_CORE = 0
MANY_KEYS = 10_000
WAYS = {DIRECT: 0, "gateway, 1 key": 1, f"gateway, {MANY_KEYS:,} keys": MANY_KEYS}
"""Of each its number of keys; 0 for no gateway."""


class Load(NamedTuple):
    """What the probe is told."""

    requests: int
    tokens: str
    shape: tuple[str, ...]


def streams(number: int, requests: int, tokens: int) -> Load:
    """Requests at random times, of which so many run on average."""
    seconds_a_request = 0.06 + (tokens - 1) * 0.02
    return Load(requests, str(tokens), ("--request-rate", f"{number / seconds_a_request:.3f}"))


LOADS = {
    "1 stream": streams(1, 48, 32),
    "16 streams": streams(16, 160, 64),
    "64 streams": streams(64, 640, 64),
    THROUGHPUT: Load(1024, "32-96", ("--concurrency", "256")),
}


def main() -> None:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--engine", action="store_true", help="before the real engine (see real_engine.py)")
    parser.add_argument("--rounds", type=int, help=f"[default: 3; of the real engine {real_engine.ROUNDS}]")
    options = parser.parse_args()
    about = real_engine.__doc__ if options.engine else __doc__
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {machine()}\n\n{about}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        if options.engine:
            text = real_engine.measured(Path(folder), options.rounds or real_engine.ROUNDS)
        else:
            text = measured(Path(folder), options.rounds or 3)
    print(text)
    if "MISSED" in text:
        sys.exit("A bound was missed: see above. Was anything else at work on this machine?")


def measured(built: Path, rounds: int) -> str:
    """All loads by all ways, as a page."""
    source = clients.ROOT / "scripts/bench_probe/fake_llm.c"
    subprocess.run(["gcc", "-O2", "-o", built / "fake_llm", source], check=True)
    rows = {(way, load): list[Measured]() for load in LOADS for way in WAYS}
    for number in range(rounds):
        for way, keys in WAYS.items():
            with clients.running(built, *SERVER) as port, opened(built, port, keys) as through:
                for load in LOADS:
                    row = one(built, port, *through, LOADS[load], number)
                    rows[way, load].append(row)
                    print(f"round {number + 1}: {way}, {load}: {row[1:]}", file=sys.stderr)
    return page({key: together(each) for key, each in rows.items()})


def one(
    built: Path, server_port: int, door: int, members: tuple[int, ...], load: Load, seed: int = 0
) -> Measured:
    """One load by one way."""
    before_s = sum(map(cpu_s, members))
    shape = (*load.shape, "--seed", str(seed), "--model", "fake")
    said = clients.corral(built, door, 0, load.requests, load.tokens, *shape, core=CLIENT_CORE)
    spent_s = sum(map(cpu_s, members)) - before_s
    log = truth(server_port, load.requests)
    row = compared(said, log)
    return Measured(
        delays_ms(said["sent_us"], said["ttft_s"], log),
        row["itl_p50_error"],
        row["itl_p99_error"],
        row["events_per_s"],
        spent_s * 1e6 / row["events"],
    )


if __name__ == "__main__":
    main()
