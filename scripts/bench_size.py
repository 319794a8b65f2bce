"""Process time of the planner: one machine, the whole catalogue, and the nearest peer, five runs each, the best."""

import os
import resource
import shlex
import subprocess
import sys
from collections.abc import Sequence

RUNS = 5
DOES_NOT_FIT = 3
CORRAL = [sys.executable, "-c", "from deploy.cli.start import main; main()", "size"]
CAPACITY = shlex.split("capacity scout --requests-per-s 2 --ttft 2 --tpot 0.05 --spare 1")
CATALOGUE = (
    "from serving.sizing.size_options import Options; from serving.sizing.size import ranking; "
    "[ranking(model, None, Options()) for model in ('scout', 'maverick')]"
)
QUESTIONS: dict[str, tuple[list[str], float]] = {
    "one machine": ([*CORRAL, "scout", "--precision", "int4", "--on", "g5.12xlarge", "--json"], 0.5),
    "one machine that does not fit": ([*CORRAL, "scout", "--precision", "bf16", "--on", "2xA100-80GB"], 0.5),
    "every machine": ([*CORRAL, "scout"], 1.0),
    "capacity of every machine": ([*CORRAL[:-1], *CAPACITY], 2.0),
    "catalogue x both models x all precisions": ([sys.executable, "-c", CATALOGUE], 1.5),
}


def process_s(command: Sequence[str]) -> float:
    """User and system seconds of a command and its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    if done.returncode not in (0, DOES_NOT_FIT):
        sys.exit(f"exit code {done.returncode}: {shlex.join(command)}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def best_s(command: Sequence[str]) -> float:
    """The best of several runs: the one that other work on this machine disturbed least."""
    return min(process_s(command) for _ in range(RUNS))


def main() -> None:
    """Print each time against its limit, then the ratio to the peer, all from this one run."""
    ours = {name: best_s(command) for name, (command, _) in QUESTIONS.items()}
    for name, seconds in ours.items():
        print(f"{seconds:6.3f} s  (limit {QUESTIONS[name][1]} s)  {name}")
    peer = os.environ.get("HF_MEM")
    if peer:
        theirs = best_s(shlex.split(peer))
        ratio = ours["one machine"] / theirs
        print(f"{theirs:6.3f} s  hf-mem on one checkpoint; ours on one machine takes {ratio:.2f} of it")
    else:
        print("no peer: set HF_MEM to a command that runs hf-mem")
    if any(seconds > QUESTIONS[name][1] for name, seconds in ours.items()):
        sys.exit("too slow")


main()
