"""The gateway beside a direct connection, in one run.

Server: scripts/bench_probe/fake_llm.c on core 0, with a log of when each token was sent on the client's clock.
Gateway: `corral gateway`, its HAProxy on core 0 too, with one key and with 10,000. Client: `corral probe` on core 1;
for root both before all else that the machine does.
Ways: direct, through the gateway with one key and with 10,000, in turn in every round, each with all loads; figures
are the medians of the rounds.
Delay: of the first token, what the client said minus what the server's log of the same requests says, which holds the
way there and back; the gateway's own is the difference from the direct connection. Load: requests of 64 tokens, 20 ms
apart, that come at random times, so many a second that 1, 16 and 64 streams run on average.
Throughput: 256 streams of a token each 20 ms in a closed loop, 12,800 tokens/s at most.
CPU: of HAProxy's processes, per 1,000 tokens, during those loads.
"""

import argparse
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import clients
from bench import compared, machine, median, truth

from deploy.gateway import gateway, haproxy, key_store
from deploy.gateway import keys as keys_of
from deploy.gateway.gateway_options import GatewayOptions
from deploy.gateway.keys import KeyLimits, Keys
from deploy.targets.deployment import Deployment
from deploy.targets.deployment import folder as folder_of
from serving.sizing.plan import Plan

Row = dict[str, float]

ROOT = clients.ROOT
SERVER = (50, 20, 0, 0)
TOKENS = 64
SECONDS_A_REQUEST = 0.06 + (TOKENS - 1) * 0.02
MOST_ADDED_MS = 1.0
LEAST_OF_DIRECT = 0.97
MANY_KEYS = 10_000
DIRECT = "direct"
WAYS = {DIRECT: 0, "gateway, 1 key": 1, f"gateway, {MANY_KEYS:,} keys": MANY_KEYS}
"""Of each its number of keys; 0 for no gateway."""


def main() -> None:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        built = Path(folder)
        source = ROOT / "scripts/bench_probe/fake_llm.c"
        subprocess.run(["gcc", "-O2", "-o", built / "fake_llm", source], check=True)
        rows = {(way, load): list[Row]() for way in WAYS for load in LOADS}
        print(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {machine()}\n", flush=True)
        for number in range(options.rounds):
            for way in WAYS:
                with clients.running(built, *SERVER) as port, opened(built, port, WAYS[way]) as through:
                    for load in LOADS:
                        rows[way, load].append(one(built, port, *through, load))
                        print(f"round {number + 1}: {way}, {load}: {rows[way, load][-1]}", file=sys.stderr)
    text = page({key: median(each) for key, each in rows.items()})
    print(text)
    if "MISSED" in text:
        sys.exit("A bound was missed: see above. Was anything else at work on this machine?")


def loads() -> dict[str, tuple[int, tuple[str, ...]]]:
    """Of each load its number of requests and how the probe sends them."""
    found: dict[str, tuple[int, tuple[str, ...]]] = {}
    for streams, requests in ((1, 15), (16, 160), (64, 640)):
        rate = f"{streams / SECONDS_A_REQUEST:.3f}"
        found[f"{streams} streams"] = (requests, ("--request-rate", rate))
    return found | {"throughput": (1024, ("--concurrency", "256"))}


LOADS = loads()


def one(built: Path, server_port: int, door: int, members: tuple[int, ...], load: str) -> Row:
    """One load by one way."""
    requests, shape = LOADS[load]
    before_s = sum(map(cpu_s, members))
    said = clients.corral(built, door, 0, requests, TOKENS, *shape, "--model", "fake")
    spent_s = sum(map(cpu_s, members)) - before_s
    row = compared(said, truth(server_port, requests))
    return {
        "delay_p50_ms": row["ttft_p50_error"],
        "delay_mean_ms": row["ttft_mean_error"],
        "itl_p50_error_ms": row["itl_p50_error"],
        "itl_p99_error_ms": row["itl_p99_error"],
        "events_per_s": row["events_per_s"],
        "cpu_ms_per_1000_tokens": spent_s * 1e6 / row["events"],
    }


@contextmanager
def opened(built: Path, server_port: int, keys: int) -> Iterator[tuple[int, tuple[int, ...]]]:
    """The port to ask, and the processes of what stands between: a gateway with so many keys, or nothing."""
    if not keys:
        yield server_port, ()
        return
    os.environ["CORRAL_HOME"] = str(built / f"home-{keys}")
    plan = Plan.read(ROOT / "tests/data/hosts/plan.json")
    plan = plan.model_copy(update={"serve": plan.serve.model_copy(update={"port": server_port})})
    served = Deployment(name="front", target="local", plan=plan, created_at=datetime.now(UTC))
    folder = folder_of("front")
    served.write(folder / "deployment.json")
    (folder / "api-key").write_text("sk-of-the-engine\n")
    asked = GatewayOptions(
        port=free_port(),
        requests_per_minute=1_000_000,
        requests_at_once=4096,
    )
    place = gateway.folder("front")
    if not (key := folder / "key").exists():  # made once: 10,000 take seconds
        made = [keys_of.made(f"person-{number}", KeyLimits(), keys_of.now_utc()) for number in range(keys)]
        Keys(keys=tuple(kept for kept, _ in made)).write(place / key_store.DOCUMENT)
        key.write_text(made[-1][1].key)
    with ending_with_this(place), patched("CORRAL_API_KEY", key.read_text()):
        gateway.start(served, asked)
        members = haproxy.members(place)
        for pid in members:
            os.sched_setaffinity(pid, {0})
            with suppress(PermissionError):
                os.setpriority(os.PRIO_PROCESS, pid, -20)
        yield asked.port, members


@contextmanager
def patched(name: str, value: str) -> Iterator[None]:
    """A variable of the environment for a while."""
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]


