"""`corral fetch` beside `hf download`: seconds for the same files from one Hub on loopback, in turns in one run."""

import argparse
import json
import multiprocessing
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from multiprocessing.synchronize import Event
from pathlib import Path

from fake_hub import FakeHub, Handler

REPO = "someone/Weights"
SHARDS, SHARD_BYTES = 8, 256 * 2**20
RUNS = 3
LEAST_RATIO = 1.0


class Sending(Handler):
    """Files go from the disk to the socket in the kernel: the Hub is not what is measured."""

    def content(self, path: Path, first: int, last: int) -> None:
        """The bytes of a range."""
        self.wfile.flush()
        with path.open("rb") as file:
            self.connection.sendfile(file, first, last - first + 1)


def hub(folder: Path, address: "multiprocessing.Queue[str]", over: Event) -> None:
    """Serve the folder from a process of its own."""
    with FakeHub(REPO, folder) as server:
        server.RequestHandlerClass = Sending
        address.put(server.url)
        over.wait()
        server.shutdown()


def repository(folder: Path) -> None:
    """Files of the sizes that weights have."""
    folder.mkdir()
    content = os.urandom(SHARD_BYTES)
    names = [f"model-{number:05}-of-{SHARDS:05}.safetensors" for number in range(1, SHARDS + 1)]
    for number, name in enumerate(names):
        (folder / name).write_bytes(number.to_bytes(8, "little") + content[8:])
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {n: n for n in names}}))
    (folder / "config.json").write_text("{}")


def wall_s(command: list[str], environ: dict[str, str], target: Path) -> float:
    """Seconds until a program has fetched into a folder of its own."""
    shutil.rmtree(target, ignore_errors=True)
    begun_s = time.perf_counter()
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - begun_s
    came = sum(path.stat().st_size for path in target.glob("*.safetensors"))
    if done.returncode or came != SHARDS * SHARD_BYTES:
        sys.exit(f"{command}: exit code {done.returncode}, {came} bytes: {done.stderr[-500:]}")
    shutil.rmtree(target)
    return seconds


def main() -> int:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--in", dest="place", type=Path)
    parser.add_argument("--keep", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.place) as name:
        root = Path(name)
        repository(root / "repository")
        address: multiprocessing.Queue[str] = multiprocessing.Queue()
        over = multiprocessing.Event()
        process = multiprocessing.Process(target=hub, args=(root / "repository", address, over))
        process.start()
        try:
            times = measured(root, address.get(timeout=30))
        finally:
            over.set()
            process.join()
    ours, theirs = min(times["corral fetch"]), min(times["hf download"])
    figures = {
        "day": datetime.now(UTC).date().isoformat(),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Linux {platform.release()}",
        "bytes": SHARDS * SHARD_BYTES,
        "seconds": {name: [round(one, 3) for one in each] for name, each in times.items()},
        "ratio": round(theirs / ours, 2),
        "at_least": LEAST_RATIO,
        "load": os.getloadavg()[0],
    }
    print(json.dumps(figures, indent=2))
    if given.keep:
        given.keep.write_text(json.dumps(figures, indent=2) + "\n")
    print("met" if figures["ratio"] >= LEAST_RATIO else "MISSED")
    return int(figures["ratio"] < LEAST_RATIO)


def measured(root: Path, url: str) -> dict[str, list[float]]:
    """The seconds of every run of each."""
    environ = os.environ | {
        "HF_ENDPOINT": url,
        "CORRAL_HOME": str(root / "home"),
        "HF_HOME": str(root / "hf"),
    }
    corral = [sys.executable, "-c", "from deploy.cli.start import main; main()", "fetch"]
    accepted = [*corral, "--accept-license", "llama4", "--country", "US"]
    subprocess.run(accepted, env=environ, check=True, capture_output=True)
    hf = str(Path(sys.executable).parent / "hf")
    commands = {
        "hf download": [hf, "download", REPO, "--local-dir", str(root / "to")],
        "corral fetch": [*corral, REPO, "--to", str(root / "to")],
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(RUNS):
        for name, command in commands.items():
            times[name].append(wall_s(command, environ, root / "to"))
    return times


if __name__ == "__main__":
    sys.exit(main())
