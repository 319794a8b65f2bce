"""Fetching, killed -9 at every turn by a Hub that lies: each fault x first, middle, last file x so many kills.

The fault comes with one answer in ten, each kill at a random write. Then the Hub is well again: every byte and name
must be right, and nothing else there. A fetch that is whole before it was killed so often begins again.
"""

import argparse
import json
import multiprocessing
import os
import platform
import random
import shutil
import signal
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from itertools import product, repeat
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import lying_hub
from fake_hub import FakeHub

from infra.errors import CorralError
from infra.fetch.download import Told, fetch
from infra.fetch.hub_answers import Source
from infra.fetch.layouts import in_folder
from infra.fetch.verifying import verify

REPO = "someone/Weights"
FAULTY = 0.1
"""Of the answers about that one file."""
WRITES = 30
"""A kill comes before as many, or earlier: so that fifty reach the last file, which takes some hundred."""
PACE = lying_hub.HASTE._replace(chunk_bytes=1024)
AT_ONCE = 4
"""Most of a case is waiting."""
PLACES = ("first", "middle", "last")


def serve(folder: Path, kind: str, position: int, pipe: Connection) -> None:
    """A Hub in a process of its own, so that who fetches can be forked; any word but `end` makes it well.

    It then says how often it has answered wrongly.
    """
    fault, chance, wrong = lying_hub.OF_BYTES[kind][0], random.Random(7), []

    def sometimes(*asked: Any) -> bool:
        if chance.random() < FAULTY:
            wrong.append(kind)
            return fault(*asked)
        return False

    with FakeHub(REPO, folder) as hub:
        hub.faults = {lying_hub.SHARDS[position]: sometimes}
        pipe.send((hub.url, hub.commit))
        while pipe.recv() != "end":
            hub.faults = {}
            pipe.send(len(wrong))
        hub.shutdown()


def fetched(source: Source, folder: Path, writes: int | None) -> str:
    """How a process that fetches ends: `whole`, `told` with a sentence, or `killed` before so many writes."""
    if (child := os.fork()) == 0:
        if writes is not None:
            os.pwrite = dying(writes)
        try:
            fetch(source, in_folder(folder), Told(lambda text: None, lambda there, total: None), PACE)
        except CorralError:
            os._exit(1)
        os._exit(0)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return {0: "whole", 1: "told", -signal.SIGKILL: "killed"}[ended]


def dying(writes: int) -> Callable[[int, Any, int], int]:
    """A write that kills its process in place of the last."""
    real, left = os.pwrite, iter(range(writes))

    def pwrite(handle: int, data: Any, at: int) -> int:
        if next(left, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(handle, data, at)

    return pwrite


def check(repository: Path, folder: Path) -> None:
    """Raise AssertionError where not every byte and name is right."""
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert there - {".corral/lock"} == lying_hub.FETCHED | {".corral/manifest.json"}
    assert verify(folder).problems == ()
    for name in lying_hub.FETCHED:
        assert (folder / name).read_bytes() == (repository / name).read_bytes(), name


def case(repository: Path, folder: Path, kind: str, position: int, kills: int) -> dict[str, int]:
    """One fault of one file: how the fetches ended until they were killed so often. The last is whole."""
    here, there = multiprocessing.Pipe()
    spawned = multiprocessing.get_context("spawn")
    hub = spawned.Process(target=serve, args=(repository, kind, position, there), daemon=True)
    hub.start()
    url, commit = here.recv()
    source, chance = Source(url, REPO, commit), random.Random(position)
    ends = {"killed": 0, "told": 0, "whole": 0}
    while ends["killed"] < kills:
        end = fetched(source, folder, chance.randrange(WRITES))
        ends[end] += 1
        if end == "whole":
            check(repository, folder)
            shutil.rmtree(folder)
    here.send("be well")
    ends["wrong answers"] = here.recv()
    assert fetched(source, folder, None) == "whole"
    check(repository, folder)
    shutil.rmtree(folder)
    here.send("end")
    hub.join()
    return ends


def main() -> None:
    """Say how each case ended, and keep the sums."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50, help="for each fault of each file")
    parser.add_argument("--keep", type=Path, help="a file for the figures")
    asked = parser.parse_args()
    total: dict[str, int] = {}
    cases = [*product(lying_hub.OF_BYTES, range(len(PLACES)))]
    with tempfile.TemporaryDirectory() as work:
        repository = lying_hub.repository(Path(work) / "repository")
        folders = [Path(work) / str(number) for number, _ in enumerate(cases)]
        spawned = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(AT_ONCE, mp_context=spawned) as pool:
            kinds, positions = zip(*cases, strict=True)
            each = pool.map(case, repeat(repository), folders, kinds, positions, repeat(asked.kills))
            found = list(each)
        for (kind, position), ends in zip(cases, found, strict=True):
            print(f"{kind}, {PLACES[position]} file: {ends}", flush=True)
            total = {end: total.get(end, 0) + count for end, count in ends.items()}
    figures = {
        "day": datetime.now(UTC).date().isoformat(),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()} {platform.release()}",
        "faults": len(lying_hub.OF_BYTES),
        "cases": len(cases),
        "kills_each": asked.kills,
        "ends": total,
        "wrong_or_incomplete_afterwards": 0,  # else it has ended above
    }
    print(json.dumps(figures, indent=2))
    if asked.keep:
        asked.keep.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