END = (
    "import sys; from pathlib import Path; from deploy.gateway import haproxy; "
    "sys.stdin.read(); haproxy.stop(Path(sys.argv[1]), 0)"
)


@contextmanager
def ending_with_this(place: Path) -> Iterator[None]:
    """A gateway outlives whoever starts it: a process beside it ends it when this one has gone, killed too."""
    command = [sys.executable, "-c", END, str(place)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as beside:
        try:
            yield
        finally:
            beside.communicate()


def free_port() -> int:
    """One that nothing listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def cpu_s(pid: int) -> float:
    """What a process took so far."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def page(middle: dict[tuple[str, str], Row]) -> str:
    """The figures, and each that is promised beside its bound."""
    lines = [
        "| load | way | first token later than the server sent it, p50 ms | mean ms | ITL p50 error ms | p99 error ms"
        " | tokens/s | HAProxy CPU ms per 1,000 tokens |",
        "|---|---|---|---|---|---|---|---|",
    ]
    bounds = ["", "| judged | measured | bound | |", "|---|---|---|---|"]
    for load in LOADS:
        direct = middle[DIRECT, load]
        for way in WAYS:
            row = middle[way, load]
            lines.append(
                f"| {load} | {way} | {row['delay_p50_ms']:.2f} | {row['delay_mean_ms']:.2f}"
                f" | {row['itl_p50_error_ms']:.2f} | {row['itl_p99_error_ms']:.2f}"
                f" | {row['events_per_s']:,.0f} | {row['cpu_ms_per_1000_tokens']:.1f} |"
            )
            if way == DIRECT:
                continue
            if load == "throughput":
                share = row["events_per_s"] / direct["events_per_s"]
                held = "ok" if share >= LEAST_OF_DIRECT else "MISSED"
                bounds.append(f"| {way}: of the direct tokens/s | {share:.3f} | {LEAST_OF_DIRECT} | {held} |")
            else:
                added_ms = row["delay_p50_ms"] - direct["delay_p50_ms"]
                held = "ok" if added_ms <= MOST_ADDED_MS else "MISSED"
                bounds.append(
                    f"| {way}, {load}: TTFT p50 added, ms | {added_ms:.2f} | {MOST_ADDED_MS} | {held} |"
                )
    return "\n".join([*lines, *bounds])


if __name__ == "__main__":
    main()
